/*
 * object.h - objects: memory with a header that counts references, a type that says what happens when the last is gone,
 * and for some a name. Handles stand for objects, in one table for all, as System has them.
 */
#pragma once

#include "nt.h"

/* OBJECT_HEADER of Windows 6.1, which ends where the object begins. */
typedef struct _OBJECT_HEADER {
    LONGLONG PointerCount;
    LONGLONG HandleCount;
    PVOID Lock;
    UCHAR TypeIndex;
    UCHAR TraceFlags;
    UCHAR InfoMask;
    UCHAR Flags;
    PVOID ObjectCreateInfo;
    PVOID SecurityDescriptor;
} OBJECT_HEADER, *POBJECT_HEADER;
_Static_assert(sizeof(OBJECT_HEADER) == 0x30 && offsetof(OBJECT_HEADER, TypeIndex) == 0x18, "as in Windows");

/*
 * Our own, but for the list that it begins with: its head points at itself, as it does on a Windows that keeps no lists
 * of objects. Drivers only compare addresses, and those that were built with mingw-w64 fetch the address of a type with
 * one step too many, which this leads back.
 */
struct _OBJECT_TYPE {
    LIST_ENTRY TypeList;
    const char *name;
    ULONG tag;                    /* of the pool that objects of this type take */
    void (*finish)(void *object); /* called before the memory is given back; NULL: nothing to do */
    void (*close)(void *object);  /* called when its last handle is closed */
};

#define OBJECT_TYPE_NAMED(variable, name, tag, finish, close)                                                          \
    OBJECT_TYPE variable = {{&variable.TypeList, &variable.TypeList}, name, tag, finish, close}

extern OBJECT_TYPE object_driver_type, object_device_type, object_file_type, object_thread_type, object_process_type,
    object_event_type, object_link_type, object_directory_type, object_section_type, object_callback_type;

/* Zeroed, with one reference; NULL when out of memory. */
void *object_create(POBJECT_TYPE type, u64 size);
void object_initialize(OBJECT_HEADER *header, POBJECT_TYPE type); /* of memory that is never given back */
POBJECT_TYPE object_type(const void *object);

/* ------------------------------------------------------------------------------------------------------- names ---- */

/*
 * Names are whole paths; case does not matter. \DosDevices and \?? are one directory, as on Windows. A name holds a
 * reference. STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_PATH_SYNTAX_BAD, STATUS_INSUFFICIENT_RESOURCES.
 */
NTSTATUS object_insert_name(void *object, PCUNICODE_STRING name);
void object_remove_name(void *object);

/* Follows symbolic links. NULL when there is no such name. No reference is taken. */
void *object_find(PCUNICODE_STRING name);
void *object_find_link(PCUNICODE_STRING name); /* the link itself */

/* One after the other, from NULL to NULL. */
void *object_next_named(const void *object);

/* What a symbolic link leads to, and the base of the driver that made it. */
struct symbolic_link {
    UNICODE_STRING target;
    u64 creator;
};

/* ----------------------------------------------------------------------------------------------------- handles ---- */

NTSTATUS handle_create(void *object, HANDLE *ret);
void *handle_object(HANDLE handle);      /* NULL when it is none */
u32 handle_count_in(u64 base, u64 size); /* how many were made by calls from an image */
