/*
 * gate.S - what stands between a driver and a memory call while the journal is on.
 *
 * A gate (NT_MEMORY_EXPORT in lab.h) comes here with the function in r11 and a call of the Microsoft convention under
 * way. The call is made once more from a frame of its own, with as many arguments as the mailbox can give, so that its
 * result is seen as well. The frame can be unwound: exceptions raised in the function pass through it.
 */
    .set ARGUMENTS_ON_STACK, 8
    .set HOME, 32
    .set FRAME, 16 + HOME + 8 * ARGUMENTS_ON_STACK

    .text

    .globl journal_gate
journal_gate:
    .cfi_startproc
    cmpq $0, lab_journal(%rip)
    jne 1f
    jmp *%r11
1:  pushq %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    movq %rsp, %rbp
    .cfi_def_cfa_register %rbp
    subq $FRAME, %rsp
    movq %r11, -8(%rbp)
    movq %rcx, 16(%rbp)
    movq %rdx, 24(%rbp)
    movq %r8, 32(%rbp)
    movq %r9, 40(%rbp)
    movq %r11, %rcx
    leaq 8(%rbp), %rdx
    call journal_enter
    .set offset, 0
    .rept ARGUMENTS_ON_STACK
    movq 16 + HOME + offset(%rbp), %rax
    movq %rax, HOME + offset(%rsp)
    .set offset, offset + 8
    .endr
    movq 16(%rbp), %rcx
    movq 24(%rbp), %rdx
    movq 32(%rbp), %r8
    movq 40(%rbp), %r9
    call *-8(%rbp)
    .globl journal_return
journal_return:
    movq %rax, -8(%rbp)
    movq %rax, %rcx
    leaq 8(%rbp), %rdx
    call journal_leave
    movq -8(%rbp), %rax
    leave
    .cfi_def_cfa %rsp, 8
    ret
    .cfi_endproc
