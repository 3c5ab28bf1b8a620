"""Trials: thousands of accesses that the guest makes in a row, each under page-table entries of its own.

The guest's side is guest/trial/: a space that holds nothing but the trials, in which every control bit that paging
knows may be chosen. Entries go in and outcomes come out through an array in shared RAM.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lab.errors import HostError, UsageError
from lab.kernel.arrays import dtype_of
from lab.memory.ram import map_writable
from lab.x86.address import PhysicalAddress
from lab.x86.levels import KIB, Level

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from lab.machine.machine import Machine, PendingCall
    from lab.x86.state import PagingState

    Numbers = NDArray[np.uint64]

__all__ = ["Trials", "Batch", "Setting", "Instruction", "Outcomes"]

OFFSET = 0x128
"""Where in the page the accesses go; any multiple of 8 does."""

TIMEOUT = 60.0


class Instruction(Enum):
    """What makes an access: the guest's `enum trial_access`, where the instructions stand."""

    READ = auto()
    WRITE = auto()
    FETCH = auto()
    READ_STACK = auto()
    LOAD_SEGMENT = auto()
    MARK_SEGMENT = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """All that the cases of a group have in common.

    Of `state` count CR0.WP, CR4.{PGE,SMEP,SMAP,PKE,PKS}, EFER.NXE, RFLAGS.AC and the key rights, of which IA32_PKRS
    must leave key 0 alone; the rest must be the machine's. `user` is CPL 3, `place` where writes are to land.
    """

    state: PagingState
    instruction: Instruction
    address: int
    user: bool = False
    place: int = 1


class Batch(NamedTuple):
    """Cases to be tried together: `settings`, which of them (ascending) each case has, and the entries of each case.

    `entries` has a row for each level, the root's first, and a column for each case.
    """

    settings: tuple[Setting, ...]
    which: NDArray[np.intp]
    entries: Numbers

    @classmethod
    def of(cls, *groups: tuple[Setting, Numbers]) -> Batch:
        """The cases of some groups, each a setting and the entries to try under it.

        >>> from lab.x86 import PagingState
        >>> setting = Setting(state=PagingState(), instruction=Instruction.READ, address=0)
        >>> Batch.of((setting, np.zeros((4, 2), np.uint64)), (setting, np.zeros((4, 1), np.uint64))).which.tolist()
        [0, 0, 1]
        """
        counts = [entries.shape[1] for _, entries in groups]
        return cls(
            tuple(setting for setting, _ in groups),
            np.repeat(np.arange(len(groups)), counts),
            np.hstack([entries for _, entries in groups]),
        )

    def __len__(self) -> int:
        return len(self.which)

    def at(self, rows: NDArray[np.intp]) -> Batch:
        """Some of the cases."""
        return Batch(self.settings, self.which[rows], self.entries[:, rows])

    def column(self, values: Sequence[int], dtype: type[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
        """One value for each setting as one for each case, or as a single one where all are equal."""
        if len(set(values)) == 1:
            return np.array(values[:1], dtype)
        return np.array(values, dtype)[self.which]


class Outcomes(NamedTuple):
    """What became of each case.

    `after` has a row for each level, the root's first. `vector` is `Trials.no_vector` for accesses that succeeded.
    These have in `reached` the physical address of the eight bytes they reached, as those tell themselves, or 0 where
    they reached no place. `code` means something after exceptions; `cr2` keeps what the last page fault left.
    """

    after: Numbers
    reached: Numbers
    cr2: Numbers
    vector: NDArray[np.uint32]
    code: NDArray[np.uint32]

    def at(self, rows: NDArray[np.intp]) -> Outcomes:
        """Those of some cases."""
        return Outcomes(self.after[:, rows], self.reached[rows], self.cr2[rows], self.vector[rows], self.code[rows])


class Trials:
    """The trials of one machine, whose RAM must reach over the beginning of a place: 256 MiB or more.

    `tables` are those that the entries of the cases stand in, and that entries above the leaf should point to.
    `places` are the numbers of the places; `where` says where they are.

    >>> import numpy as np
    >>> from lab.machine.exhaustive import Batch, Instruction, Setting
    >>> with Machine(MachineOptions(ram=2 << 30)) as machine, Trials(machine) as trials:
    ...     setting = Setting(state=trials.state, instruction=Instruction.READ, address=trials.address())
    ...     path = [*(trials.tables[level] for level in (3, 2, 1)), trials.where(1, Instruction.READ)]
    ...     trials.begin(Batch.of((setting, np.array(path, np.uint64)[:, None] | 3)))
    ...     trials.end().vector == trials.no_vector
    array([ True])

    Entering raises HostError on a machine with too little RAM.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.kernel = machine.kernel
        self.no_vector = self.kernel.constant("LAB_NO_VECTOR")
        self._call: PendingCall | None = None
        self._count = 0

    # ------------------------------------------------------------------------------------------------- lifetime ----

    def __enter__(self) -> Self:
        machine = self.machine
        at = machine.call("trial_open").result
        if not at:
            raise HostError("this machine has too little RAM for trials; start it with 256M or more")
        layout = dtype_of(self.kernel, "trials")
        physical = PhysicalAddress(machine.call("MmGetPhysicalAddress", at).result)
        self._map, start = map_writable(machine.qemu.ram, machine.memory.banks, physical, layout.itemsize)
        shared = np.frombuffer(self._map, dtype=layout, count=1, offset=start)[0]
        self.state = machine.paging_state()
        self.tables = {
            Level(number): PhysicalAddress(int(table)) for number, table in enumerate(shared["table"], 1) if table
        }
        self._places = {number: int(place) for number, place in enumerate(shared["place"]) if place}
        self._shared = shared
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._shared  # a view of what is about to go
        if kind is None:
            self.machine.call("trial_close")
        self._map.close()

    # --------------------------------------------------------------------------------------------------- places ----

    @property
    def levels(self) -> int:
        """How many levels of tables there are."""
        return len(self.tables)

    @cached_property
    def room(self) -> int:
        """How many cases fit in a batch."""
        return self.kernel.constant("TRIAL_CASES")

    @cached_property
    def most_groups(self) -> int:
        """How many settings the cases of a batch may have."""
        return self.kernel.constant("TRIAL_GROUPS")

    @property
    def places(self) -> tuple[int, ...]:
        """The numbers of the places that there are, each that of its GiB of RAM."""
        return tuple(self._places)

    def address(self, instruction: Instruction = Instruction.READ) -> int:
        """The usual address for an access by this instruction: the index is another one at each level."""
        high = self.kernel.constant("TRIAL_ADDRESS_HIGH") if self.levels == Level.PML5 else 0
        return high | self.kernel.constant("TRIAL_ADDRESS") + self._page(instruction) + OFFSET

    def where(self, place: int, instruction: Instruction, size: int = 4 * KIB) -> PhysicalAddress:
        """The frame, or the beginning of the large page, by which `address` leads to a place."""
        return PhysicalAddress(self._places[place] + self._page(instruction) & -size)

    def word(self, place: int, instruction: Instruction) -> int:
        """The physical address of the eight bytes that an access at `address` reaches there."""
        return self._places[place] + self._page(instruction) + OFFSET

    def is_word(self, physical: Numbers, instruction: Instruction) -> NDArray[np.bool_]:
        """For which of these physical addresses there are eight bytes that tell theirs to this instruction."""
        words = [self.word(place, instruction) for place in self._places]
        return np.isin(physical, np.array(words, np.uint64))

    def _page(self, instruction: Instruction) -> int:
        return self.number(instruction) * 4 * KIB

    def number(self, instruction: Instruction) -> int:
        """The guest's number of an instruction."""
        return self.kernel.constant(f"TRIAL_{instruction.name}")

    # --------------------------------------------------------------------------------------------------- trying ----

    def begin(self, batch: Batch) -> None:
        """Let the guest try some cases. `end` must have been called for those before.

        Raises UsageError for more cases or settings than there is room for.
        """
        levels, count = batch.entries.shape
        if levels != self.levels or not 0 < count <= self.room or len(batch.settings) > self.most_groups:
            limits = f"{self.levels} rows of entries, up to {self.room} cases and {self.most_groups} settings"
            raise UsageError(f"a batch has {limits}, not {levels}, {count} and {len(batch.settings)}")
        self._shared["groups"] = len(batch.settings)
        counts = np.bincount(batch.which, minlength=len(batch.settings))
        for number, setting in enumerate(batch.settings):
            _fill(self._shared["group"][number], setting, self.number(setting.instruction), counts[number])
        self._shared["cases"]["before"][:count, :levels] = batch.entries[::-1].T
        self._count = count
        self._call = self.machine.post("trial_run", timeout=TIMEOUT)

    def end(self) -> Outcomes:
        """Wait for the cases that the guest is at, and take their outcomes.

        Raises UsageError when there is none, or when the guest has refused it: a control that the CPU lacks, a place
        without RAM, an address that the trials themselves live at.
        """
        if self._call is None:
            raise UsageError("no batch is under way; call begin() first")
        accepted = self._call.wait(TIMEOUT).result
        self._call = None
        if not accepted:
            raise UsageError("the guest cannot try this: the CPU lacks a control bit, or place or address are taken")
        cases = self._shared["cases"][: self._count]
        return Outcomes(
            after=np.stack([cases["after"][:, number] for number in range(self.levels - 1, -1, -1)]),
            reached=cases["reached"].copy(),
            cr2=cases["cr2"].copy(),
            vector=cases["vector"].copy(),
            code=cases["error_code"].copy(),
        )


def _fill(group: np.void, setting: Setting, number: int, count: int) -> None:
    """Write what the cases of a group have in common."""
    state, controls = setting.state, group["controls"]
    for name in ("cr0", "cr4", "efer", "rflags", "pkru", "pkrs"):
        controls[name] = int(getattr(state, name))
    group["address"], group["access"] = setting.address, number
    group["user"], group["place"], group["count"] = setting.user, setting.place, count
