/*
 * lab.h - what every kernel file shares: integer names, the export table, assertions, and the mailbox through which
 * the controller drives the guest. Nothing here is Windows; that surface is nt.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t i64;

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ull

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define OFFSET_IN_PAGE(address) ((u64)(address) & (PAGE_SIZE - 1))
#define PAGES_OF(bytes) (((u64)(bytes) + PAGE_SIZE - 1) >> PAGE_SHIFT)

/*
 * Everything that can be called from outside, by name: Windows exports (bound into drivers, `lab call`, pytest) and
 * commands of our own. All use the Microsoft x64 calling convention, which is what a driver's import expects. The
 * types of the parameters are not repeated here: the controller reads them from the DWARF of `function`.
 */
enum lab_export_kind { LAB_EXPORT_NT, LAB_EXPORT_COMMAND, LAB_EXPORT_NT_DATA, LAB_EXPORT_CHECK };

struct lab_export {
    const char *name;
    const void *function;
    const char *help; /* one line; of a check, "file:line"; NULL for Windows exports, whose help is Microsoft's */
    u64 kind;         /* enum lab_export_kind */
    const void *gate; /* what drivers get instead of `function`, where it is a memory call; NULL otherwise */
};

#define LAB_EXPORT_ENTRY(id, name, address, text, type, gate)                                                          \
    static const struct lab_export lab_export_##id                                                                     \
        __attribute__((section(".lab.exports"), used, aligned(8))) = {name, (const void *)address, text, type, gate}
#define LAB_EXPORT_ALIAS(id, name, symbol) LAB_EXPORT_ENTRY(id, name, symbol, NULL, LAB_EXPORT_NT, NULL)

#define NT_EXPORT(symbol) LAB_EXPORT_ENTRY(symbol, #symbol, symbol, NULL, LAB_EXPORT_NT, NULL)
#define NT_EXPORT_AS(name, symbol) LAB_EXPORT_ALIAS(__COUNTER__, name, symbol) /* a second name, or C's own */
#define NT_EXPORT_DATA(symbol) LAB_EXPORT_ENTRY(symbol, #symbol, &symbol, NULL, LAB_EXPORT_NT_DATA, NULL)
/* To `lab call`, a u64 named address, base, source or destination is virtual, one named physical is physical. */
#define LAB_COMMAND(symbol, help) LAB_EXPORT_ENTRY(symbol, #symbol, symbol, help, LAB_EXPORT_COMMAND, NULL)

/* A call that takes, gives back, describes, maps or translates memory: drivers come to it by a gate (memory/gate.S). */
#define NT_MEMORY_EXPORT(symbol)                                                                                       \
    __asm__(                                                                                                           \
        ".pushsection .text\n"                                                                                         \
        "gate_" #symbol ": leaq " #symbol                                                                              \
        "(%rip), %r11\n"                                                                                               \
        "jmp journal_gate\n"                                                                                           \
        ".popsection");                                                                                                \
    extern const u8 gate_##symbol[];                                                                                   \
    LAB_EXPORT_ENTRY(symbol, #symbol, symbol, NULL, LAB_EXPORT_NT, gate_##symbol)

/* Bounds of the table, from the linker script; order is link order, readers sort by name. */
extern const struct lab_export lab_exports_start[], lab_exports_end[];

/*
 * A broken invariant of our own stops with its data: lab_assert(header->size, "pool: empty block at %p", header).
 * Never for what a caller may get wrong; that is a bug check with Windows' number.
 */
_Noreturn void lab_assert_failed(const char *file, u32 line, const char *condition, const char *format, ...);
#define lab_assert(condition, ...)                                                                                     \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            lab_assert_failed(__FILE__, __LINE__, #condition, __VA_ARGS__);                                            \
    } while (0)

/*
 * A self-test, standing beside what it tests: CHECK(frames_differ) { lab_check(a != b, "both are %llx", a); }. pytest
 * takes each as a test of its own (`pytest images/kernel.elf`) and runs it under the fault guard, in a guest that has
 * just come up; nothing it leaves behind reaches another one. The name must not be that of an export.
 */
#define CHECK(name)                                                                                                    \
    static __attribute__((ms_abi)) void lab_check_##name(void);                                                        \
    LAB_EXPORT_ENTRY(check_##name, #name, lab_check_##name, __FILE__ ":" LAB_TEXT(__LINE__), LAB_EXPORT_CHECK, NULL);  \
    static __attribute__((ms_abi)) void lab_check_##name(void)
#define LAB_TEXT(number) LAB_TEXT_AS_IT_IS(number)
#define LAB_TEXT_AS_IT_IS(text) #text

/* What a check found, kept for the controller; `line` is 0 while nothing has failed. */
struct lab_check_failure {
    const char *file;
    u64 line;
    const char *condition;
    char text[256];
};
extern struct lab_check_failure lab_check_failure;

/* Ends the check that calls it, however deep, unless the condition holds; the rest says what was seen instead. */
_Noreturn void lab_check_failed(const char *file, u32 line, const char *condition, const char *format, ...);
#define lab_check(condition, ...)                                                                                      \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            lab_check_failed(__FILE__, __LINE__, #condition, __VA_ARGS__);                                             \
    } while (0)

/* Writes one formatted piece of text to the kernel log (RAM ring and serial); the format language is DbgPrint's. */
void log_print(const char *format, ...);
void log_vprint(const char *format, __builtin_va_list arguments);
void log_write(const char *text, size_t size);

/* What the command line (-append) asked for. */
struct lab_options {
    /* "verifier": name documented misuse with bug check 0xC4 instead of doing what free Windows does */
    bool verifier;
    bool special_pool;   /* "special_pool": all that Windows calls allocate comes from special pool, if possible */
    bool code_integrity; /* "code_integrity": name requests for executable memory with bug check 0xC4, too */
    bool exit;           /* "exit": leave through isa-debug-exit as soon as the guest is ready */
    bool la57;           /* "la57": five levels of tables; boot/pvh.S reads it too */
};
extern struct lab_options lab_options;

/* ------------------------------------------------------------------------------------------------ the mailbox ---- */

enum { LAB_TRACE = 32 };
enum { LAB_MAILBOX_MAGIC = 0x62616c, LAB_ARGUMENTS = 12, LAB_SCRATCH = 4096 };

enum lab_phase { LAB_BOOTING, LAB_READY, LAB_BUSY, LAB_BUGCHECKED };
enum lab_outcome { LAB_RETURNED, LAB_EXCEPTION, LAB_REFUSED };
enum lab_request_flags {
    LAB_UNGUARDED = 1, /* let a fault inside the call take its Windows course: a bug check */
    LAB_WATCHED = 2,   /* a guarded call that returns to trap_call_returned, where a debugger may wait for it */
};

/* The registers at a trap, in the order the entry stubs push them. */
enum { LAB_NO_VECTOR = 256 }; /* `vector` of registers that were not saved by a trap */
struct lab_registers {
    u64 rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
    u64 vector, error_code; /* error_code is 0 where the CPU pushes none */
    u64 rip, cs, rflags, rsp, ss;
};

struct lab_request {
    u64 function; /* address of an export; for anything else the answer is LAB_REFUSED */
    u64 flags;    /* enum lab_request_flags */
    u64 argument[LAB_ARGUMENTS];
};

struct lab_reply {
    u64 outcome; /* enum lab_outcome */
    u64 result;  /* RAX of the call */
    u64 cr2;     /* of the exception, when its vector is 14 */
    struct lab_registers registers;
};

struct lab_bugcheck {
    u64 code; /* 0 while there was none */
    u64 parameter[4];
    u64 caller; /* return address of KeBugCheckEx */
    u64 cr2;
    struct lab_registers registers; /* of the trap that led here, or of the caller */
    u64 driver;                     /* address in the driver to blame; 0: none was involved */
    char driver_name[64];
    u64 driver_base;
    u64 trace[LAB_TRACE]; /* return addresses on the stack, drivers' and ours, from the inside out; then 0 */
};

/*
 * One request at a time. The controller writes `request`, then increments `requested`; the guest answers in `reply`
 * and sets `completed` to the same number. A guest that has idled for a while sets `asleep`, looks once more and
 * sleeps in HLT; whoever finds `asleep` set after a request sends any byte to the serial port.
 *
 * A debugger needs none of that: it writes `staged` and has the guest call mailbox_call_staged, whatever it is doing,
 * or go on at mailbox_detour instead of where it was stopped.
 */
struct lab_mailbox {
    u64 magic;
    volatile u64 phase; /* enum lab_phase */
    volatile u64 requested;
    volatile u64 completed;
    volatile u64 asleep;
    u64 detour_from;           /* where a detour began, and ends */
    volatile u64 staged_calls; /* calls of `staged` that have returned */
    struct lab_request request;
    struct lab_reply reply;
    struct lab_request staged; /* what mailbox_call_staged is to call, any function at all */
    struct lab_reply staged_reply;
    struct lab_bugcheck bugcheck;
    u8 scratch[LAB_SCRATCH] __attribute__((aligned(16))); /* strings and blocks that arguments point to */
};
extern struct lab_mailbox lab_mailbox;

/* The log, kept in RAM so that it can be read from any snapshot. Byte i of the text is text[i % LAB_LOG_SIZE]. */
enum { LAB_LOG_SIZE = 65536 };
struct lab_log {
    volatile u64 written; /* bytes ever written */
    char text[LAB_LOG_SIZE];
};
extern struct lab_log lab_log;
