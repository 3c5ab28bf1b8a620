/* kmdf.c - what the stub that a KMDF driver is linked with does before and after the driver's own code. */
#include <ntddk.h>

typedef struct {
    ULONG Size;
    PCWSTR Component;
    ULONG Major, Minor, Build, FuncCount;
    PVOID *FuncTable;
    PVOID Module;
} BIND_INFO;

typedef NTSTATUS (*BIND)(PDRIVER_OBJECT, PUNICODE_STRING, BIND_INFO *, PVOID *);
typedef VOID (*UNBIND)(PUNICODE_STRING, BIND_INFO *, PVOID);

static PVOID Functions, Globals;
static BIND_INFO BindInfo = {sizeof(BIND_INFO), L"KmdfLibrary", 1, 15, 0, 444, &Functions, NULL};
static UNICODE_STRING Path;

static PVOID Find(PCWSTR name) {
    UNICODE_STRING text;
    RtlInitUnicodeString(&text, name);
    return MmGetSystemRoutineAddress(&text);
}

VOID Unload(PDRIVER_OBJECT DriverObject) {
    ((UNBIND)Find(L"WdfVersionUnbind"))(&Path, &BindInfo, Globals);
    DbgPrint("kmdf: unbound\n");
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    BIND bind = (BIND)Find(L"WdfVersionBind");
    NTSTATUS status = bind ? bind(DriverObject, RegistryPath, &BindInfo, &Globals) : STATUS_PROCEDURE_NOT_FOUND;
    Path = *RegistryPath;
    DriverObject->DriverUnload = Unload;
    DbgPrint("kmdf: bound %08x, functions %d, globals %d, displace %d\n", status, Functions != NULL, Globals != NULL,
             Globals ? ((UCHAR *)Globals)[0x30] : -1);
    return status;
}
