/*
 * tlb.c - entries that change while the CPU may remember what they were, and all the ways to make it forget.
 */
#include "cpu/cpu.h"
#include "cpu/instructions.h"
#include "nt.h"
#include "paging/paging.h"

/* Where no table is, there is no entry either: the command then faults in the self map. */
static pte_t *entry_of(u64 address) {
    return pt_entry(address, PT);
}

static u64 NTAPI set_entry(u64 address, u64 value) {
    return pt_set(entry_of(address), address, (pte_t){value}).raw;
}
LAB_COMMAND(set_entry, "Change the PT entry of an address, make the CPU forget the old one, and return that.");

static u64 NTAPI set_entry_stale(u64 address, u64 value) {
    return pt_change(entry_of(address), address, (pte_t){value}, PT_LEAVE_STALE).raw;
}
LAB_COMMAND(set_entry_stale, "Change the PT entry of an address without telling the CPU, and return the old one.");

static void NTAPI invlpg(u64 address) {
    cpu_invlpg(address);
}
LAB_COMMAND(invlpg, "Make the CPU forget the translation of one page.");

/* On a CPU without it this is an undefined instruction. */
static void NTAPI invpcid(u64 type, u64 pcid, u64 address) {
    cpu_invpcid(type, (struct invpcid_descriptor){pcid, address});
}
LAB_COMMAND(invpcid, "Make the CPU forget by PCID: type 0 one address, 1 one PCID, 2 everything, 3 all but global.");

static void NTAPI reload_cr3(void) {
    write_cr3(read_cr3());
}
LAB_COMMAND(reload_cr3, "Make the CPU forget every translation of this PCID that is not global.");

static void NTAPI flush_tlb(void) {
    pt_flush_all();
}
LAB_COMMAND(flush_tlb, "Make the CPU forget every translation, global ones included.");
