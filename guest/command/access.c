/*
 * access.c - reads, writes and calls at any address: whether they succeed is the CPU's decision.
 */
#include "nt.h"
#include "nt/rtl.h"

static u64 NTAPI read_u64(u64 address) {
    return *(volatile u64 *)address;
}
LAB_COMMAND(read_u64, "Read 8 bytes at an address and return them.");

static void NTAPI write_u64(u64 address, u64 value) {
    *(volatile u64 *)address = value;
}
LAB_COMMAND(write_u64, "Write 8 bytes at an address.");

/* Either may be in the mailbox's scratch area, where the controller puts its strings and blocks. */
static void NTAPI copy(u64 destination, u64 source, u64 size) {
    memcpy((void *)destination, (const void *)source, size);
}
LAB_COMMAND(copy, "Copy bytes from one address to another.");

static void NTAPI fill(u64 address, u8 byte, u64 size) {
    memset((void *)address, byte, size);
}
LAB_COMMAND(fill, "Fill a range of addresses with one byte.");

static u8 NTAPI touch_read(u64 address) {
    return *(volatile u8 *)address;
}
LAB_COMMAND(touch_read, "Read one byte: sets the A bits on the way.");

/* Whatever is there stays. */
static void NTAPI touch_write(u64 address) {
    volatile u8 *byte = (volatile u8 *)address;
    *byte = *byte;
}
LAB_COMMAND(touch_write, "Write one byte back as it is: sets the A bits on the way and the D bit of the leaf.");

static u64 NTAPI execute(u64 address) {
    return ((u64(NTAPI *)(void))address)();
}
LAB_COMMAND(execute, "Call the code at an address and return its RAX.");
