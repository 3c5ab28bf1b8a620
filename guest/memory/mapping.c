#include "memory/mapping.h"

#include "paging/paging.h"
#include "paging/space.h"

/* ------------------------------------------------------------------------------------------------ memory types ---- */

bool mapping_cache_of(MEMORY_CACHING_TYPE type, enum pfn_cache *ret) {
    switch (type) {
    case MmNonCached:
    case MmNonCachedUnordered:
        *ret = PFN_NON_CACHED;
        return true;
    case MmCached:
    case MmHardwareCoherentCached:
        *ret = PFN_CACHED;
        return true;
    case MmWriteCombined:
    case MmUSWCCached:
        *ret = PFN_WRITE_COMBINED;
        return true;
    default:
        return false;
    }
}

bool mapping_kind_of_cache(MEMORY_CACHING_TYPE type, struct mapping_kind *ret) {
    ret->rights = mapping_rights_bits(MAPPING_ALL);
    return mapping_cache_of(type, &ret->cache);
}

/* The PAT is WB WC UC- UC in entries 0 to 3 (cpu/cpu.c); PWT is bit 0 of the entry's number, PCD bit 1. */
static u64 cache_bits(enum pfn_cache cache) {
    switch (cache) {
    case PFN_CACHED:
        return 0;
    case PFN_WRITE_COMBINED:
        return PTE_PWT;
    default:
        return PTE_PCD | PTE_PWT;
    }
}

/*
 * A frame of RAM that has a memory type keeps it, whatever was asked for: two types for one frame are undefined by the
 * CPU's manual. A frame without one gets it from its first mapping and keeps it until it is freed.
 */
static enum pfn_cache cache_of(u64 pfn, enum pfn_cache wanted) {
    if (!frame_is_ram(pfn))
        return wanted;
    if (frame_cache(pfn) == PFN_NOT_MAPPED)
        frame_set_cache(pfn, wanted);
    return frame_cache(pfn);
}

/* ------------------------------------------------------------------------------------------------------ rights ---- */

u64 mapping_rights_bits(enum mapping_rights rights) {
    u64 bits = PTE_KERNEL_DATA;
    if (!(rights & MAPPING_WRITE))
        bits &= ~(u64)(PTE_W | PTE_D | PTE_SW_WRITE);
    if (rights & MAPPING_EXECUTE)
        bits &= ~PTE_NX;
    return bits;
}

bool mapping_rights_of(ULONG protect, enum mapping_rights *ret) {
    switch (protect) {
    case PAGE_READONLY:
        *ret = MAPPING_READ;
        return true;
    case PAGE_READWRITE:
        *ret = MAPPING_READ | MAPPING_WRITE;
        return true;
    case PAGE_EXECUTE:
    case PAGE_EXECUTE_READ:
        *ret = MAPPING_READ | MAPPING_EXECUTE;
        return true;
    case PAGE_EXECUTE_READWRITE:
        *ret = MAPPING_ALL;
        return true;
    default:
        return false;
    }
}

bool mapping_kind_of_protect(ULONG protect, struct mapping_kind *ret) {
    const ULONG caching = PAGE_NOCACHE | PAGE_WRITECOMBINE;
    enum mapping_rights rights;
    if ((protect & caching) == caching || !mapping_rights_of(protect & ~caching, &rights))
        return false;
    ret->rights = mapping_rights_bits(rights);
    ret->cache = protect & PAGE_NOCACHE        ? PFN_NON_CACHED
                 : protect & PAGE_WRITECOMBINE ? PFN_WRITE_COMBINED
                                               : PFN_CACHED;
    return true;
}

/* ----------------------------------------------------------------------------------------------------- mapping ---- */

static void clear(u64 base, u64 pages, bool owned) {
    for (u64 i = 0; i < pages; i++) {
        u64 pfn = pte_pfn(pt_unmap(base + i * PAGE_SIZE));
        if (!owned)
            frame_count_mapping(pfn, -1);
    }
}

bool mapping_fill(u64 base, u64 pages, struct mapping_frames frames, struct mapping_kind kind) {
    for (u64 i = 0; i < pages; i++) {
        u64 pfn = frames.list ? frames.list[i] : frames.first + i, address = base + i * PAGE_SIZE;
        if (!pt_map(address, pfn, kind.rights | cache_bits(cache_of(pfn, kind.cache)))) {
            clear(base, i, frames.owned);
            return false;
        }
        if (frames.owned)
            frame_set_pte(pfn, pt_entry(address, PT));
        else
            frame_count_mapping(pfn, 1);
    }
    return true;
}

void mapping_clear(u64 base, u64 pages) {
    clear(base, pages, false);
}

u64 mapping_make(enum system_pte_use use, u64 pages, struct mapping_frames frames, struct mapping_kind kind) {
    u64 base = (u64)system_ptes_reserve(pages, use);
    if (base && !mapping_fill(base, pages, frames, kind)) {
        system_ptes_release((void *)base, pages);
        return 0;
    }
    return base;
}

void mapping_remove(u64 base, u64 pages) {
    mapping_clear(base, pages);
    system_ptes_release((void *)base, pages);
}
