/*
 * ledger.h - what each driver has taken and not given back, and where in the driver it was taken.
 *
 * What a call takes is entered under the driver that the call returns to; calls from the kernel itself and from the
 * mailbox are not entered. Whoever gives it back, the entry goes. Drivers are known by their slots in lab_drivers, and
 * what is left of one that is gone stays here as long as it stays there.
 */
#pragma once

#include "nt/driver.h"

enum ledger_kind {
    LEDGER_POOL,
    LEDGER_MDL,        /* IoAllocateMdl; `bytes` of the buffer that it describes */
    LEDGER_PAGES,      /* MmAllocatePagesForMdl, by MDL */
    LEDGER_LOCK,       /* MmProbeAndLockPages, by MDL */
    LEDGER_MAPPING,    /* MmMapLockedPagesSpecifyCache, by the first page of the mapping */
    LEDGER_RESERVED,   /* MmAllocateMappingAddress */
    LEDGER_IO_SPACE,   /* MmMapIoSpace, by the first page */
    LEDGER_CONTIGUOUS, /* MmAllocateContiguousMemory */
    LEDGER_NON_CACHED, /* MmAllocateNonCachedMemory */
    LEDGER_LOOKASIDE,  /* ExInitializeNPagedLookasideList and its kin, by list */
    LEDGER_KINDS,
};

/* What a driver has, in all. */
struct ledger_totals {
    u64 count[LEDGER_KINDS];
    u64 bytes[LEDGER_KINDS];
    u64 missed; /* how often there was no room for an entry */
};
extern struct ledger_totals ledger_totals[LAB_DRIVERS];

/* `next` links entries of one hash chain, and those that are unused again: index + 1, 0 ends a chain. */
enum { LEDGER_ENTRIES = 8192 };
struct ledger_entry {
    u64 address, bytes;
    u64 caller; /* where the call returned to */
    u32 tag;    /* of pool, reserved mappings and lookaside lists; 0 for others */
    u16 driver; /* 1 + its slot in lab_drivers; 0: the entry is not used */
    u16 next;
    enum ledger_kind kind;
};
extern struct ledger_entry ledger_entries[LEDGER_ENTRIES];

/* A driver is about to be loaded into a slot: forgets what one before it left. */
void ledger_open(const struct lab_driver *driver);

/*
 * A driver has ended and its image is about to go. What it has left stays entered; in verifier mode pool among it is
 * bug check 0xC4, 0x62.
 */
void ledger_close(const struct lab_driver *driver);

void ledger_add(enum ledger_kind kind, const void *address, u64 bytes, u32 tag, const void *caller);
void ledger_remove(enum ledger_kind kind, const void *address);

/* Prints an address to the log as "name.sys+0x123", or as a number outside of drivers. */
void ledger_print_place(u64 address);
