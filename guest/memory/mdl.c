/*
 * mdl.c - allocating, describing and freeing MDLs.
 */
#include "memory/mdl.h"

#include "memory/frames.h"
#include "memory/inject.h"
#include "memory/journal.h"
#include "memory/ledger.h"
#include "memory/special_pool.h"
#include "memory/verifier.h"
#include "paging/paging.h"

/*
 * MDLs of up to this many pages are all allocated with this size and marked MDL_ALLOCATED_FIXED_SIZE. Windows does so
 * because they come from a lookaside list; there is none here, but drivers see the same flags.
 */
enum { FIXED_SIZE_PAGES = 23 };

/* The limits of Windows Server 2003: less than 2 GiB, and a Size that fits its 16 bits. */
enum { LARGEST_MDL = 0xffff };
#define LARGEST_BUFFER 0x80000000ull

/* What must not be set in an MDL that is about to be described. */
enum { DESCRIBED = MDL_MAPPED_TO_SYSTEM_VA | MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL | MDL_PARTIAL };

SIZE_T NTAPI MmSizeOfMdl(PVOID Base, SIZE_T Length) {
    return sizeof(MDL) + sizeof(PFN_NUMBER) * ADDRESS_AND_SIZE_TO_SPAN_PAGES(Base, Length);
}
NT_MEMORY_EXPORT(MmSizeOfMdl);

/* Leaves Process, MappedSystemVa and the frame numbers as they are, as in Windows: they mean nothing yet. */
VOID NTAPI MmInitializeMdl(PMDL MemoryDescriptorList, PVOID BaseVa, SIZE_T Length) {
    MemoryDescriptorList->Next = NULL;
    MemoryDescriptorList->Size = (CSHORT)MmSizeOfMdl(BaseVa, Length);
    MemoryDescriptorList->MdlFlags = 0;
    MemoryDescriptorList->StartVa = PAGE_ALIGN(BaseVa);
    MemoryDescriptorList->ByteOffset = BYTE_OFFSET(BaseVa);
    MemoryDescriptorList->ByteCount = (ULONG)Length;
}
NT_MEMORY_EXPORT(MmInitializeMdl);

/* The first MDL of an IRP, or the last of those it has. */
static void attach_to_irp(PIRP irp, PMDL mdl, bool secondary) {
    PMDL *link = &irp->MdlAddress;
    while (secondary && *link)
        link = &(*link)->Next;
    *link = mdl;
}

PMDL NTAPI IoAllocateMdl(PVOID VirtualAddress, ULONG Length, BOOLEAN SecondaryBuffer, BOOLEAN ChargeQuota, PIRP Irp) {
    (void)ChargeQuota;
    SIZE_T size = MmSizeOfMdl(VirtualAddress, Length);
    bool fixed = size <= sizeof(MDL) + FIXED_SIZE_PAGES * sizeof(PFN_NUMBER);
    if (Length >= LARGEST_BUFFER || size > LARGEST_MDL || inject_failure(FAIL_MDL))
        return NULL;
    if (fixed)
        size = sizeof(MDL) + FIXED_SIZE_PAGES * sizeof(PFN_NUMBER);
    PMDL mdl = pool_allocate_for(NonPagedPoolNx, size, MDL_TAG, CALLER());
    if (!mdl)
        return NULL;
    ledger_add(LEDGER_MDL, mdl, Length, 0, CALLER());
    MmInitializeMdl(mdl, VirtualAddress, Length);
    if (fixed)
        mdl->MdlFlags |= MDL_ALLOCATED_FIXED_SIZE;
    if (Irp)
        attach_to_irp(Irp, mdl, SecondaryBuffer);
    return mdl;
}
NT_MEMORY_EXPORT(IoAllocateMdl);

/* Obsolete: an MDL in memory of the caller's, or in new memory that he frees with ExFreePool. */
static PMDL NTAPI MmCreateMdl(PMDL MemoryDescriptorList, PVOID Base, SIZE_T Length) {
    PMDL mdl = MemoryDescriptorList;
    if (!mdl)
        mdl = pool_allocate_for(NonPagedPoolNx, MmSizeOfMdl(Base, Length), MDL_TAG, CALLER());
    if (!mdl)
        return NULL;
    if (mdl != MemoryDescriptorList)
        ledger_add(LEDGER_MDL, mdl, Length, 0, CALLER());
    MmInitializeMdl(mdl, Base, Length);
    return mdl;
}
NT_MEMORY_EXPORT(MmCreateMdl);

/* The mapping of a partial MDL goes with it; any other that still stands is left standing, without an owner. */
VOID NTAPI IoFreeMdl(PMDL Mdl) {
    const void *caller = CALLER();
    if (Mdl->MdlFlags & MDL_PARTIAL_HAS_BEEN_MAPPED)
        mdl_unmap(Mdl->MappedSystemVa, Mdl);
    if (lab_options.verifier && mdl_owns_mapping(Mdl))
        verifier_stop(VERIFIER_FREE_MAPPED_MDL, caller, (u64)Mdl, mdl_flags(Mdl), 0);
    pool_call_free(Mdl, 0, caller);
}
NT_MEMORY_EXPORT(IoFreeMdl);

/* -------------------------------------------------------------------------------------------------- describing ---- */

static bool is_paged_pool(u64 address) {
    struct pool_page *page = pool_page_of(address);
    return (page && page->state != POOL_PAGE_FREE && page->kind == POOL_PAGED) || special_pool_is_paged(address);
}

/*
 * Driver Verifier has no number of its own for an MDL that is described a second time; 0xB0 is the one for locking the
 * pages of such an MDL. Free Windows describes it again.
 */
static void verify_build(PMDL mdl, const void *caller) {
    u16 flags = mdl_flags(mdl);
    if (flags & DESCRIBED)
        verifier_stop(VERIFIER_LOCK_FLAGS, caller, (u64)mdl, flags, flags & DESCRIBED);
    if (is_paged_pool((u64)mdl->StartVa))
        verifier_stop(VERIFIER_BUILD_PAGED, caller, KeGetCurrentIrql(), (u64)mdl, flags);
}

/* The pages are in use and mapped already: the frames are looked up, nothing is locked and nothing is mapped. */
VOID NTAPI MmBuildMdlForNonPagedPool(PMDL MemoryDescriptorList) {
    PMDL mdl = MemoryDescriptorList;
    if (lab_options.verifier)
        verify_build(mdl, CALLER());
    u64 address = (u64)mdl->StartVa;
    for (u64 i = 0; i < mdl_pages(mdl); i++, address += PAGE_SIZE) {
        u64 physical;
        if (!pt_translate(address, &physical))
            KeBugCheckEx(MEMORY_MANAGEMENT, 0x1240, (ULONG_PTR)mdl, address, 0);
        MmGetMdlPfnArray(mdl)[i] = physical >> PAGE_SHIFT;
        if (!frame_is_ram(physical >> PAGE_SHIFT))
            mdl->MdlFlags |= MDL_IO_SPACE;
    }
    mdl->Process = NULL;
    mdl->MappedSystemVa = MmGetMdlVirtualAddress(mdl);
    mdl->MdlFlags |= MDL_SOURCE_IS_NONPAGED_POOL;
}
NT_MEMORY_EXPORT(MmBuildMdlForNonPagedPool);
