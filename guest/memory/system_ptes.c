#include "memory/system_ptes.h"

#include "memory/frames.h"
#include "paging/paging.h"
#include "paging/space.h"

enum { WORD_BITS = 64 };

/* One bit a page: reserved. */
static u64 reserved[SYSTEM_PTE_COUNT / WORD_BITS];
static u64 available = SYSTEM_PTE_COUNT;
/* Where the next search begins, so that an address just released is not reused at once and stale uses show. */
static u64 next;
/* Pages below this one have a page table: the range is used up before another table is taken for more. */
static u64 covered;
enum { PAGES_PER_TABLE = 512 };

static bool is_reserved(u64 page) {
    return reserved[page / WORD_BITS] >> page % WORD_BITS & 1;
}

static void mark(u64 first, u64 pages, bool as_reserved) {
    for (u64 page = first; page < first + pages; page++) {
        lab_assert(is_reserved(page) != as_reserved, "system PTEs: page %llu is %s already", page,
                   as_reserved ? "reserved" : "released");
        reserved[page / WORD_BITS] ^= 1ull << page % WORD_BITS;
    }
    available += as_reserved ? -pages : pages;
}

/* First fit in [from, end); SYSTEM_PTE_COUNT when there is none. */
static u64 find(u64 pages, u64 from, u64 end) {
    u64 run = 0;
    for (u64 page = from; page < end; page++) {
        run = is_reserved(page) ? 0 : run + 1;
        if (run == pages)
            return page + 1 - pages;
    }
    return SYSTEM_PTE_COUNT;
}

void *system_ptes_reserve(u64 pages) {
    if (!pages || pages > available)
        return NULL;
    u64 first = find(pages, next, covered);
    if (first == SYSTEM_PTE_COUNT)
        first = find(pages, 0, covered);
    if (first == SYSTEM_PTE_COUNT)
        first = find(pages, 0, SYSTEM_PTE_COUNT);
    if (first == SYSTEM_PTE_COUNT)
        return NULL;
    mark(first, pages, true);
    next = first + pages;
    while (covered < next)
        covered += PAGES_PER_TABLE;
    return (void *)(SYSTEM_PTES + first * PAGE_SIZE);
}

void system_ptes_release(void *base, u64 pages) {
    u64 first = ((u64)base - SYSTEM_PTES) >> PAGE_SHIFT;
    lab_assert(OFFSET_IN_PAGE(base) == 0 && first < SYSTEM_PTE_COUNT && pages <= SYSTEM_PTE_COUNT - first,
               "system PTEs: %llu pages at %p are not of this range", pages, base);
    for (u64 page = first; page < first + pages; page++) {
        struct pt_walk walk;
        pt_walk(SYSTEM_PTES + page * PAGE_SIZE, PT, PT_LOOK, &walk);
        lab_assert(walk.value[walk.level].raw == 0, "system PTEs: 0x%016llx released while its entry is 0x%016llx",
                   walk.address, walk.value[walk.level].raw);
    }
    mark(first, pages, false);
}

u64 system_ptes_available(void) {
    return available;
}

u64 system_ptes_map_stack(u64 pages) {
    u64 guard = (u64)system_ptes_reserve(pages + 1);
    lab_assert(guard, "system PTEs: no room for a stack of %llu pages", pages);
    for (u64 page = 1; page <= pages; page++) {
        u64 address = guard + page * PAGE_SIZE;
        u64 pfn = frame_allocate(FRAME_STACK, FRAME_ANY);
        lab_assert(pfn && pt_map(address, pfn, PTE_KERNEL_DATA), "system PTEs: no memory for a stack");
        frame_set_pte(pfn, pt_entry(address, PT));
    }
    return guard + (pages + 1) * PAGE_SIZE;
}

void system_ptes_init(void) {
    struct pt_walk walk;
    lab_assert(pt_walk(SYSTEM_PTES, PT, PT_CREATE, &walk), "system PTEs: no memory for their first table");
    mark(0, 1 + KERNEL_STACK_PAGES, true); /* what space_leave_boot put there */
    next = 1 + KERNEL_STACK_PAGES;
    covered = PAGES_PER_TABLE;
}
