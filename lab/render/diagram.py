"""The walk as a picture has it: the address cut into fields, a hop a level, and what decides; no places, no colours.

It is made from what `lab.walk/1` says, so a picture needs no machine and no snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from lab.texts import Text
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.entry import ADDRESS_MASK, Entry
from lab.x86.levels import Level, size_text
from lab.x86.words import Bit, Field

__all__ = ["Diagram", "Hop", "AddressField", "EntryBit", "walk_diagram", "entry_bits", "entry_kind"]

Data: TypeAlias = Mapping[str, Any]

SHAPES: Mapping[int, tuple[tuple[str, ...], tuple[int, ...]]] = {
    2: (("PD", "PT"), (10, 10)),
    3: (("PDPT", "PD", "PT"), (2, 9, 9)),
    4: (("PML4", "PDPT", "PD", "PT"), (9, 9, 9, 9)),
    5: (("PML5", "PML4", "PDPT", "PD", "PT"), (9, 9, 9, 9, 9)),
}
"""By the number of levels: their names from the root down, and how many bits of the address each takes."""


ACCESSES = {"read": Text("read"), "write": Text("write"), "execute": Text("execute"), "user": Text("user mode")}


class AddressField(NamedTuple):
    """Bits `high` to `low` of the address, what they select, and their digits."""

    name: str
    high: int
    low: int
    value: int
    digits: str


@dataclass(frozen=True, slots=True)
class Hop:
    """One entry on the way: where it is, what it says, and what it decides (denials, or the fault)."""

    level: str
    index: int
    entries: int
    """How many entries its table has."""
    table: PhysicalAddress
    entry_address: PhysicalAddress
    entry: int
    digits: str
    kind: str
    flags: tuple[str, ...]
    leaf: bool
    target: PhysicalAddress | None
    decides: tuple[Text, ...] = ()


class Diagram(NamedTuple):
    """A walk, ready to be drawn. `levels` has those that were not reached, too.

    When mapped, `physical` to `user` are set and `denials` are sentences for what no entry decides (CR4 does); else
    `fault` says why, and `fault_level` where (empty: the address itself is wrong).
    """

    address: VirtualAddress
    symbol: str
    root: PhysicalAddress
    levels: tuple[str, ...]
    fields: tuple[AddressField, ...]
    hops: tuple[Hop, ...]
    physical: PhysicalAddress | None
    page_size: int
    memory_type: str
    supervisor: str
    user: str
    denials: tuple[Text, ...]
    fault: Text
    fault_level: str

    @property
    def frame(self) -> PhysicalAddress | None:
        """The first byte of the page's frame, large or not; None where nothing is mapped."""
        return None if self.physical is None else PhysicalAddress(self.physical & ~(self.page_size - 1))

    @property
    def summary(self) -> str:
        """What the address stands for, in a line."""
        if self.physical is None:
            return f"fault: {self.fault}"
        size = size_text(self.page_size)
        return f"{self.physical}  {size}  {self.memory_type}  supervisor {self.supervisor}  user {self.user}"


class EntryBit(NamedTuple):
    """A bit or field of an entry at one level: its place, its name, and what it says when set."""

    high: int
    low: int
    name: str
    doc: str


def walk_diagram(data: Data) -> Diagram:
    """The picture's facts from a report's `data`.

    >>> from lab.memory import MadeUpSpace
    >>> from lab.snapshot import Registers, Snapshot
    >>> from lab.views import find_view
    >>> space = MadeUpSpace()
    >>> space.map(0x400000, 0x12A000, "r-x")
    >>> snapshot = Snapshot(space.memory, space.state, Registers())
    >>> drawn = walk_diagram(find_view("walk").run(snapshot, {"address": "0x400123"}).data)
    >>> [(field.name, field.digits) for field in drawn.fields[-2:]]
    [('PT', '000000000'), ('offset', '000100100011')]
    >>> drawn.hops[-1].decides
    ('write denied: bit 1 (W)',)
    """
    address = VirtualAddress(int(data["address"], 16))
    names, widths = SHAPES[data["levels"]]
    mapped = data["outcome"] == "mapped"
    fault = {} if mapped else data["fault"]
    denied = data.get("denials", ()) if mapped else ()
    return Diagram(
        address=address,
        symbol=data.get("symbol", ""),
        root=PhysicalAddress(int(data["root"], 16)),
        levels=names,
        fields=_fields(address, names, widths),
        hops=tuple(_hop(step, width, data, denied, fault) for step, width in zip(data["steps"], widths, strict=False)),
        physical=PhysicalAddress(int(data["physical"], 16)) if mapped else None,
        page_size=data["page_size"] if mapped else 0,
        memory_type=data["memory_type"] if mapped else "",
        supervisor=data["access"]["supervisor"],
        user=data["access"]["user"],
        denials=tuple(_denial_text(each) for each in denied if each["level"] is None),
        fault=_fault_text(fault),
        fault_level=fault.get("level") or "",
    )


def _fields(address: VirtualAddress, names: Sequence[str], widths: Sequence[int]) -> tuple[AddressField, ...]:
    """The address cut where the levels cut it, from the top: the bits no level translates, the indices, the offset."""
    bits = 64 if len(names) > 3 else 32
    top = 12 + sum(widths)
    found = [_field(address, "sign", bits, top)] if bits > top else []
    for name, width in zip(names, widths, strict=True):
        found.append(_field(address, name, top, top - width))
        top -= width
    return (*found, _field(address, "offset", top, 0))


def _field(address: int, name: str, end: int, low: int) -> AddressField:
    value = address >> low & (1 << end - low) - 1
    return AddressField(name, end - 1, low, value, f"{value:0{end - low}b}")


def _hop(step: Data, width: int, data: Data, denied: Sequence[Data], fault: Data) -> Hop:
    """One step; `width` bits of the address select it. Where they are ten, entries have four bytes."""
    entry, address = int(step["entry"], 16), PhysicalAddress(int(step["entry_address"], 16))
    level, present = step["level"], bool(entry & 1)
    size = 4 if width == 10 else 8
    decides = [_denial_text(each) for each in denied if each["level"] == level]
    if fault.get("level") == level:
        decides.append(_fault_text(fault))
    return Hop(
        level=level,
        index=step["index"],
        entries=1 << width,
        table=address - size * step["index"],
        entry_address=address,
        entry=entry,
        digits=f"{entry:0{2 * size}x}",
        kind=entry_kind(level, leaf=step["leaf"], present=present),
        flags=tuple(step["flags"]),
        leaf=step["leaf"],
        target=_target(step, data) if present and fault.get("level") != level else None,
        decides=tuple(decides),
    )


def _target(step: Data, data: Data) -> PhysicalAddress:
    """Where an entry points. A leaf of a large page has the PAT bit, and perhaps others, in the place of an address."""
    if step["leaf"] and data["outcome"] == "mapped":
        return PhysicalAddress(int(data["physical"], 16) & ~(data["page_size"] - 1))
    return PhysicalAddress(int(step["entry"], 16) & ADDRESS_MASK)


def _denial_text(denial: Data) -> Text:
    access = ACCESSES.get(denial["access"], Text.verbatim(denial["access"]))
    if denial["level"] is None:
        return Text("{access} denied: {bit} in CR4", {"access": access, "bit": denial["name"]})
    return Text("{access} denied: bit {bit} ({name})", {**denial, "access": access})


def _fault_text(fault: Data) -> Text:
    if not fault:
        return Text()
    if fault["kind"] == "not present":
        return Text("bit {bit} (P) is 0: not present", fault)
    return Text.verbatim(fault["reason"] if fault["bit"] is None else f"bit {fault['bit']} {fault['reason']}")


def entry_kind(level: str, *, leaf: bool, present: bool) -> str:
    """Which of the formats of `entry_bits` an entry has."""
    if not present:
        return "absent"
    return "table" if not leaf else "leaf" if level == Level.PT.name else "large leaf"


def entry_bits(kind: str) -> tuple[EntryBit, ...]:
    """Every bit and field of an entry of that kind, from bit 63 down; what has no name there is left out.

    >>> [bit.name for bit in entry_bits("table")]
    ['NX', 'SW', 'frame', 'SW', 'PS', 'A', 'PCD', 'PWT', 'U', 'W', 'P']
    """
    if kind == "absent":
        everything = EntryBit(63, 1, "software", "all other bits belong to the operating system")
        return (everything, _bit(Entry.present))
    always: list[Bit | Field] = [
        Entry.no_execute,
        Entry.software_high,
        Entry.software,
        Entry.accessed,
        Entry.cache_disable,
    ]
    always += [Entry.write_through, Entry.user, Entry.writable, Entry.present]
    more: dict[str, list[Bit | Field]] = {
        "table": [Entry.page_size],
        "leaf": [Entry.key, Entry.global_, Entry.pat, Entry.dirty],
        "large leaf": [Entry.key, Entry.global_, Entry.page_size, Entry.dirty, Entry.pat_large],
    }
    target = EntryBit(51, 13 if kind == "large leaf" else 12, "frame", "where the entry points: a table or a frame")
    found = [target, *(_bit(each) for each in (*always, *more[kind]))]
    return tuple(sorted(found, key=lambda bit: -bit.high))


def _bit(bit: Bit | Field) -> EntryBit:
    if isinstance(bit, Bit):
        return EntryBit(bit.number, bit.number, bit.name, bit.doc)
    return EntryBit(bit.high, bit.low, bit.name, bit.doc)
