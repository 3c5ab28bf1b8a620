#include "nt/thread.h"

#include "cpu/clock.h"
#include "cpu/context.h"
#include "cpu/trap.h"
#include "memory/pool.h"
#include "memory/system_pages.h"
#include "memory/system_ptes.h"
#include "nt/clock.h"
#include "nt/driver.h"
#include "nt/irql.h"
#include "nt/list.h"
#include "nt/object.h"
#include "nt/process.h"
#include "nt/processor.h"
#include "nt/rtl.h"
#include "nt/timer.h"
#include "nt/wait.h"
#include "paging/space.h"

/* The thread that boots the guest and serves the mailbox. It never ends. */
static struct {
    OBJECT_HEADER header;
    KTHREAD thread;
} first;

static LIST_ENTRY ready = {&ready, &ready};
static LIST_ENTRY all = {&all, &all};

/* Ended on its own stack; therefore the next thread gives that back. */
static PKTHREAD ended;

/* What the header says; ours is of another size. */
enum { KTHREAD_SIZE = 0x360 };

static u64 last_number = PROCESS_SYSTEM_ID;
enum { NUMBER_STEP = 4 };

void thread_switch_stack(PVOID *ret_stack, PVOID stack);

/* ----------------------------------------------------------------------------------------- being and not being ---- */

static void initialize(PKTHREAD thread, u64 stack_limit) {
    thread->Header = (DISPATCHER_HEADER){.Type = ThreadObject, .Size = KTHREAD_SIZE / 4};
    InitializeListHead(&thread->Header.WaitListHead);
    thread->StackLimit = (PVOID)stack_limit;
    thread->InitialStack = (PVOID)(stack_limit + THREAD_STACK_PAGES * PAGE_SIZE);
    thread->number = last_number += NUMBER_STEP;
    timer_initialize(&thread->timer, NotificationTimer);
    InsertTailList(&all, &thread->all);
}

void thread_init(void) {
    object_initialize(&first.header, &object_thread_type);
    initialize(&first.thread, SYSTEM_PTES + PAGE_SIZE); /* where space_leave_boot put it, above its guard page */
    first.thread.state = THREAD_RUNNING;
    processor_init(&first.thread);
}

bool thread_is_ready(void) {
    return first.thread.InitialStack != NULL;
}

bool thread_stack_has(u64 address, u64 size) {
    PKTHREAD thread = thread_current();
    u64 low = (u64)thread->StackLimit, high = (u64)thread->InitialStack;
    return address >= low && address < high && size <= high - address;
}

/* The pages and the guard page below them. */
static void free_stack(PKTHREAD thread) {
    system_pages_unmap((u8 *)thread->StackLimit - PAGE_SIZE, THREAD_STACK_PAGES + 1);
}

static void finish_thread(void *object) {
    RemoveEntryList(&((PKTHREAD)object)->all);
}

OBJECT_TYPE_NAMED(object_thread_type, "Thread", POOL_TAG('T', 'h', 'r', 'e'), finish_thread, NULL);

/* ------------------------------------------------------------------------------------------------ taking turns ---- */

void thread_make_ready(PKTHREAD thread) {
    thread->state = THREAD_READY;
    InsertTailList(&ready, &thread->ready);
}

static void bury(void) {
    PKTHREAD thread = ended;
    ended = NULL;
    if (thread) {
        free_stack(thread);
        ObfDereferenceObject(thread);
    }
}

/*
 * SSE registers, flags, IRQL and the guard belong to the thread; the IRQL is below DISPATCH_LEVEL, or it could not
 * wait. Another thread than the first is on its way to a driver's code.
 */
static void switch_to(PKTHREAD next) {
    PKTHREAD self = thread_current();
    if (next == self)
        return;
    u64 rflags = read_rflags();
    if (next != &first.thread)
        clock_start_tick();
    context_save_floating(&self->floating);
    self->irql = irql_current();
    self->guard = trap_set_guard(next->guard);
    processor_set_thread(next);
    thread_switch_stack(&self->KernelStack, next->KernelStack);
    context_load_floating(&self->floating);
    write_cr8(self->irql);
    write_rflags(rflags);
    bury();
}

/* The next that is ready, having waited for timers if none is; NULL when nothing will ever happen again. */
static PKTHREAD next_thread(void) {
    while (IsListEmpty(&ready)) {
        if (timers_next() == CLOCK_NEVER)
            return NULL;
        timers_expire();
    }
    PKTHREAD thread = CONTAINING_RECORD(RemoveHeadList(&ready), KTHREAD, ready);
    thread->state = THREAD_RUNNING;
    return thread;
}

/*
 * Whether the first thread waits inside a call of the controller's or another one elsewhere: with no thread ready and
 * no timer set, nobody is left who could end the wait. Windows would hang; saying so is of more use.
 */
void thread_wait(PVOID object) {
    PKTHREAD self = thread_current();
    self->state = THREAD_WAITING;
    PKTHREAD next = next_thread();
    if (!next)
        KeBugCheckEx(LAB_ENDLESS_WAIT, (ULONG_PTR)object, ((PDISPATCHER_HEADER)object)->Type, (ULONG_PTR)self,
                     (ULONG_PTR)__builtin_return_address(0));
    switch_to(next);
}

bool thread_run_others(void) {
    timers_expire();
    if (IsListEmpty(&ready))
        return false;
    thread_make_ready(thread_current());
    switch_to(next_thread());
    return true;
}

/* Whoever is interrupted in a driver gives way to timers that are due, with their DPCs, and to the next thread. */
void thread_clock_interrupt(u64 rip) {
    clock_acknowledge();
    clock_publish();
    if (!driver_at(rip) || irql_current() >= DISPATCH_LEVEL)
        return;
    XSAVE_FORMAT floating;
    context_save_floating(&floating);
    thread_run_others();
    context_load_floating(&floating);
}

/* ------------------------------------------------------------------------------------------- beginning, ending ---- */

_Noreturn static void end(NTSTATUS status) {
    PKTHREAD self = thread_current();
    self->state = THREAD_ENDED;
    self->status = status;
    self->Header.SignalState = 1;
    wait_test(&self->Header);
    ended = self;
    PKTHREAD next = next_thread();
    lab_assert(next, "threads: the first one waits for a thread that has ended, %p", self);
    self->guard = trap_set_guard(next->guard);
    processor_set_thread(next);
    thread_switch_stack(&self->KernelStack, next->KernelStack);
    __builtin_unreachable();
}

/* Where a new thread comes to, from the stack that prepare left for thread_switch_stack. */
_Noreturn static void begin(void) {
    PKTHREAD self = thread_current();
    bury();
    write_cr8(PASSIVE_LEVEL);
    driver_call(self->start, (u64)self->argument, 0, 0, 0);
    if (irql_current() != PASSIVE_LEVEL)
        KeBugCheckEx(IRQL_UNEXPECTED_VALUE, irql_current() << 16 | PASSIVE_LEVEL << 8, 0, (ULONG_PTR)self->start, 0);
    end(STATUS_SUCCESS);
}

static void prepare_stack(PKTHREAD thread) {
    enum { SAVED_REGISTERS = 6 };
    u64 *top = thread->InitialStack;
    *--top = 0; /* the place of a return address: begin does not return */
    *--top = (u64)begin;
    for (u32 i = 0; i < SAVED_REGISTERS; i++)
        *--top = 0;
    thread->KernelStack = top;
    context_save_floating(&thread->floating);
}

/* A guard page, then the stack. */
static u64 make_stack(void) {
    u8 *guard = system_pages_map(THREAD_STACK_PAGES + 1, FRAME_STACK, FRAME_ANY);
    if (!guard)
        return 0;
    system_pages_discard(guard, 1);
    return (u64)guard + PAGE_SIZE;
}

PKTHREAD thread_create(PKSTART_ROUTINE start, PVOID argument) {
    PKTHREAD thread = object_create(&object_thread_type, sizeof(KTHREAD));
    if (!thread)
        return NULL;
    u64 stack = make_stack();
    initialize(thread, stack);
    if (!stack) {
        ObfDereferenceObject(thread);
        return NULL;
    }
    thread->start = start;
    thread->argument = argument;
    prepare_stack(thread);
    thread_make_ready(thread);
    return thread;
}

u32 thread_count_in(u64 base, u64 size) {
    u32 count = 0;
    for (PLIST_ENTRY entry = all.Flink; entry != &all; entry = entry->Flink) {
        PKTHREAD thread = CONTAINING_RECORD(entry, KTHREAD, all);
        count += thread->state != THREAD_ENDED && (u64)thread->start - base < size;
    }
    return count;
}

/* ---------------------------------------------------------------------------------------------- Windows' calls ---- */

/* The thread starts when its creator first waits or returns. A handle that is never closed keeps its record. */
static NTSTATUS NTAPI PsCreateSystemThread(PHANDLE ThreadHandle, ULONG DesiredAccess,
                                           POBJECT_ATTRIBUTES ObjectAttributes, HANDLE ProcessHandle,
                                           PCLIENT_ID ClientId, PKSTART_ROUTINE StartRoutine, PVOID StartContext) {
    (void)DesiredAccess, (void)ObjectAttributes, (void)ProcessHandle;
    PKTHREAD thread = thread_create(StartRoutine, StartContext);
    if (!thread)
        return STATUS_INSUFFICIENT_RESOURCES;
    if (ClientId)
        *ClientId = (CLIENT_ID){(HANDLE)PROCESS_SYSTEM_ID, (HANDLE)thread->number};
    return handle_create(thread, ThreadHandle);
}
NT_EXPORT(PsCreateSystemThread);

static NTSTATUS NTAPI IoCreateSystemThread(PVOID IoObject, PHANDLE ThreadHandle, ULONG DesiredAccess,
                                           POBJECT_ATTRIBUTES ObjectAttributes, HANDLE ProcessHandle,
                                           PCLIENT_ID ClientId, PKSTART_ROUTINE StartRoutine, PVOID StartContext) {
    (void)IoObject;
    return PsCreateSystemThread(ThreadHandle, DesiredAccess, ObjectAttributes, ProcessHandle, ClientId, StartRoutine,
                                StartContext);
}
NT_EXPORT(IoCreateSystemThread);

static NTSTATUS NTAPI PsTerminateSystemThread(NTSTATUS ExitStatus) {
    if (thread_current() == &first.thread)
        return STATUS_INVALID_PARAMETER; /* as for any thread that PsCreateSystemThread did not create */
    end(ExitStatus);
}
NT_EXPORT(PsTerminateSystemThread);

PKTHREAD NTAPI KeGetCurrentThread(VOID) {
    return thread_current();
}
NT_EXPORT(KeGetCurrentThread);
NT_EXPORT_AS("PsGetCurrentThread", KeGetCurrentThread);

static HANDLE NTAPI PsGetCurrentThreadId(VOID) {
    return (HANDLE)thread_current()->number;
}
NT_EXPORT(PsGetCurrentThreadId);

static HANDLE NTAPI PsGetThreadId(PETHREAD Thread) {
    return (HANDLE)Thread->number;
}
NT_EXPORT(PsGetThreadId);

static HANDLE NTAPI PsGetThreadProcessId(PETHREAD Thread) {
    (void)Thread;
    return (HANDLE)PROCESS_SYSTEM_ID;
}
NT_EXPORT(PsGetThreadProcessId);

static NTSTATUS NTAPI PsGetThreadExitStatus(PETHREAD Thread) {
    return Thread->state == THREAD_ENDED ? Thread->status : STATUS_PENDING;
}
NT_EXPORT(PsGetThreadExitStatus);

static NTSTATUS NTAPI PsLookupThreadByThreadId(HANDLE ThreadId, PETHREAD *Thread) {
    for (PLIST_ENTRY entry = all.Flink; entry != &all; entry = entry->Flink) {
        *Thread = CONTAINING_RECORD(entry, KTHREAD, all);
        if ((*Thread)->number == (u64)ThreadId) {
            ObfReferenceObject(*Thread);
            return STATUS_SUCCESS;
        }
    }
    *Thread = NULL;
    return STATUS_INVALID_CID;
}
NT_EXPORT(PsLookupThreadByThreadId);

static BOOLEAN NTAPI PsIsSystemThread(PETHREAD Thread) {
    (void)Thread;
    return TRUE;
}
NT_EXPORT(PsIsSystemThread);
NT_EXPORT_AS("IoIsSystemThread", PsIsSystemThread);

static BOOLEAN NTAPI PsIsThreadTerminating(PETHREAD Thread) {
    return Thread->state == THREAD_ENDED;
}
NT_EXPORT(PsIsThreadTerminating);

static KPRIORITY NTAPI KeSetPriorityThread(PKTHREAD Thread, KPRIORITY Priority) {
    KPRIORITY old = Thread->priority;
    Thread->priority = Priority; /* kept, not used: everybody gets a turn */
    return old;
}
NT_EXPORT(KeSetPriorityThread);

static KPRIORITY NTAPI KeQueryPriorityThread(PKTHREAD Thread) {
    return Thread->priority;
}
NT_EXPORT(KeQueryPriorityThread);

static LONG NTAPI KeSetBasePriorityThread(PKTHREAD Thread, LONG Increment) {
    (void)Thread, (void)Increment;
    return 0;
}
NT_EXPORT(KeSetBasePriorityThread);

/* Stacks have their limits in the thread. */
static VOID NTAPI IoGetStackLimits(PULONG_PTR LowLimit, PULONG_PTR HighLimit) {
    *LowLimit = (ULONG_PTR)thread_current()->StackLimit;
    *HighLimit = (ULONG_PTR)thread_current()->InitialStack;
}
NT_EXPORT(IoGetStackLimits);

static ULONG_PTR NTAPI IoGetRemainingStackSize(VOID) {
    return (ULONG_PTR)__builtin_frame_address(0) - (ULONG_PTR)thread_current()->StackLimit;
}
NT_EXPORT(IoGetRemainingStackSize);

typedef VOID(NTAPI *PEXPAND_STACK_CALLOUT)(PVOID Parameter);
static NTSTATUS NTAPI KeExpandKernelStackAndCallout(PEXPAND_STACK_CALLOUT Callout, PVOID Parameter, SIZE_T Size) {
    if (Size > IoGetRemainingStackSize())
        return STATUS_NO_MEMORY;
    Callout(Parameter);
    return STATUS_SUCCESS;
}
NT_EXPORT(KeExpandKernelStackAndCallout);

static NTSTATUS NTAPI KeExpandKernelStackAndCalloutEx(PEXPAND_STACK_CALLOUT Callout, PVOID Parameter, SIZE_T Size,
                                                      BOOLEAN Wait, PVOID Context) {
    (void)Wait, (void)Context;
    return KeExpandKernelStackAndCallout(Callout, Parameter, Size);
}
NT_EXPORT(KeExpandKernelStackAndCalloutEx);

static PVOID NTAPI PsGetCurrentThreadStackLimit(VOID) {
    return thread_current()->StackLimit;
}
NT_EXPORT(PsGetCurrentThreadStackLimit);

static PVOID NTAPI PsGetCurrentThreadStackBase(VOID) {
    return thread_current()->InitialStack;
}
NT_EXPORT(PsGetCurrentThreadStackBase);
NT_EXPORT_AS("IoGetInitialStack", PsGetCurrentThreadStackBase);

/* A file system marks the request that a thread entered it with. */
static PIRP NTAPI IoGetTopLevelIrp(VOID) {
    return thread_current()->top_level_irp;
}
NT_EXPORT(IoGetTopLevelIrp);

static VOID NTAPI IoSetTopLevelIrp(PIRP Irp) {
    thread_current()->top_level_irp = Irp;
}
NT_EXPORT(IoSetTopLevelIrp);

static BOOLEAN NTAPI IoSetThreadHardErrorMode(BOOLEAN EnableHardErrors) {
    (void)EnableHardErrors;
    return TRUE;
}
NT_EXPORT(IoSetThreadHardErrorMode);
