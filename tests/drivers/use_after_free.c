/*
 * use_after_free.c - reads and writes a block of pool after it was freed.
 *
 * Without help nothing happens: the memory is still mapped, and holds whatever the pool, or its next owner, left there.
 * Under Driver Verifier the freed page is made inaccessible, and the first read below stops the machine with 0xD5,
 * DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL.
 */
#include <ntddk.h>

#define TAG 'faaU'

DRIVER_INITIALIZE DriverEntry;
DRIVER_UNLOAD DriverUnload;

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    UNREFERENCED_PARAMETER(RegistryPath);
    DriverObject->DriverUnload = DriverUnload;

    /* Volatile, so that the compiler believes every access to be wanted. */
    volatile ULONG *block = ExAllocatePoolWithTag(NonPagedPoolNx, 64, TAG);
    if (block == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    block[0] = 0x600D;
    block[8] = 0x600D;
    DbgPrint("use_after_free: %p holds %08x %08x\n", block, block[0], block[8]);

    ExFreePoolWithTag((PVOID)block, TAG);

    DbgPrint("use_after_free: freed, it holds %08x %08x\n", block[0], block[8]);
    block[8] = 0xBAD;
    DbgPrint("use_after_free: written to, it holds %08x %08x\n", block[0], block[8]);
    return STATUS_SUCCESS;
}

VOID DriverUnload(PDRIVER_OBJECT DriverObject) {
    UNREFERENCED_PARAMETER(DriverObject);
}
