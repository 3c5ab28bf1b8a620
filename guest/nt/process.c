#include "nt/process.h"

#include "cpu/cpu.h"
#include "memory/pool.h"
#include "nt/list.h"
#include "nt/object.h"
#include "nt/rtl.h"
#include "nt/thread.h"

OBJECT_TYPE_NAMED(object_process_type, "Process", POOL_TAG('P', 'r', 'o', 'c'), NULL, NULL);

static struct {
    OBJECT_HEADER header;
    EPROCESS process;
} system_process;

/* What Windows calls KPROCESS is the beginning of an EPROCESS. */
enum { KPROCESS_SIZE = 0x160 };

static LIST_ENTRY PsActiveProcessHead = {&PsActiveProcessHead, &PsActiveProcessHead};

PEPROCESS PsInitialSystemProcess = &system_process.process;
NT_EXPORT_DATA(PsInitialSystemProcess);

void process_init(void) {
    EPROCESS *process = PsInitialSystemProcess;
    object_initialize(&system_process.header, &object_process_type);
    process->Header = (DISPATCHER_HEADER){.Type = ProcessObject, .Size = KPROCESS_SIZE / 4};
    InitializeListHead(&process->Header.WaitListHead);
    process->DirectoryTableBase = lab_cpu.cr3;
    process->UniqueProcessId = (HANDLE)PROCESS_SYSTEM_ID;
    memcpy(process->ImageFileName, "System", sizeof("System"));
    InsertTailList(&PsActiveProcessHead, &process->ActiveProcessLinks);
}

PEPROCESS NTAPI PsGetCurrentProcess(VOID) {
    return PsInitialSystemProcess;
}
NT_EXPORT(PsGetCurrentProcess);
NT_EXPORT_AS("IoGetCurrentProcess", PsGetCurrentProcess);

static HANDLE NTAPI PsGetCurrentProcessId(VOID) {
    return PsInitialSystemProcess->UniqueProcessId;
}
NT_EXPORT(PsGetCurrentProcessId);

static HANDLE NTAPI PsGetProcessId(PEPROCESS Process) {
    return Process->UniqueProcessId;
}
NT_EXPORT(PsGetProcessId);

static PUCHAR NTAPI PsGetProcessImageFileName(PEPROCESS Process) {
    return Process->ImageFileName;
}
NT_EXPORT(PsGetProcessImageFileName);

static PEPROCESS NTAPI IoThreadToProcess(PETHREAD Thread) {
    (void)Thread;
    return PsInitialSystemProcess;
}
NT_EXPORT(IoThreadToProcess);
NT_EXPORT_AS("PsGetThreadProcess", IoThreadToProcess);

static NTSTATUS NTAPI PsLookupProcessByProcessId(HANDLE ProcessId, PEPROCESS *Process) {
    *Process = NULL;
    if ((u64)ProcessId != PROCESS_SYSTEM_ID)
        return STATUS_INVALID_CID;
    ObfReferenceObject(PsInitialSystemProcess);
    *Process = PsInitialSystemProcess;
    return STATUS_SUCCESS;
}
NT_EXPORT(PsLookupProcessByProcessId);

/* System has no environment block, no session, no 32-bit half and no parent. */
static PVOID NTAPI PsGetProcessPeb(PEPROCESS Process) {
    (void)Process;
    return NULL;
}
NT_EXPORT(PsGetProcessPeb);
NT_EXPORT_AS("PsGetProcessWow64Process", PsGetProcessPeb);
NT_EXPORT_AS("PsGetProcessInheritedFromUniqueProcessId", PsGetProcessPeb);
NT_EXPORT_AS("PsGetProcessSectionBaseAddress", PsGetProcessPeb);
NT_EXPORT_AS("PsGetProcessWin32Process", PsGetProcessPeb);
NT_EXPORT_AS("PsGetThreadTeb", PsGetProcessPeb);

static ULONG NTAPI PsGetProcessSessionId(PEPROCESS Process) {
    (void)Process;
    return 0;
}
NT_EXPORT(PsGetProcessSessionId);
NT_EXPORT_AS("IoGetRequestorSessionId", PsGetProcessSessionId);

static LONGLONG NTAPI PsGetProcessCreateTimeQuadPart(PEPROCESS Process) {
    (void)Process;
    return 0;
}
NT_EXPORT(PsGetProcessCreateTimeQuadPart);

static NTSTATUS NTAPI PsGetProcessExitStatus(PEPROCESS Process) {
    (void)Process;
    return STATUS_PENDING;
}
NT_EXPORT(PsGetProcessExitStatus);

static CCHAR NTAPI ExGetPreviousMode(VOID) {
    return thread_current()->previous_mode;
}
NT_EXPORT(ExGetPreviousMode);

/* --------------------------------------------------------------------------------------------------- attaching ---- */

typedef struct _KAPC_STATE {
    LIST_ENTRY ApcListHead[2];
    PEPROCESS Process;
    BOOLEAN KernelApcInProgress;
    BOOLEAN KernelApcPending;
    BOOLEAN UserApcPending;
} KAPC_STATE, *PKAPC_STATE;
_Static_assert(sizeof(KAPC_STATE) == 0x30, "as in Windows");

/* There is only the process that everybody is in already. */
static VOID NTAPI KeStackAttachProcess(PEPROCESS Process, PKAPC_STATE ApcState) {
    *ApcState = (KAPC_STATE){.Process = Process};
}
NT_EXPORT(KeStackAttachProcess);

static VOID NTAPI KeUnstackDetachProcess(PKAPC_STATE ApcState) {
    (void)ApcState;
}
NT_EXPORT(KeUnstackDetachProcess);
NT_EXPORT_AS("KeAttachProcess", KeUnstackDetachProcess);

static VOID NTAPI KeDetachProcess(VOID) {
}
NT_EXPORT(KeDetachProcess);

/* None of these is true of System, nor of anybody else. */
static BOOLEAN NTAPI PsIsProcessBeingDebugged(PEPROCESS Process) {
    (void)Process;
    return FALSE;
}
NT_EXPORT(PsIsProcessBeingDebugged);
NT_EXPORT_AS("PsIsProtectedProcess", PsIsProcessBeingDebugged);
NT_EXPORT_AS("PsIsThreadImpersonating", PsIsProcessBeingDebugged);
NT_EXPORT_AS("PsGetProcessExitProcessCalled", PsIsProcessBeingDebugged);
NT_EXPORT_AS("IoIs32bitProcess", PsIsProcessBeingDebugged);

static BOOLEAN NTAPI PsIsSystemProcess(PEPROCESS Process) {
    (void)Process;
    return TRUE;
}
NT_EXPORT(PsIsSystemProcess);

static NTSTATUS NTAPI PsAcquireProcessExitSynchronization(PEPROCESS Process) {
    (void)Process;
    return STATUS_SUCCESS;
}
NT_EXPORT(PsAcquireProcessExitSynchronization);
NT_EXPORT_AS("PsReleaseProcessExitSynchronization", PsAcquireProcessExitSynchronization);

NT_EXPORT_AS("PsGetCurrentThreadPreviousMode", ExGetPreviousMode);
NT_EXPORT_AS("PsGetCurrentProcessSessionId", PsGetProcessSessionId);
NT_EXPORT_AS("PsGetCurrentThreadTeb", PsGetProcessPeb);
NT_EXPORT_AS("PsGetProcessDebugPort", PsGetProcessPeb);
NT_EXPORT_AS("PsGetProcessJob", PsGetProcessPeb);
