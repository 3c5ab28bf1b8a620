/*
 * callback.h - routines that drivers register for events. Most events never happen here, as no process starts and no
 * image is mapped; but that a driver takes its routines back before it goes can be told.
 */
#pragma once

#include "nt.h"

u32 callback_count_in(u64 base, u64 size);
void callback_remove_all_in(u64 base, u64 size);
