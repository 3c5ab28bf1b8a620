/* A timer that calls by itself every two milliseconds. */
#include <ntddk.h>
static LONG hits;
static PEX_TIMER tm;
static VOID OnTimer(PEX_TIMER t, PVOID c) {
    UNREFERENCED_PARAMETER(t);
    InterlockedIncrement((PLONG)c);
}
VOID Unload(PDRIVER_OBJECT d) {
    UNREFERENCED_PARAMETER(d);
    if (tm)
        ExDeleteTimer(tm, TRUE, TRUE, NULL);
    DbgPrint("hits>0 %d\n", hits > 0);
}
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING r) {
    LARGE_INTEGER w;
    UNREFERENCED_PARAMETER(r);
    d->DriverUnload = Unload;
    tm = ExAllocateTimer(OnTimer, &hits, EX_TIMER_HIGH_RESOLUTION);
    DbgPrint("timer %d\n", tm != NULL);
    if (tm) {
        EXT_SET_PARAMETERS p;
        ExInitializeSetTimerParameters(&p);
        ExSetTimer(tm, -20000, 20000, &p);
        w.QuadPart = -200000;
        KeDelayExecutionThread(KernelMode, FALSE, &w);
        ExCancelTimer(tm, NULL);
    }
    return 0;
}
