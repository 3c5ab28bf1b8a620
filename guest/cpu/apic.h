/*
 * apic.h - the local APIC, only as far as the 8259's interrupts must pass through it ("virtual wire mode").
 */
#pragma once

#include "lab.h"

/* Where Windows' HAL maps it. */
enum { LOCAL_APIC = 0xfffffffffffe0000ull };

/* What the APIC sends when an interrupt is withdrawn at the last moment: to be ignored, without acknowledgement. */
enum { APIC_SPURIOUS_VECTOR = 0xff };

void apic_init(void);
