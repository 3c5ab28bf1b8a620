/* Shares a page of nonpaged pool with a program, and writes through both addresses. */
#include <ntddk.h>
PVOID g_Kernel, g_User;
PMDL g_Mdl;
VOID Unload(PDRIVER_OBJECT d) {
    UNREFERENCED_PARAMETER(d);

    if (g_User)
        MmUnmapLockedPages(g_User, g_Mdl);
    if (g_Mdl)
        IoFreeMdl(g_Mdl);
    if (g_Kernel)
        ExFreePool(g_Kernel);
}
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING r) {
    UNREFERENCED_PARAMETER(r);

    d->DriverUnload = Unload;
    g_Kernel = ExAllocatePoolWithTag(NonPagedPool, PAGE_SIZE, 'rhsU');
    if (!g_Kernel)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlZeroMemory(g_Kernel, PAGE_SIZE);
    g_Mdl = IoAllocateMdl(g_Kernel, PAGE_SIZE, FALSE, FALSE, NULL);
    if (!g_Mdl) {
        ExFreePool(g_Kernel);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MmBuildMdlForNonPagedPool(g_Mdl);
    __try {
        g_User = MmMapLockedPagesSpecifyCache(g_Mdl, UserMode, MmCached, NULL, FALSE, NormalPagePriority);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("mapping to user mode raised 0x%08X\n", GetExceptionCode());
        g_User = NULL;
    }
    DbgPrint("kernel %p user %p\n", g_Kernel, g_User);
    if (g_User) {
        *(volatile ULONG *)g_Kernel = 0xCAFEBABE;
        DbgPrint("through user address: %08x\n", *(volatile ULONG *)g_User);
    }
    return STATUS_SUCCESS;
}
