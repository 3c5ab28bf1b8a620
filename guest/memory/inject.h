/*
 * inject.h - makes one coming call fail on purpose, so that the way a caller cleans up can be watched.
 */
#pragma once

#include "lab.h"

enum lab_fail_site {
    FAIL_NONE,
    FAIL_POOL, /* ExAllocatePool, ExAllocatePoolWithTag, ExAllocatePool2 */
    FAIL_MDL,  /* IoAllocateMdl */
    FAIL_MAP,  /* MmMapLockedPagesSpecifyCache and what is built on it */
};

/*
 * Whether the call at `site` is to behave as if its resource had run out; true at most once for each command. Asked
 * only where a call comes in, so that the pool behind an MDL does not use up a failure meant for the pool itself.
 */
bool inject_failure(enum lab_fail_site site);
