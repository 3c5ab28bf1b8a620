/*
 * probe.h - a detour of the CPU: into code from outside, under controls of its own, and back at the first trap.
 *
 * Whatever the code does to its stack or to the control registers, the way back works: every trap enters on a stack of
 * its own, which lies here beside all that is needed to put the kernel's controls in place again. As long as
 * probe_detour.running is set, the common entry of traps (entry.S) leads here and not to trap_handle.
 */
#pragma once

#include "lab.h"

/* What decides how memory is translated and what may be done with it. */
struct probe_controls {
    u64 cr0, cr3, cr4, efer;
    u64 pkru; /* loaded if CR4.PKE is set */
    u64 pkrs; /* loaded if CR4.PKS is set */
};

enum { PROBE_TRAP_STACK = 1024 };

struct probe_detour {
    u64 running;
    u64 stack; /* of the kernel, to come back to */
    struct probe_controls outside, inside;
    u64 cr2;                        /* at the trap */
    struct lab_registers registers; /* what the code starts with, then those of the trap */
    u8 trap_stack[PROBE_TRAP_STACK] __attribute__((aligned(16)));
};
extern struct probe_detour probe_detour;

/* Goes where the detour's registers say, and returns when a trap has come: any exception or interrupt. */
void probe_take_detour(struct probe_detour *detour);

/*
 * Whether a non-maskable interrupt is the controller's way to end a probe. It may come when the probe has just ended by
 * itself, and then is to be ignored.
 */
bool probe_is_under_way(void);
