/*
 * overrun.c - writes past the end of a block of pool, by a loop that counts one too far.
 *
 * The block asked for ends where the header of the next one begins. Without help the damage is found much later, if
 * at all: when a block nearby is freed (0x19 or 0xC5), long after the guilty driver has returned. Under Driver Verifier
 * the block stands at the end of its page with nothing behind it, and the store itself stops with 0xD6,
 * DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION.
 */
#include <ntddk.h>

#define TAG 'nurO'
#define COUNT 16

DRIVER_INITIALIZE DriverEntry;
DRIVER_UNLOAD DriverUnload;

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    UNREFERENCED_PARAMETER(RegistryPath);
    DriverObject->DriverUnload = DriverUnload;

    ULONG *first = ExAllocatePoolWithTag(NonPagedPoolNx, COUNT * sizeof(ULONG), TAG);
    ULONG *second = ExAllocatePoolWithTag(NonPagedPoolNx, COUNT * sizeof(ULONG), TAG);
    DbgPrint("overrun: blocks at %p and %p\n", first, second);

    if (first != NULL)
        for (ULONG i = 0; i <= COUNT; i++) /* should be i < COUNT */
            first[i] = 0xFFFFFFFF;
    DbgPrint("overrun: wrote %u words into room for %u\n", COUNT + 1, COUNT);

    if (second != NULL)
        ExFreePoolWithTag(second, TAG);
    if (first != NULL)
        ExFreePoolWithTag(first, TAG);
    return STATUS_SUCCESS;
}

VOID DriverUnload(PDRIVER_OBJECT DriverObject) {
    UNREFERENCED_PARAMETER(DriverObject);
}
