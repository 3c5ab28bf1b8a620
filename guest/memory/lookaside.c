#include "memory/lookaside.h"

#include "memory/journal.h"
#include "memory/ledger.h"
#include "memory/pool.h"
#include "memory/verifier.h"

/* Windows' depths. It adapts Depth to how a list is used; here it stays the smallest. */
enum { DEPTH_SMALLEST = 4, DEPTH_LARGEST = 256 };

/* An entry on the list is linked by its first bytes. */
enum { SMALLEST_ENTRY = sizeof(void *) };

/*
 * The lists in use. Windows links them by L.ListEntry, through memory that a driver may give back without deleting its
 * list; what does not fit here only escapes the verifier.
 */
enum { LISTS = 256 };
static const GENERAL_LOOKASIDE_POOL *lists[LISTS];
static u64 used; /* slots from here on were never used */

static const GENERAL_LOOKASIDE_POOL **slot_of(u64 address, u64 bytes) {
    for (u64 i = 0; i < used; i++) {
        if (lists[i] && (u64)lists[i] - address < bytes)
            return &lists[i];
    }
    return NULL;
}

const void *lookaside_find(u64 address, u64 bytes) {
    const GENERAL_LOOKASIDE_POOL **slot = slot_of(address, bytes);
    return slot ? *slot : NULL;
}

void lookaside_forget(u64 address, u64 bytes) {
    for (const GENERAL_LOOKASIDE_POOL **slot; (slot = slot_of(address, bytes));)
        *slot = NULL;
}

static void remember(const GENERAL_LOOKASIDE_POOL *list) {
    u64 slot = 0;
    while (slot < used && lists[slot])
        slot++;
    if (slot == LISTS)
        return;
    lists[slot] = list;
    if (slot == used)
        used++;
}

/* -------------------------------------------------------------------------------------- what all kinds share ---- */

static void verify_new(const GENERAL_LOOKASIDE_POOL *list, SIZE_T size, const void *caller) {
    if (lookaside_find((u64)list, 1))
        verifier_stop(VERIFIER_LOOKASIDE_AGAIN, caller, (u64)list, 0, 0);
    if (size < SMALLEST_ENTRY)
        verifier_stop(VERIFIER_LOOKASIDE_SIZE, caller, (u64)list, size, SMALLEST_ENTRY);
}

/*
 * What stands in for the driver's own functions, in lists of all kinds: that some callers leave out the last parameter
 * does not matter to the Microsoft convention. The calls are inlined into drivers: so the pool sees who it was.
 */
static PVOID NTAPI allocate_default(POOL_TYPE type, SIZE_T bytes, ULONG tag, PLOOKASIDE_LIST_EX lookaside) {
    (void)lookaside;
    return pool_call_allocate(type, bytes, tag, CALLER());
}

static VOID NTAPI free_default(PVOID entry, PLOOKASIDE_LIST_EX lookaside) {
    (void)lookaside;
    pool_call_free(entry, 0, CALLER());
}

/* Who is served from special pool gets a list that keeps nothing: each entry shall come from there. */
static void initialize(GENERAL_LOOKASIDE_POOL *list, POOL_TYPE type, SIZE_T size, ULONG tag, const void *caller) {
    if (lab_options.verifier)
        verify_new(list, size, caller);
    *list = (GENERAL_LOOKASIDE_POOL){
        .Depth = pool_is_watched(caller) ? 0 : DEPTH_SMALLEST,
        .MaximumDepth = DEPTH_LARGEST,
        .Type = type,
        .Tag = tag,
        .Size = (ULONG)(size < SMALLEST_ENTRY ? SMALLEST_ENTRY : size),
        .AllocateEx = allocate_default,
        .FreeEx = free_default,
        .ListEntry = {&list->ListEntry, &list->ListEntry},
    };
    InitializeSListHead(&list->ListHead);
    lookaside_forget((u64)list, 1);
    remember(list);
    ledger_add(LEDGER_LOOKASIDE, list, size, tag, caller);
}

/* The last parameter is for lists of both kinds of pool; functions of others do not look at it. */
static PVOID take(GENERAL_LOOKASIDE_POOL *list) {
    list->TotalAllocates++;
    PVOID entry = ExpInterlockedPopEntrySList(&list->ListHead);
    if (entry)
        return entry;
    list->AllocateMisses++;
    return list->AllocateEx(list->Type, list->Size, list->Tag, (PLOOKASIDE_LIST_EX)list);
}

static void give(GENERAL_LOOKASIDE_POOL *list, PVOID entry) {
    list->TotalFrees++;
    if (ExQueryDepthSList(&list->ListHead) < list->Depth) {
        ExpInterlockedPushEntrySList(&list->ListHead, entry);
        return;
    }
    list->FreeMisses++;
    list->FreeEx(entry, (PLOOKASIDE_LIST_EX)list);
}

static void flush(GENERAL_LOOKASIDE_POOL *list) {
    PSLIST_ENTRY entry = ExpInterlockedFlushSList(&list->ListHead);
    while (entry) {
        PSLIST_ENTRY next = entry->Next;
        list->FreeEx(entry, (PLOOKASIDE_LIST_EX)list);
        entry = next;
    }
}

/* Entries that are still in use are not on the list: their users free them by other means, or never. */
static void delete(GENERAL_LOOKASIDE_POOL *list, const void *caller) {
    if (lab_options.verifier && !lookaside_find((u64)list, 1))
        verifier_stop(VERIFIER_LOOKASIDE_UNKNOWN, caller, (u64)list, 0, 0);
    lookaside_forget((u64)list, 1);
    ledger_remove(LEDGER_LOOKASIDE, list);
    flush(list);
}

/* ---------------------------------------------------------------------------- nonpaged lists and paged lists ---- */

static void initialize_simple(GENERAL_LOOKASIDE_POOL *list, PALLOCATE_FUNCTION allocate, PFREE_FUNCTION free,
                              POOL_TYPE type, SIZE_T size, ULONG tag, const void *caller) {
    initialize(list, type, size, tag, caller);
    if (allocate)
        list->Allocate = allocate;
    if (free)
        list->Free = free;
}

/* Flags: POOL_NX_ALLOCATION and POOL_RAISE_IF_ALLOCATION_FAILURE become part of the type. */
static VOID NTAPI ExInitializeNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside, PALLOCATE_FUNCTION Allocate,
                                                  PFREE_FUNCTION Free, ULONG Flags, SIZE_T Size, ULONG Tag,
                                                  USHORT Depth) {
    (void)Depth; /* reserved */
    initialize_simple(&Lookaside->L.L, Allocate, Free, NonPagedPool | Flags, Size, Tag, CALLER());
}
NT_MEMORY_EXPORT(ExInitializeNPagedLookasideList);

static VOID NTAPI ExInitializePagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside, PALLOCATE_FUNCTION Allocate,
                                                 PFREE_FUNCTION Free, ULONG Flags, SIZE_T Size, ULONG Tag,
                                                 USHORT Depth) {
    (void)Depth;
    initialize_simple(&Lookaside->L.L, Allocate, Free, PagedPool | Flags, Size, Tag, CALLER());
}
NT_MEMORY_EXPORT(ExInitializePagedLookasideList);

static VOID NTAPI ExDeleteNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside) {
    delete(&Lookaside->L.L, CALLER());
}
NT_MEMORY_EXPORT(ExDeleteNPagedLookasideList);

static VOID NTAPI ExDeletePagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside) {
    delete(&Lookaside->L.L, CALLER());
}
NT_MEMORY_EXPORT(ExDeletePagedLookasideList);

static PVOID NTAPI ExAllocateFromNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside) {
    return take(&Lookaside->L.L);
}
NT_MEMORY_EXPORT(ExAllocateFromNPagedLookasideList);

static PVOID NTAPI ExAllocateFromPagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside) {
    return take(&Lookaside->L.L);
}
NT_MEMORY_EXPORT(ExAllocateFromPagedLookasideList);

static VOID NTAPI ExFreeToNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside, PVOID Entry) {
    give(&Lookaside->L.L, Entry);
}
NT_MEMORY_EXPORT(ExFreeToNPagedLookasideList);

static VOID NTAPI ExFreeToPagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside, PVOID Entry) {
    give(&Lookaside->L.L, Entry);
}
NT_MEMORY_EXPORT(ExFreeToPagedLookasideList);

/* --------------------------------------------------------------------------------------------- lists of both ---- */

/* The bit of a POOL_TYPE that a flag of the list stands for. */
static POOL_TYPE type_with_flags(POOL_TYPE type, ULONG flags) {
    return type | (flags & EX_LOOKASIDE_LIST_EX_FLAGS_RAISE_ON_FAIL ? POOL_RAISE_IF_ALLOCATION_FAILURE : 0u) |
           (flags & EX_LOOKASIDE_LIST_EX_FLAGS_FAIL_NO_RAISE ? POOL_QUOTA_FAIL_INSTEAD_OF_RAISE : 0u);
}

static NTSTATUS NTAPI ExInitializeLookasideListEx(PLOOKASIDE_LIST_EX Lookaside, PALLOCATE_FUNCTION_EX Allocate,
                                                  PFREE_FUNCTION_EX Free, POOL_TYPE PoolType, ULONG Flags, SIZE_T Size,
                                                  ULONG Tag, USHORT Depth) {
    const ULONG bits = POOL_TYPE_BASE | POOL_TYPE_NX | POOL_COLD_ALLOCATION | POOL_ZERO_ALLOCATION;
    (void)Depth; /* reserved */
    if (PoolType & ~bits || PoolType & POOL_TYPE_MUST_SUCCEED)
        return STATUS_INVALID_PARAMETER_4;
    if (Flags > EX_LOOKASIDE_LIST_EX_FLAGS_FAIL_NO_RAISE) /* at most one of the two */
        return STATUS_INVALID_PARAMETER_5;
    initialize(&Lookaside->L, type_with_flags(PoolType, Flags), Size, Tag, CALLER());
    if (Allocate)
        Lookaside->L.AllocateEx = Allocate;
    if (Free)
        Lookaside->L.FreeEx = Free;
    return STATUS_SUCCESS;
}
NT_MEMORY_EXPORT(ExInitializeLookasideListEx);

static VOID NTAPI ExDeleteLookasideListEx(PLOOKASIDE_LIST_EX Lookaside) {
    delete(&Lookaside->L, CALLER());
}
NT_MEMORY_EXPORT(ExDeleteLookasideListEx);

static VOID NTAPI ExFlushLookasideListEx(PLOOKASIDE_LIST_EX Lookaside) {
    flush(&Lookaside->L);
}
NT_MEMORY_EXPORT(ExFlushLookasideListEx);

static PVOID NTAPI ExAllocateFromLookasideListEx(PLOOKASIDE_LIST_EX Lookaside) {
    return take(&Lookaside->L);
}
NT_MEMORY_EXPORT(ExAllocateFromLookasideListEx);

static VOID NTAPI ExFreeToLookasideListEx(PLOOKASIDE_LIST_EX Lookaside, PVOID Entry) {
    give(&Lookaside->L, Entry);
}
NT_MEMORY_EXPORT(ExFreeToLookasideListEx);
