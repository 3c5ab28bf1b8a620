/*
 * print.c - a walk as text: a line for each level, and last what the address resolves to, or which level and bit forbid
 * it. The controller prints the same, character by character.
 *
 *      walk 0xfffff88000004010 by cr3 pa:0x00001aa000
 *        PML4 [1f1] @ pa:0x00001aaf88 = 0x00000000001ab063  P W A
 *        PDPT [000] @ pa:0x00001ab000 = 0x00000000001ac063  P W A
 *        PD   [000] @ pa:0x00001ac000 = 0x00000000001ad063  P W A
 *        PT   [004] @ pa:0x00001ad020 = 0x800000000012a163  P W A D G NX
 *        => pa:0x000012a010  4 KiB  WB  supervisor rw-  user ---
 *        denied: execute by PT bit 63 (NX)
 *        denied: user by PML4 bit 2 (U)
 */
#include "cpu/cpu.h"
#include "cpu/instructions.h"
#include "paging/paging.h"

static const char *const level_names[] = {[PT] = "PT", [PD] = "PD", [PDPT] = "PDPT", [PML4] = "PML4", [PML5] = "PML5"};
static const char *const size_names[] = {[PT] = "4 KiB", [PD] = "2 MiB", [PDPT] = "1 GiB"};

/* ------------------------------------------------------------------------------------------------- the entries ---- */

static bool keys_are_on(void) {
    return lab_cpu.cr4 & (CR4_PKE | CR4_PKS);
}

static void print_name(bool is_set, const char *name) {
    if (is_set)
        log_print(" %s", name);
}

/* The names of the set bits that mean something in this place. */
static void print_flags(enum pt_level level, pte_t entry) {
    if (!pte_present(entry))
        return;
    bool leaf = pt_is_leaf(level, entry);
    u64 key = entry.raw >> 59 & 15;
    log_print("  P");
    print_name(entry.raw & PTE_W, "W");
    print_name(entry.raw & PTE_U, "U");
    print_name(entry.raw & PTE_PWT, "PWT");
    print_name(entry.raw & PTE_PCD, "PCD");
    print_name(entry.raw & PTE_A, "A");
    print_name(leaf && entry.raw & PTE_D, "D");
    print_name(level > PT && entry.raw & PTE_PS, "PS");
    print_name(leaf && entry.raw & (level == PT ? PTE_PAT : PTE_PAT_LARGE), "PAT");
    print_name(leaf && entry.raw & PTE_G, "G");
    if (leaf && key && keys_are_on())
        log_print(" K%u", (u32)key);
    print_name(entry.raw & PTE_NX, "NX");
}

static void print_step(enum pt_level level, u64 table, u64 address, pte_t entry) {
    u64 index = address >> (PAGE_SHIFT + 9 * (level - PT)) & 511;
    log_print("  %-4s [%03llx] @ pa:0x%010llx = 0x%016llx", level_names[level], index, table + index * sizeof(pte_t),
              entry.raw);
    print_flags(level, entry);
    log_print("\n");
}

/* ------------------------------------------------------------------------------------------------------ faults ---- */

static void print_reserved(enum pt_level level, pte_t entry) {
    u32 bit = (u32)__builtin_ctzll(pt_reserved(level, entry));
    log_print("  => fault: %s bit %u is reserved ", level_names[level], bit);
    if (bit == 63)
        log_print("(XD needs EFER.NXE)\n");
    else if (bit >= lab_cpu.max_physical_bits)
        log_print("(51:%u must be 0)\n", (u32)lab_cpu.max_physical_bits);
    else if (bit == 7)
        log_print("(PS must be 0 here)\n");
    else if (bit == 8)
        log_print("(must be 0 here on AMD)\n");
    else
        log_print("(%u:13 must be 0 in a %s leaf)\n", __builtin_ctzll(pt_page_size(level)) - 1, size_names[level]);
}

static void print_fault(const struct pt_walk *walk) {
    pte_t entry = walk->value[walk->level];
    if (walk->end == PT_NOT_CANONICAL)
        log_print("  => fault: not canonical: bits 63:%u differ\n", walk->level == PML5 ? 56 : 47);
    else if (walk->end == PT_ABSENT)
        log_print("  => fault: %s bit 0 (P) is 0: not present\n", level_names[walk->level]);
    else if (walk->end == PT_NO_RAM)
        log_print("  => fault: %s table at pa:0x%010llx is outside of RAM\n", level_names[walk->level - 1],
                  entry.raw & PTE_FRAME);
    else
        print_reserved(walk->level, entry);
}

/* ------------------------------------------------------------------------------------------------ mapped pages ---- */

/* The rights of all levels together: every level must allow writes and user mode, no level may forbid execution. */
struct grant {
    bool write, user, no_execute;
};

static struct grant grant_of(const struct pt_walk *walk) {
    u64 every = ~0ull, some = 0;
    for (enum pt_level level = pt_root_level(); level >= walk->level; level--) {
        every &= walk->value[level].raw;
        some |= walk->value[level].raw;
    }
    return (struct grant){every & PTE_W, every & PTE_U, some & PTE_NX && lab_cpu.efer & EFER_NXE};
}

/* The memory type that the leaf's three bits select from the PAT; the CPU's MTRRs may still change it. */
static const char *memory_type(enum pt_level level, pte_t leaf) {
    static const char *const names[8] = {"UC", "WC", "?", "?", "WT", "WP", "WB", "UC-"};
    u64 pat_bit = leaf.raw & (level == PT ? PTE_PAT : PTE_PAT_LARGE) ? 4 : 0;
    u64 index = pat_bit | (leaf.raw / PTE_PWT & 3);
    return names[lab_cpu.pat >> (8 * index) & 7];
}

static void print_rights(const char *who, bool read, bool write, bool execute) {
    log_print("  %s %c%c%c", who, read ? 'r' : '-', write ? 'w' : '-', execute ? 'x' : '-');
}

static void print_page(const struct pt_walk *walk, struct grant grant) {
    pte_t leaf = walk->value[walk->level];
    u64 physical = pt_leaf_base(walk->level, leaf) | (walk->address & (pt_page_size(walk->level) - 1));
    bool read = !(grant.user && lab_cpu.cr4 & CR4_SMAP);
    bool write = read && (grant.write || !(lab_cpu.cr0 & CR0_WP));
    bool execute = !grant.no_execute && !(grant.user && lab_cpu.cr4 & CR4_SMEP);
    log_print("  => pa:0x%010llx  %s  %s", physical, size_names[walk->level], memory_type(walk->level, leaf));
    print_rights("supervisor", read, write, execute);
    print_rights("user", grant.user, grant.user && grant.write, grant.user && !grant.no_execute);
    log_print("\n");
}

/* The topmost level whose bit says no. */
static void print_denial(const struct pt_walk *walk, const char *access, u64 bit, bool forbids_when_set,
                         const char *name) {
    enum pt_level level = pt_root_level();
    while (level > walk->level && !(walk->value[level].raw & bit) == forbids_when_set)
        level--;
    log_print("  denied: %s by %s bit %u (%s)\n", access, level_names[level], (u32)__builtin_ctzll(bit), name);
}

static void print_denials(const struct pt_walk *walk, struct grant grant) {
    if (grant.user && lab_cpu.cr4 & CR4_SMAP)
        log_print("  denied: read by SMAP (CR4 bit 21): user page\n");
    if (!grant.write && lab_cpu.cr0 & CR0_WP)
        print_denial(walk, "write", PTE_W, false, "W");
    if (grant.no_execute)
        print_denial(walk, "execute", PTE_NX, true, "NX");
    else if (grant.user && lab_cpu.cr4 & CR4_SMEP)
        log_print("  denied: execute by SMEP (CR4 bit 20): user page\n");
    if (!grant.user)
        print_denial(walk, "user", PTE_U, false, "U");
}

/* ---------------------------------------------------------------------------------------------------- together ---- */

void pt_print_walk(u64 address) {
    struct pt_walk walk;
    u64 root = read_cr3() & PTE_FRAME;
    pt_walk(address, PT, PT_LOOK, &walk);
    log_print("walk 0x%016llx by cr3 pa:0x%010llx\n", address, root);
    if (walk.end != PT_NOT_CANONICAL) {
        u64 table = root;
        for (enum pt_level level = pt_root_level(); level >= walk.level; level--) {
            print_step(level, table, address, walk.value[level]);
            table = walk.value[level].raw & PTE_FRAME;
        }
    }
    if (walk.end == PT_PAGE) {
        print_page(&walk, grant_of(&walk));
        print_denials(&walk, grant_of(&walk));
    } else {
        print_fault(&walk);
    }
}
