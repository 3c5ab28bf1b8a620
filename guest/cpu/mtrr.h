/*
 * mtrr.h - memory-type range registers: how the caches treat physical addresses, whatever the page tables say.
 */
#pragma once

#include "lab.h"

enum { MTRR_FIXED = 11, MTRR_RANGES = 16 };

/* As RDMSR gives them; all 0 on a CPU that has none (Intel SDM vol. 3A, "Memory Type Range Registers (MTRRs)"). */
struct mtrrs {
    u64 capabilities; /* IA32_MTRRCAP: bits 7:0 say how many ranges there are, bit 8 whether there are fixed ones */
    u64 default_type; /* IA32_MTRR_DEF_TYPE */
    u64 fixed[MTRR_FIXED];
    u64 ranges[2 * MTRR_RANGES]; /* base and mask by turns, as their numbers go */
};

/* Notes them, after setting them as a PC's firmware does where no firmware has; for a CPU that has some. */
void mtrr_init(struct mtrrs *ret);
