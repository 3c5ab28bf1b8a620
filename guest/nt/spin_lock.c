/*
 * spin_lock.c - spin locks. With one processor raising the IRQL already keeps everyone else away; the lock itself only
 * shows misuse: taken twice is a deadlock on Windows too (bug check 0x0F), and released without being held is 0x10.
 */
#include "memory/verifier.h"
#include "nt/irql.h"

/* Stops when the verifier is on and the caller does not run where a call with a spin lock belongs. */
static inline __attribute__((always_inline)) void verify(bool good, enum verifier_subcode subcode, PKSPIN_LOCK lock) {
    if (lab_options.verifier && !good)
        verifier_stop(subcode, __builtin_return_address(0), irql_current(), (u64)lock, 0);
}

enum { LOCK_FREE = 0, LOCK_TAKEN = 1 };

static void acquire(PKSPIN_LOCK lock) {
    if (*lock & LOCK_TAKEN)
        KeBugCheckEx(SPIN_LOCK_ALREADY_OWNED, (ULONG_PTR)lock, 0, 0, 0);
    *lock |= LOCK_TAKEN;
}

static void release(PKSPIN_LOCK lock) {
    if (!(*lock & LOCK_TAKEN))
        KeBugCheckEx(SPIN_LOCK_NOT_OWNED, (ULONG_PTR)lock, 0, 0, 0);
    *lock = LOCK_FREE;
}

static VOID NTAPI KeInitializeSpinLock(PKSPIN_LOCK SpinLock) {
    *SpinLock = LOCK_FREE;
}
NT_EXPORT(KeInitializeSpinLock);

KIRQL NTAPI KeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK SpinLock) {
    verify(irql_current() <= DISPATCH_LEVEL, VERIFIER_SPIN_LOCK_ACQUIRE_IRQL, SpinLock);
    KIRQL old = KfRaiseIrql(DISPATCH_LEVEL);
    acquire(SpinLock);
    return old;
}
NT_EXPORT(KeAcquireSpinLockRaiseToDpc);
NT_EXPORT_AS("KfAcquireSpinLock", KeAcquireSpinLockRaiseToDpc);

static VOID NTAPI KeAcquireSpinLock(PKSPIN_LOCK SpinLock, PKIRQL OldIrql) {
    *OldIrql = KeAcquireSpinLockRaiseToDpc(SpinLock);
}
NT_EXPORT(KeAcquireSpinLock);

VOID NTAPI KeReleaseSpinLock(PKSPIN_LOCK SpinLock, KIRQL NewIrql) {
    verify(irql_current() == DISPATCH_LEVEL, VERIFIER_SPIN_LOCK_RELEASE_IRQL, SpinLock);
    release(SpinLock);
    irql_lower(NewIrql);
}
NT_EXPORT(KeReleaseSpinLock);
NT_EXPORT_AS("KfReleaseSpinLock", KeReleaseSpinLock);

static VOID NTAPI KeAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock) {
    verify(irql_current() >= DISPATCH_LEVEL, VERIFIER_SPIN_LOCK_ACQUIRE_LOW_IRQL, SpinLock);
    acquire(SpinLock);
}
NT_EXPORT(KeAcquireSpinLockAtDpcLevel);

static VOID NTAPI KeReleaseSpinLockFromDpcLevel(PKSPIN_LOCK SpinLock) {
    verify(irql_current() >= DISPATCH_LEVEL, VERIFIER_SPIN_LOCK_RELEASE_LOW_IRQL, SpinLock);
    release(SpinLock);
}
NT_EXPORT(KeReleaseSpinLockFromDpcLevel);

static BOOLEAN NTAPI KeTryToAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock) {
    if (*SpinLock & LOCK_TAKEN)
        return FALSE;
    acquire(SpinLock);
    return TRUE;
}
NT_EXPORT(KeTryToAcquireSpinLockAtDpcLevel);

static BOOLEAN NTAPI KeTestSpinLock(PKSPIN_LOCK SpinLock) {
    return !(*SpinLock & LOCK_TAKEN);
}
NT_EXPORT(KeTestSpinLock);

/* --------------------------------------------------------------------------------------------- in stack queues ---- */

/* The queue would matter to a second processor. */
static VOID NTAPI KeAcquireInStackQueuedSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock, PKLOCK_QUEUE_HANDLE LockHandle) {
    LockHandle->LockQueue = (KSPIN_LOCK_QUEUE){.Next = NULL, .Lock = SpinLock};
    acquire(SpinLock);
}
NT_EXPORT(KeAcquireInStackQueuedSpinLockAtDpcLevel);

static VOID NTAPI KeAcquireInStackQueuedSpinLock(PKSPIN_LOCK SpinLock, PKLOCK_QUEUE_HANDLE LockHandle) {
    LockHandle->OldIrql = KfRaiseIrql(DISPATCH_LEVEL);
    KeAcquireInStackQueuedSpinLockAtDpcLevel(SpinLock, LockHandle);
}
NT_EXPORT(KeAcquireInStackQueuedSpinLock);

static VOID NTAPI KeReleaseInStackQueuedSpinLockFromDpcLevel(PKLOCK_QUEUE_HANDLE LockHandle) {
    release(LockHandle->LockQueue.Lock);
}
NT_EXPORT(KeReleaseInStackQueuedSpinLockFromDpcLevel);

static VOID NTAPI KeReleaseInStackQueuedSpinLock(PKLOCK_QUEUE_HANDLE LockHandle) {
    KeReleaseSpinLock(LockHandle->LockQueue.Lock, LockHandle->OldIrql);
}
NT_EXPORT(KeReleaseInStackQueuedSpinLock);

/* -------------------------------------------------------------------------------------- readers and one writer ---- */

/* EX_SPIN_LOCK: how many readers hold it, or the writer's bit. */
enum { WRITER = (int)0x80000000 };

static VOID NTAPI ExAcquireSpinLockSharedAtDpcLevel(PLONG SpinLock) {
    if (*SpinLock & WRITER)
        KeBugCheckEx(SPIN_LOCK_ALREADY_OWNED, (ULONG_PTR)SpinLock, 0, 0, 0);
    ++*SpinLock;
}
NT_EXPORT(ExAcquireSpinLockSharedAtDpcLevel);

static KIRQL NTAPI ExAcquireSpinLockShared(PLONG SpinLock) {
    KIRQL old = KfRaiseIrql(DISPATCH_LEVEL);
    ExAcquireSpinLockSharedAtDpcLevel(SpinLock);
    return old;
}
NT_EXPORT(ExAcquireSpinLockShared);

static VOID NTAPI ExReleaseSpinLockSharedFromDpcLevel(PLONG SpinLock) {
    if (*SpinLock <= 0)
        KeBugCheckEx(SPIN_LOCK_NOT_OWNED, (ULONG_PTR)SpinLock, 0, 0, 0);
    --*SpinLock;
}
NT_EXPORT(ExReleaseSpinLockSharedFromDpcLevel);

static VOID NTAPI ExReleaseSpinLockShared(PLONG SpinLock, KIRQL OldIrql) {
    ExReleaseSpinLockSharedFromDpcLevel(SpinLock);
    irql_lower(OldIrql);
}
NT_EXPORT(ExReleaseSpinLockShared);

static VOID NTAPI ExAcquireSpinLockExclusiveAtDpcLevel(PLONG SpinLock) {
    if (*SpinLock)
        KeBugCheckEx(SPIN_LOCK_ALREADY_OWNED, (ULONG_PTR)SpinLock, 0, 0, 0);
    *SpinLock = WRITER;
}
NT_EXPORT(ExAcquireSpinLockExclusiveAtDpcLevel);

static KIRQL NTAPI ExAcquireSpinLockExclusive(PLONG SpinLock) {
    KIRQL old = KfRaiseIrql(DISPATCH_LEVEL);
    ExAcquireSpinLockExclusiveAtDpcLevel(SpinLock);
    return old;
}
NT_EXPORT(ExAcquireSpinLockExclusive);

static VOID NTAPI ExReleaseSpinLockExclusiveFromDpcLevel(PLONG SpinLock) {
    if (*SpinLock != WRITER)
        KeBugCheckEx(SPIN_LOCK_NOT_OWNED, (ULONG_PTR)SpinLock, 0, 0, 0);
    *SpinLock = 0;
}
NT_EXPORT(ExReleaseSpinLockExclusiveFromDpcLevel);

static VOID NTAPI ExReleaseSpinLockExclusive(PLONG SpinLock, KIRQL OldIrql) {
    ExReleaseSpinLockExclusiveFromDpcLevel(SpinLock);
    irql_lower(OldIrql);
}
NT_EXPORT(ExReleaseSpinLockExclusive);
