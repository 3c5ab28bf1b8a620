/*
 * boot_info.h - what the boot protocol told: RAM and command line, copied so that the original may be overwritten.
 */
#pragma once

#include "lab.h"

/* Frames [first, end) of RAM. */
struct memory_range {
    u64 first, end;
    bool firmware; /* RAM that the firmware keeps: it has PFN records but is never handed out */
};

enum { MEMORY_RANGES = 64 };
struct memory_map {
    u64 count;
    struct memory_range range[MEMORY_RANGES]; /* ascending, not overlapping */
};
extern struct memory_map memory_map;

/* Reads the start info at this physical address; it must still be mapped there. Sets lab_options too. */
void boot_info_read(u32 start_info);
