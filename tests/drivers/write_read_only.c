/*
 * write_read_only.c - writes through a mapping that allows only reading.
 *
 * The frame itself is as writable as any; it is the page-table entry of this one mapping whose W bit is clear, and
 * since CR0.WP is set, the kernel obeys it as well: 0xBE, ATTEMPTED_WRITE_TO_READONLY_MEMORY.
 */
#include <ntddk.h>

DRIVER_INITIALIZE DriverEntry;

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    PHYSICAL_ADDRESS low, high, skip;
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    low.QuadPart = 0;
    high.QuadPart = MAXLONGLONG;
    skip.QuadPart = 0;

    PMDL mdl = MmAllocatePagesForMdlEx(low, high, skip, PAGE_SIZE, MmCached, MM_ALLOCATE_FULLY_REQUIRED);
    if (mdl == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;

    volatile UCHAR *page = MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE,
                                                        NormalPagePriority | MdlMappingNoWrite | MdlMappingNoExecute);
    if (page != NULL) {
        DbgPrint("write_read_only: %p can be read: %02x\n", page, page[0]);
        page[0] = 1;
        DbgPrint("write_read_only: %p could be written: %02x\n", page, page[0]);
        MmUnmapLockedPages((PVOID)page, mdl);
    }
    MmFreePagesFromMdl(mdl);
    ExFreePool(mdl);
    return STATUS_UNSUCCESSFUL;
}
