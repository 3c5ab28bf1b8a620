/*
 * frames.h - physical memory: a PFN-database record for every frame of RAM, and the frame allocator.
 */
#pragma once

#include "lab.h"
#include "paging/paging.h"

/* Windows' names for the list a frame is on (MMPFN u3.e1.PageLocation). */
enum page_location {
    PAGE_ZEROED,
    PAGE_FREE,
    PAGE_STANDBY,
    PAGE_MODIFIED,
    PAGE_MODIFIED_NO_WRITE,
    PAGE_BAD,
    PAGE_ACTIVE,
    PAGE_TRANSITION,
};

/* What an active frame serves: our addition, kept where Windows keeps spare bits of u4. */
enum frame_use {
    FRAME_UNUSED,
    FRAME_KERNEL,     /* the kernel's image */
    FRAME_TABLE,      /* a page table of any level */
    FRAME_PFN_DB,     /* the PFN database itself */
    FRAME_STACK,      /* kernel and interrupt stacks */
    FRAME_POOL,       /* NonPagedPool (executable) */
    FRAME_POOL_NX,    /* NonPagedPoolNx */
    FRAME_MDL,        /* MmAllocatePagesForMdl */
    FRAME_SYSTEM,     /* KUSER_SHARED_DATA and other single pages */
    FRAME_FIRMWARE,   /* RAM the memory map does not call usable */
    FRAME_DRIVER,     /* the image of a driver */
    FRAME_USER,       /* at a user address */
    FRAME_CONTIGUOUS, /* MmAllocateContiguousMemory */
    FRAME_NON_CACHED, /* MmAllocateNonCachedMemory */
    FRAME_LOCKED,     /* freed by its owner, but not yet unlocked by all that locked it */
};

/*
 * MMPFN of 64-bit Windows 6.1, 0x30 bytes. Where fields differ by list, the name before "or" is that of an active
 * frame: u1 WsIndex or Flink, u2 ShareCount or Blink. The lists are linked by frame number and end with PFN_LIST_END.
 *
 * An active frame has one reference, and one more for each time it is locked (frame_lock). Its share count is 1, and
 * higher by one for each mapping by an MDL or of I/O space. A page table's is higher by the number of its present
 * entries, as in Windows; the same number stands in UsedPageTableEntries (Windows: user tables only).
 */
typedef struct _MMPFN {
    u64 u1;
    pte_t *PteAddress; /* the entry that maps the frame, in the self map; NULL when several or none do */
    u64 u2;
    struct {
        u16 ReferenceCount;
        u16 e1; /* enum pfn_e1 */
        u32 UsedPageTableEntries;
    } u3;
    u64 OriginalPte;
    u64 u4; /* bits 51:0 PteFrame, the table that holds PteAddress; bits 63:60 enum frame_use */
} MMPFN;
_Static_assert(sizeof(MMPFN) == 0x30 && offsetof(MMPFN, PteAddress) == 8 && offsetof(MMPFN, u3) == 0x18 &&
                   offsetof(MMPFN, OriginalPte) == 0x20 && offsetof(MMPFN, u4) == 0x28,
               "MMPFN is laid out as Windows lays it out");

/* MMPFN u3.e1: Modified 0, ReadInProgress 1, WriteInProgress 2, PrototypePte 3, PageColor 7:4, PageLocation 10:8,
   RemovalRequested 11, CacheAttribute 13:12, Rom 14, ParityError 15. */
enum pfn_e1 {
    PFN_E1_MODIFIED = 1 << 0,
    PFN_E1_LOCATION_SHIFT = 8,
    PFN_E1_LOCATION_MASK = 7 << 8,
    PFN_E1_CACHE_SHIFT = 12,
    PFN_E1_CACHE_MASK = 3 << 12,
};

/* MMPFN u3.e1.CacheAttribute: the memory type that every mapping of the frame has. */
enum pfn_cache {
    PFN_NON_CACHED,
    PFN_CACHED,
    PFN_WRITE_COMBINED,
    PFN_NOT_MAPPED, /* none yet: the first mapping decides */
};
enum { PFN_USE_SHIFT = 60 };
#define PFN_FRAME_MASK ((1ull << 52) - 1)
#define PFN_LIST_END (~0ull)

/*
 * The record of frame n stands at ((MMPFN *)PFN_DATABASE)[n]; holes between ranges of RAM are not mapped.
 *
 * The records of a section (64 MiB of RAM) are written when the first of them is needed: else each GiB would cost 12
 * MiB of writing at boot. frame_sections[n / FRAMES_PER_SECTION] tells whether they are. A frame of a section that is
 * not written yet is free, and its record means nothing.
 */
enum { PFN_DATABASE = 0xfffffa8000000000ull };
enum { PFN_DATABASE_END = 0xfffffa8040000000ull };
enum { FRAMES_PER_SECTION = 16384 };
enum { FRAME_LIMIT = (PFN_DATABASE_END - PFN_DATABASE) / sizeof(MMPFN) }; /* RAM from here on is not used */
enum { FRAME_SECTIONS = FRAME_LIMIT / FRAMES_PER_SECTION + 1 };
extern bool frame_sections[FRAME_SECTIONS];

/*
 * Builds the PFN database from the memory map and the page tables: every frame that a table maps is active, the rest of
 * the usable RAM goes to the free list. Until then frame_allocate takes frames from the end of the kernel's image on.
 */
void frames_init(void);

/* Zeroes a few frames ahead of their use; the last step of booting. */
void frames_zero_some(void);

MMPFN *frame_record(u64 pfn); /* NULL where there is no RAM; writes the section's records if need be */
bool frame_is_ram(u64 pfn);
enum frame_use frame_use(u64 pfn); /* FRAME_UNUSED also where there is no RAM */
u64 frames_available(void);        /* frames on the free and zeroed lists or in sections not needed yet */

enum frame_contents { FRAME_ANY, FRAME_ZERO };

/* Where a physically contiguous run of frames may lie: in [lowest, highest]. */
struct frame_limits {
    u64 lowest, highest;
    u64 align;    /* the first frame is a multiple of it */
    u64 boundary; /* no frame but the first is; 0: there is no such boundary */
};

/* Both return 0 when out of memory: frame 0 is never handed out. A new frame is active with one reference. */
u64 frame_allocate(enum frame_use use, enum frame_contents contents);
u64 frame_allocate_range(enum frame_use use, enum frame_contents contents, u64 count,
                         const struct frame_limits *limits);

/* Its owner gives it up. A frame that is locked stays, as FRAME_LOCKED, until it is no more. */
void frame_free(u64 pfn);
void frame_zero(u64 pfn);

/* Locking keeps a frame from being used for anything else. False: it is locked as often as can be counted. */
bool frame_lock(u64 pfn);
bool frame_unlock(u64 pfn); /* false: it is not locked */
bool frame_is_locked(u64 pfn);

/* Counts a mapping made (1) or removed (-1) besides the owner's. Knows nothing of frames that are in no use. */
void frame_count_mapping(u64 pfn, int change);

void frame_set_pte(u64 pfn, pte_t *entry); /* remember which entry maps it (MMPFN.PteAddress) */

/* The memory type of a frame of RAM; PFN_CACHED when newly allocated. */
enum pfn_cache frame_cache(u64 pfn);
void frame_set_cache(u64 pfn, enum pfn_cache cache);

/* Notes in a table's record that it has one present entry more (1) or less (-1). pt_set calls it. */
void frame_count_entry(u64 table, int change);
