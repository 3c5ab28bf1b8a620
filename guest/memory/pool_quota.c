#include "memory/pool_quota.h"

#include "memory/pool_blocks.h"
#include "paging/paging.h"

/* Every object begins with DISPATCHER_HEADER or the like; a process is of this type. */
enum { PROCESS_OBJECT = 3 };

/* OBJECT_HEADER stands before an object, and begins with PointerCount. */
enum { OBJECT_HEADER_SIZE = 0x30 };

static PEPROCESS *process_of(POOL_HEADER *block) {
    return (PEPROCESS *)(block + block->BlockSize) - 1;
}

static void count_reference(PEPROCESS process, int change) {
    LONGLONG *pointer_count = (LONGLONG *)((u8 *)process - OBJECT_HEADER_SIZE);
    *pointer_count += change;
}

static bool is_process(PEPROCESS process) {
    u64 physical;
    return pt_translate((u64)process, &physical) && *(const u8 *)process == PROCESS_OBJECT;
}

void pool_quota_charge(POOL_HEADER *block) {
    PEPROCESS process = PsGetCurrentProcess();
    *process_of(block) = process;
    count_reference(process, 1);
}

void pool_quota_return(POOL_HEADER *block) {
    PEPROCESS process = *process_of(block);
    if (!is_process(process))
        KeBugCheckEx(BAD_POOL_CALLER, 0x0d, (ULONG_PTR)(block + 1), block->PoolTag, (ULONG_PTR)process);
    count_reference(process, -1);
}
