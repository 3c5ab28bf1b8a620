/*
 * mdl_lock.c - locking the pages of an MDL in memory.
 */
#include "boot/boot_info.h"
#include "memory/frames.h"
#include "memory/journal.h"
#include "memory/ledger.h"
#include "memory/mdl.h"
#include "memory/verifier.h"
#include "nt/fault.h"
#include "paging/paging.h"

/* --------------------------------------------------------------------------------------------------- unlocking ---- */

/* What is not RAM has no count: locking it had no effect. */
void mdl_unlock_pages(const MDL *mdl, u64 first, u64 count) {
    const PFN_NUMBER *frames = MmGetMdlPfnArray(mdl) + first;
    for (u64 i = 0; i < count; i++) {
        const MMPFN *frame = frame_record(frames[i]);
        bool io = !frame && mdl->MdlFlags & MDL_IO_SPACE;
        if (!io && !frame_unlock(frames[i]))
            KeBugCheckEx(PFN_LIST_CORRUPT, 0x07, frames[i], frame ? frame->u2 : 0, 0);
    }
}

static void verify_unlock(PMDL mdl, const void *caller) {
    u16 flags = mdl_flags(mdl);
    if (flags & MDL_SOURCE_IS_NONPAGED_POOL)
        verifier_stop(VERIFIER_UNLOCK_NONPAGED, caller, (u64)mdl, flags, 0);
    if (flags & MDL_PARTIAL)
        verifier_stop(VERIFIER_UNLOCK_PARTIAL, caller, (u64)mdl, flags, MDL_PARTIAL);
    if (!(flags & MDL_PAGES_LOCKED))
        verifier_stop(VERIFIER_UNLOCK_NOT_LOCKED, caller, (u64)mdl, flags, 0);
}

VOID NTAPI MmUnlockPages(PMDL MemoryDescriptorList) {
    const void *caller = CALLER();
    PMDL mdl = MemoryDescriptorList;
    verify_irql(DISPATCH_LEVEL, VERIFIER_UNLOCK_IRQL, caller, (u64)mdl, 0);
    if (lab_options.verifier)
        verify_unlock(mdl, caller);
    if (mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA)
        mdl_unmap(mdl->MappedSystemVa, mdl);
    mdl_unlock_pages(mdl, 0, mdl_pages(mdl));
    mdl->MdlFlags &= ~(MDL_PAGES_LOCKED | MDL_IO_SPACE);
    ledger_remove(LEDGER_LOCK, mdl);
}
NT_MEMORY_EXPORT(MmUnlockPages);

/* ----------------------------------------------------------------------------------------------------- locking ---- */

/* What must not be set in an MDL that is about to be locked. */
enum {
    LOCK_FORBIDDEN = MDL_MAPPED_TO_SYSTEM_VA | MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL | MDL_PARTIAL |
        MDL_IO_SPACE,
};

static void verify_lock(PMDL mdl, const void *caller) {
    u16 flags = mdl_flags(mdl);
    if (flags & LOCK_FORBIDDEN)
        verifier_stop(VERIFIER_LOCK_FLAGS, caller, (u64)mdl, flags, flags & LOCK_FORBIDDEN);
}

/* Besides reading. */
enum page_access { PAGE_ACCESS_WRITE = 1 << 0, PAGE_ACCESS_USER = 1 << 1 };

/* What all levels of a walk allow: a bit is set only if each of them sets it. */
static u64 allowed(const struct pt_walk *walk) {
    u64 bits = PTE_W | PTE_U;
    for (enum pt_level level = pt_root_level(); level >= walk->level; level--)
        bits &= walk->value[level].raw;
    return bits;
}

/* The frame behind a page; false where nothing is mapped, or where a level forbids the access. */
static bool probe(u64 address, enum page_access access, u64 *ret) {
    u64 needed = (access & PAGE_ACCESS_WRITE ? PTE_W : 0) | (access & PAGE_ACCESS_USER ? PTE_U : 0);
    struct pt_walk walk;
    pt_walk(address, PT, PT_LOOK, &walk);
    if (walk.end != PT_PAGE || (allowed(&walk) & needed) != needed)
        return false;
    u64 offset = address & (pt_page_size(walk.level) - 1);
    *ret = (pt_leaf_base(walk.level, walk.value[walk.level]) + offset) >> PAGE_SHIFT;
    return true;
}

static u64 highest_frame(void) {
    return memory_map.range[memory_map.count - 1].end - 1;
}

/* Locks one page and enters its frame. */
static NTSTATUS lock_page(PMDL mdl, u64 index, enum page_access access, const void *caller) {
    u64 pfn;
    if (!probe((u64)mdl->StartVa + index * PAGE_SIZE, access, &pfn))
        return STATUS_ACCESS_VIOLATION;
    if (!frame_is_ram(pfn)) {
        if (lab_options.verifier)
            verifier_stop(VERIFIER_LOCK_NO_RAM, caller, (u64)mdl, pfn, highest_frame());
        mdl->MdlFlags |= MDL_IO_SPACE;
    } else if (!frame_lock(pfn)) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MmGetMdlPfnArray(mdl)[index] = pfn;
    return STATUS_SUCCESS;
}

static bool is_user(const MDL *mdl) {
    return (u64)mdl->StartVa <= HIGHEST_USER_ADDRESS;
}

/* Within one half of the address space, and in the user's when that is who asks. */
static bool is_range(const MDL *mdl, KPROCESSOR_MODE mode) {
    u64 start = (u64)MmGetMdlVirtualAddress(mdl), end = start + mdl->ByteCount;
    if (is_user(mdl))
        return end <= HIGHEST_USER_ADDRESS + 1;
    return mode == KernelMode && end >= start && start >= SYSTEM_RANGE_START;
}

/* All pages or, with the status why, none. */
static NTSTATUS lock_pages(PMDL mdl, KPROCESSOR_MODE mode, bool write, const void *caller) {
    enum page_access access = (write ? PAGE_ACCESS_WRITE : 0) | (mode == KernelMode ? 0 : PAGE_ACCESS_USER);
    if (!is_range(mdl, mode))
        return STATUS_ACCESS_VIOLATION;
    for (u64 i = 0; i < mdl_pages(mdl); i++) {
        NTSTATUS status = lock_page(mdl, i, access, caller);
        if (!NT_SUCCESS(status)) {
            mdl_unlock_pages(mdl, 0, i);
            mdl->MdlFlags &= ~MDL_IO_SPACE;
            return status;
        }
    }
    return STATUS_SUCCESS;
}

VOID NTAPI MmProbeAndLockPages(PMDL MemoryDescriptorList, KPROCESSOR_MODE AccessMode, LOCK_OPERATION Operation) {
    const void *caller = CALLER();
    PMDL mdl = MemoryDescriptorList;
    verify_irql(DISPATCH_LEVEL, VERIFIER_LOCK_IRQL, caller, (u64)mdl, (u64)AccessMode);
    if (lab_options.verifier)
        verify_lock(mdl, caller);
    NTSTATUS status = lock_pages(mdl, AccessMode, Operation != IoReadAccess, caller);
    if (!NT_SUCCESS(status))
        ExRaiseStatus(status);
    mdl->Process = is_user(mdl) ? PsGetCurrentProcess() : NULL;
    mdl->MdlFlags |= MDL_PAGES_LOCKED;
    if (Operation == IoReadAccess)
        mdl->MdlFlags &= ~MDL_WRITE_OPERATION;
    else
        mdl->MdlFlags |= MDL_WRITE_OPERATION;
    ledger_add(LEDGER_LOCK, mdl, mdl_pages(mdl) * PAGE_SIZE, 0, caller);
}
NT_MEMORY_EXPORT(MmProbeAndLockPages);

/* --------------------------------------------------------------------------------------------- a user's memory ---- */

/* There are no processes whose memory could be secured: the answer is always no. */
static HANDLE NTAPI MmSecureVirtualMemory(PVOID Address, SIZE_T Size, ULONG ProbeMode) {
    (void)Address;
    (void)Size;
    (void)ProbeMode;
    return NULL;
}
NT_MEMORY_EXPORT(MmSecureVirtualMemory);

static VOID NTAPI MmUnsecureVirtualMemory(HANDLE SecureHandle) {
    (void)SecureHandle;
}
NT_MEMORY_EXPORT(MmUnsecureVirtualMemory);
