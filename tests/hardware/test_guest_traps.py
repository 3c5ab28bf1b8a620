"""Faults inside a call: what the CPU did comes back as a record; unguarded it is a bug check, with a report."""

from __future__ import annotations

import re
import time

import pytest
from capstone import CS_ARCH_X86, CS_MODE_64, Cs, CsInsn

from lab.kernel.log import read_log
from lab.kernel.mailbox import BugCheck
from lab.machine.mailbox import GuestException
from lab.machine.waiting import wait_until
from tests.hardware.probe import NONPAGED_NX, PAGE, Probe, booted

NULL = 0
ABSENT = 0xFFFF_F880_DEAD_0000
NOT_CANONICAL = 0x8000_0000_0000_0000
SHARED_DATA = 0xFFFF_F780_0000_0000
GUARD_PAGE = 0xFFFF_F880_0000_0000
STACK = GUARD_PAGE + PAGE

P, W, FETCH = 1 << 0, 1 << 1, 1 << 4
"""Bits of a page fault's error code."""

GENERAL = ("rip", *(f"r{name}x" for name in "abcd"), "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)))

NOBODY_HANDLED_IT = {
    (0x1E, "KMODE_EXCEPTION_NOT_HANDLED"),
    (0x7E, "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED"),
}
"""Which one depends on where the exception found no handler; their first two parameters are the same."""

UD2, INT3, INT_4, INT_2E = b"\x0f\x0b", b"\xcc", b"\xcd\x04", b"\xcd\x2e"
DIVIDE_BY_ZERO = bytes.fromhex("31c9 f7f1")  # xor ecx, ecx; div ecx
BAD_SELECTOR = bytes.fromhex("b8f8ff0000 8ed8")  # mov eax, 0fff8h; mov ds, eax
SINGLE_STEP = bytes.fromhex("9c 810c2400010000 9d 90")  # pushfq; or dword ptr [rsp], 100h; popfq; nop


def address_of(guest: Probe, name: str) -> int:
    """A place by name: a symbol, or one of the addresses above."""
    found = guest.kernel.find(name)
    return int(globals()[name]) if found is None else int(found.address)


def instruction_at(guest: Probe, rip: int) -> CsInsn:
    return next(Cs(CS_ARCH_X86, CS_MODE_64).disasm(guest.read(rip, 15), rip))


# ------------------------------------------------------------------------------------------------------ the record ----


@pytest.mark.parametrize(
    ("function", "place", "error_code"),
    [
        ("read_u64", "NULL", 0),
        ("read_u64", "ABSENT", 0),
        ("read_u64", "GUARD_PAGE", 0),
        ("read_u64", "boot_pml4", 0),
        ("touch_read", "ABSENT", 0),
        ("write_u64", "ABSENT", W),
        ("write_u64", "lab_ping", P | W),
        ("write_u64", "bugcheck_names", P | W),
        ("write_u64", "lab_exports_start", P | W),
        ("write_u64", "SHARED_DATA", P | W),
        ("touch_write", "bugcheck_names", P | W),
        ("execute", "NULL", FETCH),
        ("execute", "ABSENT", FETCH),
        ("execute", "bugcheck_names", P | FETCH),
        ("execute", "lab_mailbox", P | FETCH),
        ("execute", "STACK", P | FETCH),
        ("execute", "SHARED_DATA", P | FETCH),
    ],
)
def test_page_fault_comes_back_with_all_that_the_cpu_said(
    guest: Probe, function: str, place: str, error_code: int
) -> None:
    address = address_of(guest, place)

    exception = guest.fault(function, address, *([0xABCD] if function == "write_u64" else []))

    assert (exception.vector, exception.name, exception.error_code) == (14, "#PF", error_code)
    assert exception.cr2 == address
    check_registers(guest, function, address, exception)


def check_registers(guest: Probe, function: str, address: int, exception: GuestException) -> None:
    """The record must be of the very instruction that faulted."""
    registers = exception.registers
    assert registers.cs == 0x10
    assert STACK < registers.rsp < STACK + 6 * PAGE
    if function == "execute":
        assert registers.rip == address
        return
    assert (guest.kernel.describe(registers.rip) or "").partition("+")[0] == function
    instruction = instruction_at(guest, registers.rip)
    base = re.search(r"ptr \[(\w+)\]", instruction.op_str)
    assert base, instruction.op_str
    assert registers[base[1]] == address
    if function == "write_u64":
        assert registers.rdx == 0xABCD


@pytest.mark.parametrize("function", ["read_u64", "write_u64", "execute"])
def test_an_address_that_is_none_is_a_general_protection_fault(guest: Probe, function: str) -> None:
    exception = guest.fault(function, NOT_CANONICAL, *([1] if function == "write_u64" else []))

    assert (exception.vector, exception.name, exception.error_code) == (13, "#GP", 0)


@pytest.mark.parametrize(
    ("code", "vector", "name", "error_code", "behind"),
    [
        (DIVIDE_BY_ZERO, 0, "#DE", 0, 2),
        (SINGLE_STEP, 1, "#DB", 0, 10),
        (INT3, 3, "#BP", 0, 1),
        (INT_4, 4, "#OF", 0, 2),
        (UD2, 6, "#UD", 0, 0),
        (BAD_SELECTOR, 13, "#GP", 0xFFF8, 5),
        (INT_2E, 0x2E, "0x2e", 0, 2),
    ],
    ids=["#DE", "#DB", "#BP", "#OF", "#UD", "#GP", "int 2e"],
)
def test_other_exceptions_come_back_too(
    guest: Probe, code: bytes, vector: int, name: str, error_code: int, behind: int
) -> None:
    """`behind`: where in the code the CPU says that it was: after the instruction for a trap, before for a fault."""
    with guest.code(code) as address:
        exception = guest.fault("execute", address)

    assert (exception.vector, exception.name, exception.error_code) == (vector, name, error_code)
    assert exception.registers.rip == address + behind


def test_every_vector_has_a_gate(guest: Probe) -> None:
    """All but those of interrupts, those never guarded, and those for which an `int` lacks the CPU's error code."""
    constants = [guest.kernel.find_constant(name) for name in ("CLOCK_VECTOR", "APIC_SPURIOUS_VECTOR")]
    interrupts = range(guest.kernel.constant("IRQ_VECTOR_FIRST"), guest.kernel.constant("IRQ_VECTOR_LAST") + 1)
    others = {2, 18} | {8, *range(10, 15), 17, 21, 29, 30} | {*constants}
    with guest.pool(3) as code:
        for vector in sorted({*range(256)} - others):
            guest.write(code, bytes([0xCD, vector, 0xC3]))
            result = guest.machine.call("execute", code)
            if vector in interrupts:
                assert result.exception is None
            else:
                assert result.exception is not None
                assert (result.exception.vector, result.exception.error_code) == (vector, 0)
                assert result.exception.registers.rip == code + 2
        assert guest.call("lab_ping", 1) == 2


def test_fault_deep_in_a_call_leaves_the_stack_as_it_was(guest: Probe) -> None:
    stack = guest.machine.registers().rsp

    for _ in range(100):
        guest.machine.call("copy", ABSENT, guest.kernel.symbol("lab_ping").address, 100)

    assert guest.call("lab_ping", 1) == 2
    assert abs(guest.machine.registers().rsp - stack) < PAGE


def test_what_a_call_did_before_its_fault_stays_done(guest: Probe) -> None:
    with guest.pool(PAGE) as page:
        exception = guest.fault("fill", page + PAGE - 64, 0x77, 128)

        assert exception.cr2 == page + PAGE
        assert guest.read(page + PAGE - 64, 64) == b"\x77" * 64


def test_direction_flag_and_ac_do_not_outlive_the_call_that_set_them(guest: Probe) -> None:
    std_stac_ud2 = bytes.fromhex("fd 0f01cb 0f0b")
    with guest.code(std_stac_ud2) as address, guest.pool() as block:
        exception = guest.fault("execute", address)
        assert exception.registers.rflags & (1 << 10 | 1 << 18) == 1 << 10 | 1 << 18

        guest.write(block, bytes(range(64)))
        assert guest.read(block, 64) == bytes(range(64))
        assert guest.machine.registers().rflags & (1 << 10 | 1 << 18) == 0


# ------------------------------------------------------------------------------------------------------ bug checks ----


def check_report(guest: Probe, stop: BugCheck, trap: str) -> None:
    """The log must tell the bug check, the trap, the registers and the walk, and the machine must stand still."""
    told = read_log(guest.guest).text
    told = told[told.index("*** STOP") :]
    parameters = ", ".join(f"0x{each:016x}" for each in stop.parameters)
    assert told.startswith(f"*** STOP: 0x{stop.code:08x} ({parameters})\n*** {stop.name}\n{trap}")
    printed = re.findall(r"  (r\w+) +0x([0-9a-f]{16})", told)
    assert {name: int(value, 16) for name, value in printed} == {name: stop.registers[name] for name in GENERAL}
    if stop.registers["vector"] in {8, 14}:
        assert told.endswith(f"\n{guest.walk(stop.cr2)}\n")
    check_stopped(guest)


def check_stopped(guest: Probe) -> None:
    qmp = guest.machine.qmp
    assert qmp.wait_event("GUEST_PANICKED", timeout=5)
    assert wait_until(lambda: qmp.status() == "guest-panicked", 5.0)  # QEMU tells first, and stops then
    assert not guest.machine.is_running


@pytest.mark.parametrize(
    ("function", "place", "access", "why"),
    [
        ("read_u64", "GUARD_PAGE", 0, 0),
        ("read_u64", "ABSENT", 0, 2),
        ("write_u64", "ABSENT", 2, 2),
        ("execute", "GUARD_PAGE", 0x10, 0),
    ],
)
def test_unguarded_fault_at_an_absent_page(
    fresh_guest: Probe, function: str, place: str, access: int, why: int
) -> None:
    guest, address = fresh_guest, address_of(fresh_guest, place)

    stop = guest.stop(function, address, *([1] if function == "write_u64" else []), guarded=False)

    assert (stop.code, stop.name) == (0x50, "PAGE_FAULT_IN_NONPAGED_AREA")
    assert stop.parameters == (address, access, stop.registers["rip"], why)
    code = {0: "0x0", 2: "0x2 W", 0x10: "0x10 I"}[access]
    check_report(guest, stop, f"trap 14 #PF page fault, error code {code}, cr2 0x{address:016x}\n")


@pytest.mark.parametrize("place", ["lab_ping", "bugcheck_names", "SHARED_DATA"])
def test_unguarded_write_to_a_read_only_page(fresh_guest: Probe, place: str) -> None:
    guest, address = fresh_guest, address_of(fresh_guest, place)

    stop = guest.stop("write_u64", address, 1, guarded=False)

    assert (stop.code, stop.name) == (0xBE, "ATTEMPTED_WRITE_TO_READONLY_MEMORY")
    assert stop.parameters[:2] == (address, guest.entry(address))
    check_report(guest, stop, f"trap 14 #PF page fault, error code 0x3 P W, cr2 0x{address:016x}\n")


def test_unguarded_execution_of_data(fresh_guest: Probe) -> None:
    guest = fresh_guest
    address = guest.allocate(100, NONPAGED_NX)

    stop = guest.stop("execute", address, guarded=False)

    assert (stop.code, stop.name) == (0xFC, "ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY")
    assert stop.parameters[:2] == (address, guest.entry(address))
    assert stop.registers["rip"] == address
    check_report(guest, stop, f"trap 14 #PF page fault, error code 0x11 P I, cr2 0x{address:016x}\n")


@pytest.mark.parametrize(
    ("code", "status", "trap"),
    [
        (DIVIDE_BY_ZERO, 0xC0000094, "trap 0 #DE divide error, error code 0x0\n"),
        (INT3, 0x80000003, "trap 3 #BP breakpoint, error code 0x0\n"),
        (UD2, 0xC000001D, "trap 6 #UD invalid opcode, error code 0x0\n"),
        (INT_4, 0xC0000095, "trap 4 #OF overflow, error code 0x0\n"),
        (BAD_SELECTOR, 0xC0000005, "trap 13 #GP general protection, error code 0xfff8\n"),
        (SINGLE_STEP, 0x80000004, "trap 1 #DB debug, error code 0x0\n"),
    ],
    ids=["#DE", "#BP", "#UD", "#OF", "#GP", "#DB"],
)
def test_unguarded_exception_that_windows_raises(fresh_guest: Probe, code: bytes, status: int, trap: str) -> None:
    guest = fresh_guest
    address = guest.allocate(len(code))
    guest.write(address, code)

    stop = guest.stop("execute", address, guarded=False)

    assert (stop.code, stop.name) in NOBODY_HANDLED_IT
    assert stop.parameters[:2] == (status | 0xFFFFFFFF << 32, stop.registers["rip"])
    assert address <= stop.registers["rip"] < address + 16
    check_report(guest, stop, trap)


def test_unguarded_trap_that_windows_knows_no_exception_for(fresh_guest: Probe) -> None:
    guest = fresh_guest
    address = guest.allocate(len(INT_2E))
    guest.write(address, INT_2E)

    stop = guest.stop("execute", address, guarded=False)

    assert (stop.code, stop.name) == (0x7F, "UNEXPECTED_KERNEL_MODE_TRAP")
    assert stop.parameters == (0x2E, 0, stop.registers["rip"], stop.registers["rsp"])
    check_report(guest, stop, "trap 46 software interrupt, error code 0x0\n")


def test_stack_overflow_is_a_double_fault_on_a_stack_of_its_own(fresh_guest: Probe) -> None:
    guest = fresh_guest

    stop = guest.stop("stack_overflow")

    assert (stop.code, stop.name, stop.parameters[:2]) == (0x7F, "UNEXPECTED_KERNEL_MODE_TRAP", (8, 0))
    assert GUARD_PAGE <= stop.cr2 < STACK, "the page fault that could not be delivered"
    assert GUARD_PAGE <= stop.registers["rsp"] <= STACK
    assert (guest.kernel.describe(stop.registers["rip"]) or "").startswith("descend")
    check_report(guest, stop, f"trap 8 #DF double fault, error code 0x0, cr2 0x{stop.cr2:016x}\n")


def test_nmi_stops_a_guest_that_sleeps(fresh_guest: Probe) -> None:
    guest = fresh_guest
    assert wait_until(lambda: guest.guest.variable("lab_mailbox")["asleep"] == 1, 5.0)

    guest.machine.qmp.execute("inject-nmi")
    check_stopped(guest)

    stop = guest.machine.bugcheck
    assert stop is not None
    assert (stop.code, stop.name, stop.parameters[0]) == (0x80, "NMI_HARDWARE_FAILURE", 2)
    assert (guest.kernel.describe(stop.registers["rip"]) or "").startswith(("mailbox_serve", "wait_for_request"))


@pytest.mark.parametrize(
    ("machine", "code", "name"),
    [("microvm", 0xC2, "BAD_POOL_CALLER"), ("q35", 0xE2, "MANUALLY_INITIATED_CRASH"), ("microvm", 0x12345, "UNKNOWN")],
)
def test_kebugcheckex_leaves_the_machine_stopped_for_inspection(machine: str, code: int, name: str) -> None:
    parameters = (0x1111, 0xFFFF_F800_0000_0000, 0, (1 << 64) - 1)
    with booted(machine=machine) as guest:
        stop = guest.stop("KeBugCheckEx", code, *parameters)

        assert (stop.code, stop.parameters) == (code, parameters)
        assert (guest.kernel.describe(stop.caller) or "").startswith("trap_enter_call")
        assert stop.registers["vector"] == guest.kernel.constant("LAB_NO_VECTOR")
        assert stop.registers["rip"] == stop.caller
        text = ", ".join(f"0x{each:016x}" for each in parameters)
        assert guest.machine.log.endswith(f"\n*** STOP: 0x{code:08x} ({text})\n*** {name}\n")
        check_stopped(guest)
        assert guest.machine.snapshot().walk(guest.kernel.symbol("lab_mailbox").address).is_mapped


def test_broken_invariant_of_the_kernel_stops_with_its_data(fresh_guest: Probe) -> None:
    guest = fresh_guest
    address = guest.allocate(PAGE)
    record = guest.record(guest.frame(address))
    # As if somebody had written over the database: the frame is not active any more.
    guest.call("fill", int(record.record) + 0x1A, 0, 2)

    stop = guest.stop("ExFreePool", address)

    assert (stop.code, stop.name) == (0x4C414221, "LAB_ASSERTION_FAILED")
    assert f"frames: frame {record.frame:#x} is freed but not active\n" in read_log(guest.guest).text
    check_stopped(guest)


def test_nothing_is_executed_after_a_bug_check(fresh_guest: Probe) -> None:
    guest = fresh_guest
    guest.stop("bugcheck", 0xE2, 0, 0, 0, 0)
    check_stopped(guest)
    written = guest.guest.variable("lab_log")["written"]

    guest.machine.qmp.cont()
    time.sleep(0.05)

    assert guest.guest.variable("lab_log")["written"] == written
    assert guest.machine.bugcheck is not None
