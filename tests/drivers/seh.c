/*
 * seh.c - structured exception handling: __try, __except and __finally in kernel mode.
 *
 * The compiler writes no code on entering a __try. It writes a table (.pdata, .xdata) that says which instructions are
 * inside, and only when something is raised does the kernel look there, ask the filters, and unwind the stack.
 *
 * What can be caught: statuses raised by calls, and faults on user-mode addresses. A fault on a bad kernel address
 * stops the machine with 0x50 no matter how many handlers there are.
 */
#include <ntddk.h>

DRIVER_INITIALIZE DriverEntry;
DRIVER_UNLOAD DriverUnload;

static ULONG Failures;

static VOID Check(const char *What, NTSTATUS Got, NTSTATUS Wanted) {
    DbgPrint("seh: %s: %08x%s\n", What, Got, Got == Wanted ? "" : ", WRONG");
    Failures += Got != Wanted;
}

/* A load and a store directly inside of __try: the faulting instruction itself is in the table. */
static VOID HardwareFaults(VOID) {
    volatile UCHAR *nowhere = (volatile UCHAR *)0x10; /* the first page is never mapped */
    NTSTATUS status = STATUS_SUCCESS;

    __try {
        status = nowhere[0];
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        status = GetExceptionCode();
    }
    Check("a load from address 0x10", status, STATUS_ACCESS_VIOLATION);

    status = STATUS_SUCCESS;
    __try {
        nowhere[0] = 1;
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        status = GetExceptionCode();
    }
    Check("a store to address 0x10", status, STATUS_ACCESS_VIOLATION);
}

/* Raised some frames further down: those have no handlers, and are unwound. */
static VOID Raise(ULONG Depth) {
    volatile UCHAR frame[256];
    frame[0] = (UCHAR)Depth;
    if (Depth == 0)
        ExRaiseStatus(STATUS_DEVICE_NOT_READY);
    Raise(Depth - 1);
    frame[1] = frame[0]; /* keeps this frame alive behind the call */
}

static VOID RaisedStatus(VOID) {
    NTSTATUS status = STATUS_SUCCESS;
    __try {
        Raise(3);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        status = GetExceptionCode();
    }
    Check("ExRaiseStatus, four calls down", status, STATUS_DEVICE_NOT_READY);
}

/* A filter sees the exception while the stack still stands, and decides whether this handler is the one. */
static LONG OnlyAccessViolations(ULONG Code, PEXCEPTION_POINTERS Information) {
    PEXCEPTION_RECORD record = Information->ExceptionRecord;
    DbgPrint("seh: filter asked about %08x at %p\n", Code, record->ExceptionAddress);
    return Code == STATUS_ACCESS_VIOLATION ? EXCEPTION_EXECUTE_HANDLER : EXCEPTION_CONTINUE_SEARCH;
}

static VOID Filters(VOID) {
    NTSTATUS inner = STATUS_SUCCESS, outer = STATUS_SUCCESS;
    __try {
        __try {
            ExRaiseStatus(STATUS_NO_MEMORY);
        } __except (OnlyAccessViolations(GetExceptionCode(), GetExceptionInformation())) {
            inner = GetExceptionCode();
        }
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        outer = GetExceptionCode();
    }
    Check("the inner handler, which declined", inner, STATUS_SUCCESS);
    Check("the outer handler, which did not", outer, STATUS_NO_MEMORY);
}

/* __finally runs on the way out, whichever way that is. */
static ULONG Steps;

static VOID WithCleanup(BOOLEAN Fail) {
    __try {
        Steps = Steps * 10 + 1;
        if (Fail)
            ExRaiseStatus(STATUS_CANCELLED);
        Steps = Steps * 10 + 2;
    } __finally {
        Steps = Steps * 10 + (AbnormalTermination() ? 4 : 3);
    }
}

static VOID Cleanups(VOID) {
    NTSTATUS status = STATUS_SUCCESS;

    Steps = 0;
    WithCleanup(FALSE);
    Check("steps without an exception", (NTSTATUS)Steps, 123);

    Steps = 0;
    __try {
        WithCleanup(TRUE);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        status = GetExceptionCode();
        Steps = Steps * 10 + 5;
    }
    Check("steps with an exception", (NTSTATUS)Steps, 145);
    Check("its status, behind __finally", status, STATUS_CANCELLED);
}

/* A user-mode buffer is probed once, and still every access to it may fail. */
static VOID Probes(VOID) {
    NTSTATUS status = STATUS_SUCCESS;
    __try {
        ProbeForRead((PVOID)DriverEntry, 4, 1);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        status = GetExceptionCode();
    }
    Check("ProbeForRead of a kernel address", status, STATUS_ACCESS_VIOLATION);

    status = STATUS_SUCCESS;
    __try {
        ProbeForRead((PVOID)0x10001, 4, 4);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        status = GetExceptionCode();
    }
    Check("ProbeForRead of an odd address", status, STATUS_DATATYPE_MISALIGNMENT);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    UNREFERENCED_PARAMETER(RegistryPath);
    DriverObject->DriverUnload = DriverUnload;

    HardwareFaults();
    RaisedStatus();
    Filters();
    Cleanups();
    Probes();

    DbgPrint("seh: %u of the checks failed\n", Failures);
    return Failures == 0 ? STATUS_SUCCESS : STATUS_UNSUCCESSFUL;
}

VOID DriverUnload(PDRIVER_OBJECT DriverObject) {
    UNREFERENCED_PARAMETER(DriverObject);
}
