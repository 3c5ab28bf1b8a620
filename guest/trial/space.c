#include "trial/space.h"

#include "memory/frames.h"
#include "memory/mapping.h"
#include "memory/system_pages.h"
#include "nt/rtl.h"
#include "paging/space.h"

/* Physically contiguous memory for trials, at one address in the kernel's space and in its own. */
struct block {
    u8 *base;
    u64 first; /* frame */
    u64 pages;
};

enum { TABLES = 40 };
enum { SHARED_PAGES = PAGES_OF(sizeof(struct trials)) };

/* Without NX and without G: the kernel must live here under any EFER, and leave nothing behind. */
enum { PTE_TRIAL = PTE_P | PTE_W | PTE_A | PTE_D };

static struct block tables, shared, places[TRIAL_PLACES];
static u64 tables_used;
static pte_t *free_tables[PML5 + 1];

extern const u8 kernel_text_start[], kernel_data_end[];

/* ------------------------------------------------------------------------------------------------------ memory ---- */

static bool block_open(struct block *block, u64 pages, u64 lowest, u64 highest) {
    struct frame_limits limits = {.lowest = lowest, .highest = highest, .align = 1};
    struct mapping_kind kind = {PFN_CACHED, mapping_rights_bits(MAPPING_READ | MAPPING_WRITE)};
    u64 first = frame_allocate_range(FRAME_SYSTEM, FRAME_ANY, pages, &limits);
    if (!first)
        return false;
    struct mapping_frames frames = {.first = first, .owned = true};
    u8 *base = (u8 *)mapping_make(SYSTEM_PTE_PAGES, pages, frames, kind);
    if (!base) {
        for (u64 i = 0; i < pages; i++)
            frame_free(first + i);
        return false;
    }
    *block = (struct block){base, first, pages};
    memset(base, 0, pages * PAGE_SIZE);
    return true;
}

static void block_close(struct block *block) {
    if (block->base)
        system_pages_unmap(block->base, block->pages);
    *block = (struct block){0};
}

/* ------------------------------------------------------------------------------------------------------ tables ---- */

static u64 new_table(void) {
    lab_assert(tables_used < TABLES, "trial: more than %u tables", TABLES);
    return tables.first + tables_used++;
}

static pte_t *table_at(u64 pfn) {
    return (pte_t *)(tables.base + ((pfn - tables.first) << PAGE_SHIFT));
}

static u64 index_of(u64 address, enum pt_level level) {
    return address >> (PAGE_SHIFT + 9 * (level - PT)) & 511;
}

/* The table that an address uses at a level, with those above it where they are missing: for U pages as for others. */
static pte_t *table_of(u64 address, enum pt_level level) {
    u64 table = tables.first;
    for (enum pt_level at = pt_root_level(); at > level; at--) {
        pte_t *entry = &table_at(table)[index_of(address, at)];
        if (!pte_present(*entry))
            *entry = pte_make(new_table(), PTE_TRIAL | PTE_U);
        table = pte_pfn(*entry);
    }
    return table_at(table);
}

static void map(u64 address, u64 pfn, u64 bits) {
    table_of(address, PT)[index_of(address, PT)] = pte_make(pfn, bits);
}

static void map_block(const struct block *block) {
    for (u64 i = 0; i < block->pages; i++)
        map((u64)block->base + i * PAGE_SIZE, block->first + i, PTE_TRIAL);
}

u64 trial_space_root(void) {
    return tables.first << PAGE_SHIFT;
}

/* The tables for the addresses on trial hang nowhere: it is the cases that put up the way to them. */
static void make_free_tables(struct trials *trials) {
    for (enum pt_level level = PT; level <= pt_root_level(); level++) {
        u64 pfn = level == pt_root_level() ? tables.first : new_table();
        free_tables[level] = table_at(pfn);
        trials->table[level - PT] = pfn << PAGE_SHIFT;
    }
}

pte_t *trial_space_entry(u64 address, enum pt_level level) {
    return &free_tables[level][index_of(address, level)];
}

/* ------------------------------------------------------------------------------------------------------ places ---- */

/* A user's data segment, marked as accessed or not; `base` in bits 63:56 and 39:16. */
enum { USER_DATA_SEGMENT = 0x00c0f2000000ffffull };

/* What the 8 bytes at a physical address tell to an access of this kind. */
static u64 word_for(enum trial_access access, u64 physical) {
    u64 number = physical >> TRIAL_WORD_SHIFT;
    u64 descriptor = USER_DATA_SEGMENT | (number & 0xffffff) << 16 | (number >> 24 & 0xff) << 56;
    switch (access) {
    case TRIAL_FETCH: /* mov $number, %eax; jmp *%rbx; int3 */
        return 0xcce3ff00000000b8ull | (number & 0xffffffff) << 8;
    case TRIAL_LOAD_SEGMENT:
        return descriptor | TRIAL_MARKED;
    case TRIAL_MARK_SEGMENT:
        return descriptor;
    default:
        return physical;
    }
}

u64 *trial_place_words(u64 place, enum trial_access access) {
    return (u64 *)(places[place].base + access * PAGE_SIZE);
}

static bool place_open(struct trials *trials, u64 place) {
    enum { GIB_FRAMES = (1ull << 30) >> PAGE_SHIFT };
    u64 first = place * GIB_FRAMES + (TRIAL_ADDRESS >> PAGE_SHIFT & (GIB_FRAMES - 1));
    u64 last = first + TRIAL_ACCESSES - 1;
    if (!frame_is_ram(first) || !frame_is_ram(last) || !block_open(&places[place], TRIAL_ACCESSES, first, last))
        return false;
    trials->place[place] = first << PAGE_SHIFT;
    for (enum trial_access access = 0; access < TRIAL_ACCESSES; access++) {
        u64 *words = trial_place_words(place, access);
        for (u64 i = 0; i < PAGE_SIZE / sizeof(u64); i++)
            words[i] = word_for(access, ((first + access) << PAGE_SHIFT) + i * sizeof(u64));
    }
    map_block(&places[place]);
    return true;
}

/* ---------------------------------------------------------------------------------------------------- together ---- */

struct trials *trial_shared(void) {
    return (struct trials *)shared.base;
}

static bool build(void) {
    u64 last = FRAME_LIMIT - 1, opened = 0;
    if (!block_open(&tables, TABLES, 1, last) || !block_open(&shared, SHARED_PAGES, 1, last))
        return false;
    new_table(); /* the root */
    for (u64 address = (u64)kernel_text_start; address < (u64)kernel_data_end; address += PAGE_SIZE)
        map(address, (address - KERNEL_BASE) >> PAGE_SHIFT, PTE_TRIAL);
    map(TRIAL_USER_STUBS, ((u64)trial_stubs - KERNEL_BASE) >> PAGE_SHIFT, PTE_TRIAL | PTE_U);
    map_block(&tables);
    map_block(&shared);
    for (u64 place = 0; place < TRIAL_PLACES; place++)
        opened += place_open(trial_shared(), place);
    make_free_tables(trial_shared());
    return opened > 0;
}

bool trial_space_open(void) {
    if (shared.base || build())
        return true;
    trial_space_close();
    return false;
}

void trial_space_close(void) {
    for (u64 place = 0; place < TRIAL_PLACES; place++)
        block_close(&places[place]);
    block_close(&shared);
    block_close(&tables);
    tables_used = 0;
}
