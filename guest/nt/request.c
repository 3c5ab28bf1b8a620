#include "nt/request.h"

#include "memory/pool.h"
#include "nt/device.h"
#include "nt/driver.h"
#include "nt/irql.h"
#include "nt/object.h"
#include "nt/rtl.h"
#include "nt/thread.h"

enum { REQUEST_TAG = POOL_TAG('L', 'a', 'b', 'R') };

/*
 * Where a request reports its end. It outlives the call when a driver never completes the request: then the caller goes
 * on without it, and the request keeps what it points at.
 */
struct request {
    KEVENT event;
    IO_STATUS_BLOCK status;
};

/* How long to wait for a driver that has marked a request pending, and again after it was cancelled: 2 s. */
#define PATIENCE (-20000000ll)

static PIRP make(PFILE_OBJECT file, KPROCESSOR_MODE mode, UCHAR major) {
    PDEVICE_OBJECT device = IoGetAttachedDevice(file->DeviceObject);
    struct request *request = pool_allocate(NonPagedPool, sizeof(*request), REQUEST_TAG);
    PIRP irp = request ? IoAllocateIrp(device->StackSize, FALSE) : NULL;
    if (!irp) {
        if (request)
            ExFreePoolWithTag(request, REQUEST_TAG);
        return NULL;
    }
    KeInitializeEvent(&request->event, NotificationEvent, FALSE);
    irp->UserEvent = &request->event;
    irp->UserIosb = &request->status;
    irp->RequestorMode = mode;
    irp->Flags |= IRP_SYNCHRONOUS_API;
    irp->Tail.Overlay.Thread = thread_current();
    irp->Tail.Overlay.OriginalFileObject = file;
    irp_next_location(irp)->MajorFunction = major;
    irp_next_location(irp)->FileObject = file;
    return irp;
}

static struct request *request_of(PIRP irp) {
    return (struct request *)(void *)irp->UserEvent;
}

static void discard(PIRP irp) {
    ExFreePoolWithTag(request_of(irp), REQUEST_TAG);
    irp_discard(irp);
}

/* Cancels what takes too long. False when not even that helps. */
static bool wait_for_end(PIRP irp, struct request *request) {
    LARGE_INTEGER patience = {.QuadPart = PATIENCE};
    if (KeWaitForSingleObject(&request->event, Executive, KernelMode, FALSE, &patience) == STATUS_SUCCESS)
        return true;
    IoCancelIrp(irp);
    return KeWaitForSingleObject(&request->event, Executive, KernelMode, FALSE, &patience) == STATUS_SUCCESS;
}

/* A system call returns to user mode at PASSIVE_LEVEL, with APCs enabled: Windows checks both. */
static void check_return(PDEVICE_OBJECT device, UCHAR major) {
    u64 function = (u64)device->DriverObject->MajorFunction[major];
    if (irql_current() != PASSIVE_LEVEL)
        KeBugCheckEx(IRQL_GT_ZERO_AT_SYSTEM_SERVICE, function, irql_current(), 0, 0);
    if (thread_current()->apcs_disabled)
        KeBugCheckEx(APC_INDEX_MISMATCH, function, 0, thread_current()->apcs_disabled, 0);
}

static NTSTATUS NTAPI call_driver(PDEVICE_OBJECT device, PIRP irp) {
    return IofCallDriver(device, irp);
}

/* Sends a request and waits until it is completed; what its driver returned counts only if that is not. */
static NTSTATUS send(PFILE_OBJECT file, PIRP irp, IO_STATUS_BLOCK *ret) {
    PDEVICE_OBJECT device = IoGetAttachedDevice(file->DeviceObject);
    struct request *request = request_of(irp);
    UCHAR major = irp_next_location(irp)->MajorFunction;
    KPROCESSOR_MODE mode = thread_current()->previous_mode;
    thread_current()->previous_mode = irp->RequestorMode;
    NTSTATUS status = (NTSTATUS)driver_call((const void *)call_driver, (u64)device, (u64)irp, 0, 0);
    thread_current()->previous_mode = mode;
    check_return(device, major);
    bool ended = request->event.Header.SignalState;
    if (!ended && status == STATUS_PENDING)
        ended = wait_for_end(irp, request);
    if (!ended)
        return status; /* never completed, so that nothing of it can be given back */
    *ret = request->status;
    ExFreePoolWithTag(request, REQUEST_TAG);
    return ret->Status;
}

/* ------------------------------------------------------------------------------------------------ the requests ---- */

/* The device of a path, and what follows behind its name: "\Device\Name\more". */
static PDEVICE_OBJECT find_device(PCUNICODE_STRING path, UNICODE_STRING *ret_rest) {
    UNICODE_STRING prefix = *path;
    for (;;) {
        void *found = object_find(&prefix);
        if (found && object_type(found) == &object_device_type) {
            *ret_rest = (UNICODE_STRING){
                .Length = (USHORT)(path->Length - prefix.Length),
                .MaximumLength = (USHORT)(path->Length - prefix.Length),
                .Buffer = path->Buffer + prefix.Length / sizeof(WCHAR),
            };
            return found;
        }
        do
            prefix.Length -= prefix.Length ? sizeof(WCHAR) : 0;
        while (prefix.Length && prefix.Buffer[prefix.Length / sizeof(WCHAR)] != '\\');
        if (!prefix.Length)
            return NULL;
    }
}

static NTSTATUS send_plain(PFILE_OBJECT file, KPROCESSOR_MODE mode, UCHAR major) {
    IO_STATUS_BLOCK status;
    PIRP irp = make(file, mode, major);
    if (!irp)
        return STATUS_INSUFFICIENT_RESOURCES;
    irp->Flags |= major == IRP_MJ_CREATE ? IRP_CREATE_OPERATION : IRP_CLOSE_OPERATION;
    return send(file, irp, &status);
}

NTSTATUS file_open(PCUNICODE_STRING name, KPROCESSOR_MODE mode, PFILE_OBJECT *ret) {
    UNICODE_STRING rest;
    PDEVICE_OBJECT device = find_device(name, &rest);
    if (!device)
        return STATUS_OBJECT_NAME_NOT_FOUND;
    if (device->Flags & DO_DEVICE_INITIALIZING)
        return STATUS_NO_SUCH_DEVICE;
    if (device->Flags & DO_EXCLUSIVE && device->ReferenceCount)
        return STATUS_ACCESS_DENIED;
    *ret = file_create(device, &rest);
    if (!*ret)
        return STATUS_INSUFFICIENT_RESOURCES;
    device->ReferenceCount++;
    NTSTATUS status = send_plain(*ret, mode, IRP_MJ_CREATE);
    if (NT_SUCCESS(status)) {
        (*ret)->Flags |= FO_FILE_OPEN;
        return status;
    }
    device->ReferenceCount--;
    ObfDereferenceObject(*ret);
    *ret = NULL;
    return status;
}

/* Drivers cannot refuse IRP_MJ_CLEANUP and IRP_MJ_CLOSE. */
void file_close(PFILE_OBJECT file, KPROCESSOR_MODE mode) {
    send_plain(file, mode, IRP_MJ_CLEANUP);
    ObfDereferenceObject(file);
}

void file_handles_closed(void *object) {
    send_plain(object, KernelMode, IRP_MJ_CLEANUP);
}

void file_finish(void *object) {
    PFILE_OBJECT file = object;
    if (file->Flags & FO_FILE_OPEN) {
        send_plain(file, KernelMode, IRP_MJ_CLOSE);
        file->DeviceObject->ReferenceCount--;
    }
    if (file->FileName.Buffer)
        ExFreePoolWithTag(file->FileName.Buffer, 0);
    ObfDereferenceObject(file->DeviceObject);
}

NTSTATUS file_control(PFILE_OBJECT file, KPROCESSOR_MODE mode, const struct irp_control *control,
                      IO_STATUS_BLOCK *ret) {
    PIRP irp = make(file, mode, IRP_MJ_DEVICE_CONTROL);
    if (!irp)
        return STATUS_INSUFFICIENT_RESOURCES;
    if (!irp_set_control(irp, control)) {
        discard(irp);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    return send(file, irp, ret);
}

NTSTATUS file_transfer(PFILE_OBJECT file, KPROCESSOR_MODE mode, UCHAR major, void *buffer, ULONG length, u64 offset,
                       IO_STATUS_BLOCK *ret) {
    PIRP irp = make(file, mode, major);
    if (!irp)
        return STATUS_INSUFFICIENT_RESOURCES;
    if (!irp_set_transfer(irp, IoGetAttachedDevice(file->DeviceObject), major, buffer, length, offset)) {
        discard(irp);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    return send(file, irp, ret);
}
