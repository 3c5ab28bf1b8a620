/*
 * wrong_irql.c - asks for paged pool while it holds a spin lock.
 *
 * A spin lock raises the IRQL to DISPATCH_LEVEL, where no page fault can be served; paged pool may be taken at
 * APC_LEVEL at most. Windows stops with 0xC2/8, BAD_POOL_CALLER; Driver Verifier with 0xC4/0x01.
 */
#include <ntddk.h>

#define TAG 'lqrI'

DRIVER_INITIALIZE DriverEntry;

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    KSPIN_LOCK lock;
    KIRQL before;
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);

    KeInitializeSpinLock(&lock);
    DbgPrint("wrong_irql: at IRQL %u\n", KeGetCurrentIrql());
    KeAcquireSpinLock(&lock, &before);
    DbgPrint("wrong_irql: at IRQL %u, holding a spin lock\n", KeGetCurrentIrql());

    PVOID block = ExAllocatePoolWithTag(PagedPool, 128, TAG);
    DbgPrint("wrong_irql: got %p, which should not have happened\n", block);

    KeReleaseSpinLock(&lock, before);
    if (block != NULL)
        ExFreePoolWithTag(block, TAG);
    return STATUS_UNSUCCESSFUL;
}
