/*
 * irp.c - requests: made, passed down a stack of drivers, completed upwards.
 */
#include "nt/irp.h"

#include "memory/pool.h"
#include "nt/driver.h"
#include "nt/irql.h"
#include "nt/list.h"
#include "nt/object.h"
#include "nt/process.h"
#include "nt/rtl.h"
#include "nt/thread.h"
#include "paging/paging.h"

enum { IRP_TAG = POOL_TAG('I', 'r', 'p', ' ') };

/* IRP.AllocationFlags: the pool is to get it back. */
enum { ALLOCATED_BY_US = 0x04 };

static USHORT size_for(CCHAR stack_size) {
    return (USHORT)(sizeof(IRP) + (u8)stack_size * sizeof(IO_STACK_LOCATION));
}

/* The location of the n-th driver from below, n from 0. */
static PIO_STACK_LOCATION location(PIRP irp, u64 n) {
    return (PIO_STACK_LOCATION)(irp + 1) + n;
}

PIO_STACK_LOCATION irp_next_location(PIRP irp) {
    return irp->Tail.Overlay.CurrentStackLocation - 1;
}

/* --------------------------------------------------------------------------------------------- making, freeing ---- */

static VOID NTAPI IoInitializeIrp(PIRP Irp, USHORT PacketSize, CCHAR StackSize) {
    memset(Irp, 0, PacketSize);
    Irp->Type = IO_TYPE_IRP;
    Irp->Size = PacketSize;
    Irp->StackCount = StackSize;
    Irp->CurrentLocation = (CHAR)(StackSize + 1);
    Irp->Tail.Overlay.CurrentStackLocation = location(Irp, (u8)StackSize);
    InitializeListHead(&Irp->ThreadListEntry);
}
NT_EXPORT(IoInitializeIrp);

PIRP NTAPI IoAllocateIrp(CCHAR StackSize, BOOLEAN ChargeQuota) {
    (void)ChargeQuota;
    PIRP irp = pool_allocate(NonPagedPool, size_for(StackSize), IRP_TAG);
    if (!irp)
        return NULL;
    IoInitializeIrp(irp, size_for(StackSize), StackSize);
    irp->AllocationFlags = ALLOCATED_BY_US;
    return irp;
}
NT_EXPORT(IoAllocateIrp);

static PIRP NTAPI IoAllocateIrpEx(PDEVICE_OBJECT DeviceObject, CCHAR StackSize, BOOLEAN ChargeQuota) {
    (void)DeviceObject;
    return IoAllocateIrp(StackSize, ChargeQuota);
}
NT_EXPORT(IoAllocateIrpEx);

VOID NTAPI IoFreeIrp(PIRP Irp) {
    if (Irp->Type != IO_TYPE_IRP)
        KeBugCheckEx(MULTIPLE_IRP_COMPLETE_REQUESTS, (ULONG_PTR)Irp, 0, 0, 0);
    Irp->Type = 0; /* whoever uses it once more is told so */
    if (Irp->AllocationFlags & ALLOCATED_BY_US)
        ExFreePoolWithTag(Irp, 0);
}
NT_EXPORT(IoFreeIrp);

static VOID NTAPI IoReuseIrp(PIRP Irp, NTSTATUS Status) {
    UCHAR flags = Irp->AllocationFlags;
    IoInitializeIrp(Irp, Irp->Size, (CCHAR)Irp->StackCount);
    Irp->AllocationFlags = flags;
    Irp->IoStatus.Status = Status;
}
NT_EXPORT(IoReuseIrp);

static USHORT NTAPI IoSizeOfIrp(CCHAR StackSize) {
    return size_for(StackSize);
}
NT_EXPORT(IoSizeOfIrp);

static PIRP NTAPI IoMakeAssociatedIrp(PIRP Irp, CCHAR StackSize) {
    enum { ASSOCIATED = 0x08 };
    PIRP associated = IoAllocateIrp(StackSize, FALSE);
    if (associated) {
        associated->Flags |= ASSOCIATED;
        associated->Tail.Overlay.Thread = Irp->Tail.Overlay.Thread;
        associated->AssociatedIrp.MasterIrp = Irp;
    }
    return associated;
}
NT_EXPORT(IoMakeAssociatedIrp);

/* --------------------------------------------------------------------------------------------------- downwards ---- */

NTSTATUS NTAPI IofCallDriver(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    if (Irp->Type != IO_TYPE_IRP || --Irp->CurrentLocation <= 0)
        KeBugCheckEx(NO_MORE_IRP_STACK_LOCATIONS, (ULONG_PTR)Irp, 0, 0, 0);
    PIO_STACK_LOCATION stack = --Irp->Tail.Overlay.CurrentStackLocation;
    stack->DeviceObject = DeviceObject;
    return DeviceObject->DriverObject->MajorFunction[stack->MajorFunction](DeviceObject, Irp);
}
NT_EXPORT(IofCallDriver);
NT_EXPORT_AS("IoCallDriver", IofCallDriver);
NT_EXPORT_AS("PoCallDriver", IofCallDriver);

/* Waits for the request, whoever completes it; then it is the caller's again. */
static NTSTATUS NTAPI set_event(PDEVICE_OBJECT device, PIRP irp, PVOID event) {
    (void)device, (void)irp;
    KeSetEvent(event, 0, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

static BOOLEAN NTAPI IoForwardIrpSynchronously(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    KEVENT event;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    PIO_STACK_LOCATION next = irp_next_location(Irp);
    *next = *Irp->Tail.Overlay.CurrentStackLocation;
    next->CompletionRoutine = set_event;
    next->Context = &event;
    next->Control = SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL;
    if (IofCallDriver(DeviceObject, Irp) == STATUS_PENDING)
        KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL);
    return TRUE;
}
NT_EXPORT(IoForwardIrpSynchronously);

static NTSTATUS NTAPI IoSetCompletionRoutineEx(PDEVICE_OBJECT DeviceObject, PIRP Irp,
                                               PIO_COMPLETION_ROUTINE CompletionRoutine, PVOID Context,
                                               BOOLEAN InvokeOnSuccess, BOOLEAN InvokeOnError, BOOLEAN InvokeOnCancel) {
    (void)DeviceObject;
    PIO_STACK_LOCATION next = irp_next_location(Irp);
    next->CompletionRoutine = CompletionRoutine;
    next->Context = Context;
    next->Control = (UCHAR)((InvokeOnSuccess ? SL_INVOKE_ON_SUCCESS : 0) | (InvokeOnError ? SL_INVOKE_ON_ERROR : 0) |
                            (InvokeOnCancel ? SL_INVOKE_ON_CANCEL : 0));
    return STATUS_SUCCESS;
}
NT_EXPORT(IoSetCompletionRoutineEx);

/* ----------------------------------------------------------------------------------------------------- upwards ---- */

static bool wants_completion(PIRP irp, UCHAR control) {
    if (irp->Cancel && control & SL_INVOKE_ON_CANCEL)
        return true;
    return control & (NT_SUCCESS(irp->IoStatus.Status) ? SL_INVOKE_ON_SUCCESS : SL_INVOKE_ON_ERROR);
}

/* Steps out of one driver's location. False when its routine keeps the request. */
static bool leave_location(PIRP irp) {
    PIO_STACK_LOCATION left = irp->Tail.Overlay.CurrentStackLocation++;
    UCHAR control = left->Control;
    irp->CurrentLocation++;
    irp->PendingReturned = control & SL_PENDING_RETURNED;
    bool above = irp->CurrentLocation <= irp->StackCount;
    PDEVICE_OBJECT device = above ? irp->Tail.Overlay.CurrentStackLocation->DeviceObject : NULL;
    if (wants_completion(irp, control)) {
        PIO_COMPLETION_ROUTINE routine = left->CompletionRoutine;
        PVOID context = left->Context;
        left->Control = 0; /* not again, should the request be sent once more */
        return routine(device, irp, context) != STATUS_MORE_PROCESSING_REQUIRED;
    }
    if (irp->PendingReturned && above)
        irp->Tail.Overlay.CurrentStackLocation->Control |= SL_PENDING_RETURNED;
    return true;
}

/* What was read goes to the caller, unless the request has failed; a warning is no failure. */
static void copy_output(PIRP irp) {
    bool output = irp->Flags & IRP_BUFFERED_IO && irp->Flags & IRP_INPUT_OPERATION;
    bool failed = (u32)irp->IoStatus.Status >> 30 == 3;
    if (!output || failed || !irp->IoStatus.Information)
        return;
    u64 rflags = driver_allow_user_access();
    memcpy(irp->UserBuffer, irp->AssociatedIrp.SystemBuffer, irp->IoStatus.Information);
    driver_restore_user_access(rflags);
}

static void free_mdls(PIRP irp) {
    while (irp->MdlAddress) {
        PMDL mdl = irp->MdlAddress;
        irp->MdlAddress = mdl->Next;
        if (mdl->MdlFlags & MDL_PAGES_LOCKED)
            MmUnlockPages(mdl);
        IoFreeMdl(mdl);
    }
}

/* The end of a request that nobody keeps: its caller hears of it, and what the I/O manager made for it goes. */
static void finish(PIRP irp) {
    copy_output(irp);
    free_mdls(irp);
    if (irp->Flags & IRP_DEALLOCATE_BUFFER)
        ExFreePoolWithTag(irp->AssociatedIrp.SystemBuffer, 0);
    if (irp->UserIosb)
        *irp->UserIosb = irp->IoStatus;
    if (irp->UserEvent)
        KeSetEvent(irp->UserEvent, 0, FALSE);
    RemoveEntryList(&irp->ThreadListEntry);
    IoFreeIrp(irp);
}

/* Parameters of 0x48 and of Driver Verifier's 0xC9/0x06: the request. */
static void check_completion(PIRP irp) {
    if (irp->Type != IO_TYPE_IRP || irp->CurrentLocation > irp->StackCount + 1)
        KeBugCheckEx(MULTIPLE_IRP_COMPLETE_REQUESTS, (ULONG_PTR)irp, 0, 0, 0);
    if (irp->CancelRoutine)
        KeBugCheckEx(CANCEL_STATE_IN_COMPLETED_IRP, (ULONG_PTR)irp, (ULONG_PTR)irp->CancelRoutine, 0, 0);
    if (lab_options.verifier && irp->IoStatus.Status == STATUS_PENDING)
        KeBugCheckEx(DRIVER_VERIFIER_IOMANAGER_VIOLATION, 0x06, (ULONG_PTR)irp, (ULONG_PTR)irp->IoStatus.Status, 0);
}

VOID NTAPI IofCompleteRequest(PIRP Irp, CCHAR PriorityBoost) {
    (void)PriorityBoost;
    check_completion(Irp);
    while (Irp->CurrentLocation <= Irp->StackCount) {
        if (!leave_location(Irp))
            return;
    }
    Irp->CurrentLocation++; /* completed: a second time is noticed */
    finish(Irp);
}
NT_EXPORT(IofCompleteRequest);
NT_EXPORT_AS("IoCompleteRequest", IofCompleteRequest);

/* -------------------------------------------------------------------------------------------------- cancelling ---- */

static KSPIN_LOCK cancel_lock;

static VOID NTAPI IoAcquireCancelSpinLock(PKIRQL Irql) {
    *Irql = KeAcquireSpinLockRaiseToDpc(&cancel_lock);
}
NT_EXPORT(IoAcquireCancelSpinLock);

void irp_release_cancel_lock(KIRQL irql) {
    KeReleaseSpinLock(&cancel_lock, irql);
}

static VOID NTAPI IoReleaseCancelSpinLock(KIRQL Irql) {
    irp_release_cancel_lock(Irql);
}
NT_EXPORT(IoReleaseCancelSpinLock);

/* The driver's routine releases the lock, to the IRQL in CancelIrql. */
BOOLEAN NTAPI IoCancelIrp(PIRP Irp) {
    KIRQL irql;
    IoAcquireCancelSpinLock(&irql);
    PDRIVER_CANCEL routine = Irp->CancelRoutine;
    Irp->Cancel = TRUE;
    Irp->CancelRoutine = NULL;
    if (!routine) {
        IoReleaseCancelSpinLock(irql);
        return FALSE;
    }
    Irp->CancelIrql = irql;
    PDEVICE_OBJECT device = Irp->Tail.Overlay.CurrentStackLocation->DeviceObject;
    driver_call(routine, (u64)device, (u64)Irp, 0, 0);
    return TRUE;
}
NT_EXPORT(IoCancelIrp);

/* ---------------------------------------------------------------------------------------- requests for drivers ---- */

/* A buffer of its own for buffered transfers; the input is copied now, the output at completion. */
static bool irp_set_system_buffer(PIRP irp, const void *input, u64 input_size, u64 size, bool output) {
    if (!size)
        return true;
    void *buffer = pool_allocate(NonPagedPool, size, POOL_TAG('I', 'o', ' ', ' '));
    if (!buffer)
        return false;
    u64 rflags = driver_allow_user_access();
    memcpy(buffer, input, input_size);
    driver_restore_user_access(rflags);
    irp->AssociatedIrp.SystemBuffer = buffer;
    irp->Flags |= IRP_BUFFERED_IO | IRP_DEALLOCATE_BUFFER | (output ? IRP_INPUT_OPERATION : 0);
    return true;
}

/* An MDL for a direct transfer; `operation` is what the device does to the buffer. Bad addresses raise an exception. */
static bool irp_set_mdl(PIRP irp, void *buffer, ULONG size, KPROCESSOR_MODE mode, LOCK_OPERATION operation) {
    if (!size)
        return true;
    PMDL mdl = IoAllocateMdl(buffer, size, FALSE, FALSE, irp);
    if (!mdl)
        return false;
    MmProbeAndLockPages(mdl, mode, operation);
    return true;
}

void irp_discard(PIRP irp) {
    free_mdls(irp);
    if (irp->Flags & IRP_DEALLOCATE_BUFFER)
        ExFreePoolWithTag(irp->AssociatedIrp.SystemBuffer, 0);
    IoFreeIrp(irp);
}

bool irp_set_control(PIRP irp, const struct irp_control *control) {
    PIO_STACK_LOCATION stack = irp_next_location(irp);
    ULONG larger = control->input_size > control->output_size ? control->input_size : control->output_size;
    stack->MajorFunction = control->internal ? IRP_MJ_INTERNAL_DEVICE_CONTROL : IRP_MJ_DEVICE_CONTROL;
    stack->Parameters.DeviceIoControl.IoControlCode = control->code;
    stack->Parameters.DeviceIoControl.InputBufferLength = control->input_size;
    stack->Parameters.DeviceIoControl.OutputBufferLength = control->output_size;
    irp->UserBuffer = control->output;
    switch (control->code & 3) {
    case METHOD_BUFFERED:
        return irp_set_system_buffer(irp, control->input, control->input_size, larger, control->output_size > 0);
    case METHOD_NEITHER:
        stack->Parameters.DeviceIoControl.Type3InputBuffer = control->input;
        return true;
    default:
        return irp_set_system_buffer(irp, control->input, control->input_size, control->input_size, false) &&
               irp_set_mdl(irp, control->output, control->output_size, irp->RequestorMode,
                           (control->code & 3) == METHOD_IN_DIRECT ? IoReadAccess : IoWriteAccess);
    }
}

bool irp_set_transfer(PIRP irp, PDEVICE_OBJECT device, UCHAR major, void *buffer, ULONG length, u64 offset) {
    PIO_STACK_LOCATION stack = irp_next_location(irp);
    bool reads = major == IRP_MJ_READ;
    stack->MajorFunction = major;
    stack->Parameters.Read.Length = length;
    stack->Parameters.Read.ByteOffset.QuadPart = (LONGLONG)offset;
    irp->UserBuffer = buffer;
    irp->Flags |= reads ? IRP_READ_OPERATION : IRP_WRITE_OPERATION;
    if (device->Flags & DO_BUFFERED_IO)
        return irp_set_system_buffer(irp, buffer, reads ? 0 : length, length, reads);
    if (device->Flags & DO_DIRECT_IO)
        return irp_set_mdl(irp, buffer, length, irp->RequestorMode, reads ? IoWriteAccess : IoReadAccess);
    return true;
}

static PIRP NTAPI IoBuildDeviceIoControlRequest(ULONG IoControlCode, PDEVICE_OBJECT DeviceObject, PVOID InputBuffer,
                                                ULONG InputBufferLength, PVOID OutputBuffer, ULONG OutputBufferLength,
                                                BOOLEAN InternalDeviceIoControl, PKEVENT Event,
                                                PIO_STATUS_BLOCK IoStatusBlock) {
    PIRP irp = IoAllocateIrp(DeviceObject->StackSize, FALSE);
    if (!irp)
        return NULL;
    irp->UserEvent = Event;
    irp->UserIosb = IoStatusBlock;
    irp->Tail.Overlay.Thread = thread_current();
    const struct irp_control control = {
        IoControlCode, InternalDeviceIoControl, InputBuffer, InputBufferLength, OutputBuffer, OutputBufferLength,
    };
    if (irp_set_control(irp, &control))
        return irp;
    irp_discard(irp);
    return NULL;
}
NT_EXPORT(IoBuildDeviceIoControlRequest);

static PIRP NTAPI IoBuildAsynchronousFsdRequest(ULONG MajorFunction, PDEVICE_OBJECT DeviceObject, PVOID Buffer,
                                                ULONG Length, PLARGE_INTEGER StartingOffset,
                                                PIO_STATUS_BLOCK IoStatusBlock) {
    PIRP irp = IoAllocateIrp(DeviceObject->StackSize, FALSE);
    if (!irp)
        return NULL;
    irp->UserIosb = IoStatusBlock;
    irp->Tail.Overlay.Thread = thread_current();
    bool transfers = MajorFunction == IRP_MJ_READ || MajorFunction == IRP_MJ_WRITE;
    irp_next_location(irp)->MajorFunction = (UCHAR)MajorFunction;
    if (!transfers || irp_set_transfer(irp, DeviceObject, (UCHAR)MajorFunction, Buffer, Length,
                                       StartingOffset ? (u64)StartingOffset->QuadPart : 0))
        return irp;
    irp_discard(irp);
    return NULL;
}
NT_EXPORT(IoBuildAsynchronousFsdRequest);

static PIRP NTAPI IoBuildSynchronousFsdRequest(ULONG MajorFunction, PDEVICE_OBJECT DeviceObject, PVOID Buffer,
                                               ULONG Length, PLARGE_INTEGER StartingOffset, PKEVENT Event,
                                               PIO_STATUS_BLOCK IoStatusBlock) {
    PIRP irp =
        IoBuildAsynchronousFsdRequest(MajorFunction, DeviceObject, Buffer, Length, StartingOffset, IoStatusBlock);
    if (irp)
        irp->UserEvent = Event;
    return irp;
}
NT_EXPORT(IoBuildSynchronousFsdRequest);

/* -------------------------------------------------------------------------------------------- who asked for it ---- */

static PEPROCESS NTAPI IoGetRequestorProcess(PIRP Irp) {
    return Irp->Tail.Overlay.Thread ? PsInitialSystemProcess : NULL;
}
NT_EXPORT(IoGetRequestorProcess);

static ULONG NTAPI IoGetRequestorProcessId(PIRP Irp) {
    return Irp->Tail.Overlay.Thread ? PROCESS_SYSTEM_ID : 0;
}
NT_EXPORT(IoGetRequestorProcessId);

static BOOLEAN NTAPI IoIsOperationSynchronous(PIRP Irp) {
    PFILE_OBJECT file = Irp->Tail.Overlay.CurrentStackLocation->FileObject;
    return Irp->Flags & IRP_SYNCHRONOUS_API || (file && file->Flags & FO_SYNCHRONOUS_IO);
}
NT_EXPORT(IoIsOperationSynchronous);
