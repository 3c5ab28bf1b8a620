#include "nt/bugcheck.h"

#include "cpu/descriptors.h"
#include "cpu/exit.h"
#include "cpu/instructions.h"
#include "cpu/trap.h"
#include "nt.h"
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

/* What the controller reads is complete before the first line is printed, and the phase says so last. */
static _Noreturn void stop(const struct lab_bugcheck *reason) {
    lab_mailbox.bugcheck = *reason;
    print_stop(reason);
    if (reason->registers.vector != LAB_NO_VECTOR)
        trap_report(&reason->registers, reason->cr2);
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
    stop(&(struct lab_bugcheck){
        .code = BugCheckCode,
        .parameter = {BugCheckParameter1, BugCheckParameter2, BugCheckParameter3, BugCheckParameter4},
        .caller = (u64)__builtin_return_address(0),
        .cr2 = read_cr2(),
        .registers = caller_registers(__builtin_frame_address(0)),
    });
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

/* The NTSTATUS under which Windows raises an exception vector; 0 for vectors that are no exceptions to it. */
static ULONG trap_status(u64 vector) {
    switch (vector) {
    case TRAP_DE:
        return 0xc0000094; /* STATUS_INTEGER_DIVIDE_BY_ZERO */
    case TRAP_DB:
        return 0x80000004; /* STATUS_SINGLE_STEP */
    case TRAP_BP:
        return 0x80000003; /* STATUS_BREAKPOINT */
    case TRAP_OF:
        return 0xc0000095; /* STATUS_INTEGER_OVERFLOW */
    case TRAP_BR:
        return 0xc000008c; /* STATUS_ARRAY_BOUNDS_EXCEEDED */
    case TRAP_UD:
        return 0xc000001d; /* STATUS_ILLEGAL_INSTRUCTION */
    case TRAP_GP:
        return 0xc0000005; /* STATUS_ACCESS_VIOLATION */
    case TRAP_XM:
        return 0xc00002b5; /* STATUS_FLOAT_MULTIPLE_TRAPS */
    default:
        return 0;
    }
}

static void choose_for_page_fault(struct lab_bugcheck *ret) {
    u64 address = ret->cr2, error_code = ret->registers.error_code;
    struct pt_walk walk;
    pt_walk(address, PT, PT_LOOK, &walk);
    u64 entry = walk.value[walk.level].raw; /* 0 for an address that is not canonical */
    if ((error_code & (FAULT_P | FAULT_RSVD)) == FAULT_P && error_code & (FAULT_W | FAULT_I)) {
        ret->code = error_code & FAULT_W ? ATTEMPTED_WRITE_TO_READONLY_MEMORY : ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY;
        ret->parameter[0] = address;
        ret->parameter[1] = entry;
        return;
    }
    ret->code = PAGE_FAULT_IN_NONPAGED_AREA;
    ret->parameter[0] = address;
    ret->parameter[1] = error_code & FAULT_W ? ACCESS_WRITE : error_code & FAULT_I ? ACCESS_EXECUTE : ACCESS_READ;
    ret->parameter[2] = ret->registers.rip;
    ret->parameter[3] = walk.level == PT ? FAULT_NO_PAGE : FAULT_NO_TABLE;
}

/* 0x1E for what Windows raises as an exception, 0x7F for the other traps. */
static void choose_for_other_trap(struct lab_bugcheck *ret) {
    const struct lab_registers *registers = &ret->registers;
    ULONG status = trap_status(registers->vector);
    if (status) {
        ret->code = KMODE_EXCEPTION_NOT_HANDLED;
        ret->parameter[0] = (u64)(i64)(LONG)status;
        ret->parameter[1] = registers->rip;
        return;
    }
    ret->code = registers->vector == TRAP_NMI  ? NMI_HARDWARE_FAILURE
                : registers->vector == TRAP_MC ? MACHINE_CHECK_EXCEPTION
                                               : UNEXPECTED_KERNEL_MODE_TRAP;
    ret->parameter[0] = registers->vector;
    ret->parameter[1] = registers->error_code;
    ret->parameter[2] = registers->rip;
    ret->parameter[3] = registers->rsp;
}

_Noreturn void bugcheck_for_trap(const struct lab_registers *registers, u64 cr2) {
    begin_stop();
    struct lab_bugcheck reason = {.registers = *registers, .cr2 = cr2, .caller = registers->rip};
    if (registers->vector == TRAP_PF)
        choose_for_page_fault(&reason);
    else
        choose_for_other_trap(&reason);
    stop(&reason);
}
