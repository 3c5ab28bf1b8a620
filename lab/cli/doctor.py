"""`lab doctor`: is everything here that the lab needs, and what mends what is not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab.cli.common import emit, output_options
from lab.errors import HostError, LabError

if TYPE_CHECKING:
    from lab.views.report import Report

__all__ = ["command"]

PACKAGES = ("qemu.qmp", "pygdbmi", "keystone-engine", "ziglang", "capstone", "pefile", "numpy")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it stands, or what is wrong and the command that mends it."""

    subject: str
    ok: bool
    text: str


@click.command()
@output_options
def command(as_json: bool, color: str) -> int:
    """Check QEMU, gdb, toolchain, kernel image and room for guest memory; name the command that mends each miss."""
    findings = [_check(subject, look) for subject, look in CHECKS.items()]
    code = emit(_report(findings), as_json=as_json, color=color)
    return HostError.exit_code if code else 0


def _check(subject: str, look: Callable[[], str]) -> Finding:
    """Look at one thing; whatever is wrong with it says so by an error that ends with its remedy."""
    try:
        return Finding(subject, ok=True, text=look())
    except LabError as error:
        return Finding(subject, ok=False, text=str(error))


def _program(name: str) -> Callable[[], str]:
    def look() -> str:
        from lab.machine.host import find_program, remedy

        path = find_program(name)
        try:
            answer = subprocess.run([path, "--version"], capture_output=True, timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            raise HostError(
                f"{path} does not answer to --version; install it anew with: {remedy(name, anew=True)}"
            ) from None
        except OSError as error:
            raise HostError(
                f"{path} does not run ({error.strerror}); install it anew with: {remedy(name, anew=True)}"
            ) from error
        first = next(iter(answer.stdout.decode(errors="replace").splitlines()), "")
        if answer.returncode or not first:
            raise HostError(f"{path} does not run; install it anew with: {remedy(name, anew=True)}")
        return f"{first} ({path})"

    return look


def _packages() -> str:
    missing = []
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        raise HostError(f"not installed are {', '.join(missing)}; set up with: make setup")
    return ", ".join(found)


def _image() -> str:
    from lab.kernel.image import KernelImage
    from lab.machine.host import find_image

    path = find_image()
    kernel = KernelImage.load(path)
    return f"{path}: {len(kernel.exports)} exports, {len(kernel.symbols)} symbols"


def _room() -> str:
    from lab.machine.host import runtime_directory

    path = runtime_directory()
    free = next(int(line.split()[1]) for line in MEMORY.read_text().splitlines() if line.startswith("MemAvailable:"))
    if free < ROOM_NEEDED:
        raise HostError(f"only {free >> 10} MiB of memory are free for guests; end a machine with: lab stop")
    return f"{free >> 10} MiB free for guests; sockets and logs go to {path}"


PATIENCE = 5.0
"""Seconds that a program is given to tell its version: many times what it takes on a busy host."""

MEMORY = Path("/proc/meminfo")

ROOM_NEEDED = 128 << 10
"""KiB that a guest of the default size takes with its QEMU."""


CHECKS: dict[str, Callable[[], str]] = {
    "qemu": _program("qemu-system-x86_64"),
    "gdb": _program("gdb"),
    "packages": _packages,
    "kernel": _image,
    "memory": _room,
}


def _report(findings: list[Finding]) -> Report:
    from lab.views.report import Cell, Json, Lines, Report, Role

    marks = {True: Cell("ok    ", Role.GOOD), False: Cell("miss  ", Role.BAD)}
    lines = tuple((marks[each.ok], Cell(f"{each.subject:<10}", Role.LABEL), Cell(each.text)) for each in findings)
    good = all(each.ok for each in findings)
    data: dict[str, Json] = {"ok": good, "checks": [asdict(each) for each in findings]}
    return Report("lab.doctor/1", data, (Lines(lines),), answer=good)
