/*
 * format.c - see format.h for the language. Where C and Microsoft's kernel CRT differ, this follows Microsoft: 0 also
 * pads text, # never marks a zero, %p has no 0x, an unknown conversion prints its letter.
 */
#include "nt/format.h"
#include "nt.h"

/* --------------------------------------------------------------------------------------------------- arguments ---- */

/*
 * Arguments of either calling convention, one after the other. Windows' va_list is a pointer to slots of 8 bytes. In
 * the System V list every integer and pointer takes 8 bytes too, the upper half of a narrower one being undefined:
 * so both are read as u64 and cut to the size that the format names.
 */
struct arguments {
    const u64 *slots; /* NULL: system_v */
    __builtin_va_list system_v;
};

static u64 next_argument(struct arguments *arguments) {
    return arguments->slots ? *arguments->slots++ : __builtin_va_arg(arguments->system_v, u64);
}

/* ------------------------------------------------------------------------------------------------------ output ---- */

/* Sizes and lengths are in units of the buffer: bytes or, of a wide one, WCHARs. */
struct output {
    void *buffer;
    bool wide;
    size_t size; /* without the unit for the zero that ends it all */
    size_t length;
    bool full; /* something was dropped, so nothing shorter may follow */
};

static bool has_room(struct output *output, size_t units) {
    if (units > output->size - output->length)
        output->full = true;
    return !output->full;
}

static void set_unit(struct output *output, size_t index, u16 unit) {
    if (output->wide)
        ((WCHAR *)output->buffer)[index] = unit;
    else
        ((char *)output->buffer)[index] = (char)unit;
}

static void put_unit(struct output *output, u16 unit) {
    if (has_room(output, 1))
        set_unit(output, output->length++, unit);
}

static void put(struct output *output, char character) {
    put_unit(output, (u8)character);
}

static void put_repeated(struct output *output, char character, size_t count) {
    while (count--)
        put(output, character);
}

/* ------------------------------------------------------------------------------------------------- conversions ---- */

enum size { SIZE_NONE, SIZE_BYTE, SIZE_SHORT, SIZE_LONG, SIZE_QUAD, SIZE_WIDE };
enum { NO_PRECISION = -1, POINTER_DIGITS = 16 };

struct conversion {
    bool left, plus, space, alternate, zero;
    int width, precision;
    enum size size;
    char letter;
};

/* Everything printed is a prefix (sign, 0x) and a body, padded together to the width. */
static void put_padding_before(struct output *output, const struct conversion *conversion, const char *prefix,
                               size_t padding) {
    if (!conversion->left && !conversion->zero)
        put_repeated(output, ' ', padding);
    for (; *prefix; prefix++)
        put(output, *prefix);
    if (!conversion->left && conversion->zero)
        put_repeated(output, '0', padding);
}

static size_t padding_of(const struct conversion *conversion, size_t length) {
    return (size_t)conversion->width > length ? (size_t)conversion->width - length : 0;
}

static void put_narrow(struct output *output, const struct conversion *conversion, const char *text, size_t length) {
    size_t padding = padding_of(conversion, length);
    put_padding_before(output, conversion, "", padding);
    for (size_t i = 0; i < length; i++)
        put(output, text[i]);
    if (conversion->left)
        put_repeated(output, ' ', padding);
}

/* One code point as UTF-8, all of it or nothing. */
static void put_utf8(struct output *output, u32 point) {
    u32 continuation = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    if (!has_room(output, 1 + continuation))
        return;
    static const u8 lead[] = {0x00, 0xc0, 0xe0, 0xf0};
    put(output, (char)(lead[continuation] | point >> 6 * continuation));
    while (continuation--)
        put(output, (char)(0x80 | (point >> 6 * continuation & 0x3f)));
}

static void put_wide(struct output *output, const struct conversion *conversion, PCWSTR text, size_t length) {
    size_t padding = padding_of(conversion, length);
    put_padding_before(output, conversion, "", padding);
    for (size_t i = 0; i < length; i++) {
        u32 point = text[i];
        if (output->wide) {
            put_unit(output, text[i]);
            continue;
        }
        if ((point & 0xfc00) == 0xd800 && i + 1 < length && (text[i + 1] & 0xfc00) == 0xdc00)
            point = 0x10000 + ((point & 0x3ff) << 10) + (text[++i] & 0x3ff);
        put_utf8(output, (point & 0xf800) == 0xd800 ? 0xfffd : point); /* half a pair: U+FFFD */
    }
    if (conversion->left)
        put_repeated(output, ' ', padding);
}

static size_t text_limit(const struct conversion *conversion) {
    return conversion->precision == NO_PRECISION ? SIZE_MAX : (size_t)conversion->precision;
}

static void put_null(struct output *output, const struct conversion *conversion, size_t limit) {
    size_t length = sizeof("(null)") - 1;
    put_narrow(output, conversion, "(null)", length < limit ? length : limit);
}

/* s and c are as the output is, S and C are the other; l, w and h say it of both. */
static bool is_wide(const struct output *output, const struct conversion *conversion, char other_letter) {
    if (conversion->size == SIZE_LONG || conversion->size == SIZE_WIDE)
        return true;
    return conversion->size != SIZE_SHORT && output->wide != (conversion->letter == other_letter);
}

static void format_character(struct output *output, const struct conversion *conversion, u64 argument) {
    if (is_wide(output, conversion, 'C'))
        put_wide(output, conversion, (WCHAR[]){(WCHAR)argument}, 1);
    else
        put_narrow(output, conversion, (char[]){(char)argument}, 1);
}

static void format_string(struct output *output, const struct conversion *conversion, u64 argument) {
    size_t length = 0, limit = text_limit(conversion);
    if (!argument) {
        put_null(output, conversion, limit);
    } else if (is_wide(output, conversion, 'S')) {
        PCWSTR text = (PCWSTR)argument;
        while (length < limit && text[length])
            length++;
        put_wide(output, conversion, text, length);
    } else {
        PCSTR text = (PCSTR)argument;
        while (length < limit && text[length])
            length++;
        put_narrow(output, conversion, text, length);
    }
}

/* ANSI_STRING and UNICODE_STRING differ only in what Buffer points to; the precision does not apply, as in Windows. */
static void format_counted_string(struct output *output, const struct conversion *conversion, u64 argument) {
    const ANSI_STRING *string = (const ANSI_STRING *)argument;
    if (!string || !string->Buffer)
        put_null(output, conversion, SIZE_MAX);
    else if (conversion->size == SIZE_LONG || conversion->size == SIZE_WIDE)
        put_wide(output, conversion, (PCWSTR)(const void *)string->Buffer, string->Length / sizeof(WCHAR));
    else
        put_narrow(output, conversion, string->Buffer, string->Length);
}

static u64 cut_to_size(enum size size, u64 value, bool is_signed) {
    switch (size) {
    case SIZE_BYTE:
        return is_signed ? (u64)(i64)(int8_t)value : (u8)value;
    case SIZE_SHORT:
        return is_signed ? (u64)(i64)(int16_t)value : (u16)value;
    case SIZE_QUAD:
        return value;
    default:
        return is_signed ? (u64)(i64)(int32_t)value : (u32)value;
    }
}

/* Digits of `value`, at least `precision` of them, with `prefix` before. */
static void put_number(struct output *output, const struct conversion *conversion, const char *prefix, u64 value,
                       u32 base) {
    const char *digit =
        conversion->letter == 'X' || conversion->letter == 'p' ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[24]; /* 22 octal digits of a u64 and the zero before them */
    size_t first = sizeof(text);
    bool was_zero = !value;
    for (; value; value /= base)
        text[--first] = digit[value % base];
    if (base == 8 && conversion->alternate && !was_zero)
        text[--first] = '0';

    size_t digits = sizeof(text) - first, prefix_length = 0;
    size_t least = conversion->precision == NO_PRECISION ? 1 : (size_t)conversion->precision;
    size_t zeros = digits < least ? least - digits : 0;
    while (prefix[prefix_length])
        prefix_length++;

    struct conversion padded = *conversion;
    padded.zero = conversion->zero && conversion->precision == NO_PRECISION; /* a precision says it better */
    size_t padding = padding_of(conversion, prefix_length + zeros + digits);
    put_padding_before(output, &padded, prefix, padding);
    put_repeated(output, '0', zeros);
    while (first < sizeof(text))
        put(output, text[first++]);
    if (conversion->left)
        put_repeated(output, ' ', padding);
}

static void format_signed(struct output *output, const struct conversion *conversion, u64 argument) {
    u64 value = cut_to_size(conversion->size, argument, true);
    bool negative = (i64)value < 0;
    const char *sign = negative ? "-" : conversion->plus ? "+" : conversion->space ? " " : "";
    put_number(output, conversion, sign, negative ? 0 - value : value, 10);
}

static void format_unsigned(struct output *output, const struct conversion *conversion, u64 argument, u32 base) {
    u64 value = cut_to_size(conversion->size, argument, false);
    bool mark = base == 16 && conversion->alternate && value;
    put_number(output, conversion, !mark ? "" : conversion->letter == 'x' ? "0x" : "0X", value, base);
}

static void format_pointer(struct output *output, const struct conversion *conversion, u64 argument) {
    struct conversion pointer = *conversion;
    pointer.size = SIZE_QUAD;
    pointer.precision = POINTER_DIGITS;
    format_unsigned(output, &pointer, argument, 16);
}

static void format_floating(struct output *output, const struct conversion *conversion, u64 argument) {
    struct conversion bits = *conversion;
    bits.letter = 'x';
    bits.precision = POINTER_DIGITS;
    put_number(output, &bits, "0x", argument, 16);
}

static void format_one(struct output *output, const struct conversion *conversion, struct arguments *arguments) {
    switch (conversion->letter) {
    case 'd':
    case 'i':
        return format_signed(output, conversion, next_argument(arguments));
    case 'u':
        return format_unsigned(output, conversion, next_argument(arguments), 10);
    case 'o':
        return format_unsigned(output, conversion, next_argument(arguments), 8);
    case 'x':
    case 'X':
        return format_unsigned(output, conversion, next_argument(arguments), 16);
    case 'p':
        return format_pointer(output, conversion, next_argument(arguments));
    case 'c':
    case 'C':
        return format_character(output, conversion, next_argument(arguments));
    case 's':
    case 'S':
        return format_string(output, conversion, next_argument(arguments));
    case 'Z':
        return format_counted_string(output, conversion, next_argument(arguments));
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
    case 'a':
    case 'A':
        return format_floating(output, conversion, next_argument(arguments));
    case 'n':
        next_argument(arguments);
        return;
    default:
        put(output, conversion->letter); /* also %% */
    }
}

/* ----------------------------------------------------------------------------------------------------- parsing ---- */

static const char *parse_flags(const char *format, struct conversion *ret) {
    for (;; format++) {
        switch (*format) {
        case '-':
            ret->left = true;
            break;
        case '+':
            ret->plus = true;
            break;
        case ' ':
            ret->space = true;
            break;
        case '#':
            ret->alternate = true;
            break;
        case '0':
            ret->zero = true;
            break;
        default:
            return format;
        }
    }
}

/* Digits or *; a number too big for any buffer of ours is cut, so that it cannot overflow. */
static const char *parse_number(const char *format, struct arguments *arguments, int *ret) {
    enum { BIGGEST = 1 << 20 };
    i64 number = 0;
    if (*format == '*') {
        number = (int32_t)next_argument(arguments);
        format++;
    } else {
        for (; *format >= '0' && *format <= '9'; format++)
            number = number < BIGGEST ? number * 10 + (*format - '0') : BIGGEST;
    }
    *ret = (int)(number > BIGGEST ? BIGGEST : number < -BIGGEST ? -BIGGEST : number);
    return format;
}

static const char *parse_size(const char *format, struct conversion *ret) {
    static const struct {
        char text[4];
        enum size size;
    } sizes[] = {
        {"hh", SIZE_BYTE},  {"h", SIZE_SHORT},  {"ll", SIZE_QUAD}, {"l", SIZE_LONG},
        {"I64", SIZE_QUAD}, {"I32", SIZE_LONG}, {"I", SIZE_QUAD},  {"w", SIZE_WIDE},
        {"z", SIZE_QUAD},   {"t", SIZE_QUAD},   {"j", SIZE_QUAD},  {"L", SIZE_NONE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t length = 0;
        while (sizes[i].text[length] && sizes[i].text[length] == format[length])
            length++;
        if (!sizes[i].text[length]) {
            ret->size = sizes[i].size;
            return format + length;
        }
    }
    return format;
}

/* From behind the % up to and with the letter, which is zero when the format ends early. */
static const char *parse(const char *format, struct arguments *arguments, struct conversion *ret) {
    *ret = (struct conversion){.precision = NO_PRECISION};
    format = parse_flags(format, ret);
    format = parse_number(format, arguments, &ret->width);
    if (ret->width < 0) {
        ret->left = true;
        ret->width = -ret->width;
    }
    if (*format == '.') {
        format = parse_number(format + 1, arguments, &ret->precision);
        if (ret->precision < 0)
            ret->precision = NO_PRECISION;
    }
    format = parse_size(format, ret);
    ret->letter = *format;
    return *format ? format + 1 : format;
}

static void format_narrow(struct output *output, const char *format, struct arguments *arguments) {
    while (*format) {
        if (*format != '%') {
            put(output, *format++);
            continue;
        }
        struct conversion conversion;
        format = parse(format + 1, arguments, &conversion);
        if (conversion.letter)
            format_one(output, &conversion, arguments);
    }
}

/* What stands between a % and its letter is ASCII, and short. */
static void format_wide(struct output *output, PCWSTR format, struct arguments *arguments) {
    enum { LONGEST_SPECIFICATION = 40 };
    while (*format) {
        if (*format != '%') {
            put_unit(output, *format++);
            continue;
        }
        char specification[LONGEST_SPECIFICATION] = {0};
        for (size_t i = 0; i + 1 < LONGEST_SPECIFICATION && format[i + 1]; i++)
            specification[i] = format[i + 1] < 0x80 ? (char)format[i + 1] : '?';
        struct conversion conversion;
        format += 1 + (parse(specification, arguments, &conversion) - specification);
        if (conversion.letter)
            format_one(output, &conversion, arguments);
    }
}

static size_t format_for_log(char *buffer, size_t size, const char *format, struct arguments *arguments) {
    struct output output = {.buffer = buffer, .size = size ? size - 1 : 0};
    format_narrow(&output, format, arguments);
    if (size)
        set_unit(&output, output.length, 0);
    return output.length;
}

size_t nt_format(char *buffer, size_t size, const char *format, __builtin_va_list list) {
    struct arguments arguments = {.slots = NULL};
    __builtin_va_copy(arguments.system_v, list);
    size_t length = format_for_log(buffer, size, format, &arguments);
    __builtin_va_end(arguments.system_v);
    return length;
}

size_t nt_format_ms(char *buffer, size_t size, const char *format, __builtin_ms_va_list list) {
    struct arguments arguments = {.slots = (const u64 *)(const void *)list};
    return format_for_log(buffer, size, format, &arguments);
}

/* ---------------------------------------------------------------------------------- the run-time library's own ---- */

static int finish(struct output *output) {
    if (output->length < output->size)
        set_unit(output, output->length, 0);
    return output->full ? -1 : (int)output->length;
}

int nt_format_text(char *buffer, size_t size, const char *format, __builtin_ms_va_list list) {
    struct arguments arguments = {.slots = (const u64 *)(const void *)list};
    struct output output = {.buffer = buffer, .size = size};
    format_narrow(&output, format, &arguments);
    return finish(&output);
}

int nt_format_wide_text(u16 *buffer, size_t size, const u16 *format, __builtin_ms_va_list list) {
    struct arguments arguments = {.slots = (const u64 *)(const void *)list};
    struct output output = {.buffer = buffer, .size = size, .wide = true};
    format_wide(&output, format, &arguments);
    return finish(&output);
}
