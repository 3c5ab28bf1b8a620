/*
 * c_handler.c - __C_specific_handler: what __try, __except and __finally compile to. Each __try is a row of the scope
 * table, inner ones first; a row is entered when the program counter is in its range.
 */
#include "nt.h"

/* Whether the place the unwinding goes to is inside the same __try as the row: then the __try is not left. */
static bool same_try(const SCOPE_TABLE *table, ULONG row, u64 target) {
    for (ULONG i = 0; i < table->Count; i++) {
        if (target >= table->ScopeRecord[i].BeginAddress && target < table->ScopeRecord[i].EndAddress &&
            table->ScopeRecord[i].HandlerAddress == table->ScopeRecord[row].HandlerAddress &&
            table->ScopeRecord[i].JumpTarget == table->ScopeRecord[row].JumpTarget)
            return true;
    }
    return false;
}

static bool in_row(const SCOPE_TABLE *table, ULONG row, u64 pc) {
    return pc >= table->ScopeRecord[row].BeginAddress && pc < table->ScopeRecord[row].EndAddress;
}

/*
 * The place in the function that counts, from the image's base. A call is before the address it returns to, which may
 * already be in the next row: clang ends a row one byte late, so that the address is in its call's row as well.
 */
static u64 place(const DISPATCHER_CONTEXT *dispatcher) {
    return dispatcher->ControlPc - dispatcher->ImageBase - (dispatcher->Fill0 ? 1 : 0);
}

/* Asks the filters from inside out. */
static EXCEPTION_DISPOSITION search(PEXCEPTION_RECORD record, PVOID frame, PCONTEXT context,
                                    PDISPATCHER_CONTEXT dispatcher) {
    const SCOPE_TABLE *table = dispatcher->HandlerData;
    u64 base = dispatcher->ImageBase, pc = place(dispatcher);
    EXCEPTION_POINTERS pointers = {record, context};
    for (ULONG row = dispatcher->ScopeIndex; row < table->Count; row++) {
        ULONG filter = table->ScopeRecord[row].HandlerAddress, target = table->ScopeRecord[row].JumpTarget;
        if (!in_row(table, row, pc) || !target)
            continue;
        LONG answer = EXCEPTION_EXECUTE_HANDLER;
        if (filter != EXCEPTION_EXECUTE_HANDLER)
            answer = ((PEXCEPTION_FILTER)(base + filter))(&pointers, frame);
        if (answer < 0)
            return ExceptionContinueExecution;
        if (answer > 0)
            RtlUnwindEx(frame, (PVOID)(base + target), record, (PVOID)(u64)(ULONG)record->ExceptionCode,
                        dispatcher->ContextRecord, dispatcher->HistoryTable);
    }
    return ExceptionContinueSearch;
}

/* Runs the __finally of each __try that is left, up to the one where the unwinding ends. */
static EXCEPTION_DISPOSITION unwind(PEXCEPTION_RECORD record, PVOID frame, PDISPATCHER_CONTEXT dispatcher) {
    const SCOPE_TABLE *table = dispatcher->HandlerData;
    u64 base = dispatcher->ImageBase, pc = place(dispatcher), target = dispatcher->TargetIp - base;
    bool arrives = record->ExceptionFlags & EXCEPTION_TARGET_UNWIND;
    for (ULONG row = dispatcher->ScopeIndex; row < table->Count; row++) {
        if (!in_row(table, row, pc))
            continue;
        if (arrives && same_try(table, row, target))
            break;
        if (table->ScopeRecord[row].JumpTarget) {
            if (arrives && target == table->ScopeRecord[row].JumpTarget)
                break;
            continue;
        }
        dispatcher->ScopeIndex = row + 1; /* once, even if the __finally raises an exception of its own */
        ((PTERMINATION_HANDLER)(base + table->ScopeRecord[row].HandlerAddress))(TRUE, frame);
    }
    return ExceptionContinueSearch;
}

EXCEPTION_DISPOSITION NTAPI __C_specific_handler(PEXCEPTION_RECORD ExceptionRecord, PVOID EstablisherFrame,
                                                 PCONTEXT ContextRecord, PDISPATCHER_CONTEXT DispatcherContext) {
    if (ExceptionRecord->ExceptionFlags & EXCEPTION_UNWIND)
        return unwind(ExceptionRecord, EstablisherFrame, DispatcherContext);
    return search(ExceptionRecord, EstablisherFrame, ContextRecord, DispatcherContext);
}
NT_EXPORT(__C_specific_handler);
