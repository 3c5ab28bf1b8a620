r"""Recordings: a Timeline as one file, `NAME.lab`, that any computer with the lab can look into.

::

    offset  bytes
         0      8  89 4c 41 42 0d 0a 1a 0a    \x89LAB, and what a transfer as text would spoil
         8      4  version of the format
        12      8  bytes of the body
        20      8  bytes of the body that are the first stream; the second is all behind it
        28      8  bytes of the first stream unpacked
        36      8  bytes of the second stream unpacked
        44     32  SHA-256 of everything before and behind it
        76         the body: two raw LZMA2 streams

All numbers are little-endian. The first stream begins with the length of a JSON object, as eight bytes; behind that
object, and in the second stream, are pages of 4096 bytes: in the second those that are arrays of 48-byte records, as
the PFN database is, which pack ten times as well under a delta filter. A page that a frame did not hold first is the
exclusive or with what it held before. Pages are numbered through both streams, and kept once.

What a file says is not trusted: it is checked against its types, and what it unpacks to is bounded, and so is what the
moments made of it hold. What is written is held to the same bounds.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lab.errors import LabError, UsageError
from lab.kernel.image import (
    IMAGES,
    Enumeration,
    Export,
    KernelImage,
    Section,
    Segment,
    Structure,
    Symbol,
    Type,
)
from lab.memory import Bank
from lab.memory.paged import PAGE_SIZE
from lab.scenarios.step import Step
from lab.snapshot import Registers
from lab.texts import Text
from lab.timeline.codec import BadData, check, decode, encode
from lab.timeline.timeline import Moment, Timeline
from lab.x86.address import PhysicalAddress
from lab.x86.state import PagingState

__all__ = ["read", "write", "shipped", "Place", "to_bytes", "from_bytes"]

MAGIC = b"\x89LAB\r\n\x1a\n"
VERSION = 2
HEADER = struct.Struct("<8sIQQQQ")
DIGEST = 32
LENGTH = struct.Struct("<Q")

RECORD = 48
"""Bytes of a record of the PFN database, as on 64-bit Windows."""

LARGEST = 256 << 20
"""Bytes that a recording may unpack to, and that the pages of all its moments may have together."""

LARGEST_FACTS = 32 << 20
"""Bytes of the JSON object, of which Python makes many times as much; those of the lab have less than 1 MiB."""

LARGEST_TYPE = 16 << 20
"""Bytes of the largest structure or variable that a recorded kernel may claim to have."""

_LZMA2 = {"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 8 << 20}
CODE_FILTERS = [{"id": lzma.FILTER_X86}, _LZMA2]
RECORD_FILTERS = [{"id": lzma.FILTER_DELTA, "dist": RECORD}, _LZMA2]

_PLACE = re.compile(r"(?P<file>.+?)(?:@(?P<first>[0-9]{1,9})(?:\.\.(?P<last>[0-9]{1,9}))?)?")

_NONSENSE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What plain Python raises for data of another shape than expected."""


class Place(NamedTuple):
    """A file, and perhaps a moment or two in it: what `--from` takes.

    >>> Place.parse("remap.lab@3")
    Place(path=PosixPath('remap.lab'), first=3, last=None)
    >>> Place.parse("remap.lab@3..7")[1:]
    (3, 7)
    """

    path: Path
    first: int | None = None
    last: int | None = None

    @classmethod
    def parse(cls, text: str) -> Place:
        """Take apart FILE, FILE@N or FILE@N..M; UsageError for an empty name."""
        match = _PLACE.fullmatch(text)
        if match is None:
            raise UsageError("a recording is FILE.lab, or FILE.lab@N for one of its moments")
        first, last = (None if match[name] is None else int(match[name]) for name in ("first", "last"))
        return cls(Path(match["file"]), first, last)


def shipped(scenario: str) -> Path:
    """Where the recording of a scenario is that comes with the lab."""
    return IMAGES / "recordings" / f"{scenario}.lab"


def write(timeline: Timeline, path: Path) -> None:
    """Write a Timeline to a file; UsageError when that cannot be."""
    data = to_bytes(timeline)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; give a file in a folder you may write to") from error


def read(path: Path) -> Timeline:
    """Read the Timeline that `write` wrote.

    Raises UsageError when there is no such file, and LabError when it is no recording, is damaged, or was made by a
    newer version of the lab.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEADER.size + DIGEST)
            size = _body_size(head, str(path))
            data = head + file.read(size + 1)
    except OSError as error:
        hint = "`make recordings` makes those of the lab" if path.parent == shipped("").parent else "is that its name?"
        raise UsageError(f"cannot read the recording {path}: {error.strerror}; {hint}") from error
    return from_bytes(data, str(path))


# ------------------------------------------------------------------------------------------------------ writing ----


def to_bytes(timeline: Timeline) -> bytes:
    """A Timeline as the content of a file: the same bytes for the same moments."""
    too_much = f"{timeline.scenario} changed too much memory for a recording; use a machine with less --ram"
    if sum(len(moment.pages) for moment in timeline) * PAGE_SIZE > LARGEST:
        raise LabError(too_much)
    pages = _Pages()
    moments = [_moment_data(moment, pages.add(moment.pages)) for moment in timeline]
    facts = {
        "scenario": timeline.scenario,
        "title": encode(Text, timeline.title),
        "outcome": timeline.outcome,
        "message": timeline.message,
        "banks": [[int(bank.start), bank.size] for bank in timeline.banks],
        "kernel": timeline.kernel and dict(timeline.kernel.record),
        "sources": dict(timeline.sources),
        "moments": moments,
        "pages": [len(pages.others), len(pages.records)],
    }
    text = json.dumps(facts, separators=(",", ":"), ensure_ascii=False).encode()
    streams = LENGTH.pack(len(text)) + text + b"".join(pages.others), b"".join(pages.records)
    if len(text) > LARGEST_FACTS:
        raise LabError(f"{timeline.scenario} has too many moments for a recording")
    if max(map(len, streams)) > LARGEST:
        raise LabError(too_much)
    first, second = (_pack(each, kind) for each, kind in zip(streams, (CODE_FILTERS, RECORD_FILTERS), strict=True))
    head = HEADER.pack(MAGIC, VERSION, len(first) + len(second), len(first), *map(len, streams))
    return head + hashlib.sha256(head + first + second).digest() + first + second


def _pack(data: bytes, filters: list[dict[str, Any]]) -> bytes:
    return lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


def _moment_data(moment: Moment, pages: list[list[int]]) -> dict[str, Any]:
    return {
        "step": encode(Step, moment.step),
        "registers": encode(Registers, moment.registers),
        "state": encode(PagingState, moment.state),
        "console": moment.console,
        "pages": pages,
    }


class _Pages:
    """Pages to be written, each content once: those that are arrays of records, and the others."""

    def __init__(self) -> None:
        self.others: list[bytes] = []
        self.records: list[bytes] = []
        self._places: dict[bytes, int] = {}
        self._held: dict[int, bytes] = {}

    def add(self, pages: Mapping[int, bytes]) -> list[list[int]]:
        """Take the pages of the next moment: frames and places, the records' places counted down from -1."""
        frames = sorted(pages)
        return [frames, [self._place(frame, pages[frame]) for frame in frames]]

    def _place(self, frame: int, page: bytes) -> int:
        before = self._held.get(frame)
        self._held[frame] = page
        kept = page if before is None else _xor(page, before)
        if kept not in self._places:
            is_records = before is None and _is_records(kept)
            chosen = self.records if is_records else self.others
            self._places[kept] = -1 - len(chosen) if is_records else len(chosen)
            chosen.append(kept)
        return self._places[kept]


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "little") ^ int.from_bytes(other, "little")).to_bytes(PAGE_SIZE, "little")


def _is_records(page: bytes) -> bool:
    """Whether most bytes are what they were a record earlier, although most are not zero."""
    return (
        page.count(0) < 15 * PAGE_SIZE // 16 and _xor(page[RECORD:] + page[:RECORD], page).count(0) > PAGE_SIZE * 3 // 4
    )


# ------------------------------------------------------------------------------------------------------ reading ----


def from_bytes(data: bytes, name: str = "this") -> Timeline:
    """The Timeline whose file has this content; LabError, with the file's name in it, when it is not a sound one."""
    size = _body_size(data, name)
    head, digest, body = data[: HEADER.size], data[HEADER.size : HEADER.size + DIGEST], data[HEADER.size + DIGEST :]
    if len(body) < size:
        raise LabError(f"the recording {name} is cut off: {size - len(body)} bytes are missing; copy it again")
    if hashlib.sha256(head + body).digest() != digest:
        raise _damaged(name, "its checksum does not fit")
    try:
        return _timeline(head, body)
    except (BadData, LabError) as error:
        raise _damaged(name, str(error)) from error
    except (*_NONSENSE, struct.error, lzma.LZMAError) as error:
        raise _damaged(name, f"{type(error).__name__}: {error}") from error


def _body_size(data: bytes, name: str) -> int:
    """How many bytes follow the head of a file; LabError when that is not the head of a recording we can read."""
    if data[: len(MAGIC)] != MAGIC:
        raise LabError(f"{name} is not a recording of the lab; `lab record SCENARIO -o FILE.lab` makes one")
    if len(data) < HEADER.size + DIGEST:
        raise LabError(f"the recording {name} is cut off within its head; copy it again")
    _, version, size, first, *plain = HEADER.unpack_from(data)
    if version > VERSION:
        raise LabError(
            f"the recording {name} is of format {version}, and this lab reads up to {VERSION}; it needs a newer lab"
        )
    if version < 1 or max(size, first, *plain) > LARGEST or first > size:
        raise _damaged(name, "its head makes no sense")
    return int(size)


def _damaged(name: str, reason: str) -> LabError:
    return LabError(f"the recording {name} is damaged: {reason}; copy it again, or record it anew with: lab record")


def _timeline(head: bytes, body: bytes) -> Timeline:
    _, _, _, split, *sizes = HEADER.unpack(head)
    first = _unpack(body[:split], sizes[0], CODE_FILTERS)
    records = _unpack(body[split:], sizes[1], RECORD_FILTERS)
    (length,) = LENGTH.unpack_from(first)
    if length > LARGEST_FACTS:
        raise BadData(f"its facts take {length} bytes")
    start = LENGTH.size + length
    facts = json.loads(first[LENGTH.size : start].decode())
    others, arrays = facts["pages"]
    pages = _cut(first[start:], others), _cut(records, arrays)
    timeline = Timeline(
        decode(str, facts["scenario"]),
        decode(Text, facts["title"]),
        banks=[_bank(*each) for each in facts["banks"]],
        kernel=None if facts["kernel"] is None else _kernel(facts["kernel"]),
        sources=decode(Mapping[str, str], facts["sources"]),
    )
    timeline.outcome, timeline.message = decode(str, facts["outcome"]), decode(str, facts["message"])
    held: dict[int, bytes] = {}
    count = sum(len(each["pages"][0]) for each in facts["moments"])
    if count * PAGE_SIZE > LARGEST:
        raise BadData(f"its moments hold {count} pages")
    for each in facts["moments"]:
        timeline.append(_moment(each, pages, held))
    return timeline


def _unpack(data: bytes, size: int, filters: list[dict[str, Any]]) -> bytes:
    """Exactly `size` bytes, and no more memory than that, whatever `data` would unpack to."""
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    plain = unpacker.decompress(data, max_length=size + 1)
    if len(plain) != size:
        raise BadData(f"a stream unpacks to {len(plain)} bytes instead of {size}")
    return plain


def _cut(data: bytes, count: object) -> list[bytes]:
    if len(data) != PAGE_SIZE * decode(int, count):
        raise BadData(f"there are {len(data)} bytes of {count} pages")
    return [data[offset : offset + PAGE_SIZE] for offset in range(0, len(data), PAGE_SIZE)]


def _bank(start: object, size: object) -> Bank:
    bank = Bank(PhysicalAddress(decode(int, start)), decode(int, size))
    if not 0 <= bank.size <= 1 << PhysicalAddress.bits or bank.end % PAGE_SIZE:
        raise BadData(f"a bank of {bank.size} bytes")
    return bank


def _moment(data: Mapping[str, Any], pages: tuple[list[bytes], list[bytes]], held: dict[int, bytes]) -> Moment:
    """One moment; `held` is what the frames held before it, and is brought up to it."""
    others, records = pages
    frames, places = data["pages"]
    changed: dict[int, bytes] = {}
    for frame, place in zip(frames, places, strict=True):
        number, index = decode(int, frame), decode(int, place)
        kept = records[-1 - index] if index < 0 else others[index]
        before = held.get(number)
        held[number] = changed[number] = kept if before is None else _xor(kept, before)
    return Moment(
        decode(Step, data["step"]),
        decode(Registers, data["registers"]),
        decode(PagingState, data["state"]),
        changed,
        decode(str, data["console"]),
    )


def _kernel(record: object) -> KernelImage:
    """What was known of the recorded kernel; everything in it is looked at once, so that no view trips over it."""
    if not isinstance(record, dict):
        raise BadData("what it says of the kernel is no object")
    kernel = KernelImage(record)
    for name in ("structures", "enums", "constants", "variables", "aliases"):
        check(Mapping[str, object], record[name])
    parts: dict[type, list[Any]] = {
        Symbol: [*kernel.symbols],
        Segment: [*kernel.segments],
        Section: [*kernel.sections],
        Structure: [kernel.structure(name) for name in record["structures"]],
        Enumeration: [kernel.enum(name) for name in record["enums"]],
        Export: [*kernel.exports.values()],
        Type: [*filter(None, map(kernel.variable_type, record["variables"]))],
        int: [kernel.constant(name) for name in record["constants"]],
        str: [*record["aliases"].values()],
    }
    for hint, values in parts.items():
        for each in values:
            check(hint, each)
    sizes = [each.size for kind in (Symbol, Structure, Type) for each in parts[kind]]
    sizes += [each.memory_size for each in kernel.segments] + [size for _, _, size, *_ in record["types"]]
    if not all(0 <= each <= LARGEST_TYPE for each in sizes):
        raise BadData("what it says of the kernel makes no sense")
    return kernel
