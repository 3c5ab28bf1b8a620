/*
 * interlocked.c - lists that several may change at a time. One processor and no interrupts during a call: there is
 * nothing to lock; the sequence numbers are kept, so that what a debugger shows is what it shows on Windows.
 */
#include "nt/irql.h"
#include "nt/list.h"

/* ------------------------------------------------------------------------------------------ lists and counters ---- */

static PLIST_ENTRY or_null(PLIST_ENTRY head, PLIST_ENTRY entry) {
    return entry == head ? NULL : entry;
}

static PLIST_ENTRY NTAPI ExInterlockedInsertHeadList(PLIST_ENTRY ListHead, PLIST_ENTRY ListEntry, PKSPIN_LOCK Lock) {
    (void)Lock;
    PLIST_ENTRY old = or_null(ListHead, ListHead->Flink);
    InsertHeadList(ListHead, ListEntry);
    return old;
}
NT_EXPORT(ExInterlockedInsertHeadList);

static PLIST_ENTRY NTAPI ExInterlockedInsertTailList(PLIST_ENTRY ListHead, PLIST_ENTRY ListEntry, PKSPIN_LOCK Lock) {
    (void)Lock;
    PLIST_ENTRY old = or_null(ListHead, ListHead->Blink);
    InsertTailList(ListHead, ListEntry);
    return old;
}
NT_EXPORT(ExInterlockedInsertTailList);

static PLIST_ENTRY NTAPI ExInterlockedRemoveHeadList(PLIST_ENTRY ListHead, PKSPIN_LOCK Lock) {
    (void)Lock;
    return IsListEmpty(ListHead) ? NULL : RemoveHeadList(ListHead);
}
NT_EXPORT(ExInterlockedRemoveHeadList);

typedef struct _SINGLE_LIST_ENTRY {
    struct _SINGLE_LIST_ENTRY *Next;
} SINGLE_LIST_ENTRY, *PSINGLE_LIST_ENTRY;

static PSINGLE_LIST_ENTRY NTAPI ExInterlockedPushEntryList(PSINGLE_LIST_ENTRY ListHead, PSINGLE_LIST_ENTRY ListEntry,
                                                           PKSPIN_LOCK Lock) {
    (void)Lock;
    ListEntry->Next = ListHead->Next;
    ListHead->Next = ListEntry;
    return ListEntry->Next;
}
NT_EXPORT(ExInterlockedPushEntryList);

static PSINGLE_LIST_ENTRY NTAPI ExInterlockedPopEntryList(PSINGLE_LIST_ENTRY ListHead, PKSPIN_LOCK Lock) {
    (void)Lock;
    PSINGLE_LIST_ENTRY entry = ListHead->Next;
    if (entry)
        ListHead->Next = entry->Next;
    return entry;
}
NT_EXPORT(ExInterlockedPopEntryList);

static LARGE_INTEGER NTAPI ExInterlockedAddLargeInteger(PLARGE_INTEGER Addend, LARGE_INTEGER Increment,
                                                        PKSPIN_LOCK Lock) {
    (void)Lock;
    LARGE_INTEGER old = *Addend;
    Addend->QuadPart += Increment.QuadPart;
    return old;
}
NT_EXPORT(ExInterlockedAddLargeInteger);

static ULONG NTAPI ExInterlockedAddUlong(PULONG Addend, ULONG Increment, PKSPIN_LOCK Lock) {
    (void)Lock;
    ULONG old = *Addend;
    *Addend += Increment;
    return old;
}
NT_EXPORT(ExInterlockedAddUlong);

/* ----------------------------------------------------------------------------------------------------- S-lists ---- */

/* DepthAndSequence: the depth in the low 16 bits, above it a number that each change counts up. */
enum { DEPTH_MASK = 0xffff, SEQUENCE_ONE = 1 << 16, HEADER_16_BYTES = 1 };

static PSLIST_ENTRY first_entry(const SLIST_HEADER *header) {
    return (PSLIST_ENTRY)(header->NextEntry & ~15ull);
}

static void set_first(PSLIST_HEADER header, PSLIST_ENTRY entry, i64 depth_change) {
    u64 depth = (header->DepthAndSequence + (u64)depth_change) & DEPTH_MASK;
    header->DepthAndSequence = ((header->DepthAndSequence & ~(u64)DEPTH_MASK) + SEQUENCE_ONE) | depth;
    header->NextEntry = (u64)entry | HEADER_16_BYTES;
}

/* A header or entry that CMPXCHG16B could not take: Windows raises this. */
static void check_alignment(const void *address) {
    if ((u64)address & 15)
        ExRaiseStatus(STATUS_DATATYPE_MISALIGNMENT);
}

VOID NTAPI InitializeSListHead(PSLIST_HEADER SListHead) {
    check_alignment(SListHead);
    *SListHead = (SLIST_HEADER){.NextEntry = HEADER_16_BYTES};
}
NT_EXPORT(InitializeSListHead);
NT_EXPORT_AS("ExInitializeSListHead", InitializeSListHead);
NT_EXPORT_AS("RtlInitializeSListHead", InitializeSListHead);

PSLIST_ENTRY NTAPI ExpInterlockedPushEntrySList(PSLIST_HEADER ListHead, PSLIST_ENTRY ListEntry) {
    check_alignment(ListHead);
    check_alignment(ListEntry);
    PSLIST_ENTRY old = first_entry(ListHead);
    ListEntry->Next = old;
    set_first(ListHead, ListEntry, 1);
    return old;
}
NT_EXPORT(ExpInterlockedPushEntrySList);
NT_EXPORT_AS("ExInterlockedPushEntrySList", ExpInterlockedPushEntrySList); /* a third argument, the lock, is not used */
NT_EXPORT_AS("InterlockedPushEntrySList", ExpInterlockedPushEntrySList);
NT_EXPORT_AS("RtlInterlockedPushEntrySList", ExpInterlockedPushEntrySList);

PSLIST_ENTRY NTAPI ExpInterlockedPopEntrySList(PSLIST_HEADER ListHead) {
    PSLIST_ENTRY entry = first_entry(ListHead);
    if (entry)
        set_first(ListHead, entry->Next, -1);
    return entry;
}
NT_EXPORT(ExpInterlockedPopEntrySList);
NT_EXPORT_AS("ExInterlockedPopEntrySList", ExpInterlockedPopEntrySList);
NT_EXPORT_AS("InterlockedPopEntrySList", ExpInterlockedPopEntrySList);
NT_EXPORT_AS("RtlInterlockedPopEntrySList", ExpInterlockedPopEntrySList);

PSLIST_ENTRY NTAPI ExpInterlockedFlushSList(PSLIST_HEADER ListHead) {
    PSLIST_ENTRY entry = first_entry(ListHead);
    if (entry)
        set_first(ListHead, NULL, -(i64)(ListHead->DepthAndSequence & DEPTH_MASK));
    return entry;
}
NT_EXPORT(ExpInterlockedFlushSList);
NT_EXPORT_AS("ExInterlockedFlushSList", ExpInterlockedFlushSList);
NT_EXPORT_AS("InterlockedFlushSList", ExpInterlockedFlushSList);
NT_EXPORT_AS("RtlInterlockedFlushSList", ExpInterlockedFlushSList);

USHORT NTAPI ExQueryDepthSList(PSLIST_HEADER SListHead) {
    return SListHead->DepthAndSequence & DEPTH_MASK;
}
NT_EXPORT(ExQueryDepthSList);
NT_EXPORT_AS("RtlQueryDepthSList", ExQueryDepthSList);
NT_EXPORT_AS("QueryDepthSList", ExQueryDepthSList);

static PSLIST_ENTRY NTAPI RtlFirstEntrySList(const SLIST_HEADER *ListHead) {
    return first_entry(ListHead);
}
NT_EXPORT(RtlFirstEntrySList);
NT_EXPORT_AS("FirstEntrySList", RtlFirstEntrySList);
