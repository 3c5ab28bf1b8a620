"""Trials: thousands of accesses that the guest makes in a row, each under page-table entries of its own.

The guest's side is guest/trial/: a space that holds nothing but the trials, in which every control bit that paging
knows may be chosen. Entries go in and outcomes come out through two batches in shared RAM; while the guest is at one,
the other is filled or read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lab.errors import HostError, UsageError
from lab.kernel.arrays import dtype_of
from lab.memory.ram import map_writable
from lab.x86.address import PhysicalAddress
from lab.x86.levels import KIB, Level

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from lab.machine.machine import Machine, PendingCall
    from lab.x86.state import PagingState

    Numbers = NDArray[np.uint64]

__all__ = ["Trials", "Setting", "Instruction", "Outcomes"]

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
    """All that the cases of a batch have in common.

    Of `state` count CR0.WP, CR4.{PGE,SMEP,SMAP,PKE,PKS}, EFER.NXE, RFLAGS.AC and the key rights, of which IA32_PKRS
    must leave key 0 alone; the rest must be the machine's. `user` is CPL 3, `place` where writes are to land.
    """

    state: PagingState
    instruction: Instruction
    address: int
    user: bool = False
    place: int = 1


class Outcomes(NamedTuple):
    """What became of the cases of a batch, a column each.

    `after` has a row for each level, the root's first. `vector` is `Trials.no_vector` for accesses that succeeded.
    These have in `reached` the physical address of the eight bytes they reached, as those tell themselves, or 0 where
    they reached no place. `code` means something after exceptions; `cr2` keeps what the last page fault left.
    """

    after: Numbers
    reached: Numbers
    cr2: Numbers
    vector: NDArray[np.uint32]
    code: NDArray[np.uint32]


class Trials:
    """The trials of one machine, whose RAM must reach over the beginning of a place: 256 MiB or more.

    `tables` are those that the entries of the cases stand in, and that entries above the leaf should point to.
    `places` are the numbers of the places; `where` says where they are.

    >>> import numpy as np
    >>> from lab.machine.exhaustive import Instruction, Setting
    >>> with Machine(MachineOptions(ram=2 << 30)) as machine, Trials(machine) as trials:
    ...     setting = Setting(state=trials.state, instruction=Instruction.READ, address=trials.address())
    ...     path = [*(trials.tables[level] for level in (3, 2, 1)), trials.where(1, Instruction.READ)]
    ...     trials.begin(setting, np.array(path, np.uint64)[:, None] | 3)
    ...     trials.end().vector == trials.no_vector
    array([ True])

    Entering raises HostError on a machine with too little RAM.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.kernel = machine.kernel
        self.no_vector = self.kernel.constant("LAB_NO_VECTOR")
        self._call: PendingCall | None = None
        self._current = 0
        self._sizes = [0] * self.kernel.constant("TRIAL_BATCHES")

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
        self._batches = tuple(shared["batch"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._batches  # views of what is about to go
        if kind is None:
            self.machine.call("trial_close")
        self._map.close()

    # --------------------------------------------------------------------------------------------------- places ----

    @property
    def levels(self) -> int:
        """How many levels of tables there are."""
        return len(self.tables)

    @property
    def room(self) -> int:
        """How many cases fit in a batch."""
        return self.kernel.constant("TRIAL_CASES")

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

    def begin(self, setting: Setting, entries: Numbers) -> None:
        """Let the guest try cases: `entries` has a row for each level, the root's first, and a column for each case.

        `end` must have been called for the batch before. Raises UsageError for more cases than there is `room` for.
        """
        levels, count = entries.shape
        if levels != self.levels or not 0 < count <= self.room:
            raise UsageError(f"a batch has {self.levels} rows and up to {self.room} columns, not {levels} by {count}")
        batch = self._batches[self._current]
        _fill(batch, setting, self.number(setting.instruction), count)
        batch["cases"]["before"][:count, :levels] = entries[::-1].T
        self._sizes[self._current] = count
        self._call = self.machine.post("trial_run", self._current, timeout=TIMEOUT)

    def end(self) -> Outcomes:
        """Wait for the batch that the guest is at, and take the outcomes out of it.

        Raises UsageError when there is none, or when the guest has refused it: a control that the CPU lacks, a place
        without RAM, an address that the trials themselves live at.
        """
        if self._call is None:
            raise UsageError("no batch is under way; call begin() first")
        accepted = self._call.wait(TIMEOUT).result
        number, self._call = self._current, None
        if not accepted:
            raise UsageError("the guest cannot try this: the CPU lacks a control bit, or place or address are taken")
        self._current = (number + 1) % len(self._batches)
        cases = self._batches[number]["cases"][: self._sizes[number]]
        return Outcomes(
            after=np.ascontiguousarray(cases["after"][:, : self.levels].T[::-1]),
            reached=cases["reached"].copy(),
            cr2=cases["cr2"].copy(),
            vector=cases["vector"].copy(),
            code=cases["error_code"].copy(),
        )


def _fill(batch: np.void, setting: Setting, number: int, count: int) -> None:
    """Write what the cases have in common."""
    state, controls = setting.state, batch["controls"]
    for name in ("cr0", "cr4", "efer", "rflags", "pkru", "pkrs"):
        controls[name] = int(getattr(state, name))
    batch["address"], batch["access"] = setting.address, number
    batch["user"], batch["place"], batch["count"] = setting.user, setting.place, count
