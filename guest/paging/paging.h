/*
 * paging.h - page-table entries, the one walk, and the only function that changes an entry.
 *
 * The kernel has no direct map. It reaches its own tables through the self map: PML4 slot 0x1ED points at the PML4
 * itself, so entry i of any table is found by shifting the virtual address right and reading that far up
 * (Windows Internals, "x64 virtual address translation"; Intel SDM vol. 3A, "4-Level Paging and 5-Level Paging").
 *
 * With five levels there are two of them. The kernel stays where it is, behind the last entry of the PML5, and so do
 * its entries: its PML4 points at itself as ever. All others, and those of the PML5, are found through slot 0x1ED of
 * the PML5, which points at the PML5.
 */
#pragma once

#include "lab.h"

/*
 *  63   62..59   58..52   51..12   11..9     8   7       6   5   4    3    2   1   0
 *  NX   key      ignored  frame    software  G   PS/PAT  D   A   PCD  PWT  U   W   P
 *                                  bit 11: Windows' software "Write", bit 9: copy on write
 */
enum pte_bit {
    PTE_P = 1ull << 0,
    PTE_W = 1ull << 1,
    PTE_U = 1ull << 2,
    PTE_PWT = 1ull << 3,
    PTE_PCD = 1ull << 4,
    PTE_A = 1ull << 5,
    PTE_D = 1ull << 6,
    PTE_PS = 1ull << 7,  /* PD, PDPT: this entry is a leaf */
    PTE_PAT = 1ull << 7, /* PT: high bit of the PAT index */
    PTE_G = 1ull << 8,
    PTE_SW_WRITE = 1ull << 11,
    PTE_PAT_LARGE = 1ull << 12, /* PD, PDPT leaves: high bit of the PAT index */
    PTE_FRAME = 0x000ffffffffff000ull,
    PTE_NX = 1ull << 63,
};

typedef struct {
    u64 raw;
} pte_t;
_Static_assert(sizeof(pte_t) == 8, "an entry is eight bytes in every mode we use");

static inline pte_t pte_none(void) {
    return (pte_t){0};
}
static inline pte_t pte_make(u64 pfn, u64 bits) {
    return (pte_t){(pfn << PAGE_SHIFT & PTE_FRAME) | bits};
}
static inline bool pte_present(pte_t entry) {
    return entry.raw & PTE_P;
}
static inline u64 pte_pfn(pte_t entry) {
    return (entry.raw & PTE_FRAME) >> PAGE_SHIFT;
}

/* The levels, named as the manual and the controller name them. */
enum pt_level { PT = 1, PD, PDPT, PML4, PML5 };

/* What to do where a table is missing on the way down. */
enum pt_create { PT_LOOK, PT_CREATE };

/* Why a walk ended. */
enum pt_end {
    PT_PAGE,          /* at a leaf: the address is mapped */
    PT_LOWEST,        /* at the lowest level asked for, whose entry leads to a table */
    PT_ABSENT,        /* bit 0 (P) of the last entry is 0 */
    PT_RESERVED,      /* the last entry has a bit set that must be 0: the CPU faults */
    PT_NO_RAM,        /* the last entry leads to a table where there is no RAM */
    PT_NOT_CANONICAL, /* there is no entry for such an address */
    PT_NO_FRAME,      /* no memory for a table that was to be created */
};

/*
 * One walk: the entries from the root down to where it ended, each with its address in the self map and the value
 * read. `level` is the level of the last entry read.
 */
struct pt_walk {
    u64 address;
    enum pt_end end;
    enum pt_level level;
    pte_t *entry[PML5 + 1];
    pte_t value[PML5 + 1];
};

/*
 * THE walk: everything that reads or builds tables calls it. Goes down to `lowest` at the deepest, stops early at a
 * leaf or at an entry that the CPU would not follow (a not-present one gets a table first with PT_CREATE). It reads no
 * table that the CPU could not, so it never faults, whatever the tables contain. False when the address is not
 * canonical, or when PT_CREATE found no frame for a table; the tables are then as far built as `ret` shows.
 */
bool pt_walk(u64 address, enum pt_level lowest, enum pt_create create, struct pt_walk *ret);

/* The self-map address of the entry that maps `address` at `level`; says nothing about whether it is mapped. */
pte_t *pt_entry(u64 address, enum pt_level level);

/* The first address that an entry maps if it is one of a page table: the inverse of pt_entry at level PT. */
u64 pt_mapped_by(const pte_t *entry);

/* Whether an entry points at the very table that it stands in. */
bool pt_is_self_map(const pte_t *entry);

/* What becomes of translations that the CPU may have kept of an entry that changes. */
enum pt_flush {
    PT_FLUSH,
    PT_LEAVE_STALE, /* for a lecture on just that; the old page must stay in use until somebody flushes */
};

/* The only way a live entry changes. Returns the old value; nothing is flushed when that was not present. */
pte_t pt_change(pte_t *entry, u64 address, pte_t value, enum pt_flush flush);

/* The same, and every translation by the old value is gone. */
pte_t pt_set(pte_t *entry, u64 address, pte_t value);

/* Map one 4 KiB page; `bits` is any of enum pte_bit, PTE_P included by the caller. False: no frame for a table. */
bool pt_map(u64 address, u64 pfn, u64 bits);

/* Unmap one 4 KiB page and return what was there. Tables stay. */
pte_t pt_unmap(u64 address);

/* Physical address behind `address` in the current space; false when nothing is mapped there. */
bool pt_translate(u64 address, u64 *ret);

/* How many levels the CPU walks: PML4 or PML5 is the root. */
enum pt_level pt_root_level(void);

/* Repeats the highest bit that the CPU translates in all bits above it; what this leaves as it is, is canonical. */
u64 pt_canonical(u64 address);

/* The bits of a present entry of this level for which the CPU would refuse it as reserved. */
u64 pt_reserved(enum pt_level level, pte_t entry);

/* Whether a present entry of this level maps a page rather than a table. */
bool pt_is_leaf(enum pt_level level, pte_t entry);

/* Bytes that one entry of a level maps. */
static inline u64 pt_page_size(enum pt_level level) {
    return PAGE_SIZE << 9 * (level - PT);
}

/* Physical address of the page behind a leaf. */
u64 pt_leaf_base(enum pt_level level, pte_t entry);

/* Make the CPU forget every translation, global ones included. */
void pt_flush_all(void);

/* Print the walk of `address` to the log, in the grammar that the controller prints too. */
void pt_print_walk(u64 address);
