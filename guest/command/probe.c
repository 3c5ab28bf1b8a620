/*
 * probe.c - runs code of the controller's at CPL 0 or 3, under tables and controls that it chooses, and tells how it
 * ended. The code gets pages of its own and may do anything: the way back is cpu/probe.h.
 *
 *      root slot 0x1f7     code      r-x     the controller's bytes, then INT3
 *                          (not mapped)
 *                          stack     rw-     on top the address of that INT3, so that RET ends the probe, too
 *
 * The code is copied here rather than written by the controller: an emulator notices only what the guest writes, and
 * would run its translation of the code that was there before.
 */
#include "cpu/probe.h"

#include "cpu/apic.h"
#include "cpu/clock.h"
#include "cpu/cpu.h"
#include "cpu/descriptors.h"
#include "cpu/instructions.h"
#include "cpu/serial.h"
#include "cpu/trap.h"
#include "memory/frames.h"
#include "nt.h"
#include "nt/rtl.h"
#include "paging/space.h"

enum { INT3 = 0xcc };
enum { MSR_FS_BASE = 0xc0000100, MSR_GS_BASE = 0xc0000101, MSR_KERNEL_GS_BASE = 0xc0000102, MSR_PKRS = 0x6e1 };

enum lab_probe_outcome {
    LAB_PROBE_ENDED,     /* behind its last instruction */
    LAB_PROBE_EXCEPTION, /* `registers` have the vector */
    LAB_PROBE_STOPPED,   /* by the controller, with a non-maskable interrupt */
    LAB_PROBE_NO_MEMORY,
    LAB_PROBE_NO_KERNEL, /* what was given as root table is none that shares the kernel's half */
};

struct lab_probe {
    struct lab_registers registers; /* in: rip, cs and ss are set here, and rsp if it is 0; out: how it ended */
    struct probe_controls controls;
    u64 user; /* 1: CPL 3 */
    u64 outcome;
    u64 cr2;
    u64 code, stack; /* out: where the code was, and where the stack pointer began if none was given */
};

struct probe_detour probe_detour;
_Static_assert(offsetof(struct probe_detour, outside) == 16 && offsetof(struct probe_detour, inside) == 64 &&
                   offsetof(struct probe_detour, cr2) == 112 && offsetof(struct probe_detour, registers) == 120 &&
                   sizeof(struct lab_registers) == 22 * 8,
               "as cpu/probe.S has it");

/* ------------------------------------------------------------------------------------------------- its own pages ----
 */

enum { CODE_PAGE, STACK_PAGE = 2 };

static u64 page_address(u64 page) {
    return pt_canonical(PROBE_SLOT * pt_page_size(pt_root_level())) + page * PAGE_SIZE;
}

static u64 code_address(void) {
    return page_address(CODE_PAGE);
}

static u64 stack_top(void) {
    return page_address(STACK_PAGE + 1) - sizeof(u64);
}

static bool map_page(u64 page, u64 bits) {
    u64 pfn = frame_allocate(FRAME_SYSTEM, FRAME_ZERO);
    if (!pfn)
        return false;
    if (!pt_map(page_address(page), pfn, bits)) {
        frame_free(pfn);
        return false;
    }
    frame_set_pte(pfn, pt_entry(page_address(page), PT));
    return true;
}

/* The tables of the kernel's half forbid user mode; these few are nobody else's. */
static void let_user_in(void) {
    for (enum pt_level level = PD; level <= pt_root_level(); level++) {
        pte_t *entry = pt_entry(code_address(), level);
        pt_set(entry, code_address(), (pte_t){entry->raw | PTE_U});
    }
}

static bool map_pages(const struct lab_probe *probe) {
    u64 user = probe->user ? PTE_U : 0, no_execute = probe->controls.efer & EFER_NXE ? PTE_NX : 0;
    if (!map_page(CODE_PAGE, PTE_P | PTE_A | user) ||
        !map_page(STACK_PAGE, PTE_P | PTE_W | PTE_A | PTE_D | no_execute | user))
        return false;
    if (probe->user)
        let_user_in();
    return true;
}

/* What the entry of that level leads to, a page or a table. Nothing where a table above is missing already. */
static void free_behind(u64 address, enum pt_level level) {
    struct pt_walk walk;
    if (!pt_walk(address, level, PT_LOOK, &walk) || walk.level != level)
        return;
    pte_t old = pt_set(walk.entry[level], address, pte_none());
    if (pte_present(old))
        frame_free(pte_pfn(old));
}

/* The tables, too: a probe leaves nothing behind. */
static void unmap_pages(void) {
    free_behind(page_address(STACK_PAGE), PT);
    for (enum pt_level level = PT; level <= pt_root_level(); level++)
        free_behind(code_address(), level);
}

/* Through the window: a user page is closed to us by SMAP. */
static void fill_pages(const void *code, u64 size) {
    u8 *page = space_window_open(pte_pfn(*pt_entry(code_address(), PT)));
    memcpy(page, code, size);
    page[size] = INT3;
    u64 *words = space_window_open(pte_pfn(*pt_entry(stack_top(), PT)));
    words[OFFSET_IN_PAGE(stack_top()) / sizeof(u64)] = code_address() + size;
    space_window_close();
}

/* --------------------------------------------------------------------------------------------------- other tables ----
 */

enum { ROOT_ENTRIES = 512, KERNEL_HALF = 256 };

/* Slots in which every space has what the kernel has. */
static bool is_shared(const pte_t *own, u64 slot) {
    return slot >= KERNEL_HALF && slot != SELF_MAP_SLOT && pte_present(own[slot]);
}

/* Any frame may be given as a root. A root table maps itself, and has nothing else in a place of the kernel's. */
static bool is_root(const pte_t *table, u64 pfn, const pte_t *own) {
    pte_t self = table[SELF_MAP_SLOT];
    bool sound = pte_present(self) && pte_pfn(self) == pfn;
    for (u64 slot = 0; slot < ROOT_ENTRIES; slot++)
        sound &= !is_shared(own, slot) || !pte_present(table[slot]) || pte_pfn(table[slot]) == pte_pfn(own[slot]);
    return sound;
}

/* Adds what the kernel has got since that table was made, and the probe's own pages for as long as it runs. */
static bool link(u64 root) {
    const pte_t *own = pt_entry(0, pt_root_level());
    pte_t *other = space_window_open(root);
    bool sound = is_root(other, root, own);
    for (u64 slot = KERNEL_HALF; sound && slot < ROOT_ENTRIES; slot++) {
        if (is_shared(own, slot))
            other[slot] = own[slot];
    }
    space_window_close();
    return sound;
}

static void unlink(u64 root) {
    pte_t *other = space_window_open(root);
    other[PROBE_SLOT] = pte_none();
    space_window_close();
}

/* ------------------------------------------------------------------------------------------------------- the run ----
 */

/* Linker script. */
extern const u8 kernel_rodata_end[], kernel_data_end[];

/* Without EFER.NXE the bit that forbids execution is reserved: no access to the kernel's variables would succeed. */
static void toggle_no_execute(void) {
    for (u64 address = (u64)kernel_rodata_end; address < (u64)kernel_data_end; address += PAGE_SIZE) {
        pte_t *entry = pt_entry(address, PT);
        pt_set(entry, address, (pte_t){entry->raw ^ PTE_NX});
    }
}

/* An interrupt is none of the probe's business: it is served, and the probe goes on. */
static bool served_interrupt(u64 vector) {
    if (vector >= IRQ_VECTOR_FIRST && vector <= IRQ_VECTOR_LAST)
        serial_interrupt(vector);
    else if (vector == CLOCK_VECTOR)
        clock_acknowledge();
    else
        return vector == APIC_SPURIOUS_VECTOR;
    return true;
}

static void run(const struct probe_controls *controls) {
    bool without_nx = !(controls->efer & EFER_NXE);
    u64 bases[] = {rdmsr(MSR_FS_BASE), rdmsr(MSR_GS_BASE), rdmsr(MSR_KERNEL_GS_BASE)}, irql = read_cr8();
    if (without_nx)
        toggle_no_execute();
    if (controls->cr4 & CR4_PKS)
        wrmsr(MSR_PKRS, controls->pkrs);
    cpu_note_registers();
    probe_detour.outside = (struct probe_controls){lab_cpu.cr0, lab_cpu.cr3, lab_cpu.cr4, lab_cpu.efer, 0, 0};
    probe_detour.inside = *controls;
    descriptors_set_trap_stack((u64)probe_detour.trap_stack + PROBE_TRAP_STACK);
    do
        probe_take_detour(&probe_detour);
    while (served_interrupt(probe_detour.registers.vector));
    descriptors_set_trap_stack(0);
    if (controls->cr4 & CR4_PKS)
        wrmsr(MSR_PKRS, 0);
    if (without_nx)
        toggle_no_execute();
    write_cr8(irql);
    for (u32 i = 0; i < ARRAY_SIZE(bases); i++)
        wrmsr(MSR_FS_BASE + i, bases[i]);
}

static enum lab_probe_outcome outcome_of(const struct lab_registers *registers, u64 end) {
    if (registers->vector == TRAP_NMI)
        return LAB_PROBE_STOPPED;
    return registers->vector == TRAP_BP && registers->rip == end + 1 ? LAB_PROBE_ENDED : LAB_PROBE_EXCEPTION;
}

static void run_probe(struct lab_probe *probe, const void *code, u64 size) {
    fill_pages(code, size);
    probe->code = code_address();
    probe->stack = stack_top();
    probe_detour.registers = probe->registers;
    probe_detour.registers.rip = probe->code;
    probe_detour.registers.cs = probe->user ? SELECTOR_USER_CODE : SELECTOR_KERNEL_CODE;
    probe_detour.registers.ss = probe->user ? SELECTOR_USER_DATA : SELECTOR_KERNEL_DATA;
    if (!probe->registers.rsp)
        probe_detour.registers.rsp = probe->stack;
    run(&probe->controls);
    probe->registers = probe_detour.registers;
    probe->cr2 = probe_detour.cr2;
    probe->outcome = outcome_of(&probe->registers, probe->code + size);
}

static void NTAPI probe_run(struct lab_probe *probe, const void *code, u64 size) {
    u64 root = (probe->controls.cr3 & PTE_FRAME) >> PAGE_SHIFT;
    bool elsewhere = root != (read_cr3() & PTE_FRAME) >> PAGE_SHIFT;
    if (size >= PAGE_SIZE || !map_pages(probe)) {
        probe->outcome = LAB_PROBE_NO_MEMORY;
    } else if (elsewhere && (!frame_is_ram(root) || !link(root))) {
        probe->outcome = LAB_PROBE_NO_KERNEL;
    } else {
        run_probe(probe, code, size);
        if (elsewhere)
            unlink(root);
    }
    unmap_pages();
}
LAB_COMMAND(probe_run, "Run code at CPL 0 or 3, under given tables and controls: `lab probe` calls it.");

bool probe_is_under_way(void) {
    return lab_mailbox.requested != lab_mailbox.completed && lab_mailbox.request.function == (u64)probe_run;
}
