/* Registers every notification there is, and takes all of them back. */
#include <ntddk.h>
static LARGE_INTEGER g_Cookie;
static PVOID g_Ob;
static BOOLEAN pn, tn, im, cm, ob;
VOID OnProcess(PEPROCESS p, HANDLE pid, PPS_CREATE_NOTIFY_INFO info) {
    UNREFERENCED_PARAMETER(p);
    if (info)
        DbgPrint("process %p: %wZ\n", pid, info->ImageFileName);
}
VOID OnProcessOld(HANDLE parent, HANDLE pid, BOOLEAN create) {
    DbgPrint("%p %p %d\n", parent, pid, create);
}
VOID OnThread(HANDLE pid, HANDLE tid, BOOLEAN create) {
    DbgPrint("%p %p %d\n", pid, tid, create);
}
VOID OnImage(PUNICODE_STRING name, HANDLE pid, PIMAGE_INFO info) {
    UNREFERENCED_PARAMETER(info);
    DbgPrint("%wZ %p\n", name, pid);
}
NTSTATUS OnRegistry(PVOID ctx, PVOID a1, PVOID a2) {
    UNREFERENCED_PARAMETER(ctx);
    UNREFERENCED_PARAMETER(a1);
    UNREFERENCED_PARAMETER(a2);
    return STATUS_SUCCESS;
}
OB_PREOP_CALLBACK_STATUS PreOp(PVOID ctx, POB_PRE_OPERATION_INFORMATION info) {
    UNREFERENCED_PARAMETER(ctx);
    if (info->KernelHandle)
        return OB_PREOP_SUCCESS;
    info->Parameters->CreateHandleInformation.DesiredAccess &= ~1;
    return OB_PREOP_SUCCESS;
}
VOID Unload(PDRIVER_OBJECT d) {
    UNREFERENCED_PARAMETER(d);

    if (ob)
        ObUnRegisterCallbacks(g_Ob);
    if (cm)
        CmUnRegisterCallback(g_Cookie);
    if (im)
        PsRemoveLoadImageNotifyRoutine(OnImage);
    if (tn)
        PsRemoveCreateThreadNotifyRoutine(OnThread);
    if (pn)
        PsSetCreateProcessNotifyRoutineEx(OnProcess, TRUE);
    PsSetCreateProcessNotifyRoutine(OnProcessOld, TRUE);
    DbgPrint("unregistered\n");
}
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING r) {
    NTSTATUS st;
    UNREFERENCED_PARAMETER(r);
    d->DriverUnload = Unload;
    st = PsSetCreateProcessNotifyRoutineEx(OnProcess, FALSE);
    pn = NT_SUCCESS(st);
    DbgPrint("process ex %08x\n", st);
    st = PsSetCreateProcessNotifyRoutine(OnProcessOld, FALSE);
    DbgPrint("process %08x\n", st);
    st = PsSetCreateThreadNotifyRoutine(OnThread);
    tn = NT_SUCCESS(st);
    DbgPrint("thread %08x\n", st);
    st = PsSetLoadImageNotifyRoutine(OnImage);
    im = NT_SUCCESS(st);
    DbgPrint("image %08x\n", st);
    UNICODE_STRING alt = RTL_CONSTANT_STRING(L"320000.7");
    st = CmRegisterCallbackEx(OnRegistry, &alt, d, NULL, &g_Cookie, NULL);
    cm = NT_SUCCESS(st);
    DbgPrint("registry %08x\n", st);
    OB_OPERATION_REGISTRATION ops[] = {
        {PsProcessType, OB_OPERATION_HANDLE_CREATE | OB_OPERATION_HANDLE_DUPLICATE, PreOp, NULL}};
    OB_CALLBACK_REGISTRATION reg = {OB_FLT_REGISTRATION_VERSION, 1, RTL_CONSTANT_STRING(L"12345.6171"), NULL, ops};
    st = ObRegisterCallbacks(&reg, &g_Ob);
    ob = NT_SUCCESS(st);
    DbgPrint("object %08x\n", st);
    return STATUS_SUCCESS;
}
