/* list.c - in the style of drivers found in the wild; nothing here is arranged for this lab. */
#include <ntifs.h>
#include <ntstrsafe.h>
#pragma warning(disable: 4100)
#define POOL_TAG 'tsiL'
typedef struct _ITEM { LIST_ENTRY Entry; ULONG Value; WCHAR Name[32]; } ITEM, *PITEM;
LIST_ENTRY Head; KSPIN_LOCK Lock; FAST_MUTEX Mutex;
DRIVER_INITIALIZE DriverEntry; DRIVER_UNLOAD Unload;
#ifdef ALLOC_PRAGMA
#pragma alloc_text(INIT, DriverEntry)
#pragma alloc_text(PAGE, Unload)
#endif
_Use_decl_annotations_ VOID Unload(PDRIVER_OBJECT DriverObject) { PAGED_CODE(); UNREFERENCED_PARAMETER(DriverObject);
  while (!IsListEmpty(&Head)) { PLIST_ENTRY e = RemoveHeadList(&Head); PITEM i = CONTAINING_RECORD(e, ITEM, Entry);
    KdPrint(("freeing %ws = %lu\n", i->Name, i->Value)); ExFreePoolWithTag(i, POOL_TAG); } }
_Use_decl_annotations_ NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
  UNREFERENCED_PARAMETER(RegistryPath); KIRQL irql; UNICODE_STRING a = RTL_CONSTANT_STRING(L"\\Device\\Foo"), b; WCHAR buf[64];
  InitializeListHead(&Head); KeInitializeSpinLock(&Lock); ExInitializeFastMutex(&Mutex); DriverObject->DriverUnload = Unload;
  for (ULONG n = 0; n < 3; n++) { PITEM i = (PITEM)ExAllocatePoolZero(NonPagedPoolNx, sizeof(ITEM), POOL_TAG); if (!i) return STATUS_INSUFFICIENT_RESOURCES;
    i->Value = n * n; RtlStringCbPrintfW(i->Name, sizeof(i->Name), L"item-%u", n);
    KeAcquireSpinLock(&Lock, &irql); InsertTailList(&Head, &i->Entry); KeReleaseSpinLock(&Lock, irql); }
  ExAcquireFastMutex(&Mutex); ExReleaseFastMutex(&Mutex);
  b.Buffer = buf; b.MaximumLength = sizeof(buf); RtlCopyUnicodeString(&b, &a); RtlAppendUnicodeToString(&b, L"Bar");
  DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_INFO_LEVEL, "%wZ equal=%d irql=%d pid=%p os=%d\n", &b, RtlEqualUnicodeString(&a,&b,TRUE), KeGetCurrentIrql(), PsGetCurrentProcessId(), (int)sizeof(ITEM));
  RTL_OSVERSIONINFOW v = { sizeof v }; RtlGetVersion(&v); DbgPrint("ver %u.%u.%u\n", v.dwMajorVersion, v.dwMinorVersion, v.dwBuildNumber);
  LARGE_INTEGER t; KeQuerySystemTime(&t); TIME_FIELDS tf; RtlTimeToTimeFields(&t,&tf); DbgPrint("year>=1601 %d\n", tf.Year >= 1601);
  return STATUS_SUCCESS; }
