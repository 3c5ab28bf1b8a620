/*
 * driver_object.c - DRIVER_OBJECT and its life: DriverEntry, DriverUnload, and what a driver leaves behind.
 */
#include "memory/ledger.h"
#include "memory/pool.h"
#include "nt/callback.h"
#include "nt/device.h"
#include "nt/dpc.h"
#include "nt/driver.h"
#include "nt/irql.h"
#include "nt/list.h"
#include "nt/object.h"
#include "nt/rtl.h"
#include "nt/thread.h"
#include "nt/timer.h"
#include "nt/worker.h"

/* LDR_DATA_TABLE_ENTRY, which DriverSection points at: the fields that drivers reach. */
typedef struct _KLDR_DATA_TABLE_ENTRY {
    LIST_ENTRY InLoadOrderLinks;
    PVOID ExceptionTable;
    ULONG ExceptionTableSize;
    PVOID GpValue;
    PVOID NonPagedDebugInfo;
    PVOID DllBase;
    PVOID EntryPoint;
    ULONG SizeOfImage;
    UNICODE_STRING FullDllName;
    UNICODE_STRING BaseDllName;
    ULONG Flags;
    USHORT LoadCount;
    USHORT SignatureLevel;
    PVOID SectionPointer;
    ULONG CheckSum;
    PVOID LoadedImports;
    PVOID PatchInformation;
} KLDR_DATA_TABLE_ENTRY;
_Static_assert(offsetof(KLDR_DATA_TABLE_ENTRY, DllBase) == 0x30 && offsetof(KLDR_DATA_TABLE_ENTRY, Flags) == 0x68,
               "as in Windows");

/* A DRIVER_OBJECT and all that it points at, in one block. */
enum { NAME_CHARACTERS = LAB_DRIVER_NAME, PATH_CHARACTERS = 128 };
struct driver_record {
    DRIVER_OBJECT object;
    DRIVER_EXTENSION extension;
    KLDR_DATA_TABLE_ENTRY module;
    UNICODE_STRING registry_path;
    UNICODE_STRING hardware_database;
    WCHAR service_name[NAME_CHARACTERS];
    WCHAR driver_name[PATH_CHARACTERS];
    WCHAR registry_name[PATH_CHARACTERS];
    WCHAR file_name[PATH_CHARACTERS];
    WCHAR base_name[PATH_CHARACTERS];
};

static LIST_ENTRY PsLoadedModuleList = {&PsLoadedModuleList, &PsLoadedModuleList};
NT_EXPORT_DATA(PsLoadedModuleList);

static void finish_driver(void *object) {
    PDRIVER_EXTENSION extension = ((PDRIVER_OBJECT)object)->DriverExtension;
    while (extension->ClientDriverExtension) {
        void *client = extension->ClientDriverExtension;
        extension->ClientDriverExtension = *(void **)client;
        ExFreePoolWithTag(client, 0);
    }
}

OBJECT_TYPE_NAMED(object_driver_type, "Driver", POOL_TAG('D', 'r', 'i', 'v'), finish_driver, NULL);

/* -------------------------------------------------------------------------------------------------- the record ---- */

/* prefix, name, suffix: ASCII, and short enough for any of the buffers. */
static UNICODE_STRING compose(WCHAR *buffer, const char *prefix, const char *name, const char *suffix) {
    const char *parts[] = {prefix, name, suffix};
    USHORT length = 0;
    for (u64 part = 0; part < ARRAY_SIZE(parts); part++) {
        for (const char *text = parts[part]; *text && length < PATH_CHARACTERS - 1; text++)
            buffer[length++] = (u8)*text;
    }
    buffer[length] = 0;
    return (UNICODE_STRING){(USHORT)(length * sizeof(WCHAR)), (USHORT)((length + 1) * sizeof(WCHAR)), buffer};
}

/* What a request gets that the driver has no function for. */
static NTSTATUS NTAPI IopInvalidDeviceRequest(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    (void)DeviceObject;
    Irp->IoStatus.Status = STATUS_INVALID_DEVICE_REQUEST;
    Irp->IoStatus.Information = 0;
    IofCompleteRequest(Irp, 0);
    return STATUS_INVALID_DEVICE_REQUEST;
}

static void fill_module(struct driver_record *record, const struct lab_driver *driver) {
    record->module = (KLDR_DATA_TABLE_ENTRY){
        .ExceptionTable = (PVOID)(driver->base + driver->exceptions),
        .ExceptionTableSize = driver->exceptions_size,
        .DllBase = (PVOID)driver->base,
        .EntryPoint = (PVOID)driver->entry,
        .SizeOfImage = (ULONG)driver->size,
        .FullDllName = compose(record->file_name, "\\SystemRoot\\System32\\drivers\\", driver->name, ".sys"),
        .BaseDllName = compose(record->base_name, "", driver->name, ".sys"),
        .LoadCount = 1,
    };
    InsertTailList(&PsLoadedModuleList, &record->module.InLoadOrderLinks);
}

static void fill_object(struct driver_record *record, const struct lab_driver *driver) {
    record->extension = (DRIVER_EXTENSION){
        .DriverObject = &record->object,
        .ServiceKeyName = compose(record->service_name, "", driver->name, ""),
    };
    record->hardware_database = (UNICODE_STRING){
        .Length = 90,
        .MaximumLength = 92,
        .Buffer = (PWSTR)u"\\REGISTRY\\MACHINE\\HARDWARE\\DESCRIPTION\\SYSTEM",
    };
    record->object = (DRIVER_OBJECT){
        .Type = IO_TYPE_DRIVER,
        .Size = sizeof(DRIVER_OBJECT),
        .Flags = DRVO_LEGACY_DRIVER,
        .DriverStart = (PVOID)driver->base,
        .DriverSize = (ULONG)driver->size,
        .DriverSection = &record->module,
        .DriverExtension = &record->extension,
        .DriverName = compose(record->driver_name, "\\Driver\\", driver->name, ""),
        .HardwareDatabase = &record->hardware_database,
        .DriverInit = (PDRIVER_INITIALIZE)driver->entry,
    };
    for (u64 i = 0; i <= IRP_MJ_MAXIMUM_FUNCTION; i++)
        record->object.MajorFunction[i] = IopInvalidDeviceRequest;
}

static NTSTATUS make_object(struct lab_driver *driver) {
    struct driver_record *record = object_create(&object_driver_type, sizeof(*record));
    if (!record)
        return STATUS_INSUFFICIENT_RESOURCES;
    fill_object(record, driver);
    NTSTATUS status = object_insert_name(record, &record->object.DriverName);
    if (!NT_SUCCESS(status)) {
        ObfDereferenceObject(record);
        return status == STATUS_OBJECT_NAME_COLLISION ? STATUS_IMAGE_ALREADY_LOADED : status;
    }
    fill_module(record, driver);
    record->registry_path =
        compose(record->registry_name, "\\Registry\\Machine\\System\\CurrentControlSet\\Services\\", driver->name, "");
    driver->object = &record->object;
    return STATUS_SUCCESS;
}

/* ----------------------------------------------------------------------------------------------- its beginning ---- */

/* As the system thread does that loads and unloads drivers: it must come back at PASSIVE_LEVEL, with APCs enabled. */
static u64 call_as_worker(const void *function, u64 argument1, u64 argument2) {
    u64 result = driver_call(function, argument1, argument2, 0, 0);
    if (irql_current() != PASSIVE_LEVEL)
        KeBugCheckEx(WORKER_THREAD_RETURNED_AT_BAD_IRQL, (ULONG_PTR)function, irql_current(), argument1, 0);
    if (thread_current()->apcs_disabled)
        KeBugCheckEx(APC_INDEX_MISMATCH, (ULONG_PTR)function, 0, thread_current()->apcs_disabled, 0);
    return result;
}

/* Devices of DriverEntry are ready when it returns; functions set to NULL are as if they had not been touched. */
static void finish_start(struct lab_driver *driver) {
    for (PDEVICE_OBJECT device = driver->object->DeviceObject; device; device = device->NextDevice)
        device->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
    for (u64 i = 0; i <= IRP_MJ_MAXIMUM_FUNCTION; i++) {
        if (!driver->object->MajorFunction[i])
            driver->object->MajorFunction[i] = IopInvalidDeviceRequest;
    }
    driver->object->Flags |= DRVO_INITIALIZED;
    driver_discard_sections(driver);
    driver->state = DRIVER_LOADED;
}

static void bury(struct lab_driver *driver);

NTSTATUS driver_start(struct lab_driver *driver) {
    driver->status = make_object(driver);
    if (!NT_SUCCESS(driver->status)) {
        driver_release(driver);
        return driver->status;
    }
    struct driver_record *record = CONTAINING_RECORD(driver->object, struct driver_record, object);
    driver->state = DRIVER_STARTING;
    driver->status =
        (NTSTATUS)call_as_worker((const void *)driver->entry, (u64)driver->object, (u64)&record->registry_path);
    if (NT_SUCCESS(driver->status))
        finish_start(driver);
    else
        bury(driver);
    return driver->status;
}

/* ----------------------------------------------------------------------------------------------------- its end ---- */

static void count_leftovers(struct lab_driver *driver) {
    u64 base = driver->base, size = driver->size;
    driver->leftovers = (struct lab_leftovers){
        .devices = device_count(driver->object),
        .symbolic_links = link_count_in(base, size),
        .timers = timer_count_in(base, size),
        .dpcs = dpc_count_in(base, size),
        .work_items = worker_count_in(base, size),
        .threads = thread_count_in(base, size),
        .handles = handle_count_in(base, size),
        .callbacks = callback_count_in(base, size),
    };
}

/*
 * Devices and links would only confuse whoever comes next. All else stays and may yet run into the memory that is no
 * longer there: that is bug check 0xCE, here as on Windows.
 */
static void bury(struct lab_driver *driver) {
    struct driver_record *record = CONTAINING_RECORD(driver->object, struct driver_record, object);
    count_leftovers(driver);
    while (driver->object->DeviceObject)
        IoDeleteDevice(driver->object->DeviceObject);
    link_delete_all_in(driver->base, driver->size);
    callback_remove_all_in(driver->base, driver->size);
    RemoveEntryList(&record->module.InLoadOrderLinks);
    object_remove_name(driver->object);
    ObfDereferenceObject(driver->object);
    driver->object = NULL;
    ledger_close(driver);
    driver_release(driver);
}

NTSTATUS driver_stop(struct lab_driver *driver) {
    PDRIVER_UNLOAD unload = driver->object->DriverUnload;
    if (!unload)
        return STATUS_INVALID_DEVICE_REQUEST;
    driver->state = DRIVER_STOPPING;
    driver->object->Flags |= DRVO_UNLOAD_INVOKED;
    call_as_worker(unload, (u64)driver->object, 0);
    bury(driver);
    return STATUS_SUCCESS;
}

/* -------------------------------------------------------------------------------------------------- extensions ---- */

/* A list in the driver's extension, by an address that the driver chooses. */
struct client_extension {
    struct client_extension *next;
    PVOID identification;
    u8 data[] __attribute__((aligned(16)));
};

PVOID NTAPI IoGetDriverObjectExtension(PDRIVER_OBJECT DriverObject, PVOID ClientIdentificationAddress) {
    struct client_extension *client = DriverObject->DriverExtension->ClientDriverExtension;
    while (client && client->identification != ClientIdentificationAddress)
        client = client->next;
    return client ? client->data : NULL;
}
NT_EXPORT(IoGetDriverObjectExtension);

NTSTATUS NTAPI IoAllocateDriverObjectExtension(PDRIVER_OBJECT DriverObject, PVOID ClientIdentificationAddress,
                                               ULONG DriverObjectExtensionSize, PVOID *DriverObjectExtension) {
    *DriverObjectExtension = NULL;
    if (IoGetDriverObjectExtension(DriverObject, ClientIdentificationAddress))
        return STATUS_OBJECT_NAME_COLLISION;
    u64 size = sizeof(struct client_extension) + DriverObjectExtensionSize;
    struct client_extension *client = pool_allocate(NonPagedPool, size, object_driver_type.tag);
    if (!client)
        return STATUS_INSUFFICIENT_RESOURCES;
    memset(client, 0, size);
    client->next = DriverObject->DriverExtension->ClientDriverExtension;
    client->identification = ClientIdentificationAddress;
    DriverObject->DriverExtension->ClientDriverExtension = client;
    *DriverObjectExtension = client->data;
    return STATUS_SUCCESS;
}
NT_EXPORT(IoAllocateDriverObjectExtension);
