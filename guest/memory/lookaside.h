/*
 * lookaside.h - lookaside lists: blocks of one size kept for reuse. The calls are in nt.h; most of them are inlined
 * into drivers by Microsoft's headers, which handle GENERAL_LOOKASIDE directly.
 */
#pragma once

#include "lab.h"

/* The list in use that begins in a range of addresses; NULL for none. */
const void *lookaside_find(u64 address, u64 bytes);

/* The memory is about to go: a list in it is in use no more. */
void lookaside_forget(u64 address, u64 bytes);
