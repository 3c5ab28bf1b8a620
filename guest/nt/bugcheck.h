/*
 * bugcheck.h - STOP: the end of the guest, with its reason kept for inspection. KeBugCheckEx itself is in nt.h.
 */
#pragma once

#include "nt.h"

/* Reports an exception that nobody guards and stops with the code Windows would choose for it. */
_Noreturn void bugcheck_for_trap(const struct lab_registers *registers, u64 cr2);

/* Stops for an exception without a handler; `trap` is what raised it, NULL when a call did. */
_Noreturn void bugcheck_for_exception(const EXCEPTION_RECORD *record, const CONTEXT *context,
                                      const struct lab_registers *trap);

/* The name of a STOP code, "UNKNOWN" for those not in the table. */
const char *bugcheck_name(u64 code);
