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
