/*
 * rtl.c - memory and string calls of the run-time library.
 */
#include "nt/rtl.h"
#include "nt.h"

/* ----------------------------------------------------------------------------------------------- C's own names ---- */

/*
 * Eight bytes at a time, because QEMU's TCG runs `rep movsb` a byte at a time. The compiler recognises such loops and
 * would replace them by calls of the very functions they implement; MEMORY_FUNCTION forbids that, in each compiler's
 * way. Words may be unaligned and alias anything, hence the type.
 */
#ifdef __clang__
#define MEMORY_FUNCTION __attribute__((no_builtin))
#else
#define MEMORY_FUNCTION __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif
typedef u64 __attribute__((may_alias, aligned(1))) word_t;
enum { WORD = sizeof(word_t) };

MEMORY_FUNCTION static void copy_up(u8 *to, const u8 *from, size_t size) {
    for (; size >= WORD; size -= WORD, to += WORD, from += WORD)
        *(word_t *)to = *(const word_t *)from;
    while (size--)
        *to++ = *from++;
}

MEMORY_FUNCTION static void copy_down(u8 *to, const u8 *from, size_t size) {
    for (; size >= WORD; size -= WORD)
        *(word_t *)(to + size - WORD) = *(const word_t *)(from + size - WORD);
    while (size--)
        to[size] = from[size];
}

MEMORY_FUNCTION void *memcpy(void *destination, const void *source, size_t size) {
    copy_up(destination, source, size);
    return destination;
}

MEMORY_FUNCTION void *memmove(void *destination, const void *source, size_t size) {
    if ((u64)destination - (u64)source >= size) /* below the source, or beyond its end */
        copy_up(destination, source, size);
    else
        copy_down(destination, source, size);
    return destination;
}

MEMORY_FUNCTION void *memset(void *destination, int value, size_t size) {
    u8 *to = destination;
    u64 pattern = 0x0101010101010101ull * (u8)value;
    for (; size >= WORD; size -= WORD, to += WORD)
        *(word_t *)to = pattern;
    while (size--)
        *to++ = (u8)value;
    return destination;
}

/* How many bytes are equal from the start. */
MEMORY_FUNCTION static size_t equal_bytes(const u8 *left, const u8 *right, size_t size) {
    size_t i = 0;
    while (i + WORD <= size && *(const word_t *)(left + i) == *(const word_t *)(right + i))
        i += WORD;
    while (i < size && left[i] == right[i])
        i++;
    return i;
}

MEMORY_FUNCTION int memcmp(const void *left, const void *right, size_t size) {
    size_t i = equal_bytes(left, right, size);
    return i == size ? 0 : ((const u8 *)left)[i] - ((const u8 *)right)[i];
}

/* ------------------------------------------------------------------------------------------------------ memory ---- */

VOID NTAPI RtlCopyMemory(PVOID Destination, const VOID *Source, SIZE_T Length) {
    memcpy(Destination, Source, Length);
}
NT_EXPORT(RtlCopyMemory);

VOID NTAPI RtlMoveMemory(PVOID Destination, const VOID *Source, SIZE_T Length) {
    memmove(Destination, Source, Length);
}
NT_EXPORT(RtlMoveMemory);

VOID NTAPI RtlZeroMemory(PVOID Destination, SIZE_T Length) {
    memset(Destination, 0, Length);
}
NT_EXPORT(RtlZeroMemory);

VOID NTAPI RtlFillMemory(PVOID Destination, SIZE_T Length, UCHAR Fill) {
    memset(Destination, Fill, Length);
}
NT_EXPORT(RtlFillMemory);

SIZE_T NTAPI RtlCompareMemory(const VOID *Source1, const VOID *Source2, SIZE_T Length) {
    return equal_bytes(Source1, Source2, Length);
}
NT_EXPORT(RtlCompareMemory);

/* ----------------------------------------------------------------------------------------------------- strings ---- */

/* The longest strings whose length, and length with the terminating zero, fit the USHORT fields. */
enum { ANSI_STRING_LONGEST = 0xfffe, UNICODE_STRING_LONGEST = 0xfffc };

VOID NTAPI RtlInitAnsiString(PANSI_STRING DestinationString, PCSTR SourceString) {
    *DestinationString = (ANSI_STRING){.Buffer = (PCHAR)SourceString};
    if (!SourceString)
        return;
    size_t length = 0;
    while (SourceString[length] && length < ANSI_STRING_LONGEST)
        length++;
    DestinationString->Length = (USHORT)length;
    DestinationString->MaximumLength = (USHORT)(length + 1);
}
NT_EXPORT(RtlInitAnsiString);

VOID NTAPI RtlInitUnicodeString(PUNICODE_STRING DestinationString, PCWSTR SourceString) {
    *DestinationString = (UNICODE_STRING){.Buffer = (PWSTR)SourceString};
    if (!SourceString)
        return;
    size_t length = 0;
    while (SourceString[length / sizeof(WCHAR)] && length < UNICODE_STRING_LONGEST)
        length += sizeof(WCHAR);
    DestinationString->Length = (USHORT)length;
    DestinationString->MaximumLength = (USHORT)(length + sizeof(WCHAR));
}
NT_EXPORT(RtlInitUnicodeString);

/* Copies what fits; adds a terminating zero when there is room for one, as Windows does. */
VOID NTAPI RtlCopyUnicodeString(PUNICODE_STRING DestinationString, PCUNICODE_STRING SourceString) {
    USHORT length = SourceString ? SourceString->Length : 0;
    if (length > DestinationString->MaximumLength)
        length = DestinationString->MaximumLength;
    DestinationString->Length = length;
    if (length)
        memmove(DestinationString->Buffer, SourceString->Buffer, length);
    if (length + sizeof(WCHAR) <= DestinationString->MaximumLength)
        DestinationString->Buffer[length / sizeof(WCHAR)] = 0;
}
NT_EXPORT(RtlCopyUnicodeString);

static VOID NTAPI RtlFillMemoryUlong(PULONG Destination, SIZE_T Length, ULONG Pattern) {
    for (SIZE_T i = 0; i < Length / sizeof(ULONG); i++)
        Destination[i] = Pattern;
}
NT_EXPORT(RtlFillMemoryUlong);

/* ------------------------------------------------------------------------------------------------------ rights ---- */

typedef struct _GENERIC_MAPPING {
    ACCESS_MASK GenericRead, GenericWrite, GenericExecute, GenericAll;
} GENERIC_MAPPING, *PGENERIC_MAPPING;

static VOID NTAPI RtlMapGenericMask(ACCESS_MASK *AccessMask, const GENERIC_MAPPING *GenericMapping) {
    const ACCESS_MASK meaning[] = {
        GenericMapping->GenericAll,
        GenericMapping->GenericExecute,
        GenericMapping->GenericWrite,
        GenericMapping->GenericRead,
    };
    enum { GENERIC_SHIFT = 28 };
    for (u64 i = 0; i < ARRAY_SIZE(meaning); i++) {
        ACCESS_MASK bit = 1u << (GENERIC_SHIFT + i);
        if (*AccessMask & bit)
            *AccessMask = (*AccessMask & ~bit) | meaning[i];
    }
}
NT_EXPORT(RtlMapGenericMask);

/* ------------------------------------------------------------------------------------------------------- once ----- */

/* The two lowest bits are the state, the others the context that the initialization gave. */
enum { ONCE_NEVER = 0, ONCE_PENDING = 1, ONCE_DONE = 2, ONCE_STATE = 3 };
enum { RTL_RUN_ONCE_CHECK_ONLY = 1, RTL_RUN_ONCE_INIT_FAILED = 4 };
typedef struct _RTL_RUN_ONCE {
    u64 value;
} RTL_RUN_ONCE, *PRTL_RUN_ONCE;
typedef ULONG(NTAPI *PRTL_RUN_ONCE_INIT_FN)(PRTL_RUN_ONCE RunOnce, PVOID Parameter, PVOID *Context);

static VOID NTAPI RtlRunOnceInitialize(PRTL_RUN_ONCE RunOnce) {
    RunOnce->value = ONCE_NEVER;
}
NT_EXPORT(RtlRunOnceInitialize);

/* STATUS_PENDING: the caller has to initialize, and to say so by RtlRunOnceComplete. */
static NTSTATUS NTAPI RtlRunOnceBeginInitialize(PRTL_RUN_ONCE RunOnce, ULONG Flags, PVOID *Context) {
    bool done = (RunOnce->value & ONCE_STATE) == ONCE_DONE;
    if (done && Context)
        *Context = (PVOID)(RunOnce->value & ~(u64)ONCE_STATE);
    if (done)
        return STATUS_SUCCESS;
    if (Flags & RTL_RUN_ONCE_CHECK_ONLY)
        return STATUS_UNSUCCESSFUL;
    RunOnce->value = ONCE_PENDING;
    return STATUS_PENDING;
}
NT_EXPORT(RtlRunOnceBeginInitialize);

static NTSTATUS NTAPI RtlRunOnceComplete(PRTL_RUN_ONCE RunOnce, ULONG Flags, PVOID Context) {
    if ((RunOnce->value & ONCE_STATE) != ONCE_PENDING)
        return STATUS_UNSUCCESSFUL;
    RunOnce->value = Flags & RTL_RUN_ONCE_INIT_FAILED ? ONCE_NEVER : (u64)Context | ONCE_DONE;
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlRunOnceComplete);

static NTSTATUS NTAPI RtlRunOnceExecuteOnce(PRTL_RUN_ONCE RunOnce, PRTL_RUN_ONCE_INIT_FN InitFn, PVOID Parameter,
                                            PVOID *Context) {
    PVOID made = NULL;
    if (RtlRunOnceBeginInitialize(RunOnce, 0, Context) == STATUS_SUCCESS)
        return STATUS_SUCCESS;
    bool good = InitFn(RunOnce, Parameter, &made);
    RtlRunOnceComplete(RunOnce, good ? 0 : RTL_RUN_ONCE_INIT_FAILED, made);
    if (good && Context)
        *Context = made;
    return good ? STATUS_SUCCESS : STATUS_UNSUCCESSFUL;
}
NT_EXPORT(RtlRunOnceExecuteOnce);
