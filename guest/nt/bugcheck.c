#include "nt/bugcheck.h"

#include "cpu/context.h"
#include "cpu/descriptors.h"
#include "cpu/exit.h"
#include "cpu/instructions.h"
#include "cpu/trap.h"
#include "memory/special_pool.h"
#include "nt/driver.h"
#include "nt/irql.h"
#include "nt/rtl.h"
#include "nt/thread.h"
#include "nt/unwind.h"
#include "paging/paging.h"

struct bugcheck_name {
    u64 code;
    const char *name;
};
#define BUGCHECK_NAME(name, value) {value, #name},
static const struct bugcheck_name bugcheck_names[] = {BUGCHECK_CODES(BUGCHECK_NAME)};

const char *bugcheck_name(u64 code) {
    for (u64 i = 0; i < ARRAY_SIZE(bugcheck_names); i++) {
        if (bugcheck_names[i].code == code)
            return bugcheck_names[i].name;
    }
    return "UNKNOWN";
}

/* ------------------------------------------------------------------------------------------------- how it ends ---- */

static void print_stop(const struct lab_bugcheck *stop) {
    log_print("\n*** STOP: 0x%08x (0x%016llx, 0x%016llx, 0x%016llx, 0x%016llx)\n", (u32)stop->code, stop->parameter[0],
              stop->parameter[1], stop->parameter[2], stop->parameter[3]);
    log_print("*** %s\n", bugcheck_name(stop->code));
    if (stop->driver)
        log_print("*** %s.sys - address 0x%016llx base at 0x%016llx\n", stop->driver_name, stop->driver,
                  stop->driver_base);
}

static bool blame(struct lab_bugcheck *ret, u64 address) {
    struct lab_driver *driver = driver_at(address);
    driver = driver ? driver : driver_gone_at(address);
    if (!driver)
        return false;
    ret->driver = address;
    ret->driver_base = driver->base;
    memcpy(ret->driver_name, driver->name, sizeof(ret->driver_name));
    return true;
}

/*
 * The way here through the stack. The innermost driver on it is the one to blame, as in Windows' report; when there is
 * none, one that a parameter points into: a function that came back at a wrong IRQL, for one.
 */
static void trace(struct lab_bugcheck *ret, CONTEXT *context) {
    struct unwind_frame frame;
    bool blamed = false;
    u32 depth = 0;
    do {
        ret->trace[depth++] = context->Rip;
        blamed = blamed || blame(ret, context->Rip);
    } while (depth < LAB_TRACE && unwind_frame(context, UNW_FLAG_NHANDLER, &frame));
    for (u64 i = 0; i < ARRAY_SIZE(ret->parameter); i++)
        blamed = blamed || blame(ret, ret->parameter[i]);
}

static void set_stopped(void) {
    __atomic_store_n(&lab_mailbox.phase, LAB_BUGCHECKED, __ATOMIC_RELEASE);
}

/* A fault while the reason is looked for or printed must not start over: then what is known so far has to do. */
static void begin_stop(void) {
    static bool stopping;
    cli();
    if (stopping) {
        set_stopped();
        exit_panic();
    }
    stopping = true;
}

/*
 * What the controller reads is complete before the first line is printed, and the phase says so last. `context` is
 * where the trace begins.
 */
static _Noreturn void stop(const struct lab_bugcheck *reason, CONTEXT *context) {
    lab_mailbox.bugcheck = *reason;
    if (thread_is_ready())
        trace(&lab_mailbox.bugcheck, context);
    print_stop(&lab_mailbox.bugcheck);
    if (reason->registers.vector != LAB_NO_VECTOR)
        trap_report(&reason->registers, reason->cr2);
    special_pool_report(reason->cr2);
    set_stopped();
    exit_panic();
}

/* ----------------------------------------------------------------------------------------------- called for it ---- */

/*
 * The caller's registers as far as they can still be told inside the callee: rip, rsp and rbp exactly, from the stack
 * frame; the others belong to the callee by now and are left 0.
 */
static struct lab_registers caller_registers(const u64 *frame) {
    return (struct lab_registers){
        .vector = LAB_NO_VECTOR,
        .rbp = frame[0],
        .rip = frame[1],
        .rsp = (u64)&frame[2],
        .cs = SELECTOR_KERNEL_CODE,
        .ss = SELECTOR_KERNEL_DATA,
    };
}

_Noreturn VOID NTAPI KeBugCheckEx(ULONG BugCheckCode, ULONG_PTR BugCheckParameter1, ULONG_PTR BugCheckParameter2,
                                  ULONG_PTR BugCheckParameter3, ULONG_PTR BugCheckParameter4) {
    begin_stop();
    CONTEXT context;
    struct unwind_frame frame;
    RtlCaptureContext(&context);
    context.ContextFlags |= CONTEXT_UNWOUND_TO_CALL;
    unwind_frame(&context, UNW_FLAG_NHANDLER, &frame);
    struct lab_bugcheck reason = {
        .code = BugCheckCode,
        .parameter = {BugCheckParameter1, BugCheckParameter2, BugCheckParameter3, BugCheckParameter4},
        .caller = (u64)__builtin_return_address(0),
        .cr2 = read_cr2(),
        .registers = caller_registers(__builtin_frame_address(0)),
    };
    stop(&reason, &context);
}
NT_EXPORT(KeBugCheckEx);

_Noreturn void lab_assert_failed(const char *file, u32 line, const char *condition, const char *format, ...) {
    log_print("\nassertion failed at %s:%u: %s: ", file, line, condition);
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    log_vprint(format, arguments);
    __builtin_va_end(arguments);
    log_print("\n");
    KeBugCheckEx(LAB_ASSERTION_FAILED, (ULONG_PTR)file, line, (ULONG_PTR)condition,
                 (ULONG_PTR)__builtin_return_address(0));
}

/* -------------------------------------------------------------------------------------------- led to by a trap ---- */

/* Parameter 2 of 0x50: what the access was. */
enum access { ACCESS_READ = 0, ACCESS_WRITE = 2, ACCESS_EXECUTE = 0x10 };
/* Parameter 4 of 0x50: why. */
enum nonpaged_fault { FAULT_NO_PAGE = 0, FAULT_NO_TABLE = 2 };

/* Parameter 3 of 0x0A and 0xD1. */
static u64 access_at_irql(u64 error_code) {
    return error_code & FAULT_W ? 1 : error_code & FAULT_I ? 8 : 0;
}

static void set_reason(struct lab_bugcheck *ret, u64 code, u64 parameter1, u64 parameter2, u64 parameter3,
                       u64 parameter4) {
    ret->code = code;
    ret->parameter[0] = parameter1;
    ret->parameter[1] = parameter2;
    ret->parameter[2] = parameter3;
    ret->parameter[3] = parameter4;
}

static void choose_for_page_fault(struct lab_bugcheck *ret) {
    if (special_pool_fault(&ret->registers, ret->cr2, ret))
        return;
    u64 address = ret->cr2, error_code = ret->registers.error_code, rip = ret->registers.rip;
    struct pt_walk walk;
    pt_walk(address, PT, PT_LOOK, &walk);
    u64 entry = walk.value[walk.level].raw; /* 0 for an address that is not canonical */
    bool present = (error_code & (FAULT_P | FAULT_RSVD)) == FAULT_P;
    if (present && error_code & FAULT_W)
        set_reason(ret, ATTEMPTED_WRITE_TO_READONLY_MEMORY, address, entry, 0, 0);
    else if (present && error_code & FAULT_I)
        set_reason(ret, ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY, address, entry, 0, 0);
    else if (driver_gone_at(address))
        set_reason(ret, DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS, address, access_at_irql(error_code), rip,
                   0);
    else if (irql_current() >= DISPATCH_LEVEL)
        set_reason(ret, driver_at(rip) ? DRIVER_IRQL_NOT_LESS_OR_EQUAL : IRQL_NOT_LESS_OR_EQUAL, address,
                   irql_current(), access_at_irql(error_code), rip);
    else
        set_reason(ret, PAGE_FAULT_IN_NONPAGED_AREA, address,
                   error_code & FAULT_W   ? ACCESS_WRITE
                   : error_code & FAULT_I ? ACCESS_EXECUTE
                                          : ACCESS_READ,
                   rip, walk.level == PT ? FAULT_NO_PAGE : FAULT_NO_TABLE);
}

/* INT 29h: code that finds its own state corrupt (a stack cookie, a list) stops at once, with the reason in RCX. */
enum { VECTOR_FAST_FAIL = 0x29 };

static void choose_for_other_trap(struct lab_bugcheck *ret) {
    const struct lab_registers *registers = &ret->registers;
    u64 code = registers->vector == TRAP_NMI  ? NMI_HARDWARE_FAILURE
               : registers->vector == TRAP_MC ? MACHINE_CHECK_EXCEPTION
                                              : UNEXPECTED_KERNEL_MODE_TRAP;
    if (registers->vector == VECTOR_FAST_FAIL)
        set_reason(ret, KERNEL_SECURITY_CHECK_FAILURE, registers->rcx, 0, 0, 0);
    else
        set_reason(ret, code, registers->vector, registers->error_code, registers->rip, registers->rsp);
}

/* Threads of the system end with 0x7E; at DISPATCH_LEVEL and above no thread is to be blamed. */
_Noreturn void bugcheck_for_exception(const EXCEPTION_RECORD *record, const CONTEXT *context,
                                      const struct lab_registers *trap) {
    begin_stop();
    struct lab_bugcheck reason = {.caller = context->Rip, .cr2 = read_cr2()};
    u64 code = (u64)(i64)record->ExceptionCode, address = (u64)record->ExceptionAddress;
    reason.registers.vector = LAB_NO_VECTOR;
    if (trap)
        reason.registers = *trap;
    context_to_registers(context, &reason.registers);
    if (irql_current() >= DISPATCH_LEVEL)
        set_reason(&reason, KMODE_EXCEPTION_NOT_HANDLED, code, address, record->ExceptionInformation[0],
                   record->ExceptionInformation[1]);
    else
        set_reason(&reason, SYSTEM_THREAD_EXCEPTION_NOT_HANDLED, code, address, (u64)record, (u64)context);
    CONTEXT copy = *context;
    stop(&reason, &copy);
}

_Noreturn void bugcheck_for_trap(const struct lab_registers *registers, u64 cr2) {
    begin_stop();
    struct lab_bugcheck reason = {.registers = *registers, .cr2 = cr2, .caller = registers->rip};
    if (registers->vector == TRAP_PF)
        choose_for_page_fault(&reason);
    else
        choose_for_other_trap(&reason);
    CONTEXT context;
    context_from_registers(registers, &context);
    stop(&reason, &context);
}
