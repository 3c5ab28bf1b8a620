/*
 * stdio.h - the part of C's stdio that a Windows kernel exports: formatting into memory. It stands instead of
 * mingw-w64's header, which sends these names to a user-mode library. swprintf takes no size, as in Microsoft's
 * headers for drivers.
 */
#pragma once
#pragma clang system_header

#define _INC_STDIO
#define _INC_STDIO_S
#define _STDIO_DEFINED
#define _WSTDIO_DEFINED
#define _WSTDIO_S_DEFINED

#include <stdarg.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LAB_STDIO __declspec(dllimport) int __cdecl

LAB_STDIO sprintf(char *buffer, const char *format, ...);
LAB_STDIO sprintf_s(char *buffer, size_t size, const char *format, ...);
LAB_STDIO vsprintf(char *buffer, const char *format, va_list arguments);
LAB_STDIO vsprintf_s(char *buffer, size_t size, const char *format, va_list arguments);
LAB_STDIO _snprintf(char *buffer, size_t count, const char *format, ...);
LAB_STDIO _snprintf_s(char *buffer, size_t size, size_t count, const char *format, ...);
LAB_STDIO _vsnprintf(char *buffer, size_t count, const char *format, va_list arguments);
LAB_STDIO _vsnprintf_s(char *buffer, size_t size, size_t count, const char *format, va_list arguments);
LAB_STDIO sscanf(const char *text, const char *format, ...);
LAB_STDIO sscanf_s(const char *text, const char *format, ...);

LAB_STDIO swprintf(wchar_t *buffer, const wchar_t *format, ...);
LAB_STDIO swprintf_s(wchar_t *buffer, size_t size, const wchar_t *format, ...);
LAB_STDIO vswprintf_s(wchar_t *buffer, size_t size, const wchar_t *format, va_list arguments);
LAB_STDIO _swprintf(wchar_t *buffer, const wchar_t *format, ...);
LAB_STDIO _vswprintf(wchar_t *buffer, const wchar_t *format, va_list arguments);
LAB_STDIO _snwprintf(wchar_t *buffer, size_t count, const wchar_t *format, ...);
LAB_STDIO _snwprintf_s(wchar_t *buffer, size_t size, size_t count, const wchar_t *format, ...);
LAB_STDIO _vsnwprintf(wchar_t *buffer, size_t count, const wchar_t *format, va_list arguments);
LAB_STDIO _vsnwprintf_s(wchar_t *buffer, size_t size, size_t count, const wchar_t *format, va_list arguments);
LAB_STDIO swscanf_s(const wchar_t *text, const wchar_t *format, ...);

#undef LAB_STDIO

#ifdef __cplusplus
}
#endif
