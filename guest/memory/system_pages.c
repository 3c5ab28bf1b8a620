#include "memory/system_pages.h"

#include "memory/system_ptes.h"
#include "paging/paging.h"
#include "paging/space.h"

void system_pages_discard(void *base, u64 pages) {
    for (u64 i = 0; i < pages; i++) {
        pte_t old = pt_unmap((u64)base + i * PAGE_SIZE);
        if (pte_present(old))
            frame_free(pte_pfn(old));
    }
}

void system_pages_unmap(void *base, u64 pages) {
    system_pages_discard(base, pages);
    system_ptes_release(base, pages);
}

static bool map_page(u64 address, enum frame_use use, enum frame_contents contents) {
    u64 pfn = frame_allocate(use, contents);
    if (!pfn)
        return false;
    if (!pt_map(address, pfn, PTE_KERNEL_DATA)) {
        frame_free(pfn);
        return false;
    }
    frame_set_pte(pfn, pt_entry(address, PT));
    return true;
}

void *system_pages_map(u64 pages, enum frame_use use, enum frame_contents contents) {
    u8 *base = system_ptes_reserve(pages, SYSTEM_PTE_PAGES);
    for (u64 i = 0; base && i < pages; i++) {
        if (!map_page((u64)base + i * PAGE_SIZE, use, contents)) {
            system_pages_unmap(base, pages);
            return NULL;
        }
    }
    return base;
}
