#include "memory/inject.h"

#include "nt.h"

static enum lab_fail_site armed;

bool inject_failure(enum lab_fail_site site) {
    if (armed != site)
        return false;
    armed = FAIL_NONE;
    return true;
}

static NTSTATUS NTAPI fail_next(enum lab_fail_site site) {
    if (site > FAIL_MAP)
        return STATUS_INVALID_PARAMETER;
    armed = site;
    return STATUS_SUCCESS;
}
LAB_COMMAND(fail_next, "Make the next call of a kind fail as if out of resources: 1 pool, 2 MDL, 3 map; 0 disarms.");
