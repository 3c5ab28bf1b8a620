/*
 * outside.S - a kernel that has nothing of ours: booted by PVH, it maps the first 2 MiB, goes to long mode, says "up" on
 * the serial port, waits for a word to become nonzero, and says "woken".
 */
.section .note.Xen, "a", @note
    .long 4, 4, 18              /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long start

.section .text
.code32
start:
    movl $pdpt + 3, pml4
    movl $pd + 3, pdpt
    movl $0x83, pd              /* the first 2 MiB: P W PS */
    mov $pml4, %eax
    mov %eax, %cr3
    mov $1 << 5, %eax           /* CR4.PAE */
    mov %eax, %cr4
    mov $0xc0000080, %ecx       /* EFER.LME */
    mov $1 << 8, %eax
    xor %edx, %edx
    wrmsr
    mov $0x80010001, %eax       /* CR0: PG WP PE */
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $8, $long_mode

.code64
long_mode:
    mov $up, %rsi
    call say
1:  cmpl $0, wake
    je 1b
    mov $woken, %rsi
    call say
2:  hlt
    jmp 2b

say:
    mov $0x3f8, %dx
1:  lodsb
    test %al, %al
    je 2f
    out %al, %dx
    jmp 1b
2:  ret

.section .data
.align 8
gdt:
    .quad 0, 0x00af9a000000ffff
gdt_pointer:
    .word 15
    .long gdt
.globl wake
wake:
    .long 0
up:
    .asciz "up\n"
woken:
    .asciz "woken\n"

.section .bss
.align 4096
pml4: .skip 4096
pdpt: .skip 4096
pd:   .skip 4096
