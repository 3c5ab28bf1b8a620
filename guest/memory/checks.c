/*
 * checks.c - self-tests of frames and pools: nothing is handed out twice, and what is given back is there again.
 */
#include "cpu/trap.h"
#include "memory/frames.h"
#include "memory/pool.h"
#include "memory/pool_blocks.h"
#include "memory/system_ptes.h"
#include "nt/rtl.h"
#include "paging/space.h"

enum { TAG = POOL_TAG('C', 'h', 'c', 'k') };

CHECK(frames_are_handed_out_once) {
    enum { FRAMES = 64 };
    u64 frames[FRAMES], available = frames_available();
    for (u64 i = 0; i < FRAMES; i++) {
        frames[i] = frame_allocate(FRAME_SYSTEM, FRAME_ANY);
        lab_check(frame_is_ram(frames[i]), "frame %llx is no RAM", frames[i]);
        lab_check(frame_use(frames[i]) == FRAME_SYSTEM, "frame %llx is used as %u", frames[i], frame_use(frames[i]));
        for (u64 j = 0; j < i; j++)
            lab_check(frames[i] != frames[j], "frame %llx was handed out twice", frames[i]);
    }
    lab_check(frames_available() == available - FRAMES, "%llu of %llu are left", frames_available(), available);
    for (u64 i = 0; i < FRAMES; i++)
        frame_free(frames[i]);
    lab_check(frames_available() == available, "%llu of %llu came back", frames_available(), available);
}

CHECK(zeroed_frames_are_zero) {
    for (u64 round = 0; round < 16; round++) {
        u64 pfn = frame_allocate(FRAME_SYSTEM, FRAME_ZERO);
        u64 *words = space_window_open(pfn);
        for (u64 i = 0; i < PAGE_SIZE / sizeof(u64); i++)
            lab_check(!words[i], "word %llu of frame %llx is %llx", i, pfn, words[i]);
        memset(words, 0xff, PAGE_SIZE); /* for whoever gets it next */
        space_window_close();
        frame_free(pfn);
    }
}

CHECK(pool_blocks_are_apart) {
    enum { BLOCKS = 48 };
    static const POOL_TYPE types[] = {NonPagedPool, NonPagedPoolNx, PagedPool};
    u8 *blocks[BLOCKS];
    u64 available = frames_available();
    for (u64 i = 0; i < BLOCKS; i++) {
        blocks[i] = pool_allocate(types[i % ARRAY_SIZE(types)], 1 + 100 * i, TAG);
        lab_check(blocks[i], "no memory for block %llu", i);
        lab_check(((u64)blocks[i] & (POOL_UNIT - 1)) == 0, "block %llu is at %p", i, (void *)blocks[i]);
        lab_check(blocks[i][0] == POOL_FILL_FRESH, "block %llu begins with %x", i, blocks[i][0]);
        memset(blocks[i], (int)i, 1 + 100 * i);
    }
    for (u64 i = 0; i < BLOCKS; i++) {
        for (u64 at = 0; at < 1 + 100 * i; at++)
            lab_check(blocks[i][at] == i, "byte %llu of block %llu is %x", at, i, blocks[i][at]);
        ExFreePoolWithTag(blocks[i], TAG);
    }
    lab_check(frames_available() == available, "%llu of %llu frames came back", frames_available(), available);
}

CHECK(only_executable_pool_runs) {
    static const u8 code[] = {0x48, 0x8d, 0x41, 0x01, 0xc3}; /* lea rax, [rcx + 1]; ret */
    static const POOL_TYPE types[] = {NonPagedPool, NonPagedPoolNx};
    const u64 arguments[LAB_ARGUMENTS] = {41};
    for (u64 i = 0; i < ARRAY_SIZE(types); i++) {
        u64 result = 0, cr2;
        struct lab_registers registers;
        void *block = pool_allocate(types[i], sizeof(code), TAG);
        memcpy(block, code, sizeof(code));
        bool ran = trap_guarded_call(block, arguments, false, &result, &registers, &cr2);
        lab_check(ran == (types[i] == NonPagedPool), "code in pool type %u %s", types[i], ran ? "ran" : "did not run");
        lab_check(!ran || result == 42, "the code returned %llu", result);
        lab_check(ran || registers.error_code == (FAULT_P | FAULT_I), "error code %llx", registers.error_code);
        ExFreePoolWithTag(block, TAG);
    }
}

CHECK(free_system_ptes_are_zero) {
    u64 available = system_ptes_available(), zero = 0;
    for (u64 page = 0; page < SYSTEM_PTE_COUNT; page++) {
        u64 address = SYSTEM_PTES + (page << PAGE_SHIFT);
        struct pt_walk walk;
        if (system_pte_uses[page] != SYSTEM_PTE_FREE)
            continue;
        pt_walk(address, PT, PT_LOOK, &walk);
        lab_check(walk.value[walk.level].raw == 0, "entry %p of %p is %llx", (void *)walk.entry[walk.level],
                  (void *)address, walk.value[walk.level].raw);
        zero++;
    }
    lab_check(zero == available, "%llu are free, %llu are said to be", zero, available);
}
