"""A guest in any QEMU, seen through its QMP socket: for guests that are not ours, and machines we did not start."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lab.errors import HostError, LabError, NoMemoryAt
from lab.machine.qmp import Qmp, QmpError
from lab.memory import Bank, Memory, SharedRam
from lab.snapshot import Registers, Snapshot
from lab.x86.address import PhysicalAddress
from lab.x86.state import PagingState

__all__ = ["attached_snapshot", "parse_ram"]

CHUNK = 64 * 1024
"""How much is asked of QEMU at once where it has to copy memory out: it takes nearly as long for a page."""

ALL_BITS = 52

_REGION = re.compile(
    r"^  ([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, (?:ram|rom|romd|nv-ram)\): (\S+)(?: @([0-9a-f]{16}))?",
    re.MULTILINE,
)


class Run(NamedTuple):
    """Physical addresses that are RAM or ROM, and where in a named block of QEMU's they are."""

    bank: Bank
    block: str


@contextmanager
def attached_snapshot(socket: Path) -> Iterator[Snapshot]:
    """The guest behind a QMP socket, which stands still inside of the block and runs on afterwards if it ran before.

    Memory is read from the shared file behind it where there is one, else QEMU copies out what is looked at. What no
    monitor tells is taken as it usually is: the PAT and the MTRRs. Raises HostError when there is no such socket,
    GuestTimeout and GuestCrashed when nobody answers there, QmpError when QEMU refuses to be asked.
    """
    if not socket.is_socket():
        raise HostError(f"there is no socket {socket}; start QEMU with: -qmp unix:{socket},server=on,wait=off")
    with ExitStack() as stack:
        qmp = Qmp(socket)
        stack.callback(qmp.close)
        if qmp.status() == "running":
            qmp.stop()
            stack.callback(_let_go, qmp)
        registers = Registers.from_mapping(qmp.registers())
        memory = _memory(qmp, stack)
        yield Snapshot(memory, _state(qmp, registers), registers, name=str(socket))


def parse_ram(flat_view: str) -> tuple[Run, ...]:
    r"""Read what `info mtree -f` says of the system's memory: every run of RAM or ROM.

    >>> for run in parse_ram('''FlatView #0
    ...  AS "memory", root: system
    ...  Root memory region: system
    ...   0000000000000000-000000000009ffff (prio 0, ram): pc.ram
    ...   00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem
    ...   00000000000c0000-0000000007ffffff (prio 0, ram): pc.ram @00000000000c0000
    ... '''.replace("...", "")):
    ...     print(run.block, run.bank.start, hex(run.bank.size), hex(run.bank.file_offset))
    pc.ram pa:0x0000000000 0xa0000 0x0
    pc.ram pa:0x00000c0000 0x7f40000 0xc0000
    """
    views = re.split(r"^FlatView #\d+\s*$", flat_view.replace("\r", ""), flags=re.MULTILINE)
    system = next((view for view in views if 'AS "memory"' in view), "")
    found = []
    for start, last, block, offset in _REGION.findall(system):
        size = int(last, 16) + 1 - int(start, 16)
        found.append(Run(Bank(PhysicalAddress(int(start, 16)), size, int(offset or "0", 16)), block))
    return tuple(found)


class ForeignMemory:
    """RAM and ROM of a guest that stands still: from shared files where there are some, else copied out by QEMU."""

    def __init__(self, qmp: Qmp, runs: Sequence[Run], files: dict[str, SharedRam], folder: Path) -> None:
        self.banks = tuple(run.bank for run in runs)
        self._qmp = qmp
        self._sources: list[tuple[Bank, Memory | None]] = [(run.bank, files.get(run.block)) for run in runs]
        self._copy = folder / "copy"
        self._chunks: dict[int, bytes] = {}

    def read(self, address: PhysicalAddress, size: int) -> bytes:
        """Exactly `size` bytes from `address` on; NoMemoryAt when any of them is outside of RAM."""
        data = b""
        while len(data) < size:
            piece = self._piece(address + len(data), size - len(data))
            if not piece:
                raise NoMemoryAt(address, size)
            data += piece
        return data

    def _piece(self, address: PhysicalAddress, size: int) -> bytes:
        """As many of these bytes as one bank and one chunk hold; none outside of RAM."""
        for bank, file in self._sources:
            if not bank.start <= address < bank.end:
                continue
            size = min(size, int(bank.end) - int(address))
            if file is not None:
                return file.read(address, size)
            start = max(int(address) // CHUNK * CHUNK, int(bank.start))
            if start not in self._chunks:
                self._chunks[start] = self._copied(start, min(start // CHUNK * CHUNK + CHUNK, int(bank.end)) - start)
            return self._chunks[start][int(address) - start :][:size]
        return b""

    def _copied(self, start: int, size: int) -> bytes:
        try:
            self._qmp.execute("pmemsave", {"val": start, "size": size, "filename": str(self._copy)})
            return self._copy.read_bytes()
        except (QmpError, OSError) as error:
            raise HostError(
                f"QEMU could not copy its memory to {self._copy.parent}: {error}; run lab as the user that runs QEMU"
            ) from error


def _memory(qmp: Qmp, stack: ExitStack) -> ForeignMemory:
    runs = parse_ram(qmp.hmp("info mtree -f"))
    if not runs:
        raise LabError("QEMU shows no memory of its guest; is that the QMP socket of a machine?")
    files = {}
    for block in dict.fromkeys(run.block for run in runs):
        banks = tuple(run.bank for run in runs if run.block == block)
        shared = _shared_file(qmp, block, banks)
        if shared is not None:
            files[block] = stack.enter_context(shared)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-")))
    return ForeignMemory(qmp, runs, files, folder)


def _shared_file(qmp: Qmp, block: str, banks: Sequence[Bank]) -> SharedRam | None:
    """The file behind a block of memory, where that is one which others can see into."""
    with suppress(QmpError, HostError):
        if qmp.execute("qom-get", {"path": f"/objects/{block}", "property": "share"}) is True:
            path = qmp.execute("qom-get", {"path": f"/objects/{block}", "property": "mem-path"})
            if not str(path).startswith("/proc/self/"):  # which means QEMU's own files, not ours
                return SharedRam(Path(str(path)), banks)
    return None


def _state(qmp: Qmp, registers: Registers) -> PagingState:
    features: dict[str, object] = {}
    with suppress(QmpError, LookupError, TypeError):
        cpus: object = qmp.execute("query-cpus-fast")
        path = cpus[0]["qom-path"]  # type: ignore[index]
        for name in ("phys-bits", "pdpe1gb", "vendor"):
            features[name] = qmp.execute("qom-get", {"path": path, "property": name})
    bits = features.get("phys-bits")
    return replace(
        registers.paging_state(),
        max_phys_bits=bits if isinstance(bits, int) and 32 <= bits <= ALL_BITS else 40,
        gib_pages=features.get("pdpe1gb") is not False,
        vendor="amd" if features.get("vendor") == "AuthenticAMD" else "intel",
    )


def _let_go(qmp: Qmp) -> None:
    with suppress(LabError):  # it may have been ended meanwhile
        qmp.cont()
