/*
 * clock.h - time since boot, by the time-stamp counter, and interrupts by the local APIC's timer: a tick while drivers
 * run, or an alarm for a guest that sleeps. Both come as CLOCK_VECTOR; the one set last counts.
 */
#pragma once

#include "lab.h"

/* Windows counts time in units of 100 ns; its clock ticks each 15.625 ms. */
#define CLOCK_HZ 10000000ull
enum { CLOCK_TICK = 156250 };

/* The vector of Windows' clock, which is held back from CLOCK_LEVEL on. */
enum { CLOCK_VECTOR = 0xd1 };

u64 clock_now(void);

/* Ticks from now on, if it does not yet. */
void clock_start_tick(void);

/* One interrupt at a time, if it is not over by then; CLOCK_NEVER: none. */
#define CLOCK_NEVER (~0ull)
void clock_set_alarm(u64 when);

/* Whoever takes the interrupt acknowledges it, or no other comes. */
void clock_acknowledge(void);
