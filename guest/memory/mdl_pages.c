/*
 * mdl_pages.c - MDLs that own their frames: MmAllocatePagesForMdl and its kin.
 */
#include "boot/boot_info.h"
#include "memory/journal.h"
#include "memory/ledger.h"
#include "memory/mapping.h"
#include "memory/mdl.h"
#include "memory/verifier.h"
#include "paging/paging.h"

/* A request in frames. `skip` is 0 when the range is not to be moved. */
struct request {
    u64 lowest, highest, skip, count;
    enum frame_contents contents;
    enum pfn_cache cache;
    ULONG flags;
    const void *caller;
};

static u64 take_run(const struct request *request, u64 count, u64 lowest, u64 highest, u64 align, PPFN_NUMBER ret) {
    struct frame_limits limits = {.lowest = lowest, .highest = highest, .align = align};
    u64 first = frame_allocate_range(FRAME_MDL, request->contents, count, &limits);
    for (u64 i = 0; first && i < count; i++)
        ret[i] = first + i;
    return first;
}

/*
 * Frame by frame from the range, then from the range `skip` further up, and so on to the end of RAM. Nothing is freed
 * meanwhile, so that no frame need be looked at twice: `next` only moves up.
 */
static u64 take_singles(const struct request *request, PPFN_NUMBER ret) {
    u64 taken = 0, next = 0, end = memory_map.range[memory_map.count - 1].end;
    u64 lowest = request->lowest, highest = request->highest;
    while (taken < request->count && lowest < end) {
        if (next < lowest)
            next = lowest;
        while (taken < request->count && next <= highest) {
            u64 pfn = take_run(request, 1, next, highest, 1, &ret[taken]);
            taken += pfn != 0;
            next = pfn ? pfn + 1 : highest + 1;
        }
        if (!request->skip)
            break;
        lowest += request->skip;
        highest += request->skip;
    }
    return taken;
}

/* Runs of `skip` frames, aligned to their size; without `skip`, one run for all. */
static u64 take_chunks(const struct request *request, PPFN_NUMBER ret) {
    u64 chunk = request->skip ? request->skip : request->count, align = request->skip ? request->skip : 1;
    u64 taken = 0, lowest = request->lowest;
    while (taken + chunk <= request->count) {
        u64 first = take_run(request, chunk, lowest, request->highest, align, &ret[taken]);
        if (!first)
            break;
        taken += chunk;
        lowest = first + chunk;
    }
    return taken;
}

static bool is_valid(u64 skip, u64 bytes, ULONG flags) {
    const ULONG known = MM_DONT_ZERO_ALLOCATION | MM_ALLOCATE_FROM_LOCAL_NODE_ONLY | MM_ALLOCATE_FULLY_REQUIRED |
                        MM_ALLOCATE_NO_WAIT | MM_ALLOCATE_PREFER_CONTIGUOUS | MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS |
                        MM_ALLOCATE_FAST_LARGE_PAGES;
    const u64 largest = (4ull << 30) - PAGE_SIZE, large_page = pt_page_size(PD);
    if (!bytes || bytes > largest || flags & ~known || OFFSET_IN_PAGE(skip))
        return false;
    if (flags & MM_ALLOCATE_FAST_LARGE_PAGES &&
        (!(flags & MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS) || !skip || skip % large_page))
        return false;
    if (flags & MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS && skip)
        return (skip & (skip - 1)) == 0 && bytes % skip == 0;
    return true;
}

/* Whether less than was asked for is no answer. */
static bool all_or_nothing(const struct request *request) {
    return request->flags & MM_ALLOCATE_FULLY_REQUIRED ||
           (request->flags & MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS && !request->skip);
}

static void free_frames(PPFN_NUMBER frames, u64 count) {
    for (u64 i = 0; i < count; i++)
        frame_free(frames[i]);
}

/* As many frames as can be had, unless the flags ask for all or nothing. */
static u64 take_frames(const struct request *request, PPFN_NUMBER ret) {
    bool chunks = request->flags & MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS;
    u64 taken = chunks ? take_chunks(request, ret) : take_singles(request, ret);
    if (taken < request->count && all_or_nothing(request)) {
        free_frames(ret, taken);
        return 0;
    }
    for (u64 i = 0; i < taken; i++)
        frame_set_cache(ret[i], request->cache);
    return taken;
}

/* One MDL for all that could be had; NULL when that was nothing, or too little for the flags. */
static PMDL allocate_pages(const struct request *request) {
    u64 size = sizeof(MDL) + request->count * sizeof(PFN_NUMBER);
    PMDL mdl = pool_allocate_for(NonPagedPoolNx, size, MDL_TAG, request->caller);
    if (!mdl)
        return NULL;
    u64 taken = take_frames(request, MmGetMdlPfnArray(mdl));
    if (!taken) {
        pool_call_free(mdl, MDL_TAG, request->caller);
        return NULL;
    }
    MmInitializeMdl(mdl, NULL, taken * PAGE_SIZE);
    mdl->Process = NULL;
    mdl->MappedSystemVa = NULL;
    mdl->MdlFlags = MDL_PAGES_LOCKED;
    ledger_add(LEDGER_MDL, mdl, taken * PAGE_SIZE, 0, request->caller);
    ledger_add(LEDGER_PAGES, mdl, taken * PAGE_SIZE, 0, request->caller);
    return mdl;
}

/* Takes over all but the range in frames. */
static PMDL allocate(struct request request, PHYSICAL_ADDRESS skip, SIZE_T bytes) {
    u64 available = frames_available();
    verify_irql(DISPATCH_LEVEL, VERIFIER_PAGES_IRQL, request.caller, DISPATCH_LEVEL, 0);
    request.skip = (u64)skip.QuadPart >> PAGE_SHIFT;
    request.count = PAGES_OF(bytes);
    request.contents = request.flags & MM_DONT_ZERO_ALLOCATION ? FRAME_ANY : FRAME_ZERO;
    if (!is_valid((u64)skip.QuadPart, bytes, request.flags))
        return NULL;
    if (request.count > available && all_or_nothing(&request))
        return NULL;
    if (request.count > available)
        request.count = available; /* no room in the MDL for frames that cannot be had */
    return allocate_pages(&request);
}

/* The frames have no memory type: their first mapping gives them one. */
PMDL NTAPI MmAllocatePagesForMdl(PHYSICAL_ADDRESS LowAddress, PHYSICAL_ADDRESS HighAddress, PHYSICAL_ADDRESS SkipBytes,
                                 SIZE_T TotalBytes) {
    struct request request = {
        .lowest = (u64)LowAddress.QuadPart >> PAGE_SHIFT,
        .highest = (u64)HighAddress.QuadPart >> PAGE_SHIFT,
        .cache = PFN_NOT_MAPPED,
        .caller = CALLER(),
    };
    return allocate(request, SkipBytes, TotalBytes);
}
NT_MEMORY_EXPORT(MmAllocatePagesForMdl);

PMDL NTAPI MmAllocatePagesForMdlEx(PHYSICAL_ADDRESS LowAddress, PHYSICAL_ADDRESS HighAddress,
                                   PHYSICAL_ADDRESS SkipBytes, SIZE_T TotalBytes, MEMORY_CACHING_TYPE CacheType,
                                   ULONG Flags) {
    struct request request = {
        .lowest = (u64)LowAddress.QuadPart >> PAGE_SHIFT,
        .highest = (u64)HighAddress.QuadPart >> PAGE_SHIFT,
        .cache = PFN_NOT_MAPPED,
        .flags = Flags,
        .caller = CALLER(),
    };
    if (CacheType != MmNotMapped && !mapping_cache_of(CacheType, &request.cache))
        return NULL;
    return allocate(request, SkipBytes, TotalBytes);
}
NT_MEMORY_EXPORT(MmAllocatePagesForMdlEx);

/* Stops for a frame that was not allocated for an MDL, or that is still locked for I/O. */
static void check_frame(PMDL mdl, PPFN_NUMBER frame) {
    if (!(mdl->MdlFlags & MDL_PAGES_LOCKED) || frame_use(*frame) != FRAME_MDL)
        KeBugCheckEx(MEMORY_MANAGEMENT, 0x1236, (ULONG_PTR)mdl, (ULONG_PTR)frame, *frame);
    u16 references = frame_record(*frame)->u3.ReferenceCount;
    if (references > 1)
        KeBugCheckEx(PFN_LIST_CORRUPT, 0x9a, *frame, PAGE_ACTIVE, references);
}

/* The MDL itself stays: its owner frees it with ExFreePool. A mapping goes first, as since Windows 7. */
VOID NTAPI MmFreePagesFromMdl(PMDL MemoryDescriptorList) {
    PMDL mdl = MemoryDescriptorList;
    const PFN_NUMBER none = ~0ull;
    PPFN_NUMBER frames = MmGetMdlPfnArray(mdl);
    verify_irql(DISPATCH_LEVEL, VERIFIER_PAGES_IRQL, CALLER(), DISPATCH_LEVEL, 0);
    if (mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA)
        mdl_unmap(mdl->MappedSystemVa, mdl);
    for (u64 i = 0; i < mdl_pages(mdl); i++) {
        check_frame(mdl, &frames[i]);
        frame_free(frames[i]);
        frames[i] = none;
    }
    mdl->MdlFlags &= ~MDL_PAGES_LOCKED;
    ledger_remove(LEDGER_PAGES, mdl);
}
NT_MEMORY_EXPORT(MmFreePagesFromMdl);
