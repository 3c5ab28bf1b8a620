/*
 * verifier.h - Driver Verifier's objections: bug check 0xC4, whose first parameter is the subcode of a broken rule.
 *
 * Asked for by "verifier" on the command line. Without it the calls do what free Windows does.
 */
#pragma once

#include "lab.h"
#include "nt.h"

/* Parameter 1, as Microsoft documents it ("Bug Check 0xC4", "Code Integrity Checking"). */
enum verifier_subcode {
    VERIFIER_ZERO_BYTES = 0x00,
    VERIFIER_ALLOCATE_PAGED_IRQL = 0x01,
    VERIFIER_ALLOCATE_IRQL = 0x02,
    VERIFIER_FREE_BAD_ADDRESS = 0x10,
    VERIFIER_FREE_PAGED_IRQL = 0x11,
    VERIFIER_FREE_IRQL = 0x12,
    VERIFIER_FREED_TWICE = 0x13,
    VERIFIER_RAISE_IRQL = 0x30,
    VERIFIER_LOWER_IRQL = 0x31,
    VERIFIER_SPIN_LOCK_RELEASE_IRQL = 0x32,
    VERIFIER_FAST_MUTEX_ACQUIRE_IRQL = 0x33,
    VERIFIER_FAST_MUTEX_RELEASE_IRQL = 0x34,
    VERIFIER_RESOURCE_ACQUIRE_APCS = 0x37,
    VERIFIER_RESOURCE_RELEASE_APCS = 0x38,
    VERIFIER_WAIT_IRQL = 0x3b,
    VERIFIER_BAD_HANDLE = 0x3c,
    VERIFIER_REGION_NOT_ENTERED = 0x3e,
    VERIFIER_SPIN_LOCK_ACQUIRE_LOW_IRQL = 0x40,
    VERIFIER_SPIN_LOCK_RELEASE_LOW_IRQL = 0x41,
    VERIFIER_SPIN_LOCK_ACQUIRE_IRQL = 0x42,
    VERIFIER_LEAK = 0x62,
    VERIFIER_LOCK_NO_RAM = 0x6f,
    VERIFIER_LOCK_IRQL = 0x70,
    VERIFIER_IO_SPACE_IRQL = 0x73,
    VERIFIER_MAP_OLD_KERNEL_IRQL = 0x74,
    VERIFIER_MAP_OLD_USER_IRQL = 0x75,
    VERIFIER_MAP_KERNEL_IRQL = 0x76,
    VERIFIER_MAP_USER_IRQL = 0x77,
    VERIFIER_UNLOCK_IRQL = 0x78,
    VERIFIER_UNMAP_KERNEL_IRQL = 0x79,
    VERIFIER_UNMAP_USER_IRQL = 0x7a,
    VERIFIER_IO_SPACE_UNMAP_IRQL = 0x7b,
    VERIFIER_UNLOCK_NOT_LOCKED = 0x7c,
    VERIFIER_UNLOCK_NONPAGED = 0x7d,
    VERIFIER_PAGES_IRQL = 0x7e,
    VERIFIER_BUILD_PAGED = 0x7f,
    VERIFIER_SET_EVENT_IRQL = 0x80,
    VERIFIER_MAP_OLD = 0x81,
    VERIFIER_MAP_BUGCHECK = 0x82,
    VERIFIER_IO_SPACE_NOT_LOCKED = 0x83,
    VERIFIER_MAP_NOT_LOCKED = 0x85,
    VERIFIER_MAP_NOT_IO = 0x89,
    VERIFIER_LOCK_FLAGS = 0xb0,
    VERIFIER_MAP_FLAGS = 0xb2,
    VERIFIER_MAP_MISSING_FLAGS = 0xb3,
    VERIFIER_UNLOCK_PARTIAL = 0xb4,
    VERIFIER_UNMAP_PARTIAL = 0xb5,
    VERIFIER_UNMAP_NOT_MAPPED = 0xb6,
    VERIFIER_FREE_MAPPED_MDL = 0xb8,
    VERIFIER_LOOKASIDE_AGAIN = 0xca,
    VERIFIER_LOOKASIDE_UNKNOWN = 0xcb,
    VERIFIER_LOOKASIDE_FREED = 0xcc,
    VERIFIER_LOOKASIDE_SIZE = 0xcd,
    VERIFIER_EXECUTABLE_POOL = 0x2000,
    VERIFIER_EXECUTABLE_PROTECTION = 0x2001,
    VERIFIER_EXECUTABLE_MAPPING = 0x2002,
};

/* A rule in words: which calls it is about, what parameters 2 to 4 are, and what the driver did wrong. */
struct verifier_rule {
    enum verifier_subcode subcode;
    const char *call;
    const char *parameter[3]; /* NULL: reserved */
    const char *sentence;
};
enum { VERIFIER_RULES = 56 };
extern const struct verifier_rule verifier_rules[VERIFIER_RULES];

/* What stopped the guest, if that was a rule: which one, and where the call that broke it returns to (0: no call). */
struct verifier_violation {
    const struct verifier_rule *rule;
    u64 caller;
};
extern struct verifier_violation verifier_violation;

/* Notes the rule and its breaker, and prints both. */
void verifier_note(enum verifier_subcode subcode, const void *caller);

/* Inline, so that the stop is seen where the rule was broken. */
_Noreturn static inline __attribute__((always_inline)) void
verifier_stop(enum verifier_subcode subcode, const void *caller, u64 parameter2, u64 parameter3, u64 parameter4) {
    verifier_note(subcode, caller);
    KeBugCheckEx(DRIVER_VERIFIER_DETECTED_VIOLATION, subcode, parameter2, parameter3, parameter4);
}

/* Stops when the verifier is on and the caller runs above the highest IRQL of a call. Parameter 2 is the IRQL. */
static inline __attribute__((always_inline)) void verify_irql(KIRQL highest, enum verifier_subcode subcode,
                                                              const void *caller, u64 parameter3, u64 parameter4) {
    if (lab_options.verifier && KeGetCurrentIrql() > highest)
        verifier_stop(subcode, caller, KeGetCurrentIrql(), parameter3, parameter4);
}
