/*
 * queue.c - KQUEUE: a list that threads can wait for until there is something in it.
 */
#include "nt/list.h"
#include "nt/wait.h"

typedef struct _KQUEUE {
    DISPATCHER_HEADER Header; /* SignalState: how many entries */
    LIST_ENTRY EntryListHead;
    ULONG CurrentCount;
    ULONG MaximumCount; /* of threads that should run at once; one processor needs no such bound */
    LIST_ENTRY ThreadListHead;
} KQUEUE, *PKQUEUE;
_Static_assert(sizeof(KQUEUE) == 0x40, "as in Windows");

static VOID NTAPI KeInitializeQueue(PKQUEUE Queue, ULONG Count) {
    *Queue = (KQUEUE){
        .Header = {.Type = QueueObject, .Size = sizeof(KQUEUE) / 4},
        .MaximumCount = Count ? Count : 1,
    };
    InitializeListHead(&Queue->Header.WaitListHead);
    InitializeListHead(&Queue->EntryListHead);
    InitializeListHead(&Queue->ThreadListHead);
}
NT_EXPORT(KeInitializeQueue);

static LONG signal(PKQUEUE queue) {
    LONG before = queue->Header.SignalState++;
    wait_test(&queue->Header);
    return before;
}

static LONG NTAPI KeInsertQueue(PKQUEUE Queue, PLIST_ENTRY Entry) {
    InsertTailList(&Queue->EntryListHead, Entry);
    return signal(Queue);
}
NT_EXPORT(KeInsertQueue);

static LONG NTAPI KeInsertHeadQueue(PKQUEUE Queue, PLIST_ENTRY Entry) {
    InsertHeadList(&Queue->EntryListHead, Entry);
    return signal(Queue);
}
NT_EXPORT(KeInsertHeadQueue);

/* In place of an entry the status of a wait that ended without one. */
static PLIST_ENTRY NTAPI KeRemoveQueue(PKQUEUE Queue, KPROCESSOR_MODE WaitMode, PLARGE_INTEGER Timeout) {
    NTSTATUS status = KeWaitForSingleObject(Queue, Executive, WaitMode, FALSE, Timeout);
    return status == STATUS_SUCCESS ? RemoveHeadList(&Queue->EntryListHead) : (PLIST_ENTRY)(u64)(u32)status;
}
NT_EXPORT(KeRemoveQueue);

static LONG NTAPI KeReadStateQueue(PKQUEUE Queue) {
    return Queue->Header.SignalState;
}
NT_EXPORT(KeReadStateQueue);

/* The list of what was left, which has no head then; NULL when nothing was. */
static PLIST_ENTRY NTAPI KeRundownQueue(PKQUEUE Queue) {
    PLIST_ENTRY first = Queue->EntryListHead.Flink;
    if (IsListEmpty(&Queue->EntryListHead))
        return NULL;
    RemoveEntryList(&Queue->EntryListHead);
    InitializeListHead(&Queue->EntryListHead);
    Queue->Header.SignalState = 0;
    return first;
}
NT_EXPORT(KeRundownQueue);
