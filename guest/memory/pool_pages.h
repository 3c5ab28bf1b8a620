/*
 * pool_pages.h - the addresses of the pools, page by page: who uses which, and the frames behind them.
 *
 * Windows keeps a bitmap of the range, and apart from it a hash table of allocations that take whole pages ("big
 * page table"). Both are one array here, indexed by page: a lookup needs no search and freeing can never run out of
 * table.
 */
#pragma once

#include "lab.h"

enum { NONPAGED_POOL = 0xfffffa8040000000ull };
enum { NONPAGED_POOL_PAGES = 65536 }; /* 256 MiB of addresses */

/*
 * The pools. Each page belongs to one. There is no paging yet, so that paged pool is resident: it differs from
 * NonPagedPoolNx only in what its blocks say of themselves.
 */
enum pool_kind {
    POOL_NONPAGED,    /* NonPagedPool: executable */
    POOL_NONPAGED_NX, /* NonPagedPoolNx */
    POOL_PAGED,       /* PagedPool */
    POOL_KINDS,
} __attribute__((packed));

enum pool_page_state {
    POOL_PAGE_FREE,     /* not mapped */
    POOL_PAGE_BLOCKS,   /* cut into blocks with headers */
    POOL_PAGE_BIG,      /* first page of an allocation of whole pages */
    POOL_PAGE_BIG_REST, /* the further pages of one */
} __attribute__((packed));

struct pool_page {
    u32 bytes; /* BIG: what was asked for */
    u32 tag;   /* BIG: its tag; FREE: the tag of what was freed here last, 0 when nothing ever was */
    enum pool_page_state state;
    enum pool_kind kind;
};
extern struct pool_page pool_pages[NONPAGED_POOL_PAGES];
extern u64 pool_page_count; /* how many of them this machine's RAM makes sense for; the others stay free */

static inline struct pool_page *pool_page_of(u64 address) {
    u64 page = (address - NONPAGED_POOL) >> PAGE_SHIFT;
    return page < NONPAGED_POOL_PAGES ? &pool_pages[page] : NULL;
}

/* Builds the page tables of as many pages as there are frames, so that no later allocation needs one. */
void pool_pages_init(void);

/*
 * Maps frames at the lowest run of free pages; they need not be contiguous. The first page gets `state`, the others
 * POOL_PAGE_BIG_REST. NULL when frames or addresses have run out, and then nothing has changed.
 */
void *pool_pages_allocate(enum pool_kind kind, enum pool_page_state state, u64 pages);

/* Unmaps the pages and frees the frames at once. Keeps `tag` to explain later uses of the address. */
void pool_pages_free(void *base, u64 pages, u32 tag);

/* A fresh frame at each page, with the rights that the pool has; false when out of memory, and then there is none. */
bool pool_pages_map(u64 address, u64 pages, enum pool_kind kind);
void pool_pages_unmap(u64 address, u64 pages);
