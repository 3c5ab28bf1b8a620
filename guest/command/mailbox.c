#include "command/mailbox.h"

#include "cpu/clock.h"
#include "cpu/exit.h"
#include "cpu/instructions.h"
#include "cpu/trap.h"
#include "nt/thread.h"
#include "nt/timer.h"

struct lab_mailbox lab_mailbox = {.magic = LAB_MAILBOX_MAGIC};

/*
 * How long to look for the next request before sleeping, in ticks of the time-stamp counter: some 50 us, which is what
 * waking up costs, but 400 us when the last request was found by looking. Where the host has no CPU to spare, a guest
 * that has just been woken may keep the controller from running by a long look.
 */
enum { SHORT_LOOK = 1 << 17, LONG_LOOK = 1 << 20 };

static bool is_export(u64 function) {
    for (const struct lab_export *entry = lab_exports_start; entry < lab_exports_end; entry++) {
        if ((u64)entry->function == function)
            return entry->kind != LAB_EXPORT_NT_DATA;
    }
    return false;
}

static void set_phase(enum lab_phase phase) {
    __atomic_store_n(&lab_mailbox.phase, phase, __ATOMIC_RELEASE);
}

/*
 * Copies and clears nothing that is not needed: where a debugger waits for the answer, each line of this code costs it
 * more than the function does, because QEMU translates all code anew after a stop.
 */
static void call(const struct lab_request *request, struct lab_reply *ret) {
    const void *function = (const void *)request->function;
    bool returned = true;
    if (request->flags & LAB_UNGUARDED)
        ret->result = trap_call(function, request->argument);
    else
        returned = trap_guarded_call(function, request->argument, request->flags & LAB_WATCHED, &ret->result,
                                     &ret->registers, &ret->cr2);
    ret->outcome = returned ? LAB_RETURNED : LAB_EXCEPTION;
}

static void answer(const struct lab_request *request, struct lab_reply *ret) {
    if (is_export(request->function))
        call(request, ret);
    else
        ret->outcome = LAB_REFUSED;
}

_Static_assert(offsetof(struct lab_mailbox, detour_from) == 40, "mailbox.S says so");

void mailbox_answer_staged(void) {
    call(&lab_mailbox.staged, &lab_mailbox.staged_reply);
    lab_mailbox.staged_calls++;
}

/*
 * Whether there is a request: the next number, and no other. The controller's write of a number may become visible byte
 * by byte. Sequentially consistent, because `asleep` must be visible before it is read.
 */
static bool is_requested(void) {
    return __atomic_load_n(&lab_mailbox.requested, __ATOMIC_SEQ_CST) == lab_mailbox.completed + 1;
}

/* Until a byte comes over the serial port, or the time of the next timer. */
static void sleep(void) {
    clock_set_alarm(timers_next());
    sti_hlt_cli();
}

/* Returns when there is a request, having slept if it was long in coming. */
static void wait_for_request(void) {
    static u64 look = SHORT_LOOK;
    for (u64 start = rdtsc(); rdtsc() - start < look;) {
        if (is_requested()) {
            look = LONG_LOOK;
            return;
        }
        thread_run_others();
    }
    look = SHORT_LOOK;
    __atomic_store_n(&lab_mailbox.asleep, 1, __ATOMIC_SEQ_CST);
    while (!is_requested()) {
        if (!thread_run_others())
            sleep();
    }
    __atomic_store_n(&lab_mailbox.asleep, 0, __ATOMIC_SEQ_CST);
}

_Noreturn void mailbox_serve(void) {
    log_print("ready\n");
    set_phase(LAB_READY);
    if (lab_options.exit)
        exit_debug(EXIT_DONE);
    for (;;) {
        wait_for_request();
        set_phase(LAB_BUSY);
        answer(&lab_mailbox.request, &lab_mailbox.reply);
        set_phase(LAB_READY);
        __atomic_store_n(&lab_mailbox.completed, lab_mailbox.completed + 1, __ATOMIC_RELEASE);
    }
}
