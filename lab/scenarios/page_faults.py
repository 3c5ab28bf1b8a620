"""The lecture on page faults: what the CPU writes into the error code, bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.paging.quirks import RSVD_WITHOUT_P
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
        notes=Text("Every page that a program touches for the first time begins like this."),
    ),
    Trial(
        Text("Write there"),
        Text("W says that it was a write. It describes the access, not what forbids it."),
        "mov [rdi], rax",
        NOTHING,
        "W|U",
        notes=Text("P W U are the lowest three bits: 6 is the code of a user's write to nowhere."),
    ),
    Trial(
        Text("Write to a read-only page"),
        Text(
            "P is 1: a translation exists, and some entry's rights forbid the access. Copy-on-write begins like this."
        ),
        "mov [rdi], rax",
        READ_ONLY,
        "P|W|U",
        notes=Text("7: the same write, but now P is set. The handler copies the page, or ends the program."),
    ),
    Trial(
        Text("Read the kernel's memory from user mode"),
        Text("U says who it was: user mode. The page is mapped, but not for it."),
        "mov rax, [rdi]",
        KERNEL,
        "P|U",
        notes=Text("Meltdown was that some CPUs went on with the data for a while before this fault."),
    ),
    Trial(
        Text("Execute data"),
        Text("I/D says that it was the fetch of an instruction; XD forbids it. CR2 and RIP are the same then."),
        "jmp rdi",
        DATA,
        "P|U|I/D",
        notes=Text("With neither EFER.NXE nor CR4.SMEP the bit I/D is always 0."),
    ),
    Trial(
        Text("Let the kernel touch a user page"),
        Text("U is 0 now: it was the kernel. SMAP forbids it what the tables allow, unless RFLAGS.AC is set."),
        "mov rax, [rdi]",
        READ_ONLY,
        "P",
        user=False,
        options={"controls": {"CR4.SMAP": 1}},
        notes=Text("A kernel sets AC by STAC where it has to reach user memory, and clears it by CLAC at once."),
    ),
    Trial(
        Text("Read a page whose protection key is locked"),
        Text("PK: the entries allow the read, and the key in bits 62:59 of the last one is locked by PKRU."),
        "mov rax, [rdi]",
        KEYED,
        "P|U|PK",
        options={"pkru": NO_ACCESS},
        notes=Text(
            "A program can lock and unlock its own pages with WRPKRU, without a system call and without a flush."
        ),
    ),
)

RESERVED = Text("RSVD: the entry names an address beyond what this CPU has. That is a damaged table.")
RESERVED_WITHOUT_P = Text(
    "{reserved} By the manual P is 1 as well, 0xd; QEMU's TCG leaves it out (quirk {quirk}).",
    {"reserved": RESERVED, "quirk": RSVD_WITHOUT_P},
)


@scenario("page-faults", 7)
def page_faults(stage: Stage) -> Iterator[Step]:
    """Page faults and their error codes: what the CPU tells about an access that it refuses.

    In an address space of its own are a read-only page, one of the kernel's, one of data, one with a protection key
    and one with a damaged entry. Each is touched in the way it forbids. The audience may say the error code first; it
    follows from the tables, and the CPU says whether that was right.
    """
    reserved = _reserved_bit(has_quirk=RSVD_WITHOUT_P in stage.machine.quirks)
    yield from all_trials(stage, _map, (*TRIALS, reserved))


def _reserved_bit(*, has_quirk: bool) -> Trial:
    return Trial(
        Text("Use an entry with a reserved bit"),
        RESERVED_WITHOUT_P if has_quirk else RESERVED,
        "mov rax, [rdi]",
        BROKEN,
        "U|RSVD" if has_quirk else "P|U|RSVD",
        notes=Text("Which bits are reserved depends on the level, on the CPU's address width, and on EFER.NXE."),
    )


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
        notes="Leave the bits of the error code on the board: P 0, W 1, U 2, RSVD 3, I/D 4, PK 5. The faults are real.",
    )
