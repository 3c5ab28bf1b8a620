/*
 * space.h - the space in which accesses are tried, and the memory for all of it.
 */
#pragma once

#include "paging/paging.h"
#include "trial/trial.h"

/*
 * The stubs, where user mode may run them; no address on trial has this entry of the root. The page has other low bits
 * than those on trial: where two pages share a place in the TLB of QEMU's TCG, INVLPG lets it grow and grow.
 */
enum { TRIAL_USER_STUBS = 0x800002a000ull };

/* False: no memory, or no RAM where a place could be. */
bool trial_space_open(void);
void trial_space_close(void);

/* What the controller and the trials share; NULL while the space is not open. */
struct trials *trial_shared(void);

u64 trial_space_root(void); /* for CR3 */

/* The entry that the walk of `address` uses at a level; its table is used for nothing else but at the root. */
pte_t *trial_space_entry(u64 address, enum pt_level level);

/* What a place holds, as the kernel sees it. */
u64 *trial_place_words(u64 place, enum trial_access access);
