/*
 * nt_exception.h - structured exceptions and stack unwinding on x64, as ntddk.h and Microsoft's "x64 exception
 * handling" lay them out. Part of nt.h.
 */
#pragma once

/* ---------------------------------------------------------------------------------------- the state of the CPU ---- */

typedef struct _M128A {
    ULONGLONG Low;
    LONGLONG High;
} __attribute__((aligned(16))) M128A, *PM128A;

/* What FXSAVE writes. */
typedef struct _XSAVE_FORMAT {
    USHORT ControlWord;
    USHORT StatusWord;
    UCHAR TagWord;
    UCHAR Reserved1;
    USHORT ErrorOpcode;
    ULONG ErrorOffset;
    USHORT ErrorSelector;
    USHORT Reserved2;
    ULONG DataOffset;
    USHORT DataSelector;
    USHORT Reserved3;
    ULONG MxCsr;
    ULONG MxCsr_Mask;
    M128A FloatRegisters[8];
    M128A XmmRegisters[16];
    UCHAR Reserved4[96];
} XSAVE_FORMAT, *PXSAVE_FORMAT;
_Static_assert(sizeof(XSAVE_FORMAT) == 512 && offsetof(XSAVE_FORMAT, XmmRegisters) == 160, "as FXSAVE writes it");

#define CONTEXT_AMD64 0x00100000u
#define CONTEXT_CONTROL (CONTEXT_AMD64 | 1u)
#define CONTEXT_INTEGER (CONTEXT_AMD64 | 2u)
#define CONTEXT_SEGMENTS (CONTEXT_AMD64 | 4u)
#define CONTEXT_FLOATING_POINT (CONTEXT_AMD64 | 8u)
#define CONTEXT_FULL (CONTEXT_CONTROL | CONTEXT_INTEGER | CONTEXT_FLOATING_POINT)

/* cpu/context.S knows these offsets too. */
typedef struct _CONTEXT {
    ULONG64 P1Home, P2Home, P3Home, P4Home, P5Home, P6Home;
    ULONG ContextFlags;
    ULONG MxCsr;
    USHORT SegCs, SegDs, SegEs, SegFs, SegGs, SegSs;
    ULONG EFlags;
    ULONG64 Dr0, Dr1, Dr2, Dr3, Dr6, Dr7;
    union {
        struct {
            ULONG64 Rax, Rcx, Rdx, Rbx, Rsp, Rbp, Rsi, Rdi, R8, R9, R10, R11, R12, R13, R14, R15;
        };
        ULONG64 Integer[16]; /* our name: the registers by the number that machine code and unwind codes give them */
    };
    ULONG64 Rip;
    XSAVE_FORMAT FltSave;
    M128A VectorRegister[26];
    ULONG64 VectorControl, DebugControl, LastBranchToRip, LastBranchFromRip, LastExceptionToRip, LastExceptionFromRip;
} CONTEXT, *PCONTEXT;
_Static_assert(sizeof(CONTEXT) == 0x4d0 && offsetof(CONTEXT, ContextFlags) == 0x30 &&
                   offsetof(CONTEXT, SegCs) == 0x38 && offsetof(CONTEXT, EFlags) == 0x44 &&
                   offsetof(CONTEXT, Dr0) == 0x48 && offsetof(CONTEXT, Rax) == 0x78 && offsetof(CONTEXT, Rsp) == 0x98 &&
                   offsetof(CONTEXT, Rip) == 0xf8 && offsetof(CONTEXT, FltSave) == 0x100 &&
                   offsetof(CONTEXT, VectorControl) == 0x4a0,
               "CONTEXT is laid out as Windows lays it out");

/* -------------------------------------------------------------------------------------------------- exceptions ---- */

#define EXCEPTION_MAXIMUM_PARAMETERS 15

enum exception_flag {
    EXCEPTION_NONCONTINUABLE = 0x01,
    EXCEPTION_UNWINDING = 0x02,
    EXCEPTION_EXIT_UNWIND = 0x04,
    EXCEPTION_STACK_INVALID = 0x08,
    EXCEPTION_NESTED_CALL = 0x10,
    EXCEPTION_TARGET_UNWIND = 0x20,
    EXCEPTION_COLLIDED_UNWIND = 0x40,
    EXCEPTION_UNWIND = EXCEPTION_UNWINDING | EXCEPTION_EXIT_UNWIND | EXCEPTION_TARGET_UNWIND |
        EXCEPTION_COLLIDED_UNWIND,
};

typedef struct _EXCEPTION_RECORD {
    NTSTATUS ExceptionCode;
    ULONG ExceptionFlags; /* enum exception_flag */
    struct _EXCEPTION_RECORD *ExceptionRecord;
    PVOID ExceptionAddress;
    ULONG NumberParameters;
    ULONG_PTR ExceptionInformation[EXCEPTION_MAXIMUM_PARAMETERS];
} EXCEPTION_RECORD, *PEXCEPTION_RECORD;
_Static_assert(sizeof(EXCEPTION_RECORD) == 0x98 && offsetof(EXCEPTION_RECORD, ExceptionAddress) == 0x10 &&
                   offsetof(EXCEPTION_RECORD, ExceptionInformation) == 0x20,
               "EXCEPTION_RECORD is laid out as Windows lays it out");

/* ExceptionInformation[0] of an access violation. */
enum access_violation { ACCESS_VIOLATION_READ = 0, ACCESS_VIOLATION_WRITE = 1, ACCESS_VIOLATION_EXECUTE = 8 };

typedef struct _EXCEPTION_POINTERS {
    PEXCEPTION_RECORD ExceptionRecord;
    PCONTEXT ContextRecord;
} EXCEPTION_POINTERS, *PEXCEPTION_POINTERS;

typedef enum _EXCEPTION_DISPOSITION {
    ExceptionContinueExecution,
    ExceptionContinueSearch,
    ExceptionNestedException,
    ExceptionCollidedUnwind,
} EXCEPTION_DISPOSITION;

/* What the filter of an __except answers. */
#define EXCEPTION_EXECUTE_HANDLER 1
#define EXCEPTION_CONTINUE_SEARCH 0
#define EXCEPTION_CONTINUE_EXECUTION (-1)

/* --------------------------------------------------------------------------------------------------- unwinding ---- */

/* A row of .pdata: a function, or a part of one, and how to undo its prolog. Addresses are relative to the image. */
typedef struct _RUNTIME_FUNCTION {
    ULONG BeginAddress;
    ULONG EndAddress;
    ULONG UnwindData;
} RUNTIME_FUNCTION, *PRUNTIME_FUNCTION;
_Static_assert(sizeof(RUNTIME_FUNCTION) == 12, "as in .pdata");

#define UNW_FLAG_NHANDLER 0u
#define UNW_FLAG_EHANDLER 1u
#define UNW_FLAG_UHANDLER 2u
#define UNW_FLAG_CHAININFO 4u

typedef struct _UNWIND_HISTORY_TABLE UNWIND_HISTORY_TABLE, *PUNWIND_HISTORY_TABLE; /* a cache, which we do not use */

/* Where on the stack unwinding found what registers had been. */
typedef struct _KNONVOLATILE_CONTEXT_POINTERS {
    PM128A FloatingContext[16];
    PULONG64 IntegerContext[16];
} KNONVOLATILE_CONTEXT_POINTERS, *PKNONVOLATILE_CONTEXT_POINTERS;

struct _DISPATCHER_CONTEXT;
typedef EXCEPTION_DISPOSITION(NTAPI *PEXCEPTION_ROUTINE)(PEXCEPTION_RECORD ExceptionRecord, PVOID EstablisherFrame,
                                                         PCONTEXT ContextRecord,
                                                         struct _DISPATCHER_CONTEXT *DispatcherContext);

/* What a language's handler is told of the frame that it serves. */
typedef struct _DISPATCHER_CONTEXT {
    ULONG64 ControlPc;
    ULONG64 ImageBase;
    PRUNTIME_FUNCTION FunctionEntry;
    ULONG64 EstablisherFrame;
    ULONG64 TargetIp;
    PCONTEXT ContextRecord;
    PEXCEPTION_ROUTINE LanguageHandler;
    PVOID HandlerData;
    PUNWIND_HISTORY_TABLE HistoryTable;
    ULONG ScopeIndex;
    ULONG Fill0; /* ours: ControlPc is where a call returns to */
} DISPATCHER_CONTEXT, *PDISPATCHER_CONTEXT;
_Static_assert(sizeof(DISPATCHER_CONTEXT) == 0x50 && offsetof(DISPATCHER_CONTEXT, ContextRecord) == 0x28 &&
                   offsetof(DISPATCHER_CONTEXT, ScopeIndex) == 0x48,
               "DISPATCHER_CONTEXT is laid out as Windows lays it out");

/* The handler data of __C_specific_handler: one row for each __try, inner ones first. */
typedef struct _SCOPE_TABLE_AMD64 {
    ULONG Count;
    struct {
        ULONG BeginAddress;
        ULONG EndAddress;
        ULONG HandlerAddress; /* a filter or the constant EXCEPTION_EXECUTE_HANDLER, or else a __finally */
        ULONG JumpTarget;     /* where an __except goes on; 0 for a __finally */
    } ScopeRecord[];
} SCOPE_TABLE, *PSCOPE_TABLE;

typedef LONG(NTAPI *PEXCEPTION_FILTER)(PEXCEPTION_POINTERS ExceptionPointers, PVOID EstablisherFrame);
typedef VOID(NTAPI *PTERMINATION_HANDLER)(BOOLEAN AbnormalTermination, PVOID EstablisherFrame);

PRUNTIME_FUNCTION NTAPI RtlLookupFunctionEntry(ULONG64 ControlPc, ULONG64 *ImageBase,
                                               PUNWIND_HISTORY_TABLE HistoryTable);
PEXCEPTION_ROUTINE NTAPI RtlVirtualUnwind(ULONG HandlerType, ULONG64 ImageBase, ULONG64 ControlPc,
                                          PRUNTIME_FUNCTION FunctionEntry, PCONTEXT ContextRecord, PVOID *HandlerData,
                                          ULONG64 *EstablisherFrame, PKNONVOLATILE_CONTEXT_POINTERS ContextPointers);
PVOID NTAPI RtlPcToFileHeader(PVOID PcValue, PVOID *BaseOfImage);
USHORT NTAPI RtlCaptureStackBackTrace(ULONG FramesToSkip, ULONG FramesToCapture, PVOID *BackTrace,
                                      PULONG BackTraceHash);

VOID NTAPI RtlCaptureContext(PCONTEXT ContextRecord);
_Noreturn VOID NTAPI RtlRestoreContext(PCONTEXT ContextRecord, PEXCEPTION_RECORD ExceptionRecord);
VOID NTAPI RtlUnwindEx(PVOID TargetFrame, PVOID TargetIp, PEXCEPTION_RECORD ExceptionRecord, PVOID ReturnValue,
                       PCONTEXT ContextRecord, PUNWIND_HISTORY_TABLE HistoryTable);
VOID NTAPI RtlUnwind(PVOID TargetFrame, PVOID TargetIp, PEXCEPTION_RECORD ExceptionRecord, PVOID ReturnValue);
VOID NTAPI RtlRaiseException(PEXCEPTION_RECORD ExceptionRecord);
_Noreturn VOID NTAPI RtlRaiseStatus(NTSTATUS Status);
_Noreturn VOID NTAPI ExRaiseStatus(NTSTATUS Status);
_Noreturn VOID NTAPI ExRaiseAccessViolation(VOID);
_Noreturn VOID NTAPI ExRaiseDatatypeMisalignment(VOID);
EXCEPTION_DISPOSITION NTAPI __C_specific_handler(PEXCEPTION_RECORD ExceptionRecord, PVOID EstablisherFrame,
                                                 PCONTEXT ContextRecord, PDISPATCHER_CONTEXT DispatcherContext);
