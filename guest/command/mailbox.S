/*
 * mailbox.S - the two ways by which a debugger has the guest call a function.
 */
#include "cpu/registers.inc"

    .text

/*
 * Not a function: where a debugger lets the guest go on instead of at lab_mailbox.detour_from. It goes on there after the
 * call that is staged, as if nothing had happened.
 */
    .globl mailbox_detour
mailbox_detour:
    pushq lab_mailbox + 40(%rip)    /* .detour_from */

/*
 * void mailbox_call_staged(void)
 *
 * A debugger that calls a function puts back every register that it finds changed, with a packet for each. It finds none
 * changed but those it has set itself.
 */
    .globl mailbox_call_staged
mailbox_call_staged:
    pushfq
    push_registers
    cld
    movq %rsp, %rbx
    andq $-16, %rsp
    call mailbox_answer_staged
    movq %rbx, %rsp
    pop_registers
    popfq
    ret
