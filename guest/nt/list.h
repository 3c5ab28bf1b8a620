/*
 * list.h - doubly linked lists with a head, as wdm.h's macros of these names handle them.
 */
#pragma once

#include "nt.h"

#define CONTAINING_RECORD(address, type, field) ((type *)(void *)((char *)(address) - offsetof(type, field)))

static inline void InitializeListHead(PLIST_ENTRY ListHead) {
    ListHead->Flink = ListHead->Blink = ListHead;
}

static inline bool IsListEmpty(const LIST_ENTRY *ListHead) {
    return ListHead->Flink == ListHead;
}

/* Neighbours that do not point back: the list is corrupt. Windows 8 and later stop here, too
 * (FAST_FAIL_CORRUPT_LIST_ENTRY). */
static inline void list_check(const LIST_ENTRY *entry) {
    if (entry->Flink->Blink != entry || entry->Blink->Flink != entry)
        KeBugCheckEx(KERNEL_SECURITY_CHECK_FAILURE, 3, (ULONG_PTR)entry, 0, 0);
}

static inline void RemoveEntryList(PLIST_ENTRY Entry) {
    list_check(Entry);
    Entry->Blink->Flink = Entry->Flink;
    Entry->Flink->Blink = Entry->Blink;
}

static inline PLIST_ENTRY RemoveHeadList(PLIST_ENTRY ListHead) {
    PLIST_ENTRY entry = ListHead->Flink;
    RemoveEntryList(entry);
    return entry;
}

static inline PLIST_ENTRY RemoveTailList(PLIST_ENTRY ListHead) {
    PLIST_ENTRY entry = ListHead->Blink;
    RemoveEntryList(entry);
    return entry;
}

static inline void InsertTailList(PLIST_ENTRY ListHead, PLIST_ENTRY Entry) {
    list_check(ListHead);
    *Entry = (LIST_ENTRY){ListHead, ListHead->Blink};
    ListHead->Blink->Flink = Entry;
    ListHead->Blink = Entry;
}

static inline void InsertHeadList(PLIST_ENTRY ListHead, PLIST_ENTRY Entry) {
    list_check(ListHead);
    *Entry = (LIST_ENTRY){ListHead->Flink, ListHead};
    ListHead->Flink->Blink = Entry;
    ListHead->Flink = Entry;
}
