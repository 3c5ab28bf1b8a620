#include "boot/boot_info.h"

#include "memory/frames.h"

/* Xen's public header hvm/start_info.h, version 1 and later. */
struct hvm_start_info {
    u32 magic;
    u32 version;
    u32 flags;
    u32 module_count;
    u64 modules;
    u64 command_line;
    u64 rsdp;
    u64 memory_map;
    u32 memory_map_count;
    u32 reserved;
};
_Static_assert(sizeof(struct hvm_start_info) == 56, "start info, version 1");
enum { START_INFO_MAGIC = 0x336ec578, START_INFO_MEMORY_MAP_SINCE = 1 };

struct hvm_memory_entry {
    u64 address;
    u64 size;
    u32 type;
    u32 reserved;
};
_Static_assert(sizeof(struct hvm_memory_entry) == 24, "one entry of the memory map");
enum hvm_memory_type { HVM_MEMORY_RAM = 1, HVM_MEMORY_RESERVED = 2 };

struct memory_map memory_map;
struct lab_options lab_options;

/* ------------------------------------------------------------------------------------------------ command line ---- */

static bool same_word(const char *name, const char *word, size_t length) {
    size_t i = 0;
    while (i < length && name[i] == word[i])
        i++;
    return i == length && !name[i];
}

static void take_word(const char *word, size_t length) {
    static const struct {
        const char *name;
        bool *option;
    } words[] = {
        {"verifier", &lab_options.verifier},
        {"special_pool", &lab_options.special_pool},
        {"code_integrity", &lab_options.code_integrity},
        {"exit", &lab_options.exit},
        {"la57", &lab_options.la57},
    };
    for (u64 i = 0; i < ARRAY_SIZE(words); i++) {
        if (same_word(words[i].name, word, length)) {
            *words[i].option = true;
            return;
        }
    }
    log_print(
        "boot: unknown word \"%.*s\" on the command line (known: verifier special_pool code_integrity exit la57)\n",
        (u32)length, word);
}

static void read_command_line(const char *text) {
    while (*text) {
        size_t length = 0;
        while (text[length] && text[length] != ' ')
            length++;
        if (length)
            take_word(text, length);
        text += length;
        while (*text == ' ')
            text++;
    }
}

/* -------------------------------------------------------------------------------------------------- memory map ---- */

/* Keeps the ranges ascending: the map need not be. */
static void add_range(struct memory_range range) {
    if (range.first >= range.end)
        return;
    lab_assert(memory_map.count < MEMORY_RANGES, "boot: more than %u ranges of RAM", MEMORY_RANGES);
    u64 i = memory_map.count++;
    for (; i > 0 && memory_map.range[i - 1].first > range.first; i--)
        memory_map.range[i] = memory_map.range[i - 1];
    memory_map.range[i] = range;
}

/* Only whole frames are usable, and only those for whose records there is room. */
static void add_ram(const struct hvm_memory_entry *entry) {
    u64 end = (entry->address + entry->size) >> PAGE_SHIFT;
    if (end > FRAME_LIMIT)
        log_print("boot: RAM from pa:0x%010llx on is not used\n", (u64)FRAME_LIMIT << PAGE_SHIFT);
    add_range((struct memory_range){.first = PAGES_OF(entry->address), .end = end < FRAME_LIMIT ? end : FRAME_LIMIT});
}

/*
 * A reserved range may be RAM that the firmware keeps or the registers of a device, and the map does not say which. It
 * is RAM when it continues a usable range: so BIOS data below 640 KiB and tables at the end of RAM get their records.
 */
static void add_firmware(const struct hvm_memory_entry *entry) {
    u64 first = entry->address >> PAGE_SHIFT, end = PAGES_OF(entry->address + entry->size);
    for (u64 i = 0; i < memory_map.count; i++) {
        if (!memory_map.range[i].firmware && memory_map.range[i].end == first) {
            add_range((struct memory_range){.first = first, .end = end, .firmware = true});
            return;
        }
    }
}

static void print_memory_map(void) {
    for (u64 i = 0; i < memory_map.count; i++) {
        const struct memory_range *range = &memory_map.range[i];
        log_print("boot: RAM pa:0x%010llx-0x%010llx %8llu KiB%s\n", range->first << PAGE_SHIFT,
                  range->end << PAGE_SHIFT, (range->end - range->first) << PAGE_SHIFT >> 10,
                  range->firmware ? " kept by the firmware" : "");
    }
}

void boot_info_read(u32 start_info) {
    const struct hvm_start_info *info = (const void *)(u64)start_info;
    lab_assert(info->magic == START_INFO_MAGIC, "boot: no PVH start info at pa:0x%010x: magic 0x%08x", start_info,
               info->magic);
    lab_assert(info->version >= START_INFO_MEMORY_MAP_SINCE && info->memory_map_count,
               "boot: PVH start info version %u gives no memory map", info->version);
    const struct hvm_memory_entry *entries = (const void *)info->memory_map;
    for (u32 i = 0; i < info->memory_map_count; i++) {
        if (entries[i].type == HVM_MEMORY_RAM)
            add_ram(&entries[i]);
    }
    for (u32 i = 0; i < info->memory_map_count; i++) {
        if (entries[i].type == HVM_MEMORY_RESERVED)
            add_firmware(&entries[i]);
    }
    print_memory_map();
    if (info->command_line)
        read_command_line((const char *)info->command_line);
}
