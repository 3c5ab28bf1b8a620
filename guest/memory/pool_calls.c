/*
 * pool_calls.c - the Windows calls of the pool, and what they do not accept of their callers.
 */
#include "memory/frames.h"
#include "memory/inject.h"
#include "memory/journal.h"
#include "memory/ledger.h"
#include "memory/pool.h"
#include "memory/pool_blocks.h"
#include "memory/special_pool.h"
#include "memory/verifier.h"
#include "nt/rtl.h"

/* What the calls without a tag use. */
enum { NO_TAG = POOL_TAG('N', 'o', 'n', 'e') };

/* What a call asks for besides memory. */
enum pool_option {
    OPTION_RAISE = 1 << 0, /* an exception rather than NULL */
    OPTION_ZERO = 1 << 1,
    OPTION_SPECIAL = 1 << 2,  /* from special pool if possible, verifier or not */
    OPTION_UNDERRUN = 1 << 3, /* in special pool: at the start of the page */
};

struct pool_call {
    POOL_TYPE type; /* as the caller gave it */
    SIZE_T bytes;
    ULONG tag;
    ULONG options; /* enum pool_option */
    bool quota;
    u64 reserve; /* bytes of free memory that have to be left */
    const void *caller;
};

/* ------------------------------------------------------------------------------------------------------ checks ---- */

static bool is_letter_or_digit(u32 character) {
    return (character >= '0' && character <= '9') || ((character | 0x20) >= 'a' && (character | 0x20) <= 'z');
}

static void check_tag(const struct pool_call *call) {
    enum { BIG_TAG = POOL_TAG('B', 'I', 'G', ' ') };
    bool readable = false;
    if (!call->tag)
        KeBugCheckEx(BAD_POOL_CALLER, 0x9b, call->type, call->bytes, (ULONG_PTR)call->caller);
    if (call->tag == BIG_TAG)
        KeBugCheckEx(BAD_POOL_CALLER, 0x9c, call->type, call->bytes, (ULONG_PTR)call->caller);
    for (u32 shift = 0; shift < 32; shift += 8)
        readable |= is_letter_or_digit(call->tag >> shift & 0x7f);
    if (lab_options.verifier && !readable)
        KeBugCheckEx(BAD_POOL_CALLER, 0x9d, call->tag, call->type, (ULONG_PTR)call->caller);
}

/* Special pool has a code of its own for a wrong IRQL, unless the verifier asked for it and sees the mistake first. */
static void check_irql(const struct pool_call *call) {
    bool paged = call->type & POOL_TYPE_PAGED;
    KIRQL irql = KeGetCurrentIrql();
    if (irql <= (paged ? APC_LEVEL : DISPATCH_LEVEL))
        return;
    if (lab_options.verifier)
        verifier_stop(paged ? VERIFIER_ALLOCATE_PAGED_IRQL : VERIFIER_ALLOCATE_IRQL, call->caller, irql, call->type,
                      call->bytes);
    if (lab_options.special_pool || call->options & OPTION_SPECIAL)
        KeBugCheckEx(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, irql, call->type, call->bytes, 0x30);
    KeBugCheckEx(BAD_POOL_CALLER, 0x08, irql, call->type, call->bytes);
}

/* Stops for what Windows, or in verifier mode its Driver Verifier, does not accept. */
static void check_call(const struct pool_call *call) {
    bool executable = !(call->type & (POOL_TYPE_PAGED | POOL_TYPE_NX));
    check_tag(call);
    if (call->type & POOL_TYPE_MUST_SUCCEED)
        KeBugCheckEx(BAD_POOL_CALLER, 0x9a, call->type, call->bytes, call->tag);
    check_irql(call);
    if (lab_options.verifier && !call->bytes)
        verifier_stop(VERIFIER_ZERO_BYTES, call->caller, KeGetCurrentIrql(), call->type, 0);
    if (lab_options.code_integrity && executable)
        verifier_stop(VERIFIER_EXECUTABLE_POOL, call->caller, (u64)call->caller, call->type, call->tag);
}

/* ------------------------------------------------------------------------------------------------ the one road ---- */

/* Of the bits that may be or-ed into a type, the pool itself knows only one, and by another meaning. */
static POOL_TYPE type_of(const struct pool_call *call) {
    ULONG bits = POOL_TYPE_BASE | POOL_TYPE_NX;
    return (POOL_TYPE)((call->type & bits) | (call->quota ? POOL_TYPE_QUOTA : 0));
}

static bool leaves_reserve(const struct pool_call *call) {
    u64 free = frames_available() << PAGE_SHIFT;
    return !call->reserve || (free >= call->reserve && call->bytes <= free - call->reserve);
}

static void *take(const struct pool_call *call) {
    POOL_TYPE type = type_of(call);
    bool special = call->options & OPTION_SPECIAL || pool_is_watched(call->caller);
    void *data = NULL;
    if (!leaves_reserve(call))
        return NULL;
    if (special)
        data = special_pool_allocate(type, call->bytes, call->tag, call->options & OPTION_UNDERRUN, call->caller);
    return data ? data : pool_allocate(type, call->bytes, call->tag);
}

static PVOID allocate(const struct pool_call *call) {
    check_call(call);
    void *data = inject_failure(FAIL_POOL) ? NULL : take(call);
    if (!data && call->options & OPTION_RAISE)
        ExRaiseStatus(STATUS_INSUFFICIENT_RESOURCES);
    if (!data)
        return NULL;
    if (call->options & OPTION_ZERO)
        memset(data, 0, call->bytes);
    ledger_add(LEDGER_POOL, data, call->bytes, call->tag, call->caller);
    return data;
}

/* The options that stand in a type. */
static ULONG options_of(POOL_TYPE type) {
    return (type & POOL_RAISE_IF_ALLOCATION_FAILURE ? OPTION_RAISE : 0u) |
           (type & POOL_ZERO_ALLOCATION ? OPTION_ZERO : 0u);
}

void *pool_call_allocate(POOL_TYPE type, u64 bytes, u32 tag, const void *caller) {
    return allocate(&(struct pool_call){
        .type = type,
        .bytes = bytes,
        .tag = tag,
        .options = options_of(type),
        .caller = caller,
    });
}

PVOID NTAPI ExAllocatePool(POOL_TYPE PoolType, SIZE_T NumberOfBytes) {
    return pool_call_allocate(PoolType, NumberOfBytes, NO_TAG, CALLER());
}
NT_MEMORY_EXPORT(ExAllocatePool);

PVOID NTAPI ExAllocatePoolWithTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag) {
    return pool_call_allocate(PoolType, NumberOfBytes, Tag, CALLER());
}
NT_MEMORY_EXPORT(ExAllocatePoolWithTag);

/* ------------------------------------------------------------------------------------------------------- quota ---- */

/* A failure is an exception by default. */
static PVOID allocate_with_quota(POOL_TYPE type, SIZE_T bytes, ULONG tag, const void *caller) {
    return allocate(&(struct pool_call){
        .type = type,
        .bytes = bytes,
        .tag = tag,
        .options = options_of(type) | (type & POOL_QUOTA_FAIL_INSTEAD_OF_RAISE ? 0u : OPTION_RAISE),
        .quota = true,
        .caller = caller,
    });
}

static PVOID NTAPI ExAllocatePoolWithQuota(POOL_TYPE PoolType, SIZE_T NumberOfBytes) {
    return allocate_with_quota(PoolType, NumberOfBytes, NO_TAG, CALLER());
}
NT_MEMORY_EXPORT(ExAllocatePoolWithQuota);

static PVOID NTAPI ExAllocatePoolWithQuotaTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag) {
    return allocate_with_quota(PoolType, NumberOfBytes, Tag, CALLER());
}
NT_MEMORY_EXPORT(ExAllocatePoolWithQuotaTag);

/* ---------------------------------------------------------------------------------------------------- priority ---- */

/* What a request leaves to those of higher priority, as in Windows Server 2003. */
static u64 reserve_of(EX_POOL_PRIORITY priority) {
    enum { RESERVE_LOW = 2 << 20, RESERVE_NORMAL = 512 << 10 };
    return priority >= HighPoolPriority ? 0 : priority >= NormalPoolPriority ? RESERVE_NORMAL : RESERVE_LOW;
}

/* XxxSpecialPoolUnderrun says where in its page a block of special pool stands, not that it comes from there. */
static ULONG options_of_priority(EX_POOL_PRIORITY priority) {
    enum { UNDERRUN = LowPoolPrioritySpecialPoolUnderrun };
    return (priority & UNDERRUN) == UNDERRUN ? OPTION_UNDERRUN : 0;
}

static bool is_priority(u64 priority) {
    enum { VARIANTS = LowPoolPrioritySpecialPoolUnderrun };
    u64 level = priority & ~(u64)VARIANTS, variant = priority & VARIANTS;
    return level <= HighPoolPriority && level % NormalPoolPriority == 0 && variant != 1;
}

static PVOID NTAPI ExAllocatePoolWithTagPriority(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag,
                                                 EX_POOL_PRIORITY Priority) {
    return allocate(&(struct pool_call){
        .type = PoolType,
        .bytes = NumberOfBytes,
        .tag = Tag,
        .options = options_of(PoolType) | options_of_priority(Priority),
        .reserve = reserve_of(Priority),
        .caller = CALLER(),
    });
}
NT_MEMORY_EXPORT(ExAllocatePoolWithTagPriority);

/* ------------------------------------------------------------------------------------------------------- flags ---- */

/* Exactly one pool, and of the required flags only those we know; false otherwise. */
static bool type_of_flags(POOL_FLAGS flags, POOL_TYPE *ret) {
    const POOL_FLAGS pools = POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE | POOL_FLAG_PAGED;
    const POOL_FLAGS known =
        pools | POOL_FLAG_USE_QUOTA | POOL_FLAG_UNINITIALIZED | POOL_FLAG_CACHE_ALIGNED | POOL_FLAG_RAISE_ON_FAILURE;
    if (flags % POOL_FLAG_OPTIONAL_START & ~known)
        return false;
    switch (flags & pools) {
    case POOL_FLAG_NON_PAGED:
        *ret = NonPagedPoolNx;
        break;
    case POOL_FLAG_NON_PAGED_EXECUTE:
        *ret = NonPagedPoolExecute;
        break;
    case POOL_FLAG_PAGED:
        *ret = PagedPool;
        break;
    default:
        return false;
    }
    if (flags & POOL_FLAG_CACHE_ALIGNED)
        *ret |= POOL_TYPE_CACHE_ALIGNED;
    return true;
}

static ULONG options_of_flags(POOL_FLAGS flags) {
    return (flags & POOL_FLAG_RAISE_ON_FAILURE ? OPTION_RAISE : 0u) |
           (flags & POOL_FLAG_UNINITIALIZED ? 0u : OPTION_ZERO) |
           (flags & POOL_FLAG_SPECIAL_POOL ? OPTION_SPECIAL : 0u);
}

/*
 * Takes over one extended parameter. There is one NUMA node, so that any preference for one is met; there are no secure
 * pools. False: it is not valid, and not optional.
 */
static bool take_parameter(const POOL_EXTENDED_PARAMETER *parameter, struct pool_call *call) {
    bool reserved = parameter->Type & POOL_EXTENDED_PARAMETER_RESERVED;
    bool optional = parameter->Type & POOL_EXTENDED_PARAMETER_OPTIONAL;
    switch (parameter->Type & POOL_EXTENDED_PARAMETER_TYPE_MASK) {
    case PoolExtendedParameterPriority:
        if (!is_priority(parameter->Priority))
            return optional;
        call->reserve = reserve_of(parameter->Priority);
        call->options |= options_of_priority(parameter->Priority);
        return !reserved;
    case PoolExtendedParameterNumaNode:
        return !reserved;
    default:
        return optional && !reserved;
    }
}

static bool take_parameters(const POOL_EXTENDED_PARAMETER *parameters, ULONG count, struct pool_call *call) {
    if (count && !parameters)
        return false;
    for (ULONG i = 0; i < count; i++) {
        if (!take_parameter(&parameters[i], call))
            return false;
    }
    return true;
}

/* A request that makes no sense is refused before anything else about it is looked at. */
static PVOID allocate_by_flags(POOL_FLAGS flags, SIZE_T bytes, ULONG tag, const POOL_EXTENDED_PARAMETER *parameters,
                               ULONG count, const void *caller) {
    struct pool_call call = {
        .bytes = bytes,
        .tag = tag,
        .options = options_of_flags(flags),
        .quota = flags & POOL_FLAG_USE_QUOTA,
        .caller = caller,
    };
    if (tag && type_of_flags(flags, &call.type) && take_parameters(parameters, count, &call))
        return allocate(&call);
    if (call.options & OPTION_RAISE)
        ExRaiseStatus(STATUS_INVALID_PARAMETER);
    return NULL;
}

PVOID NTAPI ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag) {
    return allocate_by_flags(Flags, NumberOfBytes, Tag, NULL, 0, CALLER());
}
NT_MEMORY_EXPORT(ExAllocatePool2);

static PVOID NTAPI ExAllocatePool3(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag,
                                   PCPOOL_EXTENDED_PARAMETER ExtendedParameters, ULONG ExtendedParametersCount) {
    return allocate_by_flags(Flags, NumberOfBytes, Tag, ExtendedParameters, ExtendedParametersCount, CALLER());
}
NT_MEMORY_EXPORT(ExAllocatePool3);

/* ----------------------------------------------------------------------------------------------------- freeing ---- */

/* Tag 0: any. */
VOID NTAPI ExFreePoolWithTag(PVOID P, ULONG Tag) {
    pool_call_free(P, Tag, CALLER());
}
NT_MEMORY_EXPORT(ExFreePoolWithTag);

VOID NTAPI ExFreePool(PVOID P) {
    pool_call_free(P, 0, CALLER());
}
NT_MEMORY_EXPORT(ExFreePool);

/* Extended parameters are for secure pools only, and there are none: any stop the system, as documented. */
static VOID NTAPI ExFreePool2(PVOID P, ULONG Tag, PCPOOL_EXTENDED_PARAMETER ExtendedParameters,
                              ULONG ExtendedParametersCount) {
    (void)ExtendedParameters;
    if (ExtendedParametersCount)
        KeBugCheckEx(BAD_POOL_CALLER, 0x99, (ULONG_PTR)P, 0, 0);
    pool_call_free(P, Tag, CALLER());
}
NT_MEMORY_EXPORT(ExFreePool2);
