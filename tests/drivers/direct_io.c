/*
 * direct_io.c - the four ways in which a device control request carries its buffers.
 *
 * The two lowest bits of a control code choose the method:
 *
 *   METHOD_BUFFERED    one kernel buffer for both directions at AssociatedIrp.SystemBuffer
 *   METHOD_IN_DIRECT   input as above; the second buffer as a locked MDL, which the driver reads
 *   METHOD_OUT_DIRECT  the same, and the driver writes it
 *   METHOD_NEITHER     the caller's own addresses, unchecked: probe them, and expect them to fail at any time
 */
#include <ntddk.h>

#define CODE(number, method) CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + (number), method, FILE_ANY_ACCESS)
#define IOCTL_REVERSE CODE(0, METHOD_BUFFERED) /* 0x222000: gives the input back, last byte first */
#define IOCTL_SUM CODE(1, METHOD_IN_DIRECT)    /* 0x222005: adds up the bytes of the second buffer */
#define IOCTL_FILL CODE(2, METHOD_OUT_DIRECT)  /* 0x22200a: fills the second buffer with the first input byte */
#define IOCTL_COPY CODE(3, METHOD_NEITHER)     /* 0x22200f: copies the input to the output */

DRIVER_INITIALIZE DriverEntry;
DRIVER_UNLOAD DriverUnload;
DRIVER_DISPATCH OpenOrClose;
DRIVER_DISPATCH DeviceControl;

static UNICODE_STRING DeviceName = RTL_CONSTANT_STRING(L"\\Device\\LabDirectIo");
static UNICODE_STRING LinkName = RTL_CONSTANT_STRING(L"\\??\\LabDirectIo");

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    PDEVICE_OBJECT device;
    DbgPrint("direct_io: registry path %wZ\n", RegistryPath);

    NTSTATUS status =
        IoCreateDevice(DriverObject, 0, &DeviceName, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &device);
    if (!NT_SUCCESS(status))
        return status;

    status = IoCreateSymbolicLink(&LinkName, &DeviceName);
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(device);
        return status;
    }

    DriverObject->MajorFunction[IRP_MJ_CREATE] = OpenOrClose;
    DriverObject->MajorFunction[IRP_MJ_CLOSE] = OpenOrClose;
    DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = DeviceControl;
    DriverObject->DriverUnload = DriverUnload;
    return STATUS_SUCCESS;
}

VOID DriverUnload(PDRIVER_OBJECT DriverObject) {
    IoDeleteSymbolicLink(&LinkName);
    IoDeleteDevice(DriverObject->DeviceObject);
}

static NTSTATUS Complete(PIRP Irp, NTSTATUS Status, ULONG_PTR Information) {
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = Information;
    /* From here on the IRP belongs to the I/O manager: not a byte of it may be touched. */
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}

NTSTATUS OpenOrClose(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    UNREFERENCED_PARAMETER(DeviceObject);
    return Complete(Irp, STATUS_SUCCESS, 0);
}

/* One buffer serves both directions, so what is read has to be read before it is overwritten. */
static NTSTATUS Reverse(PIRP Irp, ULONG InputLength, ULONG OutputLength, PULONG_PTR Written) {
    PUCHAR bytes = Irp->AssociatedIrp.SystemBuffer;
    if (OutputLength < InputLength)
        return STATUS_BUFFER_TOO_SMALL;
    for (ULONG i = 0; i < InputLength / 2; i++) {
        UCHAR kept = bytes[i];
        bytes[i] = bytes[InputLength - 1 - i];
        bytes[InputLength - 1 - i] = kept;
    }
    *Written = InputLength;
    return STATUS_SUCCESS;
}

/* The caller's own frames, mapped a second time into system space. Its length is the MDL's, and so is its life. */
static NTSTATUS MapBuffer(PIRP Irp, PUCHAR *Buffer) {
    if (Irp->MdlAddress == NULL)
        return STATUS_INVALID_PARAMETER;
    *Buffer = MmGetSystemAddressForMdlSafe(Irp->MdlAddress, NormalPagePriority | MdlMappingNoExecute);
    if (*Buffer == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    DbgPrint("direct_io: caller's %p (%u bytes) mapped at %p, frame %I64x\n", MmGetMdlVirtualAddress(Irp->MdlAddress),
             MmGetMdlByteCount(Irp->MdlAddress), *Buffer, (ULONG64)MmGetMdlPfnArray(Irp->MdlAddress)[0]);
    return STATUS_SUCCESS;
}

static NTSTATUS Sum(PIRP Irp) {
    PUCHAR bytes;
    ULONG sum = 0;
    NTSTATUS status = MapBuffer(Irp, &bytes);
    if (!NT_SUCCESS(status))
        return status;
    for (ULONG i = 0; i < MmGetMdlByteCount(Irp->MdlAddress); i++)
        sum += bytes[i];
    DbgPrint("direct_io: the bytes add up to %u\n", sum);
    return STATUS_SUCCESS;
}

static NTSTATUS Fill(PIRP Irp, ULONG InputLength, PULONG_PTR Written) {
    PUCHAR bytes;
    NTSTATUS status = MapBuffer(Irp, &bytes);
    if (!NT_SUCCESS(status))
        return status;
    *Written = MmGetMdlByteCount(Irp->MdlAddress);
    RtlFillMemory(bytes, *Written, InputLength > 0 ? *(PUCHAR)Irp->AssociatedIrp.SystemBuffer : 0xAA);
    return STATUS_SUCCESS;
}

/* Only in the caller's own context do its addresses mean anything, and even there it may unmap them meanwhile. */
static NTSTATUS Copy(PVOID Output, PVOID Input, ULONG Length, PULONG_PTR Written) {
    __try {
        ProbeForRead(Input, Length, 1);
        ProbeForWrite(Output, Length, 1);
        RtlCopyMemory(Output, Input, Length);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("direct_io: the caller's buffers failed with %08x\n", GetExceptionCode());
        return GetExceptionCode();
    }
    *Written = Length;
    return STATUS_SUCCESS;
}

NTSTATUS DeviceControl(PDEVICE_OBJECT DeviceObject, PIRP Irp) {
    PIO_STACK_LOCATION location = IoGetCurrentIrpStackLocation(Irp);
    ULONG input = location->Parameters.DeviceIoControl.InputBufferLength;
    ULONG output = location->Parameters.DeviceIoControl.OutputBufferLength;
    ULONG_PTR written = 0;
    NTSTATUS status;
    UNREFERENCED_PARAMETER(DeviceObject);

    switch (location->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_REVERSE:
        status = Reverse(Irp, input, output, &written);
        break;
    case IOCTL_SUM:
        status = Sum(Irp);
        break;
    case IOCTL_FILL:
        status = Fill(Irp, input, &written);
        break;
    case IOCTL_COPY:
        status = Copy(Irp->UserBuffer, location->Parameters.DeviceIoControl.Type3InputBuffer,
                      input < output ? input : output, &written);
        break;
    default:
        status = STATUS_INVALID_DEVICE_REQUEST;
    }
    return Complete(Irp, status, written);
}
