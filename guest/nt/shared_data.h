/*
 * shared_data.h - KUSER_SHARED_DATA: the page that Windows shows every process read-only, at an address of its own.
 */
#pragma once

#include "lab.h"

void shared_data_init(void);
