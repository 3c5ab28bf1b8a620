#include "paging/space.h"

#include "cpu/cpu.h"
#include "memory/frames.h"
#include "memory/system_ptes.h"
#include "nt/rtl.h"

/* Linker script: the image's parts, each on pages of its own. */
extern const u8 kernel_text_start[], kernel_text_end[], kernel_rodata_end[], kernel_data_end[];

_Noreturn void space_enter(u64 cr3, u64 stack_top, void (*next)(void));

/* -------------------------------------------------------------------------------------------- the first tables ---- */

/*
 * The walk needs the self map of the running space, and these tables do not run yet. So they alone are built through
 * the boot tables, which map the first 4 GiB at their physical addresses.
 */
static pte_t *boot_table(u64 pfn) {
    return (pte_t *)(pfn << PAGE_SHIFT);
}

static u64 boot_new_frame(void) {
    u64 pfn = frame_allocate(FRAME_TABLE, FRAME_ANY);
    memset(boot_table(pfn), 0, PAGE_SIZE);
    return pfn;
}

/* The entry of the lowest level for an address, with the tables above it. */
static pte_t *boot_entry(u64 root, u64 address) {
    u64 table = root;
    for (enum pt_level level = pt_root_level();; level--) {
        pte_t *entry = &boot_table(table)[address >> (PAGE_SHIFT + 9 * (level - PT)) & 511];
        if (level == PT)
            return entry;
        if (!pte_present(*entry))
            *entry = pte_make(boot_new_frame(), PTE_TABLE);
        table = pte_pfn(*entry);
    }
}

static void boot_map_image(u64 root, const u8 *start, const u8 *end, u64 bits) {
    for (u64 address = (u64)start; address < (u64)end; address += PAGE_SIZE)
        *boot_entry(root, address) = pte_make((address - KERNEL_BASE) >> PAGE_SHIFT, bits);
}

static void boot_map_stack(u64 root) {
    for (u64 page = 1; page <= KERNEL_STACK_PAGES; page++)
        *boot_entry(root, SYSTEM_PTES + page * PAGE_SIZE) = pte_make(boot_new_frame(), PTE_KERNEL_DATA);
}

/* A table whose slot 0x1ED points at itself. */
static u64 boot_new_self_map(void) {
    u64 pfn = boot_new_frame();
    boot_table(pfn)[SELF_MAP_SLOT] = pte_make(pfn, PTE_TABLE | PTE_NX);
    return pfn;
}

/* With five levels the kernel's PML4, which every address space shares, stands behind the last entry of the root. */
static u64 boot_new_root(void) {
    u64 root = boot_new_self_map();
    if (pt_root_level() == PML5)
        boot_table(root)[KERNEL_PML5_SLOT] = pte_make(boot_new_self_map(), PTE_TABLE);
    return root;
}

_Noreturn void space_leave_boot(void (*next)(void)) {
    u64 root = boot_new_root();
    boot_map_image(root, kernel_text_start, kernel_text_end, PTE_KERNEL_TEXT);
    boot_map_image(root, kernel_text_end, kernel_rodata_end, PTE_KERNEL_RODATA);
    boot_map_image(root, kernel_rodata_end, kernel_data_end, PTE_KERNEL_DATA);
    boot_entry(root, HYPERSPACE);
    boot_map_stack(root);
    lab_cpu.cr3 = root << PAGE_SHIFT;
    space_enter(lab_cpu.cr3, SYSTEM_PTES + (1 + KERNEL_STACK_PAGES) * PAGE_SIZE, next);
    __builtin_unreachable();
}

/* -------------------------------------------------------------------------------------------------- the window ---- */

void *space_window_open(u64 pfn) {
    pt_set(pt_entry(HYPERSPACE, PT), HYPERSPACE, pte_make(pfn, PTE_WINDOW));
    return (void *)HYPERSPACE;
}

void space_window_close(void) {
    pt_set(pt_entry(HYPERSPACE, PT), HYPERSPACE, pte_none());
}

bool space_window_is_open(void) {
    return pte_present(*pt_entry(HYPERSPACE, PT));
}
