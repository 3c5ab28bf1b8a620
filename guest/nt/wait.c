#include "nt/wait.h"

#include "memory/verifier.h"
#include "nt/clock.h"
#include "nt/dpc.h"
#include "nt/irql.h"
#include "nt/list.h"
#include "nt/thread.h"
#include "nt/timer.h"

/* KWAIT_BLOCK.WaitKey of the timer behind a timeout. */
enum { KEY_TIMEOUT = STATUS_TIMEOUT };

/* ----------------------------------------------------------------------------------------------------- objects ---- */

static PKMUTANT mutant_of(PDISPATCHER_HEADER header) {
    return CONTAINING_RECORD(header, KMUTANT, Header);
}

static bool is_available(PDISPATCHER_HEADER header, PKTHREAD thread) {
    bool owned = header->Type == MutantObject && mutant_of(header)->OwnerThread == thread;
    return header->SignalState > 0 || owned;
}

/* What it costs the object that somebody has waited for it successfully. */
static void take(PDISPATCHER_HEADER header, PKTHREAD thread) {
    switch (header->Type) {
    case EventSynchronizationObject:
    case TimerSynchronizationObject:
        header->SignalState = 0;
        break;
    case SemaphoreObject:
    case QueueObject:
        header->SignalState--;
        break;
    case MutantObject:
        header->SignalState--;
        mutant_of(header)->OwnerThread = thread;
        break;
    default:
        break;
    }
}

/* ---------------------------------------------------------------------------------------------- who is waiting ---- */

static bool all_are_available(PKTHREAD thread) {
    for (u32 i = 0; i < thread->wait_count; i++) {
        if (thread->wait[i].WaitKey != KEY_TIMEOUT && !is_available(thread->wait[i].Object, thread))
            return false;
    }
    return true;
}

/* Ends a wait: takes what it was for, and lets the thread run again. */
static void satisfy(PKWAIT_BLOCK block) {
    PKTHREAD thread = block->Thread;
    bool all = block->WaitType == WaitAll && block->WaitKey != KEY_TIMEOUT;
    thread->status = all ? STATUS_SUCCESS : block->WaitKey;
    for (u32 i = 0; i < thread->wait_count; i++) {
        if (&thread->wait[i] == block || (all && thread->wait[i].WaitKey != KEY_TIMEOUT))
            take(thread->wait[i].Object, thread);
        RemoveEntryList(&thread->wait[i].WaitListEntry);
    }
    thread_make_ready(thread);
}

static bool can_be_satisfied(PKWAIT_BLOCK block) {
    if (block->WaitType == WaitAll && block->WaitKey != KEY_TIMEOUT)
        return all_are_available(block->Thread);
    return is_available(block->Object, block->Thread);
}

void wait_test(PDISPATCHER_HEADER header) {
    PLIST_ENTRY entry = header->WaitListHead.Flink;
    while (entry != &header->WaitListHead) {
        PKWAIT_BLOCK block = CONTAINING_RECORD(entry, KWAIT_BLOCK, WaitListEntry);
        entry = entry->Flink;
        if (!can_be_satisfied(block))
            continue;
        satisfy(block);
        entry = header->WaitListHead.Flink; /* a thread may have had several blocks here */
    }
}

/* ----------------------------------------------------------------------------------------------------- waiting ---- */

/* A wait at DISPATCH_LEVEL is an error unless its timeout is 0; in a DPC there is not even a thread that could. */
static void check_irql(PVOID object, PLARGE_INTEGER timeout, PVOID caller) {
    bool may_block = !timeout || timeout->QuadPart;
    if (irql_current() < DISPATCH_LEVEL || !may_block)
        return;
    if (lab_options.verifier)
        verifier_stop(VERIFIER_WAIT_IRQL, caller, irql_current(), (u64)object, (u64)timeout);
    if (dpc_is_running())
        KeBugCheckEx(ATTEMPTED_SWITCH_FROM_DPC, (ULONG_PTR)caller, (ULONG_PTR)thread_current(), 0, 0);
    KeBugCheckEx(IRQL_NOT_LESS_OR_EQUAL, (ULONG_PTR)object, irql_current(), 0, (ULONG_PTR)caller);
}

static void add_block(PKTHREAD thread, PDISPATCHER_HEADER object, NTSTATUS key, WAIT_TYPE type) {
    PKWAIT_BLOCK block = &thread->wait[thread->wait_count++];
    *block = (KWAIT_BLOCK){.Thread = thread, .Object = object, .WaitKey = (USHORT)key, .WaitType = (UCHAR)type};
    InsertTailList(&object->WaitListHead, &block->WaitListEntry);
}

/* What can be had at once, without waiting; STATUS_PENDING when nothing can. */
static NTSTATUS try_now(PKTHREAD thread, ULONG count, PVOID objects[], WAIT_TYPE type) {
    ULONG available = 0;
    for (ULONG i = 0; i < count; i++) {
        if (!is_available(objects[i], thread))
            continue;
        available++;
        if (type == WaitAny) {
            take(objects[i], thread);
            return (NTSTATUS)i;
        }
    }
    if (available < count)
        return STATUS_PENDING;
    for (ULONG i = 0; i < count; i++)
        take(objects[i], thread);
    return STATUS_SUCCESS;
}

/* `blocks` has room for each object and the timer of the timeout. */
static NTSTATUS wait_for(ULONG count, PVOID objects[], WAIT_TYPE type, PLARGE_INTEGER timeout, PKWAIT_BLOCK blocks) {
    PKTHREAD thread = thread_current();
    timers_expire();
    NTSTATUS status = try_now(thread, count, objects, type);
    if (status != STATUS_PENDING)
        return status;
    if (timeout && !timeout->QuadPart)
        return STATUS_TIMEOUT;
    thread->wait = blocks;
    thread->wait_count = 0;
    for (ULONG i = 0; i < count; i++)
        add_block(thread, objects[i], (NTSTATUS)i, type);
    if (timeout) {
        timer_set(&thread->timer, clock_due(*timeout), 0, NULL);
        add_block(thread, &thread->timer.Header, KEY_TIMEOUT, WaitAny);
    }
    thread_wait(objects[0]);
    timer_cancel(&thread->timer);
    return thread->status;
}

NTSTATUS NTAPI KeWaitForSingleObject(PVOID Object, KWAIT_REASON WaitReason, KPROCESSOR_MODE WaitMode, BOOLEAN Alertable,
                                     PLARGE_INTEGER Timeout) {
    (void)WaitReason, (void)WaitMode, (void)Alertable;
    KWAIT_BLOCK blocks[2];
    check_irql(Object, Timeout, __builtin_return_address(0));
    return wait_for(1, &Object, WaitAny, Timeout, blocks);
}
NT_EXPORT(KeWaitForSingleObject);
NT_EXPORT_AS("KeWaitForMutexObject", KeWaitForSingleObject);

static NTSTATUS NTAPI KeWaitForMultipleObjects(ULONG Count, PVOID Object[], WAIT_TYPE WaitType, KWAIT_REASON WaitReason,
                                               KPROCESSOR_MODE WaitMode, BOOLEAN Alertable, PLARGE_INTEGER Timeout,
                                               PKWAIT_BLOCK WaitBlockArray) {
    (void)WaitReason, (void)WaitMode, (void)Alertable;
    KWAIT_BLOCK blocks[MAXIMUM_WAIT_OBJECTS + 1];
    check_irql(Object[0], Timeout, __builtin_return_address(0));
    if (Count > MAXIMUM_WAIT_OBJECTS || (Count > THREAD_WAIT_OBJECTS && !WaitBlockArray))
        KeBugCheckEx(0x0c, 0, 0, 0, 0); /* MAXIMUM_WAIT_OBJECTS_EXCEEDED */
    return wait_for(Count, Object, WaitType, Timeout, blocks);
}
NT_EXPORT(KeWaitForMultipleObjects);

/* An interval of 0 lets the others that are ready run once. */
NTSTATUS NTAPI KeDelayExecutionThread(KPROCESSOR_MODE WaitMode, BOOLEAN Alertable, PLARGE_INTEGER Interval) {
    (void)WaitMode, (void)Alertable;
    KWAIT_BLOCK blocks[1];
    PKTHREAD thread = thread_current();
    LARGE_INTEGER now = {.QuadPart = -1};
    check_irql(Interval, &now, __builtin_return_address(0));
    thread->wait = blocks;
    thread->wait_count = 0;
    timer_set(&thread->timer, clock_due(*Interval), 0, NULL);
    add_block(thread, &thread->timer.Header, KEY_TIMEOUT, WaitAny);
    thread_wait(&thread->timer);
    return STATUS_SUCCESS;
}
NT_EXPORT(KeDelayExecutionThread);

/* ------------------------------------------------------------------------------------------------------ events ---- */

static void initialize(PDISPATCHER_HEADER header, KOBJECTS type, u64 size, LONG state) {
    *header = (DISPATCHER_HEADER){.Type = (UCHAR)type, .Size = (UCHAR)(size / 4), .SignalState = state};
    InitializeListHead(&header->WaitListHead);
}

static LONG set_state(PDISPATCHER_HEADER header, LONG state) {
    LONG old = header->SignalState;
    header->SignalState = state;
    if (state > 0)
        wait_test(header);
    return old;
}

VOID NTAPI KeInitializeEvent(PRKEVENT Event, EVENT_TYPE Type, BOOLEAN State) {
    initialize(&Event->Header, EventNotificationObject + Type, sizeof(KEVENT), State != FALSE);
}
NT_EXPORT(KeInitializeEvent);

LONG NTAPI KeSetEvent(PRKEVENT Event, KPRIORITY Increment, BOOLEAN Wait) {
    (void)Increment, (void)Wait;
    verify_irql(DISPATCH_LEVEL, VERIFIER_SET_EVENT_IRQL, __builtin_return_address(0), (u64)Event, 0);
    return set_state(&Event->Header, 1);
}
NT_EXPORT(KeSetEvent);

static LONG NTAPI KeResetEvent(PRKEVENT Event) {
    return set_state(&Event->Header, 0);
}
NT_EXPORT(KeResetEvent);

VOID NTAPI KeClearEvent(PRKEVENT Event) {
    set_state(&Event->Header, 0);
}
NT_EXPORT(KeClearEvent);

/* Signals those that wait now, and nobody later. */
static LONG NTAPI KePulseEvent(PRKEVENT Event, KPRIORITY Increment, BOOLEAN Wait) {
    (void)Increment, (void)Wait;
    LONG old = set_state(&Event->Header, 1);
    Event->Header.SignalState = 0;
    return old;
}
NT_EXPORT(KePulseEvent);

static LONG NTAPI KeReadStateEvent(PRKEVENT Event) {
    return Event->Header.SignalState;
}
NT_EXPORT(KeReadStateEvent);

/* -------------------------------------------------------------------------------------- mutexes and semaphores ---- */

static VOID NTAPI KeInitializeMutex(PRKMUTEX Mutex, ULONG Level) {
    (void)Level;
    *Mutex = (KMUTANT){.ApcDisable = TRUE};
    initialize(&Mutex->Header, MutantObject, sizeof(KMUTANT), 1);
}
NT_EXPORT(KeInitializeMutex);

static VOID NTAPI KeInitializeMutant(PRKMUTANT Mutant, BOOLEAN InitialOwner) {
    KeInitializeMutex(Mutant, 0);
    if (InitialOwner)
        take(&Mutant->Header, thread_current());
}
NT_EXPORT(KeInitializeMutant);

static LONG NTAPI KeReleaseMutex(PRKMUTEX Mutex, BOOLEAN Wait) {
    (void)Wait;
    if (Mutex->OwnerThread != thread_current())
        ExRaiseStatus(STATUS_MUTANT_NOT_OWNED);
    LONG old = Mutex->Header.SignalState;
    if (old == 0)
        Mutex->OwnerThread = NULL;
    set_state(&Mutex->Header, old + 1);
    return old;
}
NT_EXPORT(KeReleaseMutex);

static LONG NTAPI KeReadStateMutex(PRKMUTEX Mutex) {
    return Mutex->Header.SignalState;
}
NT_EXPORT(KeReadStateMutex);

VOID NTAPI KeInitializeSemaphore(PRKSEMAPHORE Semaphore, LONG Count, LONG Limit) {
    *Semaphore = (KSEMAPHORE){.Limit = Limit};
    initialize(&Semaphore->Header, SemaphoreObject, sizeof(KSEMAPHORE), Count);
}
NT_EXPORT(KeInitializeSemaphore);

LONG NTAPI KeReleaseSemaphore(PRKSEMAPHORE Semaphore, KPRIORITY Increment, LONG Adjustment, BOOLEAN Wait) {
    (void)Increment, (void)Wait;
    LONG old = Semaphore->Header.SignalState;
    if (Adjustment <= 0 || old > Semaphore->Limit - Adjustment)
        ExRaiseStatus(STATUS_SEMAPHORE_LIMIT_EXCEEDED);
    return set_state(&Semaphore->Header, old + Adjustment);
}
NT_EXPORT(KeReleaseSemaphore);

static LONG NTAPI KeReadStateSemaphore(PRKSEMAPHORE Semaphore) {
    return Semaphore->Header.SignalState;
}
NT_EXPORT(KeReadStateSemaphore);
