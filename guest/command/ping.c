/*
 * ping.c - the smallest command, and the pattern of all: a static function, announced with LAB_COMMAND beside it. Its
 * name and the types of its parameters are what the controller calls it by.
 */
#include "nt.h"

static u64 NTAPI lab_ping(u64 argument) {
    return argument + 1;
}
LAB_COMMAND(lab_ping, "Return the argument plus one: shows that the guest answers.");
