#include "nt/processor.h"

#include "cpu/instructions.h"
#include "nt/thread.h"

enum { MSR_GS_BASE = 0xc0000101, MSR_KERNEL_GS_BASE = 0xc0000102 };

/* A page of its own, so that a driver that writes beyond the end of what it knows hits nothing else of ours. */
static union {
    KPCR kpcr;
    u8 page[PAGE_SIZE];
} processor __attribute__((aligned(PAGE_SIZE)));

void processor_init(PKTHREAD first) {
    processor.kpcr = (KPCR){
        .Self = &processor.kpcr,
        .CurrentPrcb = &processor.kpcr.Prcb,
        .Used_Self = &processor.kpcr,
        .MajorVersion = 1,
        .MinorVersion = 1,
        .Prcb = {.CurrentThread = first, .IdleThread = first},
    };
    wrmsr(MSR_GS_BASE, (u64)&processor);
    wrmsr(MSR_KERNEL_GS_BASE, (u64)&processor);
}

void processor_set_thread(PKTHREAD thread) {
    processor.kpcr.Prcb.CurrentThread = thread;
}

static ULONG NTAPI KeGetCurrentProcessorNumber(VOID) {
    return 0;
}
NT_EXPORT(KeGetCurrentProcessorNumber);

typedef struct _PROCESSOR_NUMBER {
    USHORT Group;
    UCHAR Number;
    UCHAR Reserved;
} PROCESSOR_NUMBER, *PPROCESSOR_NUMBER;

static ULONG NTAPI KeGetCurrentProcessorNumberEx(PPROCESSOR_NUMBER ProcNumber) {
    if (ProcNumber)
        *ProcNumber = (PROCESSOR_NUMBER){.Number = 0};
    return 0;
}
NT_EXPORT(KeGetCurrentProcessorNumberEx);

static KAFFINITY NTAPI KeQueryActiveProcessors(VOID) {
    return 1;
}
NT_EXPORT(KeQueryActiveProcessors);

static ULONG NTAPI KeQueryActiveProcessorCount(KAFFINITY *ActiveProcessors) {
    if (ActiveProcessors)
        *ActiveProcessors = 1;
    return 1;
}
NT_EXPORT(KeQueryActiveProcessorCount);

static ULONG NTAPI KeQueryActiveProcessorCountEx(USHORT GroupNumber) {
    enum { ALL_GROUPS = 0xffff };
    return GroupNumber == 0 || GroupNumber == ALL_GROUPS;
}
NT_EXPORT(KeQueryActiveProcessorCountEx);
NT_EXPORT_AS("KeQueryMaximumProcessorCountEx", KeQueryActiveProcessorCountEx);

static ULONG NTAPI KeQueryMaximumProcessorCount(VOID) {
    return 1;
}
NT_EXPORT(KeQueryMaximumProcessorCount);
NT_EXPORT_AS("KeQueryMaximumGroupCount", KeQueryMaximumProcessorCount);
NT_EXPORT_AS("KeQueryActiveGroupCount", KeQueryMaximumProcessorCount);

static VOID NTAPI KeSetSystemAffinityThread(KAFFINITY Affinity) {
    (void)Affinity;
}
NT_EXPORT(KeSetSystemAffinityThread);

static KAFFINITY NTAPI KeSetSystemAffinityThreadEx(KAFFINITY Affinity) {
    (void)Affinity;
    return 1;
}
NT_EXPORT(KeSetSystemAffinityThreadEx);

static VOID NTAPI KeRevertToUserAffinityThread(VOID) {
}
NT_EXPORT(KeRevertToUserAffinityThread);
NT_EXPORT_AS("KeRevertToUserAffinityThreadEx", KeRevertToUserAffinityThread);

/* "Run this on every processor": there is one. */
typedef ULONG_PTR(NTAPI *PKIPI_BROADCAST_WORKER)(ULONG_PTR Argument);
static ULONG_PTR NTAPI KeIpiGenericCall(PKIPI_BROADCAST_WORKER BroadcastFunction, ULONG_PTR Context) {
    u64 old = read_cr8();
    write_cr8(IPI_LEVEL);
    ULONG_PTR result = BroadcastFunction(Context);
    write_cr8(old);
    return result;
}
NT_EXPORT(KeIpiGenericCall);

static ULONG NTAPI KeGetRecommendedSharedDataAlignment(VOID) {
    enum { CACHE_LINE = 64 };
    return CACHE_LINE;
}
NT_EXPORT(KeGetRecommendedSharedDataAlignment);

static BOOLEAN NTAPI KeInvalidateAllCaches(VOID) {
    wbinvd();
    return TRUE;
}
NT_EXPORT(KeInvalidateAllCaches);

/* By Windows' numbers; SSE, SSE2 and what else every 64-bit CPU has. */
static BOOLEAN NTAPI ExIsProcessorFeaturePresent(ULONG ProcessorFeature) {
    enum { MMX = 3, SSE = 6, RDTSC = 8, PAE = 9, SSE2 = 10, SSE3 = 13, NX = 12, COMPARE_EXCHANGE_128 = 14 };
    static const u8 present[] = {MMX, SSE, RDTSC, PAE, SSE2, SSE3, NX, COMPARE_EXCHANGE_128};
    for (u64 i = 0; i < ARRAY_SIZE(present); i++) {
        if (present[i] == ProcessorFeature)
            return TRUE;
    }
    return FALSE;
}
NT_EXPORT(ExIsProcessorFeaturePresent);
