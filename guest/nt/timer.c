#include "nt/timer.h"

#include "cpu/clock.h"
#include "memory/pool.h"
#include "nt/clock.h"
#include "nt/list.h"
#include "nt/wait.h"

/* Sorted by DueTime, the next one first. */
static LIST_ENTRY set_timers = {&set_timers, &set_timers};

static PKTIMER timer_of(PLIST_ENTRY entry) {
    return CONTAINING_RECORD(entry, KTIMER, TimerListEntry);
}

void timer_initialize(PKTIMER timer, TIMER_TYPE type) {
    *timer = (KTIMER){.Header = {.Type = (UCHAR)(TimerNotificationObject + type), .Size = sizeof(KTIMER) / 4}};
    InitializeListHead(&timer->Header.WaitListHead);
}

bool timer_cancel(PKTIMER timer) {
    if (!timer->Header.Inserted)
        return false;
    RemoveEntryList(&timer->TimerListEntry);
    timer->Header.Inserted = FALSE;
    return true;
}

static void insert(PKTIMER timer) {
    PLIST_ENTRY next = set_timers.Flink;
    while (next != &set_timers && timer_of(next)->DueTime <= timer->DueTime)
        next = next->Flink;
    InsertTailList(next, &timer->TimerListEntry);
    timer->Header.Inserted = TRUE;
}

void timer_set(PKTIMER timer, u64 due, ULONG period, PKDPC dpc) {
    timer_cancel(timer);
    timer->Header.SignalState = 0;
    timer->DueTime = due;
    timer->Period = period;
    timer->Dpc = dpc;
    insert(timer);
}

u64 timers_next(void) {
    return IsListEmpty(&set_timers) ? CLOCK_NEVER : timer_of(set_timers.Flink)->DueTime;
}

static void expire(PKTIMER timer) {
    PKDPC dpc = timer->Dpc;
    u64 due = clock_to_system(timer->DueTime);
    timer_cancel(timer);
    if (timer->Period) {
        timer->DueTime += timer->Period * (CLOCK_HZ / 1000);
        insert(timer);
    }
    timer->Header.SignalState = 1;
    wait_test(&timer->Header);
    if (dpc)
        KeInsertQueueDpc(dpc, (PVOID)(due & 0xffffffff), (PVOID)(due >> 32));
}

static u64 count_due(u64 now) {
    u64 count = 0;
    for (PLIST_ENTRY entry = set_timers.Flink; entry != &set_timers && timer_of(entry)->DueTime <= now;
         entry = entry->Flink)
        count++;
    return count;
}

/*
 * As many as are due now. A periodic timer that is late by several periods catches up in as many calls: in between, the
 * threads run that it has woken.
 */
void timers_expire(void) {
    u64 due = IsListEmpty(&set_timers) ? 0 : count_due(clock_now());
    while (due-- > 0 && !IsListEmpty(&set_timers))
        expire(timer_of(set_timers.Flink));
}

u32 timer_count_in(u64 base, u64 size) {
    u32 count = 0;
    for (PLIST_ENTRY entry = set_timers.Flink; entry != &set_timers; entry = entry->Flink) {
        PKTIMER timer = timer_of(entry);
        bool routine = timer->Dpc && (u64)timer->Dpc->DeferredRoutine - base < size;
        count += routine || (u64)timer - base < size;
    }
    return count;
}

/* ---------------------------------------------------------------------------------------------- Windows' calls ---- */

static VOID NTAPI KeInitializeTimerEx(PKTIMER Timer, TIMER_TYPE Type) {
    timer_initialize(Timer, Type);
}
NT_EXPORT(KeInitializeTimerEx);

static VOID NTAPI KeInitializeTimer(PKTIMER Timer) {
    timer_initialize(Timer, NotificationTimer);
}
NT_EXPORT(KeInitializeTimer);

static BOOLEAN NTAPI KeSetTimerEx(PKTIMER Timer, LARGE_INTEGER DueTime, LONG Period, PKDPC Dpc) {
    bool was_set = Timer->Header.Inserted;
    timer_set(Timer, clock_due(DueTime), (ULONG)Period, Dpc);
    return was_set;
}
NT_EXPORT(KeSetTimerEx);

static BOOLEAN NTAPI KeSetTimer(PKTIMER Timer, LARGE_INTEGER DueTime, PKDPC Dpc) {
    return KeSetTimerEx(Timer, DueTime, 0, Dpc);
}
NT_EXPORT(KeSetTimer);

static BOOLEAN NTAPI KeSetCoalescableTimer(PKTIMER Timer, LARGE_INTEGER DueTime, ULONG Period, ULONG TolerableDelay,
                                           PKDPC Dpc) {
    (void)TolerableDelay;
    return KeSetTimerEx(Timer, DueTime, (LONG)Period, Dpc);
}
NT_EXPORT(KeSetCoalescableTimer);

static BOOLEAN NTAPI KeCancelTimer(PKTIMER Timer) {
    return timer_cancel(Timer);
}
NT_EXPORT(KeCancelTimer);

static BOOLEAN NTAPI KeReadStateTimer(PKTIMER Timer) {
    return Timer->Header.SignalState != 0;
}
NT_EXPORT(KeReadStateTimer);

/* -------------------------------------------------------------------------------------------- a device's timer ---- */

typedef VOID(NTAPI *PIO_TIMER_ROUTINE)(PDEVICE_OBJECT DeviceObject, PVOID Context);

/* Once a second while it is started. */
typedef struct _IO_TIMER {
    KTIMER timer;
    KDPC dpc;
    PIO_TIMER_ROUTINE routine;
    PDEVICE_OBJECT device;
    PVOID context;
} IO_TIMER, *PIO_TIMER;
enum { IO_TIMER_TAG = POOL_TAG('I', 'o', 'T', 'i'), IO_TIMER_PERIOD = 1000 };

static VOID NTAPI io_timer_tick(PKDPC dpc, PVOID context, PVOID argument1, PVOID argument2) {
    (void)dpc, (void)argument1, (void)argument2;
    PIO_TIMER timer = context;
    timer->routine(timer->device, timer->context);
}

static NTSTATUS NTAPI IoInitializeTimer(PDEVICE_OBJECT DeviceObject, PIO_TIMER_ROUTINE TimerRoutine, PVOID Context) {
    PIO_TIMER timer =
        DeviceObject->Timer ? DeviceObject->Timer : pool_allocate(NonPagedPool, sizeof(*timer), IO_TIMER_TAG);
    if (!timer)
        return STATUS_INSUFFICIENT_RESOURCES;
    *timer = (IO_TIMER){.routine = TimerRoutine, .device = DeviceObject, .context = Context};
    timer_initialize(&timer->timer, NotificationTimer);
    KeInitializeDpc(&timer->dpc, io_timer_tick, timer);
    DeviceObject->Timer = timer;
    return STATUS_SUCCESS;
}
NT_EXPORT(IoInitializeTimer);

static VOID NTAPI IoStartTimer(PDEVICE_OBJECT DeviceObject) {
    PIO_TIMER timer = DeviceObject->Timer;
    timer_set(&timer->timer, clock_now() + CLOCK_HZ, IO_TIMER_PERIOD, &timer->dpc);
}
NT_EXPORT(IoStartTimer);

static VOID NTAPI IoStopTimer(PDEVICE_OBJECT DeviceObject) {
    timer_cancel(&((PIO_TIMER)DeviceObject->Timer)->timer);
}
NT_EXPORT(IoStopTimer);

void timer_forget_device(PDEVICE_OBJECT device) {
    if (!device->Timer)
        return;
    IoStopTimer(device);
    ExFreePoolWithTag(device->Timer, IO_TIMER_TAG);
}

/* --------------------------------------------------------------------------------- timers that call by themselves ----
 */

typedef struct _EX_TIMER *PEX_TIMER;
typedef VOID(NTAPI *PEXT_CALLBACK)(PEX_TIMER Timer, PVOID Context);

/* Can be waited for as well. */
struct _EX_TIMER {
    KTIMER timer;
    KDPC dpc;
    PEXT_CALLBACK callback;
    PVOID context;
};
enum { EX_TIMER_TAG = POOL_TAG('E', 'x', 'T', 'm') };
#define EX_TIMER_NOTIFICATION 0x80000000u

typedef struct _EXT_DELETE_PARAMETERS {
    ULONG Version;
    ULONG Reserved;
    VOID(NTAPI *DeleteCallback)(PVOID Context);
    PVOID DeleteContext;
} EXT_DELETE_PARAMETERS, *PEXT_DELETE_PARAMETERS;

static VOID NTAPI ex_timer_expired(PKDPC dpc, PVOID context, PVOID argument1, PVOID argument2) {
    (void)dpc, (void)argument1, (void)argument2;
    PEX_TIMER timer = context;
    timer->callback(timer, timer->context);
}

static PEX_TIMER NTAPI ExAllocateTimer(PEXT_CALLBACK Callback, PVOID CallbackContext, ULONG Attributes) {
    PEX_TIMER timer = pool_allocate(NonPagedPool, sizeof(*timer), EX_TIMER_TAG);
    if (!timer)
        return NULL;
    timer_initialize(&timer->timer, Attributes & EX_TIMER_NOTIFICATION ? NotificationTimer : SynchronizationTimer);
    KeInitializeDpc(&timer->dpc, ex_timer_expired, timer);
    timer->callback = Callback;
    timer->context = CallbackContext;
    return timer;
}
NT_EXPORT(ExAllocateTimer);

/* The period, in units of 100 ns, is rounded up to milliseconds. */
static BOOLEAN NTAPI ExSetTimer(PEX_TIMER Timer, LONGLONG DueTime, LONGLONG Period, PVOID Parameters) {
    enum { UNITS = 10000 };
    (void)Parameters;
    LARGE_INTEGER due = {.QuadPart = DueTime};
    return KeSetTimerEx(&Timer->timer, due, (LONG)((Period + UNITS - 1) / UNITS), Timer->callback ? &Timer->dpc : NULL);
}
NT_EXPORT(ExSetTimer);

static BOOLEAN NTAPI ExCancelTimer(PEX_TIMER Timer, PVOID Parameters) {
    (void)Parameters;
    return KeCancelTimer(&Timer->timer);
}
NT_EXPORT(ExCancelTimer);

/* A callback that is queued already would run into nothing. */
static BOOLEAN NTAPI ExDeleteTimer(PEX_TIMER Timer, BOOLEAN Cancel, BOOLEAN Wait, PEXT_DELETE_PARAMETERS Parameters) {
    (void)Cancel, (void)Wait;
    bool was_set = timer_cancel(&Timer->timer);
    KeRemoveQueueDpc(&Timer->dpc);
    ExFreePoolWithTag(Timer, EX_TIMER_TAG);
    if (Parameters && Parameters->DeleteCallback)
        Parameters->DeleteCallback(Parameters->DeleteContext);
    return was_set;
}
NT_EXPORT(ExDeleteTimer);
