"""What hardware tests share: a runtime directory of their own, a check that nothing is left behind, tiny kernels."""

from __future__ import annotations

import os
import select
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.kernel.image import KernelImage
from lab.machine import Machine, Space
from lab.machine.host import find_image
from tests.hardware.probe import Probe, Supply


@pytest.fixture
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh runtime directory, its path; a test may leave neither a QEMU or gdb of ours nor a machine's folder."""
    # Not below tmp_path, which is too long for sockets.
    base = Path(tempfile.mkdtemp(prefix="lab-"))
    monkeypatch.setenv("LAB_RUNTIME_DIR", str(base))
    before = running_programs()  # guests that tests share
    yield base
    left = [path.name for path in base.iterdir() if path.name != ".lock"]
    shutil.rmtree(base)
    assert left == []
    assert running_programs().items() <= before.items()


def running_programs() -> dict[int, str]:
    """The QEMU and gdb processes that this process started and that still run, by their numbers."""
    names = {}
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if name.startswith(("qemu", "gdb", "setpriv")) and is_running(int(pid)):
                names[int(pid)] = name
    return names


def is_running(pid: int) -> bool:
    """Whether a process exists and is not merely waiting to be taken notice of."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.fixture
def gone() -> Callable[..., bool]:
    """A function that waits for processes to end, and says whether they did."""

    def wait(*pids: int, timeout: float = 3.0) -> bool:
        return all(_has_ended(pid, timeout) for pid in pids)

    return wait


def _has_ended(pid: int, timeout: float) -> bool:
    """Whether all threads of a process have ended, which its state in /proc does not tell."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], timeout)[0])
    finally:
        os.close(descriptor)


@pytest.fixture
def tiny_kernel(tmp_path: Path) -> Callable[[bytes], Path]:
    """A maker of kernels that are not ours: 32-bit code at 1 MiB, entered by the PVH boot protocol."""

    def make(code: bytes) -> Path:
        path = tmp_path / "tiny.elf"
        path.write_bytes(_elf(code, entry=0x100000))
        return path

    return make


@pytest.fixture
def changed_kernel(tmp_path: Path) -> Callable[[bytes], Path]:
    """A maker of kernels that are ours, except that the first instructions are others (32-bit code, paging off)."""

    def make(code: bytes) -> Path:
        source = find_image()
        elf = bytearray(source.read_bytes())
        start = KernelImage.load(source).symbol("boot_start32").address
        offset = _file_offset(bytes(elf), start)
        elf[offset : offset + len(code)] = code
        shutil.copy(source.with_suffix(".json"), tmp_path / "kernel.json")
        (tmp_path / "kernel.elf").write_bytes(elf)
        return tmp_path / "kernel.elf"

    return make


@pytest.fixture
def only_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Make as if only these programs were installed."""

    def limit(*names: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in names:
            found = shutil.which(name)
            assert found, f"{name} is needed for this test"
            (folder / name).symlink_to(found)
        monkeypatch.setenv("PATH", str(folder))

    return limit


@pytest.fixture(scope="module")
def supply() -> Iterator[Supply]:
    """Where a module's tests get their shared guest from."""
    with Supply() as supply:
        yield supply


@pytest.fixture
def guest(supply: Supply) -> Iterator[Probe]:
    """A guest that the tests of a module share: a test must leave nothing behind in it."""
    probe = supply.guest()
    before = probe.books()
    yield probe
    left = probe.books()
    if left != before:
        supply.renew()  # the next test shall not suffer
    assert left == before


@pytest.fixture
def space(machine: Machine) -> Iterator[Space]:
    """An address space in the test's `machine` whose lower half is empty."""
    with machine.new_space() as space:
        yield space


@pytest.fixture
def fresh_guest(booted: Machine) -> Probe:
    """A guest that has just come up, with what the test's markers ask for, and may be wrecked."""
    return Probe(booted)


def _elf(code: bytes, entry: int) -> bytes:
    """An ELF64 with one segment of code and the note that names its 32-bit entry (XEN_ELFNOTE_PHYS32_ENTRY, 18)."""
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen", entry)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 2, 64, 0, 0
    )
    load = struct.pack("<IIQQQQQQ", 1, 7, 0x1000, entry, entry, len(code), len(code), 0x1000)
    notes = struct.pack("<IIQQQQQQ", 4, 4, 64 + 2 * 56, 0, 0, len(note), len(note), 4)
    return (header + load + notes + note).ljust(0x1000, b"\0") + code


def _file_offset(elf: bytes, address: int) -> int:
    """Where in an ELF file the byte of a virtual address is."""
    (table,), (count,) = struct.unpack_from("<Q", elf, 32), struct.unpack_from("<H", elf, 56)
    for index in range(count):
        kind, _, offset, virtual, _, size, _, _ = struct.unpack_from("<IIQQQQQQ", elf, table + 56 * index)
        if kind == 1 and virtual <= address < virtual + size:
            return int(offset + address - virtual)
    raise AssertionError(f"{address:#x} is in no segment")
