#include "memory/user_pages.h"

#include "memory/frames.h"
#include "memory/ledger.h"
#include "memory/mdl.h"
#include "paging/paging.h"
#include "paging/space.h"

static bool used[USER_PAGE_COUNT];

static u64 address_of(u64 page) {
    return USER_PAGES + page * PAGE_SIZE;
}

/* First of the lowest run that is free; USER_PAGE_COUNT when there is none. */
static u64 find(u64 pages) {
    u64 run = 0;
    for (u64 page = 0; page < USER_PAGE_COUNT; page++) {
        run = used[page] ? 0 : run + 1;
        if (run == pages)
            return page + 1 - pages;
    }
    return USER_PAGE_COUNT;
}

static bool are_free(u64 first, u64 pages) {
    for (u64 i = 0; i < pages; i++) {
        if (first + i >= USER_PAGE_COUNT || used[first + i])
            return false;
    }
    return true;
}

void *user_pages_reserve(u64 pages, void *wanted) {
    u64 first = wanted ? ((u64)wanted - USER_PAGES) >> PAGE_SHIFT : find(pages);
    if (!pages || pages > USER_PAGE_COUNT || first >= USER_PAGE_COUNT || !are_free(first, pages))
        return NULL;
    for (u64 i = 0; i < pages; i++)
        used[first + i] = true;
    return (void *)address_of(first);
}

void user_pages_release(void *base, u64 pages) {
    u64 first = ((u64)base - USER_PAGES) >> PAGE_SHIFT;
    for (u64 i = 0; i < pages; i++)
        used[first + i] = false;
}

static bool map_page(u64 page) {
    u64 pfn = frame_allocate(FRAME_USER, FRAME_ZERO);
    if (!pfn)
        return false;
    if (!pt_map(address_of(page), pfn, (PTE_KERNEL_DATA | PTE_U) & ~PTE_G)) {
        frame_free(pfn);
        return false;
    }
    frame_set_pte(pfn, pt_entry(address_of(page), PT));
    used[page] = true;
    return true;
}

static void unmap_page(u64 page) {
    frame_free(pte_pfn(pt_unmap(address_of(page))));
    used[page] = false;
}

void *user_pages_map(u64 bytes) {
    u64 pages = PAGES_OF(bytes), first = bytes ? find(pages) : USER_PAGE_COUNT;
    if (first == USER_PAGE_COUNT)
        return NULL;
    for (u64 i = 0; i < pages; i++) {
        if (!map_page(first + i)) {
            while (i-- > 0)
                unmap_page(first + i);
            return NULL;
        }
    }
    return (void *)address_of(first);
}

void user_pages_unmap(void *base, u64 bytes) {
    u64 first = ((u64)base - USER_PAGES) >> PAGE_SHIFT;
    for (u64 i = 0; base && i < PAGES_OF(bytes); i++)
        unmap_page(first + i);
}

/* ------------------------------------------------------------------------------------------------- left locked ---- */

static u64 count_locked(u64 base, u64 pages) {
    u64 count = 0;
    for (u64 i = 0; i < pages; i++)
        count += frame_is_locked(pte_pfn(*pt_entry(base + i * PAGE_SIZE, PT)));
    return count;
}

/* A driver's lock of pages that begin there; NULL where nobody knows of it. */
static const struct ledger_entry *find_lock(u64 base, u64 pages) {
    for (u64 i = 0; i < LEDGER_ENTRIES; i++) {
        const struct ledger_entry *entry = &ledger_entries[i];
        const MDL *mdl = (const MDL *)entry->address;
        u64 physical;
        if (entry->driver && entry->kind == LEDGER_LOCK && pt_translate(entry->address, &physical) &&
            (u64)mdl->StartVa - base < pages * PAGE_SIZE)
            return entry;
    }
    return NULL;
}

void user_pages_check_unlocked(const void *base, u64 bytes) {
    u64 count = base ? count_locked((u64)base, PAGES_OF(bytes)) : 0;
    const struct ledger_entry *lock = count && lab_options.verifier ? find_lock((u64)base, PAGES_OF(bytes)) : NULL;
    if (lock)
        KeBugCheckEx(DRIVER_LEFT_LOCKED_PAGES_IN_PROCESS, lock->caller, 0, lock->address, count);
    if (count)
        KeBugCheckEx(PROCESS_HAS_LOCKED_PAGES, 0, (ULONG_PTR)PsGetCurrentProcess(), count, 0);
}
