/*
 * mdl_partial.c - MDLs of a part of what another describes, and an MDL that gives up its beginning.
 */
#include "memory/mapping.h"
#include "memory/mdl.h"
#include "nt/rtl.h"

/* ----------------------------------------------------------------------------------------------- partial MDLs ---- */

/* What a partial MDL keeps of its own flags, and what it takes over. */
enum {
    TARGET_FLAGS = MDL_ALLOCATED_FIXED_SIZE | MDL_ALLOCATED_MUST_SUCCEED,
    SOURCE_FLAGS = MDL_IO_PAGE_READ | MDL_SOURCE_IS_NONPAGED_POOL | MDL_MAPPED_TO_SYSTEM_VA | MDL_IO_SPACE,
};

/* Where the part begins in the source's buffer, and how long it is; false when it is no part of it. */
static bool find_part(PMDL source, PVOID address, ULONG *length, u64 *ret_offset) {
    u64 offset = (u64)address - (u64)MmGetMdlVirtualAddress(source);
    if (offset > source->ByteCount)
        return false;
    if (!*length)
        *length = (ULONG)(source->ByteCount - offset);
    *ret_offset = offset;
    return *length <= source->ByteCount - offset;
}

static VOID NTAPI IoBuildPartialMdl(PMDL SourceMdl, PMDL TargetMdl, PVOID VirtualAddress, ULONG Length) {
    PMDL source = SourceMdl, target = TargetMdl;
    u64 offset = 0;
    bool part = find_part(source, VirtualAddress, &Length, &offset);
    if (!part || MmSizeOfMdl(VirtualAddress, Length) > (u16)target->Size) {
        log_print("IoBuildPartialMdl: MDL %p has no room for %u bytes at %p of MDL %p, or that has fewer\n", target,
                  Length, VirtualAddress, source);
        KeBugCheckEx(TARGET_MDL_TOO_SMALL, 0, 0, 0, 0); /* documented to have no parameters */
    }
    target->StartVa = PAGE_ALIGN(VirtualAddress);
    target->ByteOffset = BYTE_OFFSET(VirtualAddress);
    target->ByteCount = Length;
    target->Process = source->Process;
    target->MdlFlags = (CSHORT)((target->MdlFlags & TARGET_FLAGS) | (source->MdlFlags & SOURCE_FLAGS) | MDL_PARTIAL);
    target->MappedSystemVa = (PCHAR)source->MappedSystemVa + offset;
    memcpy(MmGetMdlPfnArray(target), MmGetMdlPfnArray(source) + ((source->ByteOffset + offset) >> PAGE_SHIFT),
           mdl_pages(target) * sizeof(PFN_NUMBER));
}
NT_MEMORY_EXPORT(IoBuildPartialMdl);

/* -------------------------------------------------------------------------------------------------- advancing ---- */

/*
 * Pages that were locked by this MDL are unlocked as it passes them; those of a partial MDL are not its own. A mapping
 * of them ends, but its addresses stay reserved with the rest: their number follows the frame numbers that are left.
 */
static void pass_pages(PMDL mdl, u64 pages) {
    PPFN_NUMBER frames = MmGetMdlPfnArray(mdl);
    u64 left = mdl_pages(mdl) - pages, passed = mdl_passed_pages(mdl) + pages;
    if (mdl->MdlFlags & MDL_PAGES_LOCKED)
        mdl_unlock_pages(mdl, 0, pages);
    memmove(frames, frames + pages, left * sizeof(PFN_NUMBER));
    if (mdl_owns_mapping(mdl)) {
        mapping_clear((u64)PAGE_ALIGN(mdl->MappedSystemVa), pages);
        frames[left] = passed;
        mdl->MdlFlags |= MDL_FREE_EXTRA_PTES;
    }
}

static NTSTATUS NTAPI MmAdvanceMdl(PMDL Mdl, ULONG NumberOfBytes) {
    if (NumberOfBytes > Mdl->ByteCount)
        return STATUS_INVALID_PARAMETER_2;
    u64 start = (u64)Mdl->ByteOffset + NumberOfBytes, pages = start >> PAGE_SHIFT;
    if (pages)
        pass_pages(Mdl, pages);
    Mdl->StartVa = (PCHAR)Mdl->StartVa + pages * PAGE_SIZE;
    Mdl->ByteOffset = BYTE_OFFSET(start);
    Mdl->ByteCount -= NumberOfBytes;
    if (Mdl->MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL))
        Mdl->MappedSystemVa = (PCHAR)Mdl->MappedSystemVa + NumberOfBytes;
    return STATUS_SUCCESS;
}
NT_MEMORY_EXPORT(MmAdvanceMdl);
