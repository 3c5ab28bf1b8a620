/*
 * instructions.h - privileged instructions, one function each, named after the instruction.
 */
#pragma once

#include "lab.h"

static inline void cli(void) {
    __asm__ volatile("cli" ::: "memory");
}
static inline void hlt(void) {
    __asm__ volatile("hlt" ::: "memory");
}
/* Sleeps until an interrupt. STI takes effect after the next instruction: one that is pending already ends the HLT. */
static inline void sti_hlt_cli(void) {
    __asm__ volatile("sti; hlt; cli" ::: "memory");
}
static inline void wbinvd(void) {
    __asm__ volatile("wbinvd" ::: "memory");
}
static inline void ud2(void) {
    __asm__ volatile("ud2");
}
static inline void int3(void) {
    __asm__ volatile("int3");
}

static inline u8 inb(u16 port) {
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}
static inline void outb(u16 port, u8 value) {
    __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline u64 rdtsc(void) {
    u32 low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}
static inline u64 rdmsr(u32 msr) {
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (u64)high << 32 | low;
}
static inline void wrmsr(u32 msr, u64 value) {
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}
/* In bytes: assemblers know it only where they are told that the CPU does. */
static inline void wrpkru(u32 value) {
    __asm__ volatile(".byte 0x0f, 0x01, 0xef" ::"a"(value), "c"(0), "d"(0) : "memory");
}
static inline void xsetbv(u32 index, u64 value) {
    __asm__ volatile("xsetbv" ::"c"(index), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

struct cpuid {
    u32 eax, ebx, ecx, edx;
};
static inline struct cpuid cpuid(u32 leaf, u32 subleaf) {
    struct cpuid ret;
    __asm__ volatile("cpuid" : "=a"(ret.eax), "=b"(ret.ebx), "=c"(ret.ecx), "=d"(ret.edx) : "a"(leaf), "c"(subleaf));
    return ret;
}

static inline u64 read_cr0(void) {
    u64 value;
    __asm__ volatile("mov %%cr0, %0" : "=r"(value)::"memory");
    return value;
}
static inline u64 read_cr2(void) {
    u64 value;
    __asm__ volatile("mov %%cr2, %0" : "=r"(value)::"memory");
    return value;
}
static inline void write_cr2(u64 value) {
    __asm__ volatile("mov %0, %%cr2" ::"r"(value) : "memory");
}
static inline u64 read_cr3(void) {
    u64 value;
    __asm__ volatile("mov %%cr3, %0" : "=r"(value)::"memory");
    return value;
}
static inline u64 read_cr4(void) {
    u64 value;
    __asm__ volatile("mov %%cr4, %0" : "=r"(value)::"memory");
    return value;
}
static inline u64 read_cr8(void) {
    u64 value;
    __asm__ volatile("mov %%cr8, %0" : "=r"(value)::"memory");
    return value;
}
static inline void write_cr8(u64 value) {
    __asm__ volatile("mov %0, %%cr8" ::"r"(value) : "memory");
}
static inline u64 read_rflags(void) {
    u64 value;
    __asm__ volatile("pushfq; popq %0" : "=r"(value)::"memory");
    return value;
}
static inline void write_rflags(u64 value) {
    __asm__ volatile("pushq %0; popfq" ::"r"(value) : "memory", "cc");
}
static inline void write_cr0(u64 value) {
    __asm__ volatile("mov %0, %%cr0" ::"r"(value) : "memory");
}
static inline void write_cr3(u64 value) {
    __asm__ volatile("mov %0, %%cr3" ::"r"(value) : "memory");
}
static inline void write_cr4(u64 value) {
    __asm__ volatile("mov %0, %%cr4" ::"r"(value) : "memory");
}
/* Not plain `invlpg`: that is the name of a command. */
static inline void cpu_invlpg(u64 address) {
    __asm__ volatile("invlpg (%0)" ::"r"(address) : "memory");
}
struct invpcid_descriptor {
    u64 pcid, address;
};
static inline void cpu_invpcid(u64 type, struct invpcid_descriptor descriptor) {
    __asm__ volatile("invpcid %0, %1" ::"m"(descriptor), "r"(type) : "memory");
}

struct descriptor_pointer {
    u16 limit;
    u64 base;
} __attribute__((packed));
static inline void lgdt(const struct descriptor_pointer *gdt) {
    __asm__ volatile("lgdt %0" ::"m"(*gdt) : "memory");
}
static inline void lidt(const struct descriptor_pointer *idt) {
    __asm__ volatile("lidt %0" ::"m"(*idt) : "memory");
}
static inline void ltr(u16 selector) {
    __asm__ volatile("ltr %0" ::"r"(selector) : "memory");
}
static inline void lldt(u16 selector) {
    __asm__ volatile("lldt %0" ::"m"(selector) : "memory");
}
static inline void load_fs(u16 selector) {
    __asm__ volatile("mov %0, %%fs" ::"r"((u32)selector) : "memory");
}
