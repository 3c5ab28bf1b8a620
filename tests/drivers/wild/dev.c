/* dev.c - in the style of drivers found in the wild; nothing here is arranged for this lab. */
#include <wdm.h>
#define IOCTL_ECHO CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
UNICODE_STRING dn = RTL_CONSTANT_STRING(L"\\Device\\Echo"), sl = RTL_CONSTANT_STRING(L"\\DosDevices\\Echo");
NTSTATUS CreateClose(PDEVICE_OBJECT d, PIRP irp) { irp->IoStatus.Status = 0; irp->IoStatus.Information = 0; IoCompleteRequest(irp, IO_NO_INCREMENT); return 0; }
NTSTATUS Ctl(PDEVICE_OBJECT d, PIRP irp) { PIO_STACK_LOCATION s = IoGetCurrentIrpStackLocation(irp); ULONG n = 0; NTSTATUS st = STATUS_INVALID_DEVICE_REQUEST;
  if (s->Parameters.DeviceIoControl.IoControlCode == IOCTL_ECHO) { PUCHAR p = irp->AssociatedIrp.SystemBuffer; n = min(s->Parameters.DeviceIoControl.InputBufferLength, s->Parameters.DeviceIoControl.OutputBufferLength); for (ULONG i=0;i<n;i++) p[i]^=0xff; st = 0; DbgPrint("echo %lu\n", n);} 
  irp->IoStatus.Status = st; irp->IoStatus.Information = n; IoCompleteRequest(irp, IO_NO_INCREMENT); return st; }
VOID Work(PDEVICE_OBJECT d, PVOID c) { DbgPrint("work item irql=%d\n", KeGetCurrentIrql()); KeSetEvent((PKEVENT)c, 0, FALSE); }
VOID Unload(PDRIVER_OBJECT D) { IoDeleteSymbolicLink(&sl); IoDeleteDevice(D->DeviceObject); }
NTSTATUS DriverEntry(PDRIVER_OBJECT D, PUNICODE_STRING R) { PDEVICE_OBJECT dev; NTSTATUS s = IoCreateDevice(D, 16, &dn, FILE_DEVICE_UNKNOWN, 0, FALSE, &dev); if (!NT_SUCCESS(s)) return s;
  s = IoCreateSymbolicLink(&sl, &dn); if (!NT_SUCCESS(s)) { IoDeleteDevice(dev); return s; }
  D->MajorFunction[IRP_MJ_CREATE] = D->MajorFunction[IRP_MJ_CLOSE] = CreateClose; D->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Ctl; D->DriverUnload = Unload;
  KEVENT e; KeInitializeEvent(&e, SynchronizationEvent, FALSE); PIO_WORKITEM w = IoAllocateWorkItem(dev); IoQueueWorkItem(w, Work, DelayedWorkQueue, &e); KeWaitForSingleObject(&e, Executive, KernelMode, FALSE, NULL); IoFreeWorkItem(w);
  HANDLE h; OBJECT_ATTRIBUTES oa; UNICODE_STRING k = RTL_CONSTANT_STRING(L"\\Registry\\Machine\\Nope"); InitializeObjectAttributes(&oa, &k, OBJ_CASE_INSENSITIVE|OBJ_KERNEL_HANDLE, NULL, NULL); s = ZwOpenKey(&h, KEY_READ, &oa); DbgPrint("ZwOpenKey %08x\n", s);
  return 0; }
