/*
 * leak.c - unloads without giving back what it took: pool, an MDL with its mapping, and a device.
 *
 * Windows keeps all of it until the next start. Driver Verifier stops at the unload with 0xC4/0x62 and counts the
 * allocations.
 */
#include <ntddk.h>

#define TAG 'kaeL'
#define BLOCKS 3

DRIVER_INITIALIZE DriverEntry;
DRIVER_UNLOAD DriverUnload;

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    PHYSICAL_ADDRESS low, high, skip;
    PDEVICE_OBJECT device;
    UNREFERENCED_PARAMETER(RegistryPath);
    DriverObject->DriverUnload = DriverUnload;

    for (ULONG i = 1; i <= BLOCKS; i++)
        DbgPrint("leak: %u bytes of pool at %p\n", 100 * i, ExAllocatePoolWithTag(NonPagedPoolNx, 100 * i, TAG));

    low.QuadPart = 0;
    high.QuadPart = MAXLONGLONG;
    skip.QuadPart = 0;
    PMDL mdl = MmAllocatePagesForMdlEx(low, high, skip, 2 * PAGE_SIZE, MmCached, 0);
    if (mdl != NULL)
        DbgPrint("leak: two frames mapped at %p\n",
                 MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority));

    /* Without a name; nobody will ever find it again. */
    return IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &device);
}

VOID DriverUnload(PDRIVER_OBJECT DriverObject) {
    UNREFERENCED_PARAMETER(DriverObject);
    DbgPrint("leak: unloading, empty-handed\n");
}
