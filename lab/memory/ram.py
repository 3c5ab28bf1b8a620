"""Guest RAM as QEMU shares it: a file, mapped read-only."""

from __future__ import annotations

import errno
import mmap
import os
from typing import TYPE_CHECKING

from lab.errors import HostError, NoMemoryAt
from lab.memory.protocol import Bank
from lab.x86.address import PhysicalAddress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["SharedRam", "map_writable"]

PIECE = 256 * 1024
"""How much of RAM is read at once where all of it is."""


class SharedRam:
    """The RAM of a machine, read through the file of its ``memory-backend-file,share=on``.

    `banks` say which physical addresses lie where in the file; without them the file is one bank from address 0 on.
    What the guest writes is visible at once; nothing can be written. Raises HostError when the file cannot be mapped
    or is too short for a bank.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(bytes(4096) + b"frame 1!"), file.truncate(8192), file.flush()
    ...     with SharedRam(Path(file.name)) as ram:
    ...         ram.read(PhysicalAddress(0x1000), 8)
    b'frame 1!'
    """

    def __init__(self, path: Path, banks: Sequence[Bank] = ()) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
            self._map = mmap.mmap(self._file.fileno(), 0, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            raise HostError(f"cannot map the guest's RAM {path}: {error}; is its machine still running?") from error
        self.banks = tuple(banks) or (Bank(PhysicalAddress(0), len(self._map)),)
        for bank in self.banks:
            if bank.file_offset + bank.size > len(self._map):
                length = len(self._map)
                self.close()
                raise HostError(f"{path} has {length} bytes, too few for the bank at {bank.start}")

    def read(self, address: PhysicalAddress, size: int) -> bytes:
        """Exactly `size` bytes from `address` on; NoMemoryAt unless one bank holds them all."""
        for bank in self.banks:
            offset = int(address) - int(bank.start)
            if offset >= 0 and offset + size <= bank.size:
                offset += bank.file_offset
                return self._map[offset : offset + size]
        raise NoMemoryAt(address, size)

    def written(self) -> Iterator[tuple[PhysicalAddress, bytes]]:
        """The parts of RAM that were ever written, each at most `PIECE` bytes from a multiple of that in its bank.

        What nobody has written takes no room in the file, and is known to be zero without being read.
        """
        descriptor = self._file.fileno()
        for bank in self.banks:
            end, offset = bank.file_offset + bank.size, bank.file_offset
            while (found := _next_data(descriptor, offset)) is not None and found < end:
                piece = (found - bank.file_offset) // PIECE * PIECE
                offset = min(bank.file_offset + piece + PIECE, end)
                yield (
                    bank.start + piece,
                    os.pread(descriptor, offset - bank.file_offset - piece, bank.file_offset + piece),
                )

    def close(self) -> None:
        """Unmap the file; reading afterwards raises ValueError."""
        self._map.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _next_data(descriptor: int, offset: int) -> int | None:
    """Where, from an offset of a file on, something is stored; None when nothing is."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None


def map_writable(path: Path, banks: Sequence[Bank], address: PhysicalAddress, size: int) -> tuple[mmap.mmap, int]:
    """Map the pages that hold `size` bytes from `address` on; return the mapping and where in it they begin.

    Only for memory that the guest keeps for its controller. Raises NoMemoryAt unless one bank holds them all,
    HostError when the file cannot be opened.
    """
    bank = next((each for each in banks if each.start <= address and address + size <= each.end), None)
    if bank is None:
        raise NoMemoryAt(address, size)
    offset = address - bank.start + bank.file_offset
    start = offset % mmap.ALLOCATIONGRANULARITY
    try:
        with path.open("r+b") as file:
            return mmap.mmap(file.fileno(), start + size, offset=offset - start), start
    except OSError as error:
        raise HostError(f"cannot open the guest's RAM {path}: {error.strerror}; is its machine running?") from error
