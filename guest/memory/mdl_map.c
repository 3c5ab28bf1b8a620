/*
 * mdl_map.c - a second address for the frames of an MDL, and the end of it.
 */
#include "cpu/cpu.h"
#include "memory/inject.h"
#include "memory/mdl.h"
#include "memory/system_ptes.h"
#include "paging/paging.h"
#include "paging/space.h"

/* ------------------------------------------------------------------------------------------------ memory types ---- */

bool mdl_cache_of(MEMORY_CACHING_TYPE type, enum pfn_cache *ret) {
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

/* ----------------------------------------------------------------------------------------------------- entries ---- */

/* Writable and, as up to Windows 7, executable, unless Priority takes that away. */
static u64 rights_bits(ULONG priority) {
    u64 bits = PTE_KERNEL_DATA;
    if (priority & MdlMappingNoWrite)
        bits &= ~(u64)(PTE_W | PTE_D | PTE_SW_WRITE);
    if (!(priority & MdlMappingNoExecute))
        bits &= ~PTE_NX;
    return bits;
}

/* Counts a mapping in a frame's share count; a frame that was freed while mapped has nothing to count any more. */
static void count_mapping(u64 pfn, int change) {
    MMPFN *frame = frame_record(pfn);
    if (frame && frame_use(pfn) != FRAME_UNUSED && (change > 0 || frame->u2 > 1))
        frame->u2 += (u64)(i64)change;
}

static void unmap_pages(u64 base, u64 pages) {
    for (u64 i = 0; i < pages; i++)
        count_mapping(pte_pfn(pt_unmap(base + i * PAGE_SIZE)), -1);
}

/* 0 when system PTEs, or frames for their tables, have run out; then nothing is mapped. */
static u64 map_pages(PMDL mdl, enum pfn_cache cache, ULONG priority) {
    u64 pages = mdl_pages(mdl);
    u64 base = (u64)system_ptes_reserve(pages);
    if (!base)
        return 0;
    for (u64 i = 0; i < pages; i++) {
        u64 pfn = MmGetMdlPfnArray(mdl)[i];
        if (!pt_map(base + i * PAGE_SIZE, pfn, rights_bits(priority) | cache_bits(cache_of(pfn, cache)))) {
            unmap_pages(base, i);
            system_ptes_release((void *)base, pages);
            return 0;
        }
        count_mapping(pfn, 1);
    }
    return base;
}

/* ----------------------------------------------------------------------------------------------------- mapping ---- */

/* What must not be set in an MDL that is mapped, and what must be. */
enum {
    MAP_FORBIDDEN = MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL | MDL_PARTIAL_HAS_BEEN_MAPPED,
    MAP_REQUIRED = MDL_PAGES_LOCKED | MDL_PARTIAL,
};

static void verify_map(PMDL mdl, bool bugcheck_on_failure) {
    u16 flags = mdl_flags(mdl);
    if (flags & MAP_FORBIDDEN)
        KeBugCheckEx(DRIVER_VERIFIER_DETECTED_VIOLATION, 0xb2, (ULONG_PTR)mdl, flags, flags & MAP_FORBIDDEN);
    if (!(flags & MAP_REQUIRED))
        KeBugCheckEx(DRIVER_VERIFIER_DETECTED_VIOLATION, 0xb3, (ULONG_PTR)mdl, flags, MAP_REQUIRED);
    if (bugcheck_on_failure)
        KeBugCheckEx(DRIVER_VERIFIER_DETECTED_VIOLATION, 0x82, (ULONG_PTR)mdl, flags, 0);
}

/* A frame that somebody keeps, or an address of a device that the MDL admits to describe. */
static bool may_be_mapped(const MDL *mdl, u64 pfn) {
    if (frame_is_ram(pfn))
        return frame_use(pfn) != FRAME_UNUSED;
    return mdl->MdlFlags & MDL_IO_SPACE && pfn < 1ull << (lab_cpu.max_physical_bits - PAGE_SHIFT);
}

/* Stops at the first page that may change its owner while it is mapped; an MDL never described has only such. */
static void check_pages(PMDL mdl) {
    bool described = mdl->MdlFlags & (MAP_REQUIRED | MDL_SOURCE_IS_NONPAGED_POOL);
    for (u64 i = 0; i < mdl_pages(mdl); i++) {
        u64 pfn = MmGetMdlPfnArray(mdl)[i];
        if (!described || !may_be_mapped(mdl, pfn))
            KeBugCheckEx(MEMORY_MANAGEMENT, 0x1233, pfn, (ULONG_PTR)mdl, 0);
    }
}

/*
 * Maps the MDL of nonpaged pool as well, although the documentation calls that undefined: so does free Windows, and
 * many a tutorial relies on it. Its MappedSystemVa is then the new address, and stays so after it is unmapped.
 */
PVOID NTAPI MmMapLockedPagesSpecifyCache(PMDL MemoryDescriptorList, KPROCESSOR_MODE AccessMode,
                                         MEMORY_CACHING_TYPE CacheType, PVOID RequestedAddress, ULONG BugCheckOnFailure,
                                         ULONG Priority) {
    PMDL mdl = MemoryDescriptorList;
    (void)RequestedAddress; /* only for user addresses */
    if (AccessMode != KernelMode) {
        log_print("MmMapLockedPagesSpecifyCache: there is no user mode to map MDL %p into\n", mdl);
        return NULL; /* Windows raises an exception */
    }
    if (lab_options.verifier)
        verify_map(mdl, BugCheckOnFailure);
    check_pages(mdl);
    enum pfn_cache cache;
    bool possible = mdl_cache_of(CacheType, &cache) && !inject_failure(FAIL_MAP);
    u64 base = possible ? map_pages(mdl, cache, Priority) : 0;
    if (!base && BugCheckOnFailure)
        KeBugCheckEx(NO_MORE_SYSTEM_PTES, 0, mdl_pages(mdl), system_ptes_available(), SYSTEM_PTE_COUNT);
    if (!base)
        return NULL;
    mdl->MappedSystemVa = (PVOID)(base + mdl->ByteOffset);
    mdl->MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA;
    if (mdl->MdlFlags & MDL_PARTIAL)
        mdl->MdlFlags |= MDL_PARTIAL_HAS_BEEN_MAPPED;
    return mdl->MappedSystemVa;
}
NT_EXPORT(MmMapLockedPagesSpecifyCache);

PVOID NTAPI MmMapLockedPages(PMDL MemoryDescriptorList, KPROCESSOR_MODE AccessMode) {
    if (lab_options.verifier)
        KeBugCheckEx(DRIVER_VERIFIER_DETECTED_VIOLATION, 0x81, (ULONG_PTR)MemoryDescriptorList,
                     mdl_flags(MemoryDescriptorList), 0);
    return MmMapLockedPagesSpecifyCache(MemoryDescriptorList, AccessMode, MmCached, NULL, TRUE, HighPagePriority);
}
NT_EXPORT(MmMapLockedPages);

PVOID NTAPI MmGetSystemAddressForMdlSafe(PMDL Mdl, ULONG Priority) {
    if (Mdl->MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL))
        return Mdl->MappedSystemVa;
    return MmMapLockedPagesSpecifyCache(Mdl, KernelMode, MmCached, NULL, FALSE, Priority);
}
NT_EXPORT(MmGetSystemAddressForMdlSafe);

/* --------------------------------------------------------------------------------------------------- unmapping ---- */

static void verify_unmap(PVOID address, PMDL mdl) {
    u16 flags = mdl_flags(mdl);
    if (!(flags & MDL_MAPPED_TO_SYSTEM_VA))
        KeBugCheckEx(DRIVER_VERIFIER_DETECTED_VIOLATION, 0xb6, (ULONG_PTR)mdl, flags, MDL_MAPPED_TO_SYSTEM_VA);
    if (flags & MDL_PARTIAL && !(flags & MDL_PARTIAL_HAS_BEEN_MAPPED))
        KeBugCheckEx(DRIVER_VERIFIER_DETECTED_VIOLATION, 0xb5, (ULONG_PTR)mdl, flags, MDL_PARTIAL);
    if (PAGE_ALIGN(address) != PAGE_ALIGN(mdl->MappedSystemVa))
        KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x03, (ULONG_PTR)mdl, (ULONG_PTR)mdl->MappedSystemVa, (ULONG_PTR)address);
}

/* Stops unless the system PTEs from `base` on map just the frames that the MDL names. */
static void check_mapping(u64 base, PVOID address, PMDL mdl) {
    u64 pages = mdl_pages(mdl), first = (base - SYSTEM_PTES) >> PAGE_SHIFT;
    if (!(mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA))
        KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x06, (ULONG_PTR)mdl, (ULONG_PTR)address, pages);
    if (first >= SYSTEM_PTE_COUNT || pages > SYSTEM_PTE_COUNT - first)
        KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x03, (ULONG_PTR)mdl, (ULONG_PTR)mdl->MappedSystemVa, (ULONG_PTR)address);
    for (u64 i = 0; i < pages; i++) {
        u64 physical, pfn = MmGetMdlPfnArray(mdl)[i];
        if (!pt_translate(base + i * PAGE_SIZE, &physical))
            KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x06, (ULONG_PTR)mdl, (ULONG_PTR)address, pages);
        if (physical >> PAGE_SHIFT != pfn)
            KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x04, (ULONG_PTR)mdl, physical >> PAGE_SHIFT, pfn);
    }
}

/* Any address in the first page of the mapping will do, as in Windows. */
VOID NTAPI MmUnmapLockedPages(PVOID BaseAddress, PMDL MemoryDescriptorList) {
    PMDL mdl = MemoryDescriptorList;
    u64 base = (u64)PAGE_ALIGN(BaseAddress);
    if (lab_options.verifier)
        verify_unmap(BaseAddress, mdl);
    check_mapping(base, BaseAddress, mdl);
    unmap_pages(base, mdl_pages(mdl));
    system_ptes_release((void *)base, mdl_pages(mdl));
    mdl->MdlFlags &= ~(MDL_MAPPED_TO_SYSTEM_VA | MDL_PARTIAL_HAS_BEEN_MAPPED);
}
NT_EXPORT(MmUnmapLockedPages);

VOID NTAPI MmPrepareMdlForReuse(PMDL Mdl) {
    if (Mdl->MdlFlags & MDL_PARTIAL_HAS_BEEN_MAPPED)
        MmUnmapLockedPages(Mdl->MappedSystemVa, Mdl);
}
NT_EXPORT(MmPrepareMdlForReuse);
