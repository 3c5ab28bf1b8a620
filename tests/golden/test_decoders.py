"""The decoders of the guest's structures, on recordings of it: right where it is sound, calm where it is not."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from lab.errors import LabError
from lab.kernel.frames import read_frame, read_frames
from lab.kernel.log import read_log
from lab.kernel.mailbox import read_mailbox
from lab.kernel.mdl import read_mdls
from lab.kernel.pool import read_pool
from lab.kernel.regions import regions
from lab.snapshot import Snapshot, diff
from lab.snapshot.changes import capture
from lab.views import all_views
from lab.x86 import Level, PhysicalAddress, VirtualAddress

State = Callable[[str], Snapshot]


def test_the_mdl_describes_the_pool_page(state: State) -> None:
    snapshot = state("mapped")
    mdl = read_mdls(snapshot.guest).mdls[0]
    assert mdl.buffer == snapshot.resolve("pool:Demo")
    assert mdl.mapped_at is not None
    assert mdl.mapped_at != mdl.buffer
    assert mdl.frames == (snapshot.walk(mdl.mapped_at).mapped.physical.frame,)
    assert snapshot.walk(mdl.mapped_at).mapped.physical == snapshot.walk(mdl.buffer).mapped.physical  # type: ignore[arg-type]
    assert snapshot.read_virtual(mdl.mapped_at, 32) == b"A" * 32


def test_an_mdl_that_nothing_has_filled_has_no_frames(state: State) -> None:
    fresh, pages = read_mdls(state("mapped").guest).mdls[1:]
    assert (fresh.pages, fresh.frames, fresh.mapped_at) == (3, (), None)
    assert fresh.reached_at == fresh.buffer
    assert (pages.buffer, len(pages.frames)) == (None, 3)
    assert pages.reached_at == PhysicalAddress.from_frame(pages.frames[0])


def test_the_pool_adds_up(state: State) -> None:
    pool = read_pool(state("mapped").guest)
    assert pool.problems == ()
    for page in pool.pages:
        assert sum(block.size for block in page.blocks) == 4096
    held = {(tag.tag, tag.kind): tag.held for tag in pool.tags if tag.held}
    counted: dict[tuple[str, str], int] = {}
    for each in pool.allocations:
        counted[each.tag, each.kind] = counted.get((each.tag, each.kind), 0) + 1
    assert held == counted
    assert [each.fill for page in pool.pages for each in page.blocks if each.tag == "Tiny" and each.in_use] == ["fresh"]


def test_the_frames_add_up(state: State) -> None:
    snapshot = state("mapped")
    frames = read_frames(snapshot.guest)
    assert frames.problems == ()
    assert sum(frames.locations.values()) == frames.count
    assert sum(frames.uses.values()) == frames.locations["Active"]
    tables = capture(snapshot.memory, snapshot.state).tables
    assert frames.uses["table"] == len(tables)
    records = [read_frame(snapshot.guest, address >> 12) for address in tables]
    assert {record.use for record in records} == {"table"}
    assert all(record.is_active for record in records)


def test_a_frame_knows_the_entry_that_maps_it(state: State) -> None:
    snapshot = state("mapped")
    pool = snapshot.resolve("pool:Demo")
    walk = snapshot.walk(pool)  # type: ignore[arg-type]
    record = read_frame(snapshot.guest, walk.mapped.physical.frame)
    assert record.use == "pool nx"
    assert snapshot.guest.u64(record.pte_address) == walk.steps[-1].entry
    with pytest.raises(LabError, match="not RAM"):
        read_frame(snapshot.guest, 1 << 30)


def test_mapping_an_mdl_creates_one_entry(state: State) -> None:
    before, after = (capture(state(name).memory, state(name).state) for name in ("ready", "mapped"))
    mapping = read_mdls(state("mapped").guest).mdls[0].mapped_at
    (change,) = [each for each in diff(before, after, state("mapped").state) if each.start == mapping]
    assert (change.level, change.kind) == (Level.PT, "created")
    assert {"P", "W", "NX"} <= set(change.set)


def test_the_log_and_the_mailbox(state: State) -> None:
    assert read_log(state("ready").guest).lines[-1] == "ready"
    assert read_mailbox(state("ready").guest).phase == "ready"
    assert read_mailbox(state("ready").guest).bugcheck is None
    stop = read_mailbox(state("stopped").guest).bugcheck
    assert stop is not None
    assert (stop.code, stop.name) == (0xC4, "DRIVER_VERIFIER_DETECTED_VIOLATION")
    assert stop.parameters[0] == 0xB2
    assert any("STOP: 0x000000c4" in line for line in read_log(state("stopped").guest).lines)


def test_a_trap_is_told_by_its_instruction_and_a_call_by_where_it_would_return_to(state: State) -> None:
    snapshot = state("stopped")
    assert snapshot.kernel is not None
    stop = snapshot.guest.variable("lab_mailbox").inner("bugcheck")
    function = int(snapshot.kernel.symbol("KeBugCheckEx").address)
    vector = stop.inner("registers")
    at = {
        int(stop.address) + stop.structure.field("caller").offset: function,
        int(vector.address) + vector.structure.field("vector").offset: 14,
    }
    for address, value in at.items():
        snapshot = _write(snapshot, address, value.to_bytes(8, "little"))
    report = all_views()["bugcheck"].run(snapshot)
    assert isinstance(report.data["bugcheck"], dict)
    assert report.data["bugcheck"]["caller_symbol"] == "KeBugCheckEx"


def test_the_log_wraps(state: State) -> None:
    snapshot = state("ready")
    ring = snapshot.guest.variable("lab_log")
    size = len(ring.bytes("text"))
    text = ("".join(f"line {i}\n" for i in range(20000)) + "end")[-size - 100 :].encode()
    data = bytearray(size)
    for i in range(len(text)):
        data[(7 + i) % size] = text[i]
    changed = _write(snapshot, int(ring.address), (7 + len(text)).to_bytes(8, "little") + bytes(data))
    log = read_log(changed.guest)
    assert log.text.encode() == text[-size:]
    assert log.lost == 7 + len(text) - size
    assert log.lines[-1] == "end"


def test_a_log_that_holds_zero_bytes_wraps_all_the_same(state: State) -> None:
    snapshot = state("ready")
    ring = snapshot.guest.variable("lab_log")
    size = len(ring.bytes("text"))
    text = b"".join(b"line %d\0\n" % i for i in range(10000))[: size + 5000]
    data = text[size:] + text[5000:size]
    changed = _write(snapshot, int(ring.address), len(text).to_bytes(8, "little") + data)
    log = read_log(changed.guest)
    assert (log.text.encode(), log.lost, log.problems) == (text[5000:], 5000, ())


def test_a_log_cannot_drive_the_terminal(state: State) -> None:
    snapshot = state("ready")
    address = int(snapshot.guest.variable("lab_log").address)
    changed = _write(snapshot, address, (6).to_bytes(8, "little") + b"\x1b[2J\x9b")
    assert not any(ord(each) < 32 for line in read_log(changed.guest).lines for each in line)


def test_regions_do_not_overlap(state: State) -> None:
    kernel = state("ready").kernel
    assert kernel is not None
    found = regions(kernel)
    assert all(left.end <= right.start for left, right in itertools.pairwise(found))
    assert {"kernel image .text", "system PTEs", "PFN database", "nonpaged pool"} <= {each.name for each in found}


@pytest.mark.parametrize("seed", range(40))
def test_no_damage_stops_a_view(seed: int, state: State) -> None:
    """Bytes written over at random, as a wild driver would: every view still answers or says what is wrong."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    snapshot = state("mapped")
    kernel = snapshot.kernel
    assert kernel is not None
    places = [
        kernel.symbol(name)
        for name in ("pool_pages", "pool_tags", "memory_map", "lab_mailbox", "lab_log", "frame_sections")
    ]
    targets = [(int(each.address), each.size) for each in places]
    targets += [(int(page.address), 4096) for page in read_pool(snapshot.guest).pages]
    targets += [(kernel.constant("PFN_DATABASE") + 0x100 * 0x30, 0x3000)]
    for _ in range(60):
        start, size = chance.choice(targets)
        address = start + chance.randrange(min(size, 4096)) // 4 * 4
        snapshot = _write(snapshot, address, chance.choice([b"\xff" * 4, b"\0\0\0\0", chance.randbytes(4)]))
    for name in ("pool", "mdl", "frames", "log", "bugcheck", "map"):
        with contextlib.suppress(LabError):
            all_views()[name].run(snapshot)


def _write(snapshot: Snapshot, address: int, data: bytes) -> Snapshot:
    memory = snapshot.memory
    while data:
        count = min(len(data), 4096 - address % 4096)
        physical = snapshot.kernel.physical_of(address) if snapshot.kernel else None
        if physical is None:
            physical = snapshot.walk(VirtualAddress(address)).mapped.physical
        memory = memory.written(physical, data[:count])  # type: ignore[attr-defined]
        address, data = address + count, data[count:]
    return replace(snapshot, memory=memory)


def test_a_pool_of_nothing_but_garbage_is_given_up(state: State) -> None:
    snapshot = state("mapped")
    assert snapshot.kernel is not None
    symbol = snapshot.kernel.symbol("pool_pages")
    pool = read_pool(_write(snapshot, int(symbol.address), b"\x01" * symbol.size).guest)
    assert len(pool.problems) < 100
    assert "not looked at" in pool.problems[-1]
    assert pool.tags, "the account by tag is read all the same"
