/*
 * pool_blocks.h - blocks that share a page: POOL_HEADER, free lists, splitting and coalescing.
 *
 * A page of blocks is a chain of headers from its first byte to its last: each header is BlockSize units behind the
 * one before, and says in PreviousSize how far that is. A unit is 16 bytes, the size of a header.
 *
 *      header  data ...........  header  LIST_ENTRY  free .......  header  data ...........
 *      |<----- BlockSize ----->|<---------- BlockSize ---------->|
 *
 * A block never crosses a page, and never fills one: the last unit at least is another block, of a header only when
 * need be. As soon as a page is one free block, it is given back.
 */
#pragma once

#include "lab.h"
#include "memory/pool_pages.h"
#include "nt.h"

enum {
    POOL_UNIT = sizeof(POOL_HEADER),
    POOL_PAGE_UNITS = PAGE_SIZE / POOL_UNIT,
    POOL_LARGEST = PAGE_SIZE - 2 * POOL_UNIT, /* 4064 bytes; more takes whole pages */
    POOL_CACHE_LINE = 64,
};

/* Of the data of a block. */
static inline u64 pool_alignment(POOL_TYPE type) {
    return type & NonPagedPoolCacheAligned ? POOL_CACHE_LINE : POOL_UNIT;
}

/* What the pool writes where nobody's data are. */
enum pool_fill {
    POOL_FILL_FRESH = 0xcd,   /* allocated, not yet written */
    POOL_FILL_PADDING = 0xfd, /* behind an allocation, up to the end of its block or page */
    POOL_FILL_FREE = 0xdd,    /* in no allocation: freed, or never used; headers and list entries aside */
    POOL_FILL_SPECIAL = 0xf5, /* special pool: the rest of the allocation's page */
};

/*
 * pool_free_blocks[kind][n] lists the free blocks of n units of a pool, the last freed first. Blocks of one unit have
 * no room for a list entry: they wait until a neighbour is freed.
 */
extern LIST_ENTRY pool_free_blocks[POOL_KINDS][POOL_PAGE_UNITS];

void pool_blocks_init(void);

/* A block for 1 to POOL_LARGEST bytes, its data unwritten; NULL when out of memory. `align` is of the data. */
POOL_HEADER *pool_block_allocate(enum pool_kind kind, u64 bytes, u64 align);

/* The block must be one that pool_block_find called allocated. */
void pool_block_free(POOL_HEADER *block);

enum pool_find { POOL_FIND_ALLOCATED, POOL_FIND_FREE, POOL_FIND_INSIDE };

/*
 * What stands at an address in a page of blocks: the data of an allocated block, something free, or the inside of an
 * allocated block. Stops with bug check 0x19 when headers contradict each other on the way.
 */
enum pool_find pool_block_find(u64 address);
