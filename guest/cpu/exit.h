/*
 * exit.h - how the guest leaves: through devices of QEMU, and by halting in any case.
 */
#pragma once

#include "lab.h"

/* Tells QEMU that the guest has panicked: with -action panic=pause the machine stops for inspection. */
_Noreturn void exit_panic(void);

/* Ends QEMU through isa-debug-exit, whose exit status is then EXIT_DONE * 2 + 1. */
enum { EXIT_DONE = 0x10 };
_Noreturn void exit_debug(u8 value);
