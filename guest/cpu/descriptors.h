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
};

/* Loads GDT, TSS and IDT: from here on every fault is reported. */
void descriptors_init(void);

/* Stacks of their own for NMI and double fault, which may come when the current stack cannot be used. */
void descriptors_set_stacks(u64 nmi_stack_top, u64 double_fault_stack_top);
