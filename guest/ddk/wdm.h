/*
 * wdm.h - found before mingw-w64's header of that name, includes it, and adds what it lacks or gets wrong, so that
 * driver sources written for Microsoft's kit build unchanged. ntddk.h and ntifs.h come through here as well.
 *
 * Only declarations for drivers stand here, spelled as Microsoft's reference has them; the kernel itself uses nt.h.
 * What a later mingw-w64 may bring is written so that both can stand: functions and typedefs are repeated word for
 * word, which C allows, and macros are tested first.
 */
#pragma once
#pragma clang system_header

/* Annotations may be used before the first kernel header is done, so they come first. */
#include "annotations.h"

/* ------------------------------------------------------------------------------------ mingw-w64's own header ---- */

#include <intrin.h>

/*
 * Taken out of the header below: two functions that intrin.h already has (C++ refuses the second definition, C emits
 * one in every object), and the object types, which the header imports with one pointer too few. Drivers write
 * `*PsProcessType`, and so do the declarations they bring themselves; see the end of this file.
 */
#define _EPROCESS _KPROCESS /* one type in Microsoft's header: PEPROCESS goes where PRKPROCESS is asked for */
#define InterlockedBitTestAndSet lab_not_used_bit_test_and_set
#define InterlockedBitTestAndReset lab_not_used_bit_test_and_reset
#define CmKeyObjectType lab_not_used_CmKeyObjectType
#define ExEventObjectType lab_not_used_ExEventObjectType
#define ExSemaphoreObjectType lab_not_used_ExSemaphoreObjectType
#define IoFileObjectType lab_not_used_IoFileObjectType
#define PsThreadType lab_not_used_PsThreadType
#define PsProcessType lab_not_used_PsProcessType
#define SeTokenObjectType lab_not_used_SeTokenObjectType
#define TmEnlistmentObjectType lab_not_used_TmEnlistmentObjectType
#define TmResourceManagerObjectType lab_not_used_TmResourceManagerObjectType
#define TmTransactionManagerObjectType lab_not_used_TmTransactionManagerObjectType
#define TmTransactionObjectType lab_not_used_TmTransactionObjectType

#include_next <wdm.h>

#undef _EPROCESS
#undef InterlockedBitTestAndSet
#undef InterlockedBitTestAndReset
#undef CmKeyObjectType
#undef ExEventObjectType
#undef ExSemaphoreObjectType
#undef IoFileObjectType
#undef PsThreadType
#undef PsProcessType
#undef SeTokenObjectType
#undef TmEnlistmentObjectType
#undef TmResourceManagerObjectType
#undef TmTransactionManagerObjectType
#undef TmTransactionObjectType

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ small words ---- */

#ifndef EXTERN_C_START
#ifdef __cplusplus
#define EXTERN_C_START extern "C" {
#define EXTERN_C_END }
#else
#define EXTERN_C_START
#define EXTERN_C_END
#endif
#endif

#ifndef DECLSPEC_RESTRICT
#define DECLSPEC_RESTRICT
#endif
#ifndef CFORCEINLINE
#define CFORCEINLINE FORCEINLINE
#endif
#ifndef NT_VERIFY
#define NT_VERIFY NT_ASSERT
#define NT_VERIFYMSG NT_ASSERTMSG
#define NT_VERIFYMSGW NT_ASSERTMSGW
#endif
#ifndef UFIELD_OFFSET
#define UFIELD_OFFSET(type, field) ((ULONG)(LONG_PTR) & (((type *)0)->field))
#endif
#ifndef MAXDWORD
#define MAXDWORD 0xffffffff
#endif
#if !defined(__cplusplus) && !defined(static_assert)
#define static_assert _Static_assert
#endif

/* Sections are placed by #pragma alloc_text, which the compiler knows; sources ask this before they use it. */
#ifndef ALLOC_PRAGMA
#define ALLOC_PRAGMA 1
#endif
#ifndef ALLOC_DATA_PRAGMA
#define ALLOC_DATA_PRAGMA 1
#endif

/* As an expression: mingw-w64 assigns the parameter to itself, which a const one refuses. */
#undef UNREFERENCED_PARAMETER
#undef UNREFERENCED_LOCAL_VARIABLE
#undef DBG_UNREFERENCED_PARAMETER
#undef DBG_UNREFERENCED_LOCAL_VARIABLE
#define UNREFERENCED_PARAMETER(P) ((void)(P))
#define UNREFERENCED_LOCAL_VARIABLE(L) ((void)(L))
#define DBG_UNREFERENCED_PARAMETER(P) ((void)(P))
#define DBG_UNREFERENCED_LOCAL_VARIABLE(L) ((void)(L))

/* The buffer of a counted string is not const, but a literal and a constant array are. */
#undef RTL_CONSTANT_STRING
#ifdef __cplusplus
extern "C++" constexpr PCHAR lab_string_buffer(PCSTR text) {
    return const_cast<PCHAR>(text);
}
extern "C++" constexpr PWCHAR lab_string_buffer(PCWSTR text) {
    return const_cast<PWCHAR>(text);
}
#define RTL_CONSTANT_STRING(s) {sizeof(s) - sizeof((s)[0]), sizeof(s), lab_string_buffer(s)}
#else
#define RTL_CONSTANT_STRING(s) {sizeof(s) - sizeof((s)[0]), sizeof(s), (__typeof_unqual__((s)[0]) *)(s)}
#endif

/* ----------------------------------------------------------------------------------------- the CPU, by intrinsics - */

/* As mingw-w64 makes its own: inlined even without optimisation, and a declaration elsewhere does no harm. */
#define LAB_INTRINSIC extern __inline__ __attribute__((always_inline, gnu_inline))

/* One that takes nothing or a pointer, and is one instruction. */
#define LAB_INSTRUCTION(name, text)                                                                                    \
    LAB_INTRINSIC void name(void) {                                                                                    \
        __asm__ __volatile__(text::: "memory");                                                                        \
    }
#define LAB_INSTRUCTION_AT(name, text)                                                                                 \
    LAB_INTRINSIC void name(void *address) {                                                                           \
        __asm__ __volatile__(text " (%0)" ::"r"(address) : "memory");                                                  \
    }

LAB_INSTRUCTION(__nop, "nop")
LAB_INSTRUCTION(__halt, "hlt")
LAB_INSTRUCTION(__wbinvd, "wbinvd")
LAB_INSTRUCTION(_disable, "cli")
LAB_INSTRUCTION(_enable, "sti")
LAB_INSTRUCTION(_clac, "clac")
LAB_INSTRUCTION(_stac, "stac")
LAB_INSTRUCTION_AT(__invlpg, "invlpg")
LAB_INSTRUCTION_AT(__sidt, "sidt")
LAB_INSTRUCTION_AT(__lidt, "lidt")
LAB_INSTRUCTION_AT(_sgdt, "sgdt")
LAB_INSTRUCTION_AT(_lgdt, "lgdt")

#define LAB_DEBUG_REGISTER(n)                                                                                          \
    case n:                                                                                                            \
        __asm__ __volatile__("mov %%dr" #n ", %0" : "=r"(value));                                                      \
        break
LAB_INTRINSIC unsigned __int64 __readdr(unsigned int DebugRegister) {
    unsigned __int64 value = 0;
    switch (DebugRegister) {
        LAB_DEBUG_REGISTER(0);
        LAB_DEBUG_REGISTER(1);
        LAB_DEBUG_REGISTER(2);
        LAB_DEBUG_REGISTER(3);
        LAB_DEBUG_REGISTER(6);
        LAB_DEBUG_REGISTER(7);
    }
    return value;
}
#undef LAB_DEBUG_REGISTER

#define LAB_DEBUG_REGISTER(n)                                                                                          \
    case n:                                                                                                            \
        __asm__ __volatile__("mov %0, %%dr" #n::"r"(value));                                                           \
        break
LAB_INTRINSIC void __writedr(unsigned int DebugRegister, unsigned __int64 value) {
    switch (DebugRegister) {
        LAB_DEBUG_REGISTER(0);
        LAB_DEBUG_REGISTER(1);
        LAB_DEBUG_REGISTER(2);
        LAB_DEBUG_REGISTER(3);
        LAB_DEBUG_REGISTER(6);
        LAB_DEBUG_REGISTER(7);
    }
}
#undef LAB_DEBUG_REGISTER

#ifndef KeMemoryBarrier
#define KeMemoryBarrier _mm_mfence
#endif
#ifndef KeMemoryBarrierWithoutFence
#define KeMemoryBarrierWithoutFence _ReadWriteBarrier
#endif
#ifndef READ_REGISTER_ULONG64
#define READ_REGISTER_ULONG64(Register) (*(volatile ULONG64 *)(Register))
#define WRITE_REGISTER_ULONG64(Register, Value) ((void)(*(volatile ULONG64 *)(Register) = (Value)))
#endif

/* The x64 kernel's floating point state needs no saving; Microsoft's header says so in the same way. */
#undef KeSaveFloatingPointState
#undef KeRestoreFloatingPointState
#define KeSaveFloatingPointState(FloatSave) ((void)(FloatSave), STATUS_SUCCESS)
#define KeRestoreFloatingPointState(FloatSave) ((void)(FloatSave), STATUS_SUCCESS)

#ifndef InterlockedIncrement16
#define InterlockedIncrement16 _InterlockedIncrement16
#define InterlockedDecrement16 _InterlockedDecrement16
#define InterlockedCompareExchange16 _InterlockedCompareExchange16
#define InterlockedExchange16 _InterlockedExchange16
#define InterlockedOr16 _InterlockedOr16
#define InterlockedAnd16 _InterlockedAnd16
#define InterlockedXor16 _InterlockedXor16
#endif
#ifndef InterlockedOr8
#define InterlockedOr8 _InterlockedOr8
#define InterlockedAnd8 _InterlockedAnd8
#define InterlockedXor8 _InterlockedXor8
#define InterlockedExchange8 _InterlockedExchange8
#endif
#ifndef InterlockedIncrementAcquire
#define InterlockedIncrementAcquire InterlockedIncrement
#define InterlockedIncrementRelease InterlockedIncrement
#define InterlockedDecrementAcquire InterlockedDecrement
#define InterlockedDecrementRelease InterlockedDecrement
#endif

/* ------------------------------------------------------------------------------------------------------- pool ---- */

#ifndef POOL_NX_ALLOCATION
#define POOL_NX_ALLOCATION 512
#endif
#ifndef POOL_ZERO_ALLOCATION
#define POOL_ZERO_ALLOCATION 1024
#endif

#ifndef POOL_FLAG_NON_PAGED
typedef ULONG64 POOL_FLAGS;
#define POOL_FLAG_REQUIRED_START 0x0000000000000001ULL
#define POOL_FLAG_USE_QUOTA 0x0000000000000001ULL
#define POOL_FLAG_UNINITIALIZED 0x0000000000000002ULL
#define POOL_FLAG_SESSION 0x0000000000000004ULL
#define POOL_FLAG_CACHE_ALIGNED 0x0000000000000008ULL
#define POOL_FLAG_RESERVED1 0x0000000000000010ULL
#define POOL_FLAG_RAISE_ON_FAILURE 0x0000000000000020ULL
#define POOL_FLAG_NON_PAGED 0x0000000000000040ULL
#define POOL_FLAG_NON_PAGED_EXECUTE 0x0000000000000080ULL
#define POOL_FLAG_PAGED 0x0000000000000100ULL
#define POOL_FLAG_RESERVED2 0x0000000000000200ULL
#define POOL_FLAG_RESERVED3 0x0000000000000400ULL
#define POOL_FLAG_REQUIRED_END 0x0000000080000000ULL
#define POOL_FLAG_OPTIONAL_START 0x0000000100000000ULL
#define POOL_FLAG_SPECIAL_POOL 0x0000000100000000ULL
#define POOL_FLAG_OPTIONAL_END 0x8000000000000000ULL

typedef enum POOL_EXTENDED_PARAMETER_TYPE {
    PoolExtendedParameterInvalidType = 0,
    PoolExtendedParameterPriority,
    PoolExtendedParameterSecurePool,
    PoolExtendedParameterNumaNode,
    PoolExtendedParameterMax
} POOL_EXTENDED_PARAMETER_TYPE,
    *PPOOL_EXTENDED_PARAMETER_TYPE;

typedef ULONG POOL_NODE_REQUIREMENT;
#define POOL_NODE_REQUIREMENT_PREFERRED 0

typedef struct _POOL_EXTENDED_PARAMS_SECURE_POOL {
    HANDLE SecurePoolHandle;
    PVOID Buffer;
    ULONG_PTR Cookie;
    ULONG SecurePoolFlags;
} POOL_EXTENDED_PARAMS_SECURE_POOL;

typedef struct _POOL_EXTENDED_PARAMETER {
    __extension__ struct {
        ULONG64 Type : 8; /* POOL_EXTENDED_PARAMETER_TYPE */
        ULONG64 Optional : 1;
        ULONG64 Reserved : 55;
    };
    __extension__ union {
        ULONG64 Reserved2;
        PVOID Reserved3;
        EX_POOL_PRIORITY Priority;
        POOL_EXTENDED_PARAMS_SECURE_POOL *SecurePoolParams;
        POOL_NODE_REQUIREMENT PreferredNode;
    };
} POOL_EXTENDED_PARAMETER, *PPOOL_EXTENDED_PARAMETER;
typedef const POOL_EXTENDED_PARAMETER *PCPOOL_EXTENDED_PARAMETER;
#endif /* POOL_FLAG_NON_PAGED */

NTKERNELAPI PVOID NTAPI ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag);
NTKERNELAPI PVOID NTAPI ExAllocatePool3(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag,
                                        PCPOOL_EXTENDED_PARAMETER ExtendedParameters, ULONG ExtendedParametersCount);
NTKERNELAPI VOID NTAPI ExFreePool2(PVOID P, ULONG Tag, PCPOOL_EXTENDED_PARAMETER ExtendedParameters,
                                   ULONG ExtendedParametersCount);

/* Inline in Microsoft's header too. They zero by hand: POOL_ZERO_ALLOCATION means nothing to older kernels. */
#ifndef ExAllocatePoolZero
#define ExAllocatePoolZero ExAllocatePoolZero
#define LAB_ZEROED(type, call)                                                                                         \
    PVOID block = (call);                                                                                              \
    if (block)                                                                                                         \
        RtlZeroMemory(block, NumberOfBytes);                                                                           \
    return block

LAB_INTRINSIC PVOID ExAllocatePoolZero(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag) {
    LAB_ZEROED(PoolType, ExAllocatePoolWithTag(PoolType, NumberOfBytes, Tag));
}

LAB_INTRINSIC PVOID ExAllocatePoolQuotaZero(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag) {
    LAB_ZEROED(PoolType, ExAllocatePoolWithQuotaTag(PoolType, NumberOfBytes, Tag));
}

LAB_INTRINSIC PVOID ExAllocatePoolPriorityZero(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag,
                                               EX_POOL_PRIORITY Priority) {
    LAB_ZEROED(PoolType, ExAllocatePoolWithTagPriority(PoolType, NumberOfBytes, Tag, Priority));
}
#undef LAB_ZEROED

#define ExAllocatePoolUninitialized ExAllocatePoolWithTag
#define ExAllocatePoolQuotaUninitialized ExAllocatePoolWithQuotaTag
#define ExAllocatePoolPriorityUninitialized ExAllocatePoolWithTagPriority
#endif /* ExAllocatePoolZero */

/* POOL_NX_OPTIN: the driver's NonPagedPool becomes no-execute once it has called ExInitializeDriverRuntime. */
#define DrvRtPoolNxOptIn 0x00000001
#if POOL_NX_OPTIN_AUTO
#define NonPagedPool NonPagedPoolNx
#define NonPagedPoolCacheAligned NonPagedPoolNxCacheAligned
#elif POOL_NX_OPTIN
__declspec(selectany) POOL_TYPE ExDefaultNonPagedPoolType = NonPagedPool;
#define NonPagedPool ExDefaultNonPagedPoolType
#define NonPagedPoolCacheAligned ((POOL_TYPE)(ExDefaultNonPagedPoolType | 4))
#endif
LAB_INTRINSIC VOID ExInitializeDriverRuntime(ULONG RuntimeFlags) {
#if POOL_NX_OPTIN && !POOL_NX_OPTIN_AUTO
    if (RuntimeFlags & DrvRtPoolNxOptIn)
        ExDefaultNonPagedPoolType = NonPagedPoolNx;
#else
    (void)RuntimeFlags;
#endif
}

/* ------------------------------------------------------------------------------------------------ MDL, mappings --- */

#ifndef MdlMappingNoWrite
#define MdlMappingNoWrite 0x80000000
#endif
#ifndef MdlMappingNoExecute
#define MdlMappingNoExecute 0x40000000
#endif
#ifndef MdlMappingWithGuardPtes
#define MdlMappingWithGuardPtes 0x20000000
#endif
#ifndef MM_ALLOCATE_FAST_LARGE_PAGES
#define MM_ALLOCATE_FAST_LARGE_PAGES 0x00000040
#endif
#ifndef MM_ALLOCATE_AND_HOT_REMOVE
#define MM_ALLOCATE_AND_HOT_REMOVE 0x00000100
#endif

#ifndef MM_COPY_MEMORY_PHYSICAL
#define MM_COPY_MEMORY_PHYSICAL 0x1
#define MM_COPY_MEMORY_VIRTUAL 0x2
typedef struct _MM_COPY_ADDRESS {
    __extension__ union {
        PVOID VirtualAddress;
        PHYSICAL_ADDRESS PhysicalAddress;
    };
} MM_COPY_ADDRESS, *PMMCOPY_ADDRESS;
#endif
NTKERNELAPI NTSTATUS NTAPI MmCopyMemory(PVOID TargetAddress, MM_COPY_ADDRESS SourceAddress, SIZE_T NumberOfBytes,
                                        ULONG Flags, PSIZE_T NumberOfBytesTransferred);
NTKERNELAPI PVOID NTAPI MmMapIoSpaceEx(PHYSICAL_ADDRESS PhysicalAddress, SIZE_T NumberOfBytes, ULONG Protect);
NTKERNELAPI PVOID NTAPI MmAllocateMappingAddressEx(SIZE_T NumberOfBytes, ULONG PoolTag, ULONG Flags);
NTKERNELAPI PVOID NTAPI MmAllocateContiguousNodeMemory(SIZE_T NumberOfBytes, PHYSICAL_ADDRESS LowestAcceptableAddress,
                                                       PHYSICAL_ADDRESS HighestAcceptableAddress,
                                                       PHYSICAL_ADDRESS BoundaryAddressMultiple, ULONG Protect,
                                                       ULONG PreferredNode);
NTKERNELAPI PMDL NTAPI MmAllocateNodePagesForMdlEx(PHYSICAL_ADDRESS LowAddress, PHYSICAL_ADDRESS HighAddress,
                                                   PHYSICAL_ADDRESS SkipBytes, SIZE_T TotalBytes,
                                                   MEMORY_CACHING_TYPE CacheType, ULONG IdealNode, ULONG Flags);
NTKERNELAPI VOID NTAPI MmFreePagesFromMdlEx(PMDL MemoryDescriptorList, ULONG Flags);
typedef NTSTATUS(NTAPI *PMM_MDL_ROUTINE)(PVOID DriverContext, PVOID MappedVa);
NTKERNELAPI NTSTATUS NTAPI MmMapMdl(PMDL MemoryDescriptorList, ULONG Protection, PMM_MDL_ROUTINE DriverRoutine,
                                    PVOID DriverContext);

/* ---------------------------------------------------------------------------------------------- locks and time ---- */

typedef volatile LONG EX_SPIN_LOCK, *PEX_SPIN_LOCK;
NTKERNELAPI KIRQL NTAPI ExAcquireSpinLockExclusive(PEX_SPIN_LOCK SpinLock);
NTKERNELAPI KIRQL NTAPI ExAcquireSpinLockShared(PEX_SPIN_LOCK SpinLock);
NTKERNELAPI VOID NTAPI ExAcquireSpinLockExclusiveAtDpcLevel(PEX_SPIN_LOCK SpinLock);
NTKERNELAPI VOID NTAPI ExAcquireSpinLockSharedAtDpcLevel(PEX_SPIN_LOCK SpinLock);
NTKERNELAPI VOID NTAPI ExReleaseSpinLockExclusive(PEX_SPIN_LOCK SpinLock, KIRQL OldIrql);
NTKERNELAPI VOID NTAPI ExReleaseSpinLockShared(PEX_SPIN_LOCK SpinLock, KIRQL OldIrql);
NTKERNELAPI VOID NTAPI ExReleaseSpinLockExclusiveFromDpcLevel(PEX_SPIN_LOCK SpinLock);
NTKERNELAPI VOID NTAPI ExReleaseSpinLockSharedFromDpcLevel(PEX_SPIN_LOCK SpinLock);
NTKERNELAPI LOGICAL NTAPI ExTryConvertSharedSpinLockExclusive(PEX_SPIN_LOCK SpinLock);

/* The same words as in mingw-w64's ntifs.h. */
#define EX_PUSH_LOCK ULONG_PTR
#define PEX_PUSH_LOCK PULONG_PTR
VOID ExInitializePushLock(PEX_PUSH_LOCK PushLock);
NTKERNELAPI VOID FASTCALL ExAcquirePushLockExclusiveEx(PEX_PUSH_LOCK PushLock, ULONG Flags);
NTKERNELAPI VOID FASTCALL ExAcquirePushLockSharedEx(PEX_PUSH_LOCK PushLock, ULONG Flags);
NTKERNELAPI VOID FASTCALL ExReleasePushLockExclusiveEx(PEX_PUSH_LOCK PushLock, ULONG Flags);
NTKERNELAPI VOID FASTCALL ExReleasePushLockSharedEx(PEX_PUSH_LOCK PushLock, ULONG Flags);
#ifndef ExAcquirePushLockExclusive
#define ExAcquirePushLockExclusive(Lock) ExAcquirePushLockExclusiveEx(Lock, 0)
#define ExAcquirePushLockShared(Lock) ExAcquirePushLockSharedEx(Lock, 0)
#define ExReleasePushLockExclusive(Lock) ExReleasePushLockExclusiveEx(Lock, 0)
#define ExReleasePushLockShared(Lock) ExReleasePushLockSharedEx(Lock, 0)
#endif

NTKERNELAPI VOID NTAPI KeQuerySystemTimePrecise(PLARGE_INTEGER CurrentTime);
NTKERNELAPI ULONG64 NTAPI KeQueryInterruptTimePrecise(PULONG64 QpcTimeStamp);
NTKERNELAPI ULONG64 NTAPI KeQueryUnbiasedInterruptTimePrecise(PULONG64 QpcTimeStamp);
NTSYSAPI ULONG NTAPI RtlRandomEx(PULONG Seed);
NTKERNELAPI VOID NTAPI KeGenericCallDpc(PKDEFERRED_ROUTINE Routine, PVOID Context);
NTKERNELAPI VOID NTAPI KeSignalCallDpcDone(PVOID SystemArgument1);
NTKERNELAPI LOGICAL NTAPI KeSignalCallDpcSynchronize(PVOID SystemArgument2);

/* A function in Microsoft's header, to which a device may be passed as PVOID. */
#undef IoRequestDpc
LAB_INTRINSIC VOID IoRequestDpc(PDEVICE_OBJECT DeviceObject, PIRP Irp, PVOID Context) {
    KeInsertQueueDpc(&DeviceObject->Dpc, Irp, Context);
}

/* Microsoft's header has the functions of a cancel-safe queue as types of functions, mingw-w64 only as pointers. */
typedef VOID NTAPI IO_CSQ_INSERT_IRP(struct _IO_CSQ *Csq, PIRP Irp);
typedef VOID NTAPI IO_CSQ_REMOVE_IRP(struct _IO_CSQ *Csq, PIRP Irp);
typedef PIRP NTAPI IO_CSQ_PEEK_NEXT_IRP(struct _IO_CSQ *Csq, PIRP Irp, PVOID PeekContext);
typedef VOID NTAPI IO_CSQ_ACQUIRE_LOCK(struct _IO_CSQ *Csq, PKIRQL Irql);
typedef VOID NTAPI IO_CSQ_RELEASE_LOCK(struct _IO_CSQ *Csq, KIRQL Irql);
typedef VOID NTAPI IO_CSQ_COMPLETE_CANCELED_IRP(struct _IO_CSQ *Csq, PIRP Irp);

/* ---------------------------------------------------------------------------------------- exported variables ------ */

/*
 * Seen by drivers as the address of the kernel's variable, without an import attribute: the linker takes the import
 * slot, which holds that address, for the variable itself.
 */
extern POBJECT_TYPE *CmKeyObjectType;
extern POBJECT_TYPE *ExEventObjectType;
extern POBJECT_TYPE *ExSemaphoreObjectType;
extern POBJECT_TYPE *IoFileObjectType;
extern POBJECT_TYPE *PsThreadType;
extern POBJECT_TYPE *PsProcessType;
extern POBJECT_TYPE *SeTokenObjectType;
extern POBJECT_TYPE *TmEnlistmentObjectType;
extern POBJECT_TYPE *TmResourceManagerObjectType;
extern POBJECT_TYPE *TmTransactionManagerObjectType;
extern POBJECT_TYPE *TmTransactionObjectType;

#ifdef __cplusplus
}
#endif
