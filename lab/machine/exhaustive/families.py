"""What is checked: families of cases, each a product of entries, control bits and accesses.

A family is one declaration below; adding one needs nothing else. Together they cover every combination of the bits that
have a say at two neighbouring levels, each reserved and each ignored bit at every level, all sizes of pages, every key,
explicit and implicit accesses at both privileges, and addresses at and beyond the edges.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import UsageError
from lab.machine.exhaustive.entries import NX, PS, A, Bits, D, Forms, G, P, U, W
from lab.machine.exhaustive.trials import Instruction, Setting
from lab.x86.levels import MIB, Level
from lab.x86.registers import KeyRights

if TYPE_CHECKING:
    from lab.machine.exhaustive.trials import Trials
    from lab.machine.qemu import MachineOptions
    from lab.x86.state import PagingState

__all__ = ["Family", "Controls", "Way", "Board", "FAMILIES", "find_family"]

PT, PD, PDPT, PML4, PML5 = Level.PT, Level.PD, Level.PDPT, Level.PML4, Level.PML5


# ----------------------------------------------------------------------------------------------------- accesses ----


class Way(NamedTuple):
    """One way to make an access: the instruction, and whether at CPL 3."""

    instruction: Instruction
    user: bool

    def __str__(self) -> str:
        return f"{self.instruction.name.lower().replace('_', ' ')} at CPL {3 if self.user else 0}"


def _ways(*instructions: Instruction) -> tuple[Way, ...]:
    return tuple(Way(instruction, user) for instruction in instructions for user in (False, True))


EXPLICIT = _ways(Instruction.READ, Instruction.WRITE, Instruction.FETCH)
IMPLICIT = _ways(Instruction.LOAD_SEGMENT, Instruction.MARK_SEGMENT)
STACK = _ways(Instruction.READ_STACK)


# ----------------------------------------------------------------------------------------------------- controls ----

OFF, BOTH = (False,), (False, True)
ON = (True,)

IGNORED_KEYS = KeyRights.denying(access=range(1, 16), write=range(1, 16))
"""What a register of key rights holds while nobody obeys it."""


@dataclass(frozen=True, slots=True)
class Controls:
    """Control bits: the product of the values of each. None among the key rights stands for CR4.PKE or PKS clear."""

    wp: Sequence[bool] = ON
    nxe: Sequence[bool] = ON
    smep: Sequence[bool] = OFF
    smap: Sequence[bool] = OFF
    ac: Sequence[bool] = OFF
    pge: Sequence[bool] = OFF
    pkru: Sequence[int | None] = (None,)
    pkrs: Sequence[int | None] = (None,)

    @property
    def count(self) -> int:
        """How many combinations there are."""
        return math.prod(len(getattr(self, axis.name)) for axis in fields(self))

    def states(self, base: PagingState) -> list[PagingState]:
        """A state for each combination, otherwise as `base`."""
        axes = [getattr(self, axis.name) for axis in fields(self)]
        return [_state(base, Controls(*((value,) for value in values))) for values in itertools.product(*axes)]


USUAL_CONTROLS = Controls()


def _state(base: PagingState, controls: Controls) -> PagingState:
    """The state for controls of which each has one value."""
    (wp,), (nxe,), (smep,), (smap,), (ac,) = controls.wp, controls.nxe, controls.smep, controls.smap, controls.ac
    (pge,), (pkru,), (pkrs,) = controls.pge, controls.pkru, controls.pkrs
    return replace(
        base,
        cr0=base.cr0.replace(wp=wp),
        cr4=base.cr4.replace(smep=smep, smap=smap, pge=pge, pke=pkru is not None, pks=pkrs is not None),
        efer=base.efer.replace(nxe=nxe),
        rflags=base.rflags.replace(ac=ac),
        pkru=IGNORED_KEYS if pkru is None else KeyRights(pkru),
        pkrs=IGNORED_KEYS if pkrs is None else KeyRights(pkrs),
    )


def _rights_of(*keys: int) -> tuple[int | None, ...]:
    """No key rights at all, and registers that leave these keys alone, disable access, writing, or both."""
    access, write = KeyRights.denying(access=keys), KeyRights.denying(write=keys)
    return (None, 0, int(access), int(write), int(access | write))


# ------------------------------------------------------------------------------------------------------- boards ----


@dataclass(frozen=True, slots=True)
class Board:
    """A machine to check on: its CPU model, words of the command line, and the levels of its tables.

    RAM reaches into six GiB, of which the guest touches little; so pages of 1 GiB lie below and above the hole for
    devices.
    """

    cpu: str = "max"
    append: tuple[str, ...] = ()
    levels: int = 4

    def options(self, base: MachineOptions) -> MachineOptions:
        """The machine, with the accelerator and the kernel of `base`."""
        return replace(base, cpu=self.cpu, append=(*base.append, *self.append), ram=5376 * MIB)


USUAL = Board()
NARROW, WIDE = Board("max,phys-bits=36"), Board("max,phys-bits=52")
NO_GIB = Board("max,pdpe1gb=off")
AMD, INTEL = Board("max,vendor=AuthenticAMD"), Board("max,vendor=GenuineIntel")
FIVE_LEVELS = Board(append=("la57",), levels=5)


# ----------------------------------------------------------------------------------------------------- families ----


@dataclass(frozen=True)
class Family:
    """Cases of one kind: the product of all forms of entries, states of the control bits, ways, places and addresses.

    `entries` says what the entries of each level can be; levels that are not mentioned let everything pass. Without
    `addresses` accesses go to the usual one.
    """

    name: str
    about: str
    entries: Mapping[Level, Sequence[Bits]] = field(default_factory=dict)
    controls: Controls = USUAL_CONTROLS
    ways: tuple[Way, ...] = EXPLICIT
    board: Board = USUAL
    places: tuple[int, ...] = (1,)
    addresses: tuple[int, ...] = ()

    @cached_property
    def forms(self) -> Forms:
        """All forms of entries."""
        return Forms(self.entries, self.board.levels)

    @property
    def units(self) -> int:
        """How many settings there are, each of which is tried with all forms."""
        return self.controls.count * len(self.ways) * len(self.places) * max(1, len(self.addresses))

    @property
    def cases(self) -> int:
        """How many cases there are."""
        return self.units * len(self.forms)

    def settings(self, trials: Trials) -> Iterator[Setting]:
        """All settings, in an order that never changes."""
        states = self.controls.states(trials.state)
        for place, way in itertools.product(self.places, self.ways):
            addresses = self.addresses or (trials.address(way.instruction),)
            for address, state in itertools.product(addresses, states):
                yield Setting(state=state, instruction=way.instruction, user=way.user, address=address, place=place)


def _each(bits: Iterable[int]) -> tuple[int, ...]:
    """None of these bits, or one of them."""
    return (0, *(1 << bit for bit in bits))


R51, K1, KEY_15 = 1 << 51, 1 << 59, 15 << 59
RIGHTS = W | U | NX

_ALL_OF_AN_ENTRY = P | W | U | A | D | NX | R51 | K1
_RIGHTS_EVERYWHERE = {
    PT: [Bits(P, free=RIGHTS)],
    PD: [Bits(P, free=RIGHTS), Bits(P | PS, free=RIGHTS)],
    PDPT: [Bits(P, free=RIGHTS), Bits(P | PS, free=RIGHTS)],
    PML4: [Bits(P, free=RIGHTS)],
}
_SUPERVISORS = Controls(wp=BOTH, smep=BOTH, smap=BOTH, ac=BOTH)


def _reserved(first: int) -> dict[Level, list[Bits]]:
    """One reserved bit, or none, at each level, where bits 51:`first` are beyond MAXPHYADDR."""
    beyond = range(first, 52)
    return {
        PT: [Bits(W | U, free=P, each=_each(beyond))],
        PD: [Bits(W | U, free=P, each=_each(beyond)), Bits(P | W | PS, each=_each((*range(13, 21), *beyond)))],
        PDPT: [Bits(each=_each(beyond)), Bits(P | W | PS, each=_each((*range(13, 30), *beyond)))],
        PML4: [Bits(each=_each((7, *beyond)))],
    }


_BIT_8 = {
    PT: [Bits(P, free=RIGHTS | G)],
    PD: [Bits(P, free=RIGHTS | G), Bits(P | PS, free=RIGHTS | G)],
    PDPT: [Bits(P, free=W | G), Bits(P | PS, free=RIGHTS | G)],
    PML4: [Bits(0, free=P | W | G)],
}
_SOFTWARE = (9, 10, 11, *range(52, 59))
_IGNORED_IN_TABLES = _each((3, 4, 6, 8, *_SOFTWARE, *range(59, 63)))
_IGNORED_IN_LEAVES = _each((3, 4, 8, *_SOFTWARE, *range(59, 63)))
_NOT_PRESENT = Bits(0, each=(*_each(range(1, 64)), (1 << 64) - 2))
_KEYS = tuple(key << 59 for key in range(16))
_SOME_KEYS = (0, K1, KEY_15)
_KEY_REGISTERS = (
    None,
    0,
    *(int(KeyRights.denying(access=[key])) for key in range(16)),
    *(int(KeyRights.denying(write=[key])) for key in range(16)),
)

EDGES = (0x128, 0x7FFF_FFFF_F128, 0xFFFF_8000_0000_0128, 0xFFFF_FFFF_FFFF_F128)
BEYOND = (0x8000_0000_0128, 0xFFFF_7FFF_FFFF_F128, 0x8000_0000_0000_0128, 0x0123_4567_89AB_C128, 0xFFFF_0000_0000_0128)
EDGES_OF_57 = (0x00FF_FFFF_FFFF_F128, 0xFF00_0000_0000_0128, 0x8000_0000_0128 | 1 << 48, 0xFFFE_7FFF_FFFF_F128)
BEYOND_57 = (0x0100_0000_0000_0128, 0xFEFF_FFFF_FFFF_F128, 0x8055_0000_0000_0128)

FAMILIES: tuple[Family, ...] = (
    Family(
        "pd-pt",
        "every combination of P W U A D PS NX, a reserved bit and a key at PD and PT",
        {
            PT: [Bits(0, free=_ALL_OF_AN_ENTRY | PS)],
            PD: [Bits(0, free=_ALL_OF_AN_ENTRY), Bits(PS, free=_ALL_OF_AN_ENTRY | 1 << 13)],
        },
        Controls(wp=BOTH, nxe=BOTH, smep=BOTH, smap=BOTH, ac=BOTH, pkru=_rights_of(1)),
    ),
    Family(
        "pml4-pdpt",
        "the same at PML4 and PDPT, 1 GiB pages among them",
        {
            PDPT: [Bits(0, free=_ALL_OF_AN_ENTRY & ~D), Bits(PS, free=_ALL_OF_AN_ENTRY, each=(0, 1 << 13, 1 << 29))],
            PML4: [Bits(0, free=(_ALL_OF_AN_ENTRY | PS) & ~D & ~K1)],
        },
        Controls(wp=BOTH, nxe=BOTH, smep=BOTH, smap=BOTH, ac=BOTH, pkru=(None, int(KeyRights.denying(write=[1])))),
    ),
    Family(
        "rights",
        "W U NX at every level at once, pages of all sizes",
        _RIGHTS_EVERYWHERE,
        Controls(wp=BOTH, nxe=BOTH, smep=BOTH, smap=BOTH, ac=BOTH),
        EXPLICIT + IMPLICIT + STACK,
    ),
    Family(
        "implicit",
        "descriptors read and marked by the CPU itself, at CPL 0 and 3",
        {
            PT: [Bits(0, free=P | W | U | A | D | R51 | K1)],
            PD: [Bits(P, free=W | U | A | R51), Bits(PS, free=P | W | U | A | D | R51 | K1)],
        },
        Controls(wp=BOTH, nxe=BOTH, smap=BOTH, ac=BOTH, pkru=_rights_of(1), pkrs=(None, *_rights_of(1)[2:])),
        IMPLICIT,
    ),
    Family(
        "accessed-dirty",
        "A and D at every level, set and clear, under accesses that succeed and that fault",
        {
            PT: [Bits(0, free=P | W | U | A | D)],
            PD: [Bits(P | W | U, free=A | D), Bits(P | PS | U, free=W | A | D)],
            PDPT: [Bits(P | W | U, free=A | D), Bits(P | PS | U, free=W | A | D)],
            PML4: [Bits(P | W, free=U | A | D)],
        },
        Controls(wp=BOTH, smap=BOTH),
        EXPLICIT + IMPLICIT + STACK,
    ),
    Family(
        "keys",
        "each of the 16 keys, disabled in PKRU one by one, on pages of all sizes",
        {
            PT: [Bits(P | A, free=W | U, each=_KEYS)],
            PD: [Bits(each=(0, KEY_15)), Bits(P | PS | A, free=W | U, each=_KEYS)],
            PDPT: [Bits(each=(0, KEY_15)), Bits(P | PS | A, free=W | U, each=_KEYS)],
        },
        Controls(wp=BOTH, smap=BOTH, ac=BOTH, pkru=_KEY_REGISTERS),
    ),
    Family(
        "supervisor-keys",
        "PKRU and IA32_PKRS together",
        {
            PT: [Bits(P, free=W | U | A | D, each=_SOME_KEYS)],
            PD: [Bits(P, free=W | U), Bits(P | PS, free=W | U | D, each=_SOME_KEYS)],
            PDPT: [Bits(P, free=W | U), Bits(P | PS, free=W | U | D, each=_SOME_KEYS)],
        },
        Controls(wp=BOTH, smap=BOTH, ac=BOTH, pkru=_rights_of(1, 15), pkrs=(*_rights_of(1, 15), *_rights_of(1)[2:])),
        EXPLICIT + IMPLICIT,
    ),
    Family(
        "reserved",
        "each reserved bit at every level, alone and together with those of other levels and with P=0",
        _reserved(40),
        Controls(wp=BOTH, smep=BOTH),
    ),
    Family(
        "ignored",
        "each bit that the CPU must ignore, at every level; global pages",
        {
            PT: [Bits(P | U | A, free=W, each=(*_IGNORED_IN_LEAVES, PS))],
            PD: [Bits(each=_IGNORED_IN_TABLES), Bits(P | U | PS, free=W, each=(*_IGNORED_IN_LEAVES, 1 << 12))],
            PDPT: [Bits(each=_IGNORED_IN_TABLES), Bits(P | U | PS, free=W, each=(*_IGNORED_IN_LEAVES, 1 << 12))],
            PML4: [Bits(each=_IGNORED_IN_TABLES)],
        },
        Controls(pge=BOTH),
    ),
    Family(
        "not-present",
        "P=0 with each other bit set, and with all of them, at every level",
        {level: [Bits(), _NOT_PRESENT] for level in (PT, PD, PDPT, PML4)},
        Controls(wp=BOTH, nxe=BOTH, smep=BOTH, smap=BOTH, pkru=(None, int(IGNORED_KEYS))),
        EXPLICIT + IMPLICIT + STACK,
    ),
    Family(
        "places",
        "pages of all sizes in six GiB of RAM, below and above the hole for devices",
        _RIGHTS_EVERYWHERE,
        Controls(wp=BOTH, smep=BOTH),
        EXPLICIT + IMPLICIT + STACK,
        places=(0, 1, 2, 4, 5),
    ),
    Family(
        "edges",
        "the first and last addresses of both halves",
        {PT: [Bits(0, free=P | RIGHTS | A | D)]},
        _SUPERVISORS,
        EXPLICIT + IMPLICIT + STACK,
        addresses=EDGES,
    ),
    Family(
        "not-canonical",
        "addresses that are none: no page fault, whatever the entries say",
        {PT: [Bits(0, free=P | RIGHTS)], PML4: [Bits(0, free=P | RIGHTS)]},
        _SUPERVISORS,
        EXPLICIT + STACK,
        addresses=BEYOND,
    ),
    Family(
        "phys-bits-36",
        "reserved bits of a CPU with 36 physical address bits",
        _reserved(36),
        board=NARROW,
    ),
    Family(
        "phys-bits-52",
        "a CPU with 52 physical address bits, which has none reserved beyond them",
        {**_reserved(52), PT: [Bits(0, free=P | RIGHTS | A | D)]},
        Controls(wp=BOTH, nxe=BOTH, smap=BOTH),
        board=WIDE,
    ),
    Family(
        "no-1g-pages",
        "PS at PDPT on a CPU without 1 GiB pages",
        {
            PDPT: [Bits(0, free=P | RIGHTS | A), Bits(PS, free=P | RIGHTS | A | D, each=(0, R51, 1 << 13, 1 << 29))],
            PML4: [Bits(P, free=RIGHTS | A)],
        },
        Controls(wp=BOTH, smap=BOTH, ac=BOTH),
        board=NO_GIB,
    ),
    Family("amd", "bit 8 at every level on a CPU of AMD's", _BIT_8, Controls(wp=BOTH, pge=BOTH), board=AMD),
    Family("intel", "bit 8 at every level on a CPU of Intel's", _BIT_8, Controls(wp=BOTH, pge=BOTH), board=INTEL),
    Family(
        "la57-pml5-pml4",
        "five levels: every combination of P W U A D PS NX and a reserved bit at PML5 and PML4",
        {
            PML4: [Bits(0, free=(_ALL_OF_AN_ENTRY | PS) & ~K1)],
            PML5: [Bits(0, free=(_ALL_OF_AN_ENTRY | PS) & ~K1)],
        },
        Controls(wp=BOTH, nxe=BOTH, smep=BOTH, smap=BOTH),
        board=FIVE_LEVELS,
    ),
    Family(
        "la57-rights",
        "five levels: W U NX at every level at once, pages of all sizes",
        {**_RIGHTS_EVERYWHERE, PML5: [Bits(P, free=RIGHTS)]},
        Controls(wp=BOTH, smep=BOTH, smap=BOTH),
        EXPLICIT + IMPLICIT,
        board=FIVE_LEVELS,
    ),
    Family(
        "la57-bits",
        "five levels: each reserved and each ignored bit at PML5 and PML4",
        {
            PT: [Bits(0, free=P | W | U)],
            PML4: [Bits(each=(*_IGNORED_IN_TABLES, *_each((7, *range(40, 52))))), _NOT_PRESENT],
            PML5: [Bits(each=(*_IGNORED_IN_TABLES, *_each((7, *range(40, 52))))), _NOT_PRESENT],
        },
        Controls(wp=BOTH, nxe=BOTH),
        EXPLICIT + IMPLICIT + STACK,
        board=FIVE_LEVELS,
    ),
    Family(
        "la57-edges",
        "five levels: the edges of 57-bit addresses, and addresses that only five levels can reach",
        {PT: [Bits(0, free=P | RIGHTS | A | D)]},
        _SUPERVISORS,
        EXPLICIT + IMPLICIT + STACK,
        board=FIVE_LEVELS,
        addresses=EDGES_OF_57,
    ),
    Family(
        "la57-not-canonical",
        "five levels: addresses that are none even so",
        {PT: [Bits(0, free=P | RIGHTS)], PML5: [Bits(0, free=P | RIGHTS)]},
        _SUPERVISORS,
        EXPLICIT + STACK,
        board=FIVE_LEVELS,
        addresses=BEYOND_57,
    ),
)


def find_family(name: str) -> Family:
    """The family of that name; UsageError with the nearest spellings when there is none."""
    found = {family.name: family for family in FAMILIES}
    if name not in found:
        near = difflib.get_close_matches(name, found, n=3)
        raise UsageError(f"there is no family {name!r}; {_or(near) or 'lab exhaustive --list shows them all'}")
    return found[name]


def _or(names: Sequence[str]) -> str:
    return f"did you mean {' or '.join(names)}?" if names else ""
