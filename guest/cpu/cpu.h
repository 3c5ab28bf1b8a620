/*
 * cpu.h - what this CPU can do and how it is set up.
 */
#pragma once

#include "cpu/mtrr.h"
#include "lab.h"

/* Control-register and EFER bits that the kernel sets or asks for (Intel SDM vol. 3A, "Control Registers"). */
enum cr0_bit {
    CR0_PE = 1 << 0,
    CR0_MP = 1 << 1,
    CR0_EM = 1 << 2,
    CR0_TS = 1 << 3,
    CR0_NE = 1 << 5,
    CR0_WP = 1 << 16,
    CR0_CD = 1 << 30,
};
enum cr4_bit {
    CR4_PGE = 1 << 7,
    CR4_OSFXSR = 1 << 9,
    CR4_OSXMMEXCPT = 1 << 10,
    CR4_UMIP = 1 << 11,
    CR4_LA57 = 1 << 12,
    CR4_PCIDE = 1 << 17,
    CR4_OSXSAVE = 1 << 18,
    CR4_SMEP = 1 << 20,
    CR4_SMAP = 1 << 21,
    CR4_PKE = 1 << 22,
    CR4_PKS = 1 << 24,
};
enum rflags_bit { RFLAGS_AC = 1 << 18 };
enum efer_bit { EFER_SCE = 1 << 0, EFER_LME = 1 << 8, EFER_LMA = 1 << 10, EFER_NXE = 1 << 11 };

/* What CPUID offers, as far as paging is concerned. */
enum cpu_feature {
    CPU_NX = 1 << 0,
    CPU_GIB_PAGES = 1 << 1,
    CPU_PGE = 1 << 2,
    CPU_PCID = 1 << 3,
    CPU_INVPCID = 1 << 4,
    CPU_SMEP = 1 << 5,
    CPU_SMAP = 1 << 6,
    CPU_UMIP = 1 << 7,
    CPU_PKU = 1 << 8,
    CPU_PKS = 1 << 9,
    CPU_LA57 = 1 << 10,
    CPU_XSAVE = 1 << 11,
    CPU_SHADOW_STACK = 1 << 12,
    CPU_MTRR = 1 << 13,
};

/* All that is needed to judge an access to this kernel's memory, readable from any snapshot. */
struct lab_cpu {
    u64 cr0, cr3, cr4, efer, pat;
    u64 max_physical_bits; /* MAXPHYADDR */
    u64 max_virtual_bits;
    u64 features; /* enum cpu_feature */
    char vendor[16];
    struct mtrrs mtrrs;
};
extern struct lab_cpu lab_cpu;

/* Looks at the CPU and turns on every protection that it has; fills lab_cpu. */
void cpu_init(void);

/* Whether AMD's manual holds where it differs from Intel's. */
bool cpu_is_amd(void);

/* Notes the present control registers in lab_cpu; whoever changes one calls it. */
void cpu_note_registers(void);
