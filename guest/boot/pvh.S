/*
 * pvh.S - from the 32-bit entry of the PVH boot protocol to C in the higher half.
 *
 * QEMU enters with paging off, flat 32-bit segments, interrupts off and EBX = physical address of the start info
 * (Xen's public header hvm/start_info.h). All addresses here are physical: symbol - KERNEL_BASE.
 */
#define PHYSICAL(symbol) ((symbol) - 0xfffff80000000000)

#define XEN_ELFNOTE_PHYS32_ENTRY 18

#define START_INFO_MAGIC 0x336ec578
#define START_INFO_COMMAND_LINE 24

#define COM1 0x3f8
#define COM1_LINE_STATUS (COM1 + 5)
#define PVPANIC 0x505

#define CR0_PE_MP_WP_PG 0x80010003
#define CR4_PAE 0x20
#define CR4_LA57 0x1000
#define MSR_EFER 0xc0000080
#define EFER_LME_NXE 0x900

#define PTE_P_W 3
#define PTE_P_W_PS 0x83

    .section .note.Xen, "a", @note
    .align 4
    .long 4, 8, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad PHYSICAL(boot_start32)

    .section .boot, "ax", @progbits
    .code32
    .globl boot_start32
boot_start32:
    cld
    movl $PHYSICAL(boot_stack_top), %esp
    movl %ebx, %ebp                 /* CPUID below changes EBX */

    movl $PHYSICAL(kernel_bss_start), %edi
    movl $PHYSICAL(kernel_bss_end), %ecx
    subl %edi, %ecx
    shrl $5, %ecx
    xorl %eax, %eax
1:  movl %eax, (%edi)               /* Unrolled: QEMU's TCG runs REP STOS ten times as slowly. Ends on a page. */
    movl %eax, 4(%edi)
    movl %eax, 8(%edi)
    movl %eax, 12(%edi)
    movl %eax, 16(%edi)
    movl %eax, 20(%edi)
    movl %eax, 24(%edi)
    movl %eax, 28(%edi)
    addl $32, %edi
    decl %ecx
    jnz 1b

    /* CPUID 80000001h EDX: bit 29 long mode, bit 20 NX. */
    movl $0x80000000, %eax
    cpuid
    movl $PHYSICAL(no_long_mode), %esi
    cmpl $0x80000001, %eax
    jb boot_refuse
    movl $0x80000001, %eax
    cpuid
    btl $29, %edx
    jnc boot_refuse
    movl $PHYSICAL(no_nx), %esi
    btl $20, %edx
    jnc boot_refuse

    /*
     * The first tables: 4 GiB in 2 MiB leaves, reached through PML4 slot 0 (where this code runs and the boot
     * information lies) and through slot 0x1f0 (where the kernel is linked). The self map is there from the start, so
     * that even an early fault is reported with its walk. With five levels the same PML4 stands behind the first and
     * the last entry of a PML5, which has a self map of its own.
     */
    movl $PHYSICAL(boot_pml5), %edi
    movl $(PHYSICAL(boot_pml4) + PTE_P_W), (%edi)
    movl $(PHYSICAL(boot_pml4) + PTE_P_W), 0x1ff * 8(%edi)
    movl $(PHYSICAL(boot_pml5) + PTE_P_W), 0x1ed * 8(%edi)
    movl $PHYSICAL(boot_pml4), %edi
    movl $(PHYSICAL(boot_pdpt) + PTE_P_W), (%edi)
    movl $(PHYSICAL(boot_pdpt) + PTE_P_W), 0x1f0 * 8(%edi)
    movl $(PHYSICAL(boot_pml4) + PTE_P_W), 0x1ed * 8(%edi)
    movl $PHYSICAL(boot_pdpt), %edi
    movl $(PHYSICAL(boot_pds) + PTE_P_W), (%edi)
    movl $(PHYSICAL(boot_pds) + 0x1000 + PTE_P_W), 8(%edi)
    movl $(PHYSICAL(boot_pds) + 0x2000 + PTE_P_W), 16(%edi)
    movl $(PHYSICAL(boot_pds) + 0x3000 + PTE_P_W), 24(%edi)
    movl $PHYSICAL(boot_pds), %edi
    movl $PTE_P_W_PS, %eax
1:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    jnc 1b

    /* Now or never: the CPU refuses to change CR4.LA57 in long mode. */
    movl $PHYSICAL(boot_pml4), %edi
    movl $CR4_PAE, %eax
    call boot_wants_five_levels
    jne 1f
    call boot_check_five_levels
    movl $PHYSICAL(boot_pml5), %edi
    movl $(CR4_PAE + CR4_LA57), %eax
1:  movl %eax, %cr4
    movl %edi, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $EFER_LME_NXE, %eax
    wrmsr
    movl $CR0_PE_MP_WP_PG, %eax
    .globl boot_switch_on
boot_switch_on:                     /* debuggers stop here, and behind it */
    movl %eax, %cr0
    .globl boot_switched_on
boot_switched_on:
    lgdt PHYSICAL(boot_gdt_pointer)
    ljmp $0x10, $PHYSICAL(boot_start64)

/* Sets ZF if the command line has the word "la57". Changes ESI. */
boot_wants_five_levels:
    cmpl $START_INFO_MAGIC, (%ebp)
    jne 4f                          /* boot_info.c says so later */
    movl START_INFO_COMMAND_LINE(%ebp), %esi
    testl %esi, %esi
    jz 3f
1:  cmpl $0x3735616c, (%esi)        /* "la57" */
    jne 2f
    testb $~' ', 4(%esi)            /* and then a space or the end */
    jz 4f
2:  cmpb $0, (%esi)
    je 3f
    incl %esi
    cmpb $' ', -1(%esi)
    je 1b
    jmp 2b
3:  incl %esi                       /* an address, so not 0: ZF is clear */
4:  ret

/* CPUID 7h ECX: bit 16 LA57. Changes EAX to EDX. */
boot_check_five_levels:
    movl $PHYSICAL(no_five_levels), %esi
    xorl %eax, %eax
    cpuid
    cmpl $7, %eax
    jb boot_refuse
    movl $7, %eax
    xorl %ecx, %ecx
    cpuid
    btl $16, %ecx
    jnc boot_refuse
    ret

/* Says the sentence at ESI on the serial line, tells QEMU that the guest has panicked, and stops. */
boot_refuse:
    movw $COM1_LINE_STATUS, %dx
1:  inb %dx, %al
    testb $0x20, %al
    jz 1b
    lodsb
    testb %al, %al
    jz 2f
    movw $COM1, %dx
    outb %al, %dx
    jmp boot_refuse
2:  movb $1, %al
    movw $PVPANIC, %dx
    outb %al, %dx
3:  cli
    hlt
    jmp 3b

    .code64
    .globl boot_start64
boot_start64:
    movw $0x18, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    movabsq $boot_stack_top, %rsp
    movl %ebp, %edi                 /* the argument: physical address of the start info */
    xorl %ebp, %ebp                 /* end of the chain of frames */
    movabsq $kernel_start, %rax
    call *%rax
    ud2

    .align 8
boot_gdt:
    .quad 0, 0
    .quad 0x00209b0000000000        /* 0x10: 64-bit code */
    .quad 0x00cf93000000ffff        /* 0x18: data */
boot_gdt_pointer:
    .word . - boot_gdt - 1
    .long PHYSICAL(boot_gdt)

no_long_mode:
    .asciz "boot: this CPU has no long mode; start QEMU with -cpu max\r\n"
no_nx:
    .asciz "boot: this CPU has no NX bit; start QEMU with -cpu max\r\n"
no_five_levels:
    .asciz "boot: this CPU has no 5-level paging (LA57); start QEMU with -cpu max, or boot without the word la57\r\n"

    .section .boot.bss, "aw", @nobits
    .align 4096
    .globl boot_pml4
boot_pml4:
    .skip 4096
    .globl boot_pml5
boot_pml5:
    .skip 4096
boot_pdpt:
    .skip 4096
boot_pds:
    .skip 4 * 4096
    .skip 16384
boot_stack_top:
