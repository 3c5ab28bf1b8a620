#include "cpu/context.h"

/* Windows' name for "of an exception": CONTEXT_UNWOUND_TO_CALL must not be set in it. */
enum { CONTEXT_OF_TRAP = CONTEXT_FULL | CONTEXT_SEGMENTS };

void context_from_registers(const struct lab_registers *registers, CONTEXT *ret) {
    ret->ContextFlags = CONTEXT_OF_TRAP;
    ret->Rax = registers->rax;
    ret->Rcx = registers->rcx;
    ret->Rdx = registers->rdx;
    ret->Rbx = registers->rbx;
    ret->Rsp = registers->rsp;
    ret->Rbp = registers->rbp;
    ret->Rsi = registers->rsi;
    ret->Rdi = registers->rdi;
    ret->R8 = registers->r8;
    ret->R9 = registers->r9;
    ret->R10 = registers->r10;
    ret->R11 = registers->r11;
    ret->R12 = registers->r12;
    ret->R13 = registers->r13;
    ret->R14 = registers->r14;
    ret->R15 = registers->r15;
    ret->Rip = registers->rip;
    ret->EFlags = (ULONG)registers->rflags;
    ret->SegCs = (USHORT)registers->cs;
    ret->SegSs = (USHORT)registers->ss;
}

void context_to_registers(const CONTEXT *context, struct lab_registers *ret) {
    ret->rax = context->Rax;
    ret->rcx = context->Rcx;
    ret->rdx = context->Rdx;
    ret->rbx = context->Rbx;
    ret->rsp = context->Rsp;
    ret->rbp = context->Rbp;
    ret->rsi = context->Rsi;
    ret->rdi = context->Rdi;
    ret->r8 = context->R8;
    ret->r9 = context->R9;
    ret->r10 = context->R10;
    ret->r11 = context->R11;
    ret->r12 = context->R12;
    ret->r13 = context->R13;
    ret->r14 = context->R14;
    ret->r15 = context->R15;
    ret->rip = context->Rip;
    ret->rflags = context->EFlags;
    ret->cs = context->SegCs;
    ret->ss = context->SegSs;
}
