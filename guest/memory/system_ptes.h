/*
 * system_ptes.h - a range of kernel addresses from which mappings are reserved and released, page by page.
 * Unmapped entries of the range are exactly zero.
 */
#pragma once

#include "lab.h"

/* Windows 7's range is FFFFF880'00000000 up to FFFFF89F'FFFFFFFF; we use its beginning. */
enum { SYSTEM_PTES = 0xfffff88000000000ull };
enum { SYSTEM_PTE_COUNT = 131072 }; /* 512 MiB of addresses */

void system_ptes_init(void);

void *system_ptes_reserve(u64 pages);            /* NULL when no run is long enough; nothing is mapped yet */
void system_ptes_release(void *base, u64 pages); /* asserts that every entry is zero again */
u64 system_ptes_available(void);

/* A stack of writable pages above one that stays unmapped; returns its top. It is never given back. */
u64 system_ptes_map_stack(u64 pages);
