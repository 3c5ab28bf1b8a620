/* timer.c - in the style of drivers found in the wild; nothing here is arranged for this lab. */
#include <ntddk.h>
KTIMER g_Timer; KDPC g_Dpc; LONG g_Count; KEVENT g_Event;
VOID TimerDpc(PKDPC Dpc, PVOID Ctx, PVOID a, PVOID b) { InterlockedIncrement(&g_Count); if (g_Count >= 3) KeSetEvent(&g_Event, 0, FALSE); }
VOID UnloadDriver(PDRIVER_OBJECT D) { KeCancelTimer(&g_Timer); DbgPrint("bye count=%d\n", g_Count); }
NTSTATUS DriverEntry(PDRIVER_OBJECT D, PUNICODE_STRING R) {
  LARGE_INTEGER due; 
  DbgPrint("reg %wZ\n", R);
  D->DriverUnload = UnloadDriver;
  KeInitializeEvent(&g_Event, NotificationEvent, FALSE);
  KeInitializeTimerEx(&g_Timer, NotificationTimer);
  KeInitializeDpc(&g_Dpc, TimerDpc, NULL);
  due.QuadPart = -10000LL * 5;
  KeSetTimerEx(&g_Timer, due, 5, &g_Dpc);
  LARGE_INTEGER to; to.QuadPart = -10000LL*500;
  NTSTATUS s = KeWaitForSingleObject(&g_Event, Executive, KernelMode, FALSE, &to);
  DbgPrint("wait %08x count %d\n", s, g_Count);
  return STATUS_SUCCESS;
}
