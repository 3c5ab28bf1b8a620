#include "memory/system_ptes.h"

#include "memory/frames.h"
#include "nt/rtl.h"
#include "paging/paging.h"
#include "paging/space.h"

enum system_pte_use system_pte_uses[SYSTEM_PTE_COUNT];
static u64 available = SYSTEM_PTE_COUNT;
/* Where the next search begins, so that an address just released is not reused at once and stale uses show. */
static u64 next;
/* Pages below this one have a page table: the range is used up before another table is taken for more. */
static u64 covered;
enum { PAGES_PER_TABLE = 512 };

static u64 address_of(u64 page) {
    return SYSTEM_PTES + page * PAGE_SIZE;
}

static u64 page_of(u64 address) {
    return (address - SYSTEM_PTES) >> PAGE_SHIFT;
}

/* First fit in [from, end); SYSTEM_PTE_COUNT when there is none. */
static u64 find(u64 pages, u64 from, u64 end) {
    u64 run = 0;
    for (u64 page = from; page < end; page++) {
        run = system_pte_uses[page] == SYSTEM_PTE_FREE ? run + 1 : 0;
        if (run == pages)
            return page + 1 - pages;
    }
    return SYSTEM_PTE_COUNT;
}

void *system_ptes_reserve(u64 pages, enum system_pte_use use) {
    if (!pages || pages > available)
        return NULL;
    u64 first = find(pages, next, covered);
    if (first == SYSTEM_PTE_COUNT)
        first = find(pages, 0, covered);
    if (first == SYSTEM_PTE_COUNT)
        first = find(pages, 0, SYSTEM_PTE_COUNT);
    if (first == SYSTEM_PTE_COUNT)
        return NULL;
    system_pte_uses[first] = use;
    memset(&system_pte_uses[first + 1], SYSTEM_PTE_REST, pages - 1);
    available -= pages;
    next = first + pages;
    while (covered < next)
        covered += PAGES_PER_TABLE;
    return (void *)address_of(first);
}

u64 system_ptes_reserved(u64 base, enum system_pte_use use) {
    u64 first = page_of(base), end = first + 1;
    if (OFFSET_IN_PAGE(base) || !system_ptes_contain(base) || system_pte_uses[first] != use)
        return 0;
    while (end < SYSTEM_PTE_COUNT && system_pte_uses[end] == SYSTEM_PTE_REST)
        end++;
    return end - first;
}

void system_ptes_release(void *base, u64 pages) {
    u64 first = page_of((u64)base);
    lab_assert(system_ptes_contain((u64)base) && system_pte_uses[first] != SYSTEM_PTE_FREE &&
                   system_ptes_reserved((u64)base, system_pte_uses[first]) == pages,
               "system PTEs: %llu pages at %p were not reserved together", pages, base);
    for (u64 page = first; page < first + pages; page++) {
        struct pt_walk walk;
        pt_walk(address_of(page), PT, PT_LOOK, &walk);
        lab_assert(walk.value[walk.level].raw == 0, "system PTEs: 0x%016llx released while its entry is 0x%016llx",
                   walk.address, walk.value[walk.level].raw);
    }
    memset(&system_pte_uses[first], SYSTEM_PTE_FREE, pages);
    available += pages;
}

u64 system_ptes_available(void) {
    return available;
}

u64 system_ptes_map_stack(u64 pages) {
    u64 guard = (u64)system_ptes_reserve(pages + 1, SYSTEM_PTE_STACK);
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
    lab_assert(system_ptes_reserve(1 + KERNEL_STACK_PAGES, SYSTEM_PTE_STACK) == (void *)SYSTEM_PTES,
               "system PTEs: the stack that space_leave_boot put there is not first");
}
