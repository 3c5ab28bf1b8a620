"""The lecture on rights: every level has its say, and the strictest one decides; predict, then let the CPU judge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.scenarios.registry import scenario
from lab.scenarios.trial import Trial, all_trials
from lab.texts import Text
from lab.x86.address import VirtualAddress
from lab.x86.entry import Entry
from lab.x86.levels import Level

if TYPE_CHECKING:
    from lab.machine.space import Space
    from lab.scenarios.stage import Stage
    from lab.scenarios.step import Step

OPEN, READ_ONLY, NO_EXECUTE = (VirtualAddress(0x400000 + 0x1000 * page) for page in range(3))
UNDER_READ_ONLY = VirtualAddress(0x600000)
"""Read-only by its PD entry; the PT entry would allow everything."""
UNDER_NO_EXECUTE = VirtualAddress(0x40000000)
"""Not executable by its PDPT entry."""
UNDER_KERNEL = VirtualAddress(0x8000000000)
"""The kernel's by its PML4 entry."""

RET = b"\xc3"

TRIALS = (
    Trial(
        Text("Write where everything is allowed"),
        Text("W and U are 1 at every level. The CPU sets D in the last entry: it was written to."),
        "mov [rdi], rax",
        OPEN + 0x800,
        notes=Text("A and D are the only bits of an entry that the CPU writes."),
    ),
    Trial(
        Text("Execute there"),
        Text("XD is 0 at every level, so the page may be executed."),
        "call rdi",
        OPEN,
        notes=Text("The page holds one RET; the probe calls it and comes back."),
    ),
    Trial(
        Text("Write to a read-only page"),
        Text("W is 0 in the PT entry, and that is enough."),
        "mov [rdi], rax",
        READ_ONLY,
        "P|W|U",
        notes=Text("The error code says P: something is mapped there. It does not say which level forbade it."),
    ),
    Trial(
        Text("Execute data"),
        Text("XD is bit 63, which the walk calls NX. It forbids, where W and U allow."),
        "call rdi",
        NO_EXECUTE,
        "P|U|I/D",
        notes=Text(
            "AMD and Windows say NX, Intel says XD. It is what stops code that was written into a stack or a heap."
        ),
    ),
    Trial(
        Text("Write where only the PD entry forbids it"),
        Text("The PT entry says W, and most tools print just that. W has to be 1 at all levels: the PD entry decides."),
        "mov [rdi], rax",
        UNDER_READ_ONLY,
        "P|W|U",
        notes=Text("A is set in the PD entry, though the access failed: the CPU has been there."),
    ),
    Trial(
        Text("Execute where only the PDPT entry forbids it"),
        Text("XD is the other way round: one level that has it set forbids, and it covers a whole GiB here."),
        "call rdi",
        UNDER_NO_EXECUTE,
        "P|U|I/D",
        notes=Text("That is why a kernel gives table entries all rights, and decides in the last entry."),
    ),
    Trial(
        Text("Read where only the PML4 entry says kernel"),
        Text("U is 0 in one PML4 entry: 512 GiB are closed to user mode, whatever is below."),
        "mov rax, [rdi]",
        UNDER_KERNEL,
        "P|U",
        notes=Text("Windows keeps the whole upper half from user mode like this, with 256 such entries."),
    ),
    Trial(
        Text("Let the kernel write to a read-only page"),
        Text("With CR0.WP the kernel keeps to W as well. Copy-on-write needs that."),
        "mov [rdi], rax",
        READ_ONLY,
        "P|W",
        user=False,
        options={"ac": True},
        notes=Text("RFLAGS.AC is set here, or SMAP would forbid the access before W is looked at."),
    ),
    Trial(
        Text("The same with CR0.WP clear"),
        Text("Now W binds user mode only. Rootkits clear WP for just this."),
        "mov [rdi], rax",
        READ_ONLY,
        user=False,
        options={"ac": True, "controls": {"CR0.WP": 0}},
        notes=Text("The probe clears CR0.WP for this one instruction, and puts it back."),
    ),
    Trial(
        Text("Let the kernel execute a user page"),
        Text("SMEP: a page that user mode can reach is not executed by the kernel."),
        "call rdi",
        OPEN,
        "P|I/D",
        user=False,
        notes=Text("Many exploits prepared code in user memory and made the kernel jump there; SMEP ended that."),
    ),
)


@scenario("rights", 6)
def rights(stage: Stage) -> Iterator[Step]:
    """Rights: read-only, no-execute, user and supervisor, and the level that decides.

    An address space has pages whose rights are taken away at one level each: PT, PD, PDPT, PML4. Every access is
    asked about first. W and U must be 1 at all levels, XD must be 0 at all levels; the control registers decide what
    binds the kernel. The CPU itself gives the answer.
    """
    yield from all_trials(stage, _map, TRIALS)


def _map(stage: Stage, space: Space) -> Step:
    leaves = {OPEN: "rwx", READ_ONLY: "r--", NO_EXECUTE: "rw-"}
    leaves |= dict.fromkeys((UNDER_READ_ONLY, UNDER_NO_EXECUTE, UNDER_KERNEL), "rwx")
    for address, rights in leaves.items():
        space.write(space.map(address, rights=rights, user=True), RET)
    _change(space, Level.PD, UNDER_READ_ONLY, clear=Entry.writable.mask)
    _change(space, Level.PDPT, UNDER_NO_EXECUTE, set_=Entry.no_execute.mask)
    _change(space, Level.PML4, UNDER_KERNEL, clear=Entry.user.mask)
    return stage.step(
        "Pages with something taken away at one level each",
        "The map shows what is left of the rights, all levels taken together. Below is the kernel's half.",
        notes="The first page has all rights; the others have lost something, each at one level.",
        focus=(OPEN, UNDER_READ_ONLY, UNDER_NO_EXECUTE, UNDER_KERNEL),
        reports={"map": stage.report("map")},
    )


def _change(space: Space, level: Level, address: VirtualAddress, *, set_: int = 0, clear: int = 0) -> None:
    space.set_entry(level, address, space.entry(level, address) & ~clear | set_)
