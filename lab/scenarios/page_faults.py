"""The lecture on page faults: what the CPU writes into the error code, bit by bit."""

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

NOTHING, READ_ONLY, KERNEL, DATA, KEYED, BROKEN = (VirtualAddress(0x400000 + 0x1000 * page) for page in range(6))
KEY = 1
NO_ACCESS = 0b01 << 2 * KEY
TOP_BIT = 1 << 51


TRIALS = (
    Trial(
        Text("Read where nothing is mapped"),
        Text("P is 0 in the code: some entry on the way was not present. This is how memory on demand begins."),
        "mov rax, [rdi]",
        NOTHING,
        "U",
    ),
    Trial(
        Text("Write there"),
        Text("W says that it was a write. It describes the access, not what forbids it."),
        "mov [rdi], rax",
        NOTHING,
        "W|U",
    ),
    Trial(
        Text("Write to a read-only page"),
        Text(
            "P is 1: a translation exists, and some entry's rights forbid the access. Copy-on-write begins like this."
        ),
        "mov [rdi], rax",
        READ_ONLY,
        "P|W|U",
    ),
    Trial(
        Text("Read the kernel's memory from user mode"),
        Text("U says who it was: user mode. The page is mapped, but not for it."),
        "mov rax, [rdi]",
        KERNEL,
        "P|U",
    ),
    Trial(
        Text("Execute data"),
        Text("I/D says that it was the fetch of an instruction; XD forbids it. CR2 and RIP are the same then."),
        "jmp rdi",
        DATA,
        "P|U|I/D",
    ),
    Trial(
        Text("Let the kernel touch a user page"),
        Text("U is 0 now: it was the kernel. SMAP forbids it what the tables allow, unless RFLAGS.AC is set."),
        "mov rax, [rdi]",
        READ_ONLY,
        "P",
        user=False,
        options={"controls": {"CR4.SMAP": 1}},
    ),
    Trial(
        Text("Read a page whose protection key is locked"),
        Text("PK: the entries allow the read, and the key in bits 62:59 of the last one is locked by PKRU."),
        "mov rax, [rdi]",
        KEYED,
        "P|U|PK",
        options={"pkru": NO_ACCESS},
    ),
    Trial(
        Text("Use an entry with a reserved bit"),
        Text("RSVD: an address beyond what this CPU has. No software does that on purpose; it is a damaged table."),
        "mov rax, [rdi]",
        BROKEN,
        "U|RSVD",
    ),
)


@scenario("page-faults")
def page_faults(stage: Stage) -> Iterator[Step]:
    """Page faults and their error codes: what the CPU tells about an access that it refuses.

    In an address space of its own are a read-only page, one of the kernel's, one of data, one with a protection key
    and one with a damaged entry. Each is touched in the way it forbids. The audience may say the error code first; it
    follows from the tables, and the CPU says whether that was right.
    """
    yield from all_trials(stage, _map, TRIALS)


def _map(stage: Stage, space: Space) -> Step:
    space.map(READ_ONLY, rights="r--", user=True)
    space.map(KERNEL)
    space.map(DATA, user=True)
    frame = space.map(KEYED, user=True)
    space.set_entry(Level.PT, KEYED, Entry.key.insert(space.entry(Level.PT, KEYED), KEY))
    space.set_entry(Level.PT, BROKEN, frame | TOP_BIT | Entry.from_names("P", "W", "U"))
    return stage.step(
        "An address space to do wrong in",
        "Five pages from {start} on, each with something that it forbids; before them one address with nothing at all.",
        start=READ_ONLY,
        focus=(READ_ONLY, KERNEL, DATA),
        reports={"table": stage.report("table", {"table": str(space.entry_address(Level.PT, NOTHING))})},
        notes="Its upper half is the kernel's, as in every process; the faults are the real ones, raised by the CPU.",
    )
