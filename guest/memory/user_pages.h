/*
 * user_pages.h - memory at user addresses, for the buffers of a program that asks a driver for something. There are no
 * processes yet: the pages are in the one address space there is.
 */
#pragma once

#include "lab.h"

/* From 64 KiB on, as on Windows the first that a program can have. */
enum { USER_PAGES = 0x10000 };
enum { USER_PAGE_COUNT = 4096 };

/*
 * Takes addresses for so many pages, at `wanted` unless that is NULL; nothing is mapped there yet. NULL when they are
 * not to be had.
 */
void *user_pages_reserve(u64 pages, void *wanted);
void user_pages_release(void *base, u64 pages);

/* Zeroed pages that user mode may read and write; NULL when frames or addresses have run out, or for no bytes. */
void *user_pages_map(u64 bytes);
void user_pages_unmap(void *base, u64 bytes);

/*
 * A program is about to end: stops if a driver has locked pages in its buffer and not unlocked them. That is bug check
 * 0x76, and in verifier mode, where the locks are known, 0xCB.
 */
void user_pages_check_unlocked(const void *base, u64 bytes);
