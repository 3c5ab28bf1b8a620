#include "cpu/exit.h"

#include "cpu/instructions.h"

enum { PVPANIC_PORT = 0x505, PVPANIC_PANICKED = 1, DEBUG_EXIT_PORT = 0xf4 };

/* Both devices act only after the guest has run on for a while, and may be absent: so halt. */
static _Noreturn void halt(void) {
    for (;;) {
        cli();
        hlt();
    }
}

_Noreturn void exit_panic(void) {
    outb(PVPANIC_PORT, PVPANIC_PANICKED);
    halt();
}

_Noreturn void exit_debug(u8 value) {
    outb(DEBUG_EXIT_PORT, value);
    halt();
}
