/*
 * mtrr.c - a PC's firmware says which physical addresses may be cached: RAM may, devices may not. That of the microvm
 * leaves the registers off, by which no memory at all is cached; then the kernel says it.
 *
 *      00000000-0009ffff   WB      RAM
 *      000a0000-000bffff   UC      display
 *      000c0000-000fffff   WP      ROM
 *      c0000000-ffffffff   UC      devices
 *      all else            WB
 *
 * QEMU's TCG has the registers, and no caches.
 */
#include "cpu/mtrr.h"

#include "cpu/cpu.h"
#include "cpu/instructions.h"

enum { MSR_MTRRCAP = 0xfe, MSR_RANGES = 0x200, MSR_DEF_TYPE = 0x2ff };
enum { CAP_RANGES = 0xff, CAP_FIXED = 1 << 8 };
enum { DEF_FIXED_ENABLE = 1 << 10, DEF_ENABLE = 1 << 11, RANGE_VALID = 1 << 11 };
enum { UC = 0, WP = 5, WB = 6 };
enum { DEVICES = 0xc0000000 };

static const u32 fixed_msr[MTRR_FIXED] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f};

/* Each fixed register has eight types, a byte each. */
static u64 eight(u64 type) {
    return type * 0x0101010101010101ull;
}

static u64 firmware_type(u32 msr) {
    if (msr == 0x259)
        return eight(UC);
    return msr < 0x259 ? eight(WB) : eight(WP);
}

static void write_all(u64 capabilities) {
    u64 fixed_enable = capabilities & CAP_FIXED ? DEF_FIXED_ENABLE : 0;
    for (u32 i = 0; fixed_enable && i < MTRR_FIXED; i++)
        wrmsr(fixed_msr[i], firmware_type(fixed_msr[i]));
    u64 every = (1ull << lab_cpu.max_physical_bits) - 1;
    wrmsr(MSR_RANGES, (u64)DEVICES | UC);
    wrmsr(MSR_RANGES + 1, (every & ~((1ull << 30) - 1)) | RANGE_VALID);
    wrmsr(MSR_DEF_TYPE, DEF_ENABLE | fixed_enable | WB);
}

/* With the caches off and empty, as Intel SDM vol. 3A, "MTRR Considerations in MP Systems", asks for. */
static void set_as_firmware_does(u64 capabilities) {
    u64 cr0 = read_cr0();
    write_cr0(cr0 | CR0_CD);
    wbinvd();
    write_cr3(read_cr3());
    write_all(capabilities);
    wbinvd();
    write_cr3(read_cr3());
    write_cr0(cr0);
}

static void note(struct mtrrs *ret) {
    ret->capabilities = rdmsr(MSR_MTRRCAP);
    ret->default_type = rdmsr(MSR_DEF_TYPE);
    for (u32 i = 0; ret->capabilities & CAP_FIXED && i < MTRR_FIXED; i++)
        ret->fixed[i] = rdmsr(fixed_msr[i]);
    u64 count = ret->capabilities & CAP_RANGES;
    for (u32 i = 0; i < 2 * count && i < ARRAY_SIZE(ret->ranges); i++)
        ret->ranges[i] = rdmsr(MSR_RANGES + i);
}

void mtrr_init(struct mtrrs *ret) {
    if (!(lab_cpu.features & CPU_MTRR))
        return;
    u64 capabilities = rdmsr(MSR_MTRRCAP);
    if (!(rdmsr(MSR_DEF_TYPE) & DEF_ENABLE) && capabilities & CAP_RANGES)
        set_as_firmware_does(capabilities);
    note(ret);
}
