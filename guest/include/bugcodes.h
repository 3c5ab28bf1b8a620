/*
 * bugcodes.h - STOP codes by Microsoft's names ("Bug Check Code Reference"): those that this kernel stops with or that
 * a driver is likely to. LAB_ ones are ours. The list is written once and becomes both the enum and the table of names.
 */
#pragma once

/* clang-format off */
#define BUGCHECK_CODES(CODE)                                        \
    CODE(APC_INDEX_MISMATCH, 0x01)                                  \
    CODE(IRQL_NOT_GREATER_OR_EQUAL, 0x09)                           \
    CODE(IRQL_NOT_LESS_OR_EQUAL, 0x0a)                              \
    CODE(SPIN_LOCK_ALREADY_OWNED, 0x0f)                             \
    CODE(SPIN_LOCK_NOT_OWNED, 0x10)                                 \
    CODE(REFERENCE_BY_POINTER, 0x18)                                \
    CODE(BAD_POOL_HEADER, 0x19)                                     \
    CODE(MEMORY_MANAGEMENT, 0x1a)                                   \
    CODE(KMODE_EXCEPTION_NOT_HANDLED, 0x1e)                         \
    CODE(NO_MORE_IRP_STACK_LOCATIONS, 0x35)                         \
    CODE(INTERRUPT_EXCEPTION_NOT_HANDLED, 0x3d)                     \
    CODE(NO_MORE_SYSTEM_PTES, 0x3f)                                 \
    CODE(TARGET_MDL_TOO_SMALL, 0x40)                                \
    CODE(MULTIPLE_IRP_COMPLETE_REQUESTS, 0x44)                      \
    CODE(CANCEL_STATE_IN_COMPLETED_IRP, 0x48)                       \
    CODE(IRQL_GT_ZERO_AT_SYSTEM_SERVICE, 0x4a)                      \
    CODE(PFN_LIST_CORRUPT, 0x4e)                                    \
    CODE(PAGE_FAULT_IN_NONPAGED_AREA, 0x50)                         \
    CODE(PROCESS_HAS_LOCKED_PAGES, 0x76)                            \
    CODE(SYSTEM_THREAD_EXCEPTION_NOT_HANDLED, 0x7e)                 \
    CODE(UNEXPECTED_KERNEL_MODE_TRAP, 0x7f)                         \
    CODE(NMI_HARDWARE_FAILURE, 0x80)                                \
    CODE(KERNEL_MODE_EXCEPTION_NOT_HANDLED, 0x8e)                   \
    CODE(MACHINE_CHECK_EXCEPTION, 0x9c)                             \
    CODE(ATTEMPTED_SWITCH_FROM_DPC, 0xb8)                           \
    CODE(ATTEMPTED_WRITE_TO_READONLY_MEMORY, 0xbe)                  \
    CODE(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, 0xc1)             \
    CODE(BAD_POOL_CALLER, 0xc2)                                     \
    CODE(DRIVER_VERIFIER_DETECTED_VIOLATION, 0xc4)                  \
    CODE(DRIVER_CORRUPTED_EXPOOL, 0xc5)                             \
    CODE(DRIVER_CAUGHT_MODIFYING_FREED_POOL, 0xc6)                  \
    CODE(TIMER_OR_DPC_INVALID, 0xc7)                                \
    CODE(IRQL_UNEXPECTED_VALUE, 0xc8)                               \
    CODE(DRIVER_VERIFIER_IOMANAGER_VIOLATION, 0xc9)                 \
    CODE(DRIVER_LEFT_LOCKED_PAGES_IN_PROCESS, 0xcb)                 \
    CODE(PAGE_FAULT_IN_FREED_SPECIAL_POOL, 0xcc)                    \
    CODE(PAGE_FAULT_BEYOND_END_OF_ALLOCATION, 0xcd)                 \
    CODE(DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS, 0xce) \
    CODE(DRIVER_IRQL_NOT_LESS_OR_EQUAL, 0xd1)                       \
    CODE(DRIVER_PORTION_MUST_BE_NONPAGED, 0xd3)                     \
    CODE(DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL, 0xd5)             \
    CODE(DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION, 0xd6)          \
    CODE(SYSTEM_PTE_MISUSE, 0xda)                                   \
    CODE(WORKER_THREAD_RETURNED_AT_BAD_IRQL, 0xe1)                  \
    CODE(MANUALLY_INITIATED_CRASH, 0xe2)                            \
    CODE(RESOURCE_NOT_OWNED, 0xe3)                                  \
    CODE(DRIVER_OVERRAN_STACK_BUFFER, 0xf7)                         \
    CODE(ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY, 0xfc)               \
    CODE(DPC_WATCHDOG_VIOLATION, 0x133)                             \
    CODE(KERNEL_SECURITY_CHECK_FAILURE, 0x139)                      \
    CODE(LAB_ASSERTION_FAILED, 0x4c414221)                          \
    CODE(LAB_MISSING_IMPORT, 0x4c414222)                            \
    CODE(LAB_ENDLESS_WAIT, 0x4c414223)
/* clang-format on */

#define BUGCHECK_ENUMERATOR(name, value) name = value,
enum bugcheck_code { BUGCHECK_CODES(BUGCHECK_ENUMERATOR) };
