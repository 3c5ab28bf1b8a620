/*
 * addresses.c - questions about addresses, and copies from addresses that may not be there.
 */
#include "boot/boot_info.h"
#include "memory/frames.h"
#include "memory/journal.h"
#include "memory/ledger.h"
#include "memory/pool.h"
#include "memory/special_pool.h"
#include "nt/driver.h"
#include "nt/fault.h"
#include "nt/rtl.h"
#include "paging/paging.h"
#include "paging/space.h"

/* 0 where nothing is mapped. */
PHYSICAL_ADDRESS NTAPI MmGetPhysicalAddress(PVOID BaseAddress) {
    u64 physical;
    PHYSICAL_ADDRESS result = {.QuadPart = 0};
    if (pt_translate((u64)BaseAddress, &physical))
        result.QuadPart = (LONGLONG)physical;
    return result;
}
NT_MEMORY_EXPORT(MmGetPhysicalAddress);

BOOLEAN NTAPI MmIsAddressValid(PVOID VirtualAddress) {
    u64 physical;
    return pt_translate((u64)VirtualAddress, &physical);
}
NT_MEMORY_EXPORT(MmIsAddressValid);

static bool is_paged_pool(u64 address) {
    struct pool_page *page = pool_page_of(address);
    return (page && page->kind == POOL_PAGED) || special_pool_is_paged(address);
}

/* Obsolete in Windows: only paged pool can be paged out. */
static BOOLEAN NTAPI MmIsNonPagedSystemAddressValid(PVOID VirtualAddress) {
    bool system = (u64)VirtualAddress >= SYSTEM_RANGE_START;
    return system && MmIsAddressValid(VirtualAddress) && !is_paged_pool((u64)VirtualAddress);
}
NT_MEMORY_EXPORT(MmIsNonPagedSystemAddressValid);

/* ---------------------------------------------------------------------------------- from physical to virtual ---- */

/*
 * The frame's record knows one entry that maps it; 0 when that is none, or when there is no record. The entry of a
 * higher level gives its table's address in the self map, and a large page's is found one step further down from that.
 */
static u64 virtual_of(u64 pfn) {
    const MMPFN *frame = frame_record(pfn);
    pte_t *entry = frame ? frame->PteAddress : NULL;
    if (!entry)
        return 0;
    u64 address = pt_mapped_by(entry), large = pt_mapped_by((pte_t *)address);
    if (entry->raw & PTE_PS && pt_entry(large, PD) == entry)
        return large + ((pfn - pte_pfn(*entry)) << PAGE_SHIFT);
    return address;
}

static PVOID NTAPI MmGetVirtualForPhysical(PHYSICAL_ADDRESS PhysicalAddress) {
    u64 physical = (u64)PhysicalAddress.QuadPart, address = virtual_of(physical >> PAGE_SHIFT);
    return address ? (PVOID)(address + OFFSET_IN_PAGE(physical)) : NULL;
}
NT_MEMORY_EXPORT(MmGetVirtualForPhysical);

/* ---------------------------------------------------------------------------------------------------- copies ---- */

/* The frame behind the next byte; false where there is no RAM of the system's, or no mapping. */
static bool find_source(MM_COPY_ADDRESS source, u64 offset, ULONG flags, u64 *ret) {
    u64 physical = (u64)source.PhysicalAddress.QuadPart + offset;
    if (flags == MM_COPY_MEMORY_VIRTUAL && !pt_translate((u64)source.VirtualAddress + offset, &physical))
        return false;
    *ret = physical;
    return frame_is_ram(physical >> PAGE_SHIFT) && frame_use(physical >> PAGE_SHIFT) != FRAME_FIRMWARE;
}

/* By way of the frame, so that a source that nobody may touch by its address can be read. */
static NTSTATUS NTAPI MmCopyMemory(PVOID TargetAddress, MM_COPY_ADDRESS SourceAddress, SIZE_T NumberOfBytes,
                                   ULONG Flags, PSIZE_T NumberOfBytesTransferred) {
    *NumberOfBytesTransferred = 0;
    if (Flags != MM_COPY_MEMORY_PHYSICAL && Flags != MM_COPY_MEMORY_VIRTUAL)
        return STATUS_INVALID_PARAMETER;
    for (SIZE_T done = 0, size; done < NumberOfBytes; done += size) {
        u64 physical;
        if (!find_source(SourceAddress, done, Flags, &physical))
            return STATUS_INVALID_ADDRESS;
        size = PAGE_SIZE - OFFSET_IN_PAGE(physical);
        if (size > NumberOfBytes - done)
            size = NumberOfBytes - done;
        const u8 *frame = space_window_open(physical >> PAGE_SHIFT);
        memcpy((u8 *)TargetAddress + done, frame + OFFSET_IN_PAGE(physical), size);
        space_window_close();
        *NumberOfBytesTransferred = done + size;
    }
    return STATUS_SUCCESS;
}
NT_MEMORY_EXPORT(MmCopyMemory);

/* --------------------------------------------------------------------------------------------------------- RAM ---- */

/* All RAM but what the firmware keeps; an entry of zeros ends it. Freed by ExFreePool. */
static PPHYSICAL_MEMORY_RANGE physical_ranges(const void *caller) {
    enum { TAG = POOL_TAG('M', 'm', 'P', 'h') };
    u64 size = (memory_map.count + 1) * sizeof(PHYSICAL_MEMORY_RANGE);
    PPHYSICAL_MEMORY_RANGE ranges = pool_call_allocate(NonPagedPoolNx, size, TAG, caller), next = ranges;
    if (!ranges)
        return NULL;
    memset(ranges, 0, size);
    for (u64 i = 0; i < memory_map.count; i++) {
        const struct memory_range *range = &memory_map.range[i];
        if (range->firmware)
            continue;
        next->BaseAddress.QuadPart = (LONGLONG)(range->first << PAGE_SHIFT);
        next->NumberOfBytes.QuadPart = (LONGLONG)((range->end - range->first) << PAGE_SHIFT);
        next++;
    }
    return ranges;
}

static PPHYSICAL_MEMORY_RANGE NTAPI MmGetPhysicalMemoryRanges(VOID) {
    return physical_ranges(CALLER());
}
NT_MEMORY_EXPORT(MmGetPhysicalMemoryRanges);

/* There is one partition of memory. */
static PPHYSICAL_MEMORY_RANGE NTAPI MmGetPhysicalMemoryRangesEx(PVOID PartitionObject) {
    return PartitionObject ? NULL : physical_ranges(CALLER());
}
NT_MEMORY_EXPORT(MmGetPhysicalMemoryRangesEx);

static PPHYSICAL_MEMORY_RANGE NTAPI MmGetPhysicalMemoryRangesEx2(PVOID PartitionObject, ULONG Flags) {
    (void)Flags;
    return PartitionObject ? NULL : physical_ranges(CALLER());
}
NT_MEMORY_EXPORT(MmGetPhysicalMemoryRangesEx2);

/* There is one address space: whatever processes are named, both addresses are in it. */
static NTSTATUS NTAPI MmCopyVirtualMemory(PVOID SourceProcess, PVOID SourceAddress, PVOID TargetProcess,
                                          PVOID TargetAddress, SIZE_T BufferSize, KPROCESSOR_MODE PreviousMode,
                                          PSIZE_T ReturnSize) {
    (void)SourceProcess, (void)TargetProcess, (void)PreviousMode;
    u64 rflags = driver_allow_user_access(), done = 0;
    while (done < BufferSize) {
        u64 from = (u64)SourceAddress + done, to = (u64)TargetAddress + done, physical;
        u64 offset = OFFSET_IN_PAGE(from) > OFFSET_IN_PAGE(to) ? OFFSET_IN_PAGE(from) : OFFSET_IN_PAGE(to);
        u64 size = BufferSize - done < PAGE_SIZE - offset ? BufferSize - done : PAGE_SIZE - offset;
        if (!pt_translate(from, &physical) || !pt_translate(to, &physical))
            break;
        memcpy((void *)to, (const void *)from, size);
        done += size;
    }
    driver_restore_user_access(rflags);
    *ReturnSize = done;
    return done == BufferSize ? STATUS_SUCCESS : STATUS_PARTIAL_COPY;
}
NT_MEMORY_EXPORT(MmCopyVirtualMemory);
