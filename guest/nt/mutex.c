/*
 * mutex.c - locks of threads that are lighter than dispatcher objects: fast and guarded mutexes, push locks, run-down
 * protection, remove locks, and the regions in which no APC may come. There are no APCs here, but their bookkeeping is
 * kept, because drivers ask and because a region that is not left is an error.
 */
#include "memory/verifier.h"
#include "nt/irql.h"
#include "nt/thread.h"

/* ----------------------------------------------------------------------------------------------------- regions ---- */

VOID NTAPI KeEnterCriticalRegion(VOID) {
    thread_current()->apcs_disabled++;
}
NT_EXPORT(KeEnterCriticalRegion);
NT_EXPORT_AS("KeEnterGuardedRegion", KeEnterCriticalRegion);
NT_EXPORT_AS("FsRtlEnterFileSystem", KeEnterCriticalRegion);

VOID NTAPI KeLeaveCriticalRegion(VOID) {
    PKTHREAD thread = thread_current();
    if (!thread->apcs_disabled && lab_options.verifier)
        verifier_stop(VERIFIER_REGION_NOT_ENTERED, __builtin_return_address(0), 0, 0, 0);
    if (!thread->apcs_disabled)
        KeBugCheckEx(APC_INDEX_MISMATCH, (ULONG_PTR)__builtin_return_address(0), 0, 0, 0);
    thread->apcs_disabled--;
}
NT_EXPORT(KeLeaveCriticalRegion);
NT_EXPORT_AS("KeLeaveGuardedRegion", KeLeaveCriticalRegion);
NT_EXPORT_AS("FsRtlExitFileSystem", KeLeaveCriticalRegion);

static BOOLEAN NTAPI KeAreApcsDisabled(VOID) {
    return thread_current()->apcs_disabled > 0;
}
NT_EXPORT(KeAreApcsDisabled);

static BOOLEAN NTAPI KeAreAllApcsDisabled(VOID) {
    return thread_current()->apcs_disabled > 0 || irql_current() >= APC_LEVEL;
}
NT_EXPORT(KeAreAllApcsDisabled);

/* ------------------------------------------------------------------------------------------------ fast mutexes ---- */

static VOID NTAPI ExInitializeFastMutex(PFAST_MUTEX Mutex) {
    *Mutex = (FAST_MUTEX){.Count = 1};
    KeInitializeEvent(&Mutex->Event, SynchronizationEvent, FALSE);
}
NT_EXPORT(ExInitializeFastMutex);
NT_EXPORT_AS("KeInitializeGuardedMutex", ExInitializeFastMutex);

/* Count goes down for each thread that holds it or waits. */
static VOID NTAPI ExAcquireFastMutexUnsafe(PFAST_MUTEX Mutex) {
    if (--Mutex->Count < 0) {
        Mutex->Contention++;
        KeWaitForSingleObject(&Mutex->Event, Executive, KernelMode, FALSE, NULL);
    }
    Mutex->Owner = thread_current();
}
NT_EXPORT(ExAcquireFastMutexUnsafe);

static VOID NTAPI ExReleaseFastMutexUnsafe(PFAST_MUTEX Mutex) {
    Mutex->Owner = NULL;
    if (++Mutex->Count < 1)
        KeSetEvent(&Mutex->Event, 0, FALSE);
}
NT_EXPORT(ExReleaseFastMutexUnsafe);

static VOID NTAPI ExAcquireFastMutex(PFAST_MUTEX Mutex) {
    verify_irql(APC_LEVEL, VERIFIER_FAST_MUTEX_ACQUIRE_IRQL, __builtin_return_address(0), (u64)Mutex, 0);
    KIRQL old = KfRaiseIrql(APC_LEVEL);
    ExAcquireFastMutexUnsafe(Mutex);
    Mutex->OldIrql = old;
}
NT_EXPORT(ExAcquireFastMutex);

static VOID NTAPI ExReleaseFastMutex(PFAST_MUTEX Mutex) {
    KIRQL old = (KIRQL)Mutex->OldIrql;
    if (lab_options.verifier && irql_current() != APC_LEVEL)
        verifier_stop(VERIFIER_FAST_MUTEX_RELEASE_IRQL, __builtin_return_address(0), irql_current(), (u64)Mutex, 0);
    ExReleaseFastMutexUnsafe(Mutex);
    KeLowerIrql(old);
}
NT_EXPORT(ExReleaseFastMutex);

static BOOLEAN NTAPI ExTryToAcquireFastMutex(PFAST_MUTEX Mutex) {
    if (Mutex->Count < 1)
        return FALSE;
    ExAcquireFastMutex(Mutex);
    return TRUE;
}
NT_EXPORT(ExTryToAcquireFastMutex);

/* A guarded mutex disables APCs without raising the IRQL. */
static VOID NTAPI KeAcquireGuardedMutex(PKGUARDED_MUTEX Mutex) {
    KeEnterCriticalRegion();
    ExAcquireFastMutexUnsafe(Mutex);
}
NT_EXPORT(KeAcquireGuardedMutex);
NT_EXPORT_AS("ExEnterCriticalRegionAndAcquireFastMutexUnsafe", KeAcquireGuardedMutex);

static VOID NTAPI KeReleaseGuardedMutex(PKGUARDED_MUTEX Mutex) {
    ExReleaseFastMutexUnsafe(Mutex);
    KeLeaveCriticalRegion();
}
NT_EXPORT(KeReleaseGuardedMutex);
NT_EXPORT_AS("ExReleaseFastMutexUnsafeAndLeaveCriticalRegion", KeReleaseGuardedMutex);
NT_EXPORT_AS("KeAcquireGuardedMutexUnsafe", ExAcquireFastMutexUnsafe);
NT_EXPORT_AS("KeReleaseGuardedMutexUnsafe", ExReleaseFastMutexUnsafe);

static BOOLEAN NTAPI KeTryToAcquireGuardedMutex(PKGUARDED_MUTEX Mutex) {
    if (Mutex->Count < 1)
        return FALSE;
    KeAcquireGuardedMutex(Mutex);
    return TRUE;
}
NT_EXPORT(KeTryToAcquireGuardedMutex);

/* -------------------------------------------------------------------------------------------------- push locks ---- */

/* Bit 0 as on Windows: held exclusively. Above it our own: how many share it. Waiting is trying again in turn. */
enum { PUSH_EXCLUSIVE = 1, PUSH_SHARE = 2 };

static void wait_in_turn(void) {
    LARGE_INTEGER at_once = {.QuadPart = 0};
    KeDelayExecutionThread(KernelMode, FALSE, &at_once);
}

static VOID NTAPI ExInitializePushLock(PULONG_PTR PushLock) {
    *PushLock = 0;
}
NT_EXPORT(ExInitializePushLock);

static VOID NTAPI ExfAcquirePushLockExclusive(PULONG_PTR PushLock) {
    while (*PushLock)
        wait_in_turn();
    *PushLock = PUSH_EXCLUSIVE;
}
NT_EXPORT(ExfAcquirePushLockExclusive);

static VOID NTAPI ExfAcquirePushLockShared(PULONG_PTR PushLock) {
    while (*PushLock & PUSH_EXCLUSIVE)
        wait_in_turn();
    *PushLock += PUSH_SHARE;
}
NT_EXPORT(ExfAcquirePushLockShared);

static VOID NTAPI ExfReleasePushLock(PULONG_PTR PushLock) {
    *PushLock = *PushLock & PUSH_EXCLUSIVE ? 0 : *PushLock - PUSH_SHARE;
}
NT_EXPORT(ExfReleasePushLock);
NT_EXPORT_AS("ExfReleasePushLockExclusive", ExfReleasePushLock);
NT_EXPORT_AS("ExfReleasePushLockShared", ExfReleasePushLock);

static VOID NTAPI ExAcquirePushLockExclusiveEx(PULONG_PTR PushLock, ULONG Flags) {
    (void)Flags;
    ExfAcquirePushLockExclusive(PushLock);
}
NT_EXPORT(ExAcquirePushLockExclusiveEx);
NT_EXPORT_AS("FltAcquirePushLockExclusive", ExfAcquirePushLockExclusive);

static VOID NTAPI ExAcquirePushLockSharedEx(PULONG_PTR PushLock, ULONG Flags) {
    (void)Flags;
    ExfAcquirePushLockShared(PushLock);
}
NT_EXPORT(ExAcquirePushLockSharedEx);

static VOID NTAPI ExReleasePushLockEx(PULONG_PTR PushLock, ULONG Flags) {
    (void)Flags;
    ExfReleasePushLock(PushLock);
}
NT_EXPORT(ExReleasePushLockEx);
NT_EXPORT_AS("ExReleasePushLockExclusiveEx", ExReleasePushLockEx);
NT_EXPORT_AS("ExReleasePushLockSharedEx", ExReleasePushLockEx);

/* ---------------------------------------------------------------------------------------------------- run-down ---- */

/* Bit 0: running down. Above it how many are protected. */
enum { RUNDOWN_ACTIVE = 1, RUNDOWN_REFERENCE = 2 };

static VOID NTAPI ExInitializeRundownProtection(PULONG_PTR RunRef) {
    *RunRef = 0;
}
NT_EXPORT(ExInitializeRundownProtection);
NT_EXPORT_AS("ExReInitializeRundownProtection", ExInitializeRundownProtection);

static BOOLEAN NTAPI ExAcquireRundownProtectionEx(PULONG_PTR RunRef, ULONG Count) {
    if (*RunRef & RUNDOWN_ACTIVE)
        return FALSE;
    *RunRef += Count * RUNDOWN_REFERENCE;
    return TRUE;
}
NT_EXPORT(ExAcquireRundownProtectionEx);

static BOOLEAN NTAPI ExAcquireRundownProtection(PULONG_PTR RunRef) {
    return ExAcquireRundownProtectionEx(RunRef, 1);
}
NT_EXPORT(ExAcquireRundownProtection);

static VOID NTAPI ExReleaseRundownProtectionEx(PULONG_PTR RunRef, ULONG Count) {
    *RunRef -= Count * RUNDOWN_REFERENCE;
}
NT_EXPORT(ExReleaseRundownProtectionEx);

static VOID NTAPI ExReleaseRundownProtection(PULONG_PTR RunRef) {
    ExReleaseRundownProtectionEx(RunRef, 1);
}
NT_EXPORT(ExReleaseRundownProtection);

static VOID NTAPI ExRundownCompleted(PULONG_PTR RunRef) {
    *RunRef = RUNDOWN_ACTIVE;
}
NT_EXPORT(ExRundownCompleted);

static VOID NTAPI ExWaitForRundownProtectionRelease(PULONG_PTR RunRef) {
    *RunRef |= RUNDOWN_ACTIVE;
    while (*RunRef != RUNDOWN_ACTIVE)
        wait_in_turn();
}
NT_EXPORT(ExWaitForRundownProtectionRelease);

/* ------------------------------------------------------------------------------------------------ remove locks ---- */

typedef struct _IO_REMOVE_LOCK {
    BOOLEAN Removed;
    BOOLEAN Reserved[3];
    LONG IoCount;
    KEVENT RemoveEvent;
} IO_REMOVE_LOCK, *PIO_REMOVE_LOCK;
_Static_assert(sizeof(IO_REMOVE_LOCK) == 0x20 && offsetof(IO_REMOVE_LOCK, RemoveEvent) == 8, "as in Windows");

static VOID NTAPI IoInitializeRemoveLockEx(PIO_REMOVE_LOCK Lock, ULONG AllocateTag, ULONG MaxLockedMinutes,
                                           ULONG HighWatermark, ULONG RemlockSize) {
    (void)AllocateTag, (void)MaxLockedMinutes, (void)HighWatermark, (void)RemlockSize;
    *Lock = (IO_REMOVE_LOCK){.IoCount = 1};
    KeInitializeEvent(&Lock->RemoveEvent, SynchronizationEvent, FALSE);
}
NT_EXPORT(IoInitializeRemoveLockEx);

static VOID NTAPI IoReleaseRemoveLockEx(PIO_REMOVE_LOCK RemoveLock, PVOID Tag, ULONG RemlockSize) {
    (void)Tag, (void)RemlockSize;
    if (--RemoveLock->IoCount == 0)
        KeSetEvent(&RemoveLock->RemoveEvent, 0, FALSE);
}
NT_EXPORT(IoReleaseRemoveLockEx);

static NTSTATUS NTAPI IoAcquireRemoveLockEx(PIO_REMOVE_LOCK RemoveLock, PVOID Tag, PCSTR File, ULONG Line,
                                            ULONG RemlockSize) {
    (void)File, (void)Line;
    RemoveLock->IoCount++;
    if (!RemoveLock->Removed)
        return STATUS_SUCCESS;
    IoReleaseRemoveLockEx(RemoveLock, Tag, RemlockSize);
    return STATUS_DELETE_PENDING;
}
NT_EXPORT(IoAcquireRemoveLockEx);

/* Gives back the caller's reference and the one of the lock itself, and waits for the others. */
static VOID NTAPI IoReleaseRemoveLockAndWaitEx(PIO_REMOVE_LOCK RemoveLock, PVOID Tag, ULONG RemlockSize) {
    RemoveLock->Removed = TRUE;
    IoReleaseRemoveLockEx(RemoveLock, Tag, RemlockSize);
    IoReleaseRemoveLockEx(RemoveLock, Tag, RemlockSize);
    if (RemoveLock->IoCount > 0)
        KeWaitForSingleObject(&RemoveLock->RemoveEvent, Executive, KernelMode, FALSE, NULL);
}
NT_EXPORT(IoReleaseRemoveLockAndWaitEx);
