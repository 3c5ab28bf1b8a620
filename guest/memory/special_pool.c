#include "memory/special_pool.h"

#include "cpu/trap.h"
#include "memory/ledger.h"
#include "memory/pool.h"
#include "memory/pool_blocks.h"
#include "memory/pool_tags.h"
#include "nt/driver.h"
#include "nt/rtl.h"

struct special_page special_pages[SPECIAL_POOL_PAGES];

/* Addresses freed less than so many frees ago are used again only when there are no others. */
enum { QUARANTINE = 2048 };

static u32 frees;
/* Where the next search begins, so that addresses are used in turn. */
static u64 next;

static u64 page_address(const struct special_page *page) {
    return SPECIAL_POOL + (u64)(page - special_pages) * PAGE_SIZE;
}

static struct special_page *page_of(u64 address) {
    return special_pool_contains(address) ? &special_pages[(address - SPECIAL_POOL) >> PAGE_SHIFT] : NULL;
}

static u64 block_of(const struct special_page *page) {
    return page_address(page) + page->offset;
}

/* -------------------------------------------------------------------------------------------------- allocating ---- */

static bool is_mapped(const struct special_page *page) {
    return page->state == SPECIAL_BLOCK || page->state == SPECIAL_BLOCK_REST;
}

static bool is_usable(const struct special_page *page, u32 quarantine) {
    bool freed = page->state == SPECIAL_FREED || page->state == SPECIAL_FREED_REST;
    return !is_mapped(page) && !(freed && frees - page->freed_at < quarantine);
}

/* The first of `pages` usable pages with an unmapped one before, which stays as it is, and a usable one behind. */
static struct special_page *find(u64 pages, u64 from, u32 quarantine) {
    u64 run = 0;
    for (u64 i = from; i < SPECIAL_POOL_PAGES; i++) {
        bool first = run == 0;
        bool fits = first ? !is_mapped(&special_pages[i]) : is_usable(&special_pages[i], quarantine);
        if (!fits && !is_mapped(&special_pages[i]))
            run = 1; /* it can still be the one before */
        else
            run = fits ? run + 1 : 0;
        if (run == pages + 2)
            return &special_pages[i - pages];
    }
    return NULL;
}

static struct special_page *find_anywhere(u64 pages) {
    struct special_page *found = find(pages, next, QUARANTINE);
    if (!found)
        found = find(pages, 0, QUARANTINE);
    return found ? found : find(pages, 0, 0);
}

static u16 offset_for(u64 bytes, u64 align, bool underrun) {
    return underrun || bytes > PAGE_SIZE ? 0 : (u16)((PAGE_SIZE - bytes) & ~(align - 1));
}

static void mark(struct special_page *page, u64 pages, enum special_page_state rest) {
    for (u64 i = 1; i < pages; i++)
        page[i] = (struct special_page){.state = rest, .kind = page->kind, .freed_at = frees};
}

void *special_pool_allocate(POOL_TYPE type, u64 bytes, u32 tag, bool underrun, const void *caller) {
    if (!bytes)
        bytes = 1; /* an address of its own, as in the pool */
    enum pool_kind kind = pool_kind_of(type);
    u64 pages = PAGES_OF(bytes);
    struct special_page *page = bytes <= SPECIAL_POOL_PAGES * PAGE_SIZE ? find_anywhere(pages) : NULL;
    if (!page || !pool_pages_map(page_address(page), pages, kind))
        return NULL;
    *page = (struct special_page){
        .allocated_by = (u64)caller,
        .bytes = (u32)bytes,
        .tag = tag,
        .state = SPECIAL_BLOCK,
        .kind = kind,
        .offset = offset_for(bytes, pool_alignment(type), underrun),
    };
    mark(page, pages, SPECIAL_BLOCK_REST);
    page[pages] = (struct special_page){.state = SPECIAL_GUARD};
    next = (u64)(page - special_pages) + pages;
    memset((void *)page_address(page), POOL_FILL_SPECIAL, pages * PAGE_SIZE);
    memset((void *)block_of(page), POOL_FILL_FRESH, bytes);
    pool_tags_count_allocation(kind, tag, pages * PAGE_SIZE);
    return (void *)block_of(page);
}

/* ----------------------------------------------------------------------------------------------------- freeing ---- */

/* Damage found in a fill: where it begins, in how many bytes, and which bits of the last of them. */
struct damage {
    u64 address, bytes;
    u8 bits;
};

static void look_for_damage(u64 from, u64 end, struct damage *ret) {
    for (u64 address = from; address < end; address++) {
        u8 difference = *(u8 *)address ^ POOL_FILL_SPECIAL;
        if (!difference)
            continue;
        if (!ret->bytes)
            ret->address = address;
        ret->bytes++;
        ret->bits = difference;
    }
}

static void check_fill(const struct special_page *page) {
    enum { BEFORE = 0x23, BEHIND = 0x24, SINGLE_BIT = 0x32 };
    u64 block = block_of(page), start = page_address(page);
    struct damage damage = {0};
    look_for_damage(start, block, &damage);
    look_for_damage(block + page->bytes, start + PAGES_OF(page->bytes) * PAGE_SIZE, &damage);
    if (!damage.bytes)
        return;
    bool single_bit = damage.bytes == 1 && !(damage.bits & (damage.bits - 1));
    ULONG_PTR cause = single_bit ? SINGLE_BIT : damage.address < block ? BEFORE : BEHIND;
    KeBugCheckEx(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, block, damage.address, 0, cause);
}

/* Stops unless a block begins at an address. The block that the address is in, if any, tells by how much it is wrong.
 */
static struct special_page *check_block(u64 address) {
    enum { NOT_ALLOCATED = 0x20, TOO_HIGH = 0x21, TOO_LOW = 0x22 };
    struct special_page *page = page_of(address);
    while (page && page->state == SPECIAL_BLOCK_REST)
        page--;
    if (!page || page->state != SPECIAL_BLOCK)
        KeBugCheckEx(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, address, 0, 0, NOT_ALLOCATED);
    u64 end = page_address(page) + PAGES_OF(page->bytes) * PAGE_SIZE;
    if (address != block_of(page))
        KeBugCheckEx(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, address, page->bytes, end - address,
                     address > block_of(page) ? TOO_HIGH : TOO_LOW);
    return page;
}

void special_pool_free(u64 address, u32 tag, const void *caller) {
    struct special_page *page = check_block(address);
    u64 pages = PAGES_OF(page->bytes);
    pool_check_tag(address, page->tag, tag);
    check_fill(page);
    pool_pages_unmap(page_address(page), pages);
    pool_tags_count_free(page->kind, page->tag, pages * PAGE_SIZE);
    page->state = SPECIAL_FREED;
    page->freed_by = (u64)caller;
    page->freed_at = frees;
    mark(page, pages, SPECIAL_FREED_REST);
    frees++;
}

bool special_pool_find(u64 address, struct special_page **ret) {
    *ret = page_of(address);
    return *ret && (*ret)->state == SPECIAL_BLOCK && block_of(*ret) == address;
}

bool special_pool_is_paged(u64 address) {
    const struct special_page *page = page_of(address);
    return page && is_mapped(page) && page->kind == POOL_PAGED;
}

/* ------------------------------------------------------------------------------------------------------ faults ---- */

bool special_pool_fault(const struct lab_registers *registers, u64 address, struct lab_bugcheck *ret) {
    const struct special_page *page = page_of(address);
    if (!page || registers->vector != TRAP_PF || registers->error_code & FAULT_P)
        return false;
    bool driver = driver_at(registers->rip);
    bool freed = page->state == SPECIAL_FREED || page->state == SPECIAL_FREED_REST;
    if (freed)
        ret->code = driver ? DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL : PAGE_FAULT_IN_FREED_SPECIAL_POOL;
    else
        ret->code = driver ? DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION : PAGE_FAULT_BEYOND_END_OF_ALLOCATION;
    ret->parameter[0] = address;
    ret->parameter[1] = (registers->error_code & FAULT_W) != 0;
    ret->parameter[2] = registers->rip;
    ret->parameter[3] = 0;
    return true;
}

/* The block that an address in its pages, or in the guard page behind, was most likely meant for. */
static const struct special_page *nearest_block(u64 address) {
    const struct special_page *page = page_of(address);
    if (page && page->state == SPECIAL_GUARD)
        page--;
    while (page && (page->state == SPECIAL_BLOCK_REST || page->state == SPECIAL_FREED_REST))
        page--;
    return page && (page->state == SPECIAL_BLOCK || page->state == SPECIAL_FREED) ? page : NULL;
}

void special_pool_report(u64 address) {
    const struct special_page *page = nearest_block(address);
    if (!page)
        return;
    log_print("special pool: %u bytes at 0x%016llx, tag '%.4s', allocated before ", page->bytes, block_of(page),
              (const char *)&page->tag);
    ledger_print_place(page->allocated_by);
    if (page->state == SPECIAL_FREED) {
        log_print(", freed before ");
        ledger_print_place(page->freed_by);
    }
    log_print("\n");
}
