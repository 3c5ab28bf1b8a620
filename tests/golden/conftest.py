"""The states that the golden tests look at: recordings of our guest, the same damaged on purpose, and made-up ones."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lab.errors import NoMemoryAt
from lab.kernel import KernelImage
from lab.memory import Bank, MadeUpSpace
from lab.snapshot import Registers, Snapshot
from lab.x86 import PAT, Level, PagingState, PhysicalAddress, VirtualAddress

FRAME = 4096
RECORDINGS = Path(__file__).parent / "states"


class SparseMemory:
    """RAM of which only the frames that are not all zero are kept."""

    def __init__(self, banks: Iterable[Bank], frames: dict[int, bytes]) -> None:
        self.banks = tuple(banks)
        self.frames = frames

    def read(self, address: PhysicalAddress, size: int) -> bytes:
        if not any(bank.start <= address and address + size <= bank.end for bank in self.banks):
            raise NoMemoryAt(address, size)
        first, last = address // FRAME, (address + max(size, 1) - 1) // FRAME
        data = b"".join(self.frames.get(number, bytes(FRAME)) for number in range(first, last + 1))
        return data[address % FRAME : address % FRAME + size]

    def written(self, address: PhysicalAddress, data: bytes) -> SparseMemory:
        """A copy with other bytes at an address inside one frame."""
        number, offset = divmod(int(address), FRAME)
        frame = self.frames.get(number, bytes(FRAME))
        return SparseMemory(self.banks, self.frames | {number: frame[:offset] + data + frame[offset + len(data) :]})


# ------------------------------------------------------------------------------------------------------ recordings ----


def save_recording(name: str, snapshot: Snapshot, base: str | None = None) -> None:
    """Write a snapshot of our guest to a file; `base` is a recording of which only the difference is kept."""
    assert snapshot.kernel is not None
    frames = _frames_of(snapshot)
    kept = frames
    if base is not None:
        before = load_recording(base).memory.frames  # type: ignore[attr-defined]
        numbers = sorted(before.keys() | frames.keys())
        kept = {i: frames.get(i, bytes(FRAME)) for i in numbers if frames.get(i) != before.get(i)}
    state = snapshot.state
    head = {
        "base": base,
        "kernel": None if base else dict(snapshot.kernel.record),
        "banks": [[int(bank.start), bank.size] for bank in snapshot.memory.banks],  # type: ignore[attr-defined]
        "frames": sorted(kept),
        "registers": snapshot.registers.as_dict(),
        "cpu": {
            "pat": int(state.pat),
            "max_phys_bits": state.max_phys_bits,
            "gib_pages": state.gib_pages,
            "vendor": state.vendor,
        },
    }
    text = json.dumps(head, separators=(",", ":"), sort_keys=True).encode() + b"\n"
    RECORDINGS.mkdir(exist_ok=True)
    path = RECORDINGS / f"{name}.xz"
    path.write_bytes(lzma.compress(text + b"".join(kept[i] for i in sorted(kept)), preset=9))


def _frames_of(snapshot: Snapshot) -> dict[int, bytes]:
    found = {}
    for bank in snapshot.memory.banks:  # type: ignore[attr-defined]
        for address in range(int(bank.start), int(bank.end), FRAME):
            data = snapshot.memory.read(PhysicalAddress(address), FRAME)
            if any(data):
                found[address // FRAME] = data
    return found


@cache
def load_recording(name: str) -> Snapshot:
    """The snapshot that `save_recording` wrote."""
    head, _, body = lzma.decompress((RECORDINGS / f"{name}.xz").read_bytes()).partition(b"\n")
    facts = json.loads(head)
    base = load_recording(facts["base"]) if facts["base"] else None
    frames = dict(base.memory.frames) if base else {}  # type: ignore[attr-defined]
    frames |= {number: body[i * FRAME : (i + 1) * FRAME] for i, number in enumerate(facts["frames"])}
    banks = [Bank(PhysicalAddress(start), size) for start, size in facts["banks"]]
    registers = Registers(**facts["registers"])
    kernel = base.kernel if base else KernelImage(facts["kernel"])
    return Snapshot(SparseMemory(banks, frames), _paging_state(registers, facts["cpu"]), registers, kernel)


def _paging_state(registers: Registers, cpu: Mapping[str, Any]) -> PagingState:
    return replace(
        registers.paging_state(),
        pat=PAT(cpu["pat"]),
        max_phys_bits=cpu["max_phys_bits"],
        gib_pages=cpu["gib_pages"],
        vendor=cpu["vendor"],
    )


# ------------------------------------------------------------------------------------------------ what went wrong ----


def blank() -> Snapshot:
    """The first instruction: the image is loaded, paging is on in name only, and all of RAM is zero."""
    ready = load_recording("ready")
    memory = SparseMemory(ready.memory.banks, {})  # type: ignore[attr-defined]
    return Snapshot(memory, ready.state, Registers(), ready.kernel)


def damaged() -> Snapshot:
    """What a bad driver may leave: pool headers, an MDL, the log and the memory map written over."""
    good = load_recording("mapped")
    mdl = good.resolve("pool:Mdl")
    tiny = good.resolve("pool:Tiny")
    assert good.kernel is not None
    memory_map = good.kernel.symbol("memory_map").address
    log = good.kernel.symbol("lab_log").address
    return _overwritten(
        good,
        {
            int(mdl) + 0x08: b"\xff\x7f\xff\xff",  # Size and MdlFlags
            int(mdl) + 0x28: b"\xff\xff\xff\xff\xff\xff\xff\xff",  # ByteCount and ByteOffset
            int(tiny) - 16: b"\x99\x00\x00\x03",  # its block has no size
            int(memory_map): b"\xff" * 8,  # so many ranges
            int(log): (1 << 63).to_bytes(8, "little"),  # so many bytes written
        },
    )


def _overwritten(snapshot: Snapshot, changes: Mapping[int, bytes]) -> Snapshot:
    memory = snapshot.memory
    assert isinstance(memory, SparseMemory)
    for address, data in changes.items():
        physical = snapshot.kernel.physical_of(address) if snapshot.kernel else None
        if physical is None:
            physical = snapshot.walk(VirtualAddress(address)).mapped.physical
        memory = memory.written(physical, data)
    return Snapshot(memory, snapshot.state, snapshot.registers, snapshot.kernel)


def foreign() -> Snapshot:
    """A guest that is not ours: five levels, large pages, user pages, and entries that lead nowhere."""
    space = MadeUpSpace(5, first_table=0x200)
    space.map(0x400000, 0x12A000, "r-x", user=True, accessed=True)
    space.map(0x401000, 0x12B000, "rw-", user=True, upper_rights={Level.PD: "r-xu"})
    space.map(0x40000000, 0x40000000, "rwx", size=1 << 30, global_=True)
    space.map(0x600000, 0x600000, "rw-", size=2 << 20, dirty=True, cache_disable=True)
    space.map(0xFF80000000000000, 0x12A000, "rw-", write_through=True)
    space.map(0xFF80000000001000, 0x12C000, "rw-")
    space.raw(Level.PT, 0xFF80000000001000, 0x0008_0000_0012_C003)  # a reserved address bit
    space.raw(Level.PML4, 0x0000_0080_0000_0000, int(space.root) | 3)  # back to the root: a circle
    space.raw(Level.PML5, 0x00FF_0000_0000_0000, 0x00FF_0000_0000_0003)  # a table where there is no RAM
    registers = Registers(rip=0x400123, cr2=0xFF80000000001008, cr3=int(space.root), cr0=0x80010033, cs=0x33)
    return Snapshot(space.memory, space.state, registers)


STATES: dict[str, Callable[[], Snapshot]] = {
    "ready": lambda: load_recording("ready"),
    "mapped": lambda: load_recording("mapped"),
    "stopped": lambda: load_recording("stopped"),
    "damaged": damaged,
    "blank": blank,
    "foreign": foreign,
}


@pytest.fixture(scope="session")
def state() -> Callable[[str], Snapshot]:
    """A function that gives the state of a name."""
    return cache(lambda name: STATES[name]())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `state_name` runs for every state."""
    if "state_name" in metafunc.fixturenames:
        metafunc.parametrize("state_name", STATES)
