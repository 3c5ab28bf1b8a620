#include "nt/shared_data.h"

#include "memory/system_pages.h"
#include "paging/paging.h"
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

/* The page where the kernel can write it; all others see it read-only at SHARED_DATA. */
static u8 *page;

static void set_u32(enum shared_data_field field, u32 value) {
    *(volatile u32 *)(volatile void *)(page + field) = value;
}

static void set_system_time(enum shared_data_field field, u64 time) {
    set_u32(field, (u32)time);
    set_u32(field + 4, (u32)(time >> 32));
    set_u32(field + 8, (u32)(time >> 32));
}

void shared_data_init(void) {
    static const u16 system_root[] = u"C:\\Windows";
    page = system_pages_map(1, FRAME_SYSTEM, FRAME_ZERO);
    u64 physical;
    bool mapped =
        page && pt_translate((u64)page, &physical) && pt_map(SHARED_DATA, physical >> PAGE_SHIFT, PTE_KERNEL_RODATA);
    lab_assert(mapped, "shared data: no memory");
    set_u32(TICK_COUNT_MULTIPLIER, TICK_MULTIPLIER);
    set_u32(NT_PRODUCT_TYPE, PRODUCT_WORKSTATION);
    set_u32(NT_MAJOR_VERSION, 6);
    set_u32(NT_MINOR_VERSION, 1);
    for (u64 i = 0; i < ARRAY_SIZE(system_root); i++)
        *(u16 *)(void *)(page + NT_SYSTEM_ROOT + i * sizeof(u16)) = system_root[i];
}

void shared_data_set_time(u64 interrupt_time, u64 system_time, u64 ticks) {
    set_system_time(INTERRUPT_TIME, interrupt_time);
    set_system_time(SYSTEM_TIME, system_time);
    set_u32(TICK_COUNT, (u32)ticks);
    set_u32(TICK_COUNT + 4, (u32)(ticks >> 32));
}
