/*
 * nt.h - the Windows-like surface: types, constants and calls spelled and laid out as Windows x64 has them
 * (Microsoft's DDI reference, wdm.h and ntddk.h). Windows names are declared here, in the nt_*.h that this includes,
 * and nowhere else; a call that only drivers make is static in the file of its subsystem, with its NT_EXPORT. What we
 * add of our own is in our own headers.
 */
#pragma once

#include "bugcodes.h"
#include "lab.h"
#include "ntstatus.h"

/* The Microsoft x64 convention: arguments in rcx rdx r8 r9, then the stack above 32 bytes of home space. */
#define NTAPI __attribute__((ms_abi))

/* ------------------------------------------------------------------------------------------------------- types ---- */

#define VOID void
typedef void *PVOID;
typedef char CHAR, *PCHAR;
typedef const char *PCSTR;
typedef char *PSTR;
typedef signed char CCHAR;
typedef u8 UCHAR, *PUCHAR;
typedef u8 BOOLEAN, *PBOOLEAN;
typedef int16_t SHORT;
typedef int16_t CSHORT;
typedef u16 USHORT, *PUSHORT;
typedef u16 WCHAR, *PWSTR; /* literals: u"text" */
typedef const WCHAR *PCWSTR;
typedef int32_t LONG, *PLONG;
typedef u32 ULONG, *PULONG;
typedef i64 LONGLONG;
typedef u64 ULONGLONG, ULONG64, *PULONG64;
typedef i64 LONG_PTR;
typedef u64 ULONG_PTR, *PULONG_PTR;
typedef u64 SIZE_T, *PSIZE_T;
typedef u64 PFN_NUMBER, *PPFN_NUMBER;
typedef LONG NTSTATUS;

#define FALSE 0
#define TRUE 1

typedef union _LARGE_INTEGER {
    struct {
        ULONG LowPart;
        LONG HighPart;
    };
    LONGLONG QuadPart;
} LARGE_INTEGER, *PLARGE_INTEGER;
typedef LARGE_INTEGER PHYSICAL_ADDRESS, *PPHYSICAL_ADDRESS;
_Static_assert(sizeof(PHYSICAL_ADDRESS) == 8, "passed and returned in one register");

typedef struct _LIST_ENTRY {
    struct _LIST_ENTRY *Flink;
    struct _LIST_ENTRY *Blink;
} LIST_ENTRY, *PLIST_ENTRY;

typedef struct _ANSI_STRING {
    USHORT Length; /* bytes, without a terminating zero */
    USHORT MaximumLength;
    PCHAR Buffer;
} ANSI_STRING, *PANSI_STRING, STRING, *PSTRING;

typedef struct _UNICODE_STRING {
    USHORT Length; /* bytes, not characters */
    USHORT MaximumLength;
    PWSTR Buffer;
} UNICODE_STRING, *PUNICODE_STRING;
typedef const UNICODE_STRING *PCUNICODE_STRING;
_Static_assert(sizeof(UNICODE_STRING) == 16 && offsetof(UNICODE_STRING, Buffer) == 8, "as in Windows");
_Static_assert(sizeof(ANSI_STRING) == 16 && offsetof(ANSI_STRING, Buffer) == 8, "as in Windows");

typedef enum _MODE { KernelMode, UserMode, MaximumMode } MODE;
typedef CCHAR KPROCESSOR_MODE; /* enum _MODE */

typedef struct _EPROCESS EPROCESS, *PEPROCESS; /* nt/process.h */
typedef struct _IRP IRP, *PIRP;                /* nt_io.h */

#define NT_SUCCESS(status) ((NTSTATUS)(status) >= 0)

/* -------------------------------------------------------------------------------------------------- bug checks ---- */

_Noreturn VOID NTAPI KeBugCheckEx(ULONG BugCheckCode, ULONG_PTR BugCheckParameter1, ULONG_PTR BugCheckParameter2,
                                  ULONG_PTR BugCheckParameter3, ULONG_PTR BugCheckParameter4);

/* -------------------------------------------------------------------------------------------------------- pool ---- */

typedef enum _POOL_TYPE {
    NonPagedPool = 0, /* executable */
    NonPagedPoolExecute = NonPagedPool,
    PagedPool = 1,
    NonPagedPoolMustSucceed = 2,
    DontUseThisType = 3,
    NonPagedPoolCacheAligned = 4,
    PagedPoolCacheAligned = 5,
    NonPagedPoolCacheAlignedMustS = 6,
    MaxPoolType = 7,
    NonPagedPoolNx = 512,
    NonPagedPoolNxCacheAligned = 516,
} POOL_TYPE;

/* May be or-ed into a POOL_TYPE. */
#define POOL_QUOTA_FAIL_INSTEAD_OF_RAISE 8
#define POOL_RAISE_IF_ALLOCATION_FAILURE 16
#define POOL_COLD_ALLOCATION 256
#define POOL_ZERO_ALLOCATION 1024

typedef ULONG64 POOL_FLAGS;
enum pool_flags {
    POOL_FLAG_REQUIRED_START = 0x0000000000000001ull,
    POOL_FLAG_USE_QUOTA = 0x0000000000000001ull,
    POOL_FLAG_UNINITIALIZED = 0x0000000000000002ull,
    POOL_FLAG_SESSION = 0x0000000000000004ull,
    POOL_FLAG_CACHE_ALIGNED = 0x0000000000000008ull,
    POOL_FLAG_RESERVED1 = 0x0000000000000010ull,
    POOL_FLAG_RAISE_ON_FAILURE = 0x0000000000000020ull,
    POOL_FLAG_NON_PAGED = 0x0000000000000040ull,
    POOL_FLAG_NON_PAGED_EXECUTE = 0x0000000000000080ull,
    POOL_FLAG_PAGED = 0x0000000000000100ull,
    POOL_FLAG_REQUIRED_END = 0x0000000080000000ull,
    POOL_FLAG_OPTIONAL_START = 0x0000000100000000ull,
    POOL_FLAG_SPECIAL_POOL = 0x0000000100000000ull,
    POOL_FLAG_OPTIONAL_END = 0x8000000000000000ull,
};

/* The 16 bytes before every block that shares its page with others. */
typedef struct _POOL_HEADER {
    UCHAR PreviousSize; /* of the block before this one, in 16-byte units; 0: first of its page */
    UCHAR PoolIndex;    /* which pool the page belongs to: enum pool_kind */
    UCHAR BlockSize;    /* in 16-byte units, header included */
    UCHAR PoolType;     /* 0: free, else 1 + the low three bits of the POOL_TYPE asked for (+ 8: charged as quota) */
    ULONG PoolTag;
    PEPROCESS ProcessBilled;
} POOL_HEADER, *PPOOL_HEADER;
_Static_assert(sizeof(POOL_HEADER) == 16 && offsetof(POOL_HEADER, BlockSize) == 2 &&
                   offsetof(POOL_HEADER, PoolType) == 3 && offsetof(POOL_HEADER, PoolTag) == 4 &&
                   offsetof(POOL_HEADER, ProcessBilled) == 8,
               "POOL_HEADER is laid out as Windows lays it out");

PVOID NTAPI ExAllocatePool(POOL_TYPE PoolType, SIZE_T NumberOfBytes);
PVOID NTAPI ExAllocatePoolWithTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag);
PVOID NTAPI ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag);
VOID NTAPI ExFreePool(PVOID P);
VOID NTAPI ExFreePoolWithTag(PVOID P, ULONG Tag);

/* --------------------------------------------------------------------------------------------------------- MDL ---- */

/* Followed by one PFN_NUMBER for each page that ByteOffset and ByteCount touch. */
typedef struct _MDL {
    struct _MDL *Next;
    CSHORT Size; /* bytes, with the frame numbers */
    CSHORT MdlFlags;
    struct _EPROCESS *Process;
    PVOID MappedSystemVa;
    PVOID StartVa; /* page aligned */
    ULONG ByteCount;
    ULONG ByteOffset; /* of the buffer in its first page */
} MDL, *PMDL;
_Static_assert(sizeof(MDL) == 0x30 && offsetof(MDL, Size) == 0x08 && offsetof(MDL, MdlFlags) == 0x0a &&
                   offsetof(MDL, Process) == 0x10 && offsetof(MDL, MappedSystemVa) == 0x18 &&
                   offsetof(MDL, StartVa) == 0x20 && offsetof(MDL, ByteCount) == 0x28 &&
                   offsetof(MDL, ByteOffset) == 0x2c,
               "MDL is laid out as Windows lays it out");

/* Macros in Windows; an enum (of no Windows name) here, so that debuggers and the controller can name the bits. */
enum mdl_flag {
    MDL_MAPPED_TO_SYSTEM_VA = 0x0001,
    MDL_PAGES_LOCKED = 0x0002,
    MDL_SOURCE_IS_NONPAGED_POOL = 0x0004,
    MDL_ALLOCATED_FIXED_SIZE = 0x0008,
    MDL_PARTIAL = 0x0010,
    MDL_PARTIAL_HAS_BEEN_MAPPED = 0x0020,
    MDL_IO_PAGE_READ = 0x0040,
    MDL_WRITE_OPERATION = 0x0080,
    MDL_PARENT_MAPPED_SYSTEM_VA = 0x0100,
    MDL_FREE_EXTRA_PTES = 0x0200,
    MDL_DESCRIBES_AWE = 0x0400,
    MDL_IO_SPACE = 0x0800,
    MDL_NETWORK_HEADER = 0x1000,
    MDL_MAPPING_CAN_FAIL = 0x2000,
    MDL_ALLOCATED_MUST_SUCCEED = 0x4000,
    MDL_INTERNAL = 0x8000,
};

typedef enum _MEMORY_CACHING_TYPE {
    MmNonCached = 0,
    MmCached = 1,
    MmWriteCombined = 2,
    MmHardwareCoherentCached = 3,
    MmNonCachedUnordered = 4,
    MmUSWCCached = 5,
    MmMaximumCacheType = 6,
    MmNotMapped = -1,
} MEMORY_CACHING_TYPE;

typedef enum _LOCK_OPERATION { IoReadAccess, IoWriteAccess, IoModifyAccess } LOCK_OPERATION;

/* The low part of a mapping's Priority; the two high bits qualify it. */
typedef enum _MM_PAGE_PRIORITY { LowPagePriority, NormalPagePriority = 16, HighPagePriority = 32 } MM_PAGE_PRIORITY;

/* May be or-ed into the priority of a mapping. */
enum mdl_mapping { MdlMappingNoExecute = 0x40000000, MdlMappingNoWrite = 0x80000000u };

/* Flags of MmAllocatePagesForMdlEx. */
#define MM_DONT_ZERO_ALLOCATION 0x00000001
#define MM_ALLOCATE_FROM_LOCAL_NODE_ONLY 0x00000002
#define MM_ALLOCATE_FULLY_REQUIRED 0x00000004
#define MM_ALLOCATE_NO_WAIT 0x00000008
#define MM_ALLOCATE_PREFER_CONTIGUOUS 0x00000010
#define MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS 0x00000020
#define MM_ALLOCATE_FAST_LARGE_PAGES 0x00000040
#define MM_ALLOCATE_AND_HOT_REMOVE 0x00000100

#define BYTE_OFFSET(va) ((ULONG)OFFSET_IN_PAGE(va))
#define PAGE_ALIGN(va) ((PVOID)((ULONG_PTR)(va) & ~(ULONG_PTR)(PAGE_SIZE - 1)))
#define ADDRESS_AND_SIZE_TO_SPAN_PAGES(va, size) PAGES_OF(BYTE_OFFSET(va) + (SIZE_T)(size))

#define MmGetMdlPfnArray(mdl) ((PPFN_NUMBER)((PMDL)(mdl) + 1))
#define MmGetMdlByteCount(mdl) ((mdl)->ByteCount)
#define MmGetMdlByteOffset(mdl) ((mdl)->ByteOffset)
#define MmGetMdlBaseVa(mdl) ((mdl)->StartVa)
#define MmGetMdlVirtualAddress(mdl) ((PVOID)((PCHAR)(mdl)->StartVa + (mdl)->ByteOffset))

SIZE_T NTAPI MmSizeOfMdl(PVOID Base, SIZE_T Length);
PMDL NTAPI IoAllocateMdl(PVOID VirtualAddress, ULONG Length, BOOLEAN SecondaryBuffer, BOOLEAN ChargeQuota, PIRP Irp);
VOID NTAPI IoFreeMdl(PMDL Mdl);
VOID NTAPI MmBuildMdlForNonPagedPool(PMDL MemoryDescriptorList);
PVOID NTAPI MmMapLockedPages(PMDL MemoryDescriptorList, KPROCESSOR_MODE AccessMode);
PVOID NTAPI MmMapLockedPagesSpecifyCache(PMDL MemoryDescriptorList, KPROCESSOR_MODE AccessMode,
                                         MEMORY_CACHING_TYPE CacheType, PVOID RequestedAddress, ULONG BugCheckOnFailure,
                                         ULONG Priority);
VOID NTAPI MmUnmapLockedPages(PVOID BaseAddress, PMDL MemoryDescriptorList);
PMDL NTAPI MmAllocatePagesForMdl(PHYSICAL_ADDRESS LowAddress, PHYSICAL_ADDRESS HighAddress, PHYSICAL_ADDRESS SkipBytes,
                                 SIZE_T TotalBytes);
PMDL NTAPI MmAllocatePagesForMdlEx(PHYSICAL_ADDRESS LowAddress, PHYSICAL_ADDRESS HighAddress,
                                   PHYSICAL_ADDRESS SkipBytes, SIZE_T TotalBytes, MEMORY_CACHING_TYPE CacheType,
                                   ULONG Flags);
VOID NTAPI MmFreePagesFromMdl(PMDL MemoryDescriptorList);
PHYSICAL_ADDRESS NTAPI MmGetPhysicalAddress(PVOID BaseAddress);
BOOLEAN NTAPI MmIsAddressValid(PVOID VirtualAddress);

/* Macros in wdm.h; functions here because they are also called by name from outside. Windows drivers bring theirs. */
PVOID NTAPI MmGetSystemAddressForMdlSafe(PMDL Mdl, ULONG Priority);
VOID NTAPI MmPrepareMdlForReuse(PMDL Mdl);
VOID NTAPI MmInitializeMdl(PMDL MemoryDescriptorList, PVOID BaseVa, SIZE_T Length);

/* --------------------------------------------------------------------------------------------------------- Dbg ---- */

#define DPFLTR_ERROR_LEVEL 0
#define DPFLTR_WARNING_LEVEL 1
#define DPFLTR_TRACE_LEVEL 2
#define DPFLTR_INFO_LEVEL 3
#define DPFLTR_IHVDRIVER_ID 77
#define DPFLTR_DEFAULT_ID 101

ULONG NTAPI DbgPrint(PCSTR Format, ...);
ULONG NTAPI DbgPrintEx(ULONG ComponentId, ULONG Level, PCSTR Format, ...);
ULONG NTAPI vDbgPrintEx(ULONG ComponentId, ULONG Level, PCSTR Format, __builtin_ms_va_list arglist);

/* --------------------------------------------------------------------------------------------------------- Rtl ---- */

VOID NTAPI RtlCopyMemory(PVOID Destination, const VOID *Source, SIZE_T Length);
VOID NTAPI RtlMoveMemory(PVOID Destination, const VOID *Source, SIZE_T Length);
VOID NTAPI RtlZeroMemory(PVOID Destination, SIZE_T Length);
VOID NTAPI RtlFillMemory(PVOID Destination, SIZE_T Length, UCHAR Fill);
SIZE_T NTAPI RtlCompareMemory(const VOID *Source1, const VOID *Source2, SIZE_T Length);
VOID NTAPI RtlInitAnsiString(PANSI_STRING DestinationString, PCSTR SourceString);
VOID NTAPI RtlInitUnicodeString(PUNICODE_STRING DestinationString, PCWSTR SourceString);
VOID NTAPI RtlCopyUnicodeString(PUNICODE_STRING DestinationString, PCUNICODE_STRING SourceString);

#include "nt_exception.h"
#include "nt_ke.h"
#include "nt_mm.h"

#include "nt_io.h"
#include "nt_rtl.h"
