"""Drivers on a real machine: what each sample does, prints, leaves, and how the faulty ones end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.errors import GuestTimeout
from lab.machine import Machine, MachineOptions
from lab.machine.driver.build import build
from lab.machine.driver.devices import find_device
from lab.machine.driver.load import DriverRefused, drivers, find_driver, load, resolver, unload
from lab.machine.driver.pe import DriverImage
from lab.machine.driver.report import session_report
from lab.machine.driver.session import Act, Session, Visit
from lab.render import render_text

SAMPLES = Path(__file__).resolve().parents[1] / "drivers"

STATUS_UNSUCCESSFUL, STATUS_INVALID_DEVICE_REQUEST = 0xC0000001, 0xC0000010

HEAD = """#include <ntddk.h>
VOID Unload(PDRIVER_OBJECT DriverObject) { DbgPrint("gone\\n"); }
NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    DriverObject->DriverUnload = Unload;
"""


@pytest.fixture
def sample(tmp_path: Path) -> Callable[[str], DriverImage]:
    """Builds a sample by its name."""

    def make(name: str) -> DriverImage:
        (source,) = SAMPLES.glob(f"{name}.c*")
        return DriverImage.load(build([source], tmp_path / f"{name}.sys").path)

    return make


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., DriverImage]:
    """Builds a driver of the body of its DriverEntry."""

    def make(body: str, name: str = "made") -> DriverImage:
        source = tmp_path / f"{name}.c"
        source.write_text(f"{HEAD}{body}\n}}\n")
        return DriverImage.load(build([source], tmp_path / f"{name}.sys").path)

    return make


@pytest.fixture
def machine(nothing_left: Path) -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


def run(machine: Machine, *images: DriverImage, **options: Any) -> Session:
    session = Session(machine, **options)
    session.run(images)
    return session


def only(session: Session) -> tuple[Visit, Act]:
    (visit,) = session.visits
    return visit, visit.acts[0]


def text_of(session: Session) -> str:
    return render_text(session_report(session))


# ------------------------------------------------------------------------------------------------ sound drivers ----


def test_remap_sees_one_frame_through_two_addresses_and_leaves_nothing(
    machine: Machine, sample: Callable[[str], DriverImage]
) -> None:
    session = run(machine, sample("remap"))

    visit, entry = only(session)
    first, second, shared = entry.log
    assert first.split("-> frame")[1] == second.split("-> frame")[1]
    assert shared == "remap: wrote 42 through the first, read 42 through the second"
    assert visit.acts[1].log == ["remap: unloaded"]
    assert entry.changes == ()
    assert visit.leaks == []
    assert session_report(session).answer


@pytest.mark.parametrize("name", ["seh", "hello", "partial_mdl", "direct_io", "lookaside"])
def test_sound_samples_succeed_and_leave_nothing(
    machine: Machine, sample: Callable[[str], DriverImage], name: str
) -> None:
    image = sample(name)
    assert image.missing(resolver(machine.kernel)) == ()

    session = run(machine, image)

    visit, entry = only(session)
    assert session.error is None, text_of(session)
    assert entry.status == 0
    assert visit.leaks == []


def test_seh_catches_whatever_it_should(machine: Machine, sample: Callable[[str], DriverImage]) -> None:
    _, entry = only(run(machine, sample("seh")))

    assert entry.log[-1] == "seh: 0 of the checks failed"
    assert not any("WRONG" in each for each in entry.log)


def test_several_drivers_are_unloaded_in_any_order(
    machine: Machine, sample: Callable[[str], DriverImage], tmp_path: Path
) -> None:
    paths = []
    for name in ("remap", "seh", "hello"):
        image = sample(name)
        paths.append(tmp_path / image.name)
    one, two, three = (load(machine, path) for path in paths)

    assert [each.name for each in drivers(machine) if each.is_there] == ["remap", "seh", "hello"]
    assert [unload(machine, each.base) for each in (two, three, one)] == [0, 0, 0]
    assert [each.state for each in drivers(machine)] == ["gone"] * 3
    again = load(machine, paths[0])
    assert again.ok
    assert again.number == 4


# ---------------------------------------------------------------------------------------------- faulty drivers ----


@pytest.mark.parametrize(
    ("name", "code", "function"),
    [
        ("double_free", 0xC2, "Cleanup"),
        ("overrun", 0x19, "DriverEntry"),
        ("use_after_free", 0x50, "DriverEntry"),
        ("write_read_only", 0xBE, "DriverEntry"),
    ],
)
def test_a_crash_names_the_driver_the_function_and_the_line(
    machine: Machine, sample: Callable[[str], DriverImage], name: str, code: int, function: str
) -> None:
    session = run(machine, sample(name))

    report = session_report(session)
    stop: Any = report.data["bugcheck"]
    assert int(stop["code"], 16) == code
    assert (stop["driver"]["module"], stop["driver"]["function"]) == (name, function)
    assert stop["driver"]["file"] == f"{name}.c"
    assert not report.answer
    text = render_text(report)
    assert "→ 0x" in text
    assert f"{name}.c:{stop['driver']['line']}" in text
    assert all("STOP" not in each for each in session.visits[0].acts[0].log)


def test_a_write_to_a_read_only_mapping_shows_the_walk_that_denies_it(
    machine: Machine, sample: Callable[[str], DriverImage]
) -> None:
    text = text_of(run(machine, sample("write_read_only")))

    assert "denied: write by PT bit 1 (W)" in text
    assert "mov byte ptr [rax], 1" in text


def test_leaks_are_told_by_kind_and_tag(machine: Machine, sample: Callable[[str], DriverImage]) -> None:
    visit, _ = only(run(machine, sample("leak")))

    leaks = {leak.kind: leak for leak in visit.leaks or ()}
    assert leaks["pool"].more["tag"] == "Leak"
    assert {kind: leak.count for kind, leak in leaks.items()} == {
        "pool": 3,
        "mdl": 1,
        "frames": 2,
        "mapping": 2,
        "devices": 1,
    }


def test_what_is_left_is_told_of_the_driver_that_left_it(
    machine: Machine, sample: Callable[[str], DriverImage], written: Callable[..., DriverImage]
) -> None:
    failing = written("return STATUS_UNSUCCESSFUL;", "failing")

    session = run(machine, sample("leak"), sample("remap"), failing)

    assert [(each.driver.name, bool(each.leaks)) for each in session.visits] == [
        ("leak", True),
        ("remap", False),
        ("failing", False),
    ]
    assert "✗ leak left behind:" in text_of(session)


def test_a_driver_without_symbols_is_told_by_offsets(machine: Machine, sample: Callable[[str], DriverImage]) -> None:
    file = bytearray(sample("double_free").file)
    at = int.from_bytes(file[60:64], "little")
    file[at + 12 : at + 20] = bytes(8)  # where the symbols are, and with them the long names of sections

    text = text_of(run(machine, DriverImage.load(bytes(file), "bare.sys")))

    assert "bare+0x10aa" in text
    assert "double_free.c" not in text
    assert "→ 0x" in text
    assert "ExFreePoolWithTag" in text


def test_a_failing_driver_entry_is_a_refusal_by_name(machine: Machine, written: Callable[..., DriverImage]) -> None:
    session = run(machine, written('DbgPrint("no\\n"); return STATUS_UNSUCCESSFUL;'))

    visit, entry = only(session)
    assert visit.refused
    assert entry.status == STATUS_UNSUCCESSFUL
    assert visit.leaks == []
    assert "STATUS_UNSUCCESSFUL (0xc0000001)" in text_of(session)
    assert not session_report(session).answer


def test_a_driver_without_unload_stays(machine: Machine, written: Callable[..., DriverImage]) -> None:
    session = run(machine, written("DriverObject->DriverUnload = NULL; return STATUS_SUCCESS;"))

    visit, _ = only(session)
    assert visit.acts[1].status == STATUS_INVALID_DEVICE_REQUEST
    assert visit.leaks is None
    assert "it stays" in text_of(session)


def test_a_missing_import_is_told_beforehand_and_stops_with_its_name(
    machine: Machine, written: Callable[..., DriverImage]
) -> None:
    session = run(machine, written('DbgPrint("here\\n"); FsRtlIsNtstatusExpected(0); return STATUS_SUCCESS;'))

    visit, entry = only(session)
    assert [each.name for each in visit.driver.missing] == ["FsRtlIsNtstatusExpected"]
    assert entry.log == ["here"]
    text = text_of(session)
    assert "LAB_MISSING_IMPORT" in text
    assert "its name: FsRtlIsNtstatusExpected" in text


def test_a_missing_import_that_is_not_called_does_no_harm(
    machine: Machine, written: Callable[..., DriverImage]
) -> None:
    session = run(machine, written("if (!DriverObject) FsRtlIsNtstatusExpected(0); return STATUS_SUCCESS;"))

    visit, _ = only(session)
    assert visit.driver.ok
    assert visit.leaks == []


def test_a_driver_that_does_not_return_is_given_up(machine: Machine, written: Callable[..., DriverImage]) -> None:
    session = run(machine, written('DbgPrint("spinning\\n"); for (;;) ;'), timeout=0.5)

    assert isinstance(session.error, GuestTimeout)
    assert only(session)[1].log == ["spinning"]


def test_under_the_verifier_mapping_nonpaged_pool_again_is_named(
    nothing_left: Path, sample: Callable[[str], DriverImage]
) -> None:
    with Machine(MachineOptions(append=("verifier",))) as machine:
        text = text_of(run(machine, sample("remap")))

    assert "the driver mapped an MDL that has a system address already" in text
    assert "flags that must not be set: MDL_SOURCE_IS_NONPAGED_POOL" in text
    assert "MmMapLockedPagesSpecifyCache" in text


RULES = {
    # What headers make of these two are instructions; the calls themselves are found by their names.
    0x30: 'UNICODE_STRING n = RTL_CONSTANT_STRING(L"KfRaiseIrql"); KIRQL (NTAPI *f)(KIRQL) = '
    "MmGetSystemRoutineAddress(&n); f(HIGH_LEVEL); f(DISPATCH_LEVEL);",
    0x31: 'UNICODE_STRING n = RTL_CONSTANT_STRING(L"KeLowerIrql"); VOID (NTAPI *f)(KIRQL) = '
    "MmGetSystemRoutineAddress(&n); f(DISPATCH_LEVEL);",
    0x32: "KSPIN_LOCK l; KIRQL q; KeInitializeSpinLock(&l); KeAcquireSpinLock(&l, &q); "
    "KeReleaseSpinLock(&l, q); KeReleaseSpinLock(&l, q);",
    0x33: "FAST_MUTEX m; KIRQL q; ExInitializeFastMutex(&m); KeRaiseIrql(DISPATCH_LEVEL, &q); ExAcquireFastMutex(&m);",
    0x34: "FAST_MUTEX m; ExInitializeFastMutex(&m); ExAcquireFastMutex(&m); KeLowerIrql(PASSIVE_LEVEL); "
    "ExReleaseFastMutex(&m);",
    0x3B: "KEVENT e; KIRQL q; KeInitializeEvent(&e, NotificationEvent, FALSE); KeRaiseIrql(DISPATCH_LEVEL, &q); "
    "KeWaitForSingleObject(&e, Executive, KernelMode, FALSE, NULL);",
    0x3C: "PVOID o; ObReferenceObjectByHandle((HANDLE)0x1234, 0, NULL, KernelMode, &o, NULL);",
    0x3E: "KeLeaveCriticalRegion();",
    0x40: "KSPIN_LOCK l; KeInitializeSpinLock(&l); KeAcquireSpinLockAtDpcLevel(&l);",
    0x41: "KSPIN_LOCK l; KeInitializeSpinLock(&l); KeReleaseSpinLockFromDpcLevel(&l);",
    0x42: "KSPIN_LOCK l; KIRQL q; KeInitializeSpinLock(&l); KeRaiseIrql(HIGH_LEVEL, &q); KeAcquireSpinLock(&l, &q);",
    0x80: "KEVENT e; KIRQL q; KeInitializeEvent(&e, NotificationEvent, FALSE); KeRaiseIrql(HIGH_LEVEL, &q); "
    "KeSetEvent(&e, 0, FALSE);",
}
"""Bodies that break a rule of Driver Verifier, by its number."""


@pytest.mark.parametrize("rule", RULES, ids=hex)
def test_the_verifier_names_rules_of_irql_locks_and_handles(
    nothing_left: Path, written: Callable[..., DriverImage], rule: int
) -> None:
    with Machine(MachineOptions(append=("verifier",))) as machine:
        session = run(machine, written(f"{RULES[rule]} return STATUS_SUCCESS;"))
        stop: Any = session_report(session).data["bugcheck"]

    assert (int(stop["code"], 16), int(stop["parameters"][0], 16)) == (0xC4, rule)
    assert stop["meanings"][0].startswith("the driver ")
    assert (stop["driver"]["function"], stop["driver"]["file"]) == ("DriverEntry", "made.c")


LOCKER = r"""#include <ntddk.h>
VOID Unload(PDRIVER_OBJECT d) { IoDeleteDevice(d->DeviceObject); }
NTSTATUS Open(PDEVICE_OBJECT d, PIRP irp) { irp->IoStatus.Status = 0; IoCompleteRequest(irp, 0); return 0; }
NTSTATUS Control(PDEVICE_OBJECT d, PIRP irp) {
    PIO_STACK_LOCATION s = IoGetCurrentIrpStackLocation(irp);
    PMDL mdl = IoAllocateMdl(s->Parameters.DeviceIoControl.Type3InputBuffer, 100, FALSE, FALSE, NULL);
    MmProbeAndLockPages(mdl, UserMode, IoReadAccess);
    return Open(d, irp);
}
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING r) {
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\Locker");
    d->DriverUnload = Unload;
    d->MajorFunction[IRP_MJ_CREATE] = d->MajorFunction[IRP_MJ_CLOSE] = Open;
    d->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    PDEVICE_OBJECT device;
    return IoCreateDevice(d, 0, &name, FILE_DEVICE_UNKNOWN, 0, FALSE, &device);
}
"""


@pytest.mark.parametrize(("options", "code"), [((), 0x76), (("verifier",), 0xCB)])
def test_a_program_that_ends_with_its_pages_left_locked_stops_the_system(
    nothing_left: Path, tmp_path: Path, options: tuple[str, ...], code: int
) -> None:
    source = tmp_path / "locker.c"
    source.write_text(LOCKER)
    image = DriverImage.load(build([source], tmp_path / "locker.sys").path)

    with Machine(MachineOptions(append=options)) as machine:
        session = Session(machine)
        session.load(image)
        device = find_device(machine, session.guest, "locker")
        with session.guarded():
            session.control(device, 0x222003, bytes(100), bytearray())
        report: Any = session_report(session).data["bugcheck"]
        text = text_of(session)

    assert int(report["code"], 16) == code
    assert int(report["parameters"][3 if code == 0xCB else 2], 16) == 1
    if code == 0xCB:
        assert "locker.c:7" in text  # where the call is that locked them


# ---------------------------------------------------------------------------------------------------- requests ----


def test_requests_reach_the_driver_by_every_method(machine: Machine, sample: Callable[[str], DriverImage]) -> None:
    session = Session(machine)
    visit = session.load(sample("direct_io"))
    device = find_device(machine, session.guest, "LabDirectIo")

    assert device.driver.name == "direct_io"
    assert session.control(device, 0x222000, b"Hello", bytearray(16)) == b"olleH"
    assert session.control(device, 0x22200A, b"B", bytearray(40)) == b"B" * 40
    assert session.control(device, 0x22200F, b"abcd", bytearray(8)) == b"abcd"
    session.control(device, 0x222005, b"", bytearray(b"\1\2\3"))
    assert visit.acts[-1].log[-1] == "direct_io: the bytes add up to 6"
    session.unload(visit)
    assert visit.leaks == []


def test_a_driver_is_found_by_its_name_as_long_as_it_is_there(
    machine: Machine, sample: Callable[[str], DriverImage]
) -> None:
    session = Session(machine)
    visit = session.load(sample("remap"))

    assert find_driver(machine, "REMAP.sys").base == visit.driver.base
    session.unload(visit)
    with pytest.raises(DriverRefused, match="none is loaded"):
        find_driver(machine, "remap")


# ----------------------------------------------------------------------------------------------------- journal ----


@pytest.mark.parametrize("name", ["remap", "partial_mdl", "lookaside", "leak"])
def test_the_guest_notes_just_what_gdb_sees(
    nothing_left: Path, sample: Callable[[str], DriverImage], name: str
) -> None:
    def calls(*, trace: bool) -> list[Any]:
        with Machine(gdb=trace) as machine:
            session = run(machine, sample(name), trace=trace)
        return [
            (each.function, each.text, each.result, each.changes)
            for act in session.visits[0].acts
            for each in act.calls
        ]

    noted, seen = calls(trace=False), calls(trace=True)

    assert noted == seen
    assert noted


def test_calls_stand_between_the_lines_that_were_printed_around_them(
    machine: Machine, sample: Callable[[str], DriverImage]
) -> None:
    _, entry = only(run(machine, sample("remap")))

    shown = [each if isinstance(each, str) else each.function for each in entry.events]
    assert shown[4:8] == ["MmGetPhysicalAddress", entry.log[0], "MmGetPhysicalAddress", entry.log[1]]
    assert shown[-4:] == [entry.log[2], "MmUnmapLockedPages", "IoFreeMdl", "ExFreePoolWithTag"]


def test_a_call_that_never_returns_ends_the_journal(machine: Machine, sample: Callable[[str], DriverImage]) -> None:
    session = run(machine, sample("double_free"))

    *_, last = only(session)[1].calls
    assert (last.function, last.returned, last.changes) == ("ExFreePoolWithTag", False, ())
    assert "did not return" in text_of(session)


def test_a_call_left_by_an_exception_is_told_and_takes_no_later_changes(
    machine: Machine, written: Callable[..., DriverImage]
) -> None:
    body = """
    PMDL mdl = IoAllocateMdl((PVOID)0x1000, PAGE_SIZE, FALSE, FALSE, NULL);
    __try { MmProbeAndLockPages(mdl, UserMode, IoReadAccess); }
    __except (EXCEPTION_EXECUTE_HANDLER) { DbgPrint("caught %08x\\n", GetExceptionCode()); }
    PDEVICE_OBJECT device;
    IoCreateDevice(DriverObject, 60000, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &device);
    IoDeleteDevice(device);
    IoFreeMdl(mdl);
    return STATUS_SUCCESS;
    """

    _, entry = only(run(machine, written(body)))

    assert [(each.function, each.returned) for each in entry.calls] == [
        ("IoAllocateMdl", True),
        ("MmProbeAndLockPages", False),
        ("IoFreeMdl", True),
    ]
    assert entry.calls[1].changes == ()
    assert entry.log == ["caught c0000005"]


def test_a_call_found_by_its_name_is_noted_as_well(machine: Machine, written: Callable[..., DriverImage]) -> None:
    body = """
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"ExAllocatePool2");
    PVOID (NTAPI *allocate)(ULONG64, SIZE_T, ULONG) = MmGetSystemRoutineAddress(&name);
    ExFreePoolWithTag(allocate(POOL_FLAG_NON_PAGED, 64, 'fnyD'), 'fnyD');
    return STATUS_SUCCESS;
    """

    _, entry = only(run(machine, written(body)))

    assert [each.function for each in entry.calls] == ["ExAllocatePool2", "ExFreePoolWithTag"]
    assert "Tag='Dynf'" in entry.calls[0].text


def test_of_very_many_calls_the_last_are_kept_and_the_others_counted(
    machine: Machine, written: Callable[..., DriverImage]
) -> None:
    body = """
    for (int i = 1; i <= 1000; i++)
        ExFreePoolWithTag(ExAllocatePoolWithTag(NonPagedPool, i, 'ynaM'), 'ynaM');
    return STATUS_SUCCESS;
    """

    session = run(machine, written(body))

    _, entry = only(session)
    room = machine.kernel.constant("JOURNAL_CALLS")
    assert (len(entry.calls), entry.lost) == (room, 2000 - room)
    assert "NumberOfBytes=1000" in entry.calls[-2].text
    assert f"({2000 - room} earlier memory calls not kept)" in text_of(session)


def test_of_very_many_entries_the_last_are_kept_and_few_are_printed(
    machine: Machine, written: Callable[..., DriverImage]
) -> None:
    body = """
    PVOID large = MmAllocateNonCachedMemory(1500 * PAGE_SIZE);
    if (large) MmFreeNonCachedMemory(large, 1500 * PAGE_SIZE);
    return STATUS_SUCCESS;
    """

    session = run(machine, written(body))

    _, entry = only(session)
    room = machine.kernel.constant("JOURNAL_CHANGES")
    freed = entry.calls[-1]
    assert (len(freed.changes), freed.lost) == (room, 1500 - room)
    assert f"… and {room - 16} more entries" in text_of(session)


# ----------------------------------------------------------------------------------------------------- tracing ----


def test_a_trace_shows_each_memory_call_with_the_entries_it_changed(
    nothing_left: Path, sample: Callable[[str], DriverImage]
) -> None:
    with Machine(gdb=True) as machine:
        session = run(machine, sample("remap"), trace=True)
        visit, entry = only(session)
        place = machine.gdb.console(f"info symbol {int(visit.driver.entry):#x}")

    calls = {each.function: each for each in entry.calls}
    assert [each.function for each in entry.calls] == [
        "ExAllocatePoolWithTag",
        "IoAllocateMdl",
        "MmBuildMdlForNonPagedPool",
        "MmMapLockedPagesSpecifyCache",
        "MmGetPhysicalAddress",
        "MmGetPhysicalAddress",
        "MmUnmapLockedPages",
        "IoFreeMdl",
        "ExFreePoolWithTag",
    ]
    assert all(each.returned for each in entry.calls)
    assert [each.kind for each in calls["MmMapLockedPagesSpecifyCache"].changes] == ["created"]
    assert [each.kind for each in calls["MmUnmapLockedPages"].changes] == ["removed"]
    assert "CacheType=MmCached" in calls["MmMapLockedPagesSpecifyCache"].text
    assert len(entry.log) == 3
    assert isinstance(entry.events[-3], type(entry.calls[0]))
    assert visit.leaks == []
    assert "DriverEntry" in place or "No symbol" in place


def test_a_trace_ends_where_the_guest_does(nothing_left: Path, sample: Callable[[str], DriverImage]) -> None:
    with Machine(gdb=True) as machine:
        session = run(machine, sample("double_free"), trace=True)
        text = text_of(session)

    *_, last = only(session)[1].calls
    assert (last.function, last.returned) == ("ExFreePoolWithTag", False)
    assert "BAD_POOL_CALLER" in text


def test_pages_that_stay_locked_are_a_leak(machine: Machine, written: Callable[..., DriverImage]) -> None:
    body = """
    PVOID memory = ExAllocatePoolWithTag(PagedPool, 2 * PAGE_SIZE, 'kcoL');
    PMDL mdl = IoAllocateMdl(memory, 2 * PAGE_SIZE, FALSE, FALSE, NULL);
    MmProbeAndLockPages(mdl, KernelMode, IoWriteAccess);
    return STATUS_SUCCESS;
    """

    session = run(machine, written(body))

    visit, _ = only(session)
    assert {each.kind: each.count for each in visit.leaks or []}["locked pages"] == 2
