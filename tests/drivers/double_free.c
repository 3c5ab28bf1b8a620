/*
 * double_free.c - frees one block of pool twice, as a cleanup path that forgets to clear its pointer does.
 *
 * The second call stops the machine with 0xC2, BAD_POOL_CALLER: the first parameter is 7 (already freed), or 0x13 of
 * 0xC4 under Driver Verifier.
 */
#include <ntddk.h>

#define TAG 'ecwT'

DRIVER_INITIALIZE DriverEntry;

typedef struct _STATE {
    PVOID Buffer;
} STATE;

static VOID Cleanup(STATE *State) {
    if (State->Buffer != NULL)
        ExFreePoolWithTag(State->Buffer, TAG);
    /* Missing: State->Buffer = NULL; */
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    STATE state;
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);

    state.Buffer = ExAllocatePoolWithTag(NonPagedPoolNx, 256, TAG);
    DbgPrint("double_free: allocated %p\n", state.Buffer);

    Cleanup(&state);
    DbgPrint("double_free: freed once\n");
    Cleanup(&state);
    DbgPrint("double_free: freed twice, and nobody noticed\n");
    return STATUS_UNSUCCESSFUL;
}
