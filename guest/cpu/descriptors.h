/*
 * descriptors.h - segments, the task state and the interrupt table. Selectors are those of Windows x64.
 */
#pragma once

#include "lab.h"

enum selector {
    SELECTOR_KERNEL_CODE = 0x10,
    SELECTOR_KERNEL_DATA = 0x18,
    SELECTOR_USER_DATA = 0x28 | 3,
    SELECTOR_USER_CODE = 0x30 | 3,
    SELECTOR_TSS = 0x40,
    SELECTOR_LDT = 0x50,
};

/*  127..96   95..64         63..48         47 P  46:45 DPL  43:40 type  34:32 IST  31..16    15..0
 *  0         offset 63..32  offset 31..16                                           selector  offset 15..0 */
struct gate {
    u16 offset_low;
    u16 selector;
    u8 ist;
    u8 type;
    u16 offset_middle;
    u32 offset_high;
    u32 zero;
};
_Static_assert(sizeof(struct gate) == 16, "size of a 64-bit gate");
enum gate_type { GATE_INTERRUPT = 0x8e, GATE_DPL3 = 3 << 5 };

/* A gate to the kernel's code. */
struct gate gate_make(u64 handler, u8 type);

/* Loads GDT, TSS and IDT: from here on every fault is reported. */
void descriptors_init(void);

/* Stacks of their own for NMI and double fault, which may come when the current stack cannot be used. */
void descriptors_set_stacks(u64 nmi_stack_top, u64 double_fault_stack_top);

/* Back to the kernel's own interrupt table, after another one. */
void descriptors_load_interrupts(void);

/* The stack for entry from user mode; returns the one before. */
u64 descriptors_set_entry_stack(u64 stack_top);

/* Makes the page at any address the local descriptor table. It is read when a selector into it is loaded, not before.
 */
void descriptors_load_local(u64 base);

/* Makes every trap, NMI and double fault too, enter on this stack; 0: as before. Never two at once. */
void descriptors_set_trap_stack(u64 stack_top);
