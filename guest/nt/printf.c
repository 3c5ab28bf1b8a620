/*
 * printf.c - the printf family of the Windows kernel.
 */
#include "nt.h"
#include "nt/format.h"

enum { UNLIMITED = 0x7fffffff };

static int NTAPI crt_vsnprintf(PSTR buffer, SIZE_T size, PCSTR format, __builtin_ms_va_list arguments) {
    return nt_format_text(buffer, size, format, arguments);
}
NT_EXPORT_AS("_vsnprintf", crt_vsnprintf);

static int NTAPI crt_vsnwprintf(PWSTR buffer, SIZE_T size, PCWSTR format, __builtin_ms_va_list arguments) {
    return nt_format_wide_text(buffer, size, format, arguments);
}
NT_EXPORT_AS("_vsnwprintf", crt_vsnwprintf);

static int NTAPI crt_vsprintf(PSTR buffer, PCSTR format, __builtin_ms_va_list arguments) {
    return nt_format_text(buffer, UNLIMITED, format, arguments);
}
NT_EXPORT_AS("vsprintf", crt_vsprintf);

static int NTAPI crt_snprintf(PSTR buffer, SIZE_T size, PCSTR format, ...) {
    __builtin_ms_va_list arguments;
    __builtin_ms_va_start(arguments, format);
    int length = nt_format_text(buffer, size, format, arguments);
    __builtin_ms_va_end(arguments);
    return length;
}
NT_EXPORT_AS("_snprintf", crt_snprintf);

static int NTAPI crt_snwprintf(PWSTR buffer, SIZE_T size, PCWSTR format, ...) {
    __builtin_ms_va_list arguments;
    __builtin_ms_va_start(arguments, format);
    int length = nt_format_wide_text(buffer, size, format, arguments);
    __builtin_ms_va_end(arguments);
    return length;
}
NT_EXPORT_AS("_snwprintf", crt_snwprintf);

static int NTAPI crt_sprintf(PSTR buffer, PCSTR format, ...) {
    __builtin_ms_va_list arguments;
    __builtin_ms_va_start(arguments, format);
    int length = nt_format_text(buffer, UNLIMITED, format, arguments);
    __builtin_ms_va_end(arguments);
    return length;
}
NT_EXPORT_AS("sprintf", crt_sprintf);

static int NTAPI crt_swprintf(PWSTR buffer, PCWSTR format, ...) {
    __builtin_ms_va_list arguments;
    __builtin_ms_va_start(arguments, format);
    int length = nt_format_wide_text(buffer, UNLIMITED, format, arguments);
    __builtin_ms_va_end(arguments);
    return length;
}
NT_EXPORT_AS("swprintf", crt_swprintf);

/* The secure forms always end with a zero; what does not fit leaves an empty string. */
static int secure(PSTR buffer, SIZE_T size, PCSTR format, __builtin_ms_va_list arguments) {
    int length = size ? nt_format_text(buffer, size, format, arguments) : -1;
    bool fits = length >= 0 && (SIZE_T)length < size;
    if (!fits && size)
        buffer[0] = 0;
    return fits ? length : -1;
}

static int secure_wide(PWSTR buffer, SIZE_T size, PCWSTR format, __builtin_ms_va_list arguments) {
    int length = size ? nt_format_wide_text(buffer, size, format, arguments) : -1;
    bool fits = length >= 0 && (SIZE_T)length < size;
    if (!fits && size)
        buffer[0] = 0;
    return fits ? length : -1;
}

static int NTAPI crt_sprintf_s(PSTR buffer, SIZE_T size, PCSTR format, ...) {
    __builtin_ms_va_list arguments;
    __builtin_ms_va_start(arguments, format);
    int length = secure(buffer, size, format, arguments);
    __builtin_ms_va_end(arguments);
    return length;
}
NT_EXPORT_AS("sprintf_s", crt_sprintf_s);

static int NTAPI crt_swprintf_s(PWSTR buffer, SIZE_T size, PCWSTR format, ...) {
    __builtin_ms_va_list arguments;
    __builtin_ms_va_start(arguments, format);
    int length = secure_wide(buffer, size, format, arguments);
    __builtin_ms_va_end(arguments);
    return length;
}
NT_EXPORT_AS("swprintf_s", crt_swprintf_s);

static int NTAPI crt_vsprintf_s(PSTR buffer, SIZE_T size, PCSTR format, __builtin_ms_va_list arguments) {
    return secure(buffer, size, format, arguments);
}
NT_EXPORT_AS("vsprintf_s", crt_vsprintf_s);

static int NTAPI crt_vswprintf_s(PWSTR buffer, SIZE_T size, PCWSTR format, __builtin_ms_va_list arguments) {
    return secure_wide(buffer, size, format, arguments);
}
NT_EXPORT_AS("vswprintf_s", crt_vswprintf_s);

/* `count` characters at most and a zero; -1 when something was cut off. */
static int limited(PSTR buffer, SIZE_T size, SIZE_T count, PCSTR format, __builtin_ms_va_list arguments) {
    SIZE_T room = count < size ? count : size ? size - 1 : 0;
    int length = nt_format_text(buffer, room, format, arguments);
    if (size)
        buffer[length < 0 ? room : (SIZE_T)length] = 0;
    return length;
}

static int limited_wide(PWSTR buffer, SIZE_T size, SIZE_T count, PCWSTR format, __builtin_ms_va_list arguments) {
    SIZE_T room = count < size ? count : size ? size - 1 : 0;
    int length = nt_format_wide_text(buffer, room, format, arguments);
    if (size)
        buffer[length < 0 ? room : (SIZE_T)length] = 0;
    return length;
}

static int NTAPI crt_snprintf_s(PSTR buffer, SIZE_T size, SIZE_T count, PCSTR format, ...) {
    __builtin_ms_va_list arguments;
    __builtin_ms_va_start(arguments, format);
    int length = limited(buffer, size, count, format, arguments);
    __builtin_ms_va_end(arguments);
    return length;
}
NT_EXPORT_AS("_snprintf_s", crt_snprintf_s);

static int NTAPI crt_snwprintf_s(PWSTR buffer, SIZE_T size, SIZE_T count, PCWSTR format, ...) {
    __builtin_ms_va_list arguments;
    __builtin_ms_va_start(arguments, format);
    int length = limited_wide(buffer, size, count, format, arguments);
    __builtin_ms_va_end(arguments);
    return length;
}
NT_EXPORT_AS("_snwprintf_s", crt_snwprintf_s);

static int NTAPI crt_vsnprintf_s(PSTR buffer, SIZE_T size, SIZE_T count, PCSTR format, __builtin_ms_va_list arguments) {
    return limited(buffer, size, count, format, arguments);
}
NT_EXPORT_AS("_vsnprintf_s", crt_vsnprintf_s);

static int NTAPI crt_vsnwprintf_s(PWSTR buffer, SIZE_T size, SIZE_T count, PCWSTR format,
                                  __builtin_ms_va_list arguments) {
    return limited_wide(buffer, size, count, format, arguments);
}
NT_EXPORT_AS("_vsnwprintf_s", crt_vsnwprintf_s);
