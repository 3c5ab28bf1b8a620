/*
 * partial_mdl.c - an MDL for a part of another one.
 *
 * A driver that has to pass on a piece of a large buffer describes the piece with a partial MDL: it copies the frame
 * numbers of its pages, and can then be mapped by itself. Here four frames without any address are described, and only
 * the third of them is mapped.
 */
#include <ntddk.h>

#define PAGES 4
#define CHOSEN 2

DRIVER_INITIALIZE DriverEntry;
DRIVER_UNLOAD DriverUnload;

static VOID ShowFrames(const char *Name, PMDL Mdl) {
    ULONG pages = ADDRESS_AND_SIZE_TO_SPAN_PAGES(MmGetMdlVirtualAddress(Mdl), MmGetMdlByteCount(Mdl));
    PPFN_NUMBER frames = MmGetMdlPfnArray(Mdl);

    DbgPrint("partial: %s describes %u bytes:", Name, MmGetMdlByteCount(Mdl));
    for (ULONG i = 0; i < pages; i++)
        DbgPrint(" %I64x", (ULONG64)frames[i]);
    DbgPrint("\n");
}

static NTSTATUS MapOnePage(PMDL Whole) {
    /* Addresses in an MDL of bare frames start at 0; what counts for the partial one is the distance. */
    PVOID start = (PUCHAR)MmGetMdlVirtualAddress(Whole) + CHOSEN * PAGE_SIZE;

    PMDL part = IoAllocateMdl(start, PAGE_SIZE, FALSE, FALSE, NULL);
    if (part == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;

    IoBuildPartialMdl(Whole, part, start, PAGE_SIZE);
    ShowFrames("the part ", part);

    PUCHAR mapped = MmGetSystemAddressForMdlSafe(part, NormalPagePriority | MdlMappingNoExecute);
    if (mapped != NULL) {
        RtlFillMemory(mapped, PAGE_SIZE, 0x33);
        DbgPrint("partial: mapped at %p -> frame %I64x\n", mapped, MmGetPhysicalAddress(mapped).QuadPart >> PAGE_SHIFT);
    }

    /* Takes the mapping down, if there is one, and makes the MDL fit for another part. IoFreeMdl would do it too. */
    MmPrepareMdlForReuse(part);
    IoFreeMdl(part);
    return mapped != NULL ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    PHYSICAL_ADDRESS low, high, skip;
    UNREFERENCED_PARAMETER(RegistryPath);
    low.QuadPart = 0;
    high.QuadPart = MAXLONGLONG;
    skip.QuadPart = 0;

    PMDL whole = MmAllocatePagesForMdlEx(low, high, skip, PAGES * PAGE_SIZE, MmCached, MM_ALLOCATE_FULLY_REQUIRED);
    if (whole == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    ShowFrames("the whole", whole);

    NTSTATUS status = MapOnePage(whole);

    /* The frames and the MDL itself are two things to give back. */
    MmFreePagesFromMdl(whole);
    ExFreePool(whole);

    DriverObject->DriverUnload = DriverUnload;
    return status;
}

VOID DriverUnload(PDRIVER_OBJECT DriverObject) {
    UNREFERENCED_PARAMETER(DriverObject);
}
