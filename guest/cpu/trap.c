#include "cpu/trap.h"

#include "cpu/apic.h"
#include "cpu/clock.h"
#include "cpu/descriptors.h"
#include "cpu/instructions.h"
#include "cpu/probe.h"
#include "cpu/serial.h"
#include "nt/bugcheck.h"
#include "nt/fault.h"
#include "nt/thread.h"
#include "paging/paging.h"

/* One guarded call in progress: how to give it up, and what happened in it. */
struct guard {
    struct guard *outer;
    u64 stack;
    u64 irql;   /* to go back to */
    bool ended; /* by an exception, which these tell of */
    struct lab_registers *ret_registers;
    u64 *ret_cr2;
};

/* The innermost; NULL when a fault shall take its Windows course. */
static struct guard *current_guard;

u64 trap_enter_call(const void *function, const u64 arguments[LAB_ARGUMENTS], u64 *ret_stack, bool watched);
extern const u8 trap_leave_call[];
_Noreturn void trap_resume(const struct lab_registers *registers);

enum { RFLAGS_ALWAYS_SET = 1 << 1 };

/* -------------------------------------------------------------------------------------------------- the report ---- */

static const char *const trap_names[] = {
    [TRAP_DE] = "#DE divide error",
    [TRAP_DB] = "#DB debug",
    [TRAP_NMI] = "NMI",
    [TRAP_BP] = "#BP breakpoint",
    [TRAP_OF] = "#OF overflow",
    [TRAP_BR] = "#BR bound range exceeded",
    [TRAP_UD] = "#UD invalid opcode",
    [TRAP_NM] = "#NM device not available",
    [TRAP_DF] = "#DF double fault",
    [TRAP_TS] = "#TS invalid TSS",
    [TRAP_NP] = "#NP segment not present",
    [TRAP_SS] = "#SS stack fault",
    [TRAP_GP] = "#GP general protection",
    [TRAP_PF] = "#PF page fault",
    [TRAP_MF] = "#MF x87 floating point",
    [TRAP_AC] = "#AC alignment check",
    [TRAP_MC] = "#MC machine check",
    [TRAP_XM] = "#XM SIMD floating point",
    [TRAP_VE] = "#VE virtualization",
    [TRAP_CP] = "#CP control protection",
};

static const char *trap_name(u64 vector) {
    if (vector < ARRAY_SIZE(trap_names) && trap_names[vector])
        return trap_names[vector];
    return "software interrupt";
}

/* The set bits of a page fault's error code by name, each after a space. */
static void print_page_fault_bits(u64 error_code) {
    static const struct {
        u64 bit;
        const char *name;
    } bits[] = {
        {FAULT_P, "P"}, {FAULT_W, "W"},   {FAULT_U, "U"},   {FAULT_RSVD, "RSVD"},
        {FAULT_I, "I"}, {FAULT_PK, "PK"}, {FAULT_SS, "SS"},
    };
    for (u64 i = 0; i < ARRAY_SIZE(bits); i++) {
        if (error_code & bits[i].bit)
            log_print(" %s", bits[i].name);
    }
}

static void print_registers(const struct lab_registers *r) {
    log_print("  rip 0x%016llx  rflags 0x%08llx  cs 0x%02llx  ss 0x%02llx\n", r->rip, r->rflags, r->cs, r->ss);
    log_print("  rax 0x%016llx  rbx 0x%016llx  rcx 0x%016llx  rdx 0x%016llx\n", r->rax, r->rbx, r->rcx, r->rdx);
    log_print("  rsi 0x%016llx  rdi 0x%016llx  rbp 0x%016llx  rsp 0x%016llx\n", r->rsi, r->rdi, r->rbp, r->rsp);
    log_print("  r8  0x%016llx  r9  0x%016llx  r10 0x%016llx  r11 0x%016llx\n", r->r8, r->r9, r->r10, r->r11);
    log_print("  r12 0x%016llx  r13 0x%016llx  r14 0x%016llx  r15 0x%016llx\n", r->r12, r->r13, r->r14, r->r15);
}

/* A double fault is most often a page fault that could not be delivered: its CR2 is worth as much. */
void trap_report(const struct lab_registers *registers, u64 cr2) {
    bool paging = registers->vector == TRAP_PF || registers->vector == TRAP_DF;
    log_print("trap %llu %s, error code 0x%llx", registers->vector, trap_name(registers->vector),
              registers->error_code);
    if (registers->vector == TRAP_PF)
        print_page_fault_bits(registers->error_code);
    if (paging)
        log_print(", cr2 0x%016llx", cr2);
    log_print("\n");
    print_registers(registers);
    if (paging)
        pt_print_walk(cr2);
}

/* --------------------------------------------------------------------------------------------------- the guard ---- */

/* What cannot be blamed on the code that ran, or cannot be returned from, is never kept inside a guarded call. */
static bool can_be_guarded(u64 vector) {
    return vector != TRAP_NMI && vector != TRAP_DF && vector != TRAP_MC;
}

/* Goes on where the guarded call was made, with its stack; the rest of the guest does not notice. */
static void end_guarded_call(struct guard *guard, struct lab_registers *registers, u64 cr2) {
    guard->ended = true;
    *guard->ret_registers = *registers;
    *guard->ret_cr2 = cr2;
    registers->rip = (u64)trap_leave_call;
    registers->rsp = guard->stack;
    registers->cs = SELECTOR_KERNEL_CODE;
    registers->ss = SELECTOR_KERNEL_DATA;
    registers->rflags = RFLAGS_ALWAYS_SET;
    write_cr8(guard->irql);
}

void trap_leave_guarded_call(const struct lab_registers *registers) {
    if (!current_guard)
        return;
    struct lab_registers leaving = *registers;
    end_guarded_call(current_guard, &leaving, 0);
    trap_resume(&leaving);
}

struct guard *trap_set_guard(struct guard *guard) {
    struct guard *old = current_guard;
    current_guard = guard;
    return old;
}

bool trap_guarded_call(const void *function, const u64 arguments[LAB_ARGUMENTS], bool watched, u64 *ret,
                       struct lab_registers *ret_registers, u64 *ret_cr2) {
    struct guard guard = {
        .outer = current_guard, .irql = read_cr8(), .ret_registers = ret_registers, .ret_cr2 = ret_cr2};
    current_guard = &guard;
    *ret = trap_enter_call(function, arguments, &guard.stack, watched);
    current_guard = guard.outer;
    return !guard.ended;
}

u64 trap_call(const void *function, const u64 arguments[LAB_ARGUMENTS]) {
    struct guard *outer = current_guard;
    u64 unused_stack;
    current_guard = NULL;
    u64 result = trap_enter_call(function, arguments, &unused_stack, false);
    current_guard = outer;
    return result;
}

/* --------------------------------------------------------------------------------------------------- the entry ---- */

/* Every exception comes through here and no interrupt does: a breakpoint here stops at faults and nothing else. */
__attribute__((noinline)) static void trap_exception(struct lab_registers *registers, u64 cr2) {
    if (current_guard && can_be_guarded(registers->vector))
        end_guarded_call(current_guard, registers, cr2);
    else if (!fault_handle(registers, cr2))
        bugcheck_for_trap(registers, cr2);
}

void trap_handle(struct lab_registers *registers) {
    u64 cr2 = read_cr2();
    u64 vector = registers->vector;
    if (vector >= IRQ_VECTOR_FIRST && vector <= IRQ_VECTOR_LAST)
        serial_interrupt(vector);
    else if (vector == CLOCK_VECTOR)
        thread_clock_interrupt(registers->rip);
    else if (vector != APIC_SPURIOUS_VECTOR && !(vector == TRAP_NMI && probe_is_under_way()))
        trap_exception(registers, cr2);
}
