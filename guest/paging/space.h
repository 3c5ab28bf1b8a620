/*
 * space.h - the kernel's half of the address space, as 64-bit Windows 6.1 divides it, and how it comes to be.
 *
 *      ffed0000'00000000   with five levels: the self map of the PML5, every page table of the running space
 *      fffff680'00000000   self map: every page table of the running space; with five levels, of the kernel's half
 *      fffff700'00000000   hyperspace: one page through which a frame without an address is reached
 *      fffff780'00000000   KUSER_SHARED_DATA
 *      fffff800'00000000   the kernel's image, at its physical address
 *      fffff880'00000000   system PTEs, the kernel stack first (memory/system_ptes.h)
 *      fffffa80'00000000   PFN database, then nonpaged pool
 */
#pragma once

#include "lab.h"
#include "paging/paging.h"

enum { SELF_MAP_SLOT = 0x1ed, KERNEL_PML5_SLOT = 0x1ff };
enum { PROBE_SLOT = 0x1f7 }; /* of the root, whichever level that is; empty unless a probe runs (command/probe.c) */
enum { HYPERSPACE = 0xfffff70000000000ull };
enum { SHARED_DATA = 0xfffff78000000000ull };
enum { KERNEL_BASE = 0xfffff80000000000ull };

/* The page below the stack stays unmapped. An overflow faults there, and as that fault finds no stack, it doubles. */
enum { KERNEL_STACK_PAGES = 6 };

/* Entries of a table and of the three kinds of kernel page. A and D are set beforehand, as Windows does: then the CPU
   has nothing to note, and every later change of an entry was made by somebody. */
enum kernel_pte {
    PTE_TABLE = PTE_P | PTE_W | PTE_A | PTE_D,
    PTE_KERNEL_TEXT = PTE_P | PTE_A | PTE_G,
    PTE_KERNEL_RODATA = PTE_P | PTE_A | PTE_G | PTE_NX,
    PTE_KERNEL_DATA = PTE_P | PTE_W | PTE_A | PTE_D | PTE_G | PTE_SW_WRITE | PTE_NX,
    PTE_WINDOW = PTE_P | PTE_W | PTE_A | PTE_D | PTE_NX,
};

/*
 * Builds the first tables of the kernel's own: self map, image with W^X, hyperspace's table, kernel stack; leaves the
 * boot tables and the boot stack for them, and goes on with `next`. The identity map is gone then.
 */
_Noreturn void space_leave_boot(void (*next)(void));

/* One frame at HYPERSPACE, until the next call. */
void *space_window_open(u64 pfn);
void space_window_close(void);
bool space_window_is_open(void);
