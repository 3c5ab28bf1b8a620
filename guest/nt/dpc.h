/*
 * dpc.h - deferred procedure calls: they run at DISPATCH_LEVEL as soon as the IRQL is below that.
 */
#pragma once

#include "nt.h"

/* Runs all that are queued; at DISPATCH_LEVEL and above there is nothing to do yet. */
void dpc_run_queued(void);

/* Whether the code that runs is a DPC: it cannot wait. */
bool dpc_is_running(void);

/* How many are queued whose routine is in an image. */
u32 dpc_count_in(u64 base, u64 size);
