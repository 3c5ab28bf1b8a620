#include "nt/callback.h"

#include "memory/pool.h"
#include "nt/driver.h"
#include "nt/list.h"
#include "nt/object.h"
#include "nt/rtl.h"

enum callback_kind {
    CALLBACK_PROCESS,
    CALLBACK_PROCESS_EX,
    CALLBACK_THREAD,
    CALLBACK_IMAGE,
    CALLBACK_REGISTRY,
    CALLBACK_OBJECT,
    CALLBACK_SHUTDOWN,
    CALLBACK_NAMED, /* of an object that ExCreateCallback made */
};

struct callback {
    LIST_ENTRY entry;
    enum callback_kind kind;
    u64 routine;
    PVOID context;
    PVOID object; /* of CALLBACK_NAMED */
};
enum { CALLBACK_TAG = POOL_TAG('L', 'a', 'b', 'C') };

static LIST_ENTRY callbacks = {&callbacks, &callbacks};

static struct callback *callback_of(PLIST_ENTRY entry) {
    return CONTAINING_RECORD(entry, struct callback, entry);
}

static struct callback *add(enum callback_kind kind, const void *routine, PVOID context, PVOID object) {
    struct callback *callback = pool_allocate(NonPagedPool, sizeof(*callback), CALLBACK_TAG);
    if (callback) {
        *callback = (struct callback){.kind = kind, .routine = (u64)routine, .context = context, .object = object};
        InsertTailList(&callbacks, &callback->entry);
    }
    return callback;
}

static void remove(struct callback *callback) {
    RemoveEntryList(&callback->entry);
    ExFreePoolWithTag(callback, CALLBACK_TAG);
}

static struct callback *find(enum callback_kind kind, const void *routine) {
    for (PLIST_ENTRY entry = callbacks.Flink; entry != &callbacks; entry = entry->Flink) {
        if (callback_of(entry)->kind == kind && callback_of(entry)->routine == (u64)routine)
            return callback_of(entry);
    }
    return NULL;
}

u32 callback_count_in(u64 base, u64 size) {
    u32 count = 0;
    for (PLIST_ENTRY entry = callbacks.Flink; entry != &callbacks; entry = entry->Flink)
        count += callback_of(entry)->routine - base < size;
    return count;
}

void callback_remove_all_in(u64 base, u64 size) {
    for (PLIST_ENTRY entry = callbacks.Flink, next; entry != &callbacks; entry = next) {
        next = entry->Flink;
        if (callback_of(entry)->routine - base < size)
            remove(callback_of(entry));
    }
}

/* Registers a routine that may be there once, or takes it back. */
static NTSTATUS change(enum callback_kind kind, const void *routine, bool take_back) {
    struct callback *found = find(kind, routine);
    if (take_back && !found)
        return STATUS_PROCEDURE_NOT_FOUND;
    if (take_back)
        remove(found);
    else if (found)
        return STATUS_INVALID_PARAMETER;
    else if (!add(kind, routine, NULL, NULL))
        return STATUS_INSUFFICIENT_RESOURCES;
    return STATUS_SUCCESS;
}

/* ---------------------------------------------------------------------------------- processes, threads, images ---- */

static NTSTATUS NTAPI PsSetCreateProcessNotifyRoutine(PVOID NotifyRoutine, BOOLEAN Remove) {
    return change(CALLBACK_PROCESS, NotifyRoutine, Remove);
}
NT_EXPORT(PsSetCreateProcessNotifyRoutine);

static NTSTATUS NTAPI PsSetCreateProcessNotifyRoutineEx(PVOID NotifyRoutine, BOOLEAN Remove) {
    return change(CALLBACK_PROCESS_EX, NotifyRoutine, Remove);
}
NT_EXPORT(PsSetCreateProcessNotifyRoutineEx);

static NTSTATUS NTAPI PsSetCreateThreadNotifyRoutine(PVOID NotifyRoutine) {
    return change(CALLBACK_THREAD, NotifyRoutine, false);
}
NT_EXPORT(PsSetCreateThreadNotifyRoutine);

static NTSTATUS NTAPI PsRemoveCreateThreadNotifyRoutine(PVOID NotifyRoutine) {
    return change(CALLBACK_THREAD, NotifyRoutine, true);
}
NT_EXPORT(PsRemoveCreateThreadNotifyRoutine);

static NTSTATUS NTAPI PsSetLoadImageNotifyRoutine(PVOID NotifyRoutine) {
    return change(CALLBACK_IMAGE, NotifyRoutine, false);
}
NT_EXPORT(PsSetLoadImageNotifyRoutine);

static NTSTATUS NTAPI PsRemoveLoadImageNotifyRoutine(PVOID NotifyRoutine) {
    return change(CALLBACK_IMAGE, NotifyRoutine, true);
}
NT_EXPORT(PsRemoveLoadImageNotifyRoutine);

/* ---------------------------------------------------------------------------------------- registry and objects ---- */

static NTSTATUS NTAPI CmRegisterCallback(PVOID Function, PVOID Context, PLARGE_INTEGER Cookie) {
    struct callback *callback = add(CALLBACK_REGISTRY, Function, Context, NULL);
    Cookie->QuadPart = (LONGLONG)callback;
    return callback ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}
NT_EXPORT(CmRegisterCallback);

static NTSTATUS NTAPI CmRegisterCallbackEx(PVOID Function, PCUNICODE_STRING Altitude, PVOID Driver, PVOID Context,
                                           PLARGE_INTEGER Cookie, PVOID Reserved) {
    (void)Altitude, (void)Driver, (void)Reserved;
    return CmRegisterCallback(Function, Context, Cookie);
}
NT_EXPORT(CmRegisterCallbackEx);

/* A cookie is the address of what was registered; only one that is in the list is believed. */
static struct callback *by_cookie(enum callback_kind kind, u64 cookie) {
    for (PLIST_ENTRY entry = callbacks.Flink; entry != &callbacks; entry = entry->Flink) {
        if (callback_of(entry)->kind == kind && (u64)callback_of(entry) == cookie)
            return callback_of(entry);
    }
    return NULL;
}

static NTSTATUS NTAPI CmUnRegisterCallback(LARGE_INTEGER Cookie) {
    struct callback *callback = by_cookie(CALLBACK_REGISTRY, (u64)Cookie.QuadPart);
    if (!callback)
        return STATUS_INVALID_PARAMETER;
    remove(callback);
    return STATUS_SUCCESS;
}
NT_EXPORT(CmUnRegisterCallback);

typedef struct _OB_OPERATION_REGISTRATION {
    POBJECT_TYPE *ObjectType;
    ULONG Operations;
    PVOID PreOperation;
    PVOID PostOperation;
} OB_OPERATION_REGISTRATION;

typedef struct _OB_CALLBACK_REGISTRATION {
    USHORT Version;
    USHORT OperationRegistrationCount;
    UNICODE_STRING Altitude;
    PVOID RegistrationContext;
    OB_OPERATION_REGISTRATION *OperationRegistration;
} OB_CALLBACK_REGISTRATION, *POB_CALLBACK_REGISTRATION;

static NTSTATUS NTAPI ObRegisterCallbacks(POB_CALLBACK_REGISTRATION CallbackRegistration, PVOID *RegistrationHandle) {
    *RegistrationHandle = NULL;
    if (!CallbackRegistration->OperationRegistrationCount)
        return STATUS_INVALID_PARAMETER;
    OB_OPERATION_REGISTRATION *first = CallbackRegistration->OperationRegistration;
    *RegistrationHandle = add(CALLBACK_OBJECT, first->PreOperation ? first->PreOperation : first->PostOperation,
                              CallbackRegistration->RegistrationContext, NULL);
    return *RegistrationHandle ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}
NT_EXPORT(ObRegisterCallbacks);

static VOID NTAPI ObUnRegisterCallbacks(PVOID RegistrationHandle) {
    struct callback *callback = by_cookie(CALLBACK_OBJECT, (u64)RegistrationHandle);
    if (callback)
        remove(callback);
}
NT_EXPORT(ObUnRegisterCallbacks);

static USHORT NTAPI ObGetFilterVersion(VOID) {
    return 0x0100;
}
NT_EXPORT(ObGetFilterVersion);

/* ------------------------------------------------------------------------------------------------ the shutdown ---- */

/* What is kept is the driver's function for it: it is never called, as the guest ends without one. */
static NTSTATUS NTAPI IoRegisterShutdownNotification(PDEVICE_OBJECT DeviceObject) {
    PDRIVER_DISPATCH routine = DeviceObject->DriverObject->MajorFunction[IRP_MJ_SHUTDOWN];
    return add(CALLBACK_SHUTDOWN, routine, DeviceObject, NULL) ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}
NT_EXPORT(IoRegisterShutdownNotification);
NT_EXPORT_AS("IoRegisterLastChanceShutdownNotification", IoRegisterShutdownNotification);

static VOID NTAPI IoUnregisterShutdownNotification(PDEVICE_OBJECT DeviceObject) {
    struct callback *callback = find(CALLBACK_SHUTDOWN, DeviceObject->DriverObject->MajorFunction[IRP_MJ_SHUTDOWN]);
    if (callback)
        remove(callback);
}
NT_EXPORT(IoUnregisterShutdownNotification);

/* -------------------------------------------------------------------------------------------- callback objects ---- */

typedef VOID(NTAPI *PCALLBACK_FUNCTION)(PVOID CallbackContext, PVOID Argument1, PVOID Argument2);

enum { OBJ_PERMANENT = 0x10 };

static NTSTATUS NTAPI ExCreateCallback(PVOID *CallbackObject, POBJECT_ATTRIBUTES ObjectAttributes, BOOLEAN Create,
                                       BOOLEAN AllowMultipleCallbacks) {
    (void)AllowMultipleCallbacks;
    PUNICODE_STRING name = ObjectAttributes ? ObjectAttributes->ObjectName : NULL;
    void *object = name ? object_find(name) : NULL;
    if (object) {
        ObfReferenceObject(object);
    } else {
        object = Create ? object_create(&object_callback_type, sizeof(u64)) : NULL;
        if (!object)
            return Create ? STATUS_INSUFFICIENT_RESOURCES : STATUS_OBJECT_NAME_NOT_FOUND;
        if (name && ObjectAttributes->Attributes & OBJ_PERMANENT)
            object_insert_name(object, name); /* others lose theirs with the handle that Windows makes and closes */
    }
    *CallbackObject = object;
    return STATUS_SUCCESS;
}
NT_EXPORT(ExCreateCallback);

static PVOID NTAPI ExRegisterCallback(PVOID CallbackObject, PCALLBACK_FUNCTION CallbackFunction,
                                      PVOID CallbackContext) {
    return add(CALLBACK_NAMED, CallbackFunction, CallbackContext, CallbackObject);
}
NT_EXPORT(ExRegisterCallback);

static VOID NTAPI ExUnregisterCallback(PVOID CallbackRegistration) {
    struct callback *callback = by_cookie(CALLBACK_NAMED, (u64)CallbackRegistration);
    if (callback)
        remove(callback);
}
NT_EXPORT(ExUnregisterCallback);

static VOID NTAPI ExNotifyCallback(PVOID CallbackObject, PVOID Argument1, PVOID Argument2) {
    for (PLIST_ENTRY entry = callbacks.Flink, next; entry != &callbacks; entry = next) {
        struct callback *callback = callback_of(entry);
        next = entry->Flink;
        if (callback->kind == CALLBACK_NAMED && callback->object == CallbackObject)
            ((PCALLBACK_FUNCTION)callback->routine)(callback->context, Argument1, Argument2);
    }
}
NT_EXPORT(ExNotifyCallback);

/* The newer forms say first what kind of routine it is. */
static NTSTATUS NTAPI PsSetCreateProcessNotifyRoutineEx2(ULONG NotifyType, PVOID NotifyInformation, BOOLEAN Remove) {
    (void)NotifyType;
    return change(CALLBACK_PROCESS_EX, NotifyInformation, Remove);
}
NT_EXPORT(PsSetCreateProcessNotifyRoutineEx2);

static NTSTATUS NTAPI PsSetCreateThreadNotifyRoutineEx(ULONG NotifyType, PVOID NotifyInformation) {
    (void)NotifyType;
    return change(CALLBACK_THREAD, NotifyInformation, false);
}
NT_EXPORT(PsSetCreateThreadNotifyRoutineEx);

static NTSTATUS NTAPI PsSetLoadImageNotifyRoutineEx(PVOID NotifyRoutine, ULONG_PTR Flags) {
    (void)Flags;
    return change(CALLBACK_IMAGE, NotifyRoutine, false);
}
NT_EXPORT(PsSetLoadImageNotifyRoutineEx);
