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

enum { TSS_AVAILABLE = 0x89, LDT = 0x82 };
enum ist { IST_NONE, IST_NMI, IST_DOUBLE_FAULT, IST_EVERY_TRAP };

static struct tss tss = {.io_map = sizeof(struct tss)};
static u64 gdt[12] __attribute__((aligned(16)));
static struct gate idt[TRAP_VECTORS] __attribute__((aligned(16)));

/* A descriptor of 16 bytes, by its type. */
static void gdt_set_system(enum selector selector, u64 type, u64 base, u64 size) {
    gdt[selector / 8] = (size - 1) | (base & 0xffffff) << 16 | type << 40 | (base >> 24 & 0xff) << 56;
    gdt[selector / 8 + 1] = base >> 32;
}

static void gdt_init(void) {
    gdt[SELECTOR_KERNEL_CODE / 8] = SEGMENT_CODE(0);
    gdt[SELECTOR_KERNEL_DATA / 8] = SEGMENT_DATA(0);
    gdt[SELECTOR_USER_DATA / 8] = SEGMENT_DATA(3);
    gdt[SELECTOR_USER_CODE / 8] = SEGMENT_CODE(3);
    gdt_set_system(SELECTOR_TSS, TSS_AVAILABLE, (u64)&tss, sizeof(tss));
    /* The segment registers keep what the boot code loaded: the same selectors with the same rights. */
    lgdt(&(struct descriptor_pointer){sizeof(gdt) - 1, (u64)gdt});
    ltr(SELECTOR_TSS);
}

struct gate gate_make(u64 handler, u8 type) {
    return (struct gate){
        .offset_low = (u16)handler,
        .offset_middle = (u16)(handler >> 16),
        .offset_high = (u32)(handler >> 32),
        .selector = SELECTOR_KERNEL_CODE,
        .type = type,
    };
}

static void idt_set(u64 vector, u8 type) {
    idt[vector] = gate_make((u64)trap_stubs + vector * TRAP_STUB_SIZE, type);
}

void descriptors_load_interrupts(void) {
    lidt(&(struct descriptor_pointer){sizeof(idt) - 1, (u64)idt});
}

void descriptors_init(void) {
    gdt_init();
    for (u64 vector = 0; vector < TRAP_VECTORS; vector++)
        idt_set(vector, GATE_INTERRUPT);
    idt_set(TRAP_BP, GATE_INTERRUPT | GATE_DPL3);
    idt_set(TRAP_OF, GATE_INTERRUPT | GATE_DPL3);
    descriptors_load_interrupts();
}

void descriptors_set_stacks(u64 nmi_stack_top, u64 double_fault_stack_top) {
    tss.ist[IST_NMI - 1] = nmi_stack_top;
    tss.ist[IST_DOUBLE_FAULT - 1] = double_fault_stack_top;
    idt[TRAP_NMI].ist = IST_NMI;
    idt[TRAP_DF].ist = IST_DOUBLE_FAULT;
}

u64 descriptors_set_entry_stack(u64 stack_top) {
    u64 old = tss.rsp[0];
    tss.rsp[0] = stack_top;
    return old;
}

void descriptors_load_local(u64 base) {
    gdt_set_system(SELECTOR_LDT, LDT, base, PAGE_SIZE);
    lldt(SELECTOR_LDT);
}

void descriptors_set_trap_stack(u64 stack_top) {
    tss.ist[IST_EVERY_TRAP - 1] = stack_top;
    for (u64 vector = 0; vector < TRAP_VECTORS; vector++)
        idt[vector].ist = stack_top ? IST_EVERY_TRAP : IST_NONE;
    if (!stack_top) {
        idt[TRAP_NMI].ist = IST_NMI;
        idt[TRAP_DF].ist = IST_DOUBLE_FAULT;
    }
}
