/*
 * irp_queue.c - requests that wait for a driver: cancel-safe queues, and the device queue behind StartIo.
 */
#include "nt/irp.h"
#include "nt/irql.h"
#include "nt/list.h"

/* ------------------------------------------------------------------------------------------ cancel-safe queues ---- */

struct _IO_CSQ;
typedef struct _IO_CSQ_IRP_CONTEXT {
    ULONG Type;
    PIRP Irp;
    struct _IO_CSQ *Csq;
} IO_CSQ_IRP_CONTEXT, *PIO_CSQ_IRP_CONTEXT;
enum { TYPE_CSQ_IRP_CONTEXT = 1, TYPE_CSQ = 2, TYPE_CSQ_EX = 3 };

/* The queue itself is the driver's: it keeps the list and the lock, these routines call it. */
typedef struct _IO_CSQ {
    ULONG Type;
    PVOID CsqInsertIrp; /* of the Ex form: returns a status, takes a context */
    VOID(NTAPI *CsqRemoveIrp)(struct _IO_CSQ *Csq, PIRP Irp);
    PIRP(NTAPI *CsqPeekNextIrp)(struct _IO_CSQ *Csq, PIRP Irp, PVOID PeekContext);
    VOID(NTAPI *CsqAcquireLock)(struct _IO_CSQ *Csq, PKIRQL Irql);
    VOID(NTAPI *CsqReleaseLock)(struct _IO_CSQ *Csq, KIRQL Irql);
    VOID(NTAPI *CsqCompleteCanceledIrp)(struct _IO_CSQ *Csq, PIRP Irp);
    PVOID ReservePointer;
} IO_CSQ, *PIO_CSQ;
_Static_assert(sizeof(IO_CSQ) == 0x40 && offsetof(IO_CSQ, ReservePointer) == 0x38, "as in Windows");

typedef VOID(NTAPI *csq_insert)(PIO_CSQ Csq, PIRP Irp);
typedef NTSTATUS(NTAPI *csq_insert_ex)(PIO_CSQ Csq, PIRP Irp, PVOID InsertContext);

/* A queued request leads to its context, or to its queue: Type is the first word of both. */
static PVOID *link_of(PIRP irp) {
    return &irp->Tail.Overlay.DriverContext[3];
}

static void unlink(PIRP irp) {
    PIO_CSQ_IRP_CONTEXT context = *link_of(irp);
    if (context && context->Type == TYPE_CSQ_IRP_CONTEXT)
        context->Irp = NULL;
    *link_of(irp) = NULL;
}

static VOID NTAPI cancel_queued(PDEVICE_OBJECT device, PIRP irp) {
    (void)device;
    PIO_CSQ_IRP_CONTEXT context = *link_of(irp);
    PIO_CSQ csq = context->Type == TYPE_CSQ_IRP_CONTEXT ? context->Csq : *link_of(irp);
    KIRQL irql;
    irp_release_cancel_lock(irp->CancelIrql);
    csq->CsqAcquireLock(csq, &irql);
    csq->CsqRemoveIrp(csq, irp);
    unlink(irp);
    csq->CsqReleaseLock(csq, irql);
    csq->CsqCompleteCanceledIrp(csq, irp);
}

static NTSTATUS NTAPI IoCsqInitialize(PIO_CSQ Csq, PVOID CsqInsertIrp, PVOID CsqRemoveIrp, PVOID CsqPeekNextIrp,
                                      PVOID CsqAcquireLock, PVOID CsqReleaseLock, PVOID CsqCompleteCanceledIrp) {
    *Csq = (IO_CSQ){TYPE_CSQ,       CsqInsertIrp,   CsqRemoveIrp,           CsqPeekNextIrp,
                    CsqAcquireLock, CsqReleaseLock, CsqCompleteCanceledIrp, NULL};
    return STATUS_SUCCESS;
}
NT_EXPORT(IoCsqInitialize);

static NTSTATUS NTAPI IoCsqInitializeEx(PIO_CSQ Csq, PVOID CsqInsertIrp, PVOID CsqRemoveIrp, PVOID CsqPeekNextIrp,
                                        PVOID CsqAcquireLock, PVOID CsqReleaseLock, PVOID CsqCompleteCanceledIrp) {
    IoCsqInitialize(Csq, CsqInsertIrp, CsqRemoveIrp, CsqPeekNextIrp, CsqAcquireLock, CsqReleaseLock,
                    CsqCompleteCanceledIrp);
    Csq->Type = TYPE_CSQ_EX;
    return STATUS_SUCCESS;
}
NT_EXPORT(IoCsqInitializeEx);

static NTSTATUS insert(PIO_CSQ csq, PIRP irp, PVOID insert_context) {
    if (csq->Type == TYPE_CSQ_EX)
        return ((csq_insert_ex)csq->CsqInsertIrp)(csq, irp, insert_context);
    ((csq_insert)csq->CsqInsertIrp)(csq, irp);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI IoCsqInsertIrpEx(PIO_CSQ Csq, PIRP Irp, PIO_CSQ_IRP_CONTEXT Context, PVOID InsertContext) {
    KIRQL irql;
    Csq->CsqAcquireLock(Csq, &irql);
    *link_of(Irp) = Csq;
    if (Context) {
        *Context = (IO_CSQ_IRP_CONTEXT){TYPE_CSQ_IRP_CONTEXT, Irp, Csq};
        *link_of(Irp) = Context;
    }
    NTSTATUS status = insert(Csq, Irp, InsertContext);
    if (NT_SUCCESS(status)) {
        Irp->Tail.Overlay.CurrentStackLocation->Control |= SL_PENDING_RETURNED;
        Irp->CancelRoutine = cancel_queued;
    } else {
        unlink(Irp);
    }
    Csq->CsqReleaseLock(Csq, irql);
    if (NT_SUCCESS(status) && Irp->Cancel) /* cancelled before it was queued */
        IoCancelIrp(Irp);
    return status;
}
NT_EXPORT(IoCsqInsertIrpEx);

static VOID NTAPI IoCsqInsertIrp(PIO_CSQ Csq, PIRP Irp, PIO_CSQ_IRP_CONTEXT Context) {
    IoCsqInsertIrpEx(Csq, Irp, Context, NULL);
}
NT_EXPORT(IoCsqInsertIrp);

static void take_out(PIO_CSQ csq, PIRP irp) {
    irp->CancelRoutine = NULL;
    csq->CsqRemoveIrp(csq, irp);
    unlink(irp);
}

static PIRP NTAPI IoCsqRemoveNextIrp(PIO_CSQ Csq, PVOID PeekContext) {
    KIRQL irql;
    Csq->CsqAcquireLock(Csq, &irql);
    PIRP irp = Csq->CsqPeekNextIrp(Csq, NULL, PeekContext);
    if (irp)
        take_out(Csq, irp);
    Csq->CsqReleaseLock(Csq, irql);
    return irp;
}
NT_EXPORT(IoCsqRemoveNextIrp);

static PIRP NTAPI IoCsqRemoveIrp(PIO_CSQ Csq, PIO_CSQ_IRP_CONTEXT Context) {
    KIRQL irql;
    Csq->CsqAcquireLock(Csq, &irql);
    PIRP irp = Context->Irp;
    if (irp)
        take_out(Csq, irp);
    Csq->CsqReleaseLock(Csq, irql);
    return irp;
}
NT_EXPORT(IoCsqRemoveIrp);

/* ----------------------------------------------------------------------------------------------- device queues ---- */

VOID NTAPI KeInitializeDeviceQueue(PKDEVICE_QUEUE DeviceQueue) {
    enum { DEVICE_QUEUE_OBJECT = 20 };
    *DeviceQueue = (KDEVICE_QUEUE){.Type = DEVICE_QUEUE_OBJECT, .Size = sizeof(KDEVICE_QUEUE)};
    InitializeListHead(&DeviceQueue->DeviceListHead);
}
NT_EXPORT(KeInitializeDeviceQueue);

static PKDEVICE_QUEUE_ENTRY queue_entry(PLIST_ENTRY entry) {
    return CONTAINING_RECORD(entry, KDEVICE_QUEUE_ENTRY, DeviceListEntry);
}

/* A queue that is not busy takes the request itself: then nothing is inserted, and FALSE says so. */
static BOOLEAN NTAPI KeInsertByKeyDeviceQueue(PKDEVICE_QUEUE DeviceQueue, PKDEVICE_QUEUE_ENTRY DeviceQueueEntry,
                                              ULONG SortKey) {
    DeviceQueueEntry->Inserted = DeviceQueue->Busy;
    DeviceQueueEntry->SortKey = SortKey;
    if (DeviceQueue->Busy) {
        PLIST_ENTRY next = DeviceQueue->DeviceListHead.Flink;
        while (next != &DeviceQueue->DeviceListHead && queue_entry(next)->SortKey <= SortKey)
            next = next->Flink;
        InsertTailList(next, &DeviceQueueEntry->DeviceListEntry);
    }
    DeviceQueue->Busy = TRUE;
    return DeviceQueueEntry->Inserted;
}
NT_EXPORT(KeInsertByKeyDeviceQueue);

static BOOLEAN NTAPI KeInsertDeviceQueue(PKDEVICE_QUEUE DeviceQueue, PKDEVICE_QUEUE_ENTRY DeviceQueueEntry) {
    return KeInsertByKeyDeviceQueue(DeviceQueue, DeviceQueueEntry, ~(ULONG)0);
}
NT_EXPORT(KeInsertDeviceQueue);

static PKDEVICE_QUEUE_ENTRY NTAPI KeRemoveDeviceQueue(PKDEVICE_QUEUE DeviceQueue) {
    if (IsListEmpty(&DeviceQueue->DeviceListHead)) {
        DeviceQueue->Busy = FALSE;
        return NULL;
    }
    PKDEVICE_QUEUE_ENTRY entry = queue_entry(RemoveHeadList(&DeviceQueue->DeviceListHead));
    entry->Inserted = FALSE;
    return entry;
}
NT_EXPORT(KeRemoveDeviceQueue);

/* The first whose key is not below; when there is none, the first of all. */
static PKDEVICE_QUEUE_ENTRY NTAPI KeRemoveByKeyDeviceQueue(PKDEVICE_QUEUE DeviceQueue, ULONG SortKey) {
    PLIST_ENTRY head = &DeviceQueue->DeviceListHead, next = head->Flink;
    while (next != head && queue_entry(next)->SortKey < SortKey)
        next = next->Flink;
    if (next == head)
        return KeRemoveDeviceQueue(DeviceQueue);
    RemoveEntryList(next);
    queue_entry(next)->Inserted = FALSE;
    return queue_entry(next);
}
NT_EXPORT(KeRemoveByKeyDeviceQueue);

static BOOLEAN NTAPI KeRemoveEntryDeviceQueue(PKDEVICE_QUEUE DeviceQueue, PKDEVICE_QUEUE_ENTRY DeviceQueueEntry) {
    (void)DeviceQueue;
    if (!DeviceQueueEntry->Inserted)
        return FALSE;
    RemoveEntryList(&DeviceQueueEntry->DeviceListEntry);
    DeviceQueueEntry->Inserted = FALSE;
    return TRUE;
}
NT_EXPORT(KeRemoveEntryDeviceQueue);

/* ----------------------------------------------------------------------------------------------------- StartIo ---- */

/* A driver's StartIo runs at DISPATCH_LEVEL. */
static void start_io(PDEVICE_OBJECT device, PIRP irp) {
    KIRQL old = KfRaiseIrql(DISPATCH_LEVEL);
    device->CurrentIrp = irp;
    device->DriverObject->DriverStartIo(device, irp);
    KeLowerIrql(old);
}

static VOID NTAPI IoStartPacket(PDEVICE_OBJECT DeviceObject, PIRP Irp, PULONG Key, PDRIVER_CANCEL CancelFunction) {
    PKDEVICE_QUEUE_ENTRY entry = &Irp->Tail.Overlay.DeviceQueueEntry;
    if (CancelFunction)
        Irp->CancelRoutine = CancelFunction;
    bool queued = Key ? KeInsertByKeyDeviceQueue(&DeviceObject->DeviceQueue, entry, *Key)
                      : KeInsertDeviceQueue(&DeviceObject->DeviceQueue, entry);
    if (!queued)
        start_io(DeviceObject, Irp);
}
NT_EXPORT(IoStartPacket);

static void start_next(PDEVICE_OBJECT device, PKDEVICE_QUEUE_ENTRY entry) {
    device->CurrentIrp = NULL;
    if (entry)
        start_io(device, CONTAINING_RECORD(entry, IRP, Tail.Overlay.DeviceQueueEntry));
}

static VOID NTAPI IoStartNextPacket(PDEVICE_OBJECT DeviceObject, BOOLEAN Cancelable) {
    (void)Cancelable;
    start_next(DeviceObject, KeRemoveDeviceQueue(&DeviceObject->DeviceQueue));
}
NT_EXPORT(IoStartNextPacket);

static VOID NTAPI IoStartNextPacketByKey(PDEVICE_OBJECT DeviceObject, BOOLEAN Cancelable, ULONG Key) {
    (void)Cancelable;
    start_next(DeviceObject, KeRemoveByKeyDeviceQueue(&DeviceObject->DeviceQueue, Key));
}
NT_EXPORT(IoStartNextPacketByKey);

static VOID NTAPI IoSetStartIoAttributes(PDEVICE_OBJECT DeviceObject, BOOLEAN DeferredStartIo, BOOLEAN NonCancelable) {
    (void)DeviceObject, (void)DeferredStartIo, (void)NonCancelable;
}
NT_EXPORT(IoSetStartIoAttributes);
