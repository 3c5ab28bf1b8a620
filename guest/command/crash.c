/*
 * crash.c - ways to lose a guest, so that it can be shown what the controller makes of each.
 */
#include "cpu/instructions.h"
#include "nt.h"

static void NTAPI bugcheck(ULONG code, u64 parameter1, u64 parameter2, u64 parameter3, u64 parameter4) {
    KeBugCheckEx(code, parameter1, parameter2, parameter3, parameter4);
}
LAB_COMMAND(bugcheck, "Stop with a bug check: its code and four parameters.");

/* Without an IDT the breakpoint cannot be delivered, nor the double fault, and the CPU shuts down. */
static void NTAPI triple_fault(void) {
    lidt(&(struct descriptor_pointer){0, 0});
    int3();
}
LAB_COMMAND(triple_fault, "Lose the CPU to a triple fault.");

static void NTAPI hang(void) {
    cli();
    for (;;)
        ;
}
LAB_COMMAND(hang, "Loop forever with interrupts off.");

/* Each call needs its stack after the inner one has returned; nobody gets as deep as the condition. */
static u64 descend(u64 depth) {
    volatile u64 frame[32] = {depth};
    return depth == ~0ull ? 0 : descend(depth + 1) + frame[0];
}

static u64 NTAPI stack_overflow(void) {
    return descend(0);
}
LAB_COMMAND(stack_overflow, "Recurse until the stack meets its guard page: a double fault.");
