/* A secured device, a security descriptor, a shutdown notification, and who is asking. */
#include <initguid.h>
#include <ntifs.h>
#include <wdmsec.h>
DEFINE_GUID(GUID_MYDEV, 0x11223344, 0x5566, 0x7788, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00);
static NTSTATUS Shutdown(PDEVICE_OBJECT dev, PIRP irp) {
    UNREFERENCED_PARAMETER(dev);
    irp->IoStatus.Status = 0;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return 0;
}
VOID Unload(PDRIVER_OBJECT d) {
    UNICODE_STRING l = RTL_CONSTANT_STRING(L"\\??\\MySec");
    IoUnregisterShutdownNotification(d->DeviceObject);
    IoDeleteSymbolicLink(&l);
    IoDeleteDevice(d->DeviceObject);
}
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING r) {
    UNICODE_STRING n = RTL_CONSTANT_STRING(L"\\Device\\MySec"), l = RTL_CONSTANT_STRING(L"\\??\\MySec");
    PDEVICE_OBJECT dev;
    UNREFERENCED_PARAMETER(r);

    NTSTATUS st = IoCreateDeviceSecure(d, 0, &n, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE,
                                       &SDDL_DEVOBJ_SYS_ALL_ADM_ALL, &GUID_MYDEV, &dev);
    DbgPrint("secure %08x\n", st);
    if (!NT_SUCCESS(st))
        return st;
    IoCreateSymbolicLink(&l, &n);
    d->MajorFunction[IRP_MJ_SHUTDOWN] = Shutdown;
    d->DriverUnload = Unload;
    st = IoRegisterShutdownNotification(dev);
    DbgPrint("shutdown %08x\n", st);
    SECURITY_DESCRIPTOR sd;
    st = RtlCreateSecurityDescriptor(&sd, SECURITY_DESCRIPTOR_REVISION);
    DbgPrint("sd %08x\n", st);
    st = RtlSetDaclSecurityDescriptor(&sd, TRUE, NULL, FALSE);
    DbgPrint("dacl %08x valid %d len %u\n", st, RtlValidSecurityDescriptor(&sd), RtlLengthSecurityDescriptor(&sd));
    DbgPrint("seaccess %d\n", SeSinglePrivilegeCheck(RtlConvertLongToLuid(SE_LOAD_DRIVER_PRIVILEGE), KernelMode));
    DbgPrint("pid %p tid %p proc %d %s\n", PsGetCurrentProcessId(), PsGetCurrentThreadId(),
             IoGetCurrentProcess() == PsGetCurrentProcess(), "x");
    PEPROCESS p;
    st = PsLookupProcessByProcessId((HANDLE)4, &p);
    DbgPrint("lookup %08x\n", st);
    if (NT_SUCCESS(st))
        ObDereferenceObject(p);
    return STATUS_SUCCESS;
}
