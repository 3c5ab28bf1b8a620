/*
 * tables.c - the page tables as the guest itself sees and changes them.
 */
#include "cpu/instructions.h"
#include "nt.h"
#include "paging/paging.h"

static void NTAPI walk(u64 address) {
    pt_print_walk(address);
}
LAB_COMMAND(walk, "Print the walk of an address to the log.");

static void NTAPI invlpg(u64 address) {
    cpu_invlpg(address);
}
LAB_COMMAND(invlpg, "Make the CPU forget the translation of one page.");

static void NTAPI flush_tlb(void) {
    pt_flush_all();
}
LAB_COMMAND(flush_tlb, "Make the CPU forget every translation, global ones included.");
