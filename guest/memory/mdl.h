/*
 * mdl.h - memory descriptor lists: what the files of the MDL calls share. The calls and the MDL itself are in nt.h.
 *
 * Every MDL that this kernel allocates (IoAllocateMdl, MmAllocatePagesForMdl) is one NonPagedPoolNx allocation with
 * the tag MDL_TAG, and nothing else bears that tag: whoever lists the pool's blocks of that tag has listed the MDLs.
 * An MDL that a driver lays out in memory of its own is not among them, as on Windows.
 *
 * What the PFN database says of a frame that an MDL describes: its share count is 1 for the owner and 1 for each
 * mapping by an MDL. The reference count is 1 for the owner and 1 for each MDL that has locked it.
 */
#pragma once

#include "lab.h"
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

/* Whether a mapping stands that is this MDL's own; a partial MDL shares that of its source at first. */
static inline bool mdl_owns_mapping(const MDL *mdl) {
    bool shared = mdl->MdlFlags & MDL_PARTIAL && !(mdl->MdlFlags & MDL_PARTIAL_HAS_BEEN_MAPPED);
    return mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA && !shared;
}

/*
 * After the frame numbers, while MDL_FREE_EXTRA_PTES is set: how many pages of the mapping MmAdvanceMdl has passed.
 * They are unmapped, but reserved with the others until those are unmapped too.
 */
static inline u64 mdl_passed_pages(const MDL *mdl) {
    return mdl->MdlFlags & MDL_FREE_EXTRA_PTES ? MmGetMdlPfnArray(mdl)[mdl_pages(mdl)] : 0;
}

/* Drops the lock reference of some of an MDL's pages; stops with bug check 0x4E where there is none to drop. */
void mdl_unlock_pages(const MDL *mdl, u64 first, u64 count);

/* Stops unless each page of an MDL has an owner; an MDL that was never described has only pages without one. */
void mdl_check_pages(PMDL mdl, const void *caller);

/* What the verifier demands of an MDL before it is mapped. */
void mdl_verify_map(PMDL mdl, bool bugcheck_on_failure, const void *caller);

/* MmUnmapLockedPages, for those who do not call it on a driver's behalf. */
void mdl_unmap(PVOID address, PMDL mdl);
