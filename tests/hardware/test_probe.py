"""Probes: instructions of one's own on the guest's CPU, at both privilege levels, under any tables and controls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.demo.prompt import answer
from lab.errors import GuestError, GuestTimeout, NotMapped, UsageError
from lab.machine import Machine, ProbeResult, Space
from lab.machine.assembler import AssemblyError
from lab.machine.probe import CONTROLS
from lab.paging.rules import rules_of
from lab.views.report import Report
from lab.views.windbg import self_map_slot
from lab.x86 import Entry, KeyRights, Level, PhysicalAddress
from tests.hardware.probe import GIB, MIB, PAGE, Probe, Supply

AT = 0x400000
"""Where a space of these tests has its page."""

READ, WRITE, FETCH = "mov rax, [rdi]", "mov byte ptr [rdi], 1", "jmp rdi"
RETURN = b"\xc3"
ENDLESS = ["jmp .", "cli; jmp .", "sti; jmp .", "cli; hlt", "again: sti; hlt; jmp again"]


@pytest.fixture(scope="module", params=[(), ("la57",)], ids=["4 levels", "5 levels"])
def supply(request: pytest.FixtureRequest) -> Iterator[Supply]:
    """Guests with four levels of tables, and with five."""
    with Supply(*request.param) as supply:
        yield supply


@pytest.fixture
def machine(guest: Probe) -> Machine:
    """The machine of a guest whose books must be as before when the test ends."""
    return guest.machine


def bits(result: ProbeResult) -> str:
    """The error code of the page fault, as names; the manual must agree, or a known quirk explain it."""
    if result.prediction is not None:
        assert result.quirk or result.prediction.accepts(14, result.error_code), f"{result}, but {result.prediction}"
    return " ".join(result.error_code.names())


# ------------------------------------------------------------------------------------------------- what comes back ----


def test_registers_go_in_and_come_back(machine: Machine) -> None:
    result = machine.probe("lea rax, [rdi + rsi * 2]; xchg r14, r15", rdi=40, rsi=1, r15=-1)
    assert result.ok
    assert result.changed == {"rax": (0, 42), "r14": (0, (1 << 64) - 1), "r15": ((1 << 64) - 1, 0)}
    assert str(result) == "the probe came to its end"


@pytest.mark.parametrize("user", [False, True])
def test_the_privilege_is_the_one_asked_for(machine: Machine, user: bool) -> None:
    result = machine.probe("mov rax, cs; push rax; pop rbx", user=user)
    assert result.registers.rbx & 3 == (3 if user else 0)


def test_a_return_ends_a_probe_too(machine: Machine) -> None:
    assert machine.probe("mov eax, 1; ret; mov eax, 2").registers.rax == 1


def test_symbols_of_the_kernel_are_known(machine: Machine) -> None:
    magic = machine.kernel.constant("LAB_MAILBOX_MAGIC")
    assert machine.probe("mov rax, [lab_mailbox]").registers.rax == magic


def test_code_is_never_stale(machine: Machine) -> None:
    # Always at the same address: TCG must not run its translation of the probe before.
    assert [machine.probe(f"mov eax, {n}").registers.rax for n in range(20)] == list(range(20))


def test_machine_code_is_taken_as_it_is(machine: Machine) -> None:
    assert machine.probe(bytes.fromhex("b8 07 00 00 00")).registers.rax == 7


def test_nothing_of_a_probe_is_left(guest: Probe) -> None:
    root = guest.machine.memory.read(guest.state.root, PAGE)
    log = guest.machine.log
    for user in (False, True):
        guest.machine.probe("mov rax, [rdi]", user=user)
    assert guest.machine.memory.read(guest.state.root, PAGE) == root
    assert guest.machine.log == log


# ----------------------------------------------------------------------------------------------------- exceptions ----


@pytest.mark.parametrize(
    ("source", "user", "name", "offset"),
    [
        ("nop; div rcx", False, "#DE", 1),
        ("ud2", True, "#UD", 0),
        ("int3; nop", False, "#BP", 0),
        ("nop; int3", True, "#BP", 1),
        ("mov rax, [rdi]", False, "#GP", 0),
        ("cli", True, "#GP", 0),
        ("mov rax, cr3", True, "#GP", 0),
        ("pushfq; or qword ptr [rsp], 0x100; popfq; nop; nop", False, "#DB", 10),
        ("sti; nop; int 0x80", False, "0x80", 2),
    ],
)
def test_every_exception_is_an_answer(machine: Machine, source: str, user: bool, name: str, offset: int) -> None:
    result = machine.probe(source, user=user, rdi=1 << 60)
    assert result.exception is not None
    assert (result.exception.name, result.offset) == (name, offset)


def test_a_stack_that_is_none_does_no_harm(machine: Machine) -> None:
    result = machine.probe("mov rsp, 0x10; push rax")
    assert (result.exception.cr2 if result.exception else None, result.offset, bits(result)) == (8, 7, "W")
    assert machine.probe("nop", rsp=1 << 63).ok
    assert machine.probe("ud2", rsp=0).exception


def test_the_probes_own_pages_are_what_they_are_said_to_be(machine: Machine) -> None:
    for user, extra in ((False, ""), (True, " U")):
        assert bits(machine.probe("lea rax, [rip]; mov [rax], al", user=user)) == "P W" + extra
        assert bits(machine.probe("jmp rsp", user=user)) == f"P{extra} I/D"
        result = machine.probe("sub rsp, 0x1000; push rax", user=user)
        assert bits(result) == "W" + extra
        assert result.prediction is None  # they are gone by now


def test_a_jump_out_of_the_probe_is_told_as_that(machine: Machine) -> None:
    result = machine.probe("mov rax, lab_mailbox; jmp rax")
    assert bits(result) == "P I/D"
    assert result.instruction is None
    assert str(result).endswith("outside of the probe")


def test_what_a_probe_does_to_the_cpu_is_undone(guest: Probe) -> None:
    before = guest.machine.registers()
    guest.machine.probe(
        "mov rcx, 0xc0000101; mov eax, 1; mov edx, eax; wrmsr; swapgs; mov ax, 0x2b; mov ds, ax; mov fs, ax;"
        "mov rax, cr0; btr rax, 16; mov cr0, rax; mov rax, 15; mov cr8, rax"
    )
    after = guest.machine.registers()
    names = ("cr0", "cr3", "cr4", "cr8", "efer", "ds", "es", "fs", "gs", "fs_base", "gs_base", "ss")
    assert {name: after[name] for name in names} == {name: before[name] for name in names}


# --------------------------------------------------------------------------------------------------- page faults ----


@pytest.mark.parametrize(
    ("source", "user", "expected"),
    [(READ, False, ""), (WRITE, False, "W"), (FETCH, False, "I/D"), (READ, True, "U"), (WRITE, True, "W U")],
)
def test_nothing_is_there(machine: Machine, space: Space, source: str, user: bool, expected: str) -> None:
    result = machine.probe(source, rdi=AT, user=user, space=space)
    assert bits(result) == expected
    assert result.exception
    assert result.exception.cr2 == AT
    assert str(result.prediction).endswith(f"faults: {space.root_level} bit 0 (P) is 0")


@pytest.mark.parametrize(
    ("source", "user", "rights", "is_user_page", "expected"),
    [
        (WRITE, False, "r--", False, "P W"),
        (FETCH, False, "rw-", False, "P I/D"),
        (READ, True, "rw-", False, "P U"),
        (WRITE, True, "r--", True, "P W U"),
        (FETCH, True, "rw-", True, "P U I/D"),
        (READ, False, "rw-", True, "P"),
        (FETCH, False, "r-x", True, "P I/D"),
    ],
)
def test_rights_forbid(
    machine: Machine, space: Space, source: str, user: bool, rights: str, is_user_page: bool, expected: str
) -> None:
    space.map(AT, rights=rights, user=is_user_page)
    assert bits(machine.probe(source, rdi=AT, user=user, space=space)) == expected


@pytest.mark.parametrize("level", [Level.PD, Level.PDPT, Level.PML4])
def test_a_right_withheld_only_at_an_upper_level_is_withheld(machine: Machine, space: Space, level: Level) -> None:
    space.map(AT, space.new_frames(content=RETURN), "rwx", user=True)
    assert machine.probe(WRITE, rdi=AT, user=True, space=space).ok
    above = space.entry(level, AT)
    for changed, source, expected in (
        (above.replace(writable=False), WRITE, "P W U"),
        (above.replace(user=False), READ, "P U"),
        (above.replace(no_execute=True), FETCH, "P U I/D"),
    ):
        space.set_entry(level, AT, changed)
        assert bits(machine.probe(source, rdi=AT, user=True, space=space)) == expected
        assert str(level) in "".join(space.walk(AT).lines()[-3:])


def test_code_in_a_space_runs(machine: Machine, space: Space) -> None:
    space.map(AT, space.new_frames(content=bytes.fromhex("b8 2a 00 00 00 c3")), "r-x", user=True)
    assert machine.probe(FETCH, rdi=AT, user=True, space=space).registers.rax == 42


# ------------------------------------------------------------------------------------------------------- controls ----


def test_write_protection_binds_the_supervisor_only_while_it_is_on(machine: Machine, space: Space) -> None:
    space.map(AT, rights="r--")
    assert bits(machine.probe(WRITE, rdi=AT, space=space)) == "P W"
    assert machine.probe(WRITE, rdi=AT, space=space, controls={"CR0.WP": 0}).ok
    assert space.entry(Level.PT, AT).dirty


def test_smap_closes_user_pages_to_the_supervisor(machine: Machine, space: Space) -> None:
    space.map(AT, user=True)
    assert bits(machine.probe(READ, rdi=AT, space=space)) == "P"
    assert machine.probe(READ, rdi=AT, space=space, ac=True).ok
    assert machine.probe("stac; mov rax, [rdi]; clac", rdi=AT, space=space).ok
    assert machine.probe(READ, rdi=AT, space=space, controls={"CR4.SMAP": 0}).ok


def test_smep_keeps_the_supervisor_from_running_user_pages(machine: Machine, space: Space) -> None:
    space.map(AT, space.new_frames(content=RETURN), "r-x", user=True)
    assert bits(machine.probe(FETCH, rdi=AT, space=space)) == "P I/D"
    assert machine.probe(FETCH, rdi=AT, space=space, controls={"CR4.SMEP": 0}).ok


@pytest.mark.parametrize("user", [False, True])
def test_without_nxe_bit_63_is_reserved(machine: Machine, space: Space, user: bool) -> None:
    space.map(AT, rights="rw-", user=user)
    space.map(AT + PAGE, rights="rwx", user=user)
    off = {"EFER.NXE": 0}
    assert machine.probe(READ, rdi=AT, space=space, user=user).ok
    assert "RSVD" in bits(machine.probe(READ, rdi=AT, space=space, user=user, controls=off))
    assert machine.probe(READ, rdi=AT + PAGE, space=space, user=user, controls=off).ok
    assert machine.probe("push rdi; pop rax", rdi=7, user=user, controls=off).registers.rax == 7


def test_protection_keys(machine: Machine, space: Space) -> None:
    frame = space.map(AT, user=True)
    space.set_entry(Level.PT, AT, Entry(frame | 7).replace(key=5))
    deny_access, deny_write = 1 << 10, 2 << 10
    assert machine.probe(WRITE, rdi=AT, user=True, space=space, pkru=0).ok
    assert bits(machine.probe(READ, rdi=AT, user=True, space=space, pkru=deny_access)) == "P U PK"
    assert machine.probe(READ, rdi=AT, user=True, space=space, pkru=deny_write).ok
    assert bits(machine.probe(WRITE, rdi=AT, user=True, space=space, pkru=deny_write)) == "P W U PK"


def test_protection_keys_of_supervisor_pages(machine: Machine, space: Space) -> None:
    frame = space.map(AT)
    space.set_entry(Level.PT, AT, Entry(frame | 3).replace(key=5))
    assert machine.probe(WRITE, rdi=AT, space=space, pkrs=0).ok
    assert bits(machine.probe(READ, rdi=AT, space=space, pkrs=1 << 10)) == "P PK"
    assert machine.probe(READ, rdi=AT, space=space).ok


def test_controls_are_the_kernels_own_again(guest: Probe) -> None:
    before = guest.machine.registers()
    for name in CONTROLS:
        for value in (0, 1):
            guest.machine.probe("nop", controls={name: value})
    after = guest.machine.registers()
    assert [after[name] for name in ("cr0", "cr4", "efer")] == [before[name] for name in ("cr0", "cr4", "efer")]


# ------------------------------------------------------------------------------------------------- raw entries ----


@pytest.mark.parametrize("level", [Level.PT, Level.PD, Level.PDPT, Level.PML4])
def test_reserved_bits(machine: Machine, space: Space, level: Level) -> None:
    space.map(AT)
    space.set_entry(level, AT, space.entry(level, AT) | 1 << 51)
    result = machine.probe(READ, rdi=AT, space=space)
    assert "RSVD" in bits(result)
    assert result.walk
    assert str(result.walk.outcome).startswith(f"{level} bit 51 is reserved")
    assert str(result.quirk) == "rsvd-without-p"


@pytest.mark.parametrize("size", [PAGE, 2 * MIB, GIB])
@pytest.mark.parametrize("user", [False, True])
def test_accessed_and_dirty_tell_what_was_done(machine: Machine, space: Space, size: int, user: bool) -> None:
    space.map(GIB, 0, "rw-", size=size, user=user)
    leaf = {PAGE: Level.PT, 2 * MIB: Level.PD, GIB: Level.PDPT}[size]
    path = [level for level in sorted(Level, reverse=True) if leaf <= level <= space.root_level]

    def accessed() -> list[bool]:
        return [space.entry(level, GIB).accessed for level in path]

    assert accessed() == [False] * len(path)
    assert machine.probe(READ, rdi=GIB + 0x800, user=user, space=space).ok
    assert accessed() == [True] * len(path)
    assert not space.entry(leaf, GIB).dirty
    assert machine.probe("lock or byte ptr [rdi], 0", rdi=GIB + 0x800, user=user, space=space).ok
    assert space.entry(leaf, GIB).dirty
    assert not any(space.entry(level, GIB) & Entry.dirty.mask for level in path[:-1])


def test_a_page_has_the_memory_that_was_given(machine: Machine, space: Space) -> None:
    frames = space.new_frames(2 * MIB, bytes(0x5000) + b"in the middle")
    space.map(2 * MIB, frames, size=2 * MIB, memory_type="WC")
    assert machine.probe(READ, rdi=2 * MIB + 0x5000, space=space).registers.rax.to_bytes(8, "little") == b"in the m"
    machine.probe("mov [rdi], rsi", rdi=3 * MIB, rsi=0x1234, space=space)
    assert machine.memory.read(frames + MIB, 2) == b"\x34\x12"
    assert str(space.walk(3 * MIB).mapped.memory_type) == "WC"


def test_a_table_may_be_used_at_two_levels(machine: Machine, space: Space) -> None:
    space.map(AT, space.new_frames(content=b"the page"))
    table = space.entry(Level.PD, AT).frame_address()
    # The entry of the PT that names the PT itself shows its entries as data.
    space.set_entry(Level.PT, AT + PAGE, table | 3)
    shown = machine.probe(READ, rdi=AT + PAGE, space=space).registers.rax
    assert shown == space.entry(Level.PT, AT)


# ------------------------------------------------------------------------------------------------- endless probes ----


@pytest.mark.parametrize("source", ENDLESS)
def test_an_endless_probe_is_ended_and_the_guest_lives_on(machine: Machine, source: str) -> None:
    with pytest.raises(GuestTimeout, match=r"did not end within 0\.05 s: it was at .* the guest lives on") as caught:
        machine.probe(source, timeout=0.05)
    assert caught.value.registers["rip"]
    assert machine.probe("mov eax, 1").registers.rax == 1


def test_an_endless_probe_of_user_mode_in_a_space(machine: Machine, space: Space) -> None:
    with pytest.raises(GuestTimeout, match=r"it was at \+0x0 jmp"):
        machine.probe("jmp .", user=True, space=space, timeout=0.05)
    assert machine.call.lab_ping(1).result == 2


def test_an_instruction_that_tcg_never_leaves_loses_the_guest_and_that_is_said(fresh_guest: Probe) -> None:
    # A quirk of TCG: no #GP, and no interrupt is taken any more.
    with pytest.raises(GuestTimeout, match=r"it was at \+0x4 mov cr4, rax; .* the guest is lost"):
        fresh_guest.machine.probe("or rax, -1; mov cr4, rax", timeout=0.05)


def test_rights_of_keys_are_seen_while_a_probe_has_them(fresh_guest: Probe) -> None:
    machine, denying = fresh_guest.machine, KeyRights.denying(access=[1], write=[3])
    assert machine.paging_state().pkru == 0
    machine.gdb.break_at("probe_begin")
    with pytest.raises(GuestTimeout, match="the machine is"):
        machine.probe("nop", pkru=denying, pkrs=KeyRights.denying(write=[2]), timeout=0.3)
    state = machine.paging_state()
    assert (state.cr4.pke, state.pkru, state.pkrs) == (True, denying, KeyRights.denying(write=[2]))


def test_a_probe_at_a_breakpoint_is_not_taken_for_an_endless_one(fresh_guest: Probe) -> None:
    machine = fresh_guest.machine
    stop = machine.gdb.break_at("probe_begin")
    # The watchdog finds the machine held by somebody, and keeps its hands off.
    with pytest.raises(GuestTimeout, match="the machine is"):
        machine.probe("inc rdi; inc rdi", rdi=40, timeout=0.3)
    assert machine.gdb.registers()["rdi"] == 40
    machine.gdb.delete(stop)
    machine.gdb.step()
    machine.gdb.step()
    assert machine.gdb.registers()["rdi"] == 41
    machine.cont()
    assert machine.call.lab_ping(1).result == 2


def test_a_probe_that_the_guest_cannot_begin_has_not_run(fresh_guest: Probe) -> None:
    machine, levels = fresh_guest.machine, fresh_guest.state.levels
    slot = self_map_slot(machine.memory, fresh_guest.state.root)
    assert slot is not None
    own_entry = sum(slot << 12 + 9 * level for level in range(levels)) + 8 * slot
    machine.call.set_entry(rules_of(fresh_guest.state).canonical(own_entry), 0)
    with pytest.raises(GuestError, match=r"the guest could not run the probe: #PF at 0x\w+: supervisor read, page not"):
        machine.probe("ud2")


# ---------------------------------------------------------------------------------------------------- in a lecture ----


def test_a_probe_typed_in_a_lecture_is_a_report(guest: Probe) -> None:
    def typed(line: str) -> Report:
        return answer(line, guest.machine.snapshot, guest.machine)

    found = typed("probe 'mov [rdi], al' --reg rdi=KeBugCheckEx --user").to_json()
    assert (found["schema"], found["outcome"], found["exception"]["bits"]) == (
        "lab.probe/1",
        "exception",
        ["P", "W", "U"],
    )
    assert typed("probe 'mov al, [rdi]; mov [rdi], al' --reg=rdi=KeBugCheckEx --control CR0.WP=0").answer
    assert typed("probe nop --ac").answer
    for wrong in ("probe", "probe nop nop", "probe nop --fast", "probe bogus", "probe nop --reg rdi", "probe 'nop"):
        assert typed(wrong).schema == "lab.error/1"


# ------------------------------------------------------------------------------------------------------- refusals ----


def test_bad_assembly_is_refused_before_anything_runs(machine: Machine) -> None:
    with pytest.raises(AssemblyError, match="line 1, column 6: 'bogus': no such instruction"):
        machine.probe("nop; bogus")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"controls": {"CR4.LA57": 1}}, "cannot choose 'CR4.LA57'"),
        ({"pkrs": 3}, "key 0"),
        ({"root": 1 << 51}, "cannot be in CR3"),
        ({"root": 0x1234}, "cannot be in CR3"),
        ({"eax": 1}, "cannot be started with 'eax'"),
    ],
)
def test_what_would_lose_the_guest_is_refused(machine: Machine, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        machine.probe("nop", **arguments)  # type: ignore[arg-type]


def test_what_is_no_root_table_is_refused_and_stays_as_it_is(machine: Machine, space: Space) -> None:
    space.map(AT)
    data = space.new_frames(content=b"\x03" * PAGE)
    for wrong in (space.new_frames(), data, space.entry(Level.PD, AT).frame_address(), PhysicalAddress(1 << 36)):
        before = machine.memory.read(wrong, PAGE) if wrong < 1 << 36 else b""
        with pytest.raises(UsageError, match="no root table"):
            machine.probe("nop", root=wrong)
        assert not before or machine.memory.read(wrong, PAGE) == before
    assert machine.probe("mov rax, cr3", root=space.root).registers.rax == space.root


def test_the_kernels_part_of_a_space_is_not_for_mapping(machine: Machine, space: Space) -> None:
    for name in ("KERNEL_BASE", "SYSTEM_PTES", "PFN_DATABASE"):
        with pytest.raises(UsageError, match="the kernel's part"):
            space.map(machine.kernel.constant(name))
    with pytest.raises(UsageError, match="not canonical"):
        space.map(1 << 62)
    with pytest.raises(UsageError, match="4 KiB, 2 MiB and 1 GiB"):
        space.map(AT, size=8192)
    with pytest.raises(UsageError, match="multiple"):
        space.map(AT + 1)
    with pytest.raises(UsageError, match="memory type 'XX'"):
        space.map(AT, memory_type="XX")
    with pytest.raises(NotMapped, match="no PT there"):
        space.entry(Level.PT, AT)


# ---------------------------------------------------------------------------------------------------------- books ----


def test_a_space_gives_everything_back(guest: Probe) -> None:
    free = guest.frames_available()
    with guest.machine.new_space() as space:
        for n in range(16):
            space.map(n << 39, rights="rwx", user=True)
        space.new_frames(2 * MIB)
        # With five levels one PML4 serves all of them; one more frame is the page.
        tables = 16 * 3 + (space.root_level == Level.PML5)
        assert guest.frames_available() == free - 1 - tables - 16 - 512
        assert guest.machine.probe(READ, rdi=15 << 39, user=True, space=space).ok
    assert guest.frames_available() == free
    with pytest.raises(UsageError, match="closed"):
        space.map(AT)


def test_a_space_made_long_ago_still_has_the_whole_kernel(fresh_guest: Probe) -> None:
    machine = fresh_guest.machine
    with machine.new_space() as space:
        slot = next(n for n in range(256, 512) if not machine.memory.read(space.root + 8 * n, 1)[0] & 1)
        address = (slot << 39) | 0xFFFF << 48
        # The kernel gets a table in a slot that was empty when the space was made.
        table = PhysicalAddress(machine.call.frames_take(1, 1).result)
        machine.call.frame_write(fresh_guest.state.root + 8 * slot, (table | 3).to_bytes(8, "little"), 8)
        machine.probe("nop", space=space)
        assert space.walk(address).steps[0].entry == table | 3
