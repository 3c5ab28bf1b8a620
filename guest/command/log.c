/*
 * log.c - the kernel log: a ring in RAM that any snapshot shows, and the serial line.
 */
#include "cpu/serial.h"
#include "lab.h"
#include "nt/format.h"

struct lab_log lab_log;

void log_write(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        lab_log.text[lab_log.written % LAB_LOG_SIZE] = text[i];
        lab_log.written++;
        if (text[i] == '\n')
            serial_write('\r');
        serial_write(text[i]);
    }
}

void log_vprint(const char *format, __builtin_va_list arguments) {
    char text[512];
    log_write(text, nt_format(text, sizeof(text), format, arguments));
}

void log_print(const char *format, ...) {
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    log_vprint(format, arguments);
    __builtin_va_end(arguments);
}
