#include "nt/fault.h"

#include "cpu/context.h"
#include "cpu/instructions.h"
#include "cpu/trap.h"
#include "nt/exception.h"
#include "nt/irql.h"
#include "nt/thread.h"

/* Software interrupts that compilers plant in Windows code: __assert, and the debugger's service. */
enum { VECTOR_ASSERTION = 0x2c, VECTOR_DEBUG_SERVICE = 0x2d };

/* Their instructions, which the CPU has passed when the trap comes. */
enum { INT3_SIZE = 1, INT_SIZE = 2 };

/* Unmasked conditions of MXCSR, by Windows' names; several at once are FLOAT_MULTIPLE_TRAPS. */
static NTSTATUS floating_status(u32 mxcsr) {
    static const NTSTATUS status[] = {
        STATUS_FLOAT_INVALID_OPERATION, STATUS_FLOAT_DENORMAL_OPERAND, STATUS_FLOAT_DIVIDE_BY_ZERO,
        STATUS_FLOAT_OVERFLOW,          STATUS_FLOAT_UNDERFLOW,        STATUS_FLOAT_INEXACT_RESULT,
    };
    u32 raised = mxcsr & ~(mxcsr >> 7) & 0x3f;
    return raised && !(raised & (raised - 1)) ? status[__builtin_ctz(raised)] : STATUS_FLOAT_MULTIPLE_TRAPS;
}

static void make_access_violation(EXCEPTION_RECORD *ret, enum access_violation kind, u64 address) {
    ret->ExceptionCode = STATUS_ACCESS_VIOLATION;
    ret->NumberParameters = 2;
    ret->ExceptionInformation[0] = kind;
    ret->ExceptionInformation[1] = address;
}

/*
 * Only a bad user address is an exception: a driver is allowed to be given one. A bad address of the system's half is a
 * bug check, handlers or not; so is any page fault where none may happen, and user code run by the kernel.
 */
static bool record_page_fault(u64 error_code, u64 address, EXCEPTION_RECORD *ret) {
    bool forbidden_fetch = error_code & FAULT_I && error_code & FAULT_P;
    if (irql_current() >= DISPATCH_LEVEL || address > HIGHEST_USER_ADDRESS || forbidden_fetch)
        return false;
    make_access_violation(ret,
                          error_code & FAULT_W   ? ACCESS_VIOLATION_WRITE
                          : error_code & FAULT_I ? ACCESS_VIOLATION_EXECUTE
                                                 : ACCESS_VIOLATION_READ,
                          address);
    return true;
}

/* The exception that Windows raises for a trap; false where it raises none. */
static bool record_trap(const struct lab_registers *registers, u64 cr2, u32 mxcsr, EXCEPTION_RECORD *ret) {
    switch (registers->vector) {
    case TRAP_PF:
        return record_page_fault(registers->error_code, cr2, ret);
    case TRAP_GP: /* an address that is not canonical, mostly: the CPU does not say */
        make_access_violation(ret, ACCESS_VIOLATION_READ, ~0ull);
        return true;
    case TRAP_DE:
        ret->ExceptionCode = STATUS_INTEGER_DIVIDE_BY_ZERO;
        return true;
    case TRAP_DB:
        ret->ExceptionCode = STATUS_SINGLE_STEP;
        return true;
    case TRAP_BP:
        ret->ExceptionCode = STATUS_BREAKPOINT;
        ret->NumberParameters = 1; /* BREAKPOINT_BREAK */
        return true;
    case TRAP_OF:
        ret->ExceptionCode = STATUS_INTEGER_OVERFLOW;
        return true;
    case TRAP_BR:
        ret->ExceptionCode = STATUS_ARRAY_BOUNDS_EXCEEDED;
        return true;
    case TRAP_UD:
        ret->ExceptionCode = STATUS_ILLEGAL_INSTRUCTION;
        return true;
    case TRAP_AC:
        ret->ExceptionCode = STATUS_DATATYPE_MISALIGNMENT;
        return true;
    case TRAP_XM:
        ret->ExceptionCode = floating_status(mxcsr);
        return true;
    case VECTOR_ASSERTION:
        ret->ExceptionCode = STATUS_ASSERTION_FAILURE;
        return true;
    default:
        return false;
    }
}

/* Windows reports these instructions where they begin. */
static u64 size_of_trapping(u64 vector) {
    return vector == TRAP_BP ? INT3_SIZE : vector == VECTOR_ASSERTION ? INT_SIZE : 0;
}

bool fault_handle(struct lab_registers *registers, u64 cr2) {
    if (!thread_is_ready())
        return false;
    if (registers->vector == VECTOR_DEBUG_SERVICE)
        return true; /* there is no debugger to serve */
    CONTEXT context;
    context_from_registers(registers, &context);
    context_save_floating(&context.FltSave);
    context.MxCsr = context.FltSave.MxCsr;
    context.Rip -= size_of_trapping(registers->vector);
    EXCEPTION_RECORD record = {.ExceptionAddress = (PVOID)context.Rip};
    if (!record_trap(registers, cr2, context.MxCsr, &record))
        return false;
    if (!exception_dispatch(&record, &context))
        exception_unhandled(&record, &context, registers);
    context_load_floating(&context.FltSave);
    context_to_registers(&context, registers);
    return true;
}
