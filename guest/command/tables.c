/*
 * tables.c - the page tables as the guest itself sees and changes them.
 */
#include "nt.h"
#include "paging/paging.h"

static void NTAPI walk(u64 address) {
    pt_print_walk(address);
}
LAB_COMMAND(walk, "Print the walk of an address to the log.");
