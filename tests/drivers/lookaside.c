/*
 * lookaside.c - a lookaside list: blocks of one size, kept for the next who needs one.
 *
 * Freed entries stay on a list of the driver's own and are handed out again, last in, first out. Only when it is empty
 * does the pool get asked, and only what is left on it at the end goes back there.
 */
#include <ntddk.h>

#define TAG 'kooL'
#define ENTRIES 4

typedef struct _REQUEST {
    LIST_ENTRY Link;
    ULONG Number;
} REQUEST, *PREQUEST;

DRIVER_INITIALIZE DriverEntry;
DRIVER_UNLOAD DriverUnload;

static NPAGED_LOOKASIDE_LIST Lookaside;
static LIST_ENTRY Pending;
static KSPIN_LOCK PendingLock;

static NTSTATUS Queue(ULONG Number) {
    PREQUEST request = ExAllocateFromNPagedLookasideList(&Lookaside);
    if (request == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    request->Number = Number;
    ExInterlockedInsertTailList(&Pending, &request->Link, &PendingLock);
    DbgPrint("lookaside: request %u at %p\n", Number, request);
    return STATUS_SUCCESS;
}

static ULONG Drain(VOID) {
    PLIST_ENTRY link;
    ULONG count = 0;
    while ((link = ExInterlockedRemoveHeadList(&Pending, &PendingLock)) != NULL) {
        PREQUEST request = CONTAINING_RECORD(link, REQUEST, Link);
        DbgPrint("lookaside: done with request %u at %p\n", request->Number, request);
        ExFreeToNPagedLookasideList(&Lookaside, request);
        count++;
    }
    return count;
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    NTSTATUS status = STATUS_SUCCESS;
    UNREFERENCED_PARAMETER(RegistryPath);

    KeInitializeSpinLock(&PendingLock);
    InitializeListHead(&Pending);
    ExInitializeNPagedLookasideList(&Lookaside, NULL, NULL, POOL_NX_ALLOCATION, sizeof(REQUEST), TAG, 0);

    for (ULONG round = 0; round < 2 && NT_SUCCESS(status); round++) {
        for (ULONG i = 0; i < ENTRIES && NT_SUCCESS(status); i++)
            status = Queue(10 * round + i);
        DbgPrint("lookaside: round %u, %u requests served\n", round, Drain());
    }
    /* The second round found the entries of the first: half of the allocations missed the list, half did not. */
    DbgPrint("lookaside: %u allocations, %u of them from the pool\n", Lookaside.L.TotalAllocates,
             Lookaside.L.AllocateMisses);

    DriverObject->DriverUnload = DriverUnload;
    if (!NT_SUCCESS(status))
        ExDeleteNPagedLookasideList(&Lookaside);
    return status;
}

VOID DriverUnload(PDRIVER_OBJECT DriverObject) {
    UNREFERENCED_PARAMETER(DriverObject);
    ExDeleteNPagedLookasideList(&Lookaside);
}
