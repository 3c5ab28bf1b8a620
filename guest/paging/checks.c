/*
 * checks.c - self-tests of the page tables: what the walk says is what the CPU does.
 */
#include "cpu/instructions.h"
#include "cpu/trap.h"
#include "memory/frames.h"
#include "memory/system_ptes.h"
#include "paging/paging.h"
#include "paging/space.h"

static __attribute__((ms_abi)) u64 read_word(const volatile u64 *address) {
    return *address;
}

static __attribute__((ms_abi)) void write_word(volatile u64 *address) {
    *address = *address;
}

/* The error code of the page fault that a function ends in, which is to be called with just this address. */
static u64 fault_of(const void *function, u64 address) {
    u64 result, cr2;
    struct lab_registers registers;
    const u64 arguments[LAB_ARGUMENTS] = {address};
    bool returned = trap_guarded_call(function, arguments, false, &result, &registers, &cr2);
    lab_check(!returned, "the access to %p was allowed", (void *)address);
    lab_check(registers.vector == TRAP_PF, "vector %llu at %p", registers.vector, (void *)registers.rip);
    lab_check(cr2 == address, "cr2 is %p, not %p", (void *)cr2, (void *)address);
    return registers.error_code;
}

CHECK(self_map_leads_to_the_root) {
    pte_t *entry = pt_entry(0, PML4) + SELF_MAP_SLOT; /* the self map of the root itself */
    if (pt_root_level() == PML4)
        lab_check(pte_pfn(*entry) == read_cr3() >> PAGE_SHIFT, "slot %x is %p, cr3 is %p", SELF_MAP_SLOT,
                  (void *)entry->raw, (void *)read_cr3());
    for (enum pt_level level = PT; level < pt_root_level(); level++) {
        u64 address = (u64)pt_entry(KERNEL_BASE, level);
        pte_t *above = pt_entry(address, PT);
        lab_check(above == pt_entry(KERNEL_BASE, level + 1), "level %u: %p maps it", level + 1, (void *)above);
    }
}

CHECK(walk_ends_where_the_cpu_reads) {
    static const u64 words[] = {0x0123456789abcdef, ~0ull, 0};
    u64 physical;
    for (u64 i = 0; i < ARRAY_SIZE(words); i++) {
        lab_check(pt_translate((u64)&words[i], &physical), "no page at %p", (const void *)&words[i]);
        const u8 *frame = space_window_open(physical >> PAGE_SHIFT);
        u64 seen = *(const u64 *)(frame + OFFSET_IN_PAGE(physical));
        space_window_close();
        lab_check(seen == words[i], "%llx in the frame, %llx at the address", seen, words[i]);
    }
}

CHECK(changed_entries_take_effect_at_once) {
    enum { FRAMES = 4 };
    volatile u64 *page = system_ptes_reserve(1, SYSTEM_PTE_PAGES);
    lab_check(page, "no system PTE is free");
    u64 frames[FRAMES];
    for (u64 i = 0; i < FRAMES; i++) {
        frames[i] = frame_allocate(FRAME_SYSTEM, FRAME_ZERO);
        pt_map((u64)page, frames[i], PTE_KERNEL_DATA);
        lab_check(*page == 0, "frame %llx shows %llx of another", frames[i], *page);
        *page = frames[i];
    }
    for (u64 i = 0; i < FRAMES; i++) {
        pt_map((u64)page, frames[i], PTE_KERNEL_DATA);
        lab_check(*page == frames[i], "frame %llx shows %llx of another", frames[i], *page);
        pt_unmap((u64)page);
        lab_check(fault_of(read_word, (u64)page) == 0, "the unmapped page was present");
        frame_free(frames[i]);
    }
    system_ptes_release((void *)(u64)page, 1);
}

CHECK(read_only_pages_refuse_the_kernel_too) {
    static const u64 word = 1;
    u64 error_code = fault_of(write_word, (u64)&word);
    lab_check(error_code == (FAULT_P | FAULT_W), "error code %llx", error_code);
    error_code = fault_of(write_word, (u64)read_word & ~7ull);
    lab_check(error_code == (FAULT_P | FAULT_W), "error code %llx for .text", error_code);
}
