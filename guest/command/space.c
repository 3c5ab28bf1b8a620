/*
 * space.c - frames for the controller, which builds address spaces of its own from them. They are loaded only while a
 * probe runs (probe.c), and their tables are written only meanwhile: no translation has to be forgotten.
 */
#include "paging/space.h"
#include "memory/frames.h"
#include "nt.h"
#include "nt/rtl.h"

enum { ROOT_ENTRIES = 512, KERNEL_HALF = 256 };

/* The kernel's half is shared by reference, as between Windows' processes; the self map is the space's own. */
static u64 NTAPI space_create(void) {
    u64 pfn = frame_allocate(FRAME_TABLE, FRAME_ZERO);
    if (!pfn)
        return 0;
    const pte_t *own = pt_entry(0, pt_root_level());
    pte_t *root = space_window_open(pfn);
    memcpy(&root[KERNEL_HALF], &own[KERNEL_HALF], (ROOT_ENTRIES - KERNEL_HALF) * sizeof(pte_t));
    root[SELF_MAP_SLOT] = pte_make(pfn, PTE_TABLE | PTE_NX);
    space_window_close();
    return pfn << PAGE_SHIFT;
}
LAB_COMMAND(space_create,
            "Make a root table that shares the kernel's half; return its physical address, 0: no memory.");

static u64 NTAPI frames_take(u64 count, bool table) {
    enum frame_use use = table ? FRAME_TABLE : FRAME_USER;
    struct frame_limits limits = {.highest = FRAME_LIMIT, .align = count};
    u64 first = count == 1 ? frame_allocate(use, FRAME_ZERO) : frame_allocate_range(use, FRAME_ZERO, count, &limits);
    return first << PAGE_SHIFT;
}
LAB_COMMAND(frames_take, "Take a run of zeroed frames, aligned by its length; return its physical address, 0: none.");

static void NTAPI frames_give(u64 physical, u64 count) {
    for (u64 i = 0; i < count; i++)
        frame_free((physical >> PAGE_SHIFT) + i);
}
LAB_COMMAND(frames_give, "Give back frames from frames_take or space_create.");

static void NTAPI frame_write(u64 physical, const void *bytes, u64 size) {
    memcpy((u8 *)space_window_open(physical >> PAGE_SHIFT) + OFFSET_IN_PAGE(physical), bytes, size);
    space_window_close();
}
LAB_COMMAND(frame_write, "Write bytes at a physical address, inside of one frame.");
