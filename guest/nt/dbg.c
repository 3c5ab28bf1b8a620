/*
 * dbg.c - the debugger's output, which goes to the kernel log.
 */
#include "nt.h"
#include "nt/format.h"

/* Windows transmits at most this much of one call, and so do we: what does not fit is dropped. */
enum { DBG_PRINT_LIMIT = 512 };

/*
 * A Windows debugger drops what the component's filter mask excludes. Nothing is dropped here, because a lab wants to
 * see it; ComponentId and Level are taken and ignored.
 */
ULONG NTAPI vDbgPrintEx(ULONG ComponentId, ULONG Level, PCSTR Format, __builtin_ms_va_list arglist) {
    (void)ComponentId;
    (void)Level;
    char text[DBG_PRINT_LIMIT + 1];
    log_write(text, nt_format_ms(text, sizeof(text), Format, arglist));
    return STATUS_SUCCESS;
}
NT_EXPORT(vDbgPrintEx);

ULONG NTAPI DbgPrintEx(ULONG ComponentId, ULONG Level, PCSTR Format, ...) {
    __builtin_ms_va_list arguments;
    __builtin_ms_va_start(arguments, Format);
    ULONG status = vDbgPrintEx(ComponentId, Level, Format, arguments);
    __builtin_ms_va_end(arguments);
    return status;
}
NT_EXPORT(DbgPrintEx);

ULONG NTAPI DbgPrint(PCSTR Format, ...) {
    __builtin_ms_va_list arguments;
    __builtin_ms_va_start(arguments, Format);
    ULONG status = vDbgPrintEx(DPFLTR_DEFAULT_ID, DPFLTR_INFO_LEVEL, Format, arguments);
    __builtin_ms_va_end(arguments);
    return status;
}
NT_EXPORT(DbgPrint);
