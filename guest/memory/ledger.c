#include "memory/ledger.h"

#include "memory/lookaside.h"
#include "memory/verifier.h"

struct ledger_totals ledger_totals[LAB_DRIVERS];
struct ledger_entry ledger_entries[LEDGER_ENTRIES];

/* Chains of entries by address, the chain of those that are unused again, and how many were ever used. */
enum { CHAINS = 1024 };
static u16 chains[CHAINS];
static u16 unused, ever_used;

static u16 number_of(const struct lab_driver *driver) {
    return (u16)(driver - lab_drivers + 1);
}

static struct ledger_totals *totals_of(const struct ledger_entry *entry) {
    return &ledger_totals[entry->driver - 1];
}

/* ------------------------------------------------------------------------------------------------- the entries ---- */

static u16 *chain_of(u64 address) {
    return &chains[(u32)(address >> 4) * 0x9e3779b1u >> 22]; /* multiplicative hashing, Knuth's constant; 10 bits */
}

static struct ledger_entry *entry_at(u16 link) {
    return &ledger_entries[link - 1];
}

static void drop_entry(u16 *link) {
    struct ledger_entry *entry = entry_at(*link);
    u16 number = *link;
    totals_of(entry)->count[entry->kind]--;
    totals_of(entry)->bytes[entry->kind] -= entry->bytes;
    *link = entry->next;
    *entry = (struct ledger_entry){.next = unused};
    unused = number;
}

/* 0 when all are used. */
static u16 take_entry(void) {
    u16 number = unused;
    if (number)
        unused = entry_at(number)->next;
    else if (ever_used < LEDGER_ENTRIES)
        number = ++ever_used;
    return number;
}

static void enter(const struct ledger_entry *values) {
    u16 number = take_entry(), *chain = chain_of(values->address);
    if (!number) {
        totals_of(values)->missed++;
        return;
    }
    *entry_at(number) = *values;
    entry_at(number)->next = *chain;
    *chain = number;
    totals_of(values)->count[values->kind]++;
    totals_of(values)->bytes[values->kind] += values->bytes;
}

void ledger_add(enum ledger_kind kind, const void *address, u64 bytes, u32 tag, const void *caller) {
    const struct lab_driver *driver = driver_at((u64)caller);
    if (driver)
        enter(&(struct ledger_entry){
            .address = (u64)address,
            .bytes = bytes,
            .caller = (u64)caller,
            .tag = tag,
            .driver = number_of(driver),
            .kind = kind,
        });
}

void ledger_remove(enum ledger_kind kind, const void *address) {
    for (u16 *link = chain_of((u64)address); *link; link = &entry_at(*link)->next) {
        if (entry_at(*link)->address == (u64)address && entry_at(*link)->kind == kind) {
            drop_entry(link);
            return;
        }
    }
}

void ledger_open(const struct lab_driver *driver) {
    for (u64 i = 0; i < CHAINS; i++) {
        for (u16 *link = &chains[i]; *link;) {
            if (entry_at(*link)->driver == number_of(driver))
                drop_entry(link);
            else
                link = &entry_at(*link)->next;
        }
    }
    ledger_totals[driver - lab_drivers].missed = 0;
}

/* -------------------------------------------------------------------------------------------------- the report ---- */

static const char *const kind_names[LEDGER_KINDS] = {
    [LEDGER_POOL] = "pool",
    [LEDGER_MDL] = "an MDL",
    [LEDGER_PAGES] = "pages of an MDL",
    [LEDGER_LOCK] = "locked pages of an MDL",
    [LEDGER_MAPPING] = "a mapping",
    [LEDGER_RESERVED] = "a reserved mapping",
    [LEDGER_IO_SPACE] = "mapped I/O space",
    [LEDGER_CONTIGUOUS] = "contiguous memory",
    [LEDGER_NON_CACHED] = "non-cached memory",
    [LEDGER_LOOKASIDE] = "a lookaside list",
};

void ledger_print_place(u64 address) {
    const struct lab_driver *driver = driver_at(address);
    if (driver)
        log_print("%s.sys+0x%llx", driver->name, address - driver->base);
    else
        log_print("0x%016llx", address);
}

static void print_entry(const struct ledger_entry *entry) {
    log_print("  %s at 0x%016llx, %llu bytes", kind_names[entry->kind], entry->address, entry->bytes);
    if (entry->tag)
        log_print(", tag '%.4s'", (const char *)&entry->tag);
    log_print(", by the call before ");
    ledger_print_place(entry->caller);
    log_print("\n");
}

static void print_leaks(const struct lab_driver *driver) {
    enum { PRINTED = 32 };
    u64 found = 0;
    log_print("%s.sys has not given back:\n", driver->name);
    for (u64 i = 0; i < ever_used; i++) {
        if (ledger_entries[i].driver == number_of(driver) && ++found <= PRINTED)
            print_entry(&ledger_entries[i]);
    }
    if (found > PRINTED)
        log_print("  and %llu more\n", found - PRINTED);
}

/* MDLs are pool allocations too. */
void ledger_close(const struct lab_driver *driver) {
    const struct ledger_totals *totals = &ledger_totals[driver - lab_drivers];
    u64 count = totals->count[LEDGER_POOL] + totals->count[LEDGER_MDL];
    lookaside_forget(driver->base, driver->size);
    if (!lab_options.verifier || !count)
        return;
    print_leaks(driver);
    verifier_stop(VERIFIER_LEAK, NULL, (u64)driver->name, (u64)totals, count);
}
