/*
 * wdf.c - what WDFLDR.SYS exports: a driver of the framework (KMDF) binds to it before its own DriverEntry runs. There
 * is no framework behind it, except for a driver object: a driver that uses no more than WDM calls and WdfDriverCreate
 * loads, runs and unloads. Any other framework function stops with its number.
 */
#include "memory/pool.h"
#include "nt.h"
#include "nt/rtl.h"

enum { WDF_TAG = POOL_TAG('F', 'x', 'D', 'r') };
enum { WDF_FUNCTIONS = 512, WDF_STUB_SIZE = 16 };

/* Up to framework 1.13 the functions are copied into a table of the driver's; since then a pointer to ours is stored.
 */
enum { WDF_MAJOR = 1, WDF_POINTER_SINCE = 15 };

typedef struct _WDF_BIND_INFO {
    ULONG Size;
    PWSTR Component;
    struct {
        ULONG Major, Minor, Build;
    } Version;
    ULONG FuncCount;
    const void **FuncTable;
    PVOID Module;
} WDF_BIND_INFO, *PWDF_BIND_INFO;
_Static_assert(sizeof(WDF_BIND_INFO) == 0x30 && offsetof(WDF_BIND_INFO, FuncTable) == 0x20, "as in Windows");

/* The public part is what the stub in the driver reads; the rest is ours. */
typedef struct _WDF_DRIVER_GLOBALS {
    PVOID Driver;
    ULONG DriverFlags;
    ULONG DriverTag;
    CHAR DriverName[32];
    BOOLEAN DisplaceDriverUnload; /* the stub puts its own DriverUnload before the driver's, to unbind afterwards */
    PDRIVER_OBJECT driver_object;
    VOID(NTAPI *evt_driver_unload)(PVOID Driver);
} WDF_DRIVER_GLOBALS, *PWDF_DRIVER_GLOBALS;
_Static_assert(offsetof(WDF_DRIVER_GLOBALS, DisplaceDriverUnload) == 0x30, "as in Windows");

typedef struct _WDF_DRIVER_CONFIG {
    ULONG Size;
    PVOID EvtDriverDeviceAdd;
    VOID(NTAPI *EvtDriverUnload)(PVOID Driver);
    ULONG DriverInitFlags;
    ULONG DriverPoolTag;
} WDF_DRIVER_CONFIG;

/* By their places in the framework's table. */
enum wdf_index { WDF_DEVICE_CREATE = 75, WDF_DRIVER_CREATE = 116, WDF_IO_QUEUE_CREATE = 152 };

static const void *functions[WDF_FUNCTIONS];

/* -------------------------------------------------------------------------------------- functions that are not ---- */

/* A stub for each, so that the call tells which one it was for. */
__asm__(
    ".text\n"
    "    .balign 16\n"
    "wdf_stubs:\n"
    "    .set wdf_index, 0\n"
    "    .rept 512\n"
    "    .balign 16\n"
    "    movl $wdf_index, %ecx\n"
    "    movq (%rsp), %rdx\n"
    "    jmp wdf_missing\n"
    "    .set wdf_index, wdf_index + 1\n"
    "    .endr\n");
extern const u8 wdf_stubs[];

_Noreturn VOID NTAPI wdf_missing(u32 index, u64 caller);
_Noreturn __attribute__((used)) VOID NTAPI wdf_missing(u32 index, u64 caller) {
    static char name[] = "WdfFunctions[000]";
    enum { FIRST_DIGIT = 13 };
    for (u32 i = 0, divisor = 100; divisor; i++, divisor /= 10)
        name[FIRST_DIGIT + i] = (char)('0' + index / divisor % 10);
    const char *known = index == WDF_DEVICE_CREATE     ? " (WdfDeviceCreate)"
                        : index == WDF_IO_QUEUE_CREATE ? " (WdfIoQueueCreate)"
                                                       : "";
    log_print("\n%s%s: the driver framework is not part of this kernel\n", name, known);
    KeBugCheckEx(LAB_MISSING_IMPORT, (ULONG_PTR)name, caller, 0, 0);
}

/* ------------------------------------------------------------------------------------------- the driver object ---- */

/* The globals of a driver stand in its object, where the framework too keeps something of its own. */
static const char client_address;

static PWDF_DRIVER_GLOBALS *globals_of(PDRIVER_OBJECT driver) {
    return IoGetDriverObjectExtension(driver, (PVOID)&client_address);
}

static VOID NTAPI unload(PDRIVER_OBJECT driver) {
    PWDF_DRIVER_GLOBALS *globals = globals_of(driver);
    if (globals && *globals && (*globals)->evt_driver_unload)
        (*globals)->evt_driver_unload(*globals);
}

static NTSTATUS NTAPI WdfDriverCreate(PWDF_DRIVER_GLOBALS DriverGlobals, PDRIVER_OBJECT DriverObject,
                                      PCUNICODE_STRING RegistryPath, PVOID DriverAttributes,
                                      const WDF_DRIVER_CONFIG *DriverConfig, PVOID *Driver) {
    (void)RegistryPath, (void)DriverAttributes;
    DriverGlobals->Driver = DriverGlobals;
    DriverGlobals->evt_driver_unload = DriverConfig->EvtDriverUnload;
    DriverObject->DriverUnload = unload;
    if (Driver)
        *Driver = DriverGlobals;
    return STATUS_SUCCESS;
}

static void fill_functions(void) {
    for (u64 i = 0; i < WDF_FUNCTIONS; i++)
        functions[i] = wdf_stubs + i * WDF_STUB_SIZE;
    functions[WDF_DRIVER_CREATE] = (const void *)WdfDriverCreate;
}

/* ------------------------------------------------------------------------------------------------- the exports ---- */

static NTSTATUS make_globals(PDRIVER_OBJECT driver, PWDF_DRIVER_GLOBALS *ret) {
    PWDF_DRIVER_GLOBALS *place = globals_of(driver), globals = pool_allocate(NonPagedPool, sizeof(*globals), WDF_TAG);
    NTSTATUS status =
        place ? STATUS_SUCCESS
              : IoAllocateDriverObjectExtension(driver, (PVOID)&client_address, sizeof(*place), (PVOID *)&place);
    if (!globals || !NT_SUCCESS(status)) {
        if (globals)
            ExFreePoolWithTag(globals, WDF_TAG);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    *globals = (WDF_DRIVER_GLOBALS){.DriverTag = WDF_TAG, .DisplaceDriverUnload = TRUE, .driver_object = driver};
    *place = globals;
    *ret = globals;
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI WdfVersionBind(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath, PWDF_BIND_INFO BindInfo,
                                     PWDF_DRIVER_GLOBALS *ComponentGlobals) {
    (void)RegistryPath;
    bool known = BindInfo && BindInfo->Size >= sizeof(WDF_BIND_INFO) && BindInfo->Version.Major == WDF_MAJOR;
    if (!known || !BindInfo->FuncTable || BindInfo->FuncCount > WDF_FUNCTIONS)
        return STATUS_REVISION_MISMATCH;
    NTSTATUS status = make_globals(DriverObject, ComponentGlobals);
    if (!NT_SUCCESS(status))
        return status;
    fill_functions();
    if (BindInfo->Version.Minor >= WDF_POINTER_SINCE)
        *BindInfo->FuncTable = functions;
    else
        memcpy(BindInfo->FuncTable, functions, BindInfo->FuncCount * sizeof(functions[0]));
    return STATUS_SUCCESS;
}
NT_EXPORT(WdfVersionBind);

static NTSTATUS NTAPI WdfVersionUnbind(PUNICODE_STRING RegistryPath, PWDF_BIND_INFO BindInfo,
                                       PWDF_DRIVER_GLOBALS ComponentGlobals) {
    (void)RegistryPath, (void)BindInfo;
    if (ComponentGlobals) {
        *globals_of(ComponentGlobals->driver_object) = NULL;
        ExFreePoolWithTag(ComponentGlobals, WDF_TAG);
    }
    return STATUS_SUCCESS;
}
NT_EXPORT(WdfVersionUnbind);

/* Class extensions and the loader's own interfaces would need the framework. */
static NTSTATUS NTAPI WdfVersionBindClass(PWDF_BIND_INFO BindInfo, PVOID *Globals, PVOID ClassBindInfo) {
    (void)BindInfo, (void)Globals, (void)ClassBindInfo;
    return STATUS_NOT_IMPLEMENTED;
}
NT_EXPORT(WdfVersionBindClass);

static VOID NTAPI WdfVersionUnbindClass(PWDF_BIND_INFO BindInfo, PVOID *Globals, PVOID ClassBindInfo) {
    (void)BindInfo, (void)Globals, (void)ClassBindInfo;
}
NT_EXPORT(WdfVersionUnbindClass);

static NTSTATUS NTAPI WdfLdrQueryInterface(PVOID LoaderInterface) {
    (void)LoaderInterface;
    return STATUS_NOT_IMPLEMENTED;
}
NT_EXPORT(WdfLdrQueryInterface);
