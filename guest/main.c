/*
 * main.c - the order in which the kernel comes up.
 */
#include "boot/boot_info.h"
#include "command/mailbox.h"
#include "cpu/apic.h"
#include "cpu/cpu.h"
#include "cpu/descriptors.h"
#include "cpu/serial.h"
#include "memory/frames.h"
#include "memory/pool.h"
#include "memory/system_ptes.h"
#include "nt/process.h"
#include "nt/shared_data.h"
#include "nt/thread.h"
#include "paging/space.h"

_Noreturn void kernel_start(u32 start_info);
static _Noreturn void kernel_main(void);

/* From boot/pvh.S: long mode, the boot tables and the boot stack, RAM still mapped at its physical addresses. */
_Noreturn void kernel_start(u32 start_info) {
    serial_init();
    descriptors_init();
    cpu_init();
    boot_info_read(start_info);
    space_leave_boot(kernel_main);
}

/* On tables and a stack of the kernel's own. */
static _Noreturn void kernel_main(void) {
    frames_init();
    system_ptes_init();
    pool_init();
    thread_init();
    process_init();
    /* Two pages each: a bug check is told from there, with whole contexts on the stack. */
    descriptors_set_stacks(system_ptes_map_stack(2), system_ptes_map_stack(2));
    shared_data_init();
    apic_init();
    serial_interrupt_init();
    frames_zero_some();
    mailbox_serve();
}
