/*
 * format.h - the one text formatter: the language of Windows' kernel printf, for DbgPrint and for our own log.
 *
 *   %[-+ #0][width|*][.precision|.*][h|hh|l|ll|w|I|I32|I64|z|t|j|L]conversion
 *   d i u x X o   integers; l and none are 32 bits, ll I64 I z t j are 64
 *   p             16 upper-case digits
 *   c C s S       w or l makes c and s wide, S and C are wide unless h; wide text is printed as UTF-8
 *   Z             PANSI_STRING; %wZ: PUNICODE_STRING
 *   e f g a       no floating point in the kernel: the argument's bits are printed as 0x and 16 digits
 *   n             takes its argument and writes nothing
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Both format into buffer[0..size), always end it with a zero (unless size is 0), drop what does not fit, and return
 * the number of characters stored, without the zero. Pointers are trusted as Windows trusts them: NULL prints
 * "(null)", any other bad one faults.
 */
size_t nt_format(char *buffer, size_t size, const char *format, __builtin_va_list arguments);
size_t nt_format_ms(char *buffer, size_t size, const char *format, __builtin_ms_va_list arguments);

/*
 * As _vsnprintf and _vsnwprintf: the number of characters, without the zero, which is left out when the text just fills
 * the buffer; -1 when it does not fit. In the wide form s and c are wide, S and C are not, and the text is UTF-16.
 */
int nt_format_text(char *buffer, size_t size, const char *format, __builtin_ms_va_list arguments);
int nt_format_wide_text(uint16_t *buffer, size_t size, const uint16_t *format, __builtin_ms_va_list arguments);
