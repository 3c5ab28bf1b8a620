/*
 * mdl_reserved.c - mappings at addresses that were reserved beforehand, so that mapping cannot fail.
 *
 * Windows keeps what it knows of such a reservation in two entries just below it, and some drivers read them there:
 *
 *      PTE[-2]  pages, these two included, << 32
 *      PTE[-1]  tag with bit 0 set, << 32      (as NT 6.0 and 6.1 write them; both not present)
 *      PTE[0]   zero, or a mapping
 */
#include "memory/journal.h"
#include "memory/ledger.h"
#include "memory/mapping.h"
#include "memory/mdl.h"
#include "memory/verifier.h"
#include "paging/paging.h"

enum { HELPERS = 2, HELPER_SHIFT = 32 };
#define TAG_BIT 1ull

/* What SYSTEM_PTE_MISUSE says is wrong; the three calls have three sets of numbers for the same mistakes. */
struct misuse {
    u32 not_owned, empty;
};
static const struct misuse free_misuse = {0x101, 0x102}, map_misuse = {0x104, 0x105}, unmap_misuse = {0x108, 0x109};

static pte_t *entry_of(u64 base, u64 page) {
    return pt_entry(base + page * PAGE_SIZE, PT);
}

static void set_helpers(u64 first, u64 pages, ULONG tag) {
    u64 size = pages ? pages << HELPER_SHIFT : 0;
    u64 owner = pages ? (tag | TAG_BIT) << HELPER_SHIFT : 0;
    pt_set(entry_of(first, 0), first, (pte_t){size});
    pt_set(entry_of(first, 1), first + PAGE_SIZE, (pte_t){owner});
}

/* Stops unless a reservation with this tag begins at `base`; returns how many pages it has for mappings. */
static u64 find(u64 base, ULONG tag, const struct misuse *misuse) {
    u64 first = base - HELPERS * PAGE_SIZE, pages = system_ptes_reserved(first, SYSTEM_PTE_RESERVED);
    if (!pages)
        KeBugCheckEx(SYSTEM_PTE_MISUSE, misuse->empty, base, tag, 0);
    u64 owner = (entry_of(first, 1)->raw >> HELPER_SHIFT) & ~TAG_BIT;
    if (owner != (tag & ~TAG_BIT))
        KeBugCheckEx(SYSTEM_PTE_MISUSE, misuse->not_owned, base, tag, owner);
    return pages - HELPERS;
}

/* The first page from `page` on whose entry is not zero; `end` when all are. */
static u64 first_used(u64 base, u64 page, u64 end) {
    while (page < end && !entry_of(base, page)->raw)
        page++;
    return page;
}

/* --------------------------------------------------------------------------------------------- reserve, free ---- */

/* The page tables are made now, because MmMapLockedPagesWithReservedMapping must not fail for want of memory. */
static bool make_tables(u64 first, u64 pages) {
    for (u64 i = 0; i < pages; i++) {
        struct pt_walk walk;
        if (!pt_walk(first + i * PAGE_SIZE, PT, PT_CREATE, &walk))
            return false;
    }
    return true;
}

static PVOID reserve(SIZE_T bytes, ULONG tag, const void *caller) {
    u64 pages = PAGES_OF(bytes) + HELPERS;
    if (!bytes)
        KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x100, 0, tag, (ULONG_PTR)caller);
    if (!tag || bytes > SYSTEM_PTE_COUNT * PAGE_SIZE)
        return NULL;
    u64 first = (u64)system_ptes_reserve(pages, SYSTEM_PTE_RESERVED), base = first + HELPERS * PAGE_SIZE;
    if (!first)
        return NULL;
    if (!make_tables(first, pages)) {
        system_ptes_release((PVOID)first, pages);
        return NULL;
    }
    set_helpers(first, pages, tag);
    ledger_add(LEDGER_RESERVED, (PVOID)base, (pages - HELPERS) * PAGE_SIZE, tag, caller);
    return (PVOID)base;
}

static PVOID NTAPI MmAllocateMappingAddress(SIZE_T NumberOfBytes, ULONG PoolTag) {
    return reserve(NumberOfBytes, PoolTag, CALLER());
}
NT_MEMORY_EXPORT(MmAllocateMappingAddress);

/* No flag is documented. */
static PVOID NTAPI MmAllocateMappingAddressEx(SIZE_T NumberOfBytes, ULONG PoolTag, ULONG Flags) {
    (void)Flags;
    return reserve(NumberOfBytes, PoolTag, CALLER());
}
NT_MEMORY_EXPORT(MmAllocateMappingAddressEx);

static VOID NTAPI MmFreeMappingAddress(PVOID BaseAddress, ULONG PoolTag) {
    u64 base = (u64)PAGE_ALIGN(BaseAddress), first = base - HELPERS * PAGE_SIZE;
    u64 pages = find(base, PoolTag, &free_misuse), used = first_used(base, 0, pages);
    if (used < pages)
        KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x103, base + used * PAGE_SIZE, PoolTag, pages);
    set_helpers(first, 0, 0);
    system_ptes_release((PVOID)first, pages + HELPERS);
    ledger_remove(LEDGER_RESERVED, (PVOID)base);
}
NT_MEMORY_EXPORT(MmFreeMappingAddress);

/* -------------------------------------------------------------------------------------------------- map, unmap ---- */

/* The MDL's MappedSystemVa is without the offset of the buffer in its page; what is returned is with it. */
static PVOID NTAPI MmMapLockedPagesWithReservedMapping(PVOID MappingAddress, ULONG PoolTag, PMDL MemoryDescriptorList,
                                                       MEMORY_CACHING_TYPE CacheType) {
    const void *caller = CALLER();
    PMDL mdl = MemoryDescriptorList;
    u64 base = (u64)PAGE_ALIGN(MappingAddress), reserved = find(base, PoolTag, &map_misuse), pages = mdl_pages(mdl);
    struct mapping_kind kind;
    if (lab_options.verifier)
        mdl_verify_map(mdl, false, caller);
    mdl_check_pages(mdl, caller);
    if (pages > reserved || !mapping_kind_of_cache(CacheType, &kind))
        return NULL;
    u64 used = first_used(base, 0, reserved);
    if (used < reserved)
        KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x107, base, base + used * PAGE_SIZE, base + (reserved - 1) * PAGE_SIZE);
    bool mapped = mapping_fill(base, pages, (struct mapping_frames){.list = MmGetMdlPfnArray(mdl)}, kind);
    lab_assert(mapped, "MDL: a reserved mapping at %p has no page table", base);
    mdl->MappedSystemVa = (PVOID)base;
    mdl->MdlFlags |= MDL_MAPPED_TO_SYSTEM_VA;
    if (mdl->MdlFlags & MDL_PARTIAL)
        mdl->MdlFlags |= MDL_PARTIAL_HAS_BEEN_MAPPED;
    return (PVOID)(base + mdl->ByteOffset);
}
NT_MEMORY_EXPORT(MmMapLockedPagesWithReservedMapping);

/* Stops unless all pages in [first, end) are mapped, and none behind them. */
static void check_mapped(u64 base, u64 reserved, ULONG tag, u64 first, u64 end) {
    if (end > reserved)
        KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x10a, base, reserved, end - first);
    for (u64 page = first; page < end; page++) {
        pte_t entry = *entry_of(base, page);
        if (!pte_present(entry) && !mapping_is_no_access(entry))
            KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x10b, base, tag, end - first);
    }
    if (first_used(base, end, reserved) < reserved)
        KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x10c, base, tag, end - first);
}

/* MmAdvanceMdl may have passed the first pages; their entries are zero already. */
static VOID NTAPI MmUnmapReservedMapping(PVOID BaseAddress, ULONG PoolTag, PMDL MemoryDescriptorList) {
    PMDL mdl = MemoryDescriptorList;
    u64 base = (u64)PAGE_ALIGN(BaseAddress), reserved = find(base, PoolTag, &unmap_misuse);
    u64 passed = mdl_passed_pages(mdl), pages = mdl_pages(mdl);
    check_mapped(base, reserved, PoolTag, passed, passed + pages);
    mapping_clear(base + passed * PAGE_SIZE, pages);
    mdl->MdlFlags &= ~(MDL_MAPPED_TO_SYSTEM_VA | MDL_PARTIAL_HAS_BEEN_MAPPED | MDL_FREE_EXTRA_PTES);
}
NT_MEMORY_EXPORT(MmUnmapReservedMapping);
