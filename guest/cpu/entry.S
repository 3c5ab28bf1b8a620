/*
 * entry.S - where the CPU enters the kernel for exceptions and interrupts, and the two ways C cannot jump.
 */
#include "cpu/registers.inc"

    .text

/* One stub of 16 bytes a vector; where the CPU pushes no error code, the stub pushes 0 (TRAP_STUB_SIZE in trap.h). */
    .align 16
    .globl trap_stubs
trap_stubs:
    .set vector, 0
    .rept 256
    .align 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    pushq $0
    .endif
    pushq $vector
    jmp trap_common
    .set vector, vector + 1
    .endr

/*
 * Builds struct lab_registers on the stack. The CPU aligned the stack by 16 before its five words; with the two words of
 * the stub and these fifteen the call is aligned again. The flags are reset because C wants DF clear, and because AC
 * would let the handler read user pages in spite of SMAP.
 */
    .align 16
trap_common:
    push_registers
    pushq $2
    popfq
    cmpq $0, probe_detour(%rip)     /* .running */
    jne probe_end
    movq %rsp, %rdi
    call trap_handle
    .globl trap_return
trap_return:
    pop_registers
    addq $16, %rsp
    iretq

/* _Noreturn void trap_resume(const struct lab_registers *registers): goes on as if a trap had ended. */
    .globl trap_resume
trap_resume:
    movq %rdi, %rsp
    jmp trap_return

/*
 * u64 trap_enter_call(const void *function, const u64 arguments[12], u64 *ret_stack, bool watched)
 *
 * Calls a function with the Microsoft convention: four arguments in registers, above 32 bytes of home space the other
 * eight. The stack pointer stored through ret_stack is the one with which trap_leave_call gives the call up. A debugger
 * that wants to see what a call did stops at trap_call_returned, where watched calls return to and no others.
 */
    .globl trap_enter_call
trap_enter_call:
    pushq %rbp
    movq %rsp, %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdx)
    subq $(32 + 8 * 8 + 8), %rsp
    movq %rdi, %rax
    movq %rsi, %r10
    movzbl %cl, %edi
    .set offset, 32
    .rept 8
    movq offset(%r10), %r11
    movq %r11, offset(%rsp)
    .set offset, offset + 8
    .endr
    movq (%r10), %rcx
    movq 8(%r10), %rdx
    movq 16(%r10), %r8
    movq 24(%r10), %r9
    testl %edi, %edi
    jnz 1f
    call *%rax
    jmp 2f
1:  call *%rax
    nop                     /* so that what is returned to is in this function, by whose prologue GDB finds the frame */
    .globl trap_call_returned
trap_call_returned:
    nop
2:  addq $(32 + 8 * 8 + 8), %rsp
    .globl trap_leave_call
trap_leave_call:
    cld
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

/*
 * void space_enter(u64 cr3, u64 stack_top, void (*next)(void))
 *
 * Goes over to other tables and another stack in one step, because neither tables map the other's stack.
 */
    .globl space_enter
space_enter:
    movq %rdi, %cr3
    movq %rsi, %rsp
    xorl %ebp, %ebp
    call *%rdx
    ud2
