/*
 * mapping.h - frames at system PTEs: what mappings of MDLs and of I/O space, contiguous and non-cached memory share.
 */
#pragma once

#include "lab.h"
#include "memory/frames.h"
#include "memory/system_ptes.h"
#include "nt.h"

/* How pages are to be mapped: the memory type where a frame has none yet, and the bits of a leaf that are rights. */
struct mapping_kind {
    enum pfn_cache cache;
    u64 rights;
};

/* Rights of kernel pages by what may be done with them; x86 has no "execute but not read". */
enum mapping_rights {
    MAPPING_READ = 1 << 0,
    MAPPING_WRITE = 1 << 1,
    MAPPING_EXECUTE = 1 << 2,
    MAPPING_ALL = MAPPING_READ | MAPPING_WRITE | MAPPING_EXECUTE,
};
u64 mapping_rights_bits(enum mapping_rights rights);

/* What Windows' callers ask for, in our words; false for a value without meaning. */
bool mapping_cache_of(MEMORY_CACHING_TYPE type, enum pfn_cache *ret);
bool mapping_kind_of_cache(MEMORY_CACHING_TYPE type, struct mapping_kind *ret); /* with all rights */
bool mapping_rights_of(ULONG protect, enum mapping_rights *ret);                /* PAGE_READONLY..., no modifiers */
bool mapping_kind_of_protect(ULONG protect, struct mapping_kind *ret); /* and PAGE_NOCACHE, PAGE_WRITECOMBINE */

/* The frames to be mapped, one after another: a list of them or, without one, the run from `first` on. */
struct mapping_frames {
    const PFN_NUMBER *list;
    u64 first;
    bool owned; /* this mapping is what the frames are for, and not one besides */
};

/*
 * Maps them at `base`, where pages are reserved and unmapped. False: out of memory for a page table, nothing is mapped.
 * A mapping that owns its frames is noted in their records, all others are counted in the share count; the functions
 * below that end a mapping are for those others.
 */
bool mapping_fill(u64 base, u64 pages, struct mapping_frames frames, struct mapping_kind kind);
void mapping_clear(u64 base, u64 pages);

/* The same with the reservation around it; 0 when that or a table cannot be had. */
u64 mapping_make(enum system_pte_use use, u64 pages, struct mapping_frames frames, struct mapping_kind kind);
void mapping_remove(u64 base, u64 pages);

/* What has taken the place of an entry whose page was made inaccessible; it keeps the frame. */
static inline bool mapping_is_no_access(pte_t entry) {
    return !pte_present(entry) && pte_pfn(entry);
}
