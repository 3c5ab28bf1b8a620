/*
 * io_space.c - physical addresses at system PTEs: registers of devices, and RAM that has an owner.
 */
#include "cpu/cpu.h"
#include "memory/journal.h"
#include "memory/ledger.h"
#include "memory/mapping.h"
#include "memory/verifier.h"

struct io_request {
    u64 physical, bytes;
    struct mapping_kind kind;
    const void *caller;
};

static u64 pages_of(u64 address, u64 bytes) {
    return PAGES_OF(OFFSET_IN_PAGE(address) + bytes);
}

/* RAM counts as locked as long as there are references to it; what is free has none. */
static void verify_locked(const struct io_request *request, u64 first, u64 pages) {
    for (u64 pfn = first; pfn < first + pages; pfn++) {
        if (frame_is_ram(pfn) && frame_use(pfn) == FRAME_UNUSED)
            verifier_stop(VERIFIER_IO_SPACE_NOT_LOCKED, request->caller, request->physical, request->bytes, pfn);
    }
}

static PVOID map(const struct io_request *request) {
    u64 first = request->physical >> PAGE_SHIFT, pages = pages_of(request->physical, request->bytes);
    u64 limit = 1ull << (lab_cpu.max_physical_bits - PAGE_SHIFT);
    verify_irql(DISPATCH_LEVEL, VERIFIER_IO_SPACE_IRQL, request->caller, request->physical, request->bytes);
    if (!request->bytes || request->bytes > SYSTEM_PTE_COUNT * PAGE_SIZE || first >= limit || pages > limit - first)
        return NULL;
    if (lab_options.verifier)
        verify_locked(request, first, pages);
    u64 base = mapping_make(SYSTEM_PTE_IO_SPACE, pages, (struct mapping_frames){.first = first}, request->kind);
    if (!base)
        return NULL;
    ledger_add(LEDGER_IO_SPACE, (PVOID)base, pages * PAGE_SIZE, 0, request->caller);
    return (PVOID)(base + OFFSET_IN_PAGE(request->physical));
}

/* Executable, as documented of this older call. */
static PVOID NTAPI MmMapIoSpace(PHYSICAL_ADDRESS PhysicalAddress, SIZE_T NumberOfBytes, MEMORY_CACHING_TYPE CacheType) {
    struct io_request request = {
        .physical = (u64)PhysicalAddress.QuadPart,
        .bytes = NumberOfBytes,
        .caller = CALLER(),
    };
    return mapping_kind_of_cache(CacheType, &request.kind) ? map(&request) : NULL;
}
NT_MEMORY_EXPORT(MmMapIoSpace);

static PVOID NTAPI MmMapIoSpaceEx(PHYSICAL_ADDRESS PhysicalAddress, SIZE_T NumberOfBytes, ULONG Protect) {
    struct io_request request = {
        .physical = (u64)PhysicalAddress.QuadPart,
        .bytes = NumberOfBytes,
        .caller = CALLER(),
    };
    const ULONG executable = PAGE_EXECUTE | PAGE_EXECUTE_READ | PAGE_EXECUTE_READWRITE;
    if (lab_options.code_integrity && Protect & executable)
        verifier_stop(VERIFIER_EXECUTABLE_PROTECTION, request.caller, (u64)request.caller, Protect, 0);
    return mapping_kind_of_protect(Protect, &request.kind) ? map(&request) : NULL;
}
NT_MEMORY_EXPORT(MmMapIoSpaceEx);

static VOID NTAPI MmUnmapIoSpace(PVOID BaseAddress, SIZE_T NumberOfBytes) {
    u64 base = (u64)PAGE_ALIGN(BaseAddress), pages = pages_of((u64)BaseAddress, NumberOfBytes);
    verify_irql(APC_LEVEL, VERIFIER_IO_SPACE_UNMAP_IRQL, CALLER(), (u64)BaseAddress, NumberOfBytes);
    if (!pages || system_ptes_reserved(base, SYSTEM_PTE_IO_SPACE) != pages)
        KeBugCheckEx(SYSTEM_PTE_MISUSE, 0x400, (ULONG_PTR)BaseAddress, pages, 0);
    mapping_remove(base, pages);
    ledger_remove(LEDGER_IO_SPACE, (PVOID)base);
}
NT_MEMORY_EXPORT(MmUnmapIoSpace);
