/*
 * system.c - what the system says of itself: its version, its limits, its exports, and whether somebody debugs it.
 */
#include "cpu/clock.h"
#include "cpu/instructions.h"
#include "nt.h"
#include "nt/driver.h"
#include "nt/fault.h"
#include "nt/format.h"
#include "nt/rtl.h"

/* Windows 7 with its service pack. */
enum { VERSION_MAJOR = 6, VERSION_MINOR = 1, VERSION_BUILD = 7601, PLATFORM_NT = 2, PRODUCT_WORKSTATION = 1 };

/* ----------------------------------------------------------------------------------------------------- version ---- */

typedef struct _OSVERSIONINFOEXW {
    ULONG dwOSVersionInfoSize, dwMajorVersion, dwMinorVersion, dwBuildNumber, dwPlatformId;
    WCHAR szCSDVersion[128];
    USHORT wServicePackMajor, wServicePackMinor, wSuiteMask;
    UCHAR wProductType, wReserved;
} RTL_OSVERSIONINFOEXW, *PRTL_OSVERSIONINFOEXW;
_Static_assert(sizeof(RTL_OSVERSIONINFOEXW) == 284, "as in Windows");

static const WCHAR service_pack[] = u"Service Pack 1";

/* What is beyond the size the caller gives, it does not know of. */
static NTSTATUS NTAPI RtlGetVersion(PRTL_OSVERSIONINFOEXW VersionInformation) {
    RTL_OSVERSIONINFOEXW info = {
        .dwOSVersionInfoSize = VersionInformation->dwOSVersionInfoSize,
        .dwMajorVersion = VERSION_MAJOR,
        .dwMinorVersion = VERSION_MINOR,
        .dwBuildNumber = VERSION_BUILD,
        .dwPlatformId = PLATFORM_NT,
        .wServicePackMajor = 1,
        .wProductType = PRODUCT_WORKSTATION,
    };
    memcpy(info.szCSDVersion, service_pack, sizeof(service_pack));
    bool extended = VersionInformation->dwOSVersionInfoSize == sizeof(info);
    memcpy(VersionInformation, &info, extended ? sizeof(info) : offsetof(RTL_OSVERSIONINFOEXW, wServicePackMajor));
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlGetVersion);

static BOOLEAN NTAPI PsGetVersion(PULONG MajorVersion, PULONG MinorVersion, PULONG BuildNumber,
                                  PUNICODE_STRING CSDVersion) {
    if (MajorVersion)
        *MajorVersion = VERSION_MAJOR;
    if (MinorVersion)
        *MinorVersion = VERSION_MINOR;
    if (BuildNumber)
        *BuildNumber = VERSION_BUILD;
    if (CSDVersion)
        RtlInitUnicodeString(CSDVersion, service_pack);
    return FALSE; /* not a checked build */
}
NT_EXPORT(PsGetVersion);

static BOOLEAN NTAPI RtlIsNtDdiVersionAvailable(ULONG Version) {
    enum { NTDDI_WIN7 = 0x06010000, SERVICE_PACK_MASK = 0xffff };
    return !(Version & SERVICE_PACK_MASK) && Version <= NTDDI_WIN7;
}
NT_EXPORT(RtlIsNtDdiVersionAvailable);
NT_EXPORT_AS("IoIsWdmVersionAvailable", RtlIsNtDdiVersionAvailable);

static USHORT NtBuildNumber = VERSION_BUILD;
NT_EXPORT_DATA(NtBuildNumber);

static ULONG InitSafeBootMode;
NT_EXPORT_DATA(InitSafeBootMode);

/* ------------------------------------------------------------------------------------------------------ limits ---- */

static PVOID MmHighestUserAddress = (PVOID)HIGHEST_USER_ADDRESS;
NT_EXPORT_DATA(MmHighestUserAddress);
static PVOID MmSystemRangeStart = (PVOID)SYSTEM_RANGE_START;
NT_EXPORT_DATA(MmSystemRangeStart);
static ULONG_PTR MmUserProbeAddress = HIGHEST_USER_ADDRESS + 1;
NT_EXPORT_DATA(MmUserProbeAddress);
static CCHAR KeNumberProcessors = 1;
NT_EXPORT_DATA(KeNumberProcessors);

/* Raises what a bad address or alignment raises; that the range is mapped, only its use shows. */
static void probe(const VOID *address, SIZE_T length, ULONG alignment) {
    u64 first = (u64)address;
    if (!length)
        return;
    if (alignment && first & (alignment - 1))
        ExRaiseDatatypeMisalignment();
    if (first + length < first || first + length > MmUserProbeAddress)
        ExRaiseAccessViolation();
}

static VOID NTAPI ProbeForRead(const VOID *Address, SIZE_T Length, ULONG Alignment) {
    probe(Address, Length, Alignment);
}
NT_EXPORT(ProbeForRead);

/* Writes a byte of each page back as it is, as Windows does. */
static VOID NTAPI ProbeForWrite(PVOID Address, SIZE_T Length, ULONG Alignment) {
    probe(Address, Length, Alignment);
    for (u64 at = (u64)Address; Length && at < (u64)Address + Length; at = (at & ~(PAGE_SIZE - 1)) + PAGE_SIZE)
        *(volatile u8 *)at = *(volatile u8 *)at;
}
NT_EXPORT(ProbeForWrite);

/* ----------------------------------------------------------------------------------------------------- exports ---- */

static bool same_name(const char *name, PCUNICODE_STRING wanted) {
    u64 length = wanted->Length / sizeof(WCHAR);
    for (u64 i = 0; i < length; i++) {
        if (!name[i] || wanted->Buffer[i] != (u8)name[i])
            return false;
    }
    return !name[length];
}

static PVOID NTAPI MmGetSystemRoutineAddress(PUNICODE_STRING SystemRoutineName) {
    for (const struct lab_export *entry = lab_exports_start; entry < lab_exports_end; entry++) {
        if (entry->kind != LAB_EXPORT_COMMAND && same_name(entry->name, SystemRoutineName))
            return (PVOID)(entry->gate && driver_calling() ? entry->gate : entry->function);
    }
    return NULL;
}
NT_EXPORT(MmGetSystemRoutineAddress);

static PVOID NTAPI MmLockPagableDataSection(PVOID AddressWithinSection) {
    return AddressWithinSection; /* nothing of a driver is paged out */
}
NT_EXPORT(MmLockPagableDataSection);
NT_EXPORT_AS("MmLockPagableSectionByHandle", MmLockPagableDataSection);
NT_EXPORT_AS("MmUnlockPagableImageSection", MmLockPagableDataSection);
NT_EXPORT_AS("MmPageEntireDriver", MmLockPagableDataSection);
NT_EXPORT_AS("MmResetDriverPaging", MmLockPagableDataSection);

/* --------------------------------------------------------------------------------------------------- debugging ---- */

static BOOLEAN KdDebuggerEnabled = FALSE;
NT_EXPORT_DATA(KdDebuggerEnabled);
static BOOLEAN KdDebuggerNotPresent = TRUE;
NT_EXPORT_DATA(KdDebuggerNotPresent);

static BOOLEAN NTAPI KdRefreshDebuggerNotPresent(VOID) {
    return TRUE;
}
NT_EXPORT(KdRefreshDebuggerNotPresent);

static NTSTATUS NTAPI KdDisableDebugger(VOID) {
    return STATUS_DEBUGGER_INACTIVE;
}
NT_EXPORT(KdDisableDebugger);
NT_EXPORT_AS("KdEnableDebugger", KdDisableDebugger);

/* Without a debugger the exception goes to the driver's handlers, or else is a bug check. */
static VOID NTAPI DbgBreakPoint(VOID) {
    int3();
}
NT_EXPORT(DbgBreakPoint);
NT_EXPORT_AS("DbgBreakPointWithStatus", DbgBreakPoint);

static NTSTATUS NTAPI DbgQueryDebugFilterState(ULONG ComponentId, ULONG Level) {
    (void)ComponentId, (void)Level;
    return TRUE; /* everything is printed */
}
NT_EXPORT(DbgQueryDebugFilterState);

static NTSTATUS NTAPI DbgSetDebugFilterState(ULONG ComponentId, ULONG Level, BOOLEAN State) {
    (void)ComponentId, (void)Level, (void)State;
    return STATUS_SUCCESS;
}
NT_EXPORT(DbgSetDebugFilterState);

static ULONG NTAPI vDbgPrintExWithPrefix(PCSTR Prefix, ULONG ComponentId, ULONG Level, PCSTR Format,
                                         __builtin_ms_va_list arglist) {
    DbgPrintEx(ComponentId, Level, "%s", Prefix);
    return vDbgPrintEx(ComponentId, Level, Format, arglist);
}
NT_EXPORT(vDbgPrintExWithPrefix);

/* A checked driver's ASSERT. Windows asks the debugger what to do; without one it goes on. */
static VOID NTAPI RtlAssert(PVOID FailedAssertion, PVOID FileName, ULONG LineNumber, PCSTR Message) {
    log_print("*** Assertion failed: %s%s\n***   Source File: %s, line %u\n", Message ? Message : "",
              (const char *)FailedAssertion, (const char *)FileName, LineNumber);
    DbgBreakPoint();
}
NT_EXPORT(RtlAssert);

_Noreturn static VOID NTAPI KeBugCheck(ULONG BugCheckCode) {
    KeBugCheckEx(BugCheckCode, 0, 0, 0, 0);
}
NT_EXPORT(KeBugCheck);

/* Nobody is called: a bug check here leaves the machine as it is. */
static BOOLEAN NTAPI KeRegisterBugCheckCallback(PVOID CallbackRecord, PVOID CallbackRoutine, PVOID Buffer, ULONG Length,
                                                PUCHAR Component) {
    (void)CallbackRecord, (void)CallbackRoutine, (void)Buffer, (void)Length, (void)Component;
    return TRUE;
}
NT_EXPORT(KeRegisterBugCheckCallback);

static BOOLEAN NTAPI KeRegisterBugCheckReasonCallback(PVOID CallbackRecord, PVOID CallbackRoutine, ULONG Reason,
                                                      PUCHAR Component) {
    (void)CallbackRecord, (void)CallbackRoutine, (void)Reason, (void)Component;
    return TRUE;
}
NT_EXPORT(KeRegisterBugCheckReasonCallback);

static BOOLEAN NTAPI KeDeregisterBugCheckCallback(PVOID CallbackRecord) {
    (void)CallbackRecord;
    return TRUE;
}
NT_EXPORT(KeDeregisterBugCheckCallback);
NT_EXPORT_AS("KeDeregisterBugCheckReasonCallback", KeDeregisterBugCheckCallback);

static LONG NTAPI ExSystemExceptionFilter(VOID) {
    return EXCEPTION_EXECUTE_HANDLER;
}
NT_EXPORT(ExSystemExceptionFilter);

/* ------------------------------------------------------------------------------------------- numbers and bytes ---- */

/* Not Windows' numbers; as on Windows they follow from the seed, which changes. */
static ULONG NTAPI RtlRandomEx(PULONG Seed) {
    enum { MULTIPLIER = 48271, MODULUS = 0x7fffffff };
    *Seed = (ULONG)((u64)(*Seed % MODULUS ? *Seed : 1) * MULTIPLIER % MODULUS);
    return *Seed;
}
NT_EXPORT(RtlRandomEx);
NT_EXPORT_AS("RtlRandom", RtlRandomEx);
NT_EXPORT_AS("RtlUniform", RtlRandomEx);

static NTSTATUS NTAPI ExUuidCreate(PULONG Uuid) {
    static ULONG seed;
    enum { WORDS = 4, VERSION_WORD = 1, VARIANT_WORD = 2 };
    seed ^= (ULONG)rdtsc();
    for (u32 i = 0; i < WORDS; i++)
        Uuid[i] = RtlRandomEx(&seed) << 16 ^ RtlRandomEx(&seed);
    Uuid[VERSION_WORD] = (Uuid[VERSION_WORD] & 0x0fffffff) | 0x40000000;
    Uuid[VARIANT_WORD] = (Uuid[VARIANT_WORD] & 0xffffff3f) | 0x80;
    return STATUS_SUCCESS;
}
NT_EXPORT(ExUuidCreate);

static USHORT NTAPI RtlUshortByteSwap(USHORT Source) {
    return __builtin_bswap16(Source);
}
NT_EXPORT(RtlUshortByteSwap);

static ULONG NTAPI RtlUlongByteSwap(ULONG Source) {
    return __builtin_bswap32(Source);
}
NT_EXPORT(RtlUlongByteSwap);

static ULONGLONG NTAPI RtlUlonglongByteSwap(ULONGLONG Source) {
    return __builtin_bswap64(Source);
}
NT_EXPORT(RtlUlonglongByteSwap);

static SIZE_T NTAPI RtlCompareMemoryUlong(PVOID Source, SIZE_T Length, ULONG Pattern) {
    SIZE_T equal = 0;
    while (equal + sizeof(ULONG) <= Length && *(PULONG)((u8 *)Source + equal) == Pattern)
        equal += sizeof(ULONG);
    return equal;
}
NT_EXPORT(RtlCompareMemoryUlong);

/* The CRC of Ethernet and zip. */
static ULONG NTAPI RtlComputeCrc32(ULONG PartialCrc, const VOID *Buffer, ULONG Length) {
    enum { POLYNOMIAL = (int)0xedb88320 };
    ULONG crc = ~PartialCrc;
    for (const u8 *byte = Buffer; Length--; byte++) {
        crc ^= *byte;
        for (u32 bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? (ULONG)POLYNOMIAL : 0);
    }
    return ~crc;
}
NT_EXPORT(RtlComputeCrc32);

static VOID NTAPI RtlPrefetchMemoryNonTemporal(PVOID Source, SIZE_T Length) {
    (void)Source, (void)Length;
}
NT_EXPORT(RtlPrefetchMemoryNonTemporal);

static VOID NTAPI RtlGetCallersAddress(PVOID *CallersAddress, PVOID *CallersCaller) {
    PVOID frames[2] = {NULL, NULL};
    RtlCaptureStackBackTrace(2, 2, frames, NULL);
    *CallersAddress = frames[0];
    *CallersCaller = frames[1];
}
NT_EXPORT(RtlGetCallersAddress);

/* Those that have a Win32 code everybody knows; for others Windows too answers ERROR_MR_MID_NOT_FOUND. */
static ULONG NTAPI RtlNtStatusToDosError(NTSTATUS Status) {
    static const struct {
        NTSTATUS status;
        ULONG error;
    } errors[] = {
        {STATUS_SUCCESS, 0},
        {STATUS_INVALID_DEVICE_REQUEST, 1},
        {STATUS_NOT_IMPLEMENTED, 1},
        {STATUS_NO_SUCH_FILE, 2},
        {STATUS_OBJECT_NAME_NOT_FOUND, 2},
        {STATUS_OBJECT_PATH_NOT_FOUND, 3},
        {STATUS_ACCESS_DENIED, 5},
        {STATUS_INVALID_HANDLE, 6},
        {STATUS_NO_MEMORY, 8},
        {STATUS_DEVICE_NOT_READY, 21},
        {STATUS_UNSUCCESSFUL, 31},
        {STATUS_SHARING_VIOLATION, 32},
        {STATUS_END_OF_FILE, 38},
        {STATUS_NOT_SUPPORTED, 50},
        {STATUS_INVALID_PARAMETER, 87},
        {STATUS_BUFFER_TOO_SMALL, 122},
        {STATUS_OBJECT_NAME_INVALID, 123},
        {STATUS_OBJECT_NAME_COLLISION, 183},
        {STATUS_BUFFER_OVERFLOW, 234},
        {STATUS_TIMEOUT, 258},
        {STATUS_CANCELLED, 995},
        {STATUS_PENDING, 997},
        {STATUS_ACCESS_VIOLATION, 998},
        {STATUS_NOT_FOUND, 1168},
        {STATUS_INSUFFICIENT_RESOURCES, 1450},
        {STATUS_INVALID_USER_BUFFER, 1784},
    };
    enum { ERROR_MR_MID_NOT_FOUND = 317 };
    for (u64 i = 0; i < ARRAY_SIZE(errors); i++) {
        if (errors[i].status == Status)
            return errors[i].error;
    }
    return ERROR_MR_MID_NOT_FOUND;
}
NT_EXPORT(RtlNtStatusToDosError);
NT_EXPORT_AS("RtlNtStatusToDosErrorNoTeb", RtlNtStatusToDosError);

/* ---------------------------------------------------------------------------------------------- size, verifier ---- */

static ULONG NTAPI MmQuerySystemSize(VOID) {
    enum { MmSmallSystem, MmMediumSystem, MmLargeSystem };
    return MmSmallSystem; /* with less than 512 MiB Windows says so */
}
NT_EXPORT(MmQuerySystemSize);

static BOOLEAN NTAPI MmIsThisAnNtAsSystem(VOID) {
    return FALSE;
}
NT_EXPORT(MmIsThisAnNtAsSystem);

static LOGICAL NTAPI MmIsDriverVerifying(PDRIVER_OBJECT DriverObject) {
    (void)DriverObject; /* the verifier is on for all or for none */
    return lab_options.verifier;
}
NT_EXPORT(MmIsDriverVerifying);
NT_EXPORT_AS("MmIsDriverVerifyingByAddress", MmIsDriverVerifying);
NT_EXPORT_AS("MmIsDriverSuspectForVerifier", MmIsDriverVerifying);
