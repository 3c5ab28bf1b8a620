/*
 * remap.c - one frame, two addresses.
 *
 * Allocates a page of nonpaged pool, describes it with a memory descriptor list (MDL), maps it a second time, and shows
 * that a byte written through one address is read through the other. What was set up is taken down in reverse order.
 *
 * Microsoft's documentation forbids to map the MDL of nonpaged pool again, because such memory has an address already;
 * tutorials do it all the same. Windows as it is delivered plays along. Driver Verifier stops with 0xC4/0xB2.
 */
#include <ntddk.h>

#define TAG 'pmeR' /* "Remp": tags are stored with their first letter lowest */

DRIVER_INITIALIZE DriverEntry;
DRIVER_UNLOAD DriverUnload;

static VOID ShowOneFrame(PUCHAR Pool, PUCHAR Mapped) {
    DbgPrint("remap: pool   %p -> frame %I64x\n", Pool, MmGetPhysicalAddress(Pool).QuadPart);
    DbgPrint("remap: mapped %p -> frame %I64x\n", Mapped, MmGetPhysicalAddress(Mapped).QuadPart);

    Pool[0] = 0x42;
    DbgPrint("remap: wrote 42 through the first, read %02x through the second\n", Mapped[0]);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;
    UNREFERENCED_PARAMETER(RegistryPath);

    PUCHAR pool = ExAllocatePoolWithTag(NonPagedPoolNx, PAGE_SIZE, TAG);
    if (pool == NULL)
        return status;

    PMDL mdl = IoAllocateMdl(pool, PAGE_SIZE, FALSE, FALSE, NULL);
    if (mdl == NULL)
        goto FreePool;

    /* Nonpaged pool never leaves its frames, so nothing has to be locked: this only writes down which they are. */
    MmBuildMdlForNonPagedPool(mdl);

    PUCHAR mapped =
        MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority | MdlMappingNoExecute);
    if (mapped == NULL)
        goto FreeMdl;

    ShowOneFrame(pool, mapped);
    DriverObject->DriverUnload = DriverUnload;
    status = STATUS_SUCCESS;

    MmUnmapLockedPages(mapped, mdl);
FreeMdl:
    IoFreeMdl(mdl);
FreePool:
    ExFreePoolWithTag(pool, TAG);
    return status;
}

VOID DriverUnload(PDRIVER_OBJECT DriverObject) {
    UNREFERENCED_PARAMETER(DriverObject);
    DbgPrint("remap: unloaded\n");
}
