/* thread.c - in the style of drivers found in the wild; nothing here is arranged for this lab. */
#include <ntddk.h>
KEVENT stop; PETHREAD T;
VOID Th(PVOID c) { int i = 0; LARGE_INTEGER d; d.QuadPart = -10000; while (KeReadStateEvent(&stop) == 0 && i < 5) { i++; KeDelayExecutionThread(KernelMode, FALSE, &d); } DbgPrint("thread ran %d\n", i); PsTerminateSystemThread(0); }
VOID Un(PDRIVER_OBJECT D) { KeSetEvent(&stop, 0, FALSE); KeWaitForSingleObject(T, Executive, KernelMode, FALSE, NULL); ObDereferenceObject(T); DbgPrint("joined\n"); }
NTSTATUS DriverEntry(PDRIVER_OBJECT D, PUNICODE_STRING R) { HANDLE h; KeInitializeEvent(&stop, NotificationEvent, FALSE); D->DriverUnload = Un;
 NTSTATUS s = PsCreateSystemThread(&h, THREAD_ALL_ACCESS, NULL, NULL, NULL, Th, NULL); if (!NT_SUCCESS(s)) return s;
 ObReferenceObjectByHandle(h, THREAD_ALL_ACCESS, NULL, KernelMode, (PVOID*)&T, NULL); ZwClose(h); 
 PHYSICAL_ADDRESS hi; hi.QuadPart = -1; PVOID c = MmAllocateContiguousMemory(3*PAGE_SIZE, hi); DbgPrint("contig %p pa %I64x\n", c, MmGetPhysicalAddress(c).QuadPart); MmFreeContiguousMemory(c);
 PVOID nc = MmAllocateNonCachedMemory(PAGE_SIZE); DbgPrint("noncached %p\n", nc); MmFreeNonCachedMemory(nc, PAGE_SIZE);
 return 0; }
