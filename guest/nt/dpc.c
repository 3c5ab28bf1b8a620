#include "nt/dpc.h"

#include "nt/driver.h"
#include "nt/irql.h"
#include "nt/list.h"

static LIST_ENTRY queue = {&queue, &queue};
static bool running;

/* Values of KDPC.Importance: where in the queue. */
enum { LOW_IMPORTANCE, MEDIUM_IMPORTANCE, HIGH_IMPORTANCE };

VOID NTAPI KeInitializeDpc(PRKDPC Dpc, PKDEFERRED_ROUTINE DeferredRoutine, PVOID DeferredContext) {
    *Dpc = (KDPC){
        .Type = DpcObject,
        .Importance = MEDIUM_IMPORTANCE,
        .DeferredRoutine = DeferredRoutine,
        .DeferredContext = DeferredContext,
    };
}
NT_EXPORT(KeInitializeDpc);
NT_EXPORT_AS("KeInitializeThreadedDpc", KeInitializeDpc);

BOOLEAN NTAPI KeInsertQueueDpc(PRKDPC Dpc, PVOID SystemArgument1, PVOID SystemArgument2) {
    if (Dpc->DpcData)
        return FALSE;
    Dpc->SystemArgument1 = SystemArgument1;
    Dpc->SystemArgument2 = SystemArgument2;
    Dpc->DpcData = &queue;
    if (Dpc->Importance == HIGH_IMPORTANCE)
        InsertHeadList(&queue, &Dpc->DpcListEntry);
    else
        InsertTailList(&queue, &Dpc->DpcListEntry);
    if (irql_current() < DISPATCH_LEVEL)
        irql_lower(irql_current());
    return TRUE;
}
NT_EXPORT(KeInsertQueueDpc);

BOOLEAN NTAPI KeRemoveQueueDpc(PRKDPC Dpc) {
    if (!Dpc->DpcData)
        return FALSE;
    RemoveEntryList(&Dpc->DpcListEntry);
    Dpc->DpcData = NULL;
    return TRUE;
}
NT_EXPORT(KeRemoveQueueDpc);

static VOID NTAPI KeSetImportanceDpc(PRKDPC Dpc, ULONG Importance) {
    Dpc->Importance = (UCHAR)Importance;
}
NT_EXPORT(KeSetImportanceDpc);

static VOID NTAPI KeSetTargetProcessorDpc(PRKDPC Dpc, CCHAR Number) {
    (void)Dpc, (void)Number; /* there is one */
}
NT_EXPORT(KeSetTargetProcessorDpc);

static VOID NTAPI KeFlushQueuedDpcs(VOID) {
    dpc_run_queued();
}
NT_EXPORT(KeFlushQueuedDpcs);

/* The DPC may be queued again, or be freed, by its own routine: so it is read before. */
static void run(KDPC *dpc) {
    KDPC copy = *dpc;
    dpc->DpcData = NULL;
    driver_call(copy.DeferredRoutine, (u64)dpc, (u64)copy.DeferredContext, (u64)copy.SystemArgument1,
                (u64)copy.SystemArgument2);
    if (irql_current() != DISPATCH_LEVEL)
        KeBugCheckEx(IRQL_UNEXPECTED_VALUE, irql_current() << 16 | DISPATCH_LEVEL << 8, 0,
                     (ULONG_PTR)copy.DeferredRoutine, (ULONG_PTR)dpc);
}

void dpc_run_queued(void) {
    KIRQL old = irql_current();
    if (running)
        return;
    running = true;
    while (!IsListEmpty(&queue)) {
        write_cr8(DISPATCH_LEVEL);
        run(CONTAINING_RECORD(RemoveHeadList(&queue), KDPC, DpcListEntry));
    }
    running = false;
    write_cr8(old);
}

bool dpc_is_running(void) {
    return running;
}

u32 dpc_count_in(u64 base, u64 size) {
    u32 count = 0;
    for (PLIST_ENTRY entry = queue.Flink; entry != &queue; entry = entry->Flink)
        count += (u64)CONTAINING_RECORD(entry, KDPC, DpcListEntry)->DeferredRoutine - base < size;
    return count;
}

static BOOLEAN NTAPI KeIsExecutingDpc(VOID) {
    return running;
}
NT_EXPORT(KeIsExecutingDpc);

/* A DPC on every processor: there is one, and it needs to wait for no other. */
static VOID NTAPI KeGenericCallDpc(PKDEFERRED_ROUTINE Routine, PVOID Context) {
    LONG barrier = 1, reverse_barrier = 1;
    KIRQL old = irql_current();
    write_cr8(DISPATCH_LEVEL);
    driver_call(Routine, 0, (u64)Context, (u64)&barrier, (u64)&reverse_barrier);
    irql_lower(old);
}
NT_EXPORT(KeGenericCallDpc);

static VOID NTAPI KeSignalCallDpcDone(PVOID SystemArgument1) {
    --*(PLONG)SystemArgument1;
}
NT_EXPORT(KeSignalCallDpcDone);

static LOGICAL NTAPI KeSignalCallDpcSynchronize(PVOID SystemArgument2) {
    (void)SystemArgument2;
    return TRUE; /* the last to come */
}
NT_EXPORT(KeSignalCallDpcSynchronize);
