/*
 * irp.h - requests, as far as the I/O manager itself makes them. Their life is IoAllocateIrp, IofCallDriver and
 * IofCompleteRequest (nt_io.h), which frees what these functions attach.
 */
#pragma once

#include "nt.h"

/* The stack location of the driver that will be called. */
PIO_STACK_LOCATION irp_next_location(PIRP irp);

struct irp_control {
    ULONG code;
    bool internal;
    void *input;
    ULONG input_size;
    void *output;
    ULONG output_size;
};

/*
 * Fill in what a device control or a read or write is, with buffers by the method that the code or the device names.
 * False when out of memory; bad addresses raise an exception.
 */
bool irp_set_control(PIRP irp, const struct irp_control *control);
bool irp_set_transfer(PIRP irp, PDEVICE_OBJECT device, UCHAR major, void *buffer, ULONG length, u64 offset);

/* Gives up a request that was not sent. */
void irp_discard(PIRP irp);

/* What a cancel routine does first: the lock was taken for it, at the IRQL in CancelIrql. */
void irp_release_cancel_lock(KIRQL irql);
