/*
 * pool_tags.h - what each tag holds of each pool, as PoolMon shows it.
 */
#pragma once

#include "lab.h"
#include "memory/pool_pages.h"

enum { POOL_TAGS = 512 };

struct pool_tag_usage {
    u32 tag; /* 0: the slot is unused. Slots are found by hash and never given back */
    struct {
        u64 allocations, frees;
        u64 bytes; /* held now: blocks with their headers, or whole pages */
    } kind[POOL_KINDS];
};
extern struct pool_tag_usage pool_tags[POOL_TAGS];

/* Tags that came when every slot was taken are counted together in one that bears Windows' name for it, "Ovfl". */
void pool_tags_count_allocation(enum pool_kind kind, u32 tag, u64 bytes);
void pool_tags_count_free(enum pool_kind kind, u32 tag, u64 bytes);
