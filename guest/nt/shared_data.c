#include "nt/shared_data.h"

#include "memory/frames.h"
#include "paging/space.h"

/* The fields drivers look at, at their offsets in Windows; the version is that of Windows 7. */
enum shared_data_field {
    TICK_COUNT_MULTIPLIER = 0x004,
    INTERRUPT_TIME = 0x008, /* low part, high part, and the high part again */
    SYSTEM_TIME = 0x014,
    NT_SYSTEM_ROOT = 0x030,
    NT_PRODUCT_TYPE = 0x264,
    NT_MAJOR_VERSION = 0x26c,
    NT_MINOR_VERSION = 0x270,
    TICK_COUNT = 0x320,
};

/* 15.625 ms in units of 2^-24 ms. */
enum { TICK_MULTIPLIER = 0x0fa00000, PRODUCT_WORKSTATION = 1 };

static u64 frame;

static void set_u32(u8 *page, enum shared_data_field field, u32 value) {
    *(volatile u32 *)(volatile void *)(page + field) = value;
}

static void set_system_time(u8 *page, enum shared_data_field field, u64 time) {
    set_u32(page, field, (u32)time);
    set_u32(page, field + 4, (u32)(time >> 32));
    set_u32(page, field + 8, (u32)(time >> 32));
}

void shared_data_init(void) {
    static const u16 system_root[] = u"C:\\Windows";
    frame = frame_allocate(FRAME_SYSTEM, FRAME_ZERO);
    lab_assert(frame, "shared data: no memory");
    u8 *page = space_window_open(frame);
    set_u32(page, TICK_COUNT_MULTIPLIER, TICK_MULTIPLIER);
    set_u32(page, NT_PRODUCT_TYPE, PRODUCT_WORKSTATION);
    set_u32(page, NT_MAJOR_VERSION, 6);
    set_u32(page, NT_MINOR_VERSION, 1);
    for (u64 i = 0; i < ARRAY_SIZE(system_root); i++)
        *(u16 *)(void *)(page + NT_SYSTEM_ROOT + i * sizeof(u16)) = system_root[i];
    space_window_close();
    lab_assert(pt_map(SHARED_DATA, frame, PTE_KERNEL_RODATA), "shared data: no memory for its tables");
    frame_set_pte(frame, pt_entry(SHARED_DATA, PT));
}

/* The clock may have interrupted somebody who looks through the window: then the next tick will do. */
void shared_data_set_time(u64 interrupt_time, u64 system_time, u64 ticks) {
    if (space_window_is_open())
        return;
    u8 *page = space_window_open(frame);
    set_system_time(page, INTERRUPT_TIME, interrupt_time);
    set_system_time(page, SYSTEM_TIME, system_time);
    set_u32(page, TICK_COUNT, (u32)ticks);
    set_u32(page, TICK_COUNT + 4, (u32)(ticks >> 32));
    space_window_close();
}
