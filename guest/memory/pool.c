#include "memory/pool.h"

#include "memory/inject.h"
#include "memory/pool_blocks.h"
#include "memory/pool_pages.h"
#include "memory/pool_tags.h"
#include "nt/rtl.h"

/* Parts of a POOL_TYPE: PagedPool, the two MustSucceed types, CacheAligned, Nx. */
enum { TYPE_PAGED = 1, TYPE_MUST_SUCCEED = 2, TYPE_CACHE_ALIGNED = 4, TYPE_BASE = 7, TYPE_NX = 512 };

/* Windows 6.1's MmSystemRangeStart: what is below is not pool, whatever else it may be. */
#define SYSTEM_RANGE_START 0xffff080000000000ull

/* A tag with this bit asks that whoever frees the block names the tag; otherwise it is no part of the tag. */
#define PROTECTED_POOL 0x80000000u

void pool_init(void) {
    pool_pages_init();
    pool_blocks_init();
}

/* -------------------------------------------------------------------------------------------------- allocating ---- */

static enum pool_kind kind_of(POOL_TYPE type) {
    return type & TYPE_PAGED ? POOL_PAGED : type & TYPE_NX ? POOL_NONPAGED_NX : POOL_NONPAGED;
}

static void count_allocation(enum pool_kind kind, u32 tag, u64 bytes) {
    struct pool_tag_usage *usage = pool_tag_usage(tag);
    usage->kind[kind].allocations++;
    usage->kind[kind].bytes += bytes;
}

static void count_free(enum pool_kind kind, u32 tag, u64 bytes) {
    struct pool_tag_usage *usage = pool_tag_usage(tag);
    usage->kind[kind].frees++;
    usage->kind[kind].bytes -= bytes;
}

/* Gives the caller `bytes` of a piece of `size` bytes. */
static void *hand_out(void *data, u64 bytes, u64 size) {
    memset(data, POOL_FILL_FRESH, bytes);
    memset((u8 *)data + bytes, POOL_FILL_PADDING, size - bytes);
    return data;
}

static void *allocate_block(POOL_TYPE type, u64 bytes, u32 tag, u64 align) {
    enum pool_kind kind = kind_of(type);
    POOL_HEADER *block = pool_block_allocate(kind, bytes, align);
    if (!block)
        return NULL;
    block->PoolType = (UCHAR)((type & TYPE_BASE) + 1);
    block->PoolTag = tag;
    u64 size = block->BlockSize * (u64)POOL_UNIT;
    count_allocation(kind, tag, size);
    return hand_out(block + 1, bytes, size - sizeof(POOL_HEADER));
}

static void *allocate_big(POOL_TYPE type, u64 bytes, u32 tag) {
    enum pool_kind kind = kind_of(type);
    if (bytes > NONPAGED_POOL_PAGES * PAGE_SIZE)
        return NULL;
    u64 size = PAGES_OF(bytes) * PAGE_SIZE;
    void *data = pool_pages_allocate(kind, POOL_PAGE_BIG, PAGES_OF(bytes));
    if (!data)
        return NULL;
    struct pool_page *page = pool_page_of((u64)data);
    page->bytes = (u32)bytes;
    page->tag = tag;
    count_allocation(kind, tag, size);
    return hand_out(data, bytes, size);
}

void *pool_allocate(POOL_TYPE type, u64 bytes, u32 tag) {
    u64 align = type & TYPE_CACHE_ALIGNED ? POOL_CACHE_LINE : POOL_UNIT;
    if (!bytes)
        bytes = 1; /* a block of its own, as in Windows */
    if (bytes > POOL_LARGEST - (align - POOL_UNIT))
        return allocate_big(type, bytes, tag);
    return allocate_block(type, bytes, tag, align);
}

/* Stops for what Windows, or in verifier mode its Driver Verifier, does not accept. */
static void check_request(POOL_TYPE type, SIZE_T bytes, ULONG tag, void *caller) {
    enum { BIG_TAG = POOL_TAG('B', 'I', 'G', ' ') };
    if (!tag)
        KeBugCheckEx(BAD_POOL_CALLER, 0x9b, type, bytes, (ULONG_PTR)caller);
    if (tag == BIG_TAG)
        KeBugCheckEx(BAD_POOL_CALLER, 0x9c, type, bytes, (ULONG_PTR)caller);
    if (type & TYPE_MUST_SUCCEED)
        KeBugCheckEx(BAD_POOL_CALLER, 0x9a, type, bytes, tag);
    if (lab_options.verifier && !bytes)
        KeBugCheckEx(DRIVER_VERIFIER_DETECTED_VIOLATION, 0x00, 0, type, 0);
}

/* Exceptions cannot be raised yet: POOL_RAISE_IF_ALLOCATION_FAILURE is accepted, and the failure is NULL. */
static PVOID allocate_checked(POOL_TYPE type, SIZE_T bytes, ULONG tag, void *caller) {
    check_request(type, bytes, tag, caller);
    return inject_failure(FAIL_POOL) ? NULL : pool_allocate(type, bytes, tag);
}

PVOID NTAPI ExAllocatePool(POOL_TYPE PoolType, SIZE_T NumberOfBytes) {
    return allocate_checked(PoolType, NumberOfBytes, POOL_TAG('N', 'o', 'n', 'e'), __builtin_return_address(0));
}
NT_EXPORT(ExAllocatePool);

PVOID NTAPI ExAllocatePoolWithTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag) {
    return allocate_checked(PoolType, NumberOfBytes, Tag, __builtin_return_address(0));
}
NT_EXPORT(ExAllocatePoolWithTag);

/*
 * Exactly one pool, and of the required flags only those we know; false otherwise. There are no quotas to charge
 * before there are processes, and no exceptions: USE_QUOTA and RAISE_ON_FAILURE change nothing.
 */
static bool type_of_flags(POOL_FLAGS flags, POOL_TYPE *ret) {
    const POOL_FLAGS pools = POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE | POOL_FLAG_PAGED;
    const POOL_FLAGS known =
        pools | POOL_FLAG_USE_QUOTA | POOL_FLAG_UNINITIALIZED | POOL_FLAG_CACHE_ALIGNED | POOL_FLAG_RAISE_ON_FAILURE;
    if (flags % POOL_FLAG_OPTIONAL_START & ~known)
        return false;
    switch (flags & pools) {
    case POOL_FLAG_NON_PAGED:
        *ret = NonPagedPoolNx;
        break;
    case POOL_FLAG_NON_PAGED_EXECUTE:
        *ret = NonPagedPoolExecute;
        break;
    case POOL_FLAG_PAGED:
        *ret = PagedPool;
        break;
    default:
        return false;
    }
    if (flags & POOL_FLAG_CACHE_ALIGNED)
        *ret |= TYPE_CACHE_ALIGNED;
    return true;
}

PVOID NTAPI ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag) {
    POOL_TYPE type;
    if (!Tag || !type_of_flags(Flags, &type))
        return NULL;
    PVOID data = allocate_checked(type, NumberOfBytes, Tag, __builtin_return_address(0));
    if (data && !(Flags & POOL_FLAG_UNINITIALIZED))
        memset(data, 0, NumberOfBytes);
    return data;
}
NT_EXPORT(ExAllocatePool2);

/* ----------------------------------------------------------------------------------------------------- freeing ---- */

static void check_tag(u64 address, u32 stored, u32 given) {
    if (given && (stored ^ given) & ~PROTECTED_POOL)
        KeBugCheckEx(BAD_POOL_CALLER, 0x0a, address, stored, given);
}

_Noreturn static void stop_invalid_address(u64 address) {
    KeBugCheckEx(BAD_POOL_CALLER, 0x46, address, 0, 0);
}

/* Parameter 2 is reserved by the documentation; Windows, and we, put the tag there. */
_Noreturn static void stop_freed_twice(u64 address, u32 tag, u32 header) {
    KeBugCheckEx(BAD_POOL_CALLER, 0x07, tag, header, address);
}

static void free_block(u64 address, u32 tag) {
    POOL_HEADER *block = (POOL_HEADER *)address - 1;
    if (OFFSET_IN_PAGE(address) == 0 || address % POOL_UNIT)
        stop_invalid_address(address);
    switch (pool_block_find(address)) {
    case POOL_FIND_INSIDE:
        stop_invalid_address(address);
    case POOL_FIND_FREE:
        stop_freed_twice(address, block->PoolTag, *(u32 *)block);
    case POOL_FIND_ALLOCATED:
        check_tag(address, block->PoolTag, tag);
        count_free(pool_page_of(address)->kind, block->PoolTag, block->BlockSize * (u64)POOL_UNIT);
        pool_block_free(block);
    }
}

static void free_big(u64 address, struct pool_page *page, u32 tag) {
    if (OFFSET_IN_PAGE(address))
        stop_invalid_address(address);
    check_tag(address, page->tag, tag);
    u64 pages = PAGES_OF(page->bytes);
    count_free(page->kind, page->tag, pages * PAGE_SIZE);
    pool_pages_free((void *)address, pages, page->tag);
}

/* The page may have been pool before: then its last tag is still known. */
_Noreturn static void stop_free_page(u64 address, const struct pool_page *page) {
    if (!page->tag)
        KeBugCheckEx(BAD_POOL_CALLER, 0x43, address, 0, 0);
    if (OFFSET_IN_PAGE(address))
        stop_freed_twice(address, page->tag, 0);
    KeBugCheckEx(BAD_POOL_HEADER, 0x22, address, 0, 0);
}

/* Tag 0: any. */
VOID NTAPI ExFreePoolWithTag(PVOID P, ULONG Tag) {
    u64 address = (u64)P;
    struct pool_page *page = pool_page_of(address);
    if (address < SYSTEM_RANGE_START)
        KeBugCheckEx(BAD_POOL_CALLER, 0x40, address, SYSTEM_RANGE_START, 0);
    if (!page)
        KeBugCheckEx(BAD_POOL_CALLER, 0x42, address, 0, 0);
    switch (page->state) {
    case POOL_PAGE_BLOCKS:
        return free_block(address, Tag);
    case POOL_PAGE_BIG:
        return free_big(address, page, Tag);
    case POOL_PAGE_BIG_REST:
        stop_invalid_address(address);
    case POOL_PAGE_FREE:
        stop_free_page(address, page);
    }
}
NT_EXPORT(ExFreePoolWithTag);

VOID NTAPI ExFreePool(PVOID P) {
    ExFreePoolWithTag(P, 0);
}
NT_EXPORT(ExFreePool);
