/*
 * nt_io.h - the I/O manager: drivers, devices, files and requests, as wdm.h lays them out. Part of nt.h.
 */
#pragma once

typedef struct _DRIVER_OBJECT DRIVER_OBJECT, *PDRIVER_OBJECT;
typedef struct _DEVICE_OBJECT DEVICE_OBJECT, *PDEVICE_OBJECT;
typedef struct _FILE_OBJECT FILE_OBJECT, *PFILE_OBJECT;
typedef struct _IRP IRP, *PIRP;
typedef ULONG DEVICE_TYPE;

typedef NTSTATUS(NTAPI *PDRIVER_INITIALIZE)(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath);
typedef NTSTATUS(NTAPI *PDRIVER_ADD_DEVICE)(PDRIVER_OBJECT DriverObject, PDEVICE_OBJECT PhysicalDeviceObject);
typedef NTSTATUS(NTAPI *PDRIVER_DISPATCH)(PDEVICE_OBJECT DeviceObject, PIRP Irp);
typedef VOID(NTAPI *PDRIVER_STARTIO)(PDEVICE_OBJECT DeviceObject, PIRP Irp);
typedef VOID(NTAPI *PDRIVER_CANCEL)(PDEVICE_OBJECT DeviceObject, PIRP Irp);
typedef VOID(NTAPI *PDRIVER_UNLOAD)(PDRIVER_OBJECT DriverObject);
typedef NTSTATUS(NTAPI *PIO_COMPLETION_ROUTINE)(PDEVICE_OBJECT DeviceObject, PIRP Irp, PVOID Context);

/* The first word of an object of the I/O manager. */
enum io_type {
    IO_TYPE_DEVICE = 3,
    IO_TYPE_DRIVER = 4,
    IO_TYPE_FILE = 5,
    IO_TYPE_IRP = 6,
    IO_TYPE_DEVICE_EXTENSION = 13
};

/* -------------------------------------------------------------------------------------------- drivers, devices ---- */

enum irp_major {
    IRP_MJ_CREATE = 0x00,
    IRP_MJ_CREATE_NAMED_PIPE = 0x01,
    IRP_MJ_CLOSE = 0x02,
    IRP_MJ_READ = 0x03,
    IRP_MJ_WRITE = 0x04,
    IRP_MJ_QUERY_INFORMATION = 0x05,
    IRP_MJ_SET_INFORMATION = 0x06,
    IRP_MJ_QUERY_EA = 0x07,
    IRP_MJ_SET_EA = 0x08,
    IRP_MJ_FLUSH_BUFFERS = 0x09,
    IRP_MJ_QUERY_VOLUME_INFORMATION = 0x0a,
    IRP_MJ_SET_VOLUME_INFORMATION = 0x0b,
    IRP_MJ_DIRECTORY_CONTROL = 0x0c,
    IRP_MJ_FILE_SYSTEM_CONTROL = 0x0d,
    IRP_MJ_DEVICE_CONTROL = 0x0e,
    IRP_MJ_INTERNAL_DEVICE_CONTROL = 0x0f,
    IRP_MJ_SHUTDOWN = 0x10,
    IRP_MJ_LOCK_CONTROL = 0x11,
    IRP_MJ_CLEANUP = 0x12,
    IRP_MJ_CREATE_MAILSLOT = 0x13,
    IRP_MJ_QUERY_SECURITY = 0x14,
    IRP_MJ_SET_SECURITY = 0x15,
    IRP_MJ_POWER = 0x16,
    IRP_MJ_SYSTEM_CONTROL = 0x17,
    IRP_MJ_DEVICE_CHANGE = 0x18,
    IRP_MJ_QUERY_QUOTA = 0x19,
    IRP_MJ_SET_QUOTA = 0x1a,
    IRP_MJ_PNP = 0x1b,
    IRP_MJ_MAXIMUM_FUNCTION = 0x1b,
};

typedef struct _DRIVER_EXTENSION {
    PDRIVER_OBJECT DriverObject;
    PDRIVER_ADD_DEVICE AddDevice;
    ULONG Count;
    UNICODE_STRING ServiceKeyName;
    PVOID ClientDriverExtension; /* ours from here on */
} DRIVER_EXTENSION, *PDRIVER_EXTENSION;
_Static_assert(offsetof(DRIVER_EXTENSION, AddDevice) == 8 && offsetof(DRIVER_EXTENSION, ServiceKeyName) == 0x18,
               "as in Windows");

struct _DRIVER_OBJECT {
    CSHORT Type;
    CSHORT Size;
    PDEVICE_OBJECT DeviceObject; /* the newest; NextDevice leads to the others */
    ULONG Flags;
    PVOID DriverStart;
    ULONG DriverSize;
    PVOID DriverSection;
    PDRIVER_EXTENSION DriverExtension;
    UNICODE_STRING DriverName;
    PUNICODE_STRING HardwareDatabase;
    PVOID FastIoDispatch;
    PDRIVER_INITIALIZE DriverInit;
    PDRIVER_STARTIO DriverStartIo;
    PDRIVER_UNLOAD DriverUnload;
    PDRIVER_DISPATCH MajorFunction[IRP_MJ_MAXIMUM_FUNCTION + 1];
};
_Static_assert(sizeof(DRIVER_OBJECT) == 0x150 && offsetof(DRIVER_OBJECT, DeviceObject) == 0x08 &&
                   offsetof(DRIVER_OBJECT, DriverSection) == 0x28 && offsetof(DRIVER_OBJECT, DriverName) == 0x38 &&
                   offsetof(DRIVER_OBJECT, DriverUnload) == 0x68 && offsetof(DRIVER_OBJECT, MajorFunction) == 0x70,
               "DRIVER_OBJECT is laid out as Windows lays it out");

/* DRIVER_OBJECT.Flags */
#define DRVO_LEGACY_DRIVER 0x00000002u
#define DRVO_INITIALIZED 0x00000010u
#define DRVO_UNLOAD_INVOKED 0x00000001u

typedef struct _KDEVICE_QUEUE {
    CSHORT Type;
    CSHORT Size;
    LIST_ENTRY DeviceListHead;
    KSPIN_LOCK Lock;
    BOOLEAN Busy;
} KDEVICE_QUEUE, *PKDEVICE_QUEUE;
_Static_assert(sizeof(KDEVICE_QUEUE) == 0x28 && offsetof(KDEVICE_QUEUE, Busy) == 0x20, "as in Windows");

typedef struct _KDEVICE_QUEUE_ENTRY {
    LIST_ENTRY DeviceListEntry;
    ULONG SortKey;
    BOOLEAN Inserted;
} KDEVICE_QUEUE_ENTRY, *PKDEVICE_QUEUE_ENTRY;
_Static_assert(sizeof(KDEVICE_QUEUE_ENTRY) == 0x18, "as in Windows");

/* The public part; behind it the power state, and what the device is attached to. */
typedef struct _DEVOBJ_EXTENSION {
    CSHORT Type;
    USHORT Size;
    PDEVICE_OBJECT DeviceObject;
    ULONG PowerFlags;
    PVOID Dope;
    ULONG ExtensionFlags;
    PVOID DeviceNode;
    PDEVICE_OBJECT AttachedTo;
} DEVOBJ_EXTENSION, *PDEVOBJ_EXTENSION;
_Static_assert(offsetof(DEVOBJ_EXTENSION, DeviceObject) == 8 && offsetof(DEVOBJ_EXTENSION, AttachedTo) == 0x30,
               "as in Windows");

struct _DEVICE_OBJECT {
    CSHORT Type;
    USHORT Size; /* with the driver's extension, without DEVOBJ_EXTENSION */
    LONG ReferenceCount;
    PDRIVER_OBJECT DriverObject;
    PDEVICE_OBJECT NextDevice;
    PDEVICE_OBJECT AttachedDevice; /* the one above */
    PIRP CurrentIrp;
    PVOID Timer;
    ULONG Flags;
    ULONG Characteristics;
    PVOID Vpb;
    PVOID DeviceExtension;
    DEVICE_TYPE DeviceType;
    CCHAR StackSize;
    union {
        LIST_ENTRY ListEntry;
        UCHAR Wcb[0x48];
    } Queue;
    ULONG AlignmentRequirement;
    KDEVICE_QUEUE DeviceQueue;
    KDPC Dpc;
    ULONG ActiveThreadCount;
    PVOID SecurityDescriptor;
    KEVENT DeviceLock;
    USHORT SectorSize;
    USHORT Spare1;
    PDEVOBJ_EXTENSION DeviceObjectExtension;
    PVOID Reserved;
} __attribute__((aligned(16)));
_Static_assert(sizeof(DEVICE_OBJECT) == 0x150 && offsetof(DEVICE_OBJECT, DriverObject) == 0x08 &&
                   offsetof(DEVICE_OBJECT, Flags) == 0x30 && offsetof(DEVICE_OBJECT, DeviceExtension) == 0x40 &&
                   offsetof(DEVICE_OBJECT, DeviceType) == 0x48 && offsetof(DEVICE_OBJECT, StackSize) == 0x4c &&
                   offsetof(DEVICE_OBJECT, Queue) == 0x50 && offsetof(DEVICE_OBJECT, AlignmentRequirement) == 0x98 &&
                   offsetof(DEVICE_OBJECT, DeviceQueue) == 0xa0 && offsetof(DEVICE_OBJECT, Dpc) == 0xc8 &&
                   offsetof(DEVICE_OBJECT, DeviceLock) == 0x118 &&
                   offsetof(DEVICE_OBJECT, DeviceObjectExtension) == 0x138,
               "DEVICE_OBJECT is laid out as Windows lays it out");

enum device_flag {
    DO_BUFFERED_IO = 0x00000004,
    DO_EXCLUSIVE = 0x00000008,
    DO_DIRECT_IO = 0x00000010,
    DO_DEVICE_HAS_NAME = 0x00000040,
    DO_DEVICE_INITIALIZING = 0x00000080,
    DO_POWER_PAGABLE = 0x00002000,
};

struct _FILE_OBJECT {
    CSHORT Type;
    CSHORT Size;
    PDEVICE_OBJECT DeviceObject;
    PVOID Vpb;
    PVOID FsContext;
    PVOID FsContext2;
    PVOID SectionObjectPointer;
    PVOID PrivateCacheMap;
    NTSTATUS FinalStatus;
    PFILE_OBJECT RelatedFileObject;
    BOOLEAN LockOperation;
    BOOLEAN DeletePending;
    BOOLEAN ReadAccess;
    BOOLEAN WriteAccess;
    BOOLEAN DeleteAccess;
    BOOLEAN SharedRead;
    BOOLEAN SharedWrite;
    BOOLEAN SharedDelete;
    ULONG Flags;
    UNICODE_STRING FileName;
    LARGE_INTEGER CurrentByteOffset;
    ULONG Waiters;
    ULONG Busy;
    PVOID LastLock;
    KEVENT Lock;
    KEVENT Event;
    PVOID CompletionContext;
    KSPIN_LOCK IrpListLock;
    LIST_ENTRY IrpList;
    PVOID FileObjectExtension;
};
_Static_assert(sizeof(FILE_OBJECT) == 0xd8 && offsetof(FILE_OBJECT, FsContext) == 0x18 &&
                   offsetof(FILE_OBJECT, Flags) == 0x50 && offsetof(FILE_OBJECT, FileName) == 0x58 &&
                   offsetof(FILE_OBJECT, Lock) == 0x80 && offsetof(FILE_OBJECT, IrpList) == 0xc0,
               "FILE_OBJECT is laid out as Windows lays it out");

#define FO_FILE_OPEN 0x00000001u /* IRP_MJ_CREATE has succeeded */
#define FO_SYNCHRONOUS_IO 0x00000002u

/* ---------------------------------------------------------------------------------------------------- requests ---- */

typedef struct _IO_STATUS_BLOCK {
    union {
        NTSTATUS Status;
        PVOID Pointer;
    };
    ULONG_PTR Information;
} IO_STATUS_BLOCK, *PIO_STATUS_BLOCK;
_Static_assert(sizeof(IO_STATUS_BLOCK) == 16, "as in Windows");

/* What one driver of a stack is asked. */
typedef struct _IO_STACK_LOCATION {
    UCHAR MajorFunction;
    UCHAR MinorFunction;
    UCHAR Flags;
    UCHAR Control; /* enum stack_control */
    union {
        struct {
            PVOID SecurityContext;
            ULONG Options;
            USHORT FileAttributes __attribute__((aligned(8)));
            USHORT ShareAccess;
            ULONG EaLength __attribute__((aligned(8)));
        } Create;
        struct {
            ULONG Length;
            ULONG Key __attribute__((aligned(8)));
            LARGE_INTEGER ByteOffset;
        } Read, Write;
        struct {
            ULONG OutputBufferLength;
            ULONG InputBufferLength __attribute__((aligned(8)));
            ULONG IoControlCode __attribute__((aligned(8)));
            PVOID Type3InputBuffer;
        } DeviceIoControl;
        struct {
            PVOID Argument1, Argument2, Argument3, Argument4;
        } Others;
    } Parameters;
    PDEVICE_OBJECT DeviceObject;
    PFILE_OBJECT FileObject;
    PIO_COMPLETION_ROUTINE CompletionRoutine;
    PVOID Context;
} IO_STACK_LOCATION, *PIO_STACK_LOCATION;
_Static_assert(sizeof(IO_STACK_LOCATION) == 0x48 && offsetof(IO_STACK_LOCATION, Parameters) == 8 &&
                   offsetof(IO_STACK_LOCATION, Parameters.DeviceIoControl.InputBufferLength) == 0x10 &&
                   offsetof(IO_STACK_LOCATION, Parameters.DeviceIoControl.IoControlCode) == 0x18 &&
                   offsetof(IO_STACK_LOCATION, Parameters.DeviceIoControl.Type3InputBuffer) == 0x20 &&
                   offsetof(IO_STACK_LOCATION, Parameters.Read.ByteOffset) == 0x18 &&
                   offsetof(IO_STACK_LOCATION, DeviceObject) == 0x28 &&
                   offsetof(IO_STACK_LOCATION, CompletionRoutine) == 0x38,
               "IO_STACK_LOCATION is laid out as Windows lays it out");

enum stack_control {
    SL_PENDING_RETURNED = 0x01,
    SL_ERROR_RETURNED = 0x02,
    SL_INVOKE_ON_CANCEL = 0x20,
    SL_INVOKE_ON_SUCCESS = 0x40,
    SL_INVOKE_ON_ERROR = 0x80,
};

/* Followed by its stack locations, the last of which belongs to the topmost driver. */
struct _IRP {
    CSHORT Type;
    USHORT Size;
    PMDL MdlAddress;
    ULONG Flags;
    union {
        PIRP MasterIrp;
        LONG IrpCount;
        PVOID SystemBuffer;
    } AssociatedIrp;
    LIST_ENTRY ThreadListEntry;
    IO_STATUS_BLOCK IoStatus;
    KPROCESSOR_MODE RequestorMode;
    BOOLEAN PendingReturned;
    CHAR StackCount;
    CHAR CurrentLocation;
    BOOLEAN Cancel;
    KIRQL CancelIrql;
    CCHAR ApcEnvironment;
    UCHAR AllocationFlags;
    PIO_STATUS_BLOCK UserIosb;
    PKEVENT UserEvent;
    union {
        struct {
            PVOID UserApcRoutine;
            PVOID UserApcContext;
        } AsynchronousParameters;
        LARGE_INTEGER AllocationSize;
    } Overlay;
    PDRIVER_CANCEL CancelRoutine;
    PVOID UserBuffer;
    union {
        struct {
            union {
                KDEVICE_QUEUE_ENTRY DeviceQueueEntry;
                PVOID DriverContext[4];
            };
            PETHREAD Thread;
            PCHAR AuxiliaryBuffer;
            LIST_ENTRY ListEntry;
            union {
                PIO_STACK_LOCATION CurrentStackLocation;
                ULONG PacketType;
            };
            PFILE_OBJECT OriginalFileObject;
        } Overlay;
        UCHAR Apc[0x58];
        PVOID CompletionKey;
    } Tail;
};
_Static_assert(sizeof(IRP) == 0xd0 && offsetof(IRP, MdlAddress) == 0x08 && offsetof(IRP, AssociatedIrp) == 0x18 &&
                   offsetof(IRP, IoStatus) == 0x30 && offsetof(IRP, RequestorMode) == 0x40 &&
                   offsetof(IRP, StackCount) == 0x42 && offsetof(IRP, UserIosb) == 0x48 &&
                   offsetof(IRP, CancelRoutine) == 0x68 && offsetof(IRP, UserBuffer) == 0x70 &&
                   offsetof(IRP, Tail.Overlay.Thread) == 0x98 && offsetof(IRP, Tail.Overlay.ListEntry) == 0xa8 &&
                   offsetof(IRP, Tail.Overlay.CurrentStackLocation) == 0xb8 &&
                   offsetof(IRP, Tail.Overlay.OriginalFileObject) == 0xc0,
               "IRP is laid out as Windows lays it out");

enum irp_flag {
    IRP_NOCACHE = 0x00000001,
    IRP_SYNCHRONOUS_API = 0x00000004,
    IRP_BUFFERED_IO = 0x00000010,
    IRP_DEALLOCATE_BUFFER = 0x00000020,
    IRP_INPUT_OPERATION = 0x00000040,
    IRP_CREATE_OPERATION = 0x00000080,
    IRP_READ_OPERATION = 0x00000100,
    IRP_WRITE_OPERATION = 0x00000200,
    IRP_CLOSE_OPERATION = 0x00000400,
};

/* How an I/O control code passes its buffers: its two lowest bits. */
enum transfer_method { METHOD_BUFFERED, METHOD_IN_DIRECT, METHOD_OUT_DIRECT, METHOD_NEITHER };

/* ------------------------------------------------------------------------------------------------------- calls ---- */

NTSTATUS NTAPI IoCreateDevice(PDRIVER_OBJECT DriverObject, ULONG DeviceExtensionSize, PUNICODE_STRING DeviceName,
                              DEVICE_TYPE DeviceType, ULONG DeviceCharacteristics, BOOLEAN Exclusive,
                              PDEVICE_OBJECT *DeviceObject);
VOID NTAPI IoDeleteDevice(PDEVICE_OBJECT DeviceObject);
PDEVICE_OBJECT NTAPI IoGetAttachedDevice(PDEVICE_OBJECT DeviceObject);
PIRP NTAPI IoAllocateIrp(CCHAR StackSize, BOOLEAN ChargeQuota);
VOID NTAPI IoFreeIrp(PIRP Irp);
NTSTATUS NTAPI IofCallDriver(PDEVICE_OBJECT DeviceObject, PIRP Irp);
VOID NTAPI IofCompleteRequest(PIRP Irp, CCHAR PriorityBoost);
NTSTATUS NTAPI IoCreateSymbolicLink(PUNICODE_STRING SymbolicLinkName, PUNICODE_STRING DeviceName);
BOOLEAN NTAPI IoCancelIrp(PIRP Irp);
VOID NTAPI KeInitializeDeviceQueue(PKDEVICE_QUEUE DeviceQueue);
PVOID NTAPI IoGetDriverObjectExtension(PDRIVER_OBJECT DriverObject, PVOID ClientIdentificationAddress);
NTSTATUS NTAPI IoAllocateDriverObjectExtension(PDRIVER_OBJECT DriverObject, PVOID ClientIdentificationAddress,
                                               ULONG DriverObjectExtensionSize, PVOID *DriverObjectExtension);
