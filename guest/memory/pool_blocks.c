#include "memory/pool_blocks.h"

#include "nt/rtl.h"

LIST_ENTRY pool_free_blocks[POOL_KINDS][POOL_PAGE_UNITS];

void pool_blocks_init(void) {
    for (u32 kind = 0; kind < POOL_KINDS; kind++)
        for (u32 units = 0; units < POOL_PAGE_UNITS; units++) {
            LIST_ENTRY *head = &pool_free_blocks[kind][units];
            *head = (LIST_ENTRY){head, head};
        }
}

/* ---------------------------------------------------------------------------------------------- the free lists ---- */

static LIST_ENTRY *list_entry_of(POOL_HEADER *block) {
    return (LIST_ENTRY *)(block + 1);
}

/* A link that somebody may have overwritten is followed only to where list entries can be. */
static bool is_link(const LIST_ENTRY *link) {
    struct pool_page *page = pool_page_of((u64)link);
    if ((u64)link % sizeof(u64))
        return false;
    return (page && page->state == POOL_PAGE_BLOCKS) ||
           ((u64)link >= (u64)pool_free_blocks && (u64)link < (u64)pool_free_blocks + sizeof(pool_free_blocks));
}

static void list_insert(enum pool_kind kind, POOL_HEADER *block) {
    LIST_ENTRY *head = &pool_free_blocks[kind][block->BlockSize], *entry = list_entry_of(block);
    *entry = (LIST_ENTRY){.Flink = head->Flink, .Blink = head};
    head->Flink->Blink = entry;
    head->Flink = entry;
}

static void list_remove(POOL_HEADER *block) {
    LIST_ENTRY *entry = list_entry_of(block);
    LIST_ENTRY *after_blink = is_link(entry->Blink) ? entry->Blink->Flink : NULL;
    LIST_ENTRY *before_flink = is_link(entry->Flink) ? entry->Flink->Blink : NULL;
    if (after_blink != entry || before_flink != entry)
        KeBugCheckEx(BAD_POOL_HEADER, 3, (ULONG_PTR)entry, (ULONG_PTR)before_flink, (ULONG_PTR)after_blink);
    entry->Blink->Flink = entry->Flink;
    entry->Flink->Blink = entry->Blink;
}

/* --------------------------------------------------------------------------------------------------- the chain ---- */

static POOL_HEADER *page_start(const void *address) {
    return (POOL_HEADER *)((u64)address & ~(PAGE_SIZE - 1));
}

static u32 units_to_page_end(const POOL_HEADER *block) {
    return POOL_PAGE_UNITS - (u32)(block - page_start(block));
}

/* NULL behind the last block of the page. */
static POOL_HEADER *next_block(POOL_HEADER *block) {
    return block->BlockSize == units_to_page_end(block) ? NULL : block + block->BlockSize;
}

static POOL_HEADER *previous_block(POOL_HEADER *block) {
    return block->PreviousSize ? block - block->PreviousSize : NULL;
}

static bool is_free(const POOL_HEADER *block) {
    return !block->PoolType;
}

/* Stops unless a block's header agrees with itself and both neighbours. */
static void check_block(POOL_HEADER *block) {
    u32 before = (u32)(block - page_start(block));
    if (!block->BlockSize)
        KeBugCheckEx(BAD_POOL_HEADER, 8, 0, 0, (ULONG_PTR)block);
    if (block->BlockSize > units_to_page_end(block))
        KeBugCheckEx(BAD_POOL_HEADER, 9, (ULONG_PTR)(block + block->BlockSize), 0, (ULONG_PTR)block);
    if (block->PreviousSize > before)
        KeBugCheckEx(BAD_POOL_HEADER, 6, (ULONG_PTR)(block - block->PreviousSize), 0, (ULONG_PTR)block);

    POOL_HEADER *next = next_block(block), *previous = previous_block(block);
    if (next && next->PreviousSize != block->BlockSize)
        KeBugCheckEx(BAD_POOL_HEADER, 0x20, (ULONG_PTR)block, (ULONG_PTR)next, 0);
    if (previous ? previous->BlockSize != block->PreviousSize : before)
        KeBugCheckEx(BAD_POOL_HEADER, 5, (ULONG_PTR)(previous ? previous : page_start(block)), 0, (ULONG_PTR)block);
}

/*
 * Writes the header of a free block and lists it. What was in it before stays: whoever frees a block a second time can
 * then be told its tag, although its header may by now be inside a larger free block.
 */
static void lay_free(POOL_HEADER *block, enum pool_kind kind, u32 previous, u32 units) {
    block->PreviousSize = (UCHAR)previous;
    block->PoolIndex = kind;
    block->BlockSize = (UCHAR)units;
    block->PoolType = 0;
    if (units > 1)
        list_insert(kind, block);
}

/* Tells the block behind, if any, how long this one is now. */
static void link_next(POOL_HEADER *block) {
    POOL_HEADER *next = next_block(block);
    if (next)
        next->PreviousSize = block->BlockSize;
}

/* -------------------------------------------------------------------------------------------------- allocating ---- */

/* Free units in one piece, on no list any more. A fresh page is 256 of them, which no BlockSize could say. */
struct run {
    POOL_HEADER *first;
    u32 previous, units;
};

/* The smallest free block of at least so many units. */
static bool take_free_block(enum pool_kind kind, u32 units, struct run *ret) {
    for (; units < POOL_PAGE_UNITS; units++) {
        LIST_ENTRY *head = &pool_free_blocks[kind][units];
        if (head->Flink == head)
            continue;
        POOL_HEADER *block = (POOL_HEADER *)head->Flink - 1;
        list_remove(block);
        check_block(block);
        *ret = (struct run){block, block->PreviousSize, block->BlockSize};
        return true;
    }
    return false;
}

static bool take_fresh_page(enum pool_kind kind, struct run *ret) {
    void *page = pool_pages_allocate(kind, POOL_PAGE_BLOCKS, 1);
    if (!page)
        return false;
    memset(page, POOL_FILL_FREE, PAGE_SIZE);
    *(POOL_HEADER *)page = (POOL_HEADER){0};
    *ret = (struct run){page, 0, POOL_PAGE_UNITS};
    return true;
}

/* Cuts a block of `units` out of a run, `skip` units from its start; what is before and behind becomes free blocks. */
static POOL_HEADER *carve(enum pool_kind kind, struct run run, u32 skip, u32 units) {
    POOL_HEADER *block = run.first + skip;
    u32 rest = run.units - skip - units;
    if (skip)
        lay_free(run.first, kind, run.previous, skip);
    *block = (POOL_HEADER){
        .PreviousSize = (UCHAR)(skip ? skip : run.previous),
        .PoolIndex = kind,
        .BlockSize = (UCHAR)units,
    };
    if (rest) {
        block[units] = (POOL_HEADER){0};
        lay_free(block + units, kind, units, rest);
        link_next(block + units);
    } else {
        link_next(block);
    }
    return block;
}

/* How many units to skip so that the data, one unit behind the header, are aligned. */
static u32 units_to_skip(const POOL_HEADER *first, u64 align) {
    u64 data = (u64)(first + 1);
    return (u32)((-data & (align - 1)) / POOL_UNIT);
}

POOL_HEADER *pool_block_allocate(enum pool_kind kind, u64 bytes, u64 align) {
    u32 units = 1 + (u32)((bytes + POOL_UNIT - 1) / POOL_UNIT);
    u32 slack = (u32)(align / POOL_UNIT) - 1;
    struct run run;
    if (!take_free_block(kind, units + slack, &run) && !take_fresh_page(kind, &run))
        return NULL;
    return carve(kind, run, units_to_skip(run.first, align), units);
}

/* ----------------------------------------------------------------------------------------------------- freeing ---- */

/* Takes a free neighbour off its list, so that it can become part of the block being freed. */
static u32 absorb(POOL_HEADER *neighbour) {
    if (!neighbour || !is_free(neighbour))
        return 0;
    check_block(neighbour);
    if (neighbour->BlockSize > 1) {
        list_remove(neighbour);
        memset(list_entry_of(neighbour), POOL_FILL_FREE, sizeof(LIST_ENTRY));
    }
    return neighbour->BlockSize;
}

void pool_block_free(POOL_HEADER *block) {
    enum pool_kind kind = pool_page_of((u64)block)->kind;
    memset(block + 1, POOL_FILL_FREE, (block->BlockSize - 1u) * POOL_UNIT);
    block->PoolType = 0;
    u32 behind = absorb(next_block(block)), before = absorb(previous_block(block));
    u32 units = before + block->BlockSize + behind;
    if (units == POOL_PAGE_UNITS) {
        pool_pages_free(page_start(block), 1, block->PoolTag);
        return;
    }
    POOL_HEADER *merged = block - before;
    lay_free(merged, kind, merged->PreviousSize, units);
    link_next(merged);
}

enum pool_find pool_block_find(u64 address) {
    POOL_HEADER *wanted = (POOL_HEADER *)address - 1;
    POOL_HEADER *block = page_start((void *)address);
    for (;;) {
        check_block(block);
        if (wanted < block + block->BlockSize)
            break;
        block += block->BlockSize;
    }
    if (is_free(block))
        return POOL_FIND_FREE;
    return block == wanted ? POOL_FIND_ALLOCATED : POOL_FIND_INSIDE;
}
