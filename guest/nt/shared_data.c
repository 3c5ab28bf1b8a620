#include "nt/shared_data.h"

#include "memory/frames.h"
#include "paging/space.h"

/* The two fields drivers look at, at their offsets in Windows; the version is that of Windows 7. */
enum { NT_MAJOR_VERSION = 0x26c, NT_MINOR_VERSION = 0x270 };

void shared_data_init(void) {
    u64 pfn = frame_allocate(FRAME_SYSTEM, FRAME_ZERO);
    lab_assert(pfn, "shared data: no memory");
    u8 *page = space_window_open(pfn);
    *(u32 *)(page + NT_MAJOR_VERSION) = 6;
    *(u32 *)(page + NT_MINOR_VERSION) = 1;
    space_window_close();
    lab_assert(pt_map(SHARED_DATA, pfn, PTE_KERNEL_RODATA), "shared data: no memory for its tables");
    frame_set_pte(pfn, pt_entry(SHARED_DATA, PT));
}
