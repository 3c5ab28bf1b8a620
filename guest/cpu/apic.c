#include "cpu/apic.h"

#include "paging/paging.h"

/* Registers by offset; Intel SDM vol. 3A, "Advanced Programmable Interrupt Controller". */
enum { APIC_PHYSICAL = 0xfee00000, APIC_SPURIOUS = 0xf0, APIC_LINT0 = 0x350, APIC_LINT1 = 0x360 };
enum { SPURIOUS_ENABLE = 1 << 8 };
enum { DELIVER_NMI = 4 << 8, DELIVER_EXTINT = 7 << 8 };

static void apic_write(u64 offset, u32 value) {
    *(volatile u32 *)(LOCAL_APIC + offset) = value;
}

/* Firmware usually does this; the one of microvm leaves both pins masked, and then no HLT would ever end. */
void apic_init(void) {
    bool mapped = pt_map(LOCAL_APIC, APIC_PHYSICAL >> PAGE_SHIFT,
                         PTE_P | PTE_W | PTE_A | PTE_D | PTE_G | PTE_PWT | PTE_PCD | PTE_SW_WRITE | PTE_NX);
    lab_assert(mapped, "apic: no frame for the tables of %p", (void *)LOCAL_APIC);
    apic_write(APIC_SPURIOUS, SPURIOUS_ENABLE | APIC_SPURIOUS_VECTOR);
    apic_write(APIC_LINT0, DELIVER_EXTINT);
    apic_write(APIC_LINT1, DELIVER_NMI);
}
