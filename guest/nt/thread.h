/*
 * thread.h - threads. They take turns: one runs until it waits, delays or ends, and then the next that is ready; none
 * is interrupted. The first thread serves the mailbox, and lets the others run whenever it has nothing to do.
 */
#pragma once

#include "nt.h"

enum thread_state { THREAD_READY, THREAD_RUNNING, THREAD_WAITING, THREAD_ENDED };

/* As many pages as Windows gives a kernel thread, without the guard page below. */
enum { THREAD_STACK_PAGES = 6 };

struct handler_call;
struct guard;

/* Where Windows 6.1 has the fields by Windows' names; all others are ours. */
typedef struct _KTHREAD {
    DISPATCHER_HEADER Header; /* signalled when the thread has ended */
    ULONGLONG CycleTime;
    ULONGLONG QuantumTarget;
    PVOID InitialStack; /* one past its highest byte */
    PVOID StackLimit;   /* its lowest byte */
    PVOID KernelStack;  /* where it left off, while it does not run */
    enum thread_state state;
    u64 number; /* what PsGetCurrentThreadId returns */
    LIST_ENTRY ready, all;
    KPRIORITY priority;
    PKSTART_ROUTINE start;
    PVOID argument;
    NTSTATUS status; /* of the last wait, and in the end of the thread */
    KIRQL irql;
    u32 apcs_disabled;             /* depth of critical regions */
    KPROCESSOR_MODE previous_mode; /* on whose behalf it runs */
    PIRP top_level_irp;
    struct handler_call *handler_calls;
    struct guard *guard;
    KTIMER timer; /* of its waits */
    PKWAIT_BLOCK wait;
    u32 wait_count;
    XSAVE_FORMAT floating __attribute__((aligned(16)));
} KTHREAD;
_Static_assert(offsetof(KTHREAD, InitialStack) == 0x28 && offsetof(KTHREAD, StackLimit) == 0x30, "as in Windows");

/* Makes the code that runs the first thread, and points GS at the processor's page. */
void thread_init(void);
bool thread_is_ready(void); /* false before thread_init */

/* GS points at the processor's page, which starts with the KPCR; the current thread is where Windows has it. */
static inline PKTHREAD thread_current(void) {
    PKTHREAD thread;
    __asm__ volatile("movq %%gs:0x188, %0" : "=r"(thread));
    return thread;
}

/* Whether an address and the bytes from there on are on the current thread's stack. */
bool thread_stack_has(u64 address, u64 size);

/* A thread that will run when its turn comes, with one reference for as long as it runs; NULL when out of memory. */
PKTHREAD thread_create(PKSTART_ROUTINE start, PVOID argument);

/* How many have begun in an image and not ended. */
u32 thread_count_in(u64 base, u64 size);

/* Puts a thread that waits, or a new one, behind the others that are ready. */
void thread_make_ready(PKTHREAD thread);

/* Lets others run until thread_make_ready was called for the current one. `object` is for the report of an endless
 * wait. */
void thread_wait(PVOID object);

/* Lets every thread run that is ready or becomes so, and timers expire that are due. False: there was nothing to do. */
bool thread_run_others(void);

/* The clock's interrupt, which has come while the code at `rip` ran. */
void thread_clock_interrupt(u64 rip);
