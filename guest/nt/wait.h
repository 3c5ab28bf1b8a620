/*
 * wait.h - waiting for events, mutexes, semaphores, timers and threads.
 */
#pragma once

#include "nt.h"

/* Gives an object that was signalled to those who wait for it, in the order in which they came. */
void wait_test(PDISPATCHER_HEADER header);
