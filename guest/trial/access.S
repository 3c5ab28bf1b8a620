/*
 * access.S - one access on trial: how it is made at either privilege, and the shortest way back from it.
 *
 * Registers: RDI the address, RSI what to write or the selector to load, RBX where to go after success. An exception
 * never goes back to what it interrupted, so nothing is saved but RBX, RBP and the stack pointer.
 */
/* struct trial_outcome */
#define OUTCOME_VECTOR 0
#define OUTCOME_ERROR_CODE 8
#define OUTCOME_CR2 16
#define OUTCOME_FOUND 24
#define OUTCOME_STACK 32

#define LAB_NO_VECTOR 256
#define STUB_SIZE 16
#define USER_STUBS 0x800002a000         /* TRIAL_USER_STUBS in space.h */

    .text

/* ---------------------------------------------------------------------------------------------------- the access ---- */

/* A page of its own: user mode runs it, too, at another address. In the order of enum trial_access. */
    .balign 4096
    .globl trial_stubs
trial_stubs:
    movq (%rdi), %rax
    jmp *%rbx
    .balign STUB_SIZE
    movq %rsi, (%rdi)
    jmp *%rbx
    .balign STUB_SIZE
    jmp *%rdi
    .balign STUB_SIZE
    movq %rdi, %rbp
    movq (%rbp), %rax
    jmp *%rbx
    .balign STUB_SIZE
    movl %esi, %fs
    jmp *%rbx
    .balign STUB_SIZE
    movl %esi, %fs
    jmp *%rbx
    .balign STUB_SIZE
user_return:
    syscall
    .balign 4096

    .globl trial_access_kernel
trial_access_kernel:
    pushq %rbx
    pushq %rbp
    movq %rsp, trial_outcome + OUTCOME_STACK(%rip)
    leaq trial_return(%rip), %rbx
    jmp *%rdx

/* User mode does not use the stack; SYSCALL finds the stack pointer as it is here. */
    .globl trial_access_user
trial_access_user:
    pushq %rbx
    pushq %rbp
    movq %rsp, trial_outcome + OUTCOME_STACK(%rip)
    movabsq $(USER_STUBS + user_return - trial_stubs), %rbx
    movq %rcx, %r11
    movq %rdx, %rcx
    sysretq

/* ------------------------------------------------------------------------------------------------------ the ends ---- */

    .globl trial_return
trial_return:
    movq %rax, trial_outcome + OUTCOME_FOUND(%rip)
    movq $LAB_NO_VECTOR, trial_outcome + OUTCOME_VECTOR(%rip)
    popq %rbp
    popq %rbx
    ret

/* One stub a vector, as in cpu/entry.S: 0 stands in where the CPU pushes no error code. */
    .balign 16
    .globl trial_traps
trial_traps:
    .set vector, 0
    .rept 32
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    pushq $0
    .endif
    pushq $vector
    jmp trapped
    .set vector, vector + 1
    .endr

    .balign 16
trapped:
    popq trial_outcome + OUTCOME_VECTOR(%rip)
    popq trial_outcome + OUTCOME_ERROR_CODE(%rip)
    movq %cr2, %rax
    movq %rax, trial_outcome + OUTCOME_CR2(%rip)
    movq trial_outcome + OUTCOME_STACK(%rip), %rsp
    popq %rbp
    popq %rbx
    ret

/* void trial_call_on(void (*function)(void *argument), void *argument, u64 stack_top) */
    .globl trial_call_on
trial_call_on:
    pushq %rbp
    movq %rsp, %rbp
    movq %rdx, %rsp
    movq %rdi, %rax
    movq %rsi, %rdi
    call *%rax
    movq %rbp, %rsp
    popq %rbp
    ret
