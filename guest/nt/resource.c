/*
 * resource.c - ERESOURCEs: many readers or one writer. Owners are not kept by thread, except for the writer, which is
 * enough to tell the documented misuse: releasing what the thread does not own (bug check 0xE3).
 */
#include "memory/verifier.h"
#include "nt/irql.h"
#include "nt/rtl.h"
#include "nt/thread.h"

enum resource_flag { RESOURCE_EXCLUSIVE = 0x80 };

static ULONG_PTR self(void) {
    return (ULONG_PTR)thread_current();
}

static bool is_mine(const ERESOURCE *resource) {
    return resource->Flag & RESOURCE_EXCLUSIVE && resource->OwnerEntry.OwnerThread == self();
}

static void wait_in_turn(ULONG *waiters) {
    LARGE_INTEGER at_once = {.QuadPart = 0};
    ++*waiters;
    KeDelayExecutionThread(KernelMode, FALSE, &at_once);
    --*waiters;
}

static NTSTATUS NTAPI ExInitializeResourceLite(PERESOURCE Resource) {
    memset(Resource, 0, sizeof(*Resource));
    return STATUS_SUCCESS;
}
NT_EXPORT(ExInitializeResourceLite);
NT_EXPORT_AS("ExReinitializeResourceLite", ExInitializeResourceLite);

static NTSTATUS NTAPI ExDeleteResourceLite(PERESOURCE Resource) {
    (void)Resource; /* nothing of it is elsewhere */
    return STATUS_SUCCESS;
}
NT_EXPORT(ExDeleteResourceLite);

/* A program's thread could be suspended while it holds the resource, by an APC; the system's threads cannot. */
static inline __attribute__((always_inline)) void verify_apcs(PERESOURCE resource, enum verifier_subcode subcode) {
    const KTHREAD *thread = thread_current();
    if (lab_options.verifier && thread->previous_mode == UserMode && !thread->apcs_disabled &&
        irql_current() < APC_LEVEL)
        verifier_stop(subcode, __builtin_return_address(0), irql_current(), thread->apcs_disabled, (u64)resource);
}

static BOOLEAN NTAPI ExAcquireResourceExclusiveLite(PERESOURCE Resource, BOOLEAN Wait) {
    verify_apcs(Resource, VERIFIER_RESOURCE_ACQUIRE_APCS);
    while (Resource->ActiveCount && !is_mine(Resource)) {
        if (!Wait)
            return FALSE;
        Resource->ContentionCount++;
        wait_in_turn(&Resource->NumberOfExclusiveWaiters);
    }
    Resource->Flag |= RESOURCE_EXCLUSIVE;
    Resource->OwnerEntry.OwnerThread = self();
    Resource->ActiveCount++;
    return TRUE;
}
NT_EXPORT(ExAcquireResourceExclusiveLite);

/* Whoever has it exclusively gets it once more. */
static BOOLEAN NTAPI ExAcquireResourceSharedLite(PERESOURCE Resource, BOOLEAN Wait) {
    verify_apcs(Resource, VERIFIER_RESOURCE_ACQUIRE_APCS);
    while (Resource->Flag & RESOURCE_EXCLUSIVE && !is_mine(Resource)) {
        if (!Wait)
            return FALSE;
        Resource->ContentionCount++;
        wait_in_turn(&Resource->NumberOfSharedWaiters);
    }
    Resource->ActiveCount++;
    return TRUE;
}
NT_EXPORT(ExAcquireResourceSharedLite);
NT_EXPORT_AS("ExAcquireSharedStarveExclusive", ExAcquireResourceSharedLite);
NT_EXPORT_AS("ExAcquireSharedWaitForExclusive", ExAcquireResourceSharedLite);

static VOID NTAPI ExReleaseResourceForThreadLite(PERESOURCE Resource, ULONG_PTR ResourceThreadId) {
    bool foreign = Resource->Flag & RESOURCE_EXCLUSIVE && Resource->OwnerEntry.OwnerThread != ResourceThreadId;
    if (!Resource->ActiveCount || foreign)
        KeBugCheckEx(RESOURCE_NOT_OWNED, (ULONG_PTR)Resource, ResourceThreadId, 0, 1);
    if (--Resource->ActiveCount == 0) {
        Resource->Flag &= (USHORT)~RESOURCE_EXCLUSIVE;
        Resource->OwnerEntry.OwnerThread = 0;
    }
}
NT_EXPORT(ExReleaseResourceForThreadLite);

static VOID NTAPI ExReleaseResourceLite(PERESOURCE Resource) {
    verify_apcs(Resource, VERIFIER_RESOURCE_RELEASE_APCS);
    ExReleaseResourceForThreadLite(Resource, self());
}
NT_EXPORT(ExReleaseResourceLite);

static VOID NTAPI ExConvertExclusiveToSharedLite(PERESOURCE Resource) {
    Resource->Flag &= (USHORT)~RESOURCE_EXCLUSIVE;
    Resource->OwnerEntry.OwnerThread = 0;
}
NT_EXPORT(ExConvertExclusiveToSharedLite);

static BOOLEAN NTAPI ExIsResourceAcquiredExclusiveLite(PERESOURCE Resource) {
    return is_mine(Resource);
}
NT_EXPORT(ExIsResourceAcquiredExclusiveLite);

static ULONG NTAPI ExIsResourceAcquiredSharedLite(PERESOURCE Resource) {
    bool mine = !(Resource->Flag & RESOURCE_EXCLUSIVE) || is_mine(Resource);
    return mine ? (ULONG)Resource->ActiveCount : 0;
}
NT_EXPORT(ExIsResourceAcquiredSharedLite);

static ULONG NTAPI ExGetExclusiveWaiterCount(PERESOURCE Resource) {
    return Resource->NumberOfExclusiveWaiters;
}
NT_EXPORT(ExGetExclusiveWaiterCount);

static ULONG NTAPI ExGetSharedWaiterCount(PERESOURCE Resource) {
    return Resource->NumberOfSharedWaiters;
}
NT_EXPORT(ExGetSharedWaiterCount);

static PVOID NTAPI ExEnterCriticalRegionAndAcquireResourceExclusive(PERESOURCE Resource) {
    KeEnterCriticalRegion();
    ExAcquireResourceExclusiveLite(Resource, TRUE);
    return NULL;
}
NT_EXPORT(ExEnterCriticalRegionAndAcquireResourceExclusive);

static PVOID NTAPI ExEnterCriticalRegionAndAcquireResourceShared(PERESOURCE Resource) {
    KeEnterCriticalRegion();
    ExAcquireResourceSharedLite(Resource, TRUE);
    return NULL;
}
NT_EXPORT(ExEnterCriticalRegionAndAcquireResourceShared);

static VOID NTAPI ExReleaseResourceAndLeaveCriticalRegion(PERESOURCE Resource) {
    ExReleaseResourceLite(Resource);
    KeLeaveCriticalRegion();
}
NT_EXPORT(ExReleaseResourceAndLeaveCriticalRegion);
