/*
 * rtl_string.c - counted strings: comparing, converting, appending. Letters are those of ASCII and Latin-1; Windows has
 * tables for all of Unicode. The ANSI code page is Latin-1, where every byte is the character of the same number.
 */
#include "memory/pool.h"
#include "nt.h"
#include "nt/rtl.h"

enum { STRING_TAG = POOL_TAG('S', 't', 'r', 'g'), LONGEST_STRING = 0xfffe };

/* ----------------------------------------------------------------------------------------------------- letters ---- */

WCHAR NTAPI RtlUpcaseUnicodeChar(WCHAR SourceCharacter) {
    WCHAR c = SourceCharacter;
    bool letter = (c >= 'a' && c <= 'z') || (c >= 0xe0 && c <= 0xfe && c != 0xf7);
    return letter ? (WCHAR)(c - 0x20) : c == 0xff ? 0x178 : c;
}
NT_EXPORT(RtlUpcaseUnicodeChar);

static WCHAR NTAPI RtlDowncaseUnicodeChar(WCHAR SourceCharacter) {
    WCHAR c = SourceCharacter;
    bool letter = (c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7);
    return letter ? (WCHAR)(c + 0x20) : c;
}
NT_EXPORT(RtlDowncaseUnicodeChar);

static CHAR NTAPI RtlUpperChar(CHAR Character) {
    WCHAR upper = RtlUpcaseUnicodeChar((u8)Character);
    return upper > 0xff ? Character : (CHAR)upper;
}
NT_EXPORT(RtlUpperChar);

static u64 characters(PCUNICODE_STRING string) {
    return string->Length / sizeof(WCHAR);
}

static WCHAR folded(WCHAR character, bool fold) {
    return fold ? RtlUpcaseUnicodeChar(character) : character;
}

/* --------------------------------------------------------------------------------------------------- comparing ---- */

static LONG NTAPI RtlCompareUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2, BOOLEAN CaseInSensitive) {
    for (u64 i = 0; i < characters(String1) && i < characters(String2); i++) {
        LONG left = folded(String1->Buffer[i], CaseInSensitive), right = folded(String2->Buffer[i], CaseInSensitive);
        if (left != right)
            return left - right;
    }
    return String1->Length - String2->Length;
}
NT_EXPORT(RtlCompareUnicodeString);

BOOLEAN NTAPI RtlEqualUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2, BOOLEAN CaseInSensitive) {
    return String1->Length == String2->Length && RtlCompareUnicodeString(String1, String2, CaseInSensitive) == 0;
}
NT_EXPORT(RtlEqualUnicodeString);

BOOLEAN NTAPI RtlPrefixUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2, BOOLEAN CaseInSensitive) {
    UNICODE_STRING start = {String1->Length, String1->Length, String2->Buffer};
    return String1->Length <= String2->Length && RtlEqualUnicodeString(String1, &start, CaseInSensitive);
}
NT_EXPORT(RtlPrefixUnicodeString);

static BOOLEAN NTAPI RtlSuffixUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2,
                                            BOOLEAN CaseInSensitive) {
    if (String1->Length > String2->Length)
        return FALSE;
    u64 skipped = characters(String2) - characters(String1);
    UNICODE_STRING end = {String1->Length, String1->Length, String2->Buffer + skipped};
    return RtlEqualUnicodeString(String1, &end, CaseInSensitive);
}
NT_EXPORT(RtlSuffixUnicodeString);

static LONG compare_ansi(const STRING *left, const STRING *right, bool fold) {
    for (u64 i = 0; i < left->Length && i < right->Length; i++) {
        LONG difference = folded((u8)left->Buffer[i], fold) - folded((u8)right->Buffer[i], fold);
        if (difference)
            return difference;
    }
    return left->Length - right->Length;
}

static LONG NTAPI RtlCompareString(const STRING *String1, const STRING *String2, BOOLEAN CaseInSensitive) {
    return compare_ansi(String1, String2, CaseInSensitive);
}
NT_EXPORT(RtlCompareString);

static BOOLEAN NTAPI RtlEqualString(const STRING *String1, const STRING *String2, BOOLEAN CaseInSensitive) {
    return compare_ansi(String1, String2, CaseInSensitive) == 0;
}
NT_EXPORT(RtlEqualString);

static BOOLEAN NTAPI RtlPrefixString(const STRING *String1, const STRING *String2, BOOLEAN CaseInSensitive) {
    STRING start = {String1->Length, String1->Length, String2->Buffer};
    return String1->Length <= String2->Length && compare_ansi(String1, &start, CaseInSensitive) == 0;
}
NT_EXPORT(RtlPrefixString);

/* The one algorithm there is, x65599; 0 asks for the default, which is it. */
static NTSTATUS NTAPI RtlHashUnicodeString(PCUNICODE_STRING String, BOOLEAN CaseInSensitive, ULONG HashAlgorithm,
                                           PULONG HashValue) {
    enum { HASH_DEFAULT, HASH_X65599, MULTIPLIER = 65599 };
    if (HashAlgorithm != HASH_DEFAULT && HashAlgorithm != HASH_X65599)
        return STATUS_INVALID_PARAMETER;
    *HashValue = 0;
    for (u64 i = 0; i < characters(String); i++)
        *HashValue = *HashValue * MULTIPLIER + folded(String->Buffer[i], CaseInSensitive);
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlHashUnicodeString);

/* --------------------------------------------------------------------------------------- copying and appending ---- */

NTSTATUS NTAPI RtlAppendUnicodeStringToString(PUNICODE_STRING Destination, PCUNICODE_STRING Source) {
    u64 length = Destination->Length + (u64)Source->Length;
    if (length > Destination->MaximumLength)
        return STATUS_BUFFER_TOO_SMALL;
    memmove(Destination->Buffer + characters(Destination), Source->Buffer, Source->Length);
    Destination->Length = (USHORT)length;
    if (length + sizeof(WCHAR) <= Destination->MaximumLength)
        Destination->Buffer[characters(Destination)] = 0;
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlAppendUnicodeStringToString);

static NTSTATUS NTAPI RtlAppendUnicodeToString(PUNICODE_STRING Destination, PCWSTR Source) {
    UNICODE_STRING source;
    RtlInitUnicodeString(&source, Source);
    return RtlAppendUnicodeStringToString(Destination, &source);
}
NT_EXPORT(RtlAppendUnicodeToString);

static NTSTATUS NTAPI RtlAppendStringToString(PSTRING Destination, const STRING *Source) {
    u64 length = Destination->Length + (u64)Source->Length;
    if (length > Destination->MaximumLength)
        return STATUS_BUFFER_TOO_SMALL;
    memmove(Destination->Buffer + Destination->Length, Source->Buffer, Source->Length);
    Destination->Length = (USHORT)length;
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlAppendStringToString);

static NTSTATUS NTAPI RtlAppendAsciizToString(PSTRING Destination, PCSTR Source) {
    ANSI_STRING source;
    RtlInitAnsiString(&source, Source);
    return RtlAppendStringToString(Destination, &source);
}
NT_EXPORT(RtlAppendAsciizToString);

static VOID NTAPI RtlCopyString(PSTRING DestinationString, const STRING *SourceString) {
    USHORT length = SourceString ? SourceString->Length : 0;
    DestinationString->Length = length < DestinationString->MaximumLength ? length : DestinationString->MaximumLength;
    if (SourceString)
        memmove(DestinationString->Buffer, SourceString->Buffer, DestinationString->Length);
}
NT_EXPORT(RtlCopyString);

static VOID NTAPI RtlUpperString(PSTRING DestinationString, const STRING *SourceString) {
    RtlCopyString(DestinationString, SourceString);
    for (u64 i = 0; i < DestinationString->Length; i++)
        DestinationString->Buffer[i] = RtlUpperChar(DestinationString->Buffer[i]);
}
NT_EXPORT(RtlUpperString);

static NTSTATUS NTAPI RtlInitUnicodeStringEx(PUNICODE_STRING DestinationString, PCWSTR SourceString) {
    u64 length = 0;
    while (SourceString && SourceString[length])
        length++;
    if (length * sizeof(WCHAR) > LONGEST_STRING - sizeof(WCHAR))
        return STATUS_NAME_TOO_LONG;
    RtlInitUnicodeString(DestinationString, SourceString);
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlInitUnicodeStringEx);

NT_EXPORT_AS("RtlInitString", RtlInitAnsiString);

/* -------------------------------------------------------------------------------------------------- allocating ---- */

static PVOID allocate(u64 size) {
    return pool_allocate(PagedPool, size, STRING_TAG);
}

/* Frees what calls of this file allocated. */
static VOID NTAPI RtlFreeUnicodeString(PUNICODE_STRING UnicodeString) {
    if (UnicodeString->Buffer)
        ExFreePoolWithTag(UnicodeString->Buffer, 0);
    *UnicodeString = (UNICODE_STRING){.Buffer = NULL};
}
NT_EXPORT(RtlFreeUnicodeString);

static VOID NTAPI RtlFreeAnsiString(PANSI_STRING AnsiString) {
    if (AnsiString->Buffer)
        ExFreePoolWithTag(AnsiString->Buffer, 0);
    *AnsiString = (ANSI_STRING){.Buffer = NULL};
}
NT_EXPORT(RtlFreeAnsiString);
NT_EXPORT_AS("RtlFreeOemString", RtlFreeAnsiString);

static BOOLEAN NTAPI RtlCreateUnicodeString(PUNICODE_STRING DestinationString, PCWSTR SourceString) {
    UNICODE_STRING source;
    if (!NT_SUCCESS(RtlInitUnicodeStringEx(&source, SourceString)))
        return FALSE;
    USHORT size = (USHORT)(source.Length + sizeof(WCHAR));
    *DestinationString = (UNICODE_STRING){.MaximumLength = size, .Buffer = allocate(size)};
    if (!DestinationString->Buffer)
        return FALSE;
    RtlCopyUnicodeString(DestinationString, &source);
    return TRUE;
}
NT_EXPORT(RtlCreateUnicodeString);

static NTSTATUS NTAPI RtlDuplicateUnicodeString(ULONG Flags, PCUNICODE_STRING StringIn, PUNICODE_STRING StringOut) {
    enum { NULL_TERMINATE = 1, ALLOCATE_NULL_STRING = 2 };
    u64 size = StringIn->Length + (Flags & NULL_TERMINATE ? sizeof(WCHAR) : 0);
    *StringOut = (UNICODE_STRING){.Buffer = NULL};
    if (size > LONGEST_STRING)
        return STATUS_NAME_TOO_LONG;
    if (!StringIn->Length && !(Flags & ALLOCATE_NULL_STRING))
        return STATUS_SUCCESS;
    *StringOut = (UNICODE_STRING){.MaximumLength = (USHORT)size, .Buffer = allocate(size ? size : 1)};
    if (!StringOut->Buffer)
        return STATUS_NO_MEMORY;
    RtlCopyUnicodeString(StringOut, StringIn);
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlDuplicateUnicodeString);

/* -------------------------------------------------------------------------------------------------- converting ---- */

static NTSTATUS convert_case(PUNICODE_STRING to, PCUNICODE_STRING from, bool allocated, bool up) {
    if (allocated)
        *to = (UNICODE_STRING){.MaximumLength = from->Length, .Buffer = allocate(from->Length)};
    if (allocated && !to->Buffer)
        return STATUS_NO_MEMORY;
    if (from->Length > to->MaximumLength)
        return STATUS_BUFFER_OVERFLOW;
    for (u64 i = 0; i < characters(from); i++)
        to->Buffer[i] = up ? RtlUpcaseUnicodeChar(from->Buffer[i]) : RtlDowncaseUnicodeChar(from->Buffer[i]);
    to->Length = from->Length;
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI RtlUpcaseUnicodeString(PUNICODE_STRING DestinationString, PCUNICODE_STRING SourceString,
                                             BOOLEAN AllocateDestinationString) {
    return convert_case(DestinationString, SourceString, AllocateDestinationString, true);
}
NT_EXPORT(RtlUpcaseUnicodeString);

static NTSTATUS NTAPI RtlDowncaseUnicodeString(PUNICODE_STRING DestinationString, PCUNICODE_STRING SourceString,
                                               BOOLEAN AllocateDestinationString) {
    return convert_case(DestinationString, SourceString, AllocateDestinationString, false);
}
NT_EXPORT(RtlDowncaseUnicodeString);

static ULONG NTAPI RtlAnsiStringToUnicodeSize(const ANSI_STRING *AnsiString) {
    return (AnsiString->Length + 1u) * (ULONG)sizeof(WCHAR);
}
NT_EXPORT_AS("RtlxAnsiStringToUnicodeSize", RtlAnsiStringToUnicodeSize);
NT_EXPORT_AS("RtlxOemStringToUnicodeSize", RtlAnsiStringToUnicodeSize);

static ULONG NTAPI RtlUnicodeStringToAnsiSize(PCUNICODE_STRING UnicodeString) {
    return (ULONG)characters(UnicodeString) + 1;
}
NT_EXPORT_AS("RtlxUnicodeStringToAnsiSize", RtlUnicodeStringToAnsiSize);
NT_EXPORT_AS("RtlxUnicodeStringToOemSize", RtlUnicodeStringToAnsiSize);

static NTSTATUS NTAPI RtlAnsiStringToUnicodeString(PUNICODE_STRING DestinationString, const ANSI_STRING *SourceString,
                                                   BOOLEAN AllocateDestinationString) {
    ULONG size = RtlAnsiStringToUnicodeSize(SourceString);
    if (size > LONGEST_STRING)
        return STATUS_INVALID_PARAMETER_2;
    if (AllocateDestinationString)
        *DestinationString = (UNICODE_STRING){.MaximumLength = (USHORT)size, .Buffer = allocate(size)};
    if (AllocateDestinationString && !DestinationString->Buffer)
        return STATUS_NO_MEMORY;
    if (size > DestinationString->MaximumLength)
        return STATUS_BUFFER_OVERFLOW;
    for (u64 i = 0; i < SourceString->Length; i++)
        DestinationString->Buffer[i] = (u8)SourceString->Buffer[i];
    DestinationString->Buffer[SourceString->Length] = 0;
    DestinationString->Length = (USHORT)(size - sizeof(WCHAR));
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlAnsiStringToUnicodeString);
NT_EXPORT_AS("RtlOemStringToUnicodeString", RtlAnsiStringToUnicodeString);

/* What the code page lacks becomes a question mark, as on Windows. */
static CHAR to_ansi(WCHAR character) {
    return character > 0xff ? '?' : (CHAR)character;
}

static NTSTATUS NTAPI RtlUnicodeStringToAnsiString(PANSI_STRING DestinationString, PCUNICODE_STRING SourceString,
                                                   BOOLEAN AllocateDestinationString) {
    ULONG size = RtlUnicodeStringToAnsiSize(SourceString);
    if (AllocateDestinationString)
        *DestinationString = (ANSI_STRING){.MaximumLength = (USHORT)size, .Buffer = allocate(size)};
    if (AllocateDestinationString && !DestinationString->Buffer)
        return STATUS_NO_MEMORY;
    if (!DestinationString->MaximumLength)
        return STATUS_BUFFER_OVERFLOW;
    bool fits = size <= DestinationString->MaximumLength;
    USHORT length = (USHORT)((fits ? size : DestinationString->MaximumLength) - 1);
    for (u64 i = 0; i < length; i++)
        DestinationString->Buffer[i] = to_ansi(SourceString->Buffer[i]);
    DestinationString->Buffer[length] = 0;
    DestinationString->Length = length;
    return fits ? STATUS_SUCCESS : STATUS_BUFFER_OVERFLOW;
}
NT_EXPORT(RtlUnicodeStringToAnsiString);
NT_EXPORT_AS("RtlUnicodeStringToOemString", RtlUnicodeStringToAnsiString);
NT_EXPORT_AS("RtlUnicodeStringToCountedOemString", RtlUnicodeStringToAnsiString);

static NTSTATUS NTAPI RtlMultiByteToUnicodeN(PWSTR UnicodeString, ULONG MaxBytesInUnicodeString,
                                             PULONG BytesInUnicodeString, PCSTR MultiByteString,
                                             ULONG BytesInMultiByteString) {
    ULONG room = MaxBytesInUnicodeString / sizeof(WCHAR);
    ULONG count = BytesInMultiByteString < room ? BytesInMultiByteString : room;
    for (ULONG i = 0; i < count; i++)
        UnicodeString[i] = (u8)MultiByteString[i];
    if (BytesInUnicodeString)
        *BytesInUnicodeString = count * (ULONG)sizeof(WCHAR);
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlMultiByteToUnicodeN);
NT_EXPORT_AS("RtlOemToUnicodeN", RtlMultiByteToUnicodeN);

static NTSTATUS NTAPI RtlMultiByteToUnicodeSize(PULONG BytesInUnicodeString, PCSTR MultiByteString,
                                                ULONG BytesInMultiByteString) {
    (void)MultiByteString;
    *BytesInUnicodeString = BytesInMultiByteString * (ULONG)sizeof(WCHAR);
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlMultiByteToUnicodeSize);

static NTSTATUS NTAPI RtlUnicodeToMultiByteN(PCHAR MultiByteString, ULONG MaxBytesInMultiByteString,
                                             PULONG BytesInMultiByteString, PCWSTR UnicodeString,
                                             ULONG BytesInUnicodeString) {
    ULONG length = BytesInUnicodeString / sizeof(WCHAR);
    ULONG count = length < MaxBytesInMultiByteString ? length : MaxBytesInMultiByteString;
    for (ULONG i = 0; i < count; i++)
        MultiByteString[i] = to_ansi(UnicodeString[i]);
    if (BytesInMultiByteString)
        *BytesInMultiByteString = count;
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlUnicodeToMultiByteN);
NT_EXPORT_AS("RtlUnicodeToOemN", RtlUnicodeToMultiByteN);

static NTSTATUS NTAPI RtlUnicodeToMultiByteSize(PULONG BytesInMultiByteString, PCWSTR UnicodeString,
                                                ULONG BytesInUnicodeString) {
    (void)UnicodeString;
    *BytesInMultiByteString = BytesInUnicodeString / sizeof(WCHAR);
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlUnicodeToMultiByteSize);

/* ----------------------------------------------------------------------------------------------------- numbers ---- */

/* Base 0 is 10 when writing, and whatever 0x, 0o or 0b say when reading. */
static bool is_base(ULONG base) {
    return base == 0 || base == 2 || base == 8 || base == 10 || base == 16;
}

static NTSTATUS number_to_string(u64 value, ULONG base, PUNICODE_STRING ret) {
    WCHAR text[64];
    u64 first = ARRAY_SIZE(text);
    if (!is_base(base))
        return STATUS_INVALID_PARAMETER;
    do {
        text[--first] = (WCHAR) "0123456789ABCDEF"[value % (base ? base : 10)];
        value /= base ? base : 10;
    } while (value);
    USHORT length = (USHORT)((ARRAY_SIZE(text) - first) * sizeof(WCHAR));
    if (length > ret->MaximumLength)
        return STATUS_BUFFER_OVERFLOW;
    RtlCopyUnicodeString(ret, &(UNICODE_STRING){length, length, text + first});
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI RtlIntegerToUnicodeString(ULONG Value, ULONG Base, PUNICODE_STRING String) {
    return number_to_string(Value, Base, String);
}
NT_EXPORT(RtlIntegerToUnicodeString);

static NTSTATUS NTAPI RtlInt64ToUnicodeString(ULONGLONG Value, ULONG Base, PUNICODE_STRING String) {
    return number_to_string(Value, Base, String);
}
NT_EXPORT(RtlInt64ToUnicodeString);

static u32 digit_of(WCHAR character) {
    WCHAR upper = RtlUpcaseUnicodeChar(character);
    return upper >= '0' && upper <= '9' ? upper - (u32)'0' : upper >= 'A' && upper <= 'F' ? upper - 'A' + 10u : ~0u;
}

/* The base that a number names by its prefix. */
static ULONG take_prefix(const WCHAR **text, const WCHAR *end) {
    static const struct {
        WCHAR letter;
        ULONG base;
    } prefixes[] = {{'x', 16}, {'o', 8}, {'b', 2}};
    for (u64 i = 0; i < ARRAY_SIZE(prefixes) && end - *text > 1 && (*text)[0] == '0'; i++) {
        if ((*text)[1] == prefixes[i].letter) {
            *text += 2;
            return prefixes[i].base;
        }
    }
    return 10;
}

/* Blanks, a sign, digits; stops at the first character that is no digit. */
static u64 parse_number(const WCHAR *text, const WCHAR *end, ULONG base) {
    u64 value = 0;
    while (text < end && *text <= ' ')
        text++;
    bool negative = text < end && *text == '-';
    if (text < end && (*text == '-' || *text == '+'))
        text++;
    if (!base)
        base = take_prefix(&text, end);
    for (; text < end && digit_of(*text) < base; text++)
        value = value * base + digit_of(*text);
    return negative ? 0 - value : value;
}

static NTSTATUS NTAPI RtlUnicodeStringToInteger(PCUNICODE_STRING String, ULONG Base, PULONG Value) {
    if (!is_base(Base))
        return STATUS_INVALID_PARAMETER;
    *Value = (ULONG)parse_number(String->Buffer, String->Buffer + characters(String), Base);
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlUnicodeStringToInteger);

static NTSTATUS NTAPI RtlCharToInteger(PCSTR String, ULONG Base, PULONG Value) {
    WCHAR text[68];
    u64 length = 0;
    if (!is_base(Base))
        return STATUS_INVALID_PARAMETER;
    for (; length < ARRAY_SIZE(text) && String[length]; length++)
        text[length] = (u8)String[length];
    *Value = (ULONG)parse_number(text, text + length, Base);
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlCharToInteger);

/* ------------------------------------------------------------------------------------------------------- GUIDs ---- */

typedef struct _GUID {
    ULONG Data1;
    USHORT Data2, Data3;
    UCHAR Data4[8];
} GUID;

/* "{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}": which byte of the GUID each pair of digits is. */
static const u8 guid_bytes[] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
enum { GUID_CHARACTERS = 38 };

static bool dash_before(u64 byte) {
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

static NTSTATUS NTAPI RtlStringFromGUID(const GUID *Guid, PUNICODE_STRING GuidString) {
    static const char digits[] = "0123456789ABCDEF";
    u64 at = 0;
    u16 size = (GUID_CHARACTERS + 1) * sizeof(WCHAR);
    *GuidString = (UNICODE_STRING){(USHORT)(size - sizeof(WCHAR)), size, allocate(size)};
    if (!GuidString->Buffer)
        return STATUS_NO_MEMORY;
    GuidString->Buffer[at++] = '{';
    for (u64 i = 0; i < ARRAY_SIZE(guid_bytes); i++) {
        u8 byte = ((const u8 *)Guid)[guid_bytes[i]];
        if (dash_before(i))
            GuidString->Buffer[at++] = '-';
        GuidString->Buffer[at++] = (u8)digits[byte >> 4];
        GuidString->Buffer[at++] = (u8)digits[byte & 0xf];
    }
    GuidString->Buffer[at++] = '}';
    GuidString->Buffer[at] = 0;
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlStringFromGUID);

static NTSTATUS NTAPI RtlGUIDFromString(PCUNICODE_STRING GuidString, GUID *Guid) {
    const WCHAR *text = GuidString->Buffer;
    if (characters(GuidString) < GUID_CHARACTERS || *text++ != '{')
        return STATUS_INVALID_PARAMETER;
    for (u64 i = 0; i < ARRAY_SIZE(guid_bytes); i++, text += 2) {
        if (dash_before(i) && *text++ != '-')
            return STATUS_INVALID_PARAMETER;
        if (digit_of(text[0]) > 15 || digit_of(text[1]) > 15)
            return STATUS_INVALID_PARAMETER;
        ((u8 *)Guid)[guid_bytes[i]] = (u8)(digit_of(text[0]) << 4 | digit_of(text[1]));
    }
    return *text == '}' ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}
NT_EXPORT(RtlGUIDFromString);

/* ------------------------------------------------------------------------------------------------------ UTF-8 ---- */

enum { REPLACEMENT = 0xfffd };

/* One character of UTF-8; a byte that belongs to none counts as one, and as U+FFFD. */
static u32 decode_utf8(const u8 *text, u64 left, u64 *ret_size) {
    u32 size = text[0] < 0x80 ? 1 : text[0] >> 5 == 6 ? 2 : text[0] >> 4 == 14 ? 3 : text[0] >> 3 == 30 ? 4 : 0;
    u32 character = size > 1 ? text[0] & (0x7fu >> size) : text[0];
    *ret_size = 1;
    if (!size || size > left)
        return REPLACEMENT;
    for (u32 i = 1; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return REPLACEMENT;
        character = character << 6 | (text[i] & 0x3f);
    }
    *ret_size = size;
    return character;
}

/* With no destination, the bytes that it would take. */
static NTSTATUS NTAPI RtlUTF8ToUnicodeN(PWSTR UnicodeStringDestination, ULONG UnicodeStringMaxByteCount,
                                        PULONG UnicodeStringActualByteCount, PCSTR UTF8StringSource,
                                        ULONG UTF8StringByteCount) {
    const u8 *source = (const u8 *)UTF8StringSource;
    NTSTATUS status = STATUS_SUCCESS;
    ULONG written = 0, room = UnicodeStringDestination ? UnicodeStringMaxByteCount : ~0u;
    u64 size;
    for (u64 at = 0; at < UTF8StringByteCount; at += size) {
        u32 character = decode_utf8(source + at, UTF8StringByteCount - at, &size);
        WCHAR unit[2] = {(WCHAR)character, 0};
        u32 units = character > 0xffff ? 2 : 1;
        if (units == 2) {
            unit[0] = (WCHAR)(0xd800 + ((character - 0x10000) >> 10));
            unit[1] = (WCHAR)(0xdc00 + (character & 0x3ff));
        }
        if (character == REPLACEMENT)
            status = STATUS_SOME_NOT_MAPPED;
        if (room - written < units * sizeof(WCHAR)) {
            status = STATUS_BUFFER_TOO_SMALL;
            break;
        }
        for (u32 i = 0; i < units && UnicodeStringDestination; i++)
            UnicodeStringDestination[written / sizeof(WCHAR) + i] = unit[i];
        written += units * (ULONG)sizeof(WCHAR);
    }
    if (UnicodeStringActualByteCount)
        *UnicodeStringActualByteCount = written;
    return status;
}
NT_EXPORT(RtlUTF8ToUnicodeN);

static u32 encode_utf8(u32 character, u8 bytes[4]) {
    u32 size = character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    static const u8 mark[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (u32 i = size - 1; i > 0; i--, character >>= 6)
        bytes[i] = (u8)(0x80 | (character & 0x3f));
    bytes[0] = (u8)(mark[size] | character);
    return size;
}

static bool is_surrogate(WCHAR unit, WCHAR base) {
    return (unit & 0xfc00) == base;
}

static NTSTATUS NTAPI RtlUnicodeToUTF8N(PSTR UTF8StringDestination, ULONG UTF8StringMaxByteCount,
                                        PULONG UTF8StringActualByteCount, PCWSTR UnicodeStringSource,
                                        ULONG UnicodeStringByteCount) {
    NTSTATUS status = STATUS_SUCCESS;
    ULONG written = 0, room = UTF8StringDestination ? UTF8StringMaxByteCount : ~0u;
    u64 count = UnicodeStringByteCount / sizeof(WCHAR);
    for (u64 i = 0; i < count; i++) {
        u32 character = UnicodeStringSource[i];
        if (is_surrogate((WCHAR)character, 0xd800) && i + 1 < count && is_surrogate(UnicodeStringSource[i + 1], 0xdc00))
            character = 0x10000 + ((character & 0x3ff) << 10 | (UnicodeStringSource[++i] & 0x3ff));
        else if ((character & 0xf800) == 0xd800) {
            character = REPLACEMENT;
            status = STATUS_SOME_NOT_MAPPED;
        }
        u8 bytes[4];
        u32 size = encode_utf8(character, bytes);
        if (room - written < size) {
            status = STATUS_BUFFER_TOO_SMALL;
            break;
        }
        if (UTF8StringDestination)
            memcpy(UTF8StringDestination + written, bytes, size);
        written += size;
    }
    if (UTF8StringActualByteCount)
        *UTF8StringActualByteCount = written;
    return status;
}
NT_EXPORT(RtlUnicodeToUTF8N);

/* ---------------------------------------------------------------------------------------------------- patterns ---- */

static WCHAR fold(WCHAR character, bool ignore_case) {
    return ignore_case ? RtlUpcaseUnicodeChar(character) : character;
}

/* `*` is any text and `?` any character; the last `*` takes one character more whenever what follows does not fit. */
static BOOLEAN NTAPI FsRtlIsNameInExpression(PUNICODE_STRING Expression, PUNICODE_STRING Name, BOOLEAN IgnoreCase,
                                             PWSTR UpcaseTable) {
    (void)UpcaseTable;
    u64 pattern_length = Expression->Length / sizeof(WCHAR), length = Name->Length / sizeof(WCHAR);
    u64 at = 0, pattern = 0, star = ~0ull, taken = 0;
    while (at < length) {
        WCHAR wanted = pattern < pattern_length ? Expression->Buffer[pattern] : 0;
        if (pattern < pattern_length && wanted == u'*') {
            star = pattern++;
            taken = at;
        } else if (pattern < pattern_length &&
                   (wanted == u'?' || fold(wanted, IgnoreCase) == fold(Name->Buffer[at], IgnoreCase))) {
            pattern++;
            at++;
        } else if (star != ~0ull) {
            pattern = star + 1;
            at = ++taken;
        } else {
            return FALSE;
        }
    }
    while (pattern < pattern_length && Expression->Buffer[pattern] == u'*')
        pattern++;
    return pattern == pattern_length;
}
NT_EXPORT(FsRtlIsNameInExpression);
NT_EXPORT_AS("RtlIsNameInExpression", FsRtlIsNameInExpression);
