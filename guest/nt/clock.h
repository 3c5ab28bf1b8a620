/*
 * clock.h - Windows' ideas of time, all of them in units of 100 ns: interrupt time counts from boot, system time from
 * 1601. The machine has no clock that keeps time while it is off, so the guest always boots on the day of Windows 7.
 */
#pragma once

#include "nt.h"

/* 22 October 2009, 00:00 UTC. */
#define CLOCK_BOOT_DATE 129006432000000000ull

static inline u64 clock_to_system(u64 interrupt_time) {
    return CLOCK_BOOT_DATE + interrupt_time;
}

/* When something is due, in interrupt time: negative is so long from now, positive is a system time. */
u64 clock_due(LARGE_INTEGER due);

/* Writes the time to KUSER_SHARED_DATA, where macros of wdm.h read it: at each tick, and when a driver is called. */
void clock_publish(void);
