#include "memory/frames.h"

#include "boot/boot_info.h"
#include "memory/system_ptes.h"
#include "nt/rtl.h"
#include "paging/space.h"

/* How many frames are zeroed at boot, so that asking for a zeroed one seldom has to wait. */
enum { ZEROED_AT_BOOT = 64 };
enum { LARGE_PAGE_FRAMES = 512 };
#define LARGE_PAGE_SIZE (LARGE_PAGE_FRAMES * PAGE_SIZE)

/* Linked through the records: u1 is the next frame, u2 the one before. */
struct frame_list {
    u64 first, last, count;
    enum page_location location;
};
static struct frame_list zeroed = {PFN_LIST_END, PFN_LIST_END, 0, PAGE_ZEROED};
static struct frame_list free_frames = {PFN_LIST_END, PFN_LIST_END, 0, PAGE_FREE};

bool frame_sections[FRAME_SECTIONS];
/* Usable frames of sections without records. */
static u64 untouched;

/* Set when the database is mapped. */
static bool ready;

/* Linker script. */
extern const u8 kernel_data_end[];

/* ----------------------------------------------------------------------------------------------------- records ---- */

static void open_section(u64 section);

static const struct memory_range *range_of(u64 pfn) {
    for (u64 i = 0; i < memory_map.count; i++) {
        if (pfn >= memory_map.range[i].first && pfn < memory_map.range[i].end)
            return &memory_map.range[i];
    }
    return NULL;
}

static MMPFN *record_address(u64 pfn) {
    return (MMPFN *)PFN_DATABASE + pfn;
}

static MMPFN *record(u64 pfn) {
    if (!frame_sections[pfn / FRAMES_PER_SECTION])
        open_section(pfn / FRAMES_PER_SECTION);
    return record_address(pfn);
}

MMPFN *frame_record(u64 pfn) {
    return range_of(pfn) ? record(pfn) : NULL;
}

/* Everything is, as long as the memory map has not been read. */
bool frame_is_ram(u64 pfn) {
    return !memory_map.count || range_of(pfn);
}

enum frame_use frame_use(u64 pfn) {
    MMPFN *frame = frame_record(pfn);
    return frame ? (enum frame_use)(frame->u4 >> PFN_USE_SHIFT) : FRAME_UNUSED;
}

u64 frames_available(void) {
    return zeroed.count + free_frames.count + untouched;
}

static enum page_location location(const MMPFN *frame) {
    return (enum page_location)((frame->u3.e1 & PFN_E1_LOCATION_MASK) >> PFN_E1_LOCATION_SHIFT);
}

static void activate(u64 pfn, enum frame_use use) {
    *record(pfn) = (MMPFN){
        .u2 = 1,
        .u3 = {.ReferenceCount = 1, .e1 = PAGE_ACTIVE << PFN_E1_LOCATION_SHIFT | PFN_CACHED << PFN_E1_CACHE_SHIFT},
        .u4 = (u64)use << PFN_USE_SHIFT,
    };
}

void frame_set_pte(u64 pfn, pte_t *entry) {
    MMPFN *frame = ready ? frame_record(pfn) : NULL;
    if (!frame)
        return;
    u64 table = entry ? pte_pfn(*pt_entry((u64)entry, PT)) : 0;
    frame->PteAddress = entry;
    frame->u4 = (frame->u4 & ~PFN_FRAME_MASK) | table;
}

enum pfn_cache frame_cache(u64 pfn) {
    return (enum pfn_cache)((record(pfn)->u3.e1 & PFN_E1_CACHE_MASK) >> PFN_E1_CACHE_SHIFT);
}

void frame_set_cache(u64 pfn, enum pfn_cache cache) {
    MMPFN *frame = record(pfn);
    frame->u3.e1 = (u16)((frame->u3.e1 & ~PFN_E1_CACHE_MASK) | cache << PFN_E1_CACHE_SHIFT);
}

void frame_count_entry(u64 table, int change) {
    MMPFN *frame = ready ? frame_record(table) : NULL;
    if (!frame)
        return;
    frame->u2 += (u64)(i64)change;
    frame->u3.UsedPageTableEntries += (u32)change;
}

/* ------------------------------------------------------------------------------------------------------- lists ---- */

/* Puts a frame between two neighbours of a list; PFN_LIST_END stands for the list's end on either side. */
static void list_insert(struct frame_list *list, u64 before, u64 pfn, u64 after) {
    *record(pfn) = (MMPFN){
        .u1 = after,
        .u2 = before,
        .u3 = {.e1 = (u16)(list->location << PFN_E1_LOCATION_SHIFT)},
    };
    *(before == PFN_LIST_END ? &list->first : &record(before)->u1) = pfn;
    *(after == PFN_LIST_END ? &list->last : &record(after)->u2) = pfn;
    list->count++;
}

static void list_remove(struct frame_list *list, u64 pfn) {
    u64 after = record(pfn)->u1, before = record(pfn)->u2;
    *(before == PFN_LIST_END ? &list->first : &record(before)->u1) = after;
    *(after == PFN_LIST_END ? &list->last : &record(after)->u2) = before;
    list->count--;
}

static struct frame_list *list_of(u64 pfn) {
    switch (location(record(pfn))) {
    case PAGE_ZEROED:
        return &zeroed;
    case PAGE_FREE:
        return &free_frames;
    default:
        return NULL;
    }
}

/* Writes the records of a section: its frames join the free list at the end. Frame 0 is kept back: 0 means "none". */
static void open_section(u64 section) {
    u64 section_first = section * FRAMES_PER_SECTION, section_end = section_first + FRAMES_PER_SECTION;
    frame_sections[section] = true;
    for (u64 i = 0; i < memory_map.count; i++) {
        const struct memory_range *range = &memory_map.range[i];
        u64 end = range->end < section_end ? range->end : section_end;
        for (u64 pfn = range->first > section_first ? range->first : section_first; pfn < end; pfn++) {
            if (range->firmware || pfn == 0) {
                activate(pfn, FRAME_FIRMWARE);
            } else {
                list_insert(&free_frames, free_frames.last, pfn, PFN_LIST_END);
                untouched--;
            }
        }
    }
}

/* Fills an empty free list from the next section that has frames, if there is one. */
static void refill(void) {
    for (u64 section = 0; free_frames.count == 0 && untouched > 0; section++) {
        if (!frame_sections[section])
            open_section(section);
    }
}

/* -------------------------------------------------------------------------------------------------- allocating ---- */

static u64 early_take(u64 count);

void frame_zero(u64 pfn) {
    memset(space_window_open(pfn), 0, PAGE_SIZE);
    space_window_close();
}

/* Takes a frame off its list. */
static void take(u64 pfn, enum frame_use use, enum frame_contents contents) {
    struct frame_list *list = list_of(pfn);
    bool dirty = list != &zeroed;
    list_remove(list, pfn);
    activate(pfn, use);
    if (contents == FRAME_ZERO && dirty)
        frame_zero(pfn);
}

u64 frame_allocate(enum frame_use use, enum frame_contents contents) {
    if (!ready) {
        u64 pfn = early_take(1);
        if (contents == FRAME_ZERO)
            frame_zero(pfn);
        return pfn;
    }
    refill();
    bool from_zeroed = free_frames.count == 0 || (contents == FRAME_ZERO && zeroed.count > 0);
    u64 pfn = from_zeroed ? zeroed.first : free_frames.first;
    if (pfn == PFN_LIST_END)
        return 0;
    take(pfn, use, contents);
    return pfn;
}

/* The first frame of a free run inside one range of RAM, or 0. */
static u64 find_run(const struct memory_range *range, u64 count, const struct frame_limits *limits) {
    u64 first = limits->lowest > range->first ? limits->lowest : range->first;
    u64 end = limits->highest < range->end ? limits->highest + 1 : range->end;
    u64 run = 0;
    for (u64 pfn = first; pfn < end; pfn++) {
        if (limits->boundary && pfn % limits->boundary == 0)
            run = 0;
        bool continues = list_of(pfn) && (run > 0 || pfn % limits->align == 0);
        run = continues ? run + 1 : 0;
        if (run == count)
            return pfn + 1 - count;
    }
    return 0;
}

u64 frame_allocate_range(enum frame_use use, enum frame_contents contents, u64 count,
                         const struct frame_limits *limits) {
    lab_assert(ready && count && limits->align, "frames: a range of %llu frames, aligned by %llu", count,
               limits->align);
    for (u64 i = 0; i < memory_map.count; i++) {
        u64 first = find_run(&memory_map.range[i], count, limits);
        if (!first)
            continue;
        for (u64 pfn = first; pfn < first + count; pfn++)
            take(pfn, use, contents);
        return first;
    }
    return 0;
}

/* At the head: what was freed last is used first, so that a stale address soon meets the frame's next owner. */
static void drop_reference(u64 pfn) {
    if (--record(pfn)->u3.ReferenceCount == 0)
        list_insert(&free_frames, PFN_LIST_END, pfn, free_frames.first);
}

void frame_free(u64 pfn) {
    MMPFN *frame = frame_record(pfn);
    lab_assert(frame && location(frame) == PAGE_ACTIVE && frame->u3.ReferenceCount && frame_use(pfn) != FRAME_LOCKED,
               "frames: frame 0x%llx is freed but not active", pfn);
    frame->u2--;
    frame->PteAddress = NULL;
    frame->u4 = (u64)FRAME_LOCKED << PFN_USE_SHIFT;
    drop_reference(pfn);
}

/* ------------------------------------------------------------------------------------- locked and mapped again ---- */

/* How often the owner counts in ReferenceCount and ShareCount. */
static u16 owners(u64 pfn) {
    return frame_use(pfn) != FRAME_LOCKED;
}

static bool is_active(u64 pfn) {
    return frame_use(pfn) != FRAME_UNUSED;
}

bool frame_lock(u64 pfn) {
    MMPFN *frame = frame_record(pfn);
    lab_assert(frame && is_active(pfn), "frames: frame 0x%llx is locked but not active", pfn);
    if (frame->u3.ReferenceCount == UINT16_MAX)
        return false;
    frame->u3.ReferenceCount++;
    return true;
}

bool frame_is_locked(u64 pfn) {
    MMPFN *frame = frame_record(pfn);
    return frame && is_active(pfn) && frame->u3.ReferenceCount > owners(pfn);
}

bool frame_unlock(u64 pfn) {
    if (!frame_is_locked(pfn))
        return false;
    drop_reference(pfn);
    return true;
}

void frame_count_mapping(u64 pfn, int change) {
    MMPFN *frame = frame_record(pfn);
    if (frame && is_active(pfn) && (change > 0 || frame->u2 > owners(pfn)))
        frame->u2 += (u64)(i64)change;
}

/* ------------------------------------------------------------------------------------------------------- early ---- */

/*
 * Before there are records, frames are taken from the end of the kernel's image upwards. Nobody keeps books, and the
 * gaps left by alignment do not matter: frames_init finds in the page tables what was taken.
 */
static u64 early_take(u64 count) {
    static u64 next;
    if (!next)
        next = ((u64)kernel_data_end - KERNEL_BASE) >> PAGE_SHIFT;
    for (u64 i = 0; i < memory_map.count; i++) {
        const struct memory_range *range = &memory_map.range[i];
        u64 first = ((next > range->first ? next : range->first) + count - 1) / count * count;
        if (range->firmware || first < next || first + count > range->end)
            continue;
        next = first + count;
        return first;
    }
    lab_assert(false, "frames: no RAM for the first tables, beyond pa:0x%010llx", next << PAGE_SHIFT);
    return 0;
}

/* --------------------------------------------------------------------------------------------------- the start ---- */

static void map_large_record_page(u64 address) {
    struct pt_walk walk;
    lab_assert(pt_walk(address, PD, PT_CREATE, &walk), "frames: no memory for the PFN database's tables");
    pt_set(walk.entry[PD], address, pte_make(early_take(LARGE_PAGE_FRAMES), PTE_KERNEL_DATA | PTE_PS));
}

static void map_record_page(u64 address) {
    u64 physical;
    if (pt_translate(address, &physical))
        return; /* shared with the range before */
    lab_assert(pt_map(address, early_take(1), PTE_KERNEL_DATA), "frames: no memory for the PFN database");
    memset((void *)address, 0, PAGE_SIZE);
}

/* Large leaves where a range's records fill them: so the database of 2 GiB takes 12 entries and not 6144. */
static void map_records(const struct memory_range *range) {
    u64 address = (u64)record_address(range->first) & ~(PAGE_SIZE - 1);
    u64 end = (u64)record_address(range->end);
    while (address < end) {
        if (address % LARGE_PAGE_SIZE == 0 && address + LARGE_PAGE_SIZE <= end) {
            map_large_record_page(address);
            address += LARGE_PAGE_SIZE;
        } else {
            map_record_page(address);
            address += PAGE_SIZE;
        }
    }
}

/* What a frame serves follows from where it is mapped. */
static enum frame_use use_at(u64 address) {
    if (address >= PFN_DATABASE)
        return FRAME_PFN_DB;
    return address >= SYSTEM_PTES ? FRAME_STACK : FRAME_KERNEL;
}

/* Gives the frames behind an entry the record that they should have had when the entry was made. */
static void claim(u64 pfn, u64 count, enum frame_use use, pte_t *entry) {
    for (u64 i = 0; i < count; i++) {
        take(pfn + i, use, FRAME_ANY);
        frame_set_pte(pfn + i, entry);
    }
}

/*
 * Takes stock: visits every present entry of a table and of the tables below, and claims what it leads to. A table with
 * a self map is claimed by the entry above it; only the root has none.
 */
static void take_stock(enum pt_level level, u64 first_address) {
    for (u64 i = 0; i < 512; i++) {
        u64 address = pt_canonical(first_address + i * pt_page_size(level));
        pte_t *entry = pt_entry(address, level);
        bool self_map = pt_is_self_map(entry);
        if (!pte_present(*entry))
            continue;
        if (pt_is_leaf(level, *entry))
            claim(pte_pfn(*entry), pt_page_size(level) >> PAGE_SHIFT, use_at(address), entry);
        else if (!self_map || level == pt_root_level())
            claim(pte_pfn(*entry), 1, FRAME_TABLE, entry);
        if (!pt_is_leaf(level, *entry) && !self_map)
            take_stock(level - 1, address);
        frame_count_entry(pte_pfn(*pt_entry((u64)entry, PT)), 1);
    }
}

void frames_zero_some(void) {
    for (u64 i = 0; i < ZEROED_AT_BOOT && free_frames.count; i++) {
        u64 pfn = free_frames.first;
        list_remove(&free_frames, pfn);
        frame_zero(pfn);
        list_insert(&zeroed, zeroed.last, pfn, PFN_LIST_END);
    }
}

void frames_init(void) {
    for (u64 i = 0; i < memory_map.count; i++) {
        const struct memory_range *range = &memory_map.range[i];
        map_records(range);
        if (!range->firmware)
            untouched += range->end - (range->first ? range->first : 1);
    }
    ready = true;
    take_stock(pt_root_level(), 0);
    log_print("frames: %llu KiB free\n", frames_available() << PAGE_SHIFT >> 10);
}
