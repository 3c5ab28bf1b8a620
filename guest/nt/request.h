/*
 * request.h - what a program does with a device: opens it by name, sends requests, closes it. Each call sends one real
 * request through the driver's functions and waits for its end.
 */
#pragma once

#include "nt.h"
#include "nt/irp.h"

/*
 * `name` may go on behind the device's own name, as a file on it. Whatever the driver answers to IRP_MJ_CREATE is
 * returned; STATUS_OBJECT_NAME_NOT_FOUND when there is no such device. Closing sends IRP_MJ_CLEANUP, and the end of the
 * file's last reference IRP_MJ_CLOSE.
 */
NTSTATUS file_open(PCUNICODE_STRING name, KPROCESSOR_MODE mode, PFILE_OBJECT *ret);
void file_close(PFILE_OBJECT file, KPROCESSOR_MODE mode);
/* For the type of files: its last handle is closed, its last reference is gone. */
void file_handles_closed(void *object);
void file_finish(void *object);

NTSTATUS file_control(PFILE_OBJECT file, KPROCESSOR_MODE mode, const struct irp_control *control, IO_STATUS_BLOCK *ret);
NTSTATUS file_transfer(PFILE_OBJECT file, KPROCESSOR_MODE mode, UCHAR major, void *buffer, ULONG length, u64 offset,
                       IO_STATUS_BLOCK *ret);
