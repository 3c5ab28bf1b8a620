"""Physical memory as the guest keeps books on it: the PFN database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import LabError
from lab.x86.address import PhysicalAddress, VirtualAddress

if TYPE_CHECKING:
    from lab.kernel.objects import Guest, StructView

__all__ = [
    "Frames",
    "FrameBank",
    "FrameRecord",
    "FrameRun",
    "read_frames",
    "read_frame",
    "frame_runs",
    "frame_use",
    "USE_NAMES",
]

PAGE = 4096

USE_NAMES = {
    "kernel": "kernel image",
    "table": "page tables",
    "pfn db": "PFN database",
    "stack": "kernel stacks",
    "pool": "nonpaged pool",
    "pool nx": "nonpaged pool NX",
    "mdl": "pages of MDLs",
    "system": "system pages",
    "driver": "driver images",
    "user": "user pages",
    "contiguous": "contiguous memory",
    "non cached": "non-cached memory",
    "locked": "freed, still locked",
}
"""Longer words for what `enum frame_use` names, where they help."""


@dataclass(frozen=True)
class FrameBank:
    """A run of RAM: frame numbers from `first` up to, not including, `end`; `firmware`: never handed out."""

    first: int
    end: int
    firmware: bool
    locations: Mapping[str, int]
    uses: Mapping[str, int]

    @property
    def count(self) -> int:
        """Frames in the bank."""
        return self.end - self.first


@dataclass(frozen=True)
class Frames:
    """How many frames are in which state, and what the active ones serve; each bank and, as properties, in all."""

    banks: tuple[FrameBank, ...]
    problems: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Frames of RAM in all."""
        return sum(bank.count for bank in self.banks)

    @property
    def locations(self) -> dict[str, int]:
        """Frames by state: Zeroed, Free, Active and others."""
        return _sum(bank.locations for bank in self.banks)

    @property
    def uses(self) -> dict[str, int]:
        """Active frames by what they serve: kernel, table, pool and others."""
        return _sum(bank.uses for bank in self.banks)


class FrameRecord(NamedTuple):
    """One MMPFN.

    `use` is what an active frame serves, empty for others. `pte_address` is the self-map address of the entry that
    maps the frame, 0 when none or several do; `pte_frame` is the table which that entry is in. A frame whose record
    has not been needed yet is Free, and all else is 0.
    """

    frame: int
    record: VirtualAddress
    location: str
    use: str
    reference_count: int
    share_count: int
    pte_address: int
    pte_frame: int
    modified: bool
    original_pte: int
    used_entries: int

    @property
    def physical(self) -> PhysicalAddress:
        """The first address of the frame."""
        return PhysicalAddress.from_frame(self.frame)

    @property
    def is_active(self) -> bool:
        """Whether somebody uses the frame."""
        return self.location == "Active"


@dataclass(frozen=True)
class FrameRun:
    """`count` frames from `first` on in one state; `use` is what active ones serve, empty for others."""

    first: int
    count: int
    location: str
    use: str


def read_frames(guest: Guest) -> Frames:
    """Count the frames of every bank; what cannot be read is in `problems`."""
    problems: list[str] = []
    banks = []
    try:
        for first, end, firmware in _ranges(guest):
            banks.append(_bank(guest, first, end, firmware, problems))
    except LabError as error:
        problems.append(str(error))
    return Frames(tuple(banks), tuple(problems))


def read_frame(guest: Guest, frame: int) -> FrameRecord:
    """The record of one frame; LabError when the guest has no such RAM."""
    bank = next((each for each in _ranges(guest) if each.first <= frame < each.end), None)
    if bank is None:
        raise LabError(f"frame {frame:#x} is not RAM of this guest; `lab frames` shows what is")
    if not _written(guest)[frame // guest.kernel.constant("FRAMES_PER_SECTION")]:
        record = VirtualAddress(_record_address(guest, frame))
        state = ("Active", "firmware") if bank.firmware else ("Free", "")
        return FrameRecord(frame, record, *state, 0, 0, 0, 0, False, 0, 0)
    return _record(guest, frame, guest.struct("_MMPFN", _record_address(guest, frame)))


def frame_runs(guest: Guest) -> Iterator[FrameRun]:
    """Every frame of RAM in runs of one state, by number; LabError where the records cannot be read."""
    for bank in _ranges(guest):
        for low, high, written in _sections(guest, bank.first, bank.end):
            if not written:
                yield FrameRun(low, high - low, *(("Active", "firmware") if bank.firmware else ("Free", "")))
                continue
            first = low
            for state, run in groupby(_states(guest, low, high)):
                count = sum(1 for _ in run)
                yield FrameRun(first, count, *_names(guest, state))
                first += count


def frame_use(guest: Guest, frame: int) -> str:
    """What an active frame serves, "" when that cannot be told."""
    try:
        found = read_frame(guest, frame)
    except LabError:
        return ""
    return found.use if found.is_active else ""


class _Range(NamedTuple):
    first: int
    end: int
    firmware: bool


def _ranges(guest: Guest) -> list[_Range]:
    """The guest's own list of RAM."""
    memory_map = guest.variable("memory_map")
    entries = memory_map.structs("range")
    if memory_map["count"] > len(entries):
        raise LabError(f"the guest's memory map is damaged: it claims {memory_map['count']} ranges of RAM")
    found = [_Range(each["first"], each["end"], bool(each["firmware"])) for each in entries[: memory_map["count"]]]
    wrong = next((each for each in found if not each.first < each.end <= 1 << 40), None)
    if wrong is not None:
        raise LabError(f"the guest's memory map is damaged: frames {wrong.first:#x} to {wrong.end:#x}")
    return found


def _record_address(guest: Guest, frame: int) -> int:
    return guest.kernel.constant("PFN_DATABASE") + frame * guest.kernel.structure("_MMPFN").size


def _written(guest: Guest) -> bytes:
    """A byte for each section of frames: whether its records have been written. They are when first needed."""
    symbol = guest.kernel.symbol("frame_sections")
    return guest.read(symbol.address, symbol.size)


def _sections(guest: Guest, first: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """The sections that frames from `first` to `end` lie in, cut to these: first, end, and whether it has records."""
    size = guest.kernel.constant("FRAMES_PER_SECTION")
    for section, written in enumerate(_written(guest)[first // size : -(-end // size)], first // size):
        yield max(first, section * size), min(end, (section + 1) * size), bool(written)


def _bank(guest: Guest, first: int, end: int, firmware: bool, problems: list[str]) -> FrameBank:
    """Count section by section."""
    locations: Counter[str] = Counter()
    uses: Counter[str] = Counter()
    for low, high, written in _sections(guest, first, end):
        if not written:
            locations["Active" if firmware else "Free"] += high - low
            uses["firmware"] += high - low if firmware else 0
            continue
        try:
            _count(guest, low, high, locations, uses)
        except LabError as error:
            problems.append(f"the records of frames {low:#x} to {high - 1:#x} cannot be read: {error}")
    return FrameBank(first, end, firmware, dict(+locations), dict(+uses))


def _states(guest: Guest, first: int, end: int) -> Sequence[int]:
    """The two bytes that matter, for each record: its flags, and above them what an active frame serves.

    Picked out of all records at once: 2 GiB of RAM have half a million.
    """
    structure = guest.kernel.structure("_MMPFN")
    flags = guest.kernel.structure(structure.field("u3").type.tag).field("e1").offset + structure.field("u3").offset
    data = guest.read(_record_address(guest, first), (end - first) * structure.size)
    states = bytearray(2 * (end - first))
    states[0::2] = data[flags + 1 :: structure.size]
    states[1::2] = data[structure.field("u4").offset + 7 :: structure.size]
    return memoryview(states).cast("H")


def _count(guest: Guest, first: int, end: int, locations: Counter[str], uses: Counter[str]) -> None:
    for state, count in Counter(_states(guest, first, end)).items():
        location, use = _names(guest, state)
        locations[location] += count
        if use:
            uses[use] += count


def _names(guest: Guest, state: int) -> tuple[str, str]:
    """Where a frame is and what it serves, of one of `_states`."""
    location = _location(guest, (state & 0xFF) << 8)
    return location, _use(guest, state >> 8 << 56) if location == "Active" else ""


def _record(guest: Guest, frame: int, pfn: StructView) -> FrameRecord:
    location = _location(guest, pfn["u3.e1"])
    on_list = location in {"Zeroed", "Free"}
    return FrameRecord(
        frame=frame,
        record=pfn.address,
        location=location,
        use=_use(guest, pfn["u4"]) if location == "Active" else "",
        reference_count=pfn["u3.ReferenceCount"],
        share_count=0 if on_list else pfn["u2"],
        pte_address=pfn["PteAddress"],
        pte_frame=pfn["u4"] & (1 << 52) - 1,
        modified=bool(pfn["u3.e1"] & guest.kernel.constant("PFN_E1_MODIFIED")),
        original_pte=pfn["OriginalPte"],
        used_entries=pfn["u3.UsedPageTableEntries"],
    )


def _location(guest: Guest, e1: int) -> str:
    kernel = guest.kernel
    value = (e1 & kernel.constant("PFN_E1_LOCATION_MASK")) >> kernel.constant("PFN_E1_LOCATION_SHIFT")
    name = kernel.enum("page_location").name_of(value).removeprefix("PAGE_")
    return "".join(word.capitalize() for word in name.split("_"))


def _use(guest: Guest, u4: int) -> str:
    name = guest.kernel.enum("frame_use").name_of(u4 >> guest.kernel.constant("PFN_USE_SHIFT"))
    return name.removeprefix("FRAME_").lower().replace("_", " ")


def _sum(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(total.most_common())
