/*
 * pool_quota.h - blocks that are charged to a process. There are no limits to exceed; what can be seen of quota is the
 * mark in PoolType (POOL_TYPE_QUOTA), the process in the last eight bytes of the block, and that the process's object
 * is referenced as long as the block exists.
 */
#pragma once

#include "lab.h"
#include "nt.h"

enum { POOL_QUOTA_BYTES = sizeof(PEPROCESS) };

void pool_quota_charge(POOL_HEADER *block);

/* Stops with bug check 0xC2 when the block's last bytes do not name a process any more. */
void pool_quota_return(POOL_HEADER *block);
