/*
 * check.c - how a check fails: it leaves word of what it found, and ends by an exception that the fault guard takes.
 */
#include "lab.h"
#include "nt/format.h"

struct lab_check_failure lab_check_failure;

_Noreturn void lab_check_failed(const char *file, u32 line, const char *condition, const char *format, ...) {
    lab_check_failure = (struct lab_check_failure){.file = file, .line = line, .condition = condition};
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    nt_format(lab_check_failure.text, sizeof(lab_check_failure.text), format, arguments);
    __builtin_va_end(arguments);
    log_print("check failed at %s:%u: %s: %s\n", file, line, condition, lab_check_failure.text);
    __builtin_trap();
}
