#include "nt/device.h"

#include "memory/pool.h"
#include "nt/driver.h"
#include "nt/list.h"
#include "nt/object.h"
#include "nt/request.h"
#include "nt/rtl.h"
#include "nt/timer.h"

/* ----------------------------------------------------------------------------------------------------- devices ---- */

static void finish_device(void *object) {
    PDEVICE_OBJECT device = object;
    timer_forget_device(device);
    ObfDereferenceObject(device->DriverObject);
}

OBJECT_TYPE_NAMED(object_device_type, "Device", POOL_TAG('D', 'e', 'v', 'i'), finish_device, NULL);

/* DEVICE_OBJECT, the driver's extension, DEVOBJ_EXTENSION: as Windows puts them. */
static PDEVICE_OBJECT allocate(ULONG extension_size) {
    u64 rounded = (extension_size + 15ull) & ~15ull;
    PDEVICE_OBJECT device =
        object_create(&object_device_type, sizeof(DEVICE_OBJECT) + rounded + sizeof(DEVOBJ_EXTENSION));
    if (!device)
        return NULL;
    device->Type = IO_TYPE_DEVICE;
    device->Size = (USHORT)(sizeof(DEVICE_OBJECT) + extension_size);
    device->DeviceExtension = extension_size ? device + 1 : NULL;
    device->DeviceObjectExtension = (PVOID)((u8 *)(device + 1) + rounded);
    *device->DeviceObjectExtension = (DEVOBJ_EXTENSION){.Type = IO_TYPE_DEVICE_EXTENSION, .DeviceObject = device};
    return device;
}

static void fill(PDEVICE_OBJECT device, PDRIVER_OBJECT driver, DEVICE_TYPE type, ULONG characteristics,
                 BOOLEAN exclusive) {
    device->DeviceType = type;
    device->Characteristics = characteristics;
    device->Flags = DO_DEVICE_INITIALIZING | (exclusive ? DO_EXCLUSIVE : 0);
    device->StackSize = 1;
    KeInitializeDeviceQueue(&device->DeviceQueue);
    InitializeListHead(&device->Queue.ListEntry);
    KeInitializeEvent(&device->DeviceLock, SynchronizationEvent, TRUE);
    device->DriverObject = driver;
    device->NextDevice = driver->DeviceObject;
    driver->DeviceObject = device;
    ObfReferenceObject(driver);
}

NTSTATUS NTAPI IoCreateDevice(PDRIVER_OBJECT DriverObject, ULONG DeviceExtensionSize, PUNICODE_STRING DeviceName,
                              DEVICE_TYPE DeviceType, ULONG DeviceCharacteristics, BOOLEAN Exclusive,
                              PDEVICE_OBJECT *DeviceObject) {
    enum { LARGEST_EXTENSION = 0xffff - sizeof(DEVICE_OBJECT) };
    *DeviceObject = NULL;
    if (DeviceExtensionSize > LARGEST_EXTENSION)
        return STATUS_INVALID_PARAMETER;
    PDEVICE_OBJECT device = allocate(DeviceExtensionSize);
    if (!device)
        return STATUS_INSUFFICIENT_RESOURCES;
    fill(device, DriverObject, DeviceType, DeviceCharacteristics, Exclusive);
    NTSTATUS status = DeviceName ? object_insert_name(device, DeviceName) : STATUS_SUCCESS;
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(device);
        return status;
    }
    if (DeviceName)
        device->Flags |= DO_DEVICE_HAS_NAME;
    *DeviceObject = device;
    return STATUS_SUCCESS;
}
NT_EXPORT(IoCreateDevice);

/* The security descriptor and class of the secure form say who may open the device: nobody is refused here. */
static NTSTATUS NTAPI IoCreateDeviceSecure(PDRIVER_OBJECT DriverObject, ULONG DeviceExtensionSize,
                                           PUNICODE_STRING DeviceName, DEVICE_TYPE DeviceType,
                                           ULONG DeviceCharacteristics, BOOLEAN Exclusive,
                                           PCUNICODE_STRING DefaultSDDLString, PVOID DeviceClassGuid,
                                           PDEVICE_OBJECT *DeviceObject) {
    (void)DefaultSDDLString, (void)DeviceClassGuid;
    return IoCreateDevice(DriverObject, DeviceExtensionSize, DeviceName, DeviceType, DeviceCharacteristics, Exclusive,
                          DeviceObject);
}
NT_EXPORT(IoCreateDeviceSecure);
NT_EXPORT_AS("WdmlibIoCreateDeviceSecure", IoCreateDeviceSecure);

static void take_off_list(PDEVICE_OBJECT device) {
    PDEVICE_OBJECT *link = &device->DriverObject->DeviceObject;
    while (*link && *link != device)
        link = &(*link)->NextDevice;
    if (*link)
        *link = device->NextDevice;
}

VOID NTAPI IoDeleteDevice(PDEVICE_OBJECT DeviceObject) {
    take_off_list(DeviceObject);
    object_remove_name(DeviceObject);
    ObfDereferenceObject(DeviceObject);
}
NT_EXPORT(IoDeleteDevice);

u32 device_count(const DRIVER_OBJECT *driver) {
    u32 count = 0;
    for (PDEVICE_OBJECT device = driver->DeviceObject; device; device = device->NextDevice)
        count++;
    return count;
}

static NTSTATUS NTAPI IoEnumerateDeviceObjectList(PDRIVER_OBJECT DriverObject, PDEVICE_OBJECT *DeviceObjectList,
                                                  ULONG DeviceObjectListSize, PULONG ActualNumberDeviceObjects) {
    ULONG count = 0, room = DeviceObjectListSize / sizeof(PDEVICE_OBJECT);
    for (PDEVICE_OBJECT device = DriverObject->DeviceObject; device; device = device->NextDevice, count++) {
        if (count < room) {
            ObfReferenceObject(device);
            DeviceObjectList[count] = device;
        }
    }
    *ActualNumberDeviceObjects = count;
    return count > room ? STATUS_BUFFER_TOO_SMALL : STATUS_SUCCESS;
}
NT_EXPORT(IoEnumerateDeviceObjectList);

/* ------------------------------------------------------------------------------------------------------ stacks ---- */

PDEVICE_OBJECT NTAPI IoGetAttachedDevice(PDEVICE_OBJECT DeviceObject) {
    while (DeviceObject->AttachedDevice)
        DeviceObject = DeviceObject->AttachedDevice;
    return DeviceObject;
}
NT_EXPORT(IoGetAttachedDevice);

static PDEVICE_OBJECT NTAPI IoGetAttachedDeviceReference(PDEVICE_OBJECT DeviceObject) {
    PDEVICE_OBJECT top = IoGetAttachedDevice(DeviceObject);
    ObfReferenceObject(top);
    return top;
}
NT_EXPORT(IoGetAttachedDeviceReference);

static PDEVICE_OBJECT NTAPI IoGetLowerDeviceObject(PDEVICE_OBJECT DeviceObject) {
    PDEVICE_OBJECT lower = DeviceObject->DeviceObjectExtension->AttachedTo;
    if (lower)
        ObfReferenceObject(lower);
    return lower;
}
NT_EXPORT(IoGetLowerDeviceObject);

static PDEVICE_OBJECT NTAPI IoGetDeviceAttachmentBaseRef(PDEVICE_OBJECT DeviceObject) {
    while (DeviceObject->DeviceObjectExtension->AttachedTo)
        DeviceObject = DeviceObject->DeviceObjectExtension->AttachedTo;
    ObfReferenceObject(DeviceObject);
    return DeviceObject;
}
NT_EXPORT(IoGetDeviceAttachmentBaseRef);

/* On top of the stack, whichever device of it is named. */
static PDEVICE_OBJECT NTAPI IoAttachDeviceToDeviceStack(PDEVICE_OBJECT SourceDevice, PDEVICE_OBJECT TargetDevice) {
    PDEVICE_OBJECT top = IoGetAttachedDevice(TargetDevice);
    top->AttachedDevice = SourceDevice;
    SourceDevice->DeviceObjectExtension->AttachedTo = top;
    SourceDevice->StackSize = (CCHAR)(top->StackSize + 1);
    SourceDevice->AlignmentRequirement = top->AlignmentRequirement;
    SourceDevice->SectorSize = top->SectorSize;
    return top;
}
NT_EXPORT(IoAttachDeviceToDeviceStack);

static NTSTATUS NTAPI IoAttachDeviceToDeviceStackSafe(PDEVICE_OBJECT SourceDevice, PDEVICE_OBJECT TargetDevice,
                                                      PDEVICE_OBJECT *AttachedToDeviceObject) {
    *AttachedToDeviceObject = IoAttachDeviceToDeviceStack(SourceDevice, TargetDevice);
    return STATUS_SUCCESS;
}
NT_EXPORT(IoAttachDeviceToDeviceStackSafe);

static VOID NTAPI IoDetachDevice(PDEVICE_OBJECT TargetDevice) {
    PDEVICE_OBJECT above = TargetDevice->AttachedDevice;
    if (above)
        above->DeviceObjectExtension->AttachedTo = NULL;
    TargetDevice->AttachedDevice = NULL;
}
NT_EXPORT(IoDetachDevice);

/* ------------------------------------------------------------------------------------------------------- files ---- */

OBJECT_TYPE_NAMED(object_file_type, "File", POOL_TAG('F', 'i', 'l', 'e'), file_finish, file_handles_closed);

PFILE_OBJECT file_create(PDEVICE_OBJECT device, PCUNICODE_STRING name) {
    PFILE_OBJECT file = object_create(&object_file_type, sizeof(FILE_OBJECT));
    if (!file)
        return NULL;
    file->Type = IO_TYPE_FILE;
    file->Size = sizeof(FILE_OBJECT);
    file->DeviceObject = device;
    file->Flags = FO_SYNCHRONOUS_IO;
    file->ReadAccess = file->WriteAccess = TRUE;
    KeInitializeEvent(&file->Lock, SynchronizationEvent, FALSE);
    KeInitializeEvent(&file->Event, NotificationEvent, FALSE);
    InitializeListHead(&file->IrpList);
    ObfReferenceObject(device);
    if (name && name->Length) {
        file->FileName.Buffer = pool_allocate(NonPagedPool, name->Length, object_file_type.tag);
        file->FileName.MaximumLength = file->FileName.Buffer ? name->Length : 0;
        RtlCopyUnicodeString(&file->FileName, name);
    }
    return file;
}

/* The caller gets a file with a reference, without a handle, and the top of the stack. */
static NTSTATUS NTAPI IoGetDeviceObjectPointer(PUNICODE_STRING ObjectName, ACCESS_MASK DesiredAccess,
                                               PFILE_OBJECT *FileObject, PDEVICE_OBJECT *DeviceObject) {
    (void)DesiredAccess;
    NTSTATUS status = file_open(ObjectName, KernelMode, FileObject);
    if (!NT_SUCCESS(status))
        return status;
    file_handles_closed(*FileObject);
    *DeviceObject = IoGetAttachedDevice((*FileObject)->DeviceObject);
    return STATUS_SUCCESS;
}
NT_EXPORT(IoGetDeviceObjectPointer);

static PDEVICE_OBJECT NTAPI IoGetRelatedDeviceObject(PFILE_OBJECT FileObject) {
    return IoGetAttachedDevice(FileObject->DeviceObject);
}
NT_EXPORT(IoGetRelatedDeviceObject);

static NTSTATUS NTAPI IoAttachDevice(PDEVICE_OBJECT SourceDevice, PUNICODE_STRING TargetDevice,
                                     PDEVICE_OBJECT *AttachedDevice) {
    PDEVICE_OBJECT target = object_find(TargetDevice);
    if (!target || object_type(target) != &object_device_type)
        return STATUS_OBJECT_NAME_NOT_FOUND;
    *AttachedDevice = IoAttachDeviceToDeviceStack(SourceDevice, target);
    return STATUS_SUCCESS;
}
NT_EXPORT(IoAttachDevice);

/* ---------------------------------------------------------------------------------------------- symbolic links ---- */

NTSTATUS NTAPI IoCreateSymbolicLink(PUNICODE_STRING SymbolicLinkName, PUNICODE_STRING DeviceName) {
    struct symbolic_link *link = object_create(&object_link_type, sizeof(*link));
    if (!link)
        return STATUS_INSUFFICIENT_RESOURCES;
    struct lab_driver *driver = driver_calling();
    link->creator = driver ? driver->base : 0;
    link->target.Buffer = pool_allocate(NonPagedPool, DeviceName->Length + sizeof(WCHAR), object_link_type.tag);
    link->target.MaximumLength = DeviceName->Length;
    NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;
    if (link->target.Buffer) {
        RtlCopyUnicodeString(&link->target, DeviceName);
        status = object_insert_name(link, SymbolicLinkName);
    }
    ObfDereferenceObject(link); /* from now on its name holds it, or nothing */
    return status;
}
NT_EXPORT(IoCreateSymbolicLink);

static NTSTATUS NTAPI IoCreateUnprotectedSymbolicLink(PUNICODE_STRING SymbolicLinkName, PUNICODE_STRING DeviceName) {
    return IoCreateSymbolicLink(SymbolicLinkName, DeviceName);
}
NT_EXPORT(IoCreateUnprotectedSymbolicLink);

static NTSTATUS NTAPI IoDeleteSymbolicLink(PUNICODE_STRING SymbolicLinkName) {
    void *link = object_find_link(SymbolicLinkName);
    if (!link)
        return STATUS_OBJECT_NAME_NOT_FOUND;
    object_remove_name(link);
    return STATUS_SUCCESS;
}
NT_EXPORT(IoDeleteSymbolicLink);

static bool is_link_of(const void *object, u64 base, u64 size) {
    return object_type(object) == &object_link_type && ((const struct symbolic_link *)object)->creator - base < size;
}

u32 link_count_in(u64 base, u64 size) {
    u32 count = 0;
    for (void *object = object_next_named(NULL); object; object = object_next_named(object))
        count += is_link_of(object, base, size);
    return count;
}

void link_delete_all_in(u64 base, u64 size) {
    for (void *object = object_next_named(NULL), *next; object; object = next) {
        next = object_next_named(object);
        if (is_link_of(object, base, size))
            object_remove_name(object);
    }
}
