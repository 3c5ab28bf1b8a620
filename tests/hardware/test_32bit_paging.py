"""Guests in 32-bit and PAE paging: QEMU translates as the walk does, and the CPU sets A and D as was predicted.

Reserved bits are not compared: QEMU's own translation for debuggers does not look at them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from lab.machine import Machine, MachineOptions
from lab.machine.waiting import wait_until
from lab.memory import MadeUpMemory
from lab.paging import Access, AccessKind, map_space, predict
from lab.x86 import CR0, CR3, CR4, EFER, Entry, PagingMode, PagingState, PhysicalAddress, VirtualAddress

BASE = 0x100000
"""Where the kernel is loaded: its code first, then its tables, a frame each."""
ROOT = BASE + 0x1000
NX = 1 << 63
HALT = b"\xf4\xeb\xfd"


class Tables(NamedTuple):
    """Tables for a guest: the size of their entries, the entries by physical address, and what the guest touches."""

    mode: PagingMode
    entry_size: int
    entries: dict[int, int]
    read: int
    written: int
    looked_at: tuple[int, ...]


NARROW = Tables(
    PagingMode.BITS32,
    4,
    {
        ROOT: 0x83,  # 4 MiB, identity: the code is here
        ROOT + 4 * 1: ROOT + 0x1000 | 7,
        ROOT + 4 * 2: 0x8087,  # 4 MiB at 16 GiB and 8 MiB: beyond RAM
        ROOT + 4 * 0x3FF: ROOT | 3,  # a self map
        ROOT + 0x1000: 0x0010_8003,
        ROOT + 0x1000 + 4 * 0x3FF: 0x0010_9007,
        ROOT + 0x1004: 0x0010_8002,
    },
    read=0x007F_F123,
    written=0x0040_0040,
    looked_at=(
        0,
        0x10_0000,
        0x40_0040,
        0x40_1000,
        0x7F_F123,
        0x80_0000,
        0xC0_0000,
        0xFFC0_0400,
        0xFFFF_F000,
        0x2000_0000,
    ),
)
PAE = Tables(
    PagingMode.PAE,
    8,
    {
        ROOT + 0x20: ROOT + 0x1000 | 1,
        ROOT + 0x38: ROOT + 0x2000 | 1,
        ROOT + 0x1000: 0x83,  # 2 MiB, identity
        ROOT + 0x2000: ROOT + 0x3000 | 7,
        ROOT + 0x2FF8: NX | 0x00E7 | 0x20_0000,
        ROOT + 0x3000: NX | 0x0010_8003,
        ROOT + 0x3FF8: 0x0010_9007,
    },
    read=0xC01F_F123,
    written=0xC000_0040,
    looked_at=(0, 0x10_0000, 0x20_0000, 0x4000_0000, 0xC000_0040, 0xC000_1000, 0xC01F_F123, 0xFFE1_2345),
)


def state_of(tables: Tables) -> PagingState:
    narrow = tables.mode is PagingMode.BITS32
    return PagingState(
        cr0=CR0.from_names("PE", "WP", "PG"),
        cr3=CR3(ROOT if narrow else ROOT + 0x20),
        cr4=CR4.from_names("PSE" if narrow else "PAE"),
        efer=EFER(0) if narrow else EFER.from_names("NXE"),
    )


def kernel(tables: Tables) -> bytes:
    """Code that loads the control registers, reads one byte, writes another, and halts; and its tables."""
    state = state_of(tables)

    def load(opcode: bytes, value: int) -> bytes:
        return opcode + value.to_bytes(4, "little")

    code = load(b"\xb8", state.cr3) + b"\x0f\x22\xd8"  # mov eax, …; mov cr3, eax
    code += load(b"\xb8", state.cr4) + b"\x0f\x22\xe0"
    code += load(b"\xb9", 0xC000_0080) + load(b"\xb8", state.efer) + b"\x31\xd2\x0f\x30"  # mov ecx; xor edx, edx; wrmsr
    code += load(b"\xb8", state.cr0) + b"\x0f\x22\xc0"
    code += load(b"\x8a\x1d", tables.read)  # mov bl, […]
    code += load(b"\xc6\x05", tables.written) + b"\x5a" + HALT  # mov byte […], 5ah
    image = bytearray(code.ljust(0x5000, b"\0"))
    for address, entry in tables.entries.items():
        image[address - BASE : address - BASE + tables.entry_size] = entry.to_bytes(tables.entry_size, "little")
    return bytes(image)


@pytest.mark.parametrize("tables", [NARROW, PAE], ids=lambda tables: str(tables.mode))
def test_the_walk_is_the_cpus(tables: Tables, tiny_kernel: Callable[[bytes], Path]) -> None:
    image = kernel(tables)
    with Machine(MachineOptions(kernel=tiny_kernel(image))) as machine:
        marker = PhysicalAddress(0x10_8040)
        assert wait_until(lambda: machine.memory.read(marker, 1) == b"\x5a", 10)
        snapshot = machine.snapshot()
        assert snapshot.state.mode is tables.mode
        for address in tables.looked_at:
            found = snapshot.walk(VirtualAddress(address))
            assert machine.qmp.gva2gpa(address) == (found.mapped.physical if found.is_mapped else None), str(found)
        assert map_space(machine.memory, snapshot.state)

        memory = MadeUpMemory()
        memory.write(PhysicalAddress(BASE), image)
        for address, kind in ((tables.read, AccessKind.READ), (tables.written, AccessKind.WRITE)):
            for update in predict(
                memory, state_of(tables), VirtualAddress(address), Access(kind), quirks=machine.quirks
            ).updates:
                now = Entry.from_bytes(machine.memory.read(update.entry_address, tables.entry_size), "little")
                before = Entry.from_bytes(memory.read(update.entry_address, tables.entry_size), "little")
                assert now == before | update.must_set, f"{update} at {address:#x}"
