/*
 * trap.h - exceptions and interrupts: their entry, their report, and the guard that turns a fault into an answer.
 */
#pragma once

#include "lab.h"

enum { TRAP_VECTORS = 256, TRAP_STUB_SIZE = 16 };

enum trap_vector {
    TRAP_DE = 0,
    TRAP_DB = 1,
    TRAP_NMI = 2,
    TRAP_BP = 3,
    TRAP_OF = 4,
    TRAP_BR = 5,
    TRAP_UD = 6,
    TRAP_NM = 7,
    TRAP_DF = 8,
    TRAP_TS = 10,
    TRAP_NP = 11,
    TRAP_SS = 12,
    TRAP_GP = 13,
    TRAP_PF = 14,
    TRAP_MF = 16,
    TRAP_AC = 17,
    TRAP_MC = 18,
    TRAP_XM = 19,
    TRAP_VE = 20,
    TRAP_CP = 21,
};

/* Error code of a page fault (Intel SDM vol. 3A, "Page-Fault Exceptions"). */
enum page_fault_bit {
    FAULT_P = 1 << 0,
    FAULT_W = 1 << 1,
    FAULT_U = 1 << 2,
    FAULT_RSVD = 1 << 3,
    FAULT_I = 1 << 4,
    FAULT_PK = 1 << 5,
    FAULT_SS = 1 << 6,
};

/* entry.S: one stub of TRAP_STUB_SIZE bytes for each vector. */
extern const u8 trap_stubs[];

/* What the stubs call. What it leaves in `registers` is what the CPU goes on with. */
void trap_handle(struct lab_registers *registers);

/* Prints name, error code, CR2, registers, and for a page fault the walk of the address. */
void trap_report(const struct lab_registers *registers, u64 cr2);

/*
 * Calls a function with the Microsoft convention. An exception inside it, other than NMI, double fault and machine
 * check, ends the call: false, and *ret_registers and *ret_cr2 tell where. Guards nest. A `watched` call returns to
 * trap_call_returned, where debuggers wait for it.
 */
bool trap_guarded_call(const void *function, const u64 arguments[LAB_ARGUMENTS], bool watched, u64 *ret,
                       struct lab_registers *ret_registers, u64 *ret_cr2);

/* The same without the guard: an exception takes its Windows course. */
u64 trap_call(const void *function, const u64 arguments[LAB_ARGUMENTS]);

/* Ends the innermost guarded call for a reason that is no trap; returns when there is none. */
void trap_leave_guarded_call(const struct lab_registers *registers);

/* The guard goes with the thread whose call it is: puts another in its place and returns it. */
struct guard;
struct guard *trap_set_guard(struct guard *guard);
