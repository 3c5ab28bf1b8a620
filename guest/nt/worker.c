#include "nt/worker.h"

#include "memory/pool.h"
#include "nt/driver.h"
#include "nt/irql.h"
#include "nt/list.h"
#include "nt/thread.h"

/* All queues are one: with one thread to serve them, importance makes no difference. */
static LIST_ENTRY queue = {&queue, &queue};
static KSEMAPHORE queued;
static PKTHREAD worker;

static void run(WORK_QUEUE_ITEM item) {
    driver_call(item.WorkerRoutine, (u64)item.Parameter, 0, 0, 0);
    if (irql_current() != PASSIVE_LEVEL)
        KeBugCheckEx(WORKER_THREAD_RETURNED_AT_BAD_IRQL, (ULONG_PTR)item.WorkerRoutine, irql_current(),
                     (ULONG_PTR)item.Parameter, (ULONG_PTR)item.WorkerRoutine);
}

/* The item may be freed by its own routine: so it is copied. */
static VOID NTAPI serve(PVOID context) {
    (void)context;
    for (;;) {
        KeWaitForSingleObject(&queued, Executive, KernelMode, FALSE, NULL);
        if (!IsListEmpty(&queue)) {
            PWORK_QUEUE_ITEM item = CONTAINING_RECORD(RemoveHeadList(&queue), WORK_QUEUE_ITEM, List);
            WORK_QUEUE_ITEM copy = *item;
            item->List.Flink = NULL;
            run(copy);
        }
    }
}

/* The thread is made when there is work for the first time. */
static void start_worker(void) {
    KeInitializeSemaphore(&queued, 0, 0x7fffffff);
    worker = thread_create(serve, NULL);
    lab_assert(worker, "work items: no memory for their thread");
}

VOID NTAPI ExQueueWorkItem(PWORK_QUEUE_ITEM WorkItem, WORK_QUEUE_TYPE QueueType) {
    (void)QueueType;
    if (!worker)
        start_worker();
    InsertTailList(&queue, &WorkItem->List);
    KeReleaseSemaphore(&queued, 0, 1, FALSE);
}
NT_EXPORT(ExQueueWorkItem);

/* ------------------------------------------------------------------------------------ items of the I/O manager ---- */

typedef struct _IO_WORKITEM IO_WORKITEM, *PIO_WORKITEM;
typedef VOID(NTAPI *PIO_WORKITEM_ROUTINE)(PVOID DeviceObject, PVOID Context);
typedef VOID(NTAPI *PIO_WORKITEM_ROUTINE_EX)(PVOID IoObject, PVOID Context, PIO_WORKITEM IoWorkItem);

/* Opaque to drivers. */
struct _IO_WORKITEM {
    WORK_QUEUE_ITEM item;
    PVOID object, routine, context;
    bool extended;
};
enum { WORK_ITEM_TAG = POOL_TAG('I', 'o', 'W', 'I') };

static VOID NTAPI call_routine(PVOID parameter) {
    IO_WORKITEM item = *(PIO_WORKITEM)parameter;
    if (item.extended)
        ((PIO_WORKITEM_ROUTINE_EX)item.routine)(item.object, item.context, parameter);
    else
        ((PIO_WORKITEM_ROUTINE)item.routine)(item.object, item.context);
    ObfDereferenceObject(item.object);
}

static u64 routine_of(const WORK_QUEUE_ITEM *item) {
    return item->WorkerRoutine == call_routine ? (u64)((PIO_WORKITEM)item->Parameter)->routine
                                               : (u64)item->WorkerRoutine;
}

u32 worker_count_in(u64 base, u64 size) {
    u32 count = 0;
    for (PLIST_ENTRY entry = queue.Flink; entry != &queue; entry = entry->Flink)
        count += routine_of(CONTAINING_RECORD(entry, WORK_QUEUE_ITEM, List)) - base < size;
    return count;
}

static SIZE_T NTAPI IoSizeofWorkItem(VOID) {
    return sizeof(IO_WORKITEM);
}
NT_EXPORT(IoSizeofWorkItem);

static VOID NTAPI IoInitializeWorkItem(PVOID IoObject, PIO_WORKITEM IoWorkItem) {
    *IoWorkItem = (IO_WORKITEM){.object = IoObject};
}
NT_EXPORT(IoInitializeWorkItem);

static PIO_WORKITEM NTAPI IoAllocateWorkItem(PVOID DeviceObject) {
    PIO_WORKITEM item = pool_allocate(NonPagedPool, sizeof(IO_WORKITEM), WORK_ITEM_TAG);
    if (item)
        IoInitializeWorkItem(DeviceObject, item);
    return item;
}
NT_EXPORT(IoAllocateWorkItem);

static VOID NTAPI IoFreeWorkItem(PIO_WORKITEM IoWorkItem) {
    ExFreePoolWithTag(IoWorkItem, 0);
}
NT_EXPORT(IoFreeWorkItem);

static VOID NTAPI IoUninitializeWorkItem(PIO_WORKITEM IoWorkItem) {
    (void)IoWorkItem;
}
NT_EXPORT(IoUninitializeWorkItem);

static void queue_item(PIO_WORKITEM item, PVOID routine, bool extended, PVOID context, WORK_QUEUE_TYPE type) {
    item->item = (WORK_QUEUE_ITEM){.WorkerRoutine = call_routine, .Parameter = item};
    item->routine = routine;
    item->extended = extended;
    item->context = context;
    ObfReferenceObject(item->object); /* keeps the device, and so the driver's record, until the call */
    ExQueueWorkItem(&item->item, type);
}

static VOID NTAPI IoQueueWorkItem(PIO_WORKITEM IoWorkItem, PIO_WORKITEM_ROUTINE WorkerRoutine,
                                  WORK_QUEUE_TYPE QueueType, PVOID Context) {
    queue_item(IoWorkItem, WorkerRoutine, false, Context, QueueType);
}
NT_EXPORT(IoQueueWorkItem);

static VOID NTAPI IoQueueWorkItemEx(PIO_WORKITEM IoWorkItem, PIO_WORKITEM_ROUTINE_EX WorkerRoutine,
                                    WORK_QUEUE_TYPE QueueType, PVOID Context) {
    queue_item(IoWorkItem, WorkerRoutine, true, Context, QueueType);
}
NT_EXPORT(IoQueueWorkItemEx);
