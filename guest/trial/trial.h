/*
 * trial.h - tries accesses by the thousand, so that the CPU can judge what somebody predicted. A case is one set of
 * page-table entries, and a group of cases has control registers and an access in common. The controller writes both;
 * the guest puts up one set after the other, makes the access, and notes what became of it and of the entries.
 *
 * That happens in a space of its own, on tables that hold nothing but what the trials themselves need, so that control
 * registers may take values under which the kernel could not live: EFER.NXE clear makes every NX bit a reserved one.
 * The controller finds all this in shared RAM, by the layouts that stand here.
 */
#pragma once

#include "lab.h"

enum { TRIAL_CASES = 16384, TRIAL_GROUPS = 64, TRIAL_PLACES = 8, TRIAL_LEVELS = 5 };

/*
 * Where accesses are made: the index is another one at each level, so that a walk that mixes them up goes astray. With
 * five levels, TRIAL_ADDRESS_HIGH comes on top. Other addresses will do, too, if their entry in the root is free.
 */
enum { TRIAL_ADDRESS = 0x0a5ull << 39 | 0x1b2ull << 30 | 0x05dull << 21 | 0x0c0ull << 12 };
enum { TRIAL_ADDRESS_HIGH = 0x0aaull << 48 };

/* The instruction that makes the access, at either privilege. */
enum trial_access {
    TRIAL_READ,         /* mov (%rdi), %rax */
    TRIAL_WRITE,        /* mov %rsi, (%rdi) */
    TRIAL_FETCH,        /* jmp *%rdi */
    TRIAL_READ_STACK,   /* mov (%rbp), %rax */
    TRIAL_LOAD_SEGMENT, /* mov %esi, %fs: the CPU reads the descriptor, an implicit supervisor access at any CPL */
    TRIAL_MARK_SEGMENT, /* the same, and as the descriptor's A bit is clear the CPU writes it, too */
    TRIAL_ACCESSES,
};

/*
 * A place is a run of pages, one for each access, at the same offset in some GiB of RAM: TRIAL_ADDRESS modulo 1 GiB. So
 * leaves of 4 KiB, 2 MiB and 1 GiB can all lead to it. Every 8 bytes of it tell their own physical address, in the form
 * that the access can bring back: as a number, as code that loads one, as a segment's base.
 */
enum { TRIAL_WORD_SHIFT = 3 };      /* code and descriptors hold the address / 8: that fits in 32 bits up to 32 GiB */
enum { TRIAL_MARKED = 1ull << 40 }; /* a descriptor's A bit */

/* Of each register only the bits that trial.c knows count; pkrs must let the supervisor use pages with key 0. */
struct trial_controls {
    u64 cr0, cr4, efer, rflags;
    u32 pkru, pkrs;
};

struct trial_case {
    u64 before[TRIAL_LEVELS]; /* the entries, the PT's first; with four levels the last one is not used */
    u64 after[TRIAL_LEVELS];
    u64 reached; /* physical address of the 8 bytes that the access reached, as they tell themselves; 0: of none */
    u64 cr2;     /* of the last page fault in the group, 0 before the first */
    u32 vector;  /* LAB_NO_VECTOR: there was no exception */
    u32 error_code;
};

struct trial_group {
    struct trial_controls controls;
    u64 address;
    u32 access; /* enum trial_access */
    u32 user;   /* 1: at CPL 3 */
    u32 place;  /* where writes shall land */
    u32 count;  /* of cases: the next so many */
};

/* What trial_open returns. */
struct trials {
    /* Physical addresses of the tables that hold the entries of the cases, the PT first and the root last; 0 where
       there is no such level. Which entry of them, the address says. */
    u64 table[TRIAL_LEVELS];
    u64 place[TRIAL_PLACES]; /* physical addresses; 0 where there is no RAM */
    u64 groups;              /* how many of them to try */
    struct trial_group group[TRIAL_GROUPS];
    struct trial_case cases[TRIAL_CASES];
};

/* ------------------------------------------------------------------------------------------------- access.S ---- */

/* What the last access came to, and where its stack was. */
struct trial_outcome {
    u64 vector;
    u64 error_code;
    u64 cr2;
    u64 found; /* RAX, if there was no exception */
    u64 stack;
};
extern struct trial_outcome trial_outcome;
_Static_assert(offsetof(struct trial_outcome, stack) == 32, "access.S knows where the fields are");

/* The page of instructions to make accesses by, in the order of enum trial_access. */
enum { TRIAL_STUB_SIZE = 16 };
extern const u8 trial_stubs[];

/* Makes an access by a stub, and fills trial_outcome. */
void trial_access_kernel(u64 address, u64 value, u64 stub);
void trial_access_user(u64 address, u64 value, u64 stub, u64 rflags);

/* Where SYSCALL and exceptions end an access; the latter by one stub of TRAP_STUB_SIZE bytes for each vector. */
enum { TRIAL_VECTORS = 32 };
extern const u8 trial_return[], trial_traps[];

/* Calls a function on another stack. */
void trial_call_on(void (*function)(void *argument), void *argument, u64 stack_top);
