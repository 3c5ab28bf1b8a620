/*
 * walk.c - the walk through the self map, and the one function that changes an entry.
 */
#include "cpu/cpu.h"
#include "cpu/instructions.h"
#include "memory/frames.h"
#include "memory/journal.h"
#include "paging/paging.h"
#include "paging/space.h"

enum { INDEX_BITS = 9, PML4_BITS = 48 };

/* Where the addresses begin whose upper 16 bits are ones: with five levels, those that one PML4 translates. */
enum { PML4_SPACE = 0xffff000000000000ull };

enum pt_level pt_root_level(void) {
    return read_cr4() & CR4_LA57 ? PML5 : PML4;
}

/* Bits of an address that the CPU translates: 48 with four levels, 57 with five. */
static u64 translated_bits(void) {
    return PAGE_SHIFT + INDEX_BITS * pt_root_level();
}

u64 pt_canonical(u64 address) {
    u64 unused = 64 - translated_bits();
    return (u64)((i64)(address << unused) >> unused);
}

/* Where the kernel's PML4 translates: everything with four levels, what the PML5's last entry maps with five. */
static bool is_below_kernel_pml4(u64 address) {
    return pt_root_level() == PML4 || address >= PML4_SPACE;
}

/*
 * One step up a self map: the address of the entry of the lowest level that maps `address`. The slot goes in at the
 * top, the indices move one place down, the lowest becomes the offset in the page (8 bytes an entry):
 *
 *      address   | PML4 | PDPT |  PD  |  PT  | offset |
 *      entry     | slot | PML4 | PDPT |  PD  | PT * 8 |
 *
 * `bits` is how many bits of an address the table translates that the self map is a slot of.
 */
static u64 step_up(u64 address, u64 bits) {
    u64 below_slot = (1ull << (bits - INDEX_BITS)) - 1, ones = ~0ull << bits;
    return ones | (u64)SELF_MAP_SLOT << (bits - INDEX_BITS) | (address >> INDEX_BITS & below_slot & ~7ull);
}

/* An entry is itself mapped by the entry one step further up, and that is the entry of the next level. */
pte_t *pt_entry(u64 address, enum pt_level level) {
    u64 bits = level < PML5 && is_below_kernel_pml4(address) ? PML4_BITS : translated_bits();
    for (u64 i = 0; i < level; i++)
        address = step_up(address, bits);
    return (pte_t *)address;
}

u64 pt_mapped_by(const pte_t *entry) {
    u64 address = (u64)entry << INDEX_BITS;
    return pt_root_level() == PML5 && is_below_kernel_pml4((u64)entry) ? address | PML4_SPACE : pt_canonical(address);
}

bool pt_is_self_map(const pte_t *entry) {
    return pt_entry((u64)entry, PT) == entry;
}

/* Other eyes, the CPU's among them, see the whole entry at once. */
static pte_t pt_read(const pte_t *entry) {
    return (pte_t){*(const volatile u64 *)&entry->raw};
}

bool pt_is_leaf(enum pt_level level, pte_t entry) {
    if (level == PT)
        return true;
    bool can_be = level == PD || (level == PDPT && lab_cpu.features & CPU_GIB_PAGES);
    return can_be && entry.raw & PTE_PS;
}

/* Bits high..low of a word, in their places. */
static u64 bits_of(u64 raw, u64 high, u64 low) {
    return raw & (~0ull >> (63 - high)) & (~0ull << low);
}

/*
 * Intel SDM vol. 3A, "Reserved Bits" of 4-level paging. Bits 11:0 of a leaf mean something, 12 is its PAT bit. AMD's
 * manual (APM vol. 2, "Long-Mode Page Translation") reserves bit 8 of the two highest levels, too.
 */
u64 pt_reserved(enum pt_level level, pte_t entry) {
    u64 reserved = 0;
    if (lab_cpu.max_physical_bits < 52)
        reserved |= bits_of(entry.raw, 51, lab_cpu.max_physical_bits);
    if (!(lab_cpu.efer & EFER_NXE))
        reserved |= entry.raw & PTE_NX;
    if (level > PT && pt_is_leaf(level, entry))
        reserved |= bits_of(entry.raw, __builtin_ctzll(pt_page_size(level)) - 1, 13);
    if (level > PD && !pt_is_leaf(level, entry))
        reserved |= entry.raw & PTE_PS;
    if (level >= PML4 && cpu_is_amd())
        reserved |= entry.raw & PTE_G;
    return reserved;
}

/* Puts an empty table behind an entry that has none. Zeroed before it is linked: the CPU may look at any moment. */
static bool create_table(pte_t *entry, u64 address) {
    u64 pfn = frame_allocate(FRAME_TABLE, FRAME_ZERO);
    if (!pfn)
        return false;
    bool user = (i64)address >= 0; /* what user mode may see of that half is up to each page */
    pt_set(entry, address, pte_make(pfn, user ? PTE_TABLE | PTE_U : PTE_TABLE));
    frame_set_pte(pfn, entry);
    return true;
}

/* What an entry says about going on below it. */
static enum pt_end end_at(enum pt_level level, pte_t entry) {
    if (!pte_present(entry))
        return PT_ABSENT;
    if (pt_reserved(level, entry))
        return PT_RESERVED;
    if (pt_is_leaf(level, entry))
        return PT_PAGE;
    return frame_is_ram(pte_pfn(entry)) ? PT_LOWEST : PT_NO_RAM;
}

/* Reading an entry through the self map uses the entry above, and the CPU notes that in its A bit: read that again. */
static void read_entry(struct pt_walk *walk, enum pt_level level) {
    walk->level = level;
    walk->entry[level] = pt_entry(walk->address, level);
    walk->value[level] = pt_read(walk->entry[level]);
    walk->end = end_at(level, walk->value[level]);
    if (level < pt_root_level())
        walk->value[level + 1] = pt_read(walk->entry[level + 1]);
}

bool pt_walk(u64 address, enum pt_level lowest, enum pt_create create, struct pt_walk *ret) {
    *ret = (struct pt_walk){.address = address, .level = pt_root_level(), .end = PT_NOT_CANONICAL};
    if (address != pt_canonical(address))
        return false;
    for (enum pt_level level = ret->level;; level--) {
        read_entry(ret, level);
        if (ret->end == PT_ABSENT && level > lowest && create == PT_CREATE) {
            if (!create_table(ret->entry[level], address)) {
                ret->end = PT_NO_FRAME;
                return false;
            }
            read_entry(ret, level);
        }
        if (level == lowest || ret->end != PT_LOWEST)
            return true;
    }
}

/* ---------------------------------------------------------------------------------------------------- changing ---- */

/* A change of CR4.PGE drops global translations too; without PGE there are none. */
void pt_flush_all(void) {
    u64 cr4 = read_cr4();
    if (cr4 & CR4_PGE) {
        write_cr4(cr4 & ~(u64)CR4_PGE);
        write_cr4(cr4);
    } else {
        write_cr3(read_cr3());
    }
}

/*
 * An entry that was not present is in no TLB (Intel SDM vol. 3A, "Invalidation of TLBs and Paging-Structure Caches").
 * One that led to a table may be in many: as a part of each translation below it, and of the self map.
 */
pte_t pt_change(pte_t *entry, u64 address, pte_t value, enum pt_flush flush) {
    pte_t old = pt_read(entry);
    *(volatile u64 *)&entry->raw = value.raw;
    if (lab_journal.open)
        journal_note(entry, address, old, value);
    if (pte_present(old) != pte_present(value))
        frame_count_entry(pte_pfn(pt_read(pt_entry((u64)entry, PT))), pte_present(value) ? 1 : -1);
    if (flush == PT_LEAVE_STALE || !pte_present(old))
        return old;
    if (entry == pt_entry(address, PT))
        cpu_invlpg(address);
    else
        pt_flush_all();
    return old;
}

pte_t pt_set(pte_t *entry, u64 address, pte_t value) {
    return pt_change(entry, address, value, PT_FLUSH);
}

bool pt_map(u64 address, u64 pfn, u64 bits) {
    struct pt_walk walk;
    if (!pt_walk(address, PT, PT_CREATE, &walk) || walk.level != PT)
        return false;
    pt_set(walk.entry[PT], address, pte_make(pfn, bits));
    return true;
}

pte_t pt_unmap(u64 address) {
    struct pt_walk walk;
    if (!pt_walk(address, PT, PT_LOOK, &walk) || walk.level != PT)
        return pte_none();
    return pt_set(walk.entry[PT], address, pte_none());
}

/* ----------------------------------------------------------------------------------------------------- reading ---- */

u64 pt_leaf_base(enum pt_level level, pte_t entry) {
    return entry.raw & PTE_FRAME & ~(pt_page_size(level) - 1);
}

bool pt_translate(u64 address, u64 *ret) {
    struct pt_walk walk;
    pt_walk(address, PT, PT_LOOK, &walk);
    if (walk.end != PT_PAGE)
        return false;
    *ret = pt_leaf_base(walk.level, walk.value[walk.level]) | (address & (pt_page_size(walk.level) - 1));
    return true;
}
