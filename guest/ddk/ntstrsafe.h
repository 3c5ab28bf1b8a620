/*
 * ntstrsafe.h - Microsoft's bounded string functions for drivers, as inline functions over the kernel's _vsnprintf and
 * _vsnwprintf. It stands instead of mingw-w64's header of that name, whose functions vanish without optimisation and
 * which has none for UNICODE_STRING.
 *
 * All end what they write with a zero and return STATUS_BUFFER_OVERFLOW when they had to cut. Of the flags of the Ex
 * functions, STRSAFE_IGNORE_NULLS, _FILL_BEHIND_NULL, _NULL_ON_FAILURE and _NO_TRUNCATION are obeyed.
 */
#pragma once
#pragma clang system_header

#define _NTSTRSAFE_H_INCLUDED_

#include <ntdef.h>
#include <ntstatus.h>
#include <stdarg.h>

#include "stdio.h"

#define NTSTRSAFE_MAX_CCH 2147483647
#define NTSTRSAFE_MAX_LENGTH (NTSTRSAFE_MAX_CCH - 1)
#define NTSTRSAFE_UNICODE_STRING_MAX_CCH (0xffff / sizeof(WCHAR))

#define STRSAFE_IGNORE_NULLS 0x00000100
#define STRSAFE_FILL_BEHIND_NULL 0x00000200
#define STRSAFE_FILL_ON_FAILURE 0x00000400
#define STRSAFE_NULL_ON_FAILURE 0x00000800
#define STRSAFE_NO_TRUNCATION 0x00001000
#define STRSAFE_ZERO_LENGTH_ON_FAILURE STRSAFE_NULL_ON_FAILURE

#define NTSTRSAFEDDI static __inline__ __attribute__((unused)) NTSTATUS

typedef char *NTSTRSAFE_PSTR;
typedef const char *NTSTRSAFE_PCSTR;
typedef wchar_t *NTSTRSAFE_PWSTR;
typedef const wchar_t *NTSTRSAFE_PCWSTR;

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The two sizes of characters differ in nothing but the type. Counts named `cch` are characters, `cb` bytes, both with
 * the final zero; lengths are without it.
 */
#define LAB_STRSAFE(S, CH, VPRINTF)                                                                                    \
    NTSTRSAFEDDI lab_check##S(const CH *dest, size_t cch, size_t max) {                                                \
        return dest && cch && cch <= max ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;                                  \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCchLength##S(const CH *psz, size_t cchMax, size_t *pcchLength) {                             \
        size_t length = 0;                                                                                             \
        while (psz && length < cchMax && psz[length])                                                                  \
            length++;                                                                                                  \
        BOOLEAN good = psz && length < cchMax && cchMax <= NTSTRSAFE_MAX_CCH;                                          \
        if (pcchLength)                                                                                                \
            *pcchLength = good ? length : 0;                                                                           \
        return good ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;                                                       \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCbLength##S(const CH *psz, size_t cbMax, size_t *pcbLength) {                                \
        NTSTATUS status = RtlStringCchLength##S(psz, cbMax / sizeof(CH), pcbLength);                                   \
        if (pcbLength)                                                                                                 \
            *pcbLength *= sizeof(CH);                                                                                  \
        return status;                                                                                                 \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCchCopyN##S(CH *dest, size_t cch, const CH *src, size_t cchToCopy) {                         \
        NTSTATUS status = lab_check##S(dest, cch, NTSTRSAFE_MAX_CCH);                                                  \
        if (!NT_SUCCESS(status))                                                                                       \
            return status;                                                                                             \
        size_t i = 0;                                                                                                  \
        while (i < cchToCopy && i < cch - 1 && src[i]) {                                                               \
            dest[i] = src[i];                                                                                          \
            i++;                                                                                                       \
        }                                                                                                              \
        dest[i] = 0;                                                                                                   \
        return i < cchToCopy && src[i] ? STATUS_BUFFER_OVERFLOW : STATUS_SUCCESS;                                      \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCchCopy##S(CH *dest, size_t cch, const CH *src) {                                            \
        return RtlStringCchCopyN##S(dest, cch, src, NTSTRSAFE_MAX_CCH);                                                \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCbCopy##S(CH *dest, size_t cb, const CH *src) {                                              \
        return RtlStringCchCopy##S(dest, cb / sizeof(CH), src);                                                        \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCbCopyN##S(CH *dest, size_t cb, const CH *src, size_t cbToCopy) {                            \
        return RtlStringCchCopyN##S(dest, cb / sizeof(CH), src, cbToCopy / sizeof(CH));                                \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCchCatN##S(CH *dest, size_t cch, const CH *src, size_t cchToAppend) {                        \
        size_t length;                                                                                                 \
        NTSTATUS status = RtlStringCchLength##S(dest, cch, &length);                                                   \
        return NT_SUCCESS(status) ? RtlStringCchCopyN##S(dest + length, cch - length, src, cchToAppend) : status;      \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCchCat##S(CH *dest, size_t cch, const CH *src) {                                             \
        return RtlStringCchCatN##S(dest, cch, src, NTSTRSAFE_MAX_CCH);                                                 \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCbCat##S(CH *dest, size_t cb, const CH *src) {                                               \
        return RtlStringCchCat##S(dest, cb / sizeof(CH), src);                                                         \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCbCatN##S(CH *dest, size_t cb, const CH *src, size_t cbToAppend) {                           \
        return RtlStringCchCatN##S(dest, cb / sizeof(CH), src, cbToAppend / sizeof(CH));                               \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCchVPrintf##S(CH *dest, size_t cch, const CH *format, va_list arguments) {                   \
        NTSTATUS status = lab_check##S(dest, cch, NTSTRSAFE_MAX_CCH);                                                  \
        if (!NT_SUCCESS(status))                                                                                       \
            return status;                                                                                             \
        int written = VPRINTF(dest, cch - 1, format, arguments);                                                       \
        BOOLEAN cut = written < 0 || (size_t)written > cch - 1;                                                        \
        dest[cut ? cch - 1 : (size_t)written] = 0;                                                                     \
        return cut ? STATUS_BUFFER_OVERFLOW : STATUS_SUCCESS;                                                          \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCbVPrintf##S(CH *dest, size_t cb, const CH *format, va_list arguments) {                     \
        return RtlStringCchVPrintf##S(dest, cb / sizeof(CH), format, arguments);                                       \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCchPrintf##S(CH *dest, size_t cch, const CH *format, ...) {                                  \
        va_list arguments;                                                                                             \
        va_start(arguments, format);                                                                                   \
        NTSTATUS status = RtlStringCchVPrintf##S(dest, cch, format, arguments);                                        \
        va_end(arguments);                                                                                             \
        return status;                                                                                                 \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCbPrintf##S(CH *dest, size_t cb, const CH *format, ...) {                                    \
        va_list arguments;                                                                                             \
        va_start(arguments, format);                                                                                   \
        NTSTATUS status = RtlStringCchVPrintf##S(dest, cb / sizeof(CH), format, arguments);                            \
        va_end(arguments);                                                                                             \
        return status;                                                                                                 \
    }                                                                                                                  \
    /* What every Ex function does once the string is written: find its end, fill or clear, tell what is left. */      \
    NTSTRSAFEDDI lab_finish##S(CH *dest, size_t cch, CH **end, size_t *left, ULONG flags, NTSTATUS status) {           \
        if (!dest || !cch)                                                                                             \
            return (flags & STRSAFE_IGNORE_NULLS) ? STATUS_SUCCESS : status;                                           \
        if (!NT_SUCCESS(status) && (flags & (STRSAFE_NULL_ON_FAILURE | STRSAFE_NO_TRUNCATION)))                        \
            *dest = 0;                                                                                                 \
        size_t length = 0;                                                                                             \
        while (length < cch - 1 && dest[length])                                                                       \
            length++;                                                                                                  \
        if (NT_SUCCESS(status) && (flags & STRSAFE_FILL_BEHIND_NULL))                                                  \
            for (char *fill = (char *)(dest + length + 1); fill < (char *)(dest + cch); fill++)                        \
                *fill = (char)flags;                                                                                   \
        if (end)                                                                                                       \
            *end = dest + length;                                                                                      \
        if (left)                                                                                                      \
            *left = cch - length;                                                                                      \
        return status;                                                                                                 \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCchCopyEx##S(CH *dest, size_t cch, const CH *src, CH **end, size_t *left, ULONG flags) {     \
        static const CH nothing[1] = {0};                                                                              \
        NTSTATUS status = RtlStringCchCopy##S(dest, cch, src || !(flags & STRSAFE_IGNORE_NULLS) ? src : nothing);      \
        return lab_finish##S(dest, cch, end, left, flags, status);                                                     \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCbCopyEx##S(CH *dest, size_t cb, const CH *src, CH **end, size_t *left, ULONG flags) {       \
        NTSTATUS status = RtlStringCchCopyEx##S(dest, cb / sizeof(CH), src, end, left, flags);                         \
        if (left)                                                                                                      \
            *left *= sizeof(CH);                                                                                       \
        return status;                                                                                                 \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCchCatEx##S(CH *dest, size_t cch, const CH *src, CH **end, size_t *left, ULONG flags) {      \
        static const CH nothing[1] = {0};                                                                              \
        NTSTATUS status = RtlStringCchCat##S(dest, cch, src || !(flags & STRSAFE_IGNORE_NULLS) ? src : nothing);       \
        return lab_finish##S(dest, cch, end, left, flags, status);                                                     \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCbCatEx##S(CH *dest, size_t cb, const CH *src, CH **end, size_t *left, ULONG flags) {        \
        NTSTATUS status = RtlStringCchCatEx##S(dest, cb / sizeof(CH), src, end, left, flags);                          \
        if (left)                                                                                                      \
            *left *= sizeof(CH);                                                                                       \
        return status;                                                                                                 \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCchPrintfEx##S(CH *dest, size_t cch, CH **end, size_t *left, ULONG flags, const CH *format,  \
                                         ...) {                                                                        \
        va_list arguments;                                                                                             \
        va_start(arguments, format);                                                                                   \
        NTSTATUS status = RtlStringCchVPrintf##S(dest, cch, format, arguments);                                        \
        va_end(arguments);                                                                                             \
        return lab_finish##S(dest, cch, end, left, flags, status);                                                     \
    }                                                                                                                  \
    NTSTRSAFEDDI RtlStringCbPrintfEx##S(CH *dest, size_t cb, CH **end, size_t *left, ULONG flags, const CH *format,    \
                                        ...) {                                                                         \
        va_list arguments;                                                                                             \
        va_start(arguments, format);                                                                                   \
        NTSTATUS status = RtlStringCchVPrintf##S(dest, cb / sizeof(CH), format, arguments);                            \
        va_end(arguments);                                                                                             \
        status = lab_finish##S(dest, cb / sizeof(CH), end, left, flags, status);                                       \
        if (left)                                                                                                      \
            *left *= sizeof(CH);                                                                                       \
        return status;                                                                                                 \
    }

LAB_STRSAFE(A, char, _vsnprintf)
LAB_STRSAFE(W, wchar_t, _vsnwprintf)

/* ---------------------------------------------------------------------------------------- counted strings -------- */

NTSTRSAFEDDI RtlUnicodeStringValidate(const UNICODE_STRING *SourceString) {
    BOOLEAN good = SourceString && !(SourceString->Length & 1) && !(SourceString->MaximumLength & 1) &&
                   SourceString->Length <= SourceString->MaximumLength &&
                   (SourceString->Buffer || !SourceString->MaximumLength);
    return good ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}

NTSTRSAFEDDI RtlUnicodeStringInit(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszSrc) {
    size_t length = 0;
    DestinationString->Buffer = (PWCHAR)pszSrc;
    while (pszSrc && pszSrc[length])
        length++;
    if (length >= NTSTRSAFE_UNICODE_STRING_MAX_CCH)
        return STATUS_INVALID_PARAMETER;
    DestinationString->Length = (USHORT)(length * sizeof(WCHAR));
    DestinationString->MaximumLength = (USHORT)(pszSrc ? DestinationString->Length + sizeof(WCHAR) : 0);
    return STATUS_SUCCESS;
}

/* Appends up to `count` characters at `at`; no final zero is asked for in a counted string. */
NTSTRSAFEDDI lab_unicode_append(PUNICODE_STRING dest, size_t at, NTSTRSAFE_PCWSTR src, size_t count) {
    NTSTATUS status = RtlUnicodeStringValidate(dest);
    if (!NT_SUCCESS(status))
        return status;
    size_t room = dest->MaximumLength / sizeof(WCHAR), i = 0;
    for (; i < count && src[i] && at < room; i++)
        dest->Buffer[at++] = src[i];
    dest->Length = (USHORT)(at * sizeof(WCHAR));
    return i < count && src[i] ? STATUS_BUFFER_OVERFLOW : STATUS_SUCCESS;
}

NTSTRSAFEDDI RtlUnicodeStringCopyString(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszSrc) {
    return lab_unicode_append(DestinationString, 0, pszSrc, NTSTRSAFE_UNICODE_STRING_MAX_CCH);
}

NTSTRSAFEDDI RtlUnicodeStringCopy(PUNICODE_STRING DestinationString, const UNICODE_STRING *SourceString) {
    return lab_unicode_append(DestinationString, 0, SourceString->Buffer, SourceString->Length / sizeof(WCHAR));
}

NTSTRSAFEDDI RtlUnicodeStringCatString(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszSrc) {
    return lab_unicode_append(DestinationString, DestinationString->Length / sizeof(WCHAR), pszSrc,
                              NTSTRSAFE_UNICODE_STRING_MAX_CCH);
}

NTSTRSAFEDDI RtlUnicodeStringCat(PUNICODE_STRING DestinationString, const UNICODE_STRING *SourceString) {
    return lab_unicode_append(DestinationString, DestinationString->Length / sizeof(WCHAR), SourceString->Buffer,
                              SourceString->Length / sizeof(WCHAR));
}

NTSTRSAFEDDI RtlUnicodeStringVPrintf(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszFormat, va_list argList) {
    NTSTATUS status = RtlUnicodeStringValidate(DestinationString);
    if (!NT_SUCCESS(status))
        return status;
    size_t room = DestinationString->MaximumLength / sizeof(WCHAR);
    int written = room ? _vsnwprintf(DestinationString->Buffer, room, pszFormat, argList) : -1;
    BOOLEAN cut = written < 0 || (size_t)written > room;
    DestinationString->Length = (USHORT)((cut ? room : (size_t)written) * sizeof(WCHAR));
    return cut ? STATUS_BUFFER_OVERFLOW : STATUS_SUCCESS;
}

NTSTRSAFEDDI RtlUnicodeStringPrintf(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszFormat, ...) {
    va_list arguments;
    va_start(arguments, pszFormat);
    NTSTATUS status = RtlUnicodeStringVPrintf(DestinationString, pszFormat, arguments);
    va_end(arguments);
    return status;
}

#ifdef __cplusplus
}
#endif
