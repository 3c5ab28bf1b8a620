#include "nt/irql.h"

#include "memory/verifier.h"
#include "nt/dpc.h"

void irql_lower(KIRQL irql) {
    if (irql < DISPATCH_LEVEL)
        dpc_run_queued();
    write_cr8(irql);
}

KIRQL NTAPI KeGetCurrentIrql(VOID) {
    return irql_current();
}
NT_EXPORT(KeGetCurrentIrql);

/* Parameters of the two bug checks: the current IRQL, the one asked for, where, 0. */
KIRQL NTAPI KfRaiseIrql(KIRQL NewIrql) {
    KIRQL old = irql_current();
    if (lab_options.verifier && (NewIrql < old || NewIrql > HIGH_LEVEL))
        verifier_stop(VERIFIER_RAISE_IRQL, __builtin_return_address(0), old, NewIrql, 0);
    if (NewIrql < old || NewIrql > HIGH_LEVEL)
        KeBugCheckEx(IRQL_NOT_GREATER_OR_EQUAL, old, NewIrql, (ULONG_PTR)__builtin_return_address(0), 0);
    write_cr8(NewIrql);
    return old;
}
NT_EXPORT(KfRaiseIrql);

VOID NTAPI KeLowerIrql(KIRQL NewIrql) {
    if (lab_options.verifier && NewIrql > irql_current())
        verifier_stop(VERIFIER_LOWER_IRQL, __builtin_return_address(0), irql_current(), NewIrql, 0);
    if (NewIrql > irql_current())
        KeBugCheckEx(IRQL_NOT_LESS_OR_EQUAL, irql_current(), NewIrql, (ULONG_PTR)__builtin_return_address(0), 0);
    irql_lower(NewIrql);
}
NT_EXPORT(KeLowerIrql);
NT_EXPORT_AS("KfLowerIrql", KeLowerIrql);

static VOID NTAPI KeRaiseIrql(KIRQL NewIrql, PKIRQL OldIrql) {
    *OldIrql = KfRaiseIrql(NewIrql);
}
NT_EXPORT(KeRaiseIrql);

static KIRQL NTAPI KeRaiseIrqlToDpcLevel(VOID) {
    return KfRaiseIrql(DISPATCH_LEVEL);
}
NT_EXPORT(KeRaiseIrqlToDpcLevel);

static KIRQL NTAPI KeRaiseIrqlToSynchLevel(VOID) {
    return KfRaiseIrql(CLOCK_LEVEL - 1);
}
NT_EXPORT(KeRaiseIrqlToSynchLevel);
