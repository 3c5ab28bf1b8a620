/*
 * driver.h - drivers in memory: where each one's image is and what became of it. The controller lays an image out for
 * the address it was given here (relocations, imports); the guest copies it there itself, because QEMU's TCG would not
 * notice code that the host wrote over code that ran already.
 */
#pragma once

#include "nt.h"

enum { LAB_DRIVERS = 32, LAB_DRIVER_NAME = 64, LAB_DRIVER_SECTIONS = 32 };

enum lab_driver_state {
    DRIVER_NONE,
    DRIVER_RESERVED, /* has addresses and memory, is being filled */
    DRIVER_STARTING, /* in DriverEntry */
    DRIVER_LOADED,
    DRIVER_STOPPING, /* in DriverUnload */
    DRIVER_GONE,     /* unloaded, or given up by its own DriverEntry; what it left behind stands in leftovers */
};

/* Rights of a section, and whether it is given back after DriverEntry. */
enum lab_driver_right { DRIVER_READ = 1, DRIVER_WRITE = 2, DRIVER_EXECUTE = 4, DRIVER_DISCARD = 8 };

/* What was still there when a driver was gone. Pool, MDLs and mappings are in the ledger (memory/ledger.h). */
struct lab_leftovers {
    u32 devices;        /* taken away with the driver, as are the links; on Windows they would stay */
    u32 symbolic_links; /* made by a call from the image */
    u32 timers;         /* KTIMERs set, in the image or with a DPC of the image */
    u32 dpcs;           /* queued */
    u32 work_items;     /* queued */
    u32 threads;        /* begun in the image and not ended */
    u32 handles;        /* made by a call from the image and not closed */
    u32 callbacks;      /* registered and not taken back */
};

struct lab_driver {
    u64 state; /* enum lab_driver_state */
    char name[LAB_DRIVER_NAME];
    u64 base, size;
    u64 entry;                       /* address of the entry point */
    u64 loaded_as;                   /* counts the drivers ever loaded, from 1 */
    NTSTATUS status;                 /* of DriverEntry */
    u32 exceptions, exceptions_size; /* .pdata, relative to base */
    u32 section_count;
    PDRIVER_OBJECT object;
    struct missing_import *missing;
    struct lab_driver_section {
        u32 start, size; /* relative to base, whole pages */
        u32 rights;      /* enum lab_driver_right; 0: given back */
    } section[LAB_DRIVER_SECTIONS];
    struct lab_leftovers leftovers;
};

/* A slot keeps what is known of a driver that is gone until all slots are needed. */
extern struct lab_driver lab_drivers[LAB_DRIVERS];

/* The driver whose image an address is in, NULL when there is none; driver_gone_at: whose image was there last. */
struct lab_driver *driver_at(u64 address);
struct lab_driver *driver_gone_at(u64 address);

/* The driver that called the kernel, however deep in the kernel this is asked; NULL when none did. */
struct lab_driver *driver_calling(void);

/* Bytes of an image by their distance from its base; NULL unless all of them are in it and mapped. */
const void *driver_memory(const struct lab_driver *driver, u32 rva, u64 size);

/*
 * Calls a function of a driver: faults take their Windows course, whatever the mailbox asked for, and user addresses
 * can be reached in spite of SMAP, which Windows 7 does not know. Exceptions do not pass: an unhandled one is a bug
 * check. The driver may have changed its IRQL.
 */
u64 driver_call(const void *function, u64 argument1, u64 argument2, u64 argument3, u64 argument4);

/* Only while a driver's code runs; what allow returns goes to restore. */
u64 driver_allow_user_access(void);
void driver_restore_user_access(u64 rflags);

/* ------------------------------------------------------------------------------------------ loading, unloading ---- */

/* A slot with memory for an image, all of it read-write; NULL when one of them has run out. */
struct lab_driver *driver_reserve(const char *name, u64 size);

/* Sets the rights of whole pages; false when they are not in the image, or are of too many sections. */
bool driver_set_rights(struct lab_driver *driver, u32 start, u32 size, u32 rights);

/* Code that stops the machine with the name of what is missing, to be bound to an import; 0 when out of memory. */
u64 driver_add_missing(struct lab_driver *driver, const char *name);

/* Gives back the whole image; the slot then says DRIVER_GONE. */
void driver_release(struct lab_driver *driver);

/* Gives back what DriverEntry alone needed. */
void driver_discard_sections(struct lab_driver *driver);

/* driver_object.c: makes the DRIVER_OBJECT, calls DriverEntry, returns its status; a failure gives the image back. */
NTSTATUS driver_start(struct lab_driver *driver);

/* Calls DriverUnload and gives everything back. STATUS_INVALID_DEVICE_REQUEST when the driver has none, as Windows
 * says. */
NTSTATUS driver_stop(struct lab_driver *driver);
