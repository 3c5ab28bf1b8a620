/*
 * clock.h - time since boot, by the time-stamp counter, and an alarm for a guest that sleeps, by the local APIC's
 * timer.
 */
#pragma once

#include "lab.h"

/* Windows counts time in units of 100 ns. */
#define CLOCK_HZ 10000000ull

u64 clock_now(void);

/* Lets an interrupt come at a time, if it is not over by then; a later call replaces it. */
void clock_set_alarm(u64 when);

/* The alarm's vector: that of Windows' clock, at CLOCK_LEVEL. */
enum { CLOCK_VECTOR = 0xd1 };
void clock_interrupt(void);
