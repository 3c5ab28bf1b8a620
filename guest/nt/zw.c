/*
 * zw.c - system calls by which drivers use devices and events through handles. There are no files, no registry and no
 * other processes: what asks for those is told that the name does not exist (nt/refusal.c).
 */
#include "nt/object.h"
#include "nt/request.h"

static bool is_type(const void *object, POBJECT_TYPE type) {
    return object && object_type(object) == type;
}

/* ------------------------------------------------------------------------------------------------ device files ---- */

static NTSTATUS NTAPI ZwCreateFile(PHANDLE FileHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes,
                                   PIO_STATUS_BLOCK IoStatusBlock, PLARGE_INTEGER AllocationSize, ULONG FileAttributes,
                                   ULONG ShareAccess, ULONG CreateDisposition, ULONG CreateOptions, PVOID EaBuffer,
                                   ULONG EaLength) {
    (void)DesiredAccess, (void)AllocationSize, (void)FileAttributes, (void)ShareAccess, (void)CreateDisposition;
    (void)CreateOptions, (void)EaBuffer, (void)EaLength;
    PFILE_OBJECT file;
    NTSTATUS status = file_open(ObjectAttributes->ObjectName, KernelMode, &file);
    *IoStatusBlock = (IO_STATUS_BLOCK){.Status = status};
    if (!NT_SUCCESS(status))
        return status;
    status = handle_create(file, FileHandle);
    if (NT_SUCCESS(status))
        ObfDereferenceObject(file); /* the handle holds it now */
    else
        file_close(file, KernelMode);
    return status;
}
NT_EXPORT(ZwCreateFile);
NT_EXPORT_AS("NtCreateFile", ZwCreateFile);

static NTSTATUS NTAPI ZwOpenFile(PHANDLE FileHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes,
                                 PIO_STATUS_BLOCK IoStatusBlock, ULONG ShareAccess, ULONG OpenOptions) {
    return ZwCreateFile(FileHandle, DesiredAccess, ObjectAttributes, IoStatusBlock, NULL, 0, ShareAccess, 0,
                        OpenOptions, NULL, 0);
}
NT_EXPORT(ZwOpenFile);
NT_EXPORT_AS("NtOpenFile", ZwOpenFile);

static NTSTATUS NTAPI IoCreateFile(PHANDLE FileHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes,
                                   PIO_STATUS_BLOCK IoStatusBlock, PLARGE_INTEGER AllocationSize, ULONG FileAttributes,
                                   ULONG ShareAccess, ULONG Disposition, ULONG CreateOptions, PVOID EaBuffer,
                                   ULONG EaLength) {
    return ZwCreateFile(FileHandle, DesiredAccess, ObjectAttributes, IoStatusBlock, AllocationSize, FileAttributes,
                        ShareAccess, Disposition, CreateOptions, EaBuffer, EaLength);
}
NT_EXPORT(IoCreateFile);

/* Requests by handle wait for their end, and set the event, if there is one, at once. */
static NTSTATUS finish(HANDLE event, NTSTATUS status, const IO_STATUS_BLOCK *result, PIO_STATUS_BLOCK ret) {
    void *object = handle_object(event);
    *ret = *result;
    if (is_type(object, &object_event_type))
        KeSetEvent(object, 0, FALSE);
    return status;
}

static NTSTATUS transfer(HANDLE handle, HANDLE event, PIO_STATUS_BLOCK ret, UCHAR major, PVOID buffer, ULONG length,
                         PLARGE_INTEGER offset) {
    PFILE_OBJECT file = handle_object(handle);
    IO_STATUS_BLOCK result = {.Information = 0};
    if (!is_type(file, &object_file_type))
        return file ? STATUS_OBJECT_TYPE_MISMATCH : STATUS_INVALID_HANDLE;
    NTSTATUS status =
        file_transfer(file, KernelMode, major, buffer, length, offset ? (u64)offset->QuadPart : 0, &result);
    return finish(event, status, &result, ret);
}

static NTSTATUS NTAPI ZwReadFile(HANDLE FileHandle, HANDLE Event, PVOID ApcRoutine, PVOID ApcContext,
                                 PIO_STATUS_BLOCK IoStatusBlock, PVOID Buffer, ULONG Length, PLARGE_INTEGER ByteOffset,
                                 PULONG Key) {
    (void)ApcRoutine, (void)ApcContext, (void)Key;
    return transfer(FileHandle, Event, IoStatusBlock, IRP_MJ_READ, Buffer, Length, ByteOffset);
}
NT_EXPORT(ZwReadFile);
NT_EXPORT_AS("NtReadFile", ZwReadFile);

static NTSTATUS NTAPI ZwWriteFile(HANDLE FileHandle, HANDLE Event, PVOID ApcRoutine, PVOID ApcContext,
                                  PIO_STATUS_BLOCK IoStatusBlock, PVOID Buffer, ULONG Length, PLARGE_INTEGER ByteOffset,
                                  PULONG Key) {
    (void)ApcRoutine, (void)ApcContext, (void)Key;
    return transfer(FileHandle, Event, IoStatusBlock, IRP_MJ_WRITE, Buffer, Length, ByteOffset);
}
NT_EXPORT(ZwWriteFile);
NT_EXPORT_AS("NtWriteFile", ZwWriteFile);

static NTSTATUS NTAPI ZwDeviceIoControlFile(HANDLE FileHandle, HANDLE Event, PVOID ApcRoutine, PVOID ApcContext,
                                            PIO_STATUS_BLOCK IoStatusBlock, ULONG IoControlCode, PVOID InputBuffer,
                                            ULONG InputBufferLength, PVOID OutputBuffer, ULONG OutputBufferLength) {
    (void)ApcRoutine, (void)ApcContext;
    PFILE_OBJECT file = handle_object(FileHandle);
    IO_STATUS_BLOCK result = {.Information = 0};
    if (!is_type(file, &object_file_type))
        return file ? STATUS_OBJECT_TYPE_MISMATCH : STATUS_INVALID_HANDLE;
    const struct irp_control control = {
        IoControlCode, false, InputBuffer, InputBufferLength, OutputBuffer, OutputBufferLength,
    };
    return finish(Event, file_control(file, KernelMode, &control, &result), &result, IoStatusBlock);
}
NT_EXPORT(ZwDeviceIoControlFile);
NT_EXPORT_AS("NtDeviceIoControlFile", ZwDeviceIoControlFile);

/* ------------------------------------------------------------------------------------------------------ events ---- */

static PKEVENT create_event(EVENT_TYPE type, bool state) {
    PKEVENT event = object_create(&object_event_type, sizeof(KEVENT));
    if (event)
        KeInitializeEvent(event, type, state);
    return event;
}

/* A named event is the one that has the name already, if there is one. The handle holds it. */
static NTSTATUS open_event(PUNICODE_STRING name, EVENT_TYPE type, bool state, HANDLE *ret, PKEVENT *ret_event) {
    PKEVENT event = name ? object_find(name) : NULL;
    bool exists = event != NULL;
    if (exists && !is_type(event, &object_event_type))
        return STATUS_OBJECT_TYPE_MISMATCH;
    if (!exists)
        event = create_event(type, state);
    if (!event)
        return STATUS_INSUFFICIENT_RESOURCES;
    NTSTATUS status = handle_create(event, ret);
    if (NT_SUCCESS(status) && !exists && name)
        object_insert_name(event, name);
    if (!exists)
        ObfDereferenceObject(event);
    *ret_event = event;
    return status;
}

static PKEVENT NTAPI IoCreateNotificationEvent(PUNICODE_STRING EventName, PHANDLE EventHandle) {
    PKEVENT event = NULL;
    return NT_SUCCESS(open_event(EventName, NotificationEvent, true, EventHandle, &event)) ? event : NULL;
}
NT_EXPORT(IoCreateNotificationEvent);

static PKEVENT NTAPI IoCreateSynchronizationEvent(PUNICODE_STRING EventName, PHANDLE EventHandle) {
    PKEVENT event = NULL;
    return NT_SUCCESS(open_event(EventName, SynchronizationEvent, true, EventHandle, &event)) ? event : NULL;
}
NT_EXPORT(IoCreateSynchronizationEvent);

static NTSTATUS NTAPI ZwCreateEvent(PHANDLE EventHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes,
                                    EVENT_TYPE EventType, BOOLEAN InitialState) {
    (void)DesiredAccess;
    PKEVENT event;
    PUNICODE_STRING name = ObjectAttributes ? ObjectAttributes->ObjectName : NULL;
    return open_event(name, EventType, InitialState, EventHandle, &event);
}
NT_EXPORT(ZwCreateEvent);

static NTSTATUS NTAPI ZwOpenEvent(PHANDLE EventHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes) {
    (void)DesiredAccess;
    PKEVENT event = object_find(ObjectAttributes->ObjectName);
    return is_type(event, &object_event_type) ? handle_create(event, EventHandle) : STATUS_OBJECT_NAME_NOT_FOUND;
}
NT_EXPORT(ZwOpenEvent);

static NTSTATUS NTAPI ZwSetEvent(HANDLE EventHandle, PLONG PreviousState) {
    PKEVENT event = handle_object(EventHandle);
    if (!is_type(event, &object_event_type))
        return STATUS_INVALID_HANDLE;
    LONG old = KeSetEvent(event, 0, FALSE);
    if (PreviousState)
        *PreviousState = old;
    return STATUS_SUCCESS;
}
NT_EXPORT(ZwSetEvent);

static NTSTATUS NTAPI ZwClearEvent(HANDLE EventHandle) {
    PKEVENT event = handle_object(EventHandle);
    if (!is_type(event, &object_event_type))
        return STATUS_INVALID_HANDLE;
    KeClearEvent(event);
    return STATUS_SUCCESS;
}
NT_EXPORT(ZwClearEvent);
NT_EXPORT_AS("ZwResetEvent", ZwClearEvent);

static NTSTATUS NTAPI ZwWaitForSingleObject(HANDLE Handle, BOOLEAN Alertable, PLARGE_INTEGER Timeout) {
    void *object = handle_object(Handle);
    if (!is_type(object, &object_event_type) && !is_type(object, &object_thread_type))
        return object ? STATUS_OBJECT_TYPE_MISMATCH : STATUS_INVALID_HANDLE;
    ObfReferenceObject(object);
    NTSTATUS status = KeWaitForSingleObject(object, UserRequest, KernelMode, Alertable, Timeout);
    ObfDereferenceObject(object);
    return status;
}
NT_EXPORT(ZwWaitForSingleObject);
NT_EXPORT_AS("NtWaitForSingleObject", ZwWaitForSingleObject);
