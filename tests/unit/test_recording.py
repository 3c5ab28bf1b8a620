"""Recordings: what is written is read, and what was not written by us is refused in one sentence."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import LabError, UsageError
from lab.scenarios.step import Step
from lab.snapshot import Registers
from lab.texts import Text
from lab.timeline import Moment, Timeline, codec, recording
from lab.timeline.recording import CODE_FILTERS, DIGEST, HEADER, LENGTH, MAGIC, VERSION, Place, from_bytes, to_bytes
from lab.x86 import CR3, PagingState
from tests.unit.made_up import BANKS, FRAME, PAGE, made_up_timeline

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def timeline() -> Timeline:
    return made_up_timeline()


@pytest.fixture(scope="module")
def data(timeline: Timeline) -> bytes:
    return to_bytes(timeline)


def edited(data: bytes, edit: Edit) -> bytes:
    """The same recording with other facts in it, and with a right checksum: as somebody would who means harm."""
    _, _, _, split, _, records = HEADER.unpack_from(data)
    body = data[HEADER.size + DIGEST :]
    first = lzma.decompress(body[:split], lzma.FORMAT_RAW, filters=CODE_FILTERS)
    (length,) = LENGTH.unpack_from(first)
    facts = json.loads(first[LENGTH.size : LENGTH.size + length])
    facts = edit(facts) or facts
    text = json.dumps(facts).encode()
    return sealed(LENGTH.pack(len(text)) + text + first[LENGTH.size + length :], body[split:], records)


def sealed(first: bytes, second: bytes, records: int, *, claimed: int | None = None) -> bytes:
    packed = lzma.compress(first, lzma.FORMAT_RAW, filters=CODE_FILTERS)
    size = len(first) if claimed is None else claimed
    head = HEADER.pack(MAGIC, VERSION, len(packed) + len(second), len(packed), size, records)
    return head + hashlib.sha256(head + packed + second).digest() + packed + second


# ---------------------------------------------------------------------------------------------------- round trip ----


def test_what_was_written_is_read(timeline: Timeline, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "made-up.lab"
    recording.write(timeline, path)

    again = recording.read(path)

    assert list(again) == list(timeline)
    assert (again.scenario, again.title, again.banks) == (timeline.scenario, timeline.title, timeline.banks)
    assert again.sources == timeline.sources
    assert again[2].step.title.template == "Map page {number}"
    assert to_bytes(again) == data == path.read_bytes()


words = st.text(max_size=20)
values = st.dictionaries(st.sampled_from("abc"), st.integers(0, 2**64 - 1) | words)
texts = st.builds(lambda own: Text(" ".join(f"{{{name}}}" for name in own) or "nothing", own), values)
contents = st.dictionaries(
    st.integers(0, 16383), st.binary(min_size=1, max_size=64).map(lambda data: (data * FRAME)[:FRAME]), max_size=6
)


@given(st.lists(st.tuples(texts, contents, words, st.integers(0, 2**64 - 1)), min_size=1, max_size=5))
def test_any_moments_come_back_as_they_were(moments: list[tuple[Text, dict[int, bytes], str, int]]) -> None:
    timeline = Timeline("any", Text("anything"), banks=BANKS)
    for number, (text, pages, console, register) in enumerate(moments):
        state = PagingState(cr3=CR3(register))
        timeline.append(Moment(Step(number, text, text), Registers(rax=register), state, pages, console))

    again = from_bytes(to_bytes(timeline))

    assert list(again) == list(timeline)
    assert [each.step.title.values for each in again] == [each.step.title.values for each in timeline]


def test_the_same_pages_are_kept_once() -> None:
    noise = hashlib.shake_256(b"noise").digest(FRAME)

    def recorded(frames: int) -> int:
        timeline = Timeline("copies", Text("copies"), banks=BANKS)
        pages = dict.fromkeys(range(frames), noise)
        timeline.append(Moment(Step(0, Text("copies"), Text()), Registers(), PagingState(), pages))
        return len(to_bytes(timeline))

    assert recorded(500) < recorded(1) + 1000


# -------------------------------------------------------------------------------------------- damaged and foreign ----


def test_no_byte_can_be_flipped_unnoticed(data: bytes) -> None:
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(LabError) as caught:
            from_bytes(bytes(damaged), "here.lab")
        assert "here.lab" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_no_byte_can_be_missing(data: bytes) -> None:
    for length in range(0, len(data), 7):
        with pytest.raises(LabError, match=r"cut off|not a recording"):
            from_bytes(data[:length])


def test_nor_one_too_many(data: bytes) -> None:
    with pytest.raises(LabError, match="damaged"):
        from_bytes(data + b"\0")


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF" * 100, bytes(1000), MAGIC[:7]])
def test_a_foreign_file_is_named_so(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(LabError, match="foreign is not a recording of the lab"):
        recording.read(path)


def test_a_newer_format_asks_for_a_newer_lab(data: bytes) -> None:
    with pytest.raises(LabError, match="format 7, and this lab reads up to 2; it needs a newer lab"):
        from_bytes(data[:8] + (7).to_bytes(4, "little") + data[12:])


def test_records_are_read_as_older_files_have_them() -> None:
    step = Step(1, Text("One"), Text("frame"), notes=Text("two addresses"))
    record = codec.encode(Step, step)
    assert codec.decode(Step, record) == step

    *known, notes = record  # the fields behind are at their defaults, and left out
    names = Step._fields[: len(known)]
    assert codec.decode(Step, known) == step._replace(notes=Text())
    assert codec.decode(Step, dict(zip(names, known, strict=True)) | {"notes": notes}) == step, "format 1"

    for damaged in ([], known[:2], [*record, None, None, None, None, None], {"number": 1}, {"colour": "red"}, "Step"):
        with pytest.raises(codec.BadData, match="Step"):
            codec.decode(Step, damaged)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.lab: No such file"):
        recording.read(tmp_path / "nowhere.lab")
    with pytest.raises(UsageError, match="Is a directory"):
        recording.read(tmp_path)
    with pytest.raises(LabError, match="not a recording"):
        recording.read(Path("/dev/zero"))


# ------------------------------------------------------------------------------------------------------- hostile ----


def in_step(facts: dict[str, Any], **fields: object) -> None:
    """Set fields of the second step, which then is an object, as in files of format 1."""
    moment = facts["moments"][1]
    moment["step"] = dict(zip(Step._fields, moment["step"], strict=False)) | fields


@pytest.mark.parametrize(
    "edit",
    [
        lambda facts: ["not", *facts],
        lambda facts: facts.pop("moments"),
        lambda facts: facts.update(pages=[1 << 60, 0]),
        lambda facts: facts.update(pages=[-1, 0]),
        lambda facts: facts.update(banks=[[0, 1 << 62]]),
        lambda facts: facts.update(banks=[[0, -4096]]),
        lambda facts: facts.update(kernel={"schema": "lab.kernel/1"}),
        lambda facts: facts.update(kernel=["x"]),
        lambda facts: facts.update(title=["{title.__class__.__mro__}"]),
        lambda facts: facts.update(title=["{a:999999999}", {"a": 1}]),
        lambda facts: facts.update(sources={"a": 1}),
        lambda facts: facts["moments"].reverse(),
        lambda facts: facts["moments"][1]["registers"].update(rip="0x10"),
        lambda facts: facts["moments"][1]["registers"].update(rip=1 << 64),
        lambda facts: facts["moments"][1]["registers"].update(__class__=1),
        lambda facts: facts["moments"][1]["state"].update(vendor="acme"),
        lambda facts: in_step(facts, number=True),
        lambda facts: in_step(facts, halts=[["entry", "map", 0]]),
        lambda facts: in_step(facts, focus=[1 << 65]),
        lambda facts: facts["moments"][1].update(pages=[[1], [999]]),
        lambda facts: facts["moments"][1].update(pages=[[1, 2], [0]]),
        lambda facts: facts["moments"][1].update(pages=[["1"], [0]]),
        lambda facts: facts["moments"][1].update(console=[]),
    ],
)
def test_facts_that_make_no_sense_are_refused(data: bytes, edit: Edit) -> None:
    with pytest.raises(LabError, match=r"here\.lab is damaged") as caught:
        from_bytes(edited(data, edit), "here.lab")
    assert "\n" not in str(caught.value)


def test_the_edits_are_what_is_refused(data: bytes) -> None:
    assert len(from_bytes(edited(data, lambda facts: facts))) == 4
    assert len(from_bytes(edited(data, lambda facts: in_step(facts, number=1)))) == 4


def test_deep_nesting_is_refused(data: bytes) -> None:
    text = b'{"pages": [0, 0], "banks": ' + b"[" * 200000 + b"]" * 200000 + b"}"
    with pytest.raises(LabError, match="damaged"):
        from_bytes(sealed(LENGTH.pack(len(text)) + text, b"", 0))


def test_what_unpacks_to_more_than_it_says_is_not_unpacked() -> None:
    bomb = bytes(16 << 20)
    with pytest.raises(LabError, match="unpacks to 101 bytes instead of 100"):
        from_bytes(sealed(bomb, b"", 0, claimed=100))
    with pytest.raises(LabError, match="head makes no sense"):
        from_bytes(sealed(b"", b"", 1 << 40))


def test_what_the_moments_hold_is_bounded(data: bytes) -> None:
    def mention(facts: dict[str, Any]) -> None:
        for moment in facts["moments"]:
            moment["pages"] = [[1] * 20000, [0] * 20000]

    with pytest.raises(LabError, match="damaged: its moments hold 80000 pages"):
        from_bytes(edited(data, mention))


def test_what_is_written_is_held_to_the_bounds_of_what_is_read(
    timeline: Timeline, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "LARGEST_FACTS", 1000)
    with pytest.raises(LabError, match="too many moments"):
        to_bytes(timeline)
    with pytest.raises(LabError, match="damaged: its facts take"):
        from_bytes(data)

    monkeypatch.undo()
    monkeypatch.setattr(recording, "LARGEST", 1 << 20)
    copies = Timeline("copies", Text("copies"), banks=BANKS)
    pages = dict.fromkeys(range(500), b"copy" * 1024)
    copies.append(Moment(Step(0, Text("copies"), Text()), Registers(), PagingState(), pages))
    with pytest.raises(LabError, match="copies changed too much memory for a recording"):
        to_bytes(copies)


# -------------------------------------------------------------------------------------------------------- places ----


def test_a_place_is_a_file_and_perhaps_moments_of_it() -> None:
    assert Place.parse("a@b.lab") == (Path("a@b.lab"), None, None)
    assert Place.parse("dir/a.lab@12") == (Path("dir/a.lab"), 12, None)
    assert Place.parse("a.lab@1..3") == (Path("a.lab"), 1, 3)
    assert PAGE > 0
    with pytest.raises(UsageError, match=r"FILE\.lab@N"):
        Place.parse("")
