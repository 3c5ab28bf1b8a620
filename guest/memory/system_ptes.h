/*
 * system_ptes.h - a range of kernel addresses from which mappings are reserved and released, page by page.
 * Unmapped entries of the range are exactly zero, but for the two that Windows keeps below a reserved mapping
 * (mdl_reserved.c).
 */
#pragma once

#include "lab.h"

/* Windows 7's range is FFFFF880'00000000 up to FFFFF89F'FFFFFFFF; we use its beginning. */
enum { SYSTEM_PTES = 0xfffff88000000000ull };
enum { SYSTEM_PTE_COUNT = 131072 }; /* 512 MiB of addresses */

/* What a page is reserved for. Windows keeps trackers of its mappings apart; here whoever unmaps looks this up. */
enum system_pte_use {
    SYSTEM_PTE_FREE,
    SYSTEM_PTE_STACK,      /* of the kernel itself */
    SYSTEM_PTE_PAGES,      /* system_pages.h */
    SYSTEM_PTE_MDL,        /* MmMapLockedPagesSpecifyCache */
    SYSTEM_PTE_RESERVED,   /* MmAllocateMappingAddress, two entries of its own first */
    SYSTEM_PTE_IO_SPACE,   /* MmMapIoSpace */
    SYSTEM_PTE_CONTIGUOUS, /* MmAllocateContiguousMemory */
    SYSTEM_PTE_NON_CACHED, /* MmAllocateNonCachedMemory */
    SYSTEM_PTE_REST,       /* a further page of what begins before it */
} __attribute__((packed));
extern enum system_pte_use system_pte_uses[SYSTEM_PTE_COUNT];

void system_ptes_init(void);

/* NULL when no run is long enough; nothing is mapped yet. */
void *system_ptes_reserve(u64 pages, enum system_pte_use use);

/* Takes what was reserved there, all of it; asserts that every entry is zero again. */
void system_ptes_release(void *base, u64 pages);

/* How many pages were reserved together for this use from just this address on; 0: it is no such beginning. */
u64 system_ptes_reserved(u64 base, enum system_pte_use use);

u64 system_ptes_available(void);

static inline bool system_ptes_contain(u64 address) {
    return (address - SYSTEM_PTES) >> PAGE_SHIFT < SYSTEM_PTE_COUNT;
}

/* A stack of writable pages above one that stays unmapped; returns its top. It is never given back. */
u64 system_ptes_map_stack(u64 pages);
