#include "trial/trial.h"

#include "cpu/cpu.h"
#include "cpu/descriptors.h"
#include "cpu/instructions.h"
#include "cpu/trap.h"
#include "nt.h"
#include "paging/paging.h"
#include "trial/space.h"

struct trial_outcome trial_outcome;

/* What a group may choose in each register; all else stays as the kernel has it. */
enum { CHOSEN_CR0 = CR0_WP, CHOSEN_EFER = EFER_NXE, CHOSEN_RFLAGS = RFLAGS_AC };
enum { CHOSEN_CR4 = CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_PKS };
enum { PKRS_KEY_0 = 3 }; /* the key of all that the trials need themselves */

enum { MSR_EFER = 0xc0000080, MSR_STAR = 0xc0000081, MSR_LSTAR = 0xc0000082, MSR_SYSCALL_MASK = 0xc0000084 };
enum { MSR_FS_BASE = 0xc0000100, MSR_PKRS = 0x6e1 };

/* The trials run on the one; entries from user mode find the other, whose contents nobody needs. */
static u8 trial_stack[2048] __attribute__((aligned(16)));
static u8 entry_stack[128] __attribute__((aligned(16)));
static struct gate trial_idt[TRIAL_VECTORS] __attribute__((aligned(16)));

/* --------------------------------------------------------------------------------------------------- registers ---- */

static u64 choose(u64 ours, u64 wanted, u64 chosen) {
    return (ours & ~chosen) | (wanted & chosen);
}

static u64 supported_cr4(void) {
    u64 features = lab_cpu.features;
    return (features & CPU_PGE ? CR4_PGE : 0) | (features & CPU_SMEP ? CR4_SMEP : 0) |
           (features & CPU_SMAP ? CR4_SMAP : 0) | (features & CPU_PKU ? CR4_PKE : 0) |
           (features & CPU_PKS ? CR4_PKS : 0);
}

static bool can_have(const struct trial_controls *controls) {
    return !(controls->cr4 & CHOSEN_CR4 & ~supported_cr4()) && !(controls->pkrs & PKRS_KEY_0);
}

/* With PGE clear while CR3 changes: no global translation passes from one space to the other. */
static void enter(const struct trial_controls *controls) {
    u64 cr4 = choose(lab_cpu.cr4, controls->cr4, CHOSEN_CR4);
    write_cr4(lab_cpu.cr4 & ~(u64)CR4_PGE);
    write_cr3(trial_space_root());
    wrmsr(MSR_EFER, choose(lab_cpu.efer, controls->efer, CHOSEN_EFER) | EFER_SCE);
    write_cr0(choose(lab_cpu.cr0, controls->cr0, CHOSEN_CR0));
    if (lab_cpu.features & CPU_PKS)
        wrmsr(MSR_PKRS, controls->pkrs);
    if (lab_cpu.features & CPU_PKU) {
        write_cr4((cr4 | CR4_PKE) & ~(u64)CR4_PGE); /* without PKE there is no WRPKRU */
        wrpkru(controls->pkru);
    }
    write_cr4(cr4);
    write_rflags(choose(read_rflags(), controls->rflags, CHOSEN_RFLAGS));
}

static void leave(void) {
    write_rflags(read_rflags() & ~(u64)CHOSEN_RFLAGS);
    write_cr4(lab_cpu.cr4 & ~(u64)CR4_PGE);
    if (lab_cpu.features & CPU_PKS)
        wrmsr(MSR_PKRS, 0);
    write_cr0(lab_cpu.cr0);
    wrmsr(MSR_EFER, lab_cpu.efer);
    write_cr3(lab_cpu.cr3);
    write_cr4(lab_cpu.cr4);
}

/* SYSRET takes the selectors 8 and 16 above the upper one: user data, then user code. */
static void prepare_system_call(void) {
    wrmsr(MSR_STAR, (u64)(SELECTOR_USER_DATA - 8) << 48 | (u64)SELECTOR_KERNEL_CODE << 32);
    wrmsr(MSR_LSTAR, (u64)trial_return);
    wrmsr(MSR_SYSCALL_MASK, 0);
}

/* ------------------------------------------------------------------------------------------------------- cases ---- */

/* What is the same for all cases of a group. */
struct session {
    u64 address;
    enum trial_access access;
    bool user;
    enum pt_level root;
    pte_t *entry[PML5 + 1];
    u64 value; /* RSI */
    u64 stub, rflags;
    u64 physical; /* where a write shall land, and the same as the kernel sees it */
    u64 *word;
    u64 unwritten, written; /* what stands there before, and after the write */
};

/* A selector is the descriptor's offset in its table, and these bits: in the local one, for user mode. */
enum { SELECTOR_LOCAL_USER = 4 | 3 };

static struct session begin(const struct trial_group *group) {
    u64 offset = OFFSET_IN_PAGE(group->address);
    struct session session = {
        .address = group->address,
        .access = group->access,
        .user = group->user,
        .root = pt_root_level(),
        .stub = (group->user ? TRIAL_USER_STUBS : (u64)trial_stubs) + group->access * TRIAL_STUB_SIZE,
        .rflags = read_rflags(),
        .physical = trial_shared()->place[group->place] + group->access * PAGE_SIZE + offset,
        .word = trial_place_words(group->place, group->access) + offset / sizeof(u64),
    };
    bool write = group->access == TRIAL_WRITE;
    session.unwritten = *session.word;
    session.written = write ? ~session.physical : session.unwritten | TRIAL_MARKED;
    session.value = write ? session.written : offset | SELECTOR_LOCAL_USER;
    for (enum pt_level level = PT; level <= session.root; level++)
        session.entry[level] = trial_space_entry(group->address, level);
    return session;
}

static void end(const struct session *session) {
    for (enum pt_level level = PT; level <= session->root; level++)
        *session->entry[level] = pte_none();
    load_fs(0);
}

/* Whether a write landed where it should. What it did there is put right again. */
static bool landed(const struct session *session) {
    bool changed = *(volatile u64 *)session->word == session->written;
    *session->word = session->unwritten;
    return changed;
}

static u64 told_by_segment(void) {
    return rdmsr(MSR_FS_BASE) << TRIAL_WORD_SHIFT;
}

/* The physical address of the 8 bytes that a successful access reached. */
static u64 reached(const struct session *session) {
    switch (session->access) {
    case TRIAL_WRITE:
        return landed(session) ? session->physical : 0;
    case TRIAL_FETCH:
        return (u64)(u32)trial_outcome.found << TRIAL_WORD_SHIFT;
    case TRIAL_LOAD_SEGMENT:
        return told_by_segment();
    case TRIAL_MARK_SEGMENT:
        return landed(session) ? told_by_segment() : 0;
    default:
        return trial_outcome.found;
    }
}

static void try(const struct session *session, struct trial_case *ret) {
    for (enum pt_level level = PT; level <= session->root; level++)
        *(volatile u64 *)&session->entry[level]->raw = ret->before[level - PT];
    cpu_invlpg(session->address);
    if (session->user)
        trial_access_user(session->address, session->value, session->stub, session->rflags);
    else
        trial_access_kernel(session->address, session->value, session->stub);
    ret->vector = (u32)trial_outcome.vector;
    ret->error_code = (u32)trial_outcome.error_code;
    ret->cr2 = trial_outcome.cr2;
    ret->reached = ret->vector == LAB_NO_VECTOR ? reached(session) : 0;
    for (enum pt_level level = PT; level <= session->root; level++)
        ret->after[level - PT] = *(volatile u64 *)&session->entry[level]->raw;
}

static bool loads_segment(const struct trial_group *group) {
    return group->access == TRIAL_LOAD_SEGMENT || group->access == TRIAL_MARK_SEGMENT;
}

static void try_group(const struct trial_group *group, struct trial_case *cases) {
    if (loads_segment(group))
        descriptors_load_local(group->address & ~(PAGE_SIZE - 1));
    enter(&group->controls);
    write_cr2(0);
    trial_outcome.cr2 = 0;
    struct session session = begin(group);
    for (u64 i = 0; i < group->count; i++)
        try(&session, &cases[i]);
    end(&session);
    leave();
}

/* On the stack of the trials, because the kernel's is not in their space. */
static void try_groups(void *argument) {
    struct trials *trials = argument;
    struct trial_case *next = trials->cases;
    for (u64 i = 0; i < trials->groups; i++) {
        try_group(&trials->group[i], next);
        next += trials->group[i].count;
    }
}

/* ---------------------------------------------------------------------------------------------------- commands ---- */

static struct trials *NTAPI trial_open(void) {
    for (u64 vector = 0; vector < TRIAL_VECTORS; vector++)
        trial_idt[vector] = gate_make((u64)trial_traps + vector * TRAP_STUB_SIZE, GATE_INTERRUPT);
    return trial_space_open() ? trial_shared() : NULL;
}
LAB_COMMAND(trial_open,
            "Prepare to try accesses; return what controller and guest share for it, 0 without RAM for it.");

static void NTAPI trial_close(void) {
    trial_space_close();
}
LAB_COMMAND(trial_close, "Give back all that trial_open took.");

/* False for what cannot be tried: no RAM for writes, a control that this CPU lacks, an entry of the root in use. */
static bool can_try(const struct trials *trials, const struct trial_group *group) {
    bool canonical = pt_canonical(group->address) == group->address;
    return group->access < TRIAL_ACCESSES && group->place < TRIAL_PLACES && trials->place[group->place] &&
           can_have(&group->controls) &&
           (canonical || !loads_segment(group)) && /* the local table's base is checked when it is loaded */
           !pte_present(*trial_space_entry(group->address, pt_root_level()));
}

static bool can_try_all(const struct trials *trials) {
    if (!trials || trials->groups > TRIAL_GROUPS)
        return false;
    u64 cases = 0;
    for (u64 i = 0; i < trials->groups; i++) {
        if (!can_try(trials, &trials->group[i]))
            return false;
        cases += trials->group[i].count;
    }
    return cases <= TRIAL_CASES;
}

static bool NTAPI trial_run(void) {
    if (!can_try_all(trial_shared()))
        return false;
    u64 rflags = read_rflags();
    cli();
    prepare_system_call();
    u64 kernel_entry_stack = descriptors_set_entry_stack((u64)entry_stack + sizeof(entry_stack));
    lidt(&(struct descriptor_pointer){sizeof(trial_idt) - 1, (u64)trial_idt});
    trial_call_on(try_groups, trial_shared(), (u64)trial_stack + sizeof(trial_stack));
    descriptors_load_interrupts();
    descriptors_set_entry_stack(kernel_entry_stack);
    write_rflags(rflags);
    return true;
}
LAB_COMMAND(trial_run, "Try the cases of all groups, and note in each what became of it; 0 for what cannot be tried.");
