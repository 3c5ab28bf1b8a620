#include "memory/pool_tags.h"

#include "memory/pool.h"

struct pool_tag_usage pool_tags[POOL_TAGS];

static struct pool_tag_usage *usage_of(u32 tag) {
    enum { OVERFLOW = POOL_TAGS - 1, OVERFLOW_TAG = POOL_TAG('O', 'v', 'f', 'l') };
    u32 slot = (tag * 0x9e3779b1u >> 16) % OVERFLOW; /* multiplicative hashing, Knuth's constant */
    for (u32 tried = 0; tried < OVERFLOW; tried++, slot = (slot + 1) % OVERFLOW) {
        if (!pool_tags[slot].tag)
            pool_tags[slot].tag = tag;
        if (pool_tags[slot].tag == tag)
            return &pool_tags[slot];
    }
    pool_tags[OVERFLOW].tag = OVERFLOW_TAG;
    return &pool_tags[OVERFLOW];
}

void pool_tags_count_allocation(enum pool_kind kind, u32 tag, u64 bytes) {
    struct pool_tag_usage *usage = usage_of(tag);
    usage->kind[kind].allocations++;
    usage->kind[kind].bytes += bytes;
}

void pool_tags_count_free(enum pool_kind kind, u32 tag, u64 bytes) {
    struct pool_tag_usage *usage = usage_of(tag);
    usage->kind[kind].frees++;
    usage->kind[kind].bytes -= bytes;
}
