/*
 * journal.h - what the memory calls of drivers did to the page tables.
 *
 * A driver's import of a memory call is bound to a gate (NT_MEMORY_EXPORT in lab.h), which goes straight on to the
 * function while the journal is off. While it is on, the call is entered with its arguments, its result and every entry
 * that it changed. The last calls and changes are kept; the controller reads them when the driver has returned.
 */
#pragma once

#include "lab.h"
#include "paging/paging.h"

enum { JOURNAL_CALLS = 256, JOURNAL_CHANGES = 1024, JOURNAL_ARGUMENTS = 8 };

/* A call of a driver, number n in calls[(n - 1) % JOURNAL_CALLS]. */
struct journal_call {
    u64 function; /* of the export */
    u64 caller;   /* where it returns to */
    u64 argument[JOURNAL_ARGUMENTS];
    u64 result;
    u64 ended;   /* whether it returned */
    u64 printed; /* bytes of the log that were written before */
    u64 changes; /* of entries that it made */
    u64 outer;   /* number of the call that it interrupted, 0 for none */
    u64 frame;   /* address of its return address */
    u64 thread;
};

/* A change of an entry on behalf of a call, number n in change[(n - 1) % JOURNAL_CHANGES]. */
struct journal_change {
    u64 call;    /* its number */
    u64 entry;   /* physical address */
    u64 address; /* one that the entry maps */
    u64 level;   /* enum pt_level */
    u64 old, new;
};

struct lab_journal {
    u64 on;
    u64 open;         /* number of the innermost call that has not returned, 0 for none */
    u64 call_count;   /* ever entered since the journal was opened */
    u64 change_count; /* ever made by them */
    struct journal_call call[JOURNAL_CALLS];
    struct journal_change change[JOURNAL_CHANGES];
};
extern struct lab_journal lab_journal;

/* pt_set has changed an entry. */
void journal_note(const pte_t *entry, u64 address, pte_t old, pte_t new);

/* The stack was unwound to `stack`: calls made below it will not return. */
void journal_unwound(u64 stack);

/* Where an export returns to: in the driver, though a gate may stand between. */
#define CALLER() journal_caller(__builtin_return_address(0))
const void *journal_caller(const void *return_address);
