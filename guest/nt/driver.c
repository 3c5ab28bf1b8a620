#include "nt/driver.h"

#include "cpu/clock.h"
#include "cpu/context.h"
#include "cpu/instructions.h"
#include "cpu/trap.h"
#include "memory/ledger.h"
#include "memory/pool.h"
#include "memory/system_pages.h"
#include "nt/clock.h"
#include "nt/dpc.h"
#include "nt/irql.h"
#include "nt/rtl.h"
#include "nt/unwind.h"
#include "paging/paging.h"
#include "paging/space.h"

struct lab_driver lab_drivers[LAB_DRIVERS];

/* ----------------------------------------------------------------------------------------------------- finding ---- */

static bool has_image(const struct lab_driver *driver) {
    return driver->state != DRIVER_NONE && driver->state != DRIVER_GONE;
}

struct lab_driver *driver_at(u64 address) {
    for (u64 i = 0; i < LAB_DRIVERS; i++) {
        if (has_image(&lab_drivers[i]) && address - lab_drivers[i].base < lab_drivers[i].size)
            return &lab_drivers[i];
    }
    return NULL;
}

struct lab_driver *driver_gone_at(u64 address) {
    struct lab_driver *last = NULL;
    for (u64 i = 0; i < LAB_DRIVERS && !driver_at(address); i++) {
        struct lab_driver *driver = &lab_drivers[i];
        bool held = driver->state == DRIVER_GONE && address - driver->base < driver->size;
        if (held && (!last || last->loaded_as < driver->loaded_as))
            last = driver;
    }
    return last;
}

struct lab_driver *driver_calling(void) {
    CONTEXT context;
    RtlCaptureContext(&context);
    context.ContextFlags |= CONTEXT_UNWOUND_TO_CALL;
    return unwind_to_driver(&context) ? driver_at(context.Rip) : NULL;
}

/* Pages of an image are missing only where a section was discarded. */
const void *driver_memory(const struct lab_driver *driver, u32 rva, u64 size) {
    u64 first = driver->base + rva, last = first + size - 1, physical;
    if (!size || size > driver->size || rva > driver->size - size)
        return NULL;
    return pt_translate(first, &physical) && pt_translate(last, &physical) ? (const void *)first : NULL;
}

/* ----------------------------------------------------------------------------------------------------- calling ---- */

enum { RFLAGS_IF = 1 << 9, RFLAGS_AC = 1 << 18 };

u64 driver_allow_user_access(void) {
    u64 rflags = read_rflags();
    write_rflags(rflags | RFLAGS_AC);
    return rflags;
}

void driver_restore_user_access(u64 rflags) {
    write_rflags(rflags);
}

u64 driver_call(const void *function, u64 argument1, u64 argument2, u64 argument3, u64 argument4) {
    const u64 arguments[LAB_ARGUMENTS] = {argument1, argument2, argument3, argument4};
    clock_publish();
    clock_start_tick();
    u64 rflags = driver_allow_user_access();
    write_rflags(read_rflags() | RFLAGS_IF);
    u64 result = trap_call(function, arguments);
    driver_restore_user_access(rflags);
    if (irql_current() < DISPATCH_LEVEL)
        dpc_run_queued(); /* a driver that writes CR8 itself lets nobody know that it has lowered the IRQL */
    return result;
}

/* -------------------------------------------------------------------------------------------------- the memory ---- */

/* A free slot, or that of the driver that has been gone the longest. */
static struct lab_driver *take_slot(void) {
    struct lab_driver *oldest = NULL;
    for (u64 i = 0; i < LAB_DRIVERS; i++) {
        struct lab_driver *driver = &lab_drivers[i];
        if (driver->state == DRIVER_NONE)
            return driver;
        if (driver->state == DRIVER_GONE && (!oldest || driver->loaded_as < oldest->loaded_as))
            oldest = driver;
    }
    return oldest;
}

struct lab_driver *driver_reserve(const char *name, u64 size) {
    static u64 last;
    struct lab_driver *driver = take_slot();
    void *base = driver ? system_pages_map(PAGES_OF(size), FRAME_DRIVER, FRAME_ZERO) : NULL;
    if (!base)
        return NULL;
    *driver = (struct lab_driver){
        .state = DRIVER_RESERVED,
        .base = (u64)base,
        .size = PAGES_OF(size) * PAGE_SIZE,
        .loaded_as = ++last,
        .status = STATUS_PENDING,
    };
    for (u64 i = 0; i + 1 < LAB_DRIVER_NAME && name[i]; i++)
        driver->name[i] = name[i];
    ledger_open(driver);
    return driver;
}

static u64 entry_bits(u32 rights) {
    u64 bits = PTE_KERNEL_RODATA;
    if (rights & DRIVER_WRITE)
        bits |= PTE_W | PTE_D | PTE_SW_WRITE;
    if (rights & DRIVER_EXECUTE)
        bits &= ~PTE_NX;
    return bits;
}

bool driver_set_rights(struct lab_driver *driver, u32 start, u32 size, u32 rights) {
    if (OFFSET_IN_PAGE(start) || OFFSET_IN_PAGE(size) || size > driver->size || start > driver->size - size ||
        driver->section_count == LAB_DRIVER_SECTIONS)
        return false;
    driver->section[driver->section_count++] = (struct lab_driver_section){start, size, rights};
    for (u64 address = driver->base + start; address < driver->base + start + size; address += PAGE_SIZE) {
        pte_t *entry = pt_entry(address, PT);
        pt_set(entry, address, pte_make(pte_pfn(*entry), entry_bits(rights)));
    }
    return true;
}

void driver_discard_sections(struct lab_driver *driver) {
    for (u32 i = 0; i < driver->section_count; i++) {
        struct lab_driver_section *section = &driver->section[i];
        if (!(section->rights & DRIVER_DISCARD))
            continue;
        system_pages_discard((void *)(driver->base + section->start), section->size >> PAGE_SHIFT);
        section->rights = 0;
    }
}

/* --------------------------------------------------------------------------------------------- missing imports ---- */

/* mov rcx, record; mov rax, function; jmp rax: the function finds the driver's return address as its own. */
struct missing_import {
    struct {
        u8 mov_rcx[2];
        u64 record;
        u8 mov_rax[2];
        u64 function;
        u8 jmp_rax[2];
    } __attribute__((packed)) code;
    struct missing_import *next;
    char name[128];
};
enum { MISSING_TAG = POOL_TAG('L', 'a', 'b', 'M') };

_Noreturn static VOID NTAPI call_of_missing(struct missing_import *missing) {
    u64 caller = (u64)__builtin_return_address(0);
    log_print("\n%s is not exported by this kernel\n", missing->name);
    KeBugCheckEx(LAB_MISSING_IMPORT, (ULONG_PTR)missing->name, caller, 0, 0);
}

u64 driver_add_missing(struct lab_driver *driver, const char *name) {
    struct missing_import *missing = pool_allocate(NonPagedPool, sizeof(*missing), MISSING_TAG);
    if (!missing)
        return 0;
    *missing = (struct missing_import){
        .code = {{0x48, 0xb9}, (u64)missing, {0x48, 0xb8}, (u64)call_of_missing, {0xff, 0xe0}},
        .next = driver->missing,
    };
    for (u64 i = 0; i + 1 < sizeof(missing->name) && name[i]; i++)
        missing->name[i] = name[i];
    driver->missing = missing;
    return (u64)&missing->code;
}

void driver_release(struct lab_driver *driver) {
    while (driver->missing) {
        struct missing_import *missing = driver->missing;
        driver->missing = missing->next;
        ExFreePoolWithTag(missing, MISSING_TAG);
    }
    system_pages_unmap((void *)driver->base, driver->size >> PAGE_SHIFT);
    driver->state = DRIVER_GONE;
}
