/*
 * device.h - devices, the names by which they are opened, and files, which is what opening one makes.
 */
#pragma once

#include "nt.h"

u32 device_count(const DRIVER_OBJECT *driver);

/* Symbolic links made by calls from an image. */
u32 link_count_in(u64 base, u64 size);
void link_delete_all_in(u64 base, u64 size);

/* A file on the top of a device's stack; NULL when out of memory. It holds a reference to the device. */
PFILE_OBJECT file_create(PDEVICE_OBJECT device, PCUNICODE_STRING name);
