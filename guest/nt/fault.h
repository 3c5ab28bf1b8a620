/*
 * fault.h - what a trap means to Windows: an exception that a driver's __try may handle, or a bug check at once.
 */
#pragma once

#include "lab.h"

/* Windows 7's division of the addresses (MmHighestUserAddress, MmSystemRangeStart). */
#define HIGHEST_USER_ADDRESS 0x000007fffffeffffull
#define SYSTEM_RANGE_START 0xffff080000000000ull

/*
 * True when the trap has been dealt with: what was interrupted goes on as `registers` say. False: it is no exception to
 * Windows, but a bug check. An exception that nobody handles does not return.
 */
bool fault_handle(struct lab_registers *registers, u64 cr2);
