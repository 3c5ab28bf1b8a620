/*
 * bugcheck.h - STOP: the end of the guest, with its reason kept for inspection. KeBugCheckEx itself is in nt.h.
 */
#pragma once

#include "lab.h"

/* Reports an exception that nobody guards and stops with the code Windows would choose for it. */
_Noreturn void bugcheck_for_trap(const struct lab_registers *registers, u64 cr2);

/* The name of a STOP code, "UNKNOWN" for those not in the table. */
const char *bugcheck_name(u64 code);
