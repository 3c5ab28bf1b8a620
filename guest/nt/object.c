#include "nt/object.h"

#include "memory/pool.h"
#include "memory/verifier.h"
#include "nt/driver.h"
#include "nt/list.h"
#include "nt/rtl.h"

static OBJECT_HEADER *header_of(const void *object) {
    return (OBJECT_HEADER *)object - 1;
}

/* ---------------------------------------------------------------------------------------------------- lifetime ---- */

/* By TypeIndex; 0 and 1 are not used, as on Windows. */
static POBJECT_TYPE const types[] = {
    NULL,
    NULL,
    &object_driver_type,
    &object_device_type,
    &object_file_type,
    &object_thread_type,
    &object_process_type,
    &object_event_type,
    &object_link_type,
    &object_directory_type,
    &object_section_type,
    &object_callback_type,
};

void object_initialize(OBJECT_HEADER *header, POBJECT_TYPE type) {
    *header = (OBJECT_HEADER){.PointerCount = 1};
    while (types[header->TypeIndex] != type)
        header->TypeIndex++;
}

void *object_create(POBJECT_TYPE type, u64 size) {
    OBJECT_HEADER *header = pool_allocate(NonPagedPool, sizeof(*header) + size, type->tag);
    if (!header)
        return NULL;
    memset(header, 0, sizeof(*header) + size);
    object_initialize(header, type);
    return header + 1;
}

POBJECT_TYPE object_type(const void *object) {
    u8 index = header_of(object)->TypeIndex;
    return index < ARRAY_SIZE(types) ? types[index] : NULL;
}

LONG_PTR NTAPI ObfReferenceObject(PVOID Object) {
    return ++header_of(Object)->PointerCount;
}
NT_EXPORT(ObfReferenceObject);
NT_EXPORT_AS("ObReferenceObject", ObfReferenceObject);

static LONG_PTR NTAPI ObfReferenceObjectWithTag(PVOID Object, ULONG Tag) {
    (void)Tag;
    return ObfReferenceObject(Object);
}
NT_EXPORT(ObfReferenceObjectWithTag);

/* One reference too many given back: REFERENCE_BY_POINTER, as Windows stops. */
LONG_PTR NTAPI ObfDereferenceObject(PVOID Object) {
    OBJECT_HEADER *header = header_of(Object);
    POBJECT_TYPE type = object_type(Object);
    LONG_PTR left = --header->PointerCount;
    if (left < 0 || !type)
        KeBugCheckEx(REFERENCE_BY_POINTER, (ULONG_PTR)type, (ULONG_PTR)Object, 2, (ULONG_PTR)left);
    if (left == 0) {
        if (type->finish)
            type->finish(Object);
        ExFreePoolWithTag(header, 0);
    }
    return left;
}
NT_EXPORT(ObfDereferenceObject);
NT_EXPORT_AS("ObDereferenceObject", ObfDereferenceObject);
NT_EXPORT_AS("ObDereferenceObjectDeferDelete", ObfDereferenceObject);

static LONG_PTR NTAPI ObfDereferenceObjectWithTag(PVOID Object, ULONG Tag) {
    (void)Tag;
    return ObfDereferenceObject(Object);
}
NT_EXPORT(ObfDereferenceObjectWithTag);
NT_EXPORT_AS("ObDereferenceObjectDeferDeleteWithTag", ObfDereferenceObjectWithTag);

static POBJECT_TYPE NTAPI ObGetObjectType(PVOID Object) {
    return object_type(Object);
}
NT_EXPORT(ObGetObjectType);

/* ------------------------------------------------------------------------------------------------------- names ---- */

struct name {
    LIST_ENTRY entry;
    UNICODE_STRING path;
    void *object;
    WCHAR text[];
};
enum { NAME_TAG = POOL_TAG('O', 'b', 'N', 'm'), NAME_LONGEST = 260, MOST_LINKS = 8 };

static LIST_ENTRY names = {&names, &names};

/* Other names for the directory of what user programs can open. */
static const UNICODE_STRING link_directory = {8, 10, (PWSTR)u"\\??\\"};
static const UNICODE_STRING link_aliases[] = {
    {24, 26, (PWSTR)u"\\DosDevices\\"},
    {20, 22, (PWSTR)u"\\GLOBAL??\\"},
    {40, 42, (PWSTR)u"\\DosDevices\\Global\\"},
    {22, 24, (PWSTR)u"\\??\\Global\\"},
};

/* Copies a path with aliases replaced; false when it is too long for any name of ours. */
static bool canonical(PCUNICODE_STRING path, WCHAR text[NAME_LONGEST], UNICODE_STRING *ret) {
    UNICODE_STRING rest = *path;
    *ret = (UNICODE_STRING){.MaximumLength = NAME_LONGEST * sizeof(WCHAR), .Buffer = text};
    for (u64 i = ARRAY_SIZE(link_aliases); i-- > 0;) {
        if (!ret->Length && RtlPrefixUnicodeString(&link_aliases[i], path, TRUE)) {
            RtlCopyUnicodeString(ret, &link_directory);
            rest.Buffer += link_aliases[i].Length / sizeof(WCHAR);
            rest.Length -= link_aliases[i].Length;
        }
    }
    return NT_SUCCESS(RtlAppendUnicodeStringToString(ret, &rest));
}

static struct name *find_name(PCUNICODE_STRING path) {
    WCHAR text[NAME_LONGEST];
    UNICODE_STRING wanted;
    if (!canonical(path, text, &wanted))
        return NULL;
    for (PLIST_ENTRY entry = names.Flink; entry != &names; entry = entry->Flink) {
        struct name *name = CONTAINING_RECORD(entry, struct name, entry);
        if (RtlEqualUnicodeString(&name->path, &wanted, TRUE))
            return name;
    }
    return NULL;
}

NTSTATUS object_insert_name(void *object, PCUNICODE_STRING path) {
    WCHAR text[NAME_LONGEST];
    UNICODE_STRING whole;
    if (!canonical(path, text, &whole))
        return STATUS_NAME_TOO_LONG;
    if (!whole.Length || whole.Buffer[0] != '\\')
        return STATUS_OBJECT_PATH_SYNTAX_BAD;
    if (find_name(path))
        return STATUS_OBJECT_NAME_COLLISION;
    struct name *name = pool_allocate(NonPagedPool, sizeof(*name) + whole.Length, NAME_TAG);
    if (!name)
        return STATUS_INSUFFICIENT_RESOURCES;
    name->path = (UNICODE_STRING){whole.Length, whole.Length, name->text};
    memcpy(name->text, whole.Buffer, whole.Length);
    name->object = object;
    ObfReferenceObject(object);
    InsertTailList(&names, &name->entry);
    return STATUS_SUCCESS;
}

static struct name *name_of(const void *object) {
    for (PLIST_ENTRY entry = names.Flink; entry != &names; entry = entry->Flink) {
        struct name *name = CONTAINING_RECORD(entry, struct name, entry);
        if (name->object == object)
            return name;
    }
    return NULL;
}

void *object_next_named(const void *object) {
    PLIST_ENTRY entry = object ? name_of(object)->entry.Flink : names.Flink;
    return entry == &names ? NULL : CONTAINING_RECORD(entry, struct name, entry)->object;
}

void object_remove_name(void *object) {
    struct name *name = name_of(object);
    if (!name)
        return;
    RemoveEntryList(&name->entry);
    ExFreePoolWithTag(name, NAME_TAG);
    ObfDereferenceObject(object);
}

void *object_find_link(PCUNICODE_STRING path) {
    struct name *name = find_name(path);
    return name && object_type(name->object) == &object_link_type ? name->object : NULL;
}

void *object_find(PCUNICODE_STRING path) {
    struct name *name = find_name(path);
    for (u32 i = 0; name && object_type(name->object) == &object_link_type && i < MOST_LINKS; i++)
        name = find_name(&((struct symbolic_link *)name->object)->target);
    return name ? name->object : NULL;
}

typedef struct _OBJECT_NAME_INFORMATION {
    UNICODE_STRING Name;
} OBJECT_NAME_INFORMATION, *POBJECT_NAME_INFORMATION;

/* An object without a name has an empty one. */
static NTSTATUS NTAPI ObQueryNameString(PVOID Object, POBJECT_NAME_INFORMATION ObjectNameInfo, ULONG Length,
                                        PULONG ReturnLength) {
    const struct name *name = name_of(Object);
    ULONG size = name ? name->path.Length + (ULONG)sizeof(WCHAR) : 0;
    *ReturnLength = (ULONG)sizeof(*ObjectNameInfo) + size;
    if (Length < *ReturnLength)
        return STATUS_INFO_LENGTH_MISMATCH;
    PWSTR text = (PWSTR)(ObjectNameInfo + 1);
    ObjectNameInfo->Name =
        (UNICODE_STRING){(USHORT)(size ? size - sizeof(WCHAR) : 0), (USHORT)size, size ? text : NULL};
    if (name)
        RtlCopyUnicodeString(&ObjectNameInfo->Name, &name->path);
    return STATUS_SUCCESS;
}
NT_EXPORT(ObQueryNameString);

/* ----------------------------------------------------------------------------------------------------- handles ---- */

/* Kernel handles are multiples of four with the upper half of the word set. */
enum { HANDLES = 256 };
#define KERNEL_HANDLE_BITS 0xffffffff80000000ull
#define CURRENT_PROCESS ((HANDLE)~0ull)
#define CURRENT_THREAD ((HANDLE)~1ull)

static struct {
    void *object; /* NULL: free */
    u64 creator;  /* base of the driver that asked for it */
} handles[HANDLES];

NTSTATUS handle_create(void *object, HANDLE *ret) {
    for (u64 i = 0; i < HANDLES; i++) {
        if (handles[i].object)
            continue;
        struct lab_driver *driver = driver_calling();
        handles[i].object = object;
        handles[i].creator = driver ? driver->base : 0;
        ObfReferenceObject(object);
        header_of(object)->HandleCount++;
        *ret = (HANDLE)(KERNEL_HANDLE_BITS | (i + 1) * 4);
        return STATUS_SUCCESS;
    }
    return STATUS_INSUFFICIENT_RESOURCES;
}

/* Where the object of a handle stands; NULL when it is none. */
static void **slot_of(HANDLE handle) {
    u64 index = ((u64)handle & ~KERNEL_HANDLE_BITS) / 4 - 1;
    bool shaped = ((u64)handle & KERNEL_HANDLE_BITS) == KERNEL_HANDLE_BITS && (u64)handle % 4 == 0;
    return shaped && index < HANDLES && handles[index].object ? &handles[index].object : NULL;
}

void *handle_object(HANDLE handle) {
    if (handle == CURRENT_PROCESS)
        return PsInitialSystemProcess;
    if (handle == CURRENT_THREAD)
        return KeGetCurrentThread();
    void **slot = slot_of(handle);
    return slot ? *slot : NULL;
}

u32 handle_count_in(u64 base, u64 size) {
    u32 count = 0;
    for (u64 i = 0; i < HANDLES; i++)
        count += handles[i].object && handles[i].creator - base < size;
    return count;
}

NTSTATUS NTAPI ZwClose(HANDLE Handle) {
    void **slot = slot_of(Handle);
    if (!slot)
        return STATUS_INVALID_HANDLE;
    void *object = *slot;
    *slot = NULL;
    if (--header_of(object)->HandleCount == 0) {
        if (object_type(object)->close)
            object_type(object)->close(object);
        if (object_type(object) == &object_event_type)
            object_remove_name(object); /* devices and links are permanent, events that drivers name are not */
    }
    ObfDereferenceObject(object);
    return STATUS_SUCCESS;
}
NT_EXPORT(ZwClose);
NT_EXPORT_AS("NtClose", ZwClose);
NT_EXPORT_AS("ObCloseHandle", ZwClose);

static NTSTATUS NTAPI ObReferenceObjectByHandle(HANDLE Handle, ACCESS_MASK DesiredAccess, POBJECT_TYPE ObjectType,
                                                KPROCESSOR_MODE AccessMode, PVOID *Object, PVOID HandleInformation) {
    (void)DesiredAccess, (void)AccessMode, (void)HandleInformation; /* there is no security to refuse anybody */
    void *object = handle_object(Handle);
    *Object = NULL;
    if (!object && lab_options.verifier)
        verifier_stop(VERIFIER_BAD_HANDLE, __builtin_return_address(0), (u64)Handle, (u64)ObjectType, 0);
    if (!object)
        return STATUS_INVALID_HANDLE;
    if (ObjectType && object_type(object) != ObjectType)
        return STATUS_OBJECT_TYPE_MISMATCH;
    ObfReferenceObject(object);
    *Object = object;
    return STATUS_SUCCESS;
}
NT_EXPORT(ObReferenceObjectByHandle);

static NTSTATUS NTAPI ObReferenceObjectByHandleWithTag(HANDLE Handle, ACCESS_MASK DesiredAccess,
                                                       POBJECT_TYPE ObjectType, KPROCESSOR_MODE AccessMode, ULONG Tag,
                                                       PVOID *Object, PVOID HandleInformation) {
    (void)Tag;
    return ObReferenceObjectByHandle(Handle, DesiredAccess, ObjectType, AccessMode, Object, HandleInformation);
}
NT_EXPORT(ObReferenceObjectByHandleWithTag);

static NTSTATUS NTAPI ObReferenceObjectByPointer(PVOID Object, ACCESS_MASK DesiredAccess, POBJECT_TYPE ObjectType,
                                                 KPROCESSOR_MODE AccessMode) {
    (void)DesiredAccess, (void)AccessMode;
    if (ObjectType && object_type(Object) != ObjectType)
        return STATUS_OBJECT_TYPE_MISMATCH;
    ObfReferenceObject(Object);
    return STATUS_SUCCESS;
}
NT_EXPORT(ObReferenceObjectByPointer);

static NTSTATUS NTAPI ObOpenObjectByPointer(PVOID Object, ULONG HandleAttributes, PVOID PassedAccessState,
                                            ACCESS_MASK DesiredAccess, POBJECT_TYPE ObjectType,
                                            KPROCESSOR_MODE AccessMode, PHANDLE Handle) {
    (void)HandleAttributes, (void)PassedAccessState, (void)DesiredAccess, (void)AccessMode;
    if (ObjectType && object_type(Object) != ObjectType)
        return STATUS_OBJECT_TYPE_MISMATCH;
    return handle_create(Object, Handle);
}
NT_EXPORT(ObOpenObjectByPointer);

static NTSTATUS NTAPI ObReferenceObjectByName(PUNICODE_STRING ObjectPath, ULONG Attributes, PVOID PassedAccessState,
                                              ACCESS_MASK DesiredAccess, POBJECT_TYPE ObjectType,
                                              KPROCESSOR_MODE AccessMode, PVOID ParseContext, PVOID *ObjectPtr) {
    (void)Attributes, (void)PassedAccessState, (void)DesiredAccess, (void)AccessMode, (void)ParseContext;
    *ObjectPtr = object_find(ObjectPath);
    if (!*ObjectPtr)
        return STATUS_OBJECT_NAME_NOT_FOUND;
    return ObReferenceObjectByPointer(*ObjectPtr, 0, ObjectType, KernelMode);
}
NT_EXPORT(ObReferenceObjectByName);

/* ------------------------------------------------------------------------------------------------------- types ---- */

static void finish_link(void *object) {
    struct symbolic_link *link = object;
    if (link->target.Buffer)
        ExFreePoolWithTag(link->target.Buffer, 0);
}

OBJECT_TYPE_NAMED(object_link_type, "SymbolicLink", POOL_TAG('S', 'y', 'm', 'b'), finish_link, NULL);
OBJECT_TYPE_NAMED(object_event_type, "Event", POOL_TAG('E', 'v', 'e', 'n'), NULL, NULL);
OBJECT_TYPE_NAMED(object_directory_type, "Directory", POOL_TAG('D', 'i', 'r', 'e'), NULL, NULL);
OBJECT_TYPE_NAMED(object_section_type, "Section", POOL_TAG('S', 'e', 'c', 't'), NULL, NULL);
OBJECT_TYPE_NAMED(object_callback_type, "Callback", POOL_TAG('C', 'a', 'l', 'l'), NULL, NULL);

/* Variables that hold pointers to the types: that is what `*IoFileObjectType` in a driver reads. */
static POBJECT_TYPE IoDriverObjectType = &object_driver_type;
NT_EXPORT_DATA(IoDriverObjectType);
static POBJECT_TYPE IoDeviceObjectType = &object_device_type;
NT_EXPORT_DATA(IoDeviceObjectType);
static POBJECT_TYPE IoFileObjectType = &object_file_type;
NT_EXPORT_DATA(IoFileObjectType);
static POBJECT_TYPE PsThreadType = &object_thread_type;
NT_EXPORT_DATA(PsThreadType);
static POBJECT_TYPE PsProcessType = &object_process_type;
NT_EXPORT_DATA(PsProcessType);
static POBJECT_TYPE ExEventObjectType = &object_event_type;
NT_EXPORT_DATA(ExEventObjectType);
static POBJECT_TYPE MmSectionObjectType = &object_section_type;
NT_EXPORT_DATA(MmSectionObjectType);

/* A temporary object loses its name with its last handle. */
static VOID NTAPI ObMakeTemporaryObject(PVOID Object) {
    if (header_of(Object)->HandleCount == 0)
        object_remove_name(Object);
}
NT_EXPORT(ObMakeTemporaryObject);
