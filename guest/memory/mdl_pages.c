/*
 * mdl_pages.c - MDLs that own their frames: MmAllocatePagesForMdl and its kin.
 */
#include "boot/boot_info.h"
#include "memory/mdl.h"
#include "paging/paging.h"

/* A request in frames. `skip` is 0 when the range is not to be moved. */
struct request {
    u64 lowest, highest, skip, count;
    enum frame_contents contents;
    ULONG flags;
};

static u64 take_run(const struct request *request, u64 count, u64 lowest, u64 highest, u64 align, PPFN_NUMBER ret) {
    u64 first = frame_allocate_range(FRAME_MDL, request->contents, count, lowest, highest, align);
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

/* One MDL for all that could be had; NULL when that was nothing, or too little for the flags. */
static PMDL allocate_pages(const struct request *request, enum pfn_cache cache) {
    bool chunks = request->flags & MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS;
    PMDL mdl = pool_allocate(NonPagedPoolNx, sizeof(MDL) + request->count * sizeof(PFN_NUMBER), MDL_TAG);
    if (!mdl)
        return NULL;
    PPFN_NUMBER frames = MmGetMdlPfnArray(mdl);
    u64 taken = chunks ? take_chunks(request, frames) : take_singles(request, frames);
    if (!taken || (taken < request->count && all_or_nothing(request))) {
        free_frames(frames, taken);
        ExFreePoolWithTag(mdl, MDL_TAG);
        return NULL;
    }
    for (u64 i = 0; i < taken; i++)
        frame_set_cache(frames[i], cache);
    MmInitializeMdl(mdl, NULL, taken * PAGE_SIZE);
    mdl->Process = NULL;
    mdl->MappedSystemVa = NULL;
    mdl->MdlFlags = MDL_PAGES_LOCKED;
    return mdl;
}

static PMDL allocate(PHYSICAL_ADDRESS low, PHYSICAL_ADDRESS high, PHYSICAL_ADDRESS skip, SIZE_T bytes,
                     enum pfn_cache cache, ULONG flags) {
    u64 available = frames_available();
    struct request request = {
        .lowest = (u64)low.QuadPart >> PAGE_SHIFT,
        .highest = (u64)high.QuadPart >> PAGE_SHIFT,
        .skip = (u64)skip.QuadPart >> PAGE_SHIFT,
        .count = PAGES_OF(bytes),
        .contents = flags & MM_DONT_ZERO_ALLOCATION ? FRAME_ANY : FRAME_ZERO,
        .flags = flags,
    };
    if (!is_valid((u64)skip.QuadPart, bytes, flags))
        return NULL;
    if (request.count > available && all_or_nothing(&request))
        return NULL;
    if (request.count > available)
        request.count = available; /* no room in the MDL for frames that cannot be had */
    return allocate_pages(&request, cache);
}

/* The frames have no memory type: their first mapping gives them one. */
PMDL NTAPI MmAllocatePagesForMdl(PHYSICAL_ADDRESS LowAddress, PHYSICAL_ADDRESS HighAddress, PHYSICAL_ADDRESS SkipBytes,
                                 SIZE_T TotalBytes) {
    return allocate(LowAddress, HighAddress, SkipBytes, TotalBytes, PFN_NOT_MAPPED, 0);
}
NT_EXPORT(MmAllocatePagesForMdl);

PMDL NTAPI MmAllocatePagesForMdlEx(PHYSICAL_ADDRESS LowAddress, PHYSICAL_ADDRESS HighAddress,
                                   PHYSICAL_ADDRESS SkipBytes, SIZE_T TotalBytes, MEMORY_CACHING_TYPE CacheType,
                                   ULONG Flags) {
    enum pfn_cache cache = PFN_NOT_MAPPED;
    if (CacheType != MmNotMapped && !mdl_cache_of(CacheType, &cache))
        return NULL;
    return allocate(LowAddress, HighAddress, SkipBytes, TotalBytes, cache, Flags);
}
NT_EXPORT(MmAllocatePagesForMdlEx);

/* The MDL itself stays: its owner frees it with ExFreePool. A mapping goes first, as since Windows 7. */
VOID NTAPI MmFreePagesFromMdl(PMDL MemoryDescriptorList) {
    PMDL mdl = MemoryDescriptorList;
    const PFN_NUMBER none = ~0ull;
    PPFN_NUMBER frames = MmGetMdlPfnArray(mdl);
    if (mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA)
        MmUnmapLockedPages(mdl->MappedSystemVa, mdl);
    for (u64 i = 0; i < mdl_pages(mdl); i++) {
        if (!(mdl->MdlFlags & MDL_PAGES_LOCKED) || frame_use(frames[i]) != FRAME_MDL)
            KeBugCheckEx(MEMORY_MANAGEMENT, 0x1236, (ULONG_PTR)mdl, (ULONG_PTR)&frames[i], frames[i]);
        frame_free(frames[i]);
        frames[i] = none;
    }
    mdl->MdlFlags &= ~MDL_PAGES_LOCKED;
}
NT_EXPORT(MmFreePagesFromMdl);
