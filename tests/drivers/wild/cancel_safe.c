/* Keeps requests in a cancel-safe queue: one is cancelled there, one is completed. */
#include <ntddk.h>
typedef struct {
    IO_CSQ Csq;
    LIST_ENTRY List;
    KSPIN_LOCK Lock;
} EXT, *PEXT;
IO_CSQ_INSERT_IRP Insert;
IO_CSQ_REMOVE_IRP Remove;
IO_CSQ_PEEK_NEXT_IRP Peek;
IO_CSQ_ACQUIRE_LOCK Acquire;
IO_CSQ_RELEASE_LOCK Release;
IO_CSQ_COMPLETE_CANCELED_IRP Canceled;
#define E(c) CONTAINING_RECORD(c, EXT, Csq)
VOID Insert(PIO_CSQ c, PIRP i) {
    InsertTailList(&E(c)->List, &i->Tail.Overlay.ListEntry);
}
VOID Remove(PIO_CSQ c, PIRP i) {
    UNREFERENCED_PARAMETER(c);
    RemoveEntryList(&i->Tail.Overlay.ListEntry);
}
PIRP Peek(PIO_CSQ c, PIRP i, PVOID ctx) {
    PLIST_ENTRY n = i ? i->Tail.Overlay.ListEntry.Flink : E(c)->List.Flink;
    UNREFERENCED_PARAMETER(ctx);
    return n == &E(c)->List ? NULL : CONTAINING_RECORD(n, IRP, Tail.Overlay.ListEntry);
}
_IRQL_raises_(DISPATCH_LEVEL) VOID Acquire(PIO_CSQ c, PKIRQL q) {
    KeAcquireSpinLock(&E(c)->Lock, q);
}
VOID Release(PIO_CSQ c, KIRQL q) {
    KeReleaseSpinLock(&E(c)->Lock, q);
}
VOID Canceled(PIO_CSQ c, PIRP i) {
    UNREFERENCED_PARAMETER(c);
    DbgPrint("canceled\n");
    i->IoStatus.Status = STATUS_CANCELLED;
    i->IoStatus.Information = 0;
    IoCompleteRequest(i, IO_NO_INCREMENT);
}
VOID Unload(PDRIVER_OBJECT d) {
    IoDeleteDevice(d->DeviceObject);
}
static NTSTATUS Done(PDEVICE_OBJECT dev, PIRP i, PVOID ctx) {
    UNREFERENCED_PARAMETER(dev);
    DbgPrint("completed %08x\n", i->IoStatus.Status);
    KeSetEvent(ctx, 0, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}
NTSTATUS Read(PDEVICE_OBJECT dev, PIRP i) {
    PEXT e = dev->DeviceExtension;
    IoCsqInsertIrp(&e->Csq, i, NULL);
    return STATUS_PENDING;
}
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING r) {
    PDEVICE_OBJECT dev;
    UNREFERENCED_PARAMETER(r);
    NTSTATUS st = IoCreateDevice(d, sizeof(EXT), NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &dev);
    if (!NT_SUCCESS(st))
        return st;
    PEXT e = dev->DeviceExtension;
    InitializeListHead(&e->List);
    KeInitializeSpinLock(&e->Lock);
    IoCsqInitialize(&e->Csq, Insert, Remove, Peek, Acquire, Release, Canceled);
    d->DriverUnload = Unload;
    d->MajorFunction[IRP_MJ_READ] = Read;
    dev->Flags &= ~DO_DEVICE_INITIALIZING;
    for (int k = 0; k < 2; k++) {
        KEVENT ev;
        KeInitializeEvent(&ev, NotificationEvent, FALSE);
        PIRP irp = IoAllocateIrp(dev->StackSize + 1, FALSE);
        IoSetNextIrpStackLocation(irp);
        PIO_STACK_LOCATION s = IoGetNextIrpStackLocation(irp);
        s->MajorFunction = IRP_MJ_READ;
        IoSetCompletionRoutine(irp, Done, &ev, TRUE, TRUE, TRUE);
        st = IoCallDriver(dev, irp);
        DbgPrint("read %08x\n", st);
        if (k) {
            PIRP n = IoCsqRemoveNextIrp(&e->Csq, NULL);
            n->IoStatus.Status = STATUS_SUCCESS;
            IoCompleteRequest(n, IO_NO_INCREMENT);
        } else
            DbgPrint("cancel %d\n", IoCancelIrp(irp));
        KeWaitForSingleObject(&ev, Executive, KernelMode, FALSE, NULL);
        IoFreeIrp(irp);
    }
    return STATUS_SUCCESS;
}
