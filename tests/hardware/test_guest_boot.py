"""What the guest has made of the CPU and of the address space when it says that it is ready."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from lab.errors import GuestStopped
from lab.kernel.log import read_log
from lab.paging import Access, AccessKind, Kind, leaves, map_space, predict
from lab.x86 import Level, VirtualAddress
from tests.hardware.probe import PAGE, Probe, Supply, booted

SELF_MAP_SLOT = 0x1ED
PTE_BASE = 0xFFFF_F680_0000_0000
PDE_BASE = 0xFFFF_F6FB_4000_0000
PPE_BASE = 0xFFFF_F6FB_7DA0_0000
PXE_BASE = 0xFFFF_F6FB_7DBE_D000
SHARED_DATA = 0xFFFF_F780_0000_0000
KERNEL_BASE = 0xFFFF_F800_0000_0000
SYSTEM_PTES = 0xFFFF_F880_0000_0000
STACK_PAGES = 6
IA32_PAT, IA32_EFER = 0x277, 0xC000_0080


@pytest.fixture(scope="module", params=[("microvm",), ("q35",), ("microvm", "la57")], ids=" ".join)
def supply(request: pytest.FixtureRequest) -> Iterator[Supply]:
    machine, *words = request.param
    with Supply(*words, machine=machine) as supply:
        yield supply


# ------------------------------------------------------------------------------------------------ the control bits ----


def test_protections_that_the_cpu_has_are_on(guest: Probe) -> None:
    registers = guest.machine.registers()

    assert guest.state.cr0 == registers.cr0
    assert {"PE", "WP", "NE", "MP", "PG"} <= set(guest.state.cr0.names())
    assert not {"EM", "TS"} & set(guest.state.cr0.names())
    assert {"PAE", "PGE", "SMEP", "SMAP", "UMIP"} <= set(guest.state.cr4.names())
    assert {"LME", "LMA", "NXE"} <= set(guest.state.efer.names())


def test_process_context_identifiers_are_on_where_the_cpu_has_them(guest: Probe) -> None:
    has_them = guest.guest.variable("lab_cpu")["features"] & guest.kernel.constant("CPU_PCID")

    assert guest.state.cr4.pcide == bool(has_them)


def test_what_the_kernel_noted_of_the_cpu_is_what_the_cpu_has(guest: Probe) -> None:
    registers, noted = guest.machine.registers(), guest.guest.variable("lab_cpu")

    assert [noted[name] for name in ("cr0", "cr3", "cr4", "efer")] == [
        registers.cr0,
        registers.cr3,
        registers.cr4,
        registers.efer,
    ]


def test_pat_is_the_one_of_windows_and_has_write_combining(guest: Probe) -> None:
    assert [str(each) for each in guest.state.pat.types] == ["WB", "WC", "UC-", "UC"] * 2
    assert rdmsr(guest, IA32_PAT) == guest.state.pat == 0x0007_0106_0007_0106
    assert rdmsr(guest, IA32_EFER) == guest.state.efer


def rdmsr(guest: Probe, msr: int) -> int:
    """A model-specific register, read by the CPU itself."""
    # mov ecx, msr; rdmsr; shl rdx, 32; or rax, rdx
    with guest.code(b"\xb9" + msr.to_bytes(4, "little"), bytes.fromhex("0f32 48c1e220 4809d0")) as code:
        return guest.call("execute", code)


APIC = 0xFEE00000


@pytest.mark.parametrize("machine", ["microvm", "q35"])
def test_devices_are_uncached_by_mtrrs_that_firmware_or_the_kernel_has_set(machine: str) -> None:
    with booted(machine=machine) as guest:
        mtrrs = guest.state.mtrrs
        read = guest.machine.probe("mov ecx, 0x2ff; rdmsr").registers
        assert (read.rax & 0xFFF, read.rax & 0xFF) == (0xC06, mtrrs.default)
        read = guest.machine.probe("mov ecx, 0x201; rdmsr; shl rdx, 32; or rax, rdx").registers
        assert mtrrs.ranges[0].size == (~read.rax & (1 << guest.state.max_phys_bits) - 1 & ~0xFFF) + PAGE
        for physical, expected in ((0x1000, "WB"), (0xA0000, "UC"), (0xC0000, "WP"), (0x100000, "WB"), (APIC, "UC")):
            assert str(mtrrs.type_of(physical)) == expected
        # The entry says UC-, which the MTRR makes UC.
        found = predict(
            guest.machine.memory,
            guest.state,
            VirtualAddress(guest.kernel.constant("LOCAL_APIC")),
            Access(AccessKind.READ),
        )
        assert (found.physical, str(found.memory_type)) == (APIC, "UC")


def test_selectors_are_those_of_windows(guest: Probe) -> None:
    registers = guest.machine.registers()

    assert (registers.cs, registers.ss) == (0x10, 0x18)


@pytest.mark.parametrize(
    ("cpu", "missing"),
    [
        ("max,-smep,-smap,-umip,-pge", {"SMEP", "SMAP", "UMIP", "PGE"}),
        ("max,-xsave,-pdpe1gb", {"OSXSAVE"}),
        ("qemu64", {"SMEP", "SMAP", "UMIP", "PCIDE"}),
    ],
)
def test_a_cpu_that_lacks_a_protection_runs_without_it(cpu: str, missing: set[str]) -> None:
    with booted(cpu=cpu) as guest:
        assert not missing & set(guest.state.cr4.names())
        assert guest.call("lab_ping", 1) == 2


@pytest.mark.parametrize(("cpu", "words"), [("max,-nx", "no NX bit"), ("max,-lm", "no long mode")])
def test_a_cpu_without_long_mode_or_nx_is_refused_with_a_sentence(cpu: str, words: str) -> None:
    with pytest.raises(GuestStopped, match=rf"boot: this CPU has {words}; start QEMU with -cpu max"), booted(cpu=cpu):
        pass


def test_drivers_can_use_sse(guest: Probe) -> None:
    # mov eax, 42; cvtsi2sd xmm0, eax; addsd xmm0, xmm0; cvttsd2si eax, xmm0
    sse = bytes.fromhex("b82a000000 f20f2ac0 f20f58c0 f20f2cc0")

    with guest.code(sse) as code:
        assert guest.call("execute", code) == 84


# ----------------------------------------------------------------------------------------------- the address space ----


@pytest.mark.parametrize(
    ("section", "rights"),
    [(".text", "r-x"), (".rodata", "r--"), (".lab.exports", "r--"), (".data", "rw-"), (".bss", "rw-")],
)
def test_sections_are_writable_or_executable_and_never_both(guest: Probe, section: str, rights: str) -> None:
    found = next(each for each in guest.kernel.sections if each.name == section)

    for address in range(found.start, found.end, PAGE):
        page = guest.walk(address).mapped
        assert (str(page.supervisor), str(page.user)) == (rights, "---")
        assert page.physical == guest.kernel.physical_of(address)
        assert page.is_global


def test_nothing_is_writable_and_executable_before_somebody_asks_for_such_pool(guest: Probe) -> None:
    rows = map_space(guest.machine.memory, guest.state)

    assert [row for row in rows if row.supervisor.write and row.supervisor.execute and row.kind is Kind.PAGE] == []
    assert [row for row in rows if row.user] == []


def test_every_leaf_is_one_that_qemu_sees_too(guest: Probe) -> None:
    maps = [row for row in map_space(guest.machine.memory, guest.state) if row.kind is Kind.SELF_MAP]

    def is_self_map(address: int) -> bool:
        return any(row.start <= address < row.end for row in maps)

    with guest.machine.paused():
        own = {int(row.start): int(row.physical) for row in leaves(guest.machine.memory, guest.state)}
        told = re.findall(r"^([0-9a-f]{16}): ([0-9a-f]{16}) ", guest.machine.qmp.hmp("info tlb"), re.MULTILINE)

    assert {address: to for address, to in own.items() if not is_self_map(address)} == {
        int(address, 16): int(to, 16) for address, to in told if not is_self_map(int(address, 16))
    }


def test_self_map_is_at_slot_1ed_and_ends_in_the_pml4(guest: Probe) -> None:
    walk = guest.walk(PXE_BASE)
    steps = walk.steps[-4:]
    pml4 = steps[0].table

    assert [step.index for step in steps] == [SELF_MAP_SLOT] * 4
    assert {step.entry_address for step in steps} == {pml4 + 8 * SELF_MAP_SLOT}
    assert walk.mapped.physical == pml4
    assert (pml4 == guest.state.root) == (guest.state.levels == 4)
    assert str(walk.mapped.supervisor) == "rw-"


def test_entries_are_read_through_the_self_map_where_windows_has_them(guest: Probe) -> None:
    address = guest.kernel.symbol("lab_mailbox").address
    bases = {Level.PML4: PXE_BASE, Level.PDPT: PPE_BASE, Level.PD: PDE_BASE, Level.PT: PTE_BASE}

    for step in guest.walk(address).steps[-4:]:
        place = bases[step.level] + (address >> step.level.shift) % (1 << 48 - step.level.shift) * 8
        assert guest.call("read_u64", place) == step.entry
        assert guest.walk(place).mapped.physical == step.entry_address


def test_identity_map_is_gone(guest: Probe) -> None:
    low_half = guest.machine.memory.read(guest.state.root, 256 * 8)

    assert low_half == bytes(256 * 8)
    assert guest.fault("read_u64", 0x100000).cr2 == 0x100000


def test_null_page_is_not_mapped(guest: Probe) -> None:
    for function, arguments in (("read_u64", (0,)), ("write_u64", (0, 1)), ("execute", (0,))):
        exception = guest.fault(function, *arguments)
        assert (exception.vector, exception.cr2, exception.error_code & 1) == (14, 0, 0)


def test_code_that_booted_is_not_mapped_any_more_and_its_frames_are_free_to_use(guest: Probe) -> None:
    boot = next(each for each in guest.kernel.segments if each.virtual == KERNEL_BASE + 0x100000)

    assert not guest.is_mapped(boot.virtual)
    assert guest.record(boot.physical.frame).use != "kernel"


def test_stack_stands_above_a_guard_page(guest: Probe) -> None:
    guard, stack = SYSTEM_PTES, [SYSTEM_PTES + page * PAGE for page in range(1, 1 + STACK_PAGES)]

    assert stack[0] <= guest.machine.registers().rsp <= stack[-1] + PAGE
    assert {str(guest.walk(page).mapped.supervisor) for page in stack} == {"rw-"}
    assert {guest.record(guest.frame(page)).use for page in stack} == {"stack"}
    assert not guest.is_mapped(guard)
    assert not guest.is_mapped(stack[-1] + PAGE)
    assert guest.fault("write_u64", guard + PAGE - 8, 1).cr2 == guard + PAGE - 8


def test_every_other_stack_stands_above_a_guard_page_too(guest: Probe) -> None:
    first, end = SYSTEM_PTES + STACK_PAGES * PAGE + PAGE, SYSTEM_PTES + (1 << 39)
    rows = [row for row in map_space(guest.machine.memory, guest.state) if first <= row.start < end]
    stacks = [row for row in rows if guest.record(row.physical.frame).use == "stack"]

    assert len(stacks) >= 2, "those for NMI and double fault"
    assert {str(row.supervisor) for row in stacks} == {"rw-"}
    assert not any(guest.is_mapped(row.start - 1) for row in stacks)


def test_shared_data_say_windows_7_and_cannot_be_written(guest: Probe) -> None:
    version = guest.read(SHARED_DATA + 0x26C, 8)

    assert (version[:4], version[4:]) == ((6).to_bytes(4, "little"), (1).to_bytes(4, "little"))
    assert guest.call("read_u64", SHARED_DATA + 0x26C) == 1 << 32 | 6
    assert guest.fault("write_u64", SHARED_DATA + 0x26C, 10).error_code == 0b11


def test_tables_are_noted_as_used_so_that_every_later_change_was_made_by_somebody(guest: Probe) -> None:
    for row in leaves(guest.machine.memory, guest.state):
        if row.entry is not None and row.kind is Kind.PAGE:
            assert row.entry.accessed
            assert row.entry.dirty or not row.supervisor.write


# --------------------------------------------------------------------------------------------------------- options ----


def test_a_word_that_nobody_knows_is_named_and_the_others_count() -> None:
    with booted("foo", "verifier", "verifierx") as guest:
        assert re.search(r'unknown word "foo" on the command line \(known: .*\bverifier\b', guest.machine.log)
        assert 'unknown word "verifierx"' in guest.machine.log
        assert guest.guest.variable("lab_options")["verifier"] == 1


def test_without_options_there_is_no_verifier(guest: Probe) -> None:
    assert guest.guest.variable("lab_options")["verifier"] == 0


def test_log_in_ram_is_what_went_over_the_line(guest: Probe) -> None:
    kept = read_log(guest.guest)

    assert kept.lost == 0
    assert kept.text.endswith("ready\n")
    assert guest.machine.log == kept.text


def test_addresses_of_the_image_are_their_physical_ones_plus_a_constant(guest: Probe) -> None:
    address = int(guest.kernel.symbol("lab_mailbox").address)

    assert int(guest.walk(address).mapped.physical) == address - KERNEL_BASE
