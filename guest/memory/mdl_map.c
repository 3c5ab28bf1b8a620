/*
 * mdl_map.c - a second address for the frames of an MDL, its rights, and the end of it.
 */
#include "cpu/cpu.h"
#include "memory/inject.h"
#include "memory/journal.h"
#include "memory/ledger.h"
#include "memory/mapping.h"
#include "memory/mdl.h"
#include "memory/user_pages.h"
#include "memory/verifier.h"
#include "nt/fault.h"
#include "paging/paging.h"

/* ------------------------------------------------------------------------------------------------------ checks ---- */

/* What must not be set in an MDL that is mapped, and what must be. */
enum {
    MAP_FORBIDDEN = MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL | MDL_PARTIAL_HAS_BEEN_MAPPED,
    MAP_REQUIRED = MDL_PAGES_LOCKED | MDL_PARTIAL,
};

void mdl_verify_map(PMDL mdl, bool bugcheck_on_failure, const void *caller) {
    u16 flags = mdl_flags(mdl);
    if (flags & MAP_FORBIDDEN)
        verifier_stop(VERIFIER_MAP_FLAGS, caller, (u64)mdl, flags, flags & MAP_FORBIDDEN);
    if (!(flags & MAP_REQUIRED))
        verifier_stop(VERIFIER_MAP_MISSING_FLAGS, caller, (u64)mdl, flags, MAP_REQUIRED);
    if (bugcheck_on_failure)
        verifier_stop(VERIFIER_MAP_BUGCHECK, caller, (u64)mdl, flags, 0);
}

/* A frame that somebody keeps, or an address of a device that the MDL admits to describe. */
static bool may_be_mapped(const MDL *mdl, u64 pfn) {
    if (frame_is_ram(pfn))
        return frame_use(pfn) != FRAME_UNUSED;
    return mdl->MdlFlags & MDL_IO_SPACE && pfn < 1ull << (lab_cpu.max_physical_bits - PAGE_SHIFT);
}

/* Stops at the first page that may change its owner while it is mapped. */
void mdl_check_pages(PMDL mdl, const void *caller) {
    bool described = mdl->MdlFlags & (MAP_REQUIRED | MDL_SOURCE_IS_NONPAGED_POOL);
    for (u64 i = 0; i < mdl_pages(mdl); i++) {
        PPFN_NUMBER frame = &MmGetMdlPfnArray(mdl)[i];
        if (described && may_be_mapped(mdl, *frame))
            continue;
        if (lab_options.verifier && !frame_is_ram(*frame))
            verifier_stop(VERIFIER_MAP_NOT_IO, caller, (u64)mdl, (u64)frame, *frame);
        if (lab_options.verifier)
            verifier_stop(VERIFIER_MAP_NOT_LOCKED, caller, (u64)mdl, mdl_pages(mdl), *frame);
        KeBugCheckEx(MEMORY_MANAGEMENT, 0x1233, *frame, (ULONG_PTR)mdl, 0);
    }
}

/* ----------------------------------------------------------------------------------------------------- mapping ---- */

/* Writable and, as up to Windows 7, executable, unless Priority takes that away. */
static enum mapping_rights rights_of(ULONG priority) {
    return MAPPING_READ | (priority & MdlMappingNoWrite ? 0 : MAPPING_WRITE) |
           (priority & MdlMappingNoExecute ? 0 : MAPPING_EXECUTE);
}

/* 0 when it cannot be had: system PTEs or frames have run out, or the memory type has no meaning. */
static u64 make_mapping(PMDL mdl, MEMORY_CACHING_TYPE cache, ULONG priority) {
    struct mapping_kind kind;
    if (!mapping_kind_of_cache(cache, &kind) || inject_failure(FAIL_MAP))
        return 0;
    kind.rights = mapping_rights_bits(rights_of(priority));
    return mapping_make(SYSTEM_PTE_MDL, mdl_pages(mdl), (struct mapping_frames){.list = MmGetMdlPfnArray(mdl)}, kind);
}

/*
 * Maps the MDL of nonpaged pool as well, although the documentation calls that undefined: so does free Windows, and
 * many a tutorial relies on it. Its MappedSystemVa is then the new address, and stays so after it is unmapped.
 */
static PVOID map(PMDL mdl, MEMORY_CACHING_TYPE cache, bool bugcheck_on_failure, ULONG priority, const void *caller) {
    if (lab_options.verifier)
        mdl_verify_map(mdl, bugcheck_on_failure, caller);
    if (lab_options.code_integrity && !(priority & MdlMappingNoExecute))
        verifier_stop(VERIFIER_EXECUTABLE_MAPPING, caller, (u64)caller, priority, 0);
    mdl_check_pages(mdl, caller);
    u64 base = make_mapping(mdl, cache, priority);
    if (!base && bugcheck_on_failure)
        KeBugCheckEx(NO_MORE_SYSTEM_PTES, 0, mdl_pages(mdl), system_ptes_available(), SYSTEM_PTE_COUNT);
    if (!base)
        return NULL;
    ledger_add(LEDGER_MAPPING, (PVOID)base, mdl_pages(mdl) * PAGE_SIZE, 0, caller);
    mdl->MappedSystemVa = (PVOID)(base + mdl->ByteOffset);
    mdl->MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA;
    if (mdl->MdlFlags & MDL_PARTIAL)
        mdl->MdlFlags |= MDL_PARTIAL_HAS_BEEN_MAPPED;
    return mdl->MappedSystemVa;
}

/* Where a program may see the pages: the address that was asked for, or any; raises what Windows raises. */
static void *reserve_user_pages(u64 pages, PVOID requested) {
    void *base = user_pages_reserve(pages, requested);
    if (!base && (OFFSET_IN_PAGE(requested) || (u64)requested > HIGHEST_USER_ADDRESS))
        ExRaiseStatus(STATUS_INVALID_ADDRESS);
    if (!base)
        ExRaiseStatus(requested ? STATUS_CONFLICTING_ADDRESSES : STATUS_INSUFFICIENT_RESOURCES);
    return base;
}

/*
 * User pages are never executable. The MDL keeps no note of them: it may be mapped for many programs, and for the
 * system as well. Nonpaged pool may be shared so, which is what most drivers do that share memory.
 */
static PVOID map_for_user(PMDL mdl, MEMORY_CACHING_TYPE cache, PVOID requested, ULONG priority, const void *caller) {
    struct mapping_kind kind;
    mdl_check_pages(mdl, caller);
    if (!mapping_kind_of_cache(cache, &kind) || inject_failure(FAIL_MAP))
        ExRaiseStatus(STATUS_INSUFFICIENT_RESOURCES);
    kind.rights = (mapping_rights_bits(rights_of(priority | MdlMappingNoExecute)) | PTE_U) & ~(u64)PTE_G;
    u64 pages = mdl_pages(mdl);
    u8 *base = reserve_user_pages(pages, requested);
    if (!mapping_fill((u64)base, pages, (struct mapping_frames){.list = MmGetMdlPfnArray(mdl)}, kind)) {
        user_pages_release(base, pages);
        ExRaiseStatus(STATUS_INSUFFICIENT_RESOURCES);
    }
    ledger_add(LEDGER_MAPPING, base, pages * PAGE_SIZE, 0, caller);
    return base + mdl->ByteOffset;
}

PVOID NTAPI MmMapLockedPagesSpecifyCache(PMDL MemoryDescriptorList, KPROCESSOR_MODE AccessMode,
                                         MEMORY_CACHING_TYPE CacheType, PVOID RequestedAddress, ULONG BugCheckOnFailure,
                                         ULONG Priority) {
    const void *caller = CALLER();
    PMDL mdl = MemoryDescriptorList;
    if (AccessMode == KernelMode) {
        verify_irql(DISPATCH_LEVEL, VERIFIER_MAP_KERNEL_IRQL, caller, (u64)mdl, (u64)AccessMode);
        return map(mdl, CacheType, BugCheckOnFailure, Priority, caller);
    }
    verify_irql(APC_LEVEL, VERIFIER_MAP_USER_IRQL, caller, (u64)mdl, (u64)AccessMode);
    return map_for_user(mdl, CacheType, RequestedAddress, Priority, caller);
}
NT_MEMORY_EXPORT(MmMapLockedPagesSpecifyCache);

PVOID NTAPI MmMapLockedPages(PMDL MemoryDescriptorList, KPROCESSOR_MODE AccessMode) {
    const void *caller = CALLER();
    PMDL mdl = MemoryDescriptorList;
    bool kernel = AccessMode == KernelMode;
    verify_irql(kernel ? DISPATCH_LEVEL : APC_LEVEL, kernel ? VERIFIER_MAP_OLD_KERNEL_IRQL : VERIFIER_MAP_OLD_USER_IRQL,
                caller, (u64)mdl, (u64)AccessMode);
    if (lab_options.verifier)
        verifier_stop(VERIFIER_MAP_OLD, caller, (u64)mdl, mdl_flags(mdl), 0);
    if (!kernel)
        return map_for_user(mdl, MmCached, NULL, HighPagePriority, caller);
    return map(mdl, MmCached, true, HighPagePriority, caller);
}
NT_MEMORY_EXPORT(MmMapLockedPages);

PVOID NTAPI MmGetSystemAddressForMdlSafe(PMDL Mdl, ULONG Priority) {
    if (Mdl->MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL))
        return Mdl->MappedSystemVa;
    return map(Mdl, MmCached, false, Priority, CALLER());
}
NT_MEMORY_EXPORT(MmGetSystemAddressForMdlSafe);

/* --------------------------------------------------------------------------------------------------- unmapping ---- */

static void verify_unmap(PVOID address, PMDL mdl, const void *caller) {
    u16 flags = mdl_flags(mdl);
    if (!(flags & MDL_MAPPED_TO_SYSTEM_VA))
        verifier_stop(VERIFIER_UNMAP_NOT_MAPPED, caller, (u64)mdl, flags, MDL_MAPPED_TO_SYSTEM_VA);
    if (flags & MDL_PARTIAL && !(flags & MDL_PARTIAL_HAS_BEEN_MAPPED))
        verifier_stop(VERIFIER_UNMAP_PARTIAL, caller, (u64)mdl, flags, MDL_PARTIAL);
    if (PAGE_ALIGN(address) != PAGE_ALIGN(mdl->MappedSystemVa))
        KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x03, (ULONG_PTR)mdl, (ULONG_PTR)mdl->MappedSystemVa, (ULONG_PTR)address);
}

/* Stops unless the pages from `base` on map just the frames that the MDL names. */
static void check_frames(u64 base, PVOID address, PMDL mdl) {
    u64 pages = mdl_pages(mdl);
    for (u64 i = 0; i < pages; i++) {
        struct pt_walk walk;
        pt_walk(base + i * PAGE_SIZE, PT, PT_LOOK, &walk);
        pte_t entry = walk.level == PT ? walk.value[PT] : pte_none();
        u64 pfn = MmGetMdlPfnArray(mdl)[i];
        if (!pte_present(entry) && !mapping_is_no_access(entry))
            KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x06, (ULONG_PTR)mdl, (ULONG_PTR)address, pages);
        if (pte_pfn(entry) != pfn)
            KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x04, (ULONG_PTR)mdl, pte_pfn(entry), pfn);
    }
}

/* Stops unless just this MDL's pages, and those it has passed, were mapped together. */
static void check_mapping(u64 base, PVOID address, PMDL mdl) {
    u64 pages = mdl_pages(mdl), passed = mdl_passed_pages(mdl);
    if (!(mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA))
        KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x06, (ULONG_PTR)mdl, (ULONG_PTR)address, pages);
    if (!system_ptes_contain(base) || !system_ptes_contain(base + (pages - 1) * PAGE_SIZE))
        KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x03, (ULONG_PTR)mdl, (ULONG_PTR)mdl->MappedSystemVa, (ULONG_PTR)address);
    check_frames(base, address, mdl);
    u64 together = system_ptes_reserved(base - passed * PAGE_SIZE, SYSTEM_PTE_MDL);
    if (together != pages + passed)
        KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x02, (ULONG_PTR)mdl, together, pages + passed);
}

/* Any address in the first page of the mapping will do, as in Windows. */
void mdl_unmap(PVOID address, PMDL mdl) {
    u64 base = (u64)PAGE_ALIGN(address), passed = mdl_passed_pages(mdl);
    check_mapping(base, address, mdl);
    base -= passed * PAGE_SIZE;
    mapping_remove(base, mdl_pages(mdl) + passed);
    mdl->MdlFlags &= ~(MDL_MAPPED_TO_SYSTEM_VA | MDL_PARTIAL_HAS_BEEN_MAPPED | MDL_FREE_EXTRA_PTES);
    ledger_remove(LEDGER_MAPPING, (PVOID)base);
}

static void unmap_for_user(PVOID address, PMDL mdl) {
    u64 base = (u64)PAGE_ALIGN(address), pages = mdl_pages(mdl);
    check_frames(base, address, mdl);
    mapping_clear(base, pages);
    user_pages_release((void *)base, pages);
    ledger_remove(LEDGER_MAPPING, (PVOID)base);
}

VOID NTAPI MmUnmapLockedPages(PVOID BaseAddress, PMDL MemoryDescriptorList) {
    const void *caller = CALLER();
    PMDL mdl = MemoryDescriptorList;
    bool user = (u64)BaseAddress <= HIGHEST_USER_ADDRESS;
    verify_irql(user ? APC_LEVEL : DISPATCH_LEVEL, user ? VERIFIER_UNMAP_USER_IRQL : VERIFIER_UNMAP_KERNEL_IRQL, caller,
                (u64)BaseAddress, (u64)mdl);
    if (user) {
        unmap_for_user(BaseAddress, mdl);
        return;
    }
    if (lab_options.verifier)
        verify_unmap(BaseAddress, mdl, caller);
    mdl_unmap(BaseAddress, mdl);
}
NT_MEMORY_EXPORT(MmUnmapLockedPages);

VOID NTAPI MmPrepareMdlForReuse(PMDL Mdl) {
    if (Mdl->MdlFlags & MDL_PARTIAL_HAS_BEEN_MAPPED)
        mdl_unmap(Mdl->MappedSystemVa, Mdl);
}
NT_MEMORY_EXPORT(MmPrepareMdlForReuse);

/* -------------------------------------------------------------------------------------------------- protecting ---- */

/* The entry of a page that must not be touched, as Windows leaves it: transition, with the frame. */
enum { NO_ACCESS_BITS = 0x18 << 5 | 1 << 11 };

/* NULL for the rights: none. */
static pte_t protect(pte_t entry, const u64 *rights) {
    u64 kept = entry.raw & (PTE_PWT | PTE_PCD);
    return pte_make(pte_pfn(entry), kept | (rights ? *rights : NO_ACCESS_BITS));
}

static void protect_pages(PMDL mdl, const u64 *rights) {
    u64 base = (u64)PAGE_ALIGN(mdl->MappedSystemVa);
    for (u64 i = 0; i < mdl_pages(mdl); i++) {
        struct pt_walk walk;
        pt_walk(base + i * PAGE_SIZE, PT, PT_LOOK, &walk);
        pte_t entry = walk.level == PT ? walk.value[PT] : pte_none();
        if (!pte_present(entry) && !mapping_is_no_access(entry))
            KeBugCheckEx(MEMORY_MANAGEMENT, 0x1235, (ULONG_PTR)mdl, (ULONG_PTR)pt_entry(walk.address, PT), entry.raw);
        pt_set(walk.entry[PT], walk.address, protect(entry, rights));
    }
}

static NTSTATUS NTAPI MmProtectMdlSystemAddress(PMDL MemoryDescriptorList, ULONG NewProtect) {
    const void *caller = CALLER();
    enum mapping_rights rights = 0;
    if (!(MemoryDescriptorList->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA))
        return STATUS_NOT_MAPPED_VIEW;
    if (NewProtect != PAGE_NOACCESS && !mapping_rights_of(NewProtect, &rights))
        return STATUS_INVALID_PAGE_PROTECTION;
    if (lab_options.code_integrity && rights & MAPPING_EXECUTE)
        verifier_stop(VERIFIER_EXECUTABLE_PROTECTION, caller, (u64)caller, NewProtect, 0);
    u64 bits = mapping_rights_bits(rights);
    protect_pages(MemoryDescriptorList, rights ? &bits : NULL);
    return STATUS_SUCCESS;
}
NT_MEMORY_EXPORT(MmProtectMdlSystemAddress);
