/*
 * pool.h - the pools as the rest of the kernel uses them. The Windows calls (ExAllocatePool...) are in nt.h and
 * pool_calls.c; blocks within pages are in pool_blocks.h, whole pages in pool_pages.h, special pool in special_pool.h,
 * the account by tag in pool_tags.h.
 *
 * One CPU runs all of this, and no interrupt allocates: there is no lock.
 */
#pragma once

#include "lab.h"
#include "memory/pool_pages.h"
#include "nt.h"

/* A tag as it is stored: the first character in the lowest byte, so that memory shows it in reading order. */
#define POOL_TAG(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)

/* Parts of a POOL_TYPE: PagedPool, the two MustSucceed types, CacheAligned, charged to the process, Nx. */
enum pool_type_bit {
    POOL_TYPE_PAGED = 1,
    POOL_TYPE_MUST_SUCCEED = 2,
    POOL_TYPE_CACHE_ALIGNED = 4,
    POOL_TYPE_BASE = 7,
    POOL_TYPE_QUOTA = 8, /* only within the pool: to callers the bit means POOL_QUOTA_FAIL_INSTEAD_OF_RAISE */
    POOL_TYPE_NX = 512,
};

void pool_init(void);

enum pool_kind pool_kind_of(POOL_TYPE type);
POOL_TYPE pool_type_of(enum pool_kind kind);

/*
 * What the Windows calls share: no checks of the caller, no injected failures. The memory is filled with
 * POOL_FILL_FRESH, and behind it with POOL_FILL_PADDING. NULL when out of memory. Freed by ExFreePoolWithTag.
 */
void *pool_allocate(POOL_TYPE type, u64 bytes, u32 tag);

/* The same on behalf of a Windows call that returns to `caller`, from special pool if it is watched. */
void *pool_allocate_for(POOL_TYPE type, u64 bytes, u32 tag, const void *caller);

/* Whether special pool is to serve a caller: a driver when the verifier is on, everybody with "special_pool". */
bool pool_is_watched(const void *caller);

/* What ExAllocatePoolWithTag and ExFreePoolWithTag do: with all checks, and entered in the ledger. Tag 0: any. */
void *pool_call_allocate(POOL_TYPE type, u64 bytes, u32 tag, const void *caller);
void pool_call_free(void *block, u32 tag, const void *caller);

/* Stops unless the tag given for a block to be freed is its own, or 0. */
void pool_check_tag(u64 address, u32 stored, u32 given);
