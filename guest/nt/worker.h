/*
 * worker.h - work items: calls that a system thread makes later.
 */
#pragma once

#include "nt.h"

/* How many are queued whose routine is in an image. */
u32 worker_count_in(u64 base, u64 size);
