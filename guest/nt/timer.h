/*
 * timer.h - KTIMERs. Nothing interrupts a running thread: they expire when a thread waits, or when the guest is idle.
 */
#pragma once

#include "nt.h"

/* Lets those expire that are due: their objects are signalled and their DPCs queued. */
void timers_expire(void);

/* When the next is due, in clock_now's time; CLOCK_NEVER when none is set. */
u64 timers_next(void);

/* Due at a time of clock_now's; what it is for is the caller's. */
void timer_set(PKTIMER timer, u64 due, ULONG period, PKDPC dpc);
bool timer_cancel(PKTIMER timer);
void timer_initialize(PKTIMER timer, TIMER_TYPE type);

/* How many are set that are in an image, or whose DPC's routine is. */
u32 timer_count_in(u64 base, u64 size);

/* What IoInitializeTimer made goes with the device. */
void timer_forget_device(PDEVICE_OBJECT device);
