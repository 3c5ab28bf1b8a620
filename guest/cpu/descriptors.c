#include "cpu/descriptors.h"

#include "cpu/instructions.h"
#include "cpu/trap.h"

/*
 * Segment descriptors in long mode (Intel SDM vol. 3A, "Segment Descriptors"). Base and limit are ignored, what counts:
 *   55 G   53 L (64-bit code)   47 P   46:45 DPL   44 S   43 code   41 W/R   40 A
 */
#define SEGMENT_CODE(dpl) (0x00209b0000000000ull | (u64)(dpl) << 45)
#define SEGMENT_DATA(dpl) (0x00cf93000000ffffull | (u64)(dpl) << 45)

/* Intel SDM vol. 3A, "Task Management in 64-bit Mode". */
struct tss {
    u32 reserved0;
    u64 rsp[3]; /* stack for entry to rings 0, 1, 2 */
    u64 reserved1;
    u64 ist[7]; /* interrupt stacks 1 to 7 */
    u64 reserved2;
    u16 reserved3;
    u16 io_map;
} __attribute__((packed));
_Static_assert(sizeof(struct tss) == 104, "size of a 64-bit TSS");

/*  127..96   95..64         63..48         47 P  46:45 DPL  43:40 type  34:32 IST  31..16    15..0
 *  0         offset 63..32  offset 31..16                                           selector  offset 15..0 */
struct gate {
    u16 offset_low;
    u16 selector;
    u8 ist;
    u8 type;
    u16 offset_middle;
    u32 offset_high;
    u32 zero;
};
_Static_assert(sizeof(struct gate) == 16, "size of a 64-bit gate");

enum { GATE_INTERRUPT = 0x8e, GATE_DPL3 = 3 << 5, TSS_AVAILABLE = 0x89 };
enum ist { IST_NONE, IST_NMI, IST_DOUBLE_FAULT };

static struct tss tss = {.io_map = sizeof(struct tss)};
static u64 gdt[10] __attribute__((aligned(16)));
static struct gate idt[TRAP_VECTORS] __attribute__((aligned(16)));

static void gdt_init(void) {
    gdt[SELECTOR_KERNEL_CODE / 8] = SEGMENT_CODE(0);
    gdt[SELECTOR_KERNEL_DATA / 8] = SEGMENT_DATA(0);
    gdt[SELECTOR_USER_DATA / 8] = SEGMENT_DATA(3);
    gdt[SELECTOR_USER_CODE / 8] = SEGMENT_CODE(3);
    u64 base = (u64)&tss;
    gdt[SELECTOR_TSS / 8] =
        (sizeof(tss) - 1) | (base & 0xffffff) << 16 | (u64)TSS_AVAILABLE << 40 | (base >> 24 & 0xff) << 56;
    gdt[SELECTOR_TSS / 8 + 1] = base >> 32;
    /* The segment registers keep what the boot code loaded: the same selectors with the same rights. */
    lgdt(&(struct descriptor_pointer){sizeof(gdt) - 1, (u64)gdt});
    ltr(SELECTOR_TSS);
}

static void idt_set(u64 vector, u8 type) {
    u64 offset = (u64)trap_stubs + vector * TRAP_STUB_SIZE;
    idt[vector] = (struct gate){
        .offset_low = (u16)offset,
        .offset_middle = (u16)(offset >> 16),
        .offset_high = (u32)(offset >> 32),
        .selector = SELECTOR_KERNEL_CODE,
        .type = type,
    };
}

void descriptors_init(void) {
    gdt_init();
    for (u64 vector = 0; vector < TRAP_VECTORS; vector++)
        idt_set(vector, GATE_INTERRUPT);
    idt_set(TRAP_BP, GATE_INTERRUPT | GATE_DPL3);
    idt_set(TRAP_OF, GATE_INTERRUPT | GATE_DPL3);
    lidt(&(struct descriptor_pointer){sizeof(idt) - 1, (u64)idt});
}

void descriptors_set_stacks(u64 nmi_stack_top, u64 double_fault_stack_top) {
    tss.ist[IST_NMI - 1] = nmi_stack_top;
    tss.ist[IST_DOUBLE_FAULT - 1] = double_fault_stack_top;
    idt[TRAP_NMI].ist = IST_NMI;
    idt[TRAP_DF].ist = IST_DOUBLE_FAULT;
}
