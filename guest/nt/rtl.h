/*
 * rtl.h - the four memory functions a C compiler may call in freestanding code. Windows' own Rtl calls are in nt.h.
 */
#pragma once

#include <stddef.h>

void *memcpy(void *destination, const void *source, size_t size);
void *memmove(void *destination, const void *source, size_t size);
void *memset(void *destination, int value, size_t size);
int memcmp(const void *left, const void *right, size_t size);
