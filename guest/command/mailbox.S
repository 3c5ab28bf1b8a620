/*
 * mailbox.S - the way by which a debugger has the guest call a function.
 */
#include "cpu/registers.inc"

    .text

/*
 * void mailbox_call_staged(void)
 *
 * A debugger puts back every register that it finds changed by the call, with a packet for each. It finds none changed
 * but those it has set itself. The eight bytes below the registers align the stack by 16.
 */
    .globl mailbox_call_staged
mailbox_call_staged:
    pushfq
    push_registers
    subq $8, %rsp
    cld
    call mailbox_answer_staged
    addq $8, %rsp
    pop_registers
    popfq
    ret
