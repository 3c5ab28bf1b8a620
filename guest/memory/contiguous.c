/*
 * contiguous.c - memory that comes with an address of its own: physically contiguous, or not cached.
 */
#include "memory/journal.h"
#include "memory/ledger.h"
#include "memory/mapping.h"
#include "memory/pool_blocks.h"
#include "nt/rtl.h"
#include "paging/paging.h"

static void release(u64 base, u64 pages) {
    for (u64 i = 0; i < pages; i++)
        frame_free(pte_pfn(pt_unmap(base + i * PAGE_SIZE)));
    system_ptes_release((PVOID)base, pages);
}

/* Uninitialised, but without what somebody else left. */
static PVOID hand_out(u64 base, u64 bytes, u64 pages) {
    memset((PVOID)base, POOL_FILL_FRESH, bytes);
    memset((PVOID)(base + bytes), POOL_FILL_PADDING, pages * PAGE_SIZE - bytes);
    return (PVOID)base;
}

/* ------------------------------------------------------------------------------------------------ contiguous ---- */

struct contiguous_request {
    SIZE_T bytes;
    PHYSICAL_ADDRESS lowest, highest, boundary;
    struct mapping_kind kind;
    const void *caller;
};

/* Addresses in frames. A boundary within a page can be no boundary to pages. */
static bool limits_of(const struct contiguous_request *request, struct frame_limits *ret) {
    u64 lowest = (u64)request->lowest.QuadPart, boundary = (u64)request->boundary.QuadPart;
    *ret = (struct frame_limits){
        .lowest = (lowest >> PAGE_SHIFT) + (OFFSET_IN_PAGE(lowest) != 0),
        .highest = (u64)request->highest.QuadPart >> PAGE_SHIFT,
        .align = 1,
        .boundary = boundary >> PAGE_SHIFT,
    };
    return (boundary & (boundary - 1)) == 0;
}

/* The frames with the memory type asked for; 0 when there are none so. */
static u64 take_frames(const struct contiguous_request *request, u64 pages) {
    struct frame_limits limits;
    bool valid = limits_of(request, &limits);
    u64 first = valid ? frame_allocate_range(FRAME_CONTIGUOUS, FRAME_ANY, pages, &limits) : 0;
    for (u64 i = 0; first && i < pages; i++)
        frame_set_cache(first + i, request->kind.cache);
    return first;
}

static PVOID allocate_contiguous(const struct contiguous_request *request) {
    u64 pages = PAGES_OF(request->bytes);
    if (!request->bytes || request->bytes > SYSTEM_PTE_COUNT * PAGE_SIZE)
        return NULL;
    u64 first = take_frames(request, pages);
    if (!first)
        return NULL;
    struct mapping_frames frames = {.first = first, .owned = true};
    u64 base = mapping_make(SYSTEM_PTE_CONTIGUOUS, pages, frames, request->kind);
    if (!base) {
        for (u64 i = 0; i < pages; i++)
            frame_free(first + i);
        return NULL;
    }
    ledger_add(LEDGER_CONTIGUOUS, (PVOID)base, request->bytes, 0, request->caller);
    return hand_out(base, request->bytes, pages);
}

/* The calls that cannot say otherwise give executable memory, as documented. NULL for a type without meaning. */
static PVOID allocate_with_cache(struct contiguous_request request, MEMORY_CACHING_TYPE cache) {
    return mapping_kind_of_cache(cache, &request.kind) ? allocate_contiguous(&request) : NULL;
}

static PVOID allocate_with_protect(struct contiguous_request request, ULONG protect) {
    bool writable = protect & (PAGE_READWRITE | PAGE_EXECUTE_READWRITE);
    return writable && mapping_kind_of_protect(protect, &request.kind) ? allocate_contiguous(&request) : NULL;
}

/* There is one node of memory, number 0. */
static bool is_node(ULONG node) {
    return node == 0 || node == MM_ANY_NODE_OK;
}

static PVOID NTAPI MmAllocateContiguousMemory(SIZE_T NumberOfBytes, PHYSICAL_ADDRESS HighestAcceptableAddress) {
    struct contiguous_request request = {
        .bytes = NumberOfBytes,
        .highest = HighestAcceptableAddress,
        .caller = CALLER(),
    };
    return allocate_with_cache(request, MmCached);
}
NT_MEMORY_EXPORT(MmAllocateContiguousMemory);

static PVOID NTAPI MmAllocateContiguousMemorySpecifyCache(SIZE_T NumberOfBytes,
                                                          PHYSICAL_ADDRESS LowestAcceptableAddress,
                                                          PHYSICAL_ADDRESS HighestAcceptableAddress,
                                                          PHYSICAL_ADDRESS BoundaryAddressMultiple,
                                                          MEMORY_CACHING_TYPE CacheType) {
    struct contiguous_request request = {
        .bytes = NumberOfBytes,
        .lowest = LowestAcceptableAddress,
        .highest = HighestAcceptableAddress,
        .boundary = BoundaryAddressMultiple,
        .caller = CALLER(),
    };
    return allocate_with_cache(request, CacheType);
}
NT_MEMORY_EXPORT(MmAllocateContiguousMemorySpecifyCache);

static PVOID NTAPI MmAllocateContiguousMemorySpecifyCacheNode(SIZE_T NumberOfBytes,
                                                              PHYSICAL_ADDRESS LowestAcceptableAddress,
                                                              PHYSICAL_ADDRESS HighestAcceptableAddress,
                                                              PHYSICAL_ADDRESS BoundaryAddressMultiple,
                                                              MEMORY_CACHING_TYPE CacheType, ULONG PreferredNode) {
    struct contiguous_request request = {
        .bytes = NumberOfBytes,
        .lowest = LowestAcceptableAddress,
        .highest = HighestAcceptableAddress,
        .boundary = BoundaryAddressMultiple,
        .caller = CALLER(),
    };
    return is_node(PreferredNode) ? allocate_with_cache(request, CacheType) : NULL;
}
NT_MEMORY_EXPORT(MmAllocateContiguousMemorySpecifyCacheNode);

static PVOID NTAPI MmAllocateContiguousNodeMemory(SIZE_T NumberOfBytes, PHYSICAL_ADDRESS LowestAcceptableAddress,
                                                  PHYSICAL_ADDRESS HighestAcceptableAddress,
                                                  PHYSICAL_ADDRESS BoundaryAddressMultiple, ULONG Protect,
                                                  ULONG PreferredNode) {
    struct contiguous_request request = {
        .bytes = NumberOfBytes,
        .lowest = LowestAcceptableAddress,
        .highest = HighestAcceptableAddress,
        .boundary = BoundaryAddressMultiple,
        .caller = CALLER(),
    };
    return is_node(PreferredNode) ? allocate_with_protect(request, Protect) : NULL;
}
NT_MEMORY_EXPORT(MmAllocateContiguousNodeMemory);

/* There is one partition of memory. What is received in *NumberOfBytes is whole pages. */
static NTSTATUS NTAPI MmAllocateContiguousMemoryEx(PSIZE_T NumberOfBytes, PHYSICAL_ADDRESS LowestAcceptableAddress,
                                                   PHYSICAL_ADDRESS HighestAcceptableAddress,
                                                   PHYSICAL_ADDRESS BoundaryAddressMultiple, ULONG PreferredNode,
                                                   ULONG Protect, PVOID PartitionObject, ULONG Tag, ULONG Flags,
                                                   PVOID *BaseAddress) {
    struct contiguous_request request = {
        .bytes = *NumberOfBytes,
        .lowest = LowestAcceptableAddress,
        .highest = HighestAcceptableAddress,
        .boundary = BoundaryAddressMultiple,
        .caller = CALLER(),
    };
    (void)Tag;
    if (PartitionObject || Flags & ~(ULONG)MM_ALLOCATE_CONTIGUOUS_MEMORY_FAST_ONLY || !is_node(PreferredNode) ||
        !mapping_kind_of_protect(Protect, &request.kind))
        return STATUS_INVALID_PARAMETER;
    *BaseAddress = allocate_with_protect(request, Protect);
    if (!*BaseAddress)
        return STATUS_INSUFFICIENT_RESOURCES;
    *NumberOfBytes = PAGES_OF(request.bytes) * PAGE_SIZE;
    return STATUS_SUCCESS;
}
NT_MEMORY_EXPORT(MmAllocateContiguousMemoryEx);

static VOID NTAPI MmFreeContiguousMemory(PVOID BaseAddress) {
    u64 pages = system_ptes_reserved((u64)BaseAddress, SYSTEM_PTE_CONTIGUOUS);
    if (!pages)
        KeBugCheckEx(BAD_POOL_CALLER, 0x60, (ULONG_PTR)BaseAddress, 0, 0);
    release((u64)BaseAddress, pages);
    ledger_remove(LEDGER_CONTIGUOUS, BaseAddress);
}
NT_MEMORY_EXPORT(MmFreeContiguousMemory);

/* Size and type are not looked at, as in Windows: the base says it all. */
static VOID NTAPI MmFreeContiguousMemorySpecifyCache(PVOID BaseAddress, SIZE_T NumberOfBytes,
                                                     MEMORY_CACHING_TYPE CacheType) {
    (void)NumberOfBytes;
    (void)CacheType;
    MmFreeContiguousMemory(BaseAddress);
}
NT_MEMORY_EXPORT(MmFreeContiguousMemorySpecifyCache);

/* ------------------------------------------------------------------------------------------------ non-cached ---- */

/* Frame by frame, wherever there is one. False: out of memory, nothing is mapped. */
static bool map_singly(u64 base, u64 pages, struct mapping_kind kind) {
    for (u64 i = 0; i < pages; i++) {
        u64 pfn = frame_allocate(FRAME_NON_CACHED, FRAME_ANY), address = base + i * PAGE_SIZE;
        if (pfn)
            frame_set_cache(pfn, kind.cache);
        if (pfn && mapping_fill(address, 1, (struct mapping_frames){.first = pfn, .owned = true}, kind))
            continue;
        if (pfn)
            frame_free(pfn);
        while (i--)
            frame_free(pte_pfn(pt_unmap(base + i * PAGE_SIZE)));
        return false;
    }
    return true;
}

static PVOID NTAPI MmAllocateNonCachedMemory(SIZE_T NumberOfBytes) {
    const struct mapping_kind kind = {PFN_NON_CACHED, mapping_rights_bits(MAPPING_READ | MAPPING_WRITE)};
    u64 pages = PAGES_OF(NumberOfBytes);
    bool sensible = NumberOfBytes && NumberOfBytes <= SYSTEM_PTE_COUNT * PAGE_SIZE;
    u64 base = sensible ? (u64)system_ptes_reserve(pages, SYSTEM_PTE_NON_CACHED) : 0;
    if (!base)
        return NULL;
    if (!map_singly(base, pages, kind)) {
        system_ptes_release((PVOID)base, pages);
        return NULL;
    }
    ledger_add(LEDGER_NON_CACHED, (PVOID)base, NumberOfBytes, 0, CALLER());
    return hand_out(base, NumberOfBytes, pages);
}
NT_MEMORY_EXPORT(MmAllocateNonCachedMemory);

static VOID NTAPI MmFreeNonCachedMemory(PVOID BaseAddress, SIZE_T NumberOfBytes) {
    u64 pages = system_ptes_reserved((u64)BaseAddress, SYSTEM_PTE_NON_CACHED);
    if (!pages)
        KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x303, (ULONG_PTR)BaseAddress, PAGES_OF(NumberOfBytes), 0);
    if (pages != PAGES_OF(NumberOfBytes))
        KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x305, (ULONG_PTR)BaseAddress, PAGES_OF(NumberOfBytes), pages);
    release((u64)BaseAddress, pages);
    ledger_remove(LEDGER_NON_CACHED, BaseAddress);
}
NT_MEMORY_EXPORT(MmFreeNonCachedMemory);
