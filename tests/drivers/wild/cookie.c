/* What Microsoft's linker puts into a driver that was compiled with /GS: a cookie named by the load configuration, and
   code that refuses to start with the value that every file has. */
#include <ntddk.h>

#define DEFAULT_COOKIE 0x00002B992DDFA232ULL

ULONG_PTR __security_cookie = DEFAULT_COOKIE;
ULONG_PTR __security_cookie_complement = ~DEFAULT_COOKIE;

typedef struct _LOAD_CONFIG {
    ULONG Size;
    UCHAR Other[0x54];
    ULONG_PTR SecurityCookie;
    UCHAR More[0x30];
} LOAD_CONFIG;
const LOAD_CONFIG _load_config_used = {.Size = sizeof(LOAD_CONFIG), .SecurityCookie = (ULONG_PTR)&__security_cookie};

static VOID __security_init_cookie(VOID) {
    if (__security_cookie == 0 || __security_cookie == DEFAULT_COOKIE)
        __fastfail(6); /* FAST_FAIL_GS_COOKIE_INIT */
}

VOID Unload(PDRIVER_OBJECT DriverObject) {
    UNREFERENCED_PARAMETER(DriverObject);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    UNREFERENCED_PARAMETER(RegistryPath);
    __security_init_cookie();
    DriverObject->DriverUnload = Unload;
    DbgPrint("cookie fresh %d, complement %d, top bits clear %d\n", __security_cookie != DEFAULT_COOKIE,
             __security_cookie_complement == ~__security_cookie, (int)(__security_cookie >> 48 == 0));
    return STATUS_SUCCESS;
}
