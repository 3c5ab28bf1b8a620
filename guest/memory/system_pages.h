/*
 * system_pages.h - memory at system addresses: driver images, stacks of threads, tables that few runs need.
 */
#pragma once

#include "lab.h"
#include "memory/frames.h"

/* Pages of the system-PTE range, read-write, zeroed where asked for; NULL when frames or addresses have run out. */
void *system_pages_map(u64 pages, enum frame_use use, enum frame_contents contents);

/* Gives back all of it, also pages that system_pages_discard gave back before. */
void system_pages_unmap(void *base, u64 pages);

/* Gives back the frames and keeps the addresses. */
void system_pages_discard(void *base, u64 pages);
