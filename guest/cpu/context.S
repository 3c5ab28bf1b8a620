/*
 * context.S - taking and giving back the whole state of the CPU as a CONTEXT (include/nt_exception.h has its offsets).
 */
    .set CONTEXT_FLAGS, 0x30
    .set CONTEXT_MXCSR, 0x34
    .set CONTEXT_SEGMENTS, 0x38
    .set CONTEXT_EFLAGS, 0x44
    .set CONTEXT_RAX, 0x78
    .set CONTEXT_RCX, 0x80
    .set CONTEXT_RDX, 0x88
    .set CONTEXT_RBX, 0x90
    .set CONTEXT_RSP, 0x98
    .set CONTEXT_RBP, 0xa0
    .set CONTEXT_RSI, 0xa8
    .set CONTEXT_RDI, 0xb0
    .set CONTEXT_R8, 0xb8
    .set CONTEXT_RIP, 0xf8
    .set CONTEXT_FXSAVE, 0x100
    .set CONTEXT_FULL_AND_SEGMENTS, 0x10000f

    .text

/* VOID RtlCaptureContext(PCONTEXT rcx): the caller's state as it is when this returns; rcx itself is kept, too. */
    .globl RtlCaptureContext
RtlCaptureContext:
    .cfi_startproc
    pushfq
    .cfi_adjust_cfa_offset 8
    movl $CONTEXT_FULL_AND_SEGMENTS, CONTEXT_FLAGS(%rcx)
    stmxcsr CONTEXT_MXCSR(%rcx)
    movw %cs, CONTEXT_SEGMENTS(%rcx)
    movw %ds, CONTEXT_SEGMENTS + 2(%rcx)
    movw %es, CONTEXT_SEGMENTS + 4(%rcx)
    movw %fs, CONTEXT_SEGMENTS + 6(%rcx)
    movw %gs, CONTEXT_SEGMENTS + 8(%rcx)
    movw %ss, CONTEXT_SEGMENTS + 10(%rcx)
    movq %rax, CONTEXT_RAX(%rcx)
    movq %rcx, CONTEXT_RCX(%rcx)
    movq %rdx, CONTEXT_RDX(%rcx)
    movq %rbx, CONTEXT_RBX(%rcx)
    movq %rbp, CONTEXT_RBP(%rcx)
    movq %rsi, CONTEXT_RSI(%rcx)
    movq %rdi, CONTEXT_RDI(%rcx)
    movq %r8, CONTEXT_R8(%rcx)
    movq %r9, CONTEXT_R8 + 8(%rcx)
    movq %r10, CONTEXT_R8 + 16(%rcx)
    movq %r11, CONTEXT_R8 + 24(%rcx)
    movq %r12, CONTEXT_R8 + 32(%rcx)
    movq %r13, CONTEXT_R8 + 40(%rcx)
    movq %r14, CONTEXT_R8 + 48(%rcx)
    movq %r15, CONTEXT_R8 + 56(%rcx)
    fxsave64 CONTEXT_FXSAVE(%rcx)
    movq 8(%rsp), %rax
    movq %rax, CONTEXT_RIP(%rcx)
    leaq 16(%rsp), %rax
    movq %rax, CONTEXT_RSP(%rcx)
    movl (%rsp), %eax
    movl %eax, CONTEXT_EFLAGS(%rcx)
    movq CONTEXT_RAX(%rcx), %rax
    popfq
    .cfi_adjust_cfa_offset -8
    ret
    .cfi_endproc

/* _Noreturn void context_restore(const CONTEXT *rcx) */
    .globl context_restore
context_restore:
    fxrstor64 CONTEXT_FXSAVE(%rcx)
    ldmxcsr CONTEXT_MXCSR(%rcx)
    movzwl CONTEXT_SEGMENTS + 10(%rcx), %eax
    pushq %rax
    pushq CONTEXT_RSP(%rcx)
    movl CONTEXT_EFLAGS(%rcx), %eax
    pushq %rax
    movzwl CONTEXT_SEGMENTS(%rcx), %eax
    pushq %rax
    pushq CONTEXT_RIP(%rcx)
    movq CONTEXT_RAX(%rcx), %rax
    movq CONTEXT_RDX(%rcx), %rdx
    movq CONTEXT_RBX(%rcx), %rbx
    movq CONTEXT_RBP(%rcx), %rbp
    movq CONTEXT_RSI(%rcx), %rsi
    movq CONTEXT_RDI(%rcx), %rdi
    movq CONTEXT_R8(%rcx), %r8
    movq CONTEXT_R8 + 8(%rcx), %r9
    movq CONTEXT_R8 + 16(%rcx), %r10
    movq CONTEXT_R8 + 24(%rcx), %r11
    movq CONTEXT_R8 + 32(%rcx), %r12
    movq CONTEXT_R8 + 40(%rcx), %r13
    movq CONTEXT_R8 + 48(%rcx), %r14
    movq CONTEXT_R8 + 56(%rcx), %r15
    movq CONTEXT_RCX(%rcx), %rcx
    iretq

/* void context_save_floating(XSAVE_FORMAT *rcx), void context_load_floating(const XSAVE_FORMAT *rcx) */
    .globl context_save_floating
context_save_floating:
    fxsave64 (%rcx)
    ret
    .globl context_load_floating
context_load_floating:
    fxrstor64 (%rcx)
    ret

/*
 * void thread_switch_stack(void **ret_stack, void *stack): goes on where the thread of the other stack called this.
 * Whoever makes a thread leaves six words for the registers and an address to return to.
 */
    .globl thread_switch_stack
thread_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
