/*
 * unwind.c - RtlVirtualUnwind and what belongs to it: frames of drivers (Microsoft's "x64 exception handling").
 */
#include "nt/unwind.h"

#include "nt/driver.h"
#include "nt/thread.h"

/* -------------------------------------------------------------------------------------------------- the tables ---- */

/*
 *   byte 0        1               2              3
 *   version:3     size of the     number of      frame register:4
 *   flags:5       prolog          codes          its offset / 16:4
 * followed by the codes, an even number of them, and then by a handler and its data or by the entry that goes on.
 */
struct unwind_info {
    u8 version_and_flags;
    u8 prolog_size;
    u8 code_count;
    u8 frame;
    struct unwind_code {
        u8 prolog_offset; /* behind the instruction that the code undoes */
        u8 operation;     /* enum unwind_operation, and in the high half what it is about */
    } code[];
};

enum unwind_operation {
    UWOP_PUSH_NONVOL,
    UWOP_ALLOC_LARGE,
    UWOP_ALLOC_SMALL,
    UWOP_SET_FPREG,
    UWOP_SAVE_NONVOL,
    UWOP_SAVE_NONVOL_FAR,
    UWOP_EPILOG,     /* of version 2: where epilogs are. We look at their instructions, as for version 1 */
    UWOP_SPARE_CODE, /* of no version */
    UWOP_SAVE_XMM128,
    UWOP_SAVE_XMM128_FAR,
    UWOP_PUSH_MACHFRAME,
};

enum { REGISTER_RSP = 4, NO_FRAME_REGISTER = 0, MOST_CHAINED = 32 };

static u32 flags_of(const struct unwind_info *info) {
    return info->version_and_flags >> 3;
}

static const struct unwind_info *info_of(const struct lab_driver *driver, const RUNTIME_FUNCTION *function) {
    const struct unwind_info *info = driver_memory(driver, function->UnwindData, sizeof(struct unwind_info));
    u64 size = sizeof(*info);
    if (info) /* with the handler's address or the entry that goes on */
        size += ((info->code_count + 1u) & ~1u) * sizeof(info->code[0]) + sizeof(RUNTIME_FUNCTION);
    return info ? driver_memory(driver, function->UnwindData, size) : NULL;
}

/* What stands behind the codes. */
static const void *behind_codes(const struct unwind_info *info) {
    return &info->code[(info->code_count + 1u) & ~1u];
}

/* An entry with bit 0 of UnwindData set only names another. */
static const RUNTIME_FUNCTION *resolve(const struct lab_driver *driver, const RUNTIME_FUNCTION *function) {
    while (function && function->UnwindData & 1)
        function = driver_memory(driver, function->UnwindData & ~1u, sizeof(RUNTIME_FUNCTION));
    return function;
}

static const RUNTIME_FUNCTION *find_function(const struct lab_driver *driver, u32 rva) {
    const RUNTIME_FUNCTION *table = driver_memory(driver, driver->exceptions, driver->exceptions_size);
    u64 low = 0, high = table ? driver->exceptions_size / sizeof(RUNTIME_FUNCTION) : 0;
    while (low < high) {
        u64 middle = (low + high) / 2;
        if (rva < table[middle].BeginAddress)
            high = middle;
        else if (rva >= table[middle].EndAddress)
            low = middle + 1;
        else
            return resolve(driver, &table[middle]);
    }
    return NULL;
}

PRUNTIME_FUNCTION NTAPI RtlLookupFunctionEntry(ULONG64 ControlPc, ULONG64 *ImageBase,
                                               PUNWIND_HISTORY_TABLE HistoryTable) {
    (void)HistoryTable; /* only ever a cache */
    const struct lab_driver *driver = driver_at(ControlPc);
    if (!driver)
        return NULL;
    *ImageBase = driver->base;
    return (PRUNTIME_FUNCTION)find_function(driver, (u32)(ControlPc - driver->base));
}
NT_EXPORT(RtlLookupFunctionEntry);

PVOID NTAPI RtlPcToFileHeader(PVOID PcValue, PVOID *BaseOfImage) {
    const struct lab_driver *driver = driver_at((u64)PcValue);
    *BaseOfImage = driver ? (PVOID)driver->base : NULL;
    return *BaseOfImage;
}
NT_EXPORT(RtlPcToFileHeader);

/* --------------------------------------------------------------------------------------------------- one frame ---- */

struct unwinding {
    const struct lab_driver *driver;
    CONTEXT *context;
    PKNONVOLATILE_CONTEXT_POINTERS pointers;
    u64 frame;          /* what offsets in the codes count from */
    u32 pc;             /* relative to the image */
    bool machine_frame; /* the codes said where rip and rsp are */
    bool failed;
};

bool unwind_read(u64 address, u64 *ret) {
    if (address % sizeof(u64) || !thread_stack_has(address, sizeof(u64)))
        return false;
    *ret = *(const u64 *)address;
    return true;
}

static u64 stack_word(struct unwinding *unwinding, u64 address) {
    u64 value = 0;
    if (!unwind_read(address, &value))
        unwinding->failed = true;
    return value;
}

static void load_integer(struct unwinding *unwinding, u32 number, u64 address) {
    unwinding->context->Integer[number] = stack_word(unwinding, address);
    if (unwinding->pointers)
        unwinding->pointers->IntegerContext[number] = (PULONG64)address;
}

static void load_xmm(struct unwinding *unwinding, u32 number, u64 address) {
    M128A *xmm = &unwinding->context->FltSave.XmmRegisters[number];
    xmm->Low = stack_word(unwinding, address);
    xmm->High = (LONGLONG)stack_word(unwinding, address + sizeof(u64));
    if (unwinding->pointers)
        unwinding->pointers->FloatingContext[number] = (PM128A)address;
}

static void load_machine_frame(struct unwinding *unwinding, bool error_code) {
    u64 address = unwinding->context->Rsp + (error_code ? sizeof(u64) : 0);
    unwinding->context->Rip = stack_word(unwinding, address);
    unwinding->context->Rsp = stack_word(unwinding, address + 3 * sizeof(u64));
    unwinding->machine_frame = true;
}

static u32 slots_of(const struct unwind_code *code) {
    switch (code->operation & 0xf) {
    case UWOP_ALLOC_LARGE:
        return code->operation >> 4 ? 3 : 2;
    case UWOP_SAVE_NONVOL:
    case UWOP_SAVE_XMM128:
    case UWOP_EPILOG:
        return 2;
    case UWOP_SAVE_NONVOL_FAR:
    case UWOP_SAVE_XMM128_FAR:
    case UWOP_SPARE_CODE:
        return 3;
    default:
        return 1;
    }
}

static u32 operand16(const struct unwind_code *code) {
    return *(const u16 *)(const void *)&code[1];
}

static u32 operand32(const struct unwind_code *code) {
    return operand16(code) | operand16(code + 1) << 16;
}

/* Undoes what one code says the prolog did. */
static void undo(struct unwinding *unwinding, const struct unwind_info *info, const struct unwind_code *code) {
    u64 *rsp = &unwinding->context->Rsp;
    u32 what = code->operation >> 4;
    switch (code->operation & 0xf) {
    case UWOP_PUSH_NONVOL:
        load_integer(unwinding, what, *rsp);
        *rsp += sizeof(u64);
        break;
    case UWOP_ALLOC_LARGE:
        *rsp += what ? operand32(code) : operand16(code) * 8ull;
        break;
    case UWOP_ALLOC_SMALL:
        *rsp += what * 8 + 8;
        break;
    case UWOP_SET_FPREG:
        *rsp = unwinding->context->Integer[info->frame & 0xf] - (info->frame >> 4) * 16ull;
        break;
    case UWOP_SAVE_NONVOL:
        load_integer(unwinding, what, unwinding->frame + operand16(code) * 8ull);
        break;
    case UWOP_SAVE_NONVOL_FAR:
        load_integer(unwinding, what, unwinding->frame + operand32(code));
        break;
    case UWOP_SAVE_XMM128:
        load_xmm(unwinding, what, unwinding->frame + operand16(code) * 16ull);
        break;
    case UWOP_SAVE_XMM128_FAR:
        load_xmm(unwinding, what, unwinding->frame + operand32(code));
        break;
    case UWOP_PUSH_MACHFRAME:
        load_machine_frame(unwinding, what);
        break;
    default:
        break;
    }
}

/* Codes stand in the reverse order of the prolog; those of instructions not yet executed are left out. */
static void undo_prolog(struct unwinding *unwinding, const struct unwind_info *info, u32 executed) {
    for (u32 i = 0; i < info->code_count && !unwinding->failed; i += slots_of(&info->code[i])) {
        if (info->code[i].prolog_offset <= executed && i + slots_of(&info->code[i]) <= info->code_count)
            undo(unwinding, info, &info->code[i]);
    }
}

static bool frame_register_is_set(const struct unwind_info *info, u32 executed) {
    for (u32 i = 0; i < info->code_count; i += slots_of(&info->code[i])) {
        if ((info->code[i].operation & 0xf) == UWOP_SET_FPREG)
            return info->code[i].prolog_offset <= executed;
    }
    return true; /* set by the function that this is a part of */
}

/* -------------------------------------------------------------------------------------------------- the epilog ---- */

/* An epilog carried out on a copy: whether it is one shows only at its last instruction. */
struct epilog {
    const u8 *code, *end;
    u64 integer[16];
};

static i64 displacement8(const u8 *code) {
    return *(const int8_t *)code;
}

static i64 displacement32(const u8 *code) {
    return *(const int32_t *)(const void *)code;
}

/* "add rsp, n" or "lea rsp, [frame register + n]", or nothing of the kind. */
static void epilog_release(struct epilog *epilog, const struct unwind_info *info) {
    const u8 *code = epilog->code;
    u32 frame_register = info->frame & 0xf;
    if (epilog->end - code < 7)
        return;
    if (code[0] == 0x48 && (code[1] == 0x83 || code[1] == 0x81) && code[2] == 0xc4) {
        epilog->integer[REGISTER_RSP] += (u64)(code[1] == 0x83 ? displacement8(code + 3) : displacement32(code + 3));
        epilog->code += code[1] == 0x83 ? 4 : 7;
        return;
    }
    bool lea_rsp = (code[0] & 0xfe) == 0x48 && code[1] == 0x8d && (code[2] & 0x38) == REGISTER_RSP << 3;
    u32 mode = code[2] >> 6, base = (code[2] & 7u) | (code[0] & 1u) << 3;
    if (frame_register == NO_FRAME_REGISTER || !lea_rsp || base != frame_register || mode == 0 || mode == 3)
        return;
    epilog->integer[REGISTER_RSP] =
        epilog->integer[base] + (u64)(mode == 1 ? displacement8(code + 3) : displacement32(code + 3));
    epilog->code += mode == 1 ? 4 : 7;
}

static bool epilog_pops(struct epilog *epilog) {
    while (epilog->code < epilog->end) {
        u32 high = epilog->code[0] == 0x41 && epilog->end - epilog->code > 1;
        if ((epilog->code[high] & 0xf8) != 0x58)
            return true;
        u64 value;
        if (!unwind_read(epilog->integer[REGISTER_RSP], &value))
            return false;
        epilog->integer[(epilog->code[high] & 7u) | high << 3] = value;
        epilog->integer[REGISTER_RSP] += sizeof(u64);
        epilog->code += 1 + high;
    }
    return false;
}

/* The entry of the function that a part belongs to. */
static const RUNTIME_FUNCTION *primary(const struct lab_driver *driver, const RUNTIME_FUNCTION *function) {
    for (u32 i = 0; function && i < MOST_CHAINED; i++) {
        const struct unwind_info *info = info_of(driver, function);
        if (!info || !(flags_of(info) & UNW_FLAG_CHAININFO))
            return function;
        function = resolve(driver, behind_codes(info));
    }
    return function;
}

/* A jump ends the function when it leads out of it, or to its beginning. */
static bool leads_out(struct unwinding *unwinding, const RUNTIME_FUNCTION *function, const u8 *target) {
    u32 rva = (u32)((u64)target - unwinding->driver->base);
    const RUNTIME_FUNCTION *here = primary(unwinding->driver, function);
    const RUNTIME_FUNCTION *there = primary(unwinding->driver, find_function(unwinding->driver, rva));
    return !here || !there || here->BeginAddress != there->BeginAddress || rva == here->BeginAddress;
}

static bool epilog_ends(struct unwinding *unwinding, struct epilog *epilog, const RUNTIME_FUNCTION *function) {
    const u8 *code = epilog->code;
    i64 left = epilog->end - code;
    if (left >= 1 && (code[0] == 0xc3 || code[0] == 0xc2)) /* ret */
        return true;
    if (left >= 2 && code[0] == 0xf3 && code[1] == 0xc3) /* rep ret */
        return true;
    if (left >= 2 && code[0] == 0xeb)
        return leads_out(unwinding, function, code + 2 + displacement8(code + 1));
    if (left >= 5 && code[0] == 0xe9)
        return leads_out(unwinding, function, code + 5 + displacement32(code + 1));
    if (left >= 2 && code[0] == 0xff && code[1] == 0x25) /* jmp [rip + n]: through an import */
        return true;
    return left >= 3 && (code[0] & 0xf8) == 0x48 && code[1] == 0xff && (code[2] & 0x38) == 0x20; /* tail call */
}

/* True, and the context is the caller's, when what is left of the function is the rest of an epilog. */
static bool finish_epilog(struct unwinding *unwinding, const struct unwind_info *info,
                          const RUNTIME_FUNCTION *function) {
    u64 size = function->EndAddress > unwinding->pc ? function->EndAddress - unwinding->pc : 0;
    struct epilog epilog = {.code = driver_memory(unwinding->driver, unwinding->pc, size)};
    if (!epilog.code)
        return false;
    epilog.end = epilog.code + size;
    for (u32 i = 0; i < ARRAY_SIZE(epilog.integer); i++)
        epilog.integer[i] = unwinding->context->Integer[i];
    epilog_release(&epilog, info);
    if (!epilog_pops(&epilog) || !epilog_ends(unwinding, &epilog, function))
        return false;
    for (u32 i = 0; i < ARRAY_SIZE(epilog.integer); i++)
        unwinding->context->Integer[i] = epilog.integer[i];
    return true;
}

/* --------------------------------------------------------------------------------------------------- all of it ---- */

/* Leaves the frame, except for the return address; returns the information of the function's first part. */
static const struct unwind_info *leave(struct unwinding *unwinding, const RUNTIME_FUNCTION *function, bool *ret_body) {
    const struct unwind_info *info = info_of(unwinding->driver, function);
    u32 offset = unwinding->pc - function->BeginAddress;
    if (!info)
        return NULL;
    bool part = flags_of(info) & UNW_FLAG_CHAININFO, body = offset >= info->prolog_size;
    unwinding->frame = unwinding->context->Rsp;
    *ret_body = body && !finish_epilog(unwinding, info, function);
    if (body && !*ret_body)
        return info; /* the frame register may hold the caller's value by now */
    if (info->frame & 0xf && (body || part || frame_register_is_set(info, offset)))
        unwinding->frame = unwinding->context->Integer[info->frame & 0xf] - (info->frame >> 4) * 16ull;
    undo_prolog(unwinding, info, body ? 0xff : offset);
    for (u32 i = 0; flags_of(info) & UNW_FLAG_CHAININFO && i < MOST_CHAINED; i++) {
        function = resolve(unwinding->driver, behind_codes(info));
        info = function ? info_of(unwinding->driver, function) : NULL;
        if (!info)
            return NULL;
        undo_prolog(unwinding, info, 0xff);
    }
    return info;
}

/* With tables that make no sense the context's Rip becomes 0, where every stack ends. */
PEXCEPTION_ROUTINE NTAPI RtlVirtualUnwind(ULONG HandlerType, ULONG64 ImageBase, ULONG64 ControlPc,
                                          PRUNTIME_FUNCTION FunctionEntry, PCONTEXT ContextRecord, PVOID *HandlerData,
                                          ULONG64 *EstablisherFrame, PKNONVOLATILE_CONTEXT_POINTERS ContextPointers) {
    struct unwinding unwinding = {
        .driver = driver_at(ImageBase),
        .context = ContextRecord,
        .pointers = ContextPointers,
        .pc = (u32)(ControlPc - ImageBase),
    };
    bool body = false;
    const struct unwind_info *info = unwinding.driver ? leave(&unwinding, FunctionEntry, &body) : NULL;
    *EstablisherFrame = unwinding.frame;
    if (info && !unwinding.machine_frame) {
        ContextRecord->Rip = stack_word(&unwinding, ContextRecord->Rsp);
        ContextRecord->Rsp += sizeof(u64);
    }
    ContextRecord->ContextFlags |= CONTEXT_UNWOUND_TO_CALL;
    if (!info || unwinding.failed) {
        ContextRecord->Rip = 0;
        return NULL;
    }
    if (!body || !(flags_of(info) & HandlerType))
        return NULL;
    const ULONG *handler = behind_codes(info);
    *HandlerData = (PVOID)(handler + 1);
    return (PEXCEPTION_ROUTINE)driver_memory(unwinding.driver, *handler, 1);
}
NT_EXPORT(RtlVirtualUnwind);

/* ------------------------------------------------------------------------------------------- frame after frame ---- */

/* A function without an entry in .pdata has not moved the stack pointer. */
static bool leave_leaf(CONTEXT *context) {
    if (!unwind_read(context->Rsp, &context->Rip))
        return false;
    context->Rsp += sizeof(u64);
    context->ContextFlags |= CONTEXT_UNWOUND_TO_CALL;
    return true;
}

bool unwind_frame(CONTEXT *context, ULONG handler_type, struct unwind_frame *ret) {
    *ret = (struct unwind_frame){
        .pc = context->Rip,
        .behind_call = context->ContextFlags & CONTEXT_UNWOUND_TO_CALL,
        .establisher = context->Rsp,
    };
    if (unwind_is_kernel(ret->pc))
        return unwind_kernel_frame(context);
    ret->function = RtlLookupFunctionEntry(ret->pc, &ret->image_base, NULL);
    if (ret->function) {
        ret->handler = RtlVirtualUnwind(handler_type, ret->image_base, ret->pc, ret->function, context,
                                        &ret->handler_data, &ret->establisher, NULL);
        return context->Rip && ret->establisher % sizeof(u64) == 0 && thread_stack_has(ret->establisher, 1);
    }
    /* Who called an address where no code is has still left its return address. */
    return (driver_at(ret->pc) || !ret->behind_call) && leave_leaf(context);
}

bool unwind_to_driver(CONTEXT *context) {
    while (unwind_is_kernel(context->Rip)) {
        if (!unwind_kernel_frame(context))
            return false;
    }
    return driver_at(context->Rip);
}

/* Frames of the kernel's own count, too; the hash is the sum of the addresses, as Windows makes it. */
USHORT NTAPI RtlCaptureStackBackTrace(ULONG FramesToSkip, ULONG FramesToCapture, PVOID *BackTrace,
                                      PULONG BackTraceHash) {
    CONTEXT context;
    struct unwind_frame frame;
    ULONG captured = 0, hash = 0;
    RtlCaptureContext(&context);
    for (ULONG i = 0; captured < FramesToCapture && unwind_frame(&context, UNW_FLAG_NHANDLER, &frame); i++) {
        if (i < FramesToSkip || !(unwind_is_kernel(context.Rip) || driver_at(context.Rip)))
            continue;
        BackTrace[captured++] = (PVOID)context.Rip;
        hash += (ULONG)context.Rip;
    }
    if (BackTraceHash)
        *BackTraceHash = hash;
    return (USHORT)captured;
}
NT_EXPORT(RtlCaptureStackBackTrace);

/* Frames of user mode, which flag 1 asks for, there are none. */
static ULONG NTAPI RtlWalkFrameChain(PVOID *Callers, ULONG Count, ULONG Flags) {
    return Flags & 1 ? 0 : RtlCaptureStackBackTrace(1, Count, Callers, NULL);
}
NT_EXPORT(RtlWalkFrameChain);

/* ----------------------------------------------------------------------------------------------- image headers ---- */

enum { PE_OFFSET = 0x3c, PE_DIRECTORIES = 0x88, PE_DIRECTORY_COUNT = 0x84 };

/* The headers of a driver's image; NULL for anything else, as for an address where no image begins. */
static PVOID NTAPI RtlImageNtHeader(PVOID Base) {
    const struct lab_driver *driver = driver_at((u64)Base);
    const u16 *dos = driver ? driver_memory(driver, (u32)((u64)Base - driver->base), PE_OFFSET + sizeof(u32)) : NULL;
    if (!dos || *dos != ('M' | 'Z' << 8))
        return NULL;
    const u32 *signature = driver_memory(driver, *(const u32 *)((const u8 *)dos + PE_OFFSET), PE_DIRECTORIES);
    return signature && *signature == ('P' | 'E' << 8) ? (PVOID)signature : NULL;
}
NT_EXPORT(RtlImageNtHeader);

static PVOID NTAPI RtlImageDirectoryEntryToData(PVOID Base, BOOLEAN MappedAsImage, USHORT DirectoryEntry, PULONG Size) {
    const u8 *header = RtlImageNtHeader(Base);
    (void)MappedAsImage; /* images are */
    *Size = 0;
    if (!header || DirectoryEntry >= *(const u32 *)(const void *)(header + PE_DIRECTORY_COUNT))
        return NULL;
    const u32 *directory = (const u32 *)(const void *)(header + PE_DIRECTORIES) + 2ull * DirectoryEntry;
    *Size = directory[1];
    return directory[0] ? (u8 *)Base + directory[0] : NULL;
}
NT_EXPORT(RtlImageDirectoryEntryToData);
