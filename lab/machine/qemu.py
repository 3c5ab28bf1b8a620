"""What machine to build, as QEMU's command line says it, and the process that runs it."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lab.errors import ImageMissing, QemuFailed, UsageError
from lab.machine import console
from lab.machine.folder import Folder
from lab.machine.host import find_image, find_program
from lab.machine.process import Process, spawn

if TYPE_CHECKING:
    from lab.memory.protocol import Bank

__all__ = ["MachineOptions", "Qemu", "ram_banks", "parse_size"]

EMULATOR = "qemu-system-x86_64"

MONITORS = ("qmp", "monitor-1", "monitor-2", "monitor-3")
"""QMP sockets of a machine. Each serves one client at a time; the first is left to programs that are not ours."""

DEBUG_EXIT_PORT = 0xF4

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

LEAST, PLENTY = 2 * MIB, 16 * MIB
"""Less RAM than the first no machine has; from the second on no kernel is asked whether it is enough."""

FIRST_TABLES = 512 * KIB
"""What our kernel takes behind its image before it can say anything better, and a PC's firmware at the end of RAM."""


class _Board(NamedTuple):
    """A machine type of QEMU: its options, and where it puts RAM.

    From `split_from` bytes on, RAM beyond `low` bytes moves to 4 GiB. `hidden` is what lies below 1 MiB in place of
    RAM: the BIOS, and on a PC the VGA window and option ROMs too.
    """

    argument: str
    split_from: int
    low: int
    hidden: int


# hw/i386/microvm.c and hw/i386/pc_q35.c of QEMU; `info mtree -f` shows the same.
BOARDS = {
    "microvm": _Board(
        "microvm,pit=off,pic=on,rtc=off,isa-serial=on,auto-kernel-cmdline=off,acpi=off", 3 * GIB, 3 * GIB, 0xF0000
    ),
    "q35": _Board("q35", 2816 * MIB, 2 * GIB, 0xA0000),
}


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """The machine to build.

    `machine` is microvm or q35, `ram` its RAM in bytes, `kernel` the ELF to boot (the lab's own by default), `append`
    the words of its command line ("verifier", "la57", "exit"), `extra` more arguments for QEMU as they are.
    A `frozen` machine stands still before its first instruction, and nobody waits for its guest.

    >>> MachineOptions(ram=128 << 20, append=("verifier",)).append
    ('verifier',)

    Raises UsageError for what no machine can be.
    """

    machine: str = "microvm"
    ram: int = 64 * MIB
    cpu: str = "max"
    accel: str = "tcg"
    kernel: Path = field(default_factory=find_image)
    append: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    frozen: bool = False

    def __post_init__(self) -> None:
        if self.machine not in BOARDS:
            raise UsageError(f"there is no machine {self.machine!r} here; choose {' or '.join(BOARDS)}")
        least = LEAST if self.ram >= PLENTY else _least_ram(self.kernel)
        if self.ram < least or self.ram % (8 * KIB):  # QEMU rounds anything else up
            raise UsageError(
                f"a machine cannot have {self.ram} bytes of RAM; give {least // MIB} MiB or more, in units of 8 KiB"
            )

    def with_kernel(self, kernel: Path) -> MachineOptions:
        """The same machine with another kernel."""
        return replace(self, kernel=kernel)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> MachineOptions:
        """Make options of what `dataclasses.asdict` gave, after a passage through JSON."""
        lists = {name: tuple(values[name]) for name in ("append", "extra")}
        return cls(**{**values, **lists, "kernel": Path(values["kernel"])})


def _least_ram(kernel: Path) -> int:
    """How much RAM a kernel needs to come up, in whole MiB, as far as that is known."""
    from lab.kernel.image import KernelImage

    try:
        segments = KernelImage.load(kernel).segments
    except ImageMissing:  # not one of ours, or no kernel at all, which is said when it is booted
        return LEAST
    end = max(int(each.physical) + each.memory_size for each in segments)
    return max(LEAST, -(-(end + FIRST_TABLES) // MIB) * MIB)


def parse_size(text: str) -> int:
    """Read a size as QEMU writes it: a number of MiB, or with K, M or G behind it.

    >>> parse_size("64M") == parse_size("64") == 64 << 20
    True

    Raises UsageError for anything else.
    """
    units = {"K": KIB, "M": MIB, "G": GIB}
    number, unit = (text[:-1], units[text[-1].upper()]) if text[-1:].upper() in units else (text, MIB)
    if not number.isdecimal():
        raise UsageError(f"{text!r} is not a size; write it like 64M or 2G")
    return int(number) * unit


def ram_banks(options: MachineOptions) -> tuple[Bank, ...]:
    """Return which physical addresses are RAM, and where in the RAM file each lies.

    >>> for bank in ram_banks(MachineOptions(machine="q35", ram=4 << 30)):
    ...     print(bank.start, hex(bank.size), hex(bank.file_offset))
    pa:0x0000000000 0xa0000 0x0
    pa:0x0000100000 0x7ff00000 0x100000
    pa:0x0100000000 0x80000000 0x80000000
    """
    from lab.memory.protocol import Bank
    from lab.x86.address import PhysicalAddress

    board = BOARDS[options.machine]
    low = board.low if options.ram >= board.split_from else options.ram
    runs = [(0, board.hidden, 0), (MIB, low - MIB, MIB), (4 * GIB, options.ram - low, low)]
    return tuple(Bank(PhysicalAddress(start), size, offset) for start, size, offset in runs if size)


class Qemu(NamedTuple):
    """A QEMU process and the folder its sockets and log are in."""

    process: Process
    folder: Path
    command: tuple[str, ...]

    @classmethod
    def start(cls, options: MachineOptions, folder: Folder, *, lasting: bool) -> Qemu:
        """Start QEMU. It listens on its sockets at once, because they are bound before it starts.

        A `lasting` QEMU outlives us; another one dies with us. Raises ToolMissing where there is no QEMU.
        """
        path = folder.path
        with ExitStack() as descriptors:

            def ours(descriptor: int) -> int:
                descriptors.callback(os.close, descriptor)
                return descriptor

            ram = ours(os.memfd_create("guest-ram"))
            os.ftruncate(ram, options.ram)
            sockets = {name: ours(_listen(path / name)) for name in (*MONITORS, "gdb")}
            os.mkfifo(path / "console.in", 0o600)
            (path / "console.out").touch(0o600)
            command = build_command(options, path, ram=ram, sockets=sockets)
            (path / "command").write_text(shlex.join(command) + "\n")
            inherit = (ram, folder.lock, *sockets.values())
            process = spawn(command, errors=path / "qemu.log", inherit=inherit, lasting=lasting)
        # RAM has no file, so nothing of it can be left over; the link is for whoever wants to open it by a path.
        (path / "ram").symlink_to(f"/proc/{process.pid}/fd/{ram}")
        return cls(process, path, tuple(command))

    @property
    def ram(self) -> Path:
        """A path by which guest RAM can be opened while QEMU lives."""
        return self.folder / "ram"

    @property
    def complaint(self) -> str:
        """What QEMU wrote to its standard error."""
        try:
            return (self.folder / "qemu.log").read_text(errors="replace").strip()
        except OSError:
            return ""

    @property
    def console(self) -> str:
        """All that the guest wrote to its serial port, except for what a saved state took back."""
        return console.read(self.folder)

    def refusal(self) -> QemuFailed:
        """The error for a QEMU that ended before the machine ran."""
        words = self.complaint.replace(f"{EMULATOR}: ", "").replace("\n", "; ") or "it wrote no reason"
        return QemuFailed(f"QEMU {self.process.fate} before the machine ran: {words}", shlex.join(self.command))


def build_command(options: MachineOptions, folder: Path, *, ram: int, sockets: dict[str, int]) -> list[str]:
    """Return QEMU's command line; `ram` and `sockets` are descriptors that it inherits."""
    backend = f"memory-backend-file,id=ram,size={options.ram},mem-path=/proc/self/fd/{ram},share=on"
    command = [find_program(EMULATOR)]
    command += ["-M", f"{BOARDS[options.machine].argument},memory-backend=ram", "-object", backend]
    command += ["-m", f"{options.ram // KIB}k", "-accel", options.accel, "-cpu", options.cpu]
    command += ["-nodefaults", "-no-user-config", "-display", "none"]
    # A guest that resets itself or panics stays as it is, so that its registers and memory can still be read.
    command += ["-no-reboot", "-action", "shutdown=pause,panic=pause"]
    command += ["-device", "pvpanic", "-device", f"isa-debug-exit,iobase={DEBUG_EXIT_PORT:#x},iosize=4"]
    command += ["-chardev", f"pipe,id=console,path={_escaped(folder / 'console')}", "-serial", "chardev:console"]
    for name, descriptor in sockets.items():
        command += ["-chardev", f"socket,id={name},fd={descriptor},server=on,wait=off"]
        command += ["-gdb", f"chardev:{name}"] if name == "gdb" else ["-mon", f"chardev={name},mode=control"]
    command += ["-kernel", str(options.kernel)]
    if options.append:
        command += ["-append", " ".join(options.append)]
    if options.frozen:
        command += ["-S"]
    return [*command, *options.extra]


def _escaped(path: Path) -> str:
    """A path as a value in one of QEMU's option lists, where a comma is written twice."""
    return str(path).replace(",", ",,")


def _listen(path: Path) -> int:
    """Return the descriptor of a new listening socket. Whoever connects waits until QEMU is there to answer."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        listener.listen(8)
    except BaseException:
        listener.close()
        raise
    return listener.detach()
