/*
 * setjmp.S - C's jump over frames, for drivers. As in Windows' kernel the buffer is _JUMP_BUFFER of 256 bytes, aligned
 * by 16. Frames that are left are not told: no __finally runs, which Microsoft leaves open for the kernel.
 */
    .set JUMP_FRAME, 0x00
    .set JUMP_RBX, 0x08
    .set JUMP_RSP, 0x10
    .set JUMP_RBP, 0x18
    .set JUMP_RSI, 0x20
    .set JUMP_RDI, 0x28
    .set JUMP_R12, 0x30
    .set JUMP_RIP, 0x50
    .set JUMP_MXCSR, 0x58
    .set JUMP_FPCSR, 0x5c
    .set JUMP_XMM6, 0x60

    .text

/* int _setjmp(jmp_buf rcx, void *frame rdx) */
    .globl crt_setjmp
crt_setjmp:
    .cfi_startproc
    movq %rdx, JUMP_FRAME(%rcx)
    movq %rbx, JUMP_RBX(%rcx)
    leaq 8(%rsp), %rax
    movq %rax, JUMP_RSP(%rcx)
    movq %rbp, JUMP_RBP(%rcx)
    movq %rsi, JUMP_RSI(%rcx)
    movq %rdi, JUMP_RDI(%rcx)
    movq %r12, JUMP_R12(%rcx)
    movq %r13, JUMP_R12 + 8(%rcx)
    movq %r14, JUMP_R12 + 16(%rcx)
    movq %r15, JUMP_R12 + 24(%rcx)
    movq (%rsp), %rax
    movq %rax, JUMP_RIP(%rcx)
    stmxcsr JUMP_MXCSR(%rcx)
    fnstcw JUMP_FPCSR(%rcx)
    .set xmm, 6
    .irp register, %xmm6, %xmm7, %xmm8, %xmm9, %xmm10, %xmm11, %xmm12, %xmm13, %xmm14, %xmm15
    movups \register, JUMP_XMM6 + (xmm - 6) * 16(%rcx)
    .set xmm, xmm + 1
    .endr
    xorl %eax, %eax
    ret
    .cfi_endproc

/* void longjmp(jmp_buf rcx, int rdx): the other return of _setjmp, with 1 in place of 0 */
    .globl crt_longjmp
crt_longjmp:
    .cfi_startproc
    movl %edx, %eax
    testl %eax, %eax
    jnz 1f
    incl %eax
1:  movq JUMP_RBX(%rcx), %rbx
    movq JUMP_RBP(%rcx), %rbp
    movq JUMP_RSI(%rcx), %rsi
    movq JUMP_RDI(%rcx), %rdi
    movq JUMP_R12(%rcx), %r12
    movq JUMP_R12 + 8(%rcx), %r13
    movq JUMP_R12 + 16(%rcx), %r14
    movq JUMP_R12 + 24(%rcx), %r15
    ldmxcsr JUMP_MXCSR(%rcx)
    fldcw JUMP_FPCSR(%rcx)
    .set xmm, 6
    .irp register, %xmm6, %xmm7, %xmm8, %xmm9, %xmm10, %xmm11, %xmm12, %xmm13, %xmm14, %xmm15
    movups JUMP_XMM6 + (xmm - 6) * 16(%rcx), \register
    .set xmm, xmm + 1
    .endr
    movq JUMP_RSP(%rcx), %rsp
    jmp *JUMP_RIP(%rcx)
    .cfi_endproc
