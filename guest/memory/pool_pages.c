#include "memory/pool_pages.h"

#include "memory/frames.h"
#include "paging/paging.h"
#include "paging/space.h"

struct pool_page pool_pages[NONPAGED_POOL_PAGES];

u64 pool_page_count;

/* A page below which none is free. */
static u64 lowest_free;

static u64 page_address(u64 page) {
    return NONPAGED_POOL + page * PAGE_SIZE;
}

void pool_pages_init(void) {
    u64 step = pt_page_size(PD) / PAGE_SIZE;
    while (pool_page_count < NONPAGED_POOL_PAGES && pool_page_count < frames_available()) {
        struct pt_walk walk;
        lab_assert(pt_walk(page_address(pool_page_count), PT, PT_CREATE, &walk), "pool: no memory for its page tables");
        pool_page_count += step;
    }
}

/* First of the lowest run of free pages; pool_page_count when there is none so long. */
static u64 find_run(u64 pages) {
    u64 run = 0;
    for (u64 page = lowest_free; page < pool_page_count; page++) {
        run = pool_pages[page].state == POOL_PAGE_FREE ? run + 1 : 0;
        if (run == pages)
            return page + 1 - pages;
    }
    return pool_page_count;
}

/* Only special pool can be out of memory for a table: those of the pool's own range are all there. */
static bool map_page(u64 address, enum pool_kind kind) {
    u64 pfn = frame_allocate(kind == POOL_NONPAGED ? FRAME_POOL : FRAME_POOL_NX, FRAME_ANY);
    if (!pfn)
        return false;
    if (!pt_map(address, pfn, kind == POOL_NONPAGED ? PTE_KERNEL_DATA & ~PTE_NX : PTE_KERNEL_DATA)) {
        frame_free(pfn);
        return false;
    }
    frame_set_pte(pfn, pt_entry(address, PT));
    return true;
}

void pool_pages_unmap(u64 address, u64 pages) {
    for (; pages; pages--, address += PAGE_SIZE)
        frame_free(pte_pfn(pt_unmap(address)));
}

bool pool_pages_map(u64 address, u64 pages, enum pool_kind kind) {
    for (u64 i = 0; i < pages; i++) {
        if (!map_page(address + i * PAGE_SIZE, kind)) {
            pool_pages_unmap(address, i);
            return false;
        }
    }
    return true;
}

void *pool_pages_allocate(enum pool_kind kind, enum pool_page_state state, u64 pages) {
    u64 first = find_run(pages);
    if (first == pool_page_count)
        return NULL;
    if (!pool_pages_map(page_address(first), pages, kind))
        return NULL;
    for (u64 i = 0; i < pages; i++)
        pool_pages[first + i] = (struct pool_page){.state = i ? POOL_PAGE_BIG_REST : state, .kind = kind};
    while (lowest_free < pool_page_count && pool_pages[lowest_free].state != POOL_PAGE_FREE)
        lowest_free++;
    return (void *)page_address(first);
}

void pool_pages_free(void *base, u64 pages, u32 tag) {
    struct pool_page *page = pool_page_of((u64)base);
    pool_pages_unmap((u64)base, pages);
    for (u64 i = 0; i < pages; i++)
        page[i] = (struct pool_page){.state = POOL_PAGE_FREE, .tag = tag};
    if ((u64)(page - pool_pages) < lowest_free)
        lowest_free = (u64)(page - pool_pages);
}
