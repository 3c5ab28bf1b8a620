/*
 * special_pool.h - pool whose misuse stops at the instruction that does it: each allocation has pages of its own, up
 * to whose end it reaches, between pages that are not mapped; what is freed stays unmapped until its addresses are
 * needed again, the oldest first.
 *
 *      not mapped | POOL_FILL_SPECIAL ...... block | not mapped
 *
 * A block starts at a multiple of 16, so that up to 15 bytes behind it are still mapped; they are filled too, and the
 * fill is looked at when the block is freed. A block of more than a page starts at the start of its first page.
 */
#pragma once

#include "lab.h"
#include "memory/pool_pages.h"
#include "nt.h"

/* From Windows 7's range for the cache and special pool: FFFFF980'00000000 up to FFFFFA7F'FFFFFFFF. */
enum { SPECIAL_POOL = 0xfffff98000000000ull };
enum { SPECIAL_POOL_PAGES = 8192 };

enum special_page_state {
    SPECIAL_UNUSED,     /* never used yet */
    SPECIAL_GUARD,      /* the page behind a block */
    SPECIAL_BLOCK,      /* the first page of a block */
    SPECIAL_BLOCK_REST, /* the further pages of one */
    SPECIAL_FREED,      /* the same, unmapped */
    SPECIAL_FREED_REST,
} __attribute__((packed));

struct special_page {
    u64 allocated_by, freed_by; /* where the calls returned to; with `tag` and `bytes` of BLOCK and FREED */
    u32 bytes, tag;
    u32 freed_at; /* how many frees there had been before */
    enum special_page_state state;
    enum pool_kind kind;
    u16 offset; /* of the block in its page */
};
extern struct special_page special_pages[SPECIAL_POOL_PAGES];

static inline bool special_pool_contains(u64 address) {
    return (address - SPECIAL_POOL) >> PAGE_SHIFT < SPECIAL_POOL_PAGES;
}

/* `underrun`: the block is put at the start of its page. NULL when there is no room: then normal pool has to do. */
void *special_pool_allocate(POOL_TYPE type, u64 bytes, u32 tag, bool underrun, const void *caller);

/* Stops with bug check 0xC1 for what is no block or has damage around it. Tag 0: any. */
void special_pool_free(u64 address, u32 tag, const void *caller);

/* Whether special pool knows an address as a block, and how long it is. */
bool special_pool_find(u64 address, struct special_page **ret);

/* Whether an address is in a block of paged pool. */
bool special_pool_is_paged(u64 address);

/*
 * Chooses the bug check for a page fault that is special pool's: 0xCD or a driver's 0xD6 beyond a block, 0xCC or 0xD5
 * in what was freed. False: the fault is of another kind. No exception handler may see such a fault before.
 */
bool special_pool_fault(const struct lab_registers *registers, u64 address, struct lab_bugcheck *ret);

/* Prints what is known of an address in special pool's range; nothing for another. */
void special_pool_report(u64 address);
