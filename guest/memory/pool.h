/*
 * pool.h - the pools as the rest of the kernel uses them. The Windows calls (ExAllocatePool...) are in nt.h; blocks
 * within pages are in pool_blocks.h, whole pages in pool_pages.h, the account by tag in pool_tags.h.
 *
 * One CPU runs all of this, and no interrupt allocates: there is no lock.
 */
#pragma once

#include "lab.h"
#include "nt.h"

/* A tag as it is stored: the first character in the lowest byte, so that memory shows it in reading order. */
#define POOL_TAG(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)

void pool_init(void);

/*
 * What the Windows calls share: no checks of the caller, no injected failures. The memory is filled with
 * POOL_FILL_FRESH, and behind it with POOL_FILL_PADDING. NULL when out of memory. Freed by ExFreePoolWithTag.
 */
void *pool_allocate(POOL_TYPE type, u64 bytes, u32 tag);
