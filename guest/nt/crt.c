/*
 * crt.c - the C run-time library that the Windows kernel exports. The kernel's own memcpy and the like follow the
 * System V convention of our compiler, so the exported ones have another name here.
 */
#include "nt.h"
#include "nt/format.h"
#include "nt/rtl.h"

/* ------------------------------------------------------------------------------------------------------ memory ---- */

static PVOID NTAPI crt_memcpy(PVOID destination, const VOID *source, SIZE_T size) {
    return memmove(destination, source, size); /* on 64-bit Windows one and the same function */
}
NT_EXPORT_AS("memcpy", crt_memcpy);
NT_EXPORT_AS("memmove", crt_memcpy);

static PVOID NTAPI crt_memset(PVOID destination, int value, SIZE_T size) {
    return memset(destination, value, size);
}
NT_EXPORT_AS("memset", crt_memset);

static int NTAPI crt_memcmp(const VOID *left, const VOID *right, SIZE_T size) {
    return memcmp(left, right, size);
}
NT_EXPORT_AS("memcmp", crt_memcmp);

static PVOID NTAPI crt_memchr(const VOID *memory, int byte, SIZE_T size) {
    for (const u8 *at = memory; size--; at++) {
        if (*at == (u8)byte)
            return (PVOID)at;
    }
    return NULL;
}
NT_EXPORT_AS("memchr", crt_memchr);

/* The secure forms return an errno. */
enum { ERANGE = 34, EINVAL = 22, STRUNCATE = 80 };
#define TRUNCATE (~(SIZE_T)0)

static int NTAPI crt_memcpy_s(PVOID destination, SIZE_T room, const VOID *source, SIZE_T size) {
    if (!size)
        return 0;
    if (!destination)
        return EINVAL;
    if (!source || room < size) {
        memset(destination, 0, room);
        return source ? ERANGE : EINVAL;
    }
    memmove(destination, source, size);
    return 0;
}
NT_EXPORT_AS("memcpy_s", crt_memcpy_s);
NT_EXPORT_AS("memmove_s", crt_memcpy_s);

/* -------------------------------------------------------------------------------------------------- characters ---- */

static bool is_between(int character, int first, int last) {
    return character >= first && character <= last;
}

static int NTAPI crt_isdigit(int character) {
    return is_between(character, '0', '9');
}
NT_EXPORT_AS("isdigit", crt_isdigit);
NT_EXPORT_AS("iswdigit", crt_isdigit);

static int NTAPI crt_isupper(int character) {
    return is_between(character, 'A', 'Z');
}
NT_EXPORT_AS("isupper", crt_isupper);

static int NTAPI crt_islower(int character) {
    return is_between(character, 'a', 'z');
}
NT_EXPORT_AS("islower", crt_islower);

static int NTAPI crt_isalpha(int character) {
    return crt_isupper(character) || crt_islower(character);
}
NT_EXPORT_AS("isalpha", crt_isalpha);
NT_EXPORT_AS("iswalpha", crt_isalpha);

static int NTAPI crt_isalnum(int character) {
    return crt_isalpha(character) || crt_isdigit(character);
}
NT_EXPORT_AS("isalnum", crt_isalnum);
NT_EXPORT_AS("iswalnum", crt_isalnum);

static int NTAPI crt_isspace(int character) {
    return character == ' ' || is_between(character, '\t', '\r');
}
NT_EXPORT_AS("isspace", crt_isspace);
NT_EXPORT_AS("iswspace", crt_isspace);

static int NTAPI crt_isprint(int character) {
    return is_between(character, ' ', '~');
}
NT_EXPORT_AS("isprint", crt_isprint);

static int NTAPI crt_isxdigit(int character) {
    return crt_isdigit(character) || is_between(character | 0x20, 'a', 'f');
}
NT_EXPORT_AS("isxdigit", crt_isxdigit);
NT_EXPORT_AS("iswxdigit", crt_isxdigit);

static int NTAPI crt_toupper(int character) {
    return crt_islower(character) ? character - 0x20 : character;
}
NT_EXPORT_AS("toupper", crt_toupper);

static int NTAPI crt_tolower(int character) {
    return crt_isupper(character) ? character + 0x20 : character;
}
NT_EXPORT_AS("tolower", crt_tolower);

static WCHAR NTAPI crt_towupper(WCHAR character) {
    return RtlUpcaseUnicodeChar(character);
}
NT_EXPORT_AS("towupper", crt_towupper);

static WCHAR NTAPI crt_towlower(WCHAR character) {
    return (WCHAR)crt_tolower(character);
}
NT_EXPORT_AS("towlower", crt_towlower);

/* --------------------------------------------------------------------------------------------- strings, narrow ---- */

static SIZE_T NTAPI crt_strnlen(PCSTR string, SIZE_T limit) {
    SIZE_T length = 0;
    while (length < limit && string[length])
        length++;
    return length;
}
NT_EXPORT_AS("strnlen", crt_strnlen);

static SIZE_T NTAPI crt_strlen(PCSTR string) {
    return crt_strnlen(string, SIZE_MAX);
}
NT_EXPORT_AS("strlen", crt_strlen);

static int compare(PCSTR left, PCSTR right, SIZE_T limit, bool fold) {
    for (SIZE_T i = 0; i < limit; i++) {
        int a = fold ? crt_tolower((u8)left[i]) : (u8)left[i], b = fold ? crt_tolower((u8)right[i]) : (u8)right[i];
        if (a != b || !a)
            return a - b;
    }
    return 0;
}

static int NTAPI crt_strcmp(PCSTR left, PCSTR right) {
    return compare(left, right, SIZE_MAX, false);
}
NT_EXPORT_AS("strcmp", crt_strcmp);

static int NTAPI crt_strncmp(PCSTR left, PCSTR right, SIZE_T limit) {
    return compare(left, right, limit, false);
}
NT_EXPORT_AS("strncmp", crt_strncmp);

static int NTAPI crt_stricmp(PCSTR left, PCSTR right) {
    return compare(left, right, SIZE_MAX, true);
}
NT_EXPORT_AS("_stricmp", crt_stricmp);

static int NTAPI crt_strnicmp(PCSTR left, PCSTR right, SIZE_T limit) {
    return compare(left, right, limit, true);
}
NT_EXPORT_AS("_strnicmp", crt_strnicmp);

static PSTR NTAPI crt_strcpy(PSTR destination, PCSTR source) {
    memcpy(destination, source, crt_strlen(source) + 1);
    return destination;
}
NT_EXPORT_AS("strcpy", crt_strcpy);

static PSTR NTAPI crt_strncpy(PSTR destination, PCSTR source, SIZE_T limit) {
    SIZE_T length = crt_strnlen(source, limit);
    memcpy(destination, source, length);
    memset(destination + length, 0, limit - length);
    return destination;
}
NT_EXPORT_AS("strncpy", crt_strncpy);

static PSTR NTAPI crt_strcat(PSTR destination, PCSTR source) {
    crt_strcpy(destination + crt_strlen(destination), source);
    return destination;
}
NT_EXPORT_AS("strcat", crt_strcat);

static PSTR NTAPI crt_strncat(PSTR destination, PCSTR source, SIZE_T limit) {
    PSTR end = destination + crt_strlen(destination);
    SIZE_T length = crt_strnlen(source, limit);
    memcpy(end, source, length);
    end[length] = 0;
    return destination;
}
NT_EXPORT_AS("strncat", crt_strncat);

static PSTR NTAPI crt_strchr(PCSTR string, int character) {
    for (;; string++) {
        if (*string == (char)character)
            return (PSTR)string;
        if (!*string)
            return NULL;
    }
}
NT_EXPORT_AS("strchr", crt_strchr);

static PSTR NTAPI crt_strrchr(PCSTR string, int character) {
    PSTR last = NULL;
    for (;; string++) {
        if (*string == (char)character)
            last = (PSTR)string;
        if (!*string)
            return last;
    }
}
NT_EXPORT_AS("strrchr", crt_strrchr);

static PSTR NTAPI crt_strstr(PCSTR string, PCSTR wanted) {
    SIZE_T length = crt_strlen(wanted);
    for (; compare(string, wanted, length, false) != 0; string++) {
        if (!*string)
            return NULL;
    }
    return (PSTR)string;
}
NT_EXPORT_AS("strstr", crt_strstr);

static SIZE_T span(PCSTR string, PCSTR set, bool members) {
    SIZE_T length = 0;
    while (string[length] && (crt_strchr(set, string[length]) != NULL) == members)
        length++;
    return length;
}

static SIZE_T NTAPI crt_strspn(PCSTR string, PCSTR set) {
    return span(string, set, true);
}
NT_EXPORT_AS("strspn", crt_strspn);

static SIZE_T NTAPI crt_strcspn(PCSTR string, PCSTR set) {
    return span(string, set, false);
}
NT_EXPORT_AS("strcspn", crt_strcspn);

static PSTR NTAPI crt_strlwr(PSTR string) {
    for (PSTR at = string; *at; at++)
        *at = (char)crt_tolower(*at);
    return string;
}
NT_EXPORT_AS("_strlwr", crt_strlwr);

static PSTR NTAPI crt_strupr(PSTR string) {
    for (PSTR at = string; *at; at++)
        *at = (char)crt_toupper(*at);
    return string;
}
NT_EXPORT_AS("_strupr", crt_strupr);

/* Writes source behind what is at `at`, as much of it as is asked for; what does not fit empties the whole string. */
static int append(PSTR whole, SIZE_T room, SIZE_T at, PCSTR source, SIZE_T limit) {
    if (!whole || !room)
        return EINVAL;
    SIZE_T length = source ? crt_strnlen(source, limit == TRUNCATE ? room : limit) : 0;
    bool fits = at < room && length < room - at;
    if (!source || (!fits && limit != TRUNCATE)) {
        *whole = 0;
        return source ? ERANGE : EINVAL;
    }
    if (!fits)
        length = room - at - 1;
    memcpy(whole + at, source, length);
    whole[at + length] = 0;
    return fits ? 0 : STRUNCATE;
}

static int NTAPI crt_strcpy_s(PSTR destination, SIZE_T room, PCSTR source) {
    return append(destination, room, 0, source, SIZE_MAX - 1);
}
NT_EXPORT_AS("strcpy_s", crt_strcpy_s);

static int NTAPI crt_strncpy_s(PSTR destination, SIZE_T room, PCSTR source, SIZE_T limit) {
    return append(destination, room, 0, source, limit);
}
NT_EXPORT_AS("strncpy_s", crt_strncpy_s);

static int NTAPI crt_strcat_s(PSTR destination, SIZE_T room, PCSTR source) {
    return append(destination, room, crt_strnlen(destination, room), source, SIZE_MAX - 1);
}
NT_EXPORT_AS("strcat_s", crt_strcat_s);

static int NTAPI crt_strncat_s(PSTR destination, SIZE_T room, PCSTR source, SIZE_T limit) {
    return append(destination, room, crt_strnlen(destination, room), source, limit);
}
NT_EXPORT_AS("strncat_s", crt_strncat_s);

/* ----------------------------------------------------------------------------------------------- strings, wide ---- */

static SIZE_T NTAPI crt_wcsnlen(PCWSTR string, SIZE_T limit) {
    SIZE_T length = 0;
    while (length < limit && string[length])
        length++;
    return length;
}
NT_EXPORT_AS("wcsnlen", crt_wcsnlen);

static SIZE_T NTAPI crt_wcslen(PCWSTR string) {
    return crt_wcsnlen(string, SIZE_MAX);
}
NT_EXPORT_AS("wcslen", crt_wcslen);

static int compare_wide(PCWSTR left, PCWSTR right, SIZE_T limit, bool fold) {
    for (SIZE_T i = 0; i < limit; i++) {
        int a = fold ? crt_towlower(left[i]) : left[i], b = fold ? crt_towlower(right[i]) : right[i];
        if (a != b || !a)
            return a - b;
    }
    return 0;
}

static int NTAPI crt_wcscmp(PCWSTR left, PCWSTR right) {
    return compare_wide(left, right, SIZE_MAX, false);
}
NT_EXPORT_AS("wcscmp", crt_wcscmp);

static int NTAPI crt_wcsncmp(PCWSTR left, PCWSTR right, SIZE_T limit) {
    return compare_wide(left, right, limit, false);
}
NT_EXPORT_AS("wcsncmp", crt_wcsncmp);

static int NTAPI crt_wcsicmp(PCWSTR left, PCWSTR right) {
    return compare_wide(left, right, SIZE_MAX, true);
}
NT_EXPORT_AS("_wcsicmp", crt_wcsicmp);

static int NTAPI crt_wcsnicmp(PCWSTR left, PCWSTR right, SIZE_T limit) {
    return compare_wide(left, right, limit, true);
}
NT_EXPORT_AS("_wcsnicmp", crt_wcsnicmp);

static PWSTR NTAPI crt_wcscpy(PWSTR destination, PCWSTR source) {
    memcpy(destination, source, (crt_wcslen(source) + 1) * sizeof(WCHAR));
    return destination;
}
NT_EXPORT_AS("wcscpy", crt_wcscpy);

static PWSTR NTAPI crt_wcsncpy(PWSTR destination, PCWSTR source, SIZE_T limit) {
    SIZE_T length = crt_wcsnlen(source, limit);
    memcpy(destination, source, length * sizeof(WCHAR));
    memset(destination + length, 0, (limit - length) * sizeof(WCHAR));
    return destination;
}
NT_EXPORT_AS("wcsncpy", crt_wcsncpy);

static PWSTR NTAPI crt_wcscat(PWSTR destination, PCWSTR source) {
    crt_wcscpy(destination + crt_wcslen(destination), source);
    return destination;
}
NT_EXPORT_AS("wcscat", crt_wcscat);

static PWSTR NTAPI crt_wcsncat(PWSTR destination, PCWSTR source, SIZE_T limit) {
    PWSTR end = destination + crt_wcslen(destination);
    SIZE_T length = crt_wcsnlen(source, limit);
    memcpy(end, source, length * sizeof(WCHAR));
    end[length] = 0;
    return destination;
}
NT_EXPORT_AS("wcsncat", crt_wcsncat);

static PWSTR NTAPI crt_wcschr(PCWSTR string, WCHAR character) {
    for (;; string++) {
        if (*string == character)
            return (PWSTR)string;
        if (!*string)
            return NULL;
    }
}
NT_EXPORT_AS("wcschr", crt_wcschr);

static PWSTR NTAPI crt_wcsrchr(PCWSTR string, WCHAR character) {
    PWSTR last = NULL;
    for (;; string++) {
        if (*string == character)
            last = (PWSTR)string;
        if (!*string)
            return last;
    }
}
NT_EXPORT_AS("wcsrchr", crt_wcsrchr);

static PWSTR NTAPI crt_wcsstr(PCWSTR string, PCWSTR wanted) {
    SIZE_T length = crt_wcslen(wanted);
    for (; compare_wide(string, wanted, length, false) != 0; string++) {
        if (!*string)
            return NULL;
    }
    return (PWSTR)string;
}
NT_EXPORT_AS("wcsstr", crt_wcsstr);

static SIZE_T NTAPI crt_wcsspn(PCWSTR string, PCWSTR set) {
    SIZE_T length = 0;
    while (string[length] && crt_wcschr(set, string[length]))
        length++;
    return length;
}
NT_EXPORT_AS("wcsspn", crt_wcsspn);

static PWSTR NTAPI crt_wcslwr(PWSTR string) {
    for (PWSTR at = string; *at; at++)
        *at = crt_towlower(*at);
    return string;
}
NT_EXPORT_AS("_wcslwr", crt_wcslwr);

static PWSTR NTAPI crt_wcsupr(PWSTR string) {
    for (PWSTR at = string; *at; at++)
        *at = crt_towupper(*at);
    return string;
}
NT_EXPORT_AS("_wcsupr", crt_wcsupr);

static int append_wide(PWSTR whole, SIZE_T room, SIZE_T at, PCWSTR source, SIZE_T limit) {
    if (!whole || !room)
        return EINVAL;
    SIZE_T length = source ? crt_wcsnlen(source, limit == TRUNCATE ? room : limit) : 0;
    bool fits = at < room && length < room - at;
    if (!source || (!fits && limit != TRUNCATE)) {
        *whole = 0;
        return source ? ERANGE : EINVAL;
    }
    if (!fits)
        length = room - at - 1;
    memcpy(whole + at, source, length * sizeof(WCHAR));
    whole[at + length] = 0;
    return fits ? 0 : STRUNCATE;
}

static int NTAPI crt_wcscpy_s(PWSTR destination, SIZE_T room, PCWSTR source) {
    return append_wide(destination, room, 0, source, SIZE_MAX - 1);
}
NT_EXPORT_AS("wcscpy_s", crt_wcscpy_s);

static int NTAPI crt_wcsncpy_s(PWSTR destination, SIZE_T room, PCWSTR source, SIZE_T limit) {
    return append_wide(destination, room, 0, source, limit);
}
NT_EXPORT_AS("wcsncpy_s", crt_wcsncpy_s);

static int NTAPI crt_wcscat_s(PWSTR destination, SIZE_T room, PCWSTR source) {
    return append_wide(destination, room, crt_wcsnlen(destination, room), source, SIZE_MAX - 1);
}
NT_EXPORT_AS("wcscat_s", crt_wcscat_s);

static int NTAPI crt_wcsncat_s(PWSTR destination, SIZE_T room, PCWSTR source, SIZE_T limit) {
    return append_wide(destination, room, crt_wcsnlen(destination, room), source, limit);
}
NT_EXPORT_AS("wcsncat_s", crt_wcsncat_s);

static SIZE_T NTAPI crt_wcscspn(PCWSTR string, PCWSTR set) {
    SIZE_T length = 0;
    while (string[length] && !crt_wcschr(set, string[length]))
        length++;
    return length;
}
NT_EXPORT_AS("wcscspn", crt_wcscspn);

/* Characters of Latin-1 are the bytes of the same number; others end the conversion. */
static SIZE_T NTAPI crt_mbstowcs(PWSTR destination, PCSTR source, SIZE_T limit) {
    SIZE_T length = 0;
    for (; (!destination || length < limit) && source[length]; length++) {
        if (destination)
            destination[length] = (u8)source[length];
    }
    if (destination && length < limit)
        destination[length] = 0;
    return length;
}
NT_EXPORT_AS("mbstowcs", crt_mbstowcs);

static SIZE_T NTAPI crt_wcstombs(PSTR destination, PCWSTR source, SIZE_T limit) {
    SIZE_T length = 0;
    for (; (!destination || length < limit) && source[length]; length++) {
        if (source[length] > 0xff)
            return ~(SIZE_T)0;
        if (destination)
            destination[length] = (char)source[length];
    }
    if (destination && length < limit)
        destination[length] = 0;
    return length;
}
NT_EXPORT_AS("wcstombs", crt_wcstombs);

/* The next token of a string; *context remembers where the one after it begins. */
static PSTR NTAPI crt_strtok_s(PSTR string, PCSTR delimiters, PSTR *context) {
    PSTR token = string ? string : *context;
    if (!token)
        return NULL;
    token += crt_strspn(token, delimiters);
    PSTR end = token + crt_strcspn(token, delimiters);
    *context = *end ? end + 1 : end;
    if (token == end)
        return NULL;
    *end = 0;
    return token;
}
NT_EXPORT_AS("strtok_s", crt_strtok_s);

/* ----------------------------------------------------------------------------------------------------- numbers ---- */

static u32 digit_of(int character) {
    return crt_isdigit(character)                         ? (u32)(character - '0')
           : is_between(crt_tolower(character), 'a', 'z') ? (u32)(crt_tolower(character) - 'a' + 10)
                                                          : ~0u;
}

/* `characters` is the size of one: 1 or 2. */
static int character_at(const VOID *string, SIZE_T index, u32 characters) {
    return characters == sizeof(WCHAR) ? ((PCWSTR)string)[index] : ((const u8 *)string)[index];
}

/* Blanks, a sign, a prefix, digits. *ret_end is the number of characters used, 0 when there is no digit. */
static u64 parse_number(const VOID *string, u32 characters, u32 base, SIZE_T *ret_end) {
    SIZE_T at = 0;
    u64 value = 0;
    while (crt_isspace(character_at(string, at, characters)))
        at++;
    bool negative = character_at(string, at, characters) == '-';
    at += negative || character_at(string, at, characters) == '+';
    bool zero = character_at(string, at, characters) == '0';
    bool hexadecimal = zero && crt_tolower(character_at(string, at + 1, characters)) == 'x';
    if ((base == 0 || base == 16) && hexadecimal)
        at += 2;
    base = base ? base : hexadecimal ? 16 : zero ? 8 : 10;
    SIZE_T first = at;
    for (; digit_of(character_at(string, at, characters)) < base; at++)
        value = value * base + digit_of(character_at(string, at, characters));
    *ret_end = at == first ? 0 : at;
    return negative ? 0 - value : value;
}

static int NTAPI crt_atoi(PCSTR string) {
    SIZE_T end;
    return (int)parse_number(string, 1, 10, &end);
}
NT_EXPORT_AS("atoi", crt_atoi);
NT_EXPORT_AS("atol", crt_atoi);

static LONGLONG NTAPI crt_atoi64(PCSTR string) {
    SIZE_T end;
    return (LONGLONG)parse_number(string, 1, 10, &end);
}
NT_EXPORT_AS("_atoi64", crt_atoi64);

static int NTAPI crt_wtoi(PCWSTR string) {
    SIZE_T end;
    return (int)parse_number(string, sizeof(WCHAR), 10, &end);
}
NT_EXPORT_AS("_wtoi", crt_wtoi);
NT_EXPORT_AS("_wtol", crt_wtoi);

static ULONG NTAPI crt_strtoul(PCSTR string, PSTR *end, int base) {
    SIZE_T used;
    u64 value = parse_number(string, 1, (u32)base, &used);
    if (end)
        *end = (PSTR)string + used;
    return (ULONG)value;
}
NT_EXPORT_AS("strtoul", crt_strtoul);
NT_EXPORT_AS("strtol", crt_strtoul);

static ULONG NTAPI crt_wcstoul(PCWSTR string, PWSTR *end, int base) {
    SIZE_T used;
    u64 value = parse_number(string, sizeof(WCHAR), (u32)base, &used);
    if (end)
        *end = (PWSTR)string + used;
    return (ULONG)value;
}
NT_EXPORT_AS("wcstoul", crt_wcstoul);
NT_EXPORT_AS("wcstol", crt_wcstoul);

static PSTR number_to_text(u64 value, PSTR string, u32 base, bool negative) {
    char text[66];
    SIZE_T first = sizeof(text) - 1;
    text[first] = 0;
    do {
        text[--first] = "0123456789abcdefghijklmnopqrstuvwxyz"[value % base];
        value /= base;
    } while (value);
    if (negative)
        text[--first] = '-';
    return crt_strcpy(string, text + first);
}

/* Only decimal numbers have a sign. */
static PSTR NTAPI crt_itoa(int value, PSTR string, int base) {
    bool negative = value < 0 && base == 10;
    return number_to_text(negative ? 0 - (u64)(i64)value : (u32)value, string, (u32)base, negative);
}
NT_EXPORT_AS("_itoa", crt_itoa);
NT_EXPORT_AS("_ltoa", crt_itoa);

static PSTR NTAPI crt_i64toa(LONGLONG value, PSTR string, int base) {
    bool negative = value < 0 && base == 10;
    return number_to_text(negative ? 0 - (u64)value : (u64)value, string, (u32)base, negative);
}
NT_EXPORT_AS("_i64toa", crt_i64toa);

static PSTR NTAPI crt_ui64toa(ULONGLONG value, PSTR string, int base) {
    return number_to_text(value, string, (u32)base, false);
}
NT_EXPORT_AS("_ui64toa", crt_ui64toa);

static PSTR NTAPI crt_ultoa(ULONG value, PSTR string, int base) {
    return number_to_text(value, string, (u32)base, false);
}
NT_EXPORT_AS("_ultoa", crt_ultoa);

static PWSTR NTAPI crt_itow(int value, PWSTR string, int base) {
    char text[66];
    crt_itoa(value, text, base);
    for (SIZE_T i = 0; i <= crt_strlen(text); i++)
        string[i] = (u8)text[i];
    return string;
}
NT_EXPORT_AS("_itow", crt_itow);
NT_EXPORT_AS("_ltow", crt_itow);

static int NTAPI crt_abs(int value) {
    return value < 0 ? -value : value;
}
NT_EXPORT_AS("abs", crt_abs);
NT_EXPORT_AS("labs", crt_abs);

/* Microsoft's generator, whose numbers people know by heart: 41, 18467, 6334, ... */
static u32 rand_state = 1;

static int NTAPI crt_rand(VOID) {
    rand_state = rand_state * 214013 + 2531011;
    return rand_state >> 16 & 0x7fff;
}
NT_EXPORT_AS("rand", crt_rand);

static VOID NTAPI crt_srand(u32 seed) {
    rand_state = seed;
}
NT_EXPORT_AS("srand", crt_srand);

/* ------------------------------------------------------------------------------------------ sorting, searching ---- */

typedef int(NTAPI *compare_function)(const VOID *left, const VOID *right);

static void swap(u8 *left, u8 *right, SIZE_T size) {
    for (; size--; left++, right++) {
        u8 byte = *left;
        *left = *right;
        *right = byte;
    }
}

/* Puts the element at `root` where it belongs in the heap of `count` elements below it. */
static void sift_down(u8 *base, SIZE_T root, SIZE_T count, SIZE_T size, compare_function compare_elements) {
    for (SIZE_T child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && compare_elements(base + child * size, base + (child + 1) * size) < 0)
            child++;
        if (compare_elements(base + root * size, base + child * size) >= 0)
            return;
        swap(base + root * size, base + child * size, size);
    }
}

/* A heap sort: in place, and never slow, whatever the order was. */
static VOID NTAPI crt_qsort(PVOID base, SIZE_T count, SIZE_T size, compare_function compare_elements) {
    for (SIZE_T root = count / 2; root-- > 0;)
        sift_down(base, root, count, size, compare_elements);
    for (SIZE_T last = count; last-- > 1;) {
        swap(base, (u8 *)base + last * size, size);
        sift_down(base, 0, last, size, compare_elements);
    }
}
NT_EXPORT_AS("qsort", crt_qsort);

static PVOID NTAPI crt_bsearch(const VOID *key, const VOID *base, SIZE_T count, SIZE_T size,
                               compare_function compare_elements) {
    SIZE_T low = 0, high = count;
    while (low < high) {
        SIZE_T middle = (low + high) / 2;
        const u8 *element = (const u8 *)base + middle * size;
        int order = compare_elements(key, element);
        if (!order)
            return (PVOID)element;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
NT_EXPORT_AS("bsearch", crt_bsearch);

/* --------------------------------------------------------------------------------------------------- the stack ---- */

/*
 * Compilers call this before they take more than a page of stack, with the size in RAX, to touch each page in turn. All
 * pages of a kernel stack are there already, and no register may change but R10 and R11.
 */
__asm__(
    ".text\n"
    ".globl crt_chkstk\n"
    "crt_chkstk:\n"
    "    .cfi_startproc\n"
    "    ret\n"
    "    .cfi_endproc\n");
VOID NTAPI crt_chkstk(VOID);
NT_EXPORT_AS("__chkstk", crt_chkstk);
NT_EXPORT_AS("___chkstk_ms", crt_chkstk);
NT_EXPORT_AS("_chkstk", crt_chkstk);

/* ---------------------------------------------------------------------------------------------- jumps (cpu/setjmp.S) -
 */

int NTAPI crt_setjmp(PVOID buffer, PVOID frame);
NT_EXPORT_AS("_setjmp", crt_setjmp);
NT_EXPORT_AS("_setjmpex", crt_setjmp);
NT_EXPORT_AS("setjmp", crt_setjmp);
_Noreturn VOID NTAPI crt_longjmp(PVOID buffer, int value);
NT_EXPORT_AS("longjmp", crt_longjmp);
