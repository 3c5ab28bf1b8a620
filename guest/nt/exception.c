#include "nt/exception.h"

#include "cpu/context.h"
#include "cpu/trap.h"
#include "memory/journal.h"
#include "nt/bugcheck.h"
#include "nt/driver.h"
#include "nt/thread.h"
#include "nt/unwind.h"

/* -------------------------------------------------------------------------------------------- calling handlers ---- */

/*
 * A call of a driver's handler that has not returned. If an exception is raised in it, the walk over the stack comes by
 * here again. A handler that was called to unwind a frame must not be asked once more to unwind the same frame: so the
 * walk leaves the stack for the place that the interrupted unwinding had reached ("collided unwind").
 */
struct handler_call {
    struct handler_call *outer;
    bool unwinding;
    const DISPATCHER_CONTEXT *dispatcher;
};

/* A walk over the stack, and the innermost handler call that it has not left yet. */
struct walk {
    CONTEXT *context;
    struct handler_call *calls;
    ULONG scope; /* where the handler of the next frame goes on in its table */
    ULONG
    flags; /* EXCEPTION_COLLIDED_UNWIND when it does; to a handler that is only asked, this would mean unwinding */
};

static EXCEPTION_DISPOSITION call_handler(EXCEPTION_RECORD *record, CONTEXT *context, DISPATCHER_CONTEXT *dispatcher,
                                          bool unwinding) {
    PKTHREAD thread = thread_current();
    struct handler_call call = {thread->handler_calls, unwinding, dispatcher};
    thread->handler_calls = &call;
    u64 rflags = driver_allow_user_access();
    EXCEPTION_DISPOSITION disposition =
        dispatcher->LanguageHandler(record, (PVOID)dispatcher->EstablisherFrame, context, dispatcher);
    driver_restore_user_access(rflags);
    thread->handler_calls = call.outer;
    return disposition;
}

/* Goes on with the frame that the interrupted unwinding was at, if the walk has just left a call of its. */
static void follow_collision(struct walk *walk) {
    walk->scope = walk->flags = 0;
    while (walk->calls && (u64)walk->calls < walk->context->Rsp) {
        const struct handler_call *call = walk->calls;
        walk->calls = call->outer;
        if (call->unwinding) {
            *walk->context = *call->dispatcher->ContextRecord;
            walk->scope = call->dispatcher->ScopeIndex;
            walk->flags = EXCEPTION_COLLIDED_UNWIND;
            return;
        }
    }
}

static DISPATCHER_CONTEXT dispatcher_for(const struct unwind_frame *frame, const struct walk *walk, u64 target_ip) {
    return (DISPATCHER_CONTEXT){
        .ControlPc = frame->pc,
        .ImageBase = frame->image_base,
        .FunctionEntry = frame->function,
        .EstablisherFrame = frame->establisher,
        .TargetIp = target_ip,
        .ContextRecord = walk->context,
        .LanguageHandler = frame->handler,
        .HandlerData = frame->handler_data,
        .ScopeIndex = walk->scope,
        .Fill0 = frame->behind_call,
    };
}

/* -------------------------------------------------------------------------------------------------- the search ---- */

static void raise_second(NTSTATUS status, EXCEPTION_RECORD *first) {
    EXCEPTION_RECORD record = {
        .ExceptionCode = status,
        .ExceptionFlags = EXCEPTION_NONCONTINUABLE,
        .ExceptionRecord = first,
    };
    RtlRaiseException(&record);
}

/* True when the handler asks to go on where the exception was raised. */
static bool ask(EXCEPTION_RECORD *record, CONTEXT *context, const struct unwind_frame *frame, struct walk *walk) {
    DISPATCHER_CONTEXT dispatcher = dispatcher_for(frame, walk, 0);
    EXCEPTION_DISPOSITION disposition = call_handler(record, context, &dispatcher, false);
    if (disposition == ExceptionContinueExecution && record->ExceptionFlags & EXCEPTION_NONCONTINUABLE)
        raise_second(STATUS_NONCONTINUABLE_EXCEPTION, record);
    if (disposition != ExceptionContinueExecution && disposition != ExceptionContinueSearch)
        raise_second(STATUS_INVALID_DISPOSITION, record);
    return disposition == ExceptionContinueExecution;
}

bool exception_dispatch(EXCEPTION_RECORD *record, CONTEXT *context) {
    CONTEXT current = *context;
    struct walk walk = {.context = &current, .calls = thread_current()->handler_calls};
    struct unwind_frame frame;
    while (unwind_frame(&current, UNW_FLAG_EHANDLER, &frame)) {
        if (frame.handler && ask(record, context, &frame, &walk))
            return true;
        follow_collision(&walk);
    }
    return false;
}

/* ----------------------------------------------------------------------------------------------- the unwinding ---- */

VOID NTAPI RtlRestoreContext(PCONTEXT ContextRecord, PEXCEPTION_RECORD ExceptionRecord) {
    (void)ExceptionRecord; /* means something to C++ and longjmp only */
    PKTHREAD thread = thread_current();
    while (thread->handler_calls && (u64)thread->handler_calls < ContextRecord->Rsp)
        thread->handler_calls = thread->handler_calls->outer;
    journal_unwound(ContextRecord->Rsp);
    context_restore(ContextRecord);
}
NT_EXPORT(RtlRestoreContext);

/* Lets the handler of a frame clean up; it sees the context of that frame, not of its caller. */
static void clean_up(EXCEPTION_RECORD *record, const struct unwind_frame *frame, struct walk *walk, u64 target_frame,
                     u64 target_ip) {
    DISPATCHER_CONTEXT dispatcher = dispatcher_for(frame, walk, target_ip);
    record->ExceptionFlags |= walk->flags | (frame->establisher == target_frame ? EXCEPTION_TARGET_UNWIND : 0);
    if (call_handler(record, walk->context, &dispatcher, true) != ExceptionContinueSearch)
        raise_second(STATUS_INVALID_DISPOSITION, record);
    record->ExceptionFlags &= ~(ULONG)(EXCEPTION_COLLIDED_UNWIND | EXCEPTION_TARGET_UNWIND);
}

/*
 * A target frame of NULL unwinds everything there is, and then the exception is an unhandled one: there is no program
 * here that could be ended instead.
 */
VOID NTAPI RtlUnwindEx(PVOID TargetFrame, PVOID TargetIp, PEXCEPTION_RECORD ExceptionRecord, PVOID ReturnValue,
                       PCONTEXT ContextRecord, PUNWIND_HISTORY_TABLE HistoryTable) {
    (void)HistoryTable;
    EXCEPTION_RECORD plain = {.ExceptionCode = STATUS_UNWIND};
    EXCEPTION_RECORD *record = ExceptionRecord ? ExceptionRecord : &plain;
    RtlCaptureContext(ContextRecord);
    ContextRecord->ContextFlags |= CONTEXT_UNWOUND_TO_CALL;
    record->ExceptionFlags |= EXCEPTION_UNWINDING | (TargetFrame ? 0 : EXCEPTION_EXIT_UNWIND);

    CONTEXT caller = *ContextRecord;
    struct walk walk = {.context = ContextRecord, .calls = thread_current()->handler_calls};
    struct unwind_frame frame;
    while (unwind_frame(&caller, UNW_FLAG_UHANDLER, &frame)) {
        bool arrived = frame.function && frame.establisher == (u64)TargetFrame;
        ContextRecord->Rax = (u64)ReturnValue;
        if (frame.handler)
            clean_up(record, &frame, &walk, (u64)TargetFrame, (u64)TargetIp);
        if (arrived) {
            ContextRecord->Rax = (u64)ReturnValue;
            ContextRecord->Rip = (u64)TargetIp;
            RtlRestoreContext(ContextRecord, record);
        }
        *ContextRecord = caller;
        follow_collision(&walk);
        caller = *ContextRecord;
    }
    if (TargetFrame)
        raise_second(STATUS_INVALID_UNWIND_TARGET, record);
    exception_unhandled(record, ContextRecord, NULL);
}
NT_EXPORT(RtlUnwindEx);

VOID NTAPI RtlUnwind(PVOID TargetFrame, PVOID TargetIp, PEXCEPTION_RECORD ExceptionRecord, PVOID ReturnValue) {
    CONTEXT context;
    RtlUnwindEx(TargetFrame, TargetIp, ExceptionRecord, ReturnValue, &context, NULL);
}
NT_EXPORT(RtlUnwind);

/* How compilers leave a __try by goto or return when a __finally stands between. */
static VOID NTAPI _local_unwind(PVOID frame, PVOID target) {
    RtlUnwind(frame, target, NULL, NULL);
}
NT_EXPORT(_local_unwind);

/* --------------------------------------------------------------------------------------------------- unhandled ---- */

_Noreturn void exception_unhandled(const EXCEPTION_RECORD *record, const CONTEXT *context,
                                   const struct lab_registers *trap) {
    struct lab_registers registers = {.vector = LAB_NO_VECTOR, .error_code = (u32)record->ExceptionCode};
    context_to_registers(context, &registers);
    if (!trap)
        trap_leave_guarded_call(&registers);
    bugcheck_for_exception(record, context, trap);
}

/* ---------------------------------------------------------------------------------------------- raised by call ---- */

/* Raised where the driver called us, whichever of our functions found the reason. */
VOID NTAPI RtlRaiseException(PEXCEPTION_RECORD ExceptionRecord) {
    CONTEXT context;
    RtlCaptureContext(&context);
    context.ContextFlags |= CONTEXT_UNWOUND_TO_CALL;
    CONTEXT caller = context;
    if (unwind_to_driver(&caller))
        context = caller;
    ExceptionRecord->ExceptionAddress = (PVOID)context.Rip;
    if (exception_dispatch(ExceptionRecord, &context))
        RtlRestoreContext(&context, ExceptionRecord);
    exception_unhandled(ExceptionRecord, &context, NULL);
}
NT_EXPORT(RtlRaiseException);

_Noreturn static void raise_status(NTSTATUS status, ULONG count, u64 first, u64 second) {
    EXCEPTION_RECORD record = {
        .ExceptionCode = status,
        .ExceptionFlags = EXCEPTION_NONCONTINUABLE,
        .NumberParameters = count,
        .ExceptionInformation = {first, second},
    };
    RtlRaiseException(&record);
    __builtin_unreachable();
}

_Noreturn VOID NTAPI ExRaiseStatus(NTSTATUS Status) {
    raise_status(Status, 0, 0, 0);
}
NT_EXPORT(ExRaiseStatus);

_Noreturn VOID NTAPI RtlRaiseStatus(NTSTATUS Status) {
    raise_status(Status, 0, 0, 0);
}
NT_EXPORT(RtlRaiseStatus);

_Noreturn VOID NTAPI ExRaiseAccessViolation(VOID) {
    raise_status(STATUS_ACCESS_VIOLATION, 2, ACCESS_VIOLATION_READ, ~0ull);
}
NT_EXPORT(ExRaiseAccessViolation);

_Noreturn VOID NTAPI ExRaiseDatatypeMisalignment(VOID) {
    raise_status(STATUS_DATATYPE_MISALIGNMENT, 0, 0, 0);
}
NT_EXPORT(ExRaiseDatatypeMisalignment);

NT_EXPORT(RtlCaptureContext);

/* What a C++ compiler puts where a class has no function: whoever calls it is wrong. */
_Noreturn static VOID NTAPI _purecall(VOID) {
    raise_status(STATUS_NOT_IMPLEMENTED, 0, 0, 0);
}
NT_EXPORT(_purecall);
