#include "cpu/cpu.h"

#include "cpu/instructions.h"
#include "nt/rtl.h"

enum { MSR_PAT = 0x277 };
enum { MSR_EFER = 0xc0000080 };

/*
 * What Windows writes: entries 0-3 are WB WC UC- UC, and 4-7 repeat them. An entry's PWT bit thus means write
 * combining, which the value at reset (WB WT UC- UC) does not offer at all.
 */
#define WINDOWS_PAT 0x0007010600070106ull

/* XCR0: x87, SSE and AVX state. */
enum { XCR0_AVX_STATE = 7 };

struct lab_cpu lab_cpu;

static u64 feature_if(u32 word, u32 bit, u64 feature) {
    return word >> bit & 1 ? feature : 0;
}

static u64 read_features(void) {
    struct cpuid basic = cpuid(1, 0), extended = cpuid(0x80000001, 0);
    struct cpuid more = cpuid(0, 0).eax >= 7 ? cpuid(7, 0) : (struct cpuid){0};
    return feature_if(extended.edx, 20, CPU_NX) | feature_if(extended.edx, 26, CPU_GIB_PAGES) |
           feature_if(basic.edx, 13, CPU_PGE) | feature_if(basic.ecx, 17, CPU_PCID) |
           feature_if(basic.ecx, 26, CPU_XSAVE) | feature_if(more.ebx, 10, CPU_INVPCID) |
           feature_if(more.ebx, 7, CPU_SMEP) | feature_if(more.ebx, 20, CPU_SMAP) | feature_if(more.ecx, 2, CPU_UMIP) |
           feature_if(more.ecx, 3, CPU_PKU) | feature_if(more.ecx, 31, CPU_PKS) | feature_if(more.ecx, 16, CPU_LA57) |
           feature_if(more.ecx, 7, CPU_SHADOW_STACK) | feature_if(basic.edx, 12, CPU_MTRR);
}

static void read_vendor(char *ret) {
    struct cpuid name = cpuid(0, 0);
    memcpy(ret, &name.ebx, 4);
    memcpy(ret + 4, &name.edx, 4);
    memcpy(ret + 8, &name.ecx, 4);
}

bool cpu_is_amd(void) {
    return __builtin_memcmp(lab_cpu.vendor, "AuthenticAMD", 12) == 0; /* two comparisons, not a call */
}

/* The CR4 bit for a feature, when the CPU has it. A bit that it lacks would raise #GP. */
static u64 cr4_if(u64 feature, u64 bit) {
    return lab_cpu.features & feature ? bit : 0;
}

void cpu_note_registers(void) {
    lab_cpu.cr0 = read_cr0();
    lab_cpu.cr3 = read_cr3();
    lab_cpu.cr4 = read_cr4();
    lab_cpu.efer = rdmsr(MSR_EFER);
    lab_cpu.pat = rdmsr(MSR_PAT);
}

/* The kernel is built without SSE; drivers are not, so their instructions must work. */
static void enable_sse(void) {
    write_cr0((read_cr0() | CR0_MP | CR0_NE) & ~(u64)(CR0_EM | CR0_TS));
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT | cr4_if(CPU_XSAVE, CR4_OSXSAVE));
    if (lab_cpu.features & CPU_XSAVE)
        xsetbv(0, cpuid(0xd, 0).eax & XCR0_AVX_STATE);
}

void cpu_init(void) {
    struct cpuid sizes = cpuid(0x80000008, 0);
    lab_cpu.max_physical_bits = sizes.eax & 0xff;
    lab_cpu.max_virtual_bits = sizes.eax >> 8 & 0xff;
    lab_cpu.features = read_features();
    read_vendor(lab_cpu.vendor);

    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    wrmsr(MSR_PAT, WINDOWS_PAT);
    mtrr_init(&lab_cpu.mtrrs);
    write_cr0(read_cr0() | CR0_WP);
    write_cr4(read_cr4() | cr4_if(CPU_PGE, CR4_PGE) | cr4_if(CPU_SMEP, CR4_SMEP) | cr4_if(CPU_SMAP, CR4_SMAP) |
              cr4_if(CPU_UMIP, CR4_UMIP) | cr4_if(CPU_PCID, CR4_PCIDE));
    enable_sse();
    cpu_note_registers();
}
