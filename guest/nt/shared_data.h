/*
 * shared_data.h - KUSER_SHARED_DATA: the page that Windows shows every process read-only, at an address of its own.
 */
#pragma once

#include "lab.h"

void shared_data_init(void);

/* Interrupt and system time in units of 100 ns, and ticks of Windows' clock. */
void shared_data_set_time(u64 interrupt_time, u64 system_time, u64 ticks);
