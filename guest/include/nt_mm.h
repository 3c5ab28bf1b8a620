/*
 * nt_mm.h - the memory manager beyond pool blocks and MDLs: parameters of the newer pool calls, lookaside lists, page
 * protections, locked pages. Part of nt.h.
 */
#pragma once

/* -------------------------------------------------------------------------------------------------------- pool ---- */

/* Variants of a level say at which end of its page a block of special pool stands. */
typedef enum _EX_POOL_PRIORITY {
    LowPoolPriority = 0,
    LowPoolPrioritySpecialPoolOverrun = 8,
    LowPoolPrioritySpecialPoolUnderrun = 9,
    NormalPoolPriority = 16,
    NormalPoolPrioritySpecialPoolOverrun = 24,
    NormalPoolPrioritySpecialPoolUnderrun = 25,
    HighPoolPriority = 32,
    HighPoolPrioritySpecialPoolOverrun = 40,
    HighPoolPrioritySpecialPoolUnderrun = 41,
} EX_POOL_PRIORITY;

typedef enum POOL_EXTENDED_PARAMETER_TYPE {
    PoolExtendedParameterInvalidType = 0,
    PoolExtendedParameterPriority,
    PoolExtendedParameterSecurePool,
    PoolExtendedParameterNumaNode,
    PoolExtendedParameterMax,
} POOL_EXTENDED_PARAMETER_TYPE;

/* The parts of POOL_EXTENDED_PARAMETER.Type, which are bit-fields in Windows. */
#define POOL_EXTENDED_PARAMETER_TYPE_MASK 0x00000000000000ffull /* POOL_EXTENDED_PARAMETER_TYPE */
#define POOL_EXTENDED_PARAMETER_OPTIONAL 0x0000000000000100ull
#define POOL_EXTENDED_PARAMETER_RESERVED 0xfffffffffffffe00ull

typedef struct _POOL_EXTENDED_PARAMETER {
    ULONG64 Type;
    union {
        ULONG64 Reserved2;
        PVOID SecurePoolParams;
        EX_POOL_PRIORITY Priority;
        ULONG PreferredNode;
    };
} POOL_EXTENDED_PARAMETER, *PPOOL_EXTENDED_PARAMETER;
typedef const POOL_EXTENDED_PARAMETER *PCPOOL_EXTENDED_PARAMETER;
_Static_assert(sizeof(POOL_EXTENDED_PARAMETER) == 16 && offsetof(POOL_EXTENDED_PARAMETER, Priority) == 8,
               "as in Windows");

/* -------------------------------------------------------------------------------------------- lookaside lists ---- */

typedef struct _LOOKASIDE_LIST_EX LOOKASIDE_LIST_EX, *PLOOKASIDE_LIST_EX;

typedef PVOID(NTAPI *PALLOCATE_FUNCTION)(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag);
typedef PVOID(NTAPI *PALLOCATE_FUNCTION_EX)(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag,
                                            PLOOKASIDE_LIST_EX Lookaside);
typedef VOID(NTAPI *PFREE_FUNCTION)(PVOID Buffer);
typedef VOID(NTAPI *PFREE_FUNCTION_EX)(PVOID Buffer, PLOOKASIDE_LIST_EX Lookaside);

/* Microsoft's headers put code into drivers that handles this directly. */
typedef struct _GENERAL_LOOKASIDE_POOL {
    SLIST_HEADER ListHead;
    USHORT Depth; /* how many entries the list keeps at most */
    USHORT MaximumDepth;
    ULONG TotalAllocates;
    ULONG AllocateMisses;
    ULONG TotalFrees;
    ULONG FreeMisses;
    POOL_TYPE Type;
    ULONG Tag;
    ULONG Size;
    union {
        PALLOCATE_FUNCTION_EX AllocateEx;
        PALLOCATE_FUNCTION Allocate;
    };
    union {
        PFREE_FUNCTION_EX FreeEx;
        PFREE_FUNCTION Free;
    };
    LIST_ENTRY ListEntry;
    ULONG LastTotalAllocates;
    ULONG LastAllocateMisses;
    ULONG Future[2];
} GENERAL_LOOKASIDE_POOL, *PGENERAL_LOOKASIDE_POOL;
_Static_assert(sizeof(GENERAL_LOOKASIDE_POOL) == 0x60 && offsetof(GENERAL_LOOKASIDE_POOL, Depth) == 0x10 &&
                   offsetof(GENERAL_LOOKASIDE_POOL, TotalAllocates) == 0x14 &&
                   offsetof(GENERAL_LOOKASIDE_POOL, FreeMisses) == 0x20 &&
                   offsetof(GENERAL_LOOKASIDE_POOL, Size) == 0x2c &&
                   offsetof(GENERAL_LOOKASIDE_POOL, Allocate) == 0x30 &&
                   offsetof(GENERAL_LOOKASIDE_POOL, Free) == 0x38 &&
                   offsetof(GENERAL_LOOKASIDE_POOL, ListEntry) == 0x40 &&
                   offsetof(GENERAL_LOOKASIDE_POOL, Future) == 0x58,
               "GENERAL_LOOKASIDE_POOL is laid out as Windows lays it out");

/* The same, each in a cache line of its own. */
typedef struct _GENERAL_LOOKASIDE {
    GENERAL_LOOKASIDE_POOL L;
} __attribute__((aligned(64))) GENERAL_LOOKASIDE, *PGENERAL_LOOKASIDE;
_Static_assert(sizeof(GENERAL_LOOKASIDE) == 0x80, "GENERAL_LOOKASIDE is as long as in Windows");

typedef struct _NPAGED_LOOKASIDE_LIST {
    GENERAL_LOOKASIDE L;
} NPAGED_LOOKASIDE_LIST, *PNPAGED_LOOKASIDE_LIST;
typedef struct _PAGED_LOOKASIDE_LIST {
    GENERAL_LOOKASIDE L;
} PAGED_LOOKASIDE_LIST, *PPAGED_LOOKASIDE_LIST;
struct _LOOKASIDE_LIST_EX {
    GENERAL_LOOKASIDE_POOL L;
};

#define EX_LOOKASIDE_LIST_EX_FLAGS_RAISE_ON_FAIL 0x00000001
#define EX_LOOKASIDE_LIST_EX_FLAGS_FAIL_NO_RAISE 0x00000002

/* ------------------------------------------------------------------------------------------------------- pages ---- */

#define PAGE_NOACCESS 0x01
#define PAGE_READONLY 0x02
#define PAGE_READWRITE 0x04
#define PAGE_EXECUTE 0x10 /* can be read too: x86 has nothing less */
#define PAGE_EXECUTE_READ 0x20
#define PAGE_EXECUTE_READWRITE 0x40
#define PAGE_NOCACHE 0x200
#define PAGE_WRITECOMBINE 0x400

/* In place of a node's number; a flag of MmAllocateContiguousMemoryEx. */
#define MM_ANY_NODE_OK 0x80000000u
#define MM_ALLOCATE_CONTIGUOUS_MEMORY_FAST_ONLY 0x00000001u

typedef union _MM_COPY_ADDRESS {
    PVOID VirtualAddress;
    PHYSICAL_ADDRESS PhysicalAddress;
} MM_COPY_ADDRESS, *PMMCOPY_ADDRESS;
#define MM_COPY_MEMORY_PHYSICAL 0x1
#define MM_COPY_MEMORY_VIRTUAL 0x2

typedef struct _PHYSICAL_MEMORY_RANGE {
    PHYSICAL_ADDRESS BaseAddress;
    LARGE_INTEGER NumberOfBytes;
} PHYSICAL_MEMORY_RANGE, *PPHYSICAL_MEMORY_RANGE;

VOID NTAPI MmProbeAndLockPages(PMDL MemoryDescriptorList, KPROCESSOR_MODE AccessMode, LOCK_OPERATION Operation);
VOID NTAPI MmUnlockPages(PMDL MemoryDescriptorList);
