/*
 * probe.S - the detour of probe.h: to other controls and registers, and back. While the controls are others, nothing
 * may be touched but the detour itself: without EFER.NXE even the kernel's stack would fault.
 */
#include "cpu/registers.inc"

    .set DETOUR_RUNNING, 0
    .set DETOUR_STACK, 8
    .set DETOUR_OUTSIDE, 16
    .set DETOUR_INSIDE, 64
    .set DETOUR_CR2, 112
    .set DETOUR_REGISTERS, 120
    .set REGISTERS_WORDS, 22

    .set CONTROLS_CR0, 0
    .set CONTROLS_CR3, 8
    .set CONTROLS_CR4, 16
    .set CONTROLS_EFER, 24
    .set CONTROLS_PKRU, 32

    .set CR4_PGE, 0x80
    .set CR4_PKE_BIT, 22
    .set MSR_EFER, 0xc0000080
    .set KERNEL_DATA, 0x18

/* EFER first: the change of CR4.PGE afterwards makes the CPU forget every translation made without it. */
.macro load_controls controls
    movl $MSR_EFER, %ecx
    movl \controls + CONTROLS_EFER(%rbx), %eax
    movl \controls + CONTROLS_EFER + 4(%rbx), %edx
    wrmsr
    movq \controls + CONTROLS_CR0(%rbx), %rax
    movq %rax, %cr0
    movq \controls + CONTROLS_CR3(%rbx), %rax
    movq %rax, %cr3
    movq \controls + CONTROLS_CR4(%rbx), %rax
    movq %rax, %rdx
    andq $~CR4_PGE, %rdx
    movq %rdx, %cr4
    movq %rax, %cr4
.endm

    .text

/* void probe_take_detour(struct probe_detour *detour) */
    .globl probe_take_detour
probe_take_detour:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rdi, %rbx
    movq %rsp, DETOUR_STACK(%rbx)
    movq $1, DETOUR_RUNNING(%rbx)
    load_controls DETOUR_INSIDE
    btq $CR4_PKE_BIT, %rax
    jnc 1f
    movl DETOUR_INSIDE + CONTROLS_PKRU(%rbx), %eax
    xorl %ecx, %ecx
    xorl %edx, %edx
    wrpkru
1:  leaq DETOUR_REGISTERS(%rbx), %rsp
    pop_registers
    addq $16, %rsp
/* A place for a breakpoint: all registers are the probe's, and one step leads to its first instruction. */
    .globl probe_begin
probe_begin:
    iretq

/* From trap_common, with struct lab_registers on the detour's trap stack. */
    .globl probe_end
probe_end:
    leaq probe_detour(%rip), %rbx
    movq %cr2, %rax
    movq %rax, DETOUR_CR2(%rbx)
    load_controls DETOUR_OUTSIDE
    movq %rsp, %rsi
    leaq DETOUR_REGISTERS(%rbx), %rdi
    movl $REGISTERS_WORDS, %ecx
    rep movsq
    movq DETOUR_STACK(%rbx), %rsp
    movq $0, DETOUR_RUNNING(%rbx)
    movl $KERNEL_DATA, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
