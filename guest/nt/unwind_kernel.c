/*
 * unwind_kernel.c - frames of the kernel's own C functions, by the call frame information that the compiler leaves in
 * .eh_frame (DWARF 5, 6.4; Linux Standard Base, "Exception Frames"). A driver's exception may come from inside a call
 * that the driver made, as when it lets RtlCopyMemory run into a bad address: then the frames between must be left.
 *
 * Only what compilers write for this kernel is understood; anything else ends the stack.
 */
#include "cpu/context.h"
#include "nt/thread.h"
#include "nt/unwind.h"

/* Linker script. */
extern const u8 kernel_text_start[], kernel_text_end[], kernel_frame_index[];

/* Return address of trap_handle: its caller has struct lab_registers on the stack (cpu/entry.S). */
extern const u8 trap_return[];

bool unwind_is_kernel(u64 pc) {
    return pc >= (u64)kernel_text_start && pc < (u64)kernel_text_end;
}

/* ----------------------------------------------------------------------------------------------- reading bytes ---- */

struct reader {
    const u8 *at, *end;
};

static u64 read_fixed(struct reader *reader, u32 size) {
    u64 value = 0;
    for (u32 i = 0; i < size && reader->at < reader->end; i++)
        value |= (u64)*reader->at++ << 8 * i;
    return value;
}

static u64 read_uleb(struct reader *reader) {
    u64 value = 0;
    u32 shift = 0;
    u8 byte = 0x80;
    for (; byte & 0x80 && reader->at < reader->end && shift < 64; shift += 7) {
        byte = *reader->at++;
        value |= (u64)(byte & 0x7f) << shift;
    }
    return value;
}

static i64 read_sleb(struct reader *reader) {
    u64 value = 0;
    u32 shift = 0;
    u8 byte = 0x80;
    for (; byte & 0x80 && reader->at < reader->end && shift < 64; shift += 7) {
        byte = *reader->at++;
        value |= (u64)(byte & 0x7f) << shift;
    }
    return (i64)(shift < 64 && byte & 0x40 ? value | ~0ull << shift : value);
}

/* A 32-bit distance from where it stands. */
static u64 read_relative(struct reader *reader) {
    u64 here = (u64)reader->at;
    return here + (u64)(i64)(int32_t)read_fixed(reader, 4);
}

/* --------------------------------------------------------------------------------------------------- the rules ---- */

/* By DWARF's numbers. */
enum { DWARF_RBP = 6, DWARF_RSP = 7, DWARF_RIP = 16, DWARF_REGISTERS = 17 };
enum { MOST_REMEMBERED = 4 };

/* How to find the caller's registers: CFA is its stack pointer; a register is as it is now, or at CFA + offset. */
struct rules {
    u64 cfa_register;
    i64 cfa_offset;
    bool saved[DWARF_REGISTERS];
    i64 offset[DWARF_REGISTERS];
};

struct frame_program {
    u64 pc, location; /* the one looked for, the one that the rules are for by now */
    u64 code_align;
    i64 data_align;
    struct rules rules, initial, remembered[MOST_REMEMBERED];
    u32 depth;
    bool failed;
};

/* The low six bits of the three operations that carry an operand in their own byte are masked away. */
enum frame_operation {
    CFA_NOP = 0x00,
    CFA_ADVANCE_LOC1 = 0x02,
    CFA_ADVANCE_LOC2 = 0x03,
    CFA_ADVANCE_LOC4 = 0x04,
    CFA_OFFSET_EXTENDED = 0x05,
    CFA_RESTORE_EXTENDED = 0x06,
    CFA_SAME_VALUE = 0x08,
    CFA_REMEMBER_STATE = 0x0a,
    CFA_RESTORE_STATE = 0x0b,
    CFA_DEF_CFA = 0x0c,
    CFA_DEF_CFA_REGISTER = 0x0d,
    CFA_DEF_CFA_OFFSET = 0x0e,
    CFA_GNU_ARGS_SIZE = 0x2e,
    CFA_ADVANCE_LOC = 0x40,
    CFA_OFFSET = 0x80,
    CFA_RESTORE = 0xc0,
    CFA_SHORT_MASK = 0xc0,
};

static void set_saved(struct frame_program *program, u64 number, u64 factored) {
    if (number < DWARF_REGISTERS) {
        program->rules.saved[number] = true;
        program->rules.offset[number] = (i64)factored * program->data_align;
    }
}

static void restore(struct frame_program *program, u64 number) {
    if (number < DWARF_REGISTERS) {
        program->rules.saved[number] = program->initial.saved[number];
        program->rules.offset[number] = program->initial.offset[number];
    }
}

static void remember(struct frame_program *program) {
    program->failed |= program->depth == MOST_REMEMBERED;
    if (!program->failed)
        program->remembered[program->depth++] = program->rules;
}

static void recall(struct frame_program *program) {
    program->failed |= program->depth == 0;
    if (!program->failed)
        program->rules = program->remembered[--program->depth];
}

static void run_long(struct frame_program *program, struct reader *code, u32 operation) {
    struct rules *rules = &program->rules;
    u64 number;
    switch (operation) {
    case CFA_NOP:
        break;
    case CFA_ADVANCE_LOC1:
    case CFA_ADVANCE_LOC2:
    case CFA_ADVANCE_LOC4:
        program->location += program->code_align * read_fixed(code, 1u << (operation - CFA_ADVANCE_LOC1));
        break;
    case CFA_OFFSET_EXTENDED:
        number = read_uleb(code);
        set_saved(program, number, read_uleb(code));
        break;
    case CFA_RESTORE_EXTENDED:
        restore(program, read_uleb(code));
        break;
    case CFA_SAME_VALUE:
        number = read_uleb(code);
        if (number < DWARF_REGISTERS)
            rules->saved[number] = false;
        break;
    case CFA_REMEMBER_STATE:
        remember(program);
        break;
    case CFA_RESTORE_STATE:
        recall(program);
        break;
    case CFA_DEF_CFA:
        rules->cfa_register = read_uleb(code);
        rules->cfa_offset = (i64)read_uleb(code);
        break;
    case CFA_DEF_CFA_REGISTER:
        rules->cfa_register = read_uleb(code);
        break;
    case CFA_DEF_CFA_OFFSET:
        rules->cfa_offset = (i64)read_uleb(code);
        break;
    case CFA_GNU_ARGS_SIZE:
        read_uleb(code);
        break;
    default:
        program->failed = true;
    }
}

/* Runs the instructions up to the place looked for. */
static void run(struct frame_program *program, struct reader code) {
    while (code.at < code.end && program->location <= program->pc && !program->failed) {
        u32 byte = *code.at++;
        switch (byte & CFA_SHORT_MASK) {
        case CFA_ADVANCE_LOC:
            program->location += program->code_align * (byte & ~(u32)CFA_SHORT_MASK);
            break;
        case CFA_OFFSET:
            set_saved(program, byte & ~(u32)CFA_SHORT_MASK, read_uleb(&code));
            break;
        case CFA_RESTORE:
            restore(program, byte & ~(u32)CFA_SHORT_MASK);
            break;
        default:
            run_long(program, &code, byte);
        }
    }
}

/* --------------------------------------------------------------------------------------------------- the table ---- */

/* .eh_frame_hdr as linkers write it: four bytes that say how the rest is encoded, then a table sorted by address. */
struct frame_index {
    u8 version, pointer_encoding, count_encoding, table_encoding;
    u32 frames;
    u32 count;
    struct {
        int32_t function, frame; /* both from the beginning of the index */
    } row[];
};
enum { PC_RELATIVE_32 = 0x1b, UNSIGNED_32 = 0x03, INDEX_RELATIVE_32 = 0x3b };

/* The description of the function that holds `pc`, or that of one before it. */
static const u8 *find_frame(u64 pc) {
    const struct frame_index *index = (const void *)kernel_frame_index;
    if (index->version != 1 || index->pointer_encoding != PC_RELATIVE_32 || index->count_encoding != UNSIGNED_32 ||
        index->table_encoding != INDEX_RELATIVE_32)
        return NULL;
    i64 wanted = (i64)(pc - (u64)index);
    u32 low = 0, high = index->count;
    while (low < high) {
        u32 middle = (low + high) / 2;
        if (index->row[middle].function <= wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? (const u8 *)index + index->row[low - 1].frame : NULL;
}

/* A common or frame description, behind its length. */
static struct reader open_entry(const u8 *entry) {
    struct reader reader = {entry, entry + sizeof(u32)};
    u64 size = read_fixed(&reader, sizeof(u32));
    reader.end = reader.at + size;
    return reader;
}

/* Runs the common description's instructions; only augmentation "zR" with relative addresses is known. */
static bool run_common(struct frame_program *program, const u8 *common) {
    struct reader reader = open_entry(common);
    read_fixed(&reader, sizeof(u32));
    u64 version = read_fixed(&reader, 1), augmentation = read_fixed(&reader, 3);
    if (version != 1 || augmentation != ('z' | 'R' << 8))
        return false;
    program->code_align = read_uleb(&reader);
    program->data_align = read_sleb(&reader);
    if (read_fixed(&reader, 1) != DWARF_RIP || read_uleb(&reader) != 1 || read_fixed(&reader, 1) != PC_RELATIVE_32)
        return false;
    program->location = 0;
    run(program, reader);
    program->initial = program->rules;
    return !program->failed;
}

/* Fills program->rules for program->pc. */
static bool find_rules(struct frame_program *program) {
    const u8 *entry = find_frame(program->pc);
    if (!entry)
        return false;
    struct reader reader = open_entry(entry);
    const u8 *common = reader.at;
    common -= read_fixed(&reader, sizeof(u32));
    u64 first = read_relative(&reader), size = read_fixed(&reader, sizeof(u32));
    if (program->pc - first >= size || !run_common(program, common))
        return false;
    reader.at += read_uleb(&reader);
    program->location = first;
    run(program, reader);
    return !program->failed;
}

/* --------------------------------------------------------------------------------------------------- the frame ---- */

/* DWARF's numbers 0 to 15 as those of machine code: rax rdx rcx rbx rsi rdi rbp rsp r8 ... */
static const u8 machine_number[] = {0, 2, 1, 3, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15};

static bool leave_trap(CONTEXT *context) {
    if (!thread_stack_has(context->Rsp, sizeof(struct lab_registers)))
        return false;
    context_from_registers((const struct lab_registers *)context->Rsp, context);
    return true;
}

/* The innermost frame may be at the very first instruction of a function; all others are behind a call. */
bool unwind_kernel_frame(CONTEXT *context) {
    bool behind_call = context->ContextFlags & CONTEXT_UNWOUND_TO_CALL;
    if (context->Rip == (u64)trap_return)
        return leave_trap(context);
    struct frame_program program = {.pc = context->Rip - behind_call};
    if (!find_rules(&program) || program.rules.cfa_register > DWARF_RSP)
        return false;
    u64 cfa = context->Integer[machine_number[program.rules.cfa_register]] + (u64)program.rules.cfa_offset;
    for (u32 i = 0; i < DWARF_REGISTERS; i++) {
        u64 *target = i == DWARF_RIP ? &context->Rip : &context->Integer[machine_number[i]];
        if (program.rules.saved[i] && !unwind_read(cfa + (u64)program.rules.offset[i], target))
            return false;
    }
    context->Rsp = cfa;
    context->ContextFlags |= CONTEXT_UNWOUND_TO_CALL;
    return program.rules.saved[DWARF_RIP];
}
