/*
 * mdl.c - allocating, describing and freeing MDLs, and questions about addresses.
 */
#include "memory/mdl.h"

#include "memory/inject.h"
#include "memory/pool_pages.h"
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
NT_EXPORT(MmSizeOfMdl);

/* Leaves Process, MappedSystemVa and the frame numbers as they are, as in Windows: they mean nothing yet. */
VOID NTAPI MmInitializeMdl(PMDL MemoryDescriptorList, PVOID BaseVa, SIZE_T Length) {
    MemoryDescriptorList->Next = NULL;
    MemoryDescriptorList->Size = (CSHORT)MmSizeOfMdl(BaseVa, Length);
    MemoryDescriptorList->MdlFlags = 0;
    MemoryDescriptorList->StartVa = PAGE_ALIGN(BaseVa);
    MemoryDescriptorList->ByteOffset = BYTE_OFFSET(BaseVa);
    MemoryDescriptorList->ByteCount = (ULONG)Length;
}
NT_EXPORT(MmInitializeMdl);

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
    PMDL mdl = pool_allocate(NonPagedPoolNx, size, MDL_TAG);
    if (!mdl)
        return NULL;
    MmInitializeMdl(mdl, VirtualAddress, Length);
    if (fixed)
        mdl->MdlFlags |= MDL_ALLOCATED_FIXED_SIZE;
    if (Irp)
        attach_to_irp(Irp, mdl, SecondaryBuffer);
    return mdl;
}
NT_EXPORT(IoAllocateMdl);

/* The mapping of a partial MDL goes with it; any other that still stands is left standing, without an owner. */
VOID NTAPI IoFreeMdl(PMDL Mdl) {
    MmPrepareMdlForReuse(Mdl);
    if (lab_options.verifier && Mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA)
        KeBugCheckEx(DRIVER_VERIFIER_DETECTED_VIOLATION, 0xb8, (ULONG_PTR)Mdl, mdl_flags(Mdl), 0);
    ExFreePoolWithTag(Mdl, 0);
}
NT_EXPORT(IoFreeMdl);

/*
 * Driver Verifier has no number of its own for an MDL that is described a second time; 0xB0 is the one for locking the
 * pages of such an MDL. Free Windows describes it again.
 */
static void verify_build(PMDL mdl) {
    struct pool_page *page = pool_page_of((u64)mdl->StartVa);
    if (mdl->MdlFlags & DESCRIBED)
        KeBugCheckEx(DRIVER_VERIFIER_DETECTED_VIOLATION, 0xb0, (ULONG_PTR)mdl, mdl_flags(mdl),
                     mdl_flags(mdl) & DESCRIBED);
    if (page && page->state != POOL_PAGE_FREE && page->kind == POOL_PAGED)
        KeBugCheckEx(DRIVER_VERIFIER_DETECTED_VIOLATION, 0x7f, 0, (ULONG_PTR)mdl, mdl_flags(mdl));
}

/* The pages are in use and mapped already: the frames are looked up, nothing is locked and nothing is mapped. */
VOID NTAPI MmBuildMdlForNonPagedPool(PMDL MemoryDescriptorList) {
    PMDL mdl = MemoryDescriptorList;
    if (lab_options.verifier)
        verify_build(mdl);
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
NT_EXPORT(MmBuildMdlForNonPagedPool);

/* 0 where nothing is mapped. */
PHYSICAL_ADDRESS NTAPI MmGetPhysicalAddress(PVOID BaseAddress) {
    u64 physical;
    PHYSICAL_ADDRESS result = {.QuadPart = 0};
    if (pt_translate((u64)BaseAddress, &physical))
        result.QuadPart = (LONGLONG)physical;
    return result;
}
NT_EXPORT(MmGetPhysicalAddress);

BOOLEAN NTAPI MmIsAddressValid(PVOID VirtualAddress) {
    u64 physical;
    return pt_translate((u64)VirtualAddress, &physical);
}
NT_EXPORT(MmIsAddressValid);
