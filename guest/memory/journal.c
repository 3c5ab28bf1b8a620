#include "memory/journal.h"

#include "nt/thread.h"
#include "paging/space.h"

struct lab_journal lab_journal;

/* gate.S: what every gate leads to, and the place in it that a call returns to. */
extern const u8 journal_return[];
void NTAPI journal_enter(u64 function, const u64 *frame);
void NTAPI journal_leave(u64 result, const u64 *frame);

static struct journal_call *call_of(u64 number) {
    return &lab_journal.call[(number - 1) % JOURNAL_CALLS];
}

/* No call waits: one of another thread was unwound. */
static void forget_calls_below(u64 stack) {
    const u64 thread = (u64)thread_current();
    while (lab_journal.open &&
           (call_of(lab_journal.open)->thread != thread || call_of(lab_journal.open)->frame < stack))
        lab_journal.open = call_of(lab_journal.open)->outer;
}

void journal_unwound(u64 stack) {
    forget_calls_below(stack);
}

/* From the gate: at `frame` stands the return address, and behind it the arguments. */
void NTAPI journal_enter(u64 function, const u64 *frame) {
    forget_calls_below((u64)frame + 1);
    struct journal_call *call = call_of(++lab_journal.call_count);
    *call = (struct journal_call){
        .function = function,
        .caller = frame[0],
        .printed = lab_log.written,
        .outer = lab_journal.open,
        .frame = (u64)frame,
        .thread = (u64)thread_current(),
    };
    for (u64 i = 0; i < JOURNAL_ARGUMENTS; i++)
        call->argument[i] = frame[1 + i];
    lab_journal.open = lab_journal.call_count;
}

void NTAPI journal_leave(u64 result, const u64 *frame) {
    struct journal_call *call = call_of(lab_journal.open);
    if (!lab_journal.open || call->frame != (u64)frame)
        return;
    call->result = result;
    call->ended = true;
    lab_journal.open = call->outer;
}

const void *journal_caller(const void *return_address) {
    return return_address == journal_return ? (const void *)call_of(lab_journal.open)->caller : return_address;
}

static enum pt_level level_of(const pte_t *entry, u64 address) {
    enum pt_level level = PT;
    while (level < pt_root_level() && entry != pt_entry(address, level))
        level++;
    return level;
}

/* The window to frames without an address is the kernel's own tool, and closed again when a call returns. */
void journal_note(const pte_t *entry, u64 address, pte_t old, pte_t new) {
    u64 physical;
    if (!lab_journal.open || address == HYPERSPACE || old.raw == new.raw || !pt_translate((u64)entry, &physical))
        return;
    call_of(lab_journal.open)->changes++;
    lab_journal.change[lab_journal.change_count++ % JOURNAL_CHANGES] = (struct journal_change){
        .call = lab_journal.open,
        .entry = physical,
        .address = address,
        .level = level_of(entry, address),
        .old = old.raw,
        .new = new.raw,
    };
}

/* ------------------------------------------------------------------------------------------ for the controller ---- */

static void NTAPI journal_open(void) {
    lab_journal.open = lab_journal.call_count = lab_journal.change_count = 0;
    lab_journal.on = true;
}
LAB_COMMAND(journal_open, "Begin a new journal of the memory calls that drivers make.");

static void NTAPI journal_close(void) {
    lab_journal.on = false;
    lab_journal.open = 0;
}
LAB_COMMAND(journal_close, "End the journal of memory calls; what is in it stays.");
