/* Waits at a KQUEUE, and jumps out of a deep call. */
#include <ntifs.h>
#include <setjmp.h>
static jmp_buf jb;
static KQUEUE q;

VOID Unload(PDRIVER_OBJECT d) {
    UNREFERENCED_PARAMETER(d);
    KeRundownQueue(&q);
}
static void deep(int n) {
    if (n == 0)
        longjmp(jb, 7);
    deep(n - 1);
}
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING r) {
    LIST_ENTRY a, b;
    LARGE_INTEGER z = {0};
    UNREFERENCED_PARAMETER(r);
    d->DriverUnload = Unload;
    int v = setjmp(jb);
    if (v == 0)
        deep(3);
    DbgPrint("setjmp %d\n", v);
    KeInitializeQueue(&q, 0);
    KeInsertQueue(&q, &a);
    KeInsertHeadQueue(&q, &b);
    DbgPrint("queued %d\n", KeReadStateQueue(&q));
    PLIST_ENTRY e = KeRemoveQueue(&q, KernelMode, &z);
    DbgPrint("head %d\n", e == &b);
    e = KeRemoveQueue(&q, KernelMode, &z);
    e = KeRemoveQueue(&q, KernelMode, &z);
    DbgPrint("timeout %d\n", (ULONG_PTR)e == STATUS_TIMEOUT);
    return 0;
}
