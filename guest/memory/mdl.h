/*
 * mdl.h - memory descriptor lists: what the files of the MDL calls share. The calls and the MDL itself are in nt.h.
 *
 * Every MDL that this kernel allocates (IoAllocateMdl, MmAllocatePagesForMdl) is one NonPagedPoolNx allocation with
 * the tag MDL_TAG, and nothing else bears that tag: whoever lists the pool's blocks of that tag has listed the MDLs.
 * An MDL that a driver lays out in memory of its own is not among them, as on Windows.
 *
 * What the PFN database says of a frame that an MDL describes: its share count is 1 for the owner and 1 for each
 * mapping by an MDL. The reference count does not move: only locking pages that could be paged out would raise it.
 */
#pragma once

#include "lab.h"
#include "memory/frames.h"
#include "memory/pool.h"
#include "nt.h"

#define MDL_TAG POOL_TAG('M', 'd', 'l', ' ')

/* How many pages, and so frame numbers, an MDL has. */
static inline u64 mdl_pages(const MDL *mdl) {
    return ADDRESS_AND_SIZE_TO_SPAN_PAGES(mdl->ByteOffset, mdl->ByteCount);
}

/* The flags as the unsigned word that they are. */
static inline u16 mdl_flags(const MDL *mdl) {
    return (u16)mdl->MdlFlags;
}

/* What a frame's record calls a memory type that Windows' callers ask for; false for a value without meaning. */
bool mdl_cache_of(MEMORY_CACHING_TYPE type, enum pfn_cache *ret);
