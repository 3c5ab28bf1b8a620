#include "memory/pool.h"

#include "memory/ledger.h"
#include "memory/lookaside.h"
#include "memory/pool_blocks.h"
#include "memory/pool_quota.h"
#include "memory/pool_tags.h"
#include "memory/special_pool.h"
#include "memory/verifier.h"
#include "nt/driver.h"
#include "nt/fault.h"
#include "nt/rtl.h"

/* A tag with this bit asks that whoever frees the block names the tag; otherwise it is no part of the tag. */
#define PROTECTED_POOL 0x80000000u

void pool_init(void) {
    pool_pages_init();
    pool_blocks_init();
}

enum pool_kind pool_kind_of(POOL_TYPE type) {
    return type & POOL_TYPE_PAGED ? POOL_PAGED : type & POOL_TYPE_NX ? POOL_NONPAGED_NX : POOL_NONPAGED;
}

POOL_TYPE pool_type_of(enum pool_kind kind) {
    return kind == POOL_PAGED ? PagedPool : kind == POOL_NONPAGED_NX ? NonPagedPoolNx : NonPagedPool;
}

/* -------------------------------------------------------------------------------------------------- allocating ---- */

/* Gives the caller `bytes` of a piece of `size` bytes. */
static void *hand_out(void *data, u64 bytes, u64 size) {
    memset(data, POOL_FILL_FRESH, bytes);
    memset((u8 *)data + bytes, POOL_FILL_PADDING, size - bytes);
    return data;
}

static void *allocate_block(POOL_TYPE type, u64 bytes, u32 tag, u64 align) {
    enum pool_kind kind = pool_kind_of(type);
    u64 room = type & POOL_TYPE_QUOTA ? bytes + POOL_QUOTA_BYTES : bytes;
    POOL_HEADER *block = pool_block_allocate(kind, room, align);
    if (!block)
        return NULL;
    block->PoolType = (UCHAR)((type & (POOL_TYPE_BASE | POOL_TYPE_QUOTA)) + 1);
    block->PoolTag = tag;
    u64 size = block->BlockSize * (u64)POOL_UNIT;
    pool_tags_count_allocation(kind, tag, size);
    hand_out(block + 1, bytes, size - sizeof(POOL_HEADER));
    if (type & POOL_TYPE_QUOTA)
        pool_quota_charge(block);
    return block + 1;
}

static void *allocate_big(POOL_TYPE type, u64 bytes, u32 tag) {
    enum pool_kind kind = pool_kind_of(type);
    if (bytes > NONPAGED_POOL_PAGES * PAGE_SIZE)
        return NULL;
    u64 size = PAGES_OF(bytes) * PAGE_SIZE;
    void *data = pool_pages_allocate(kind, POOL_PAGE_BIG, PAGES_OF(bytes));
    if (!data)
        return NULL;
    struct pool_page *page = pool_page_of((u64)data);
    page->bytes = (u32)bytes;
    page->tag = tag;
    pool_tags_count_allocation(kind, tag, size);
    return hand_out(data, bytes, size);
}

/* Whole pages are not charged to the process, as in Windows: there is no room for the pointer. */
void *pool_allocate(POOL_TYPE type, u64 bytes, u32 tag) {
    u64 align = pool_alignment(type);
    u64 quota = type & POOL_TYPE_QUOTA ? POOL_QUOTA_BYTES : 0;
    if (!bytes)
        bytes = 1; /* a block of its own, as in Windows */
    if (bytes > POOL_LARGEST - quota - (align - POOL_UNIT))
        return allocate_big(type, bytes, tag);
    return allocate_block(type, bytes, tag, align);
}

bool pool_is_watched(const void *caller) {
    return lab_options.special_pool || (lab_options.verifier && driver_at((u64)caller));
}

void *pool_allocate_for(POOL_TYPE type, u64 bytes, u32 tag, const void *caller) {
    void *data = pool_is_watched(caller) ? special_pool_allocate(type, bytes, tag, false, caller) : NULL;
    return data ? data : pool_allocate(type, bytes, tag);
}

/* ----------------------------------------------------------------------------------------------------- freeing ---- */

void pool_check_tag(u64 address, u32 stored, u32 given) {
    if (given && (stored ^ given) & ~PROTECTED_POOL)
        KeBugCheckEx(BAD_POOL_CALLER, 0x0a, address, stored, given);
}

/* What Windows, or in verifier mode its Driver Verifier, says of an address that no allocating call has returned. */
_Noreturn static void stop_bad_address(u64 address, u64 cause, u64 parameter3, const void *caller) {
    if (lab_options.verifier)
        verifier_stop(VERIFIER_FREE_BAD_ADDRESS, caller, address, 0, 0);
    KeBugCheckEx(BAD_POOL_CALLER, cause, address, parameter3, 0);
}

/* Parameter 2 is reserved by the documentation; Windows, and we, put the tag there. */
_Noreturn static void stop_freed_twice(u64 address, u32 tag, u32 header, const void *caller) {
    if (lab_options.verifier)
        verifier_stop(VERIFIER_FREED_TWICE, caller, tag, address - sizeof(POOL_HEADER), header);
    KeBugCheckEx(BAD_POOL_CALLER, 0x07, tag, header, address);
}

/* Special pool has a code of its own for a wrong IRQL, unless the verifier asked for it and sees the mistake first. */
static void check_irql(u64 address, enum pool_kind kind, const void *caller) {
    KIRQL irql = KeGetCurrentIrql();
    POOL_TYPE type = pool_type_of(kind);
    if (irql <= (kind == POOL_PAGED ? APC_LEVEL : DISPATCH_LEVEL))
        return;
    if (lab_options.verifier)
        verifier_stop(kind == POOL_PAGED ? VERIFIER_FREE_PAGED_IRQL : VERIFIER_FREE_IRQL, caller, irql, type, address);
    if (special_pool_contains(address))
        KeBugCheckEx(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, irql, type, address, 0x31);
    KeBugCheckEx(BAD_POOL_CALLER, 0x09, irql, type, address);
}

/* What must be right of any block that is freed. */
static void check_contents(u64 address, u64 bytes, enum pool_kind kind, const void *caller) {
    const void *list = lookaside_find(address, bytes);
    check_irql(address, kind, caller);
    if (list && lab_options.verifier)
        verifier_stop(VERIFIER_LOOKASIDE_FREED, caller, (u64)list, address, bytes);
    lookaside_forget(address, bytes);
}

static void free_block(u64 address, u32 tag, const void *caller) {
    POOL_HEADER *block = (POOL_HEADER *)address - 1;
    if (OFFSET_IN_PAGE(address) == 0 || address % POOL_UNIT)
        stop_bad_address(address, 0x46, 0, caller);
    switch (pool_block_find(address)) {
    case POOL_FIND_INSIDE:
        stop_bad_address(address, 0x46, 0, caller);
    case POOL_FIND_FREE:
        stop_freed_twice(address, block->PoolTag, *(u32 *)block, caller);
    case POOL_FIND_ALLOCATED:
        break;
    }
    u64 size = block->BlockSize * (u64)POOL_UNIT;
    enum pool_kind kind = pool_page_of(address)->kind;
    check_contents(address, size - sizeof(POOL_HEADER), kind, caller);
    pool_check_tag(address, block->PoolTag, tag);
    if ((block->PoolType - 1) & POOL_TYPE_QUOTA)
        pool_quota_return(block);
    pool_tags_count_free(kind, block->PoolTag, size);
    pool_block_free(block);
}

static void free_big(u64 address, struct pool_page *page, u32 tag, const void *caller) {
    if (OFFSET_IN_PAGE(address))
        stop_bad_address(address, 0x46, 0, caller);
    check_contents(address, page->bytes, page->kind, caller);
    pool_check_tag(address, page->tag, tag);
    u64 pages = PAGES_OF(page->bytes);
    pool_tags_count_free(page->kind, page->tag, pages * PAGE_SIZE);
    pool_pages_free((void *)address, pages, page->tag);
}

/* The page may have been pool before: then its last tag is still known. */
_Noreturn static void stop_free_page(u64 address, const struct pool_page *page, const void *caller) {
    if (!page->tag)
        stop_bad_address(address, 0x43, 0, caller);
    if (OFFSET_IN_PAGE(address) || lab_options.verifier)
        stop_freed_twice(address, page->tag, 0, caller);
    KeBugCheckEx(BAD_POOL_HEADER, 0x22, address, 0, 0);
}

static void free_special(u64 address, u32 tag, const void *caller) {
    struct special_page *page;
    if (special_pool_find(address, &page))
        check_contents(address, page->bytes, page->kind, caller);
    special_pool_free(address, tag, caller);
}

static void free_normal(u64 address, u32 tag, const void *caller) {
    struct pool_page *page = pool_page_of(address);
    if (address < SYSTEM_RANGE_START)
        stop_bad_address(address, 0x40, SYSTEM_RANGE_START, caller);
    if (!page)
        stop_bad_address(address, 0x42, 0, caller);
    switch (page->state) {
    case POOL_PAGE_BLOCKS:
        return free_block(address, tag, caller);
    case POOL_PAGE_BIG:
        return free_big(address, page, tag, caller);
    case POOL_PAGE_BIG_REST:
        stop_bad_address(address, 0x46, 0, caller);
    case POOL_PAGE_FREE:
        stop_free_page(address, page, caller);
    }
}

void pool_call_free(void *block, u32 tag, const void *caller) {
    if (special_pool_contains((u64)block))
        free_special((u64)block, tag, caller);
    else
        free_normal((u64)block, tag, caller);
    ledger_remove(LEDGER_POOL, block);
    ledger_remove(LEDGER_MDL, block);
}
