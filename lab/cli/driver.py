"""`lab driver`: Windows drivers, built, looked at, loaded and run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.common import emit, machine_options, make_machine_options, name_option, output_options
from lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.machine import Machine
    from lab.machine.driver.pe import DriverImage
    from lab.machine.driver.session import Session

__all__ = ["command"]

FOLDER = "built"
"""Where in the folder of a machine the drivers are built that it is to run."""

METHODS = ("buffered", "in-direct", "out-direct", "neither")
"""The two lowest bits of a control code, by their values."""

SOURCES = (".c", ".cpp", ".cc", ".cxx")

a_file = click.Path(dir_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Build, inspect, load and run Windows drivers."""


@command.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=a_file)
@click.option("--trace", is_flag=True, help="Have GDB stop at every memory call, and compare all page tables.")
@click.option("--timeout", default=10.0, show_default=True, metavar="SECONDS", help="How long one function may take.")
@machine_options
@output_options
def run(*, files: tuple[Path, ...], trace: bool, timeout: float, as_json: bool, color: str, **options: Any) -> int:
    """Boot a machine, load drivers, unload them, show what they did, power off.

    A FILE is a source in C or C++ or a driver (.sys); each is a driver of its own. They are loaded in the order given
    and unloaded the other way round.

    Exit code 1 where a driver was refused, or by --verifier left something behind; 4 after a bug check.

    \b
    Example:
      lab driver run --trace mydriver.c
    """  # noqa: D301 - click looks for the character itself
    from lab.machine import Machine

    strict = options["verifier"]
    ready = _checked(files)
    with closing(Machine(make_machine_options(options), gdb=trace).launch()) as machine, ThreadPoolExecutor(2) as pool:
        # QEMU boots, the compiler compiles, and Python imports: none has to wait for the others.
        folder = machine.qemu.folder / FOLDER
        building = {each: pool.submit(_built, each, folder) for each in files if each not in ready}
        from lab.machine.driver.report import session_report
        from lab.machine.driver.session import Session

        machine.start()
        images = [ready[each] if each in ready else building[each].result() for each in files]
        session = Session(machine, trace=trace, timeout=timeout)
        session.run(images)
        report = session_report(session, strict=strict)
    return _end(session, emit(report, as_json=as_json, color=color))


def _end(session: Session, code: int) -> int:
    """The exit code of a session whose report gave `code`; what is not in the report is said on stderr."""
    if session.error is None:
        return code
    if session.bugcheck is None:
        click.echo(f"lab: {session.error}", err=True)
    return session.error.exit_code


@command.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=a_file)
@click.option("-o", "--output", type=a_file, metavar="FILE.sys", help="The driver; beside the first source otherwise.")
@click.option("--release", is_flag=True, help="Optimise, and leave out DBG.")
@click.option("-D", "defines", multiple=True, metavar="NAME[=VALUE]", help="Define a macro; may be repeated.")
@click.option(
    "-I",
    "include",
    multiple=True,
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to look for headers; may be repeated.",
)
@click.option("--flag", "flags", multiple=True, metavar="FLAG", help="One more argument for clang; may be repeated.")
def build(
    *,
    files: tuple[Path, ...],
    output: Path | None,
    release: bool,
    defines: tuple[str, ...],
    include: tuple[Path, ...],
    flags: tuple[str, ...],
) -> None:
    """Build one driver of sources in C and C++.

    The compiler's warnings go to stderr. The result is the same to the bit wherever it is built.

    \b
    Example:
      lab driver build main.c pool.c -o mydriver.sys
    """  # noqa: D301 - click looks for the character itself
    from lab.machine.driver.build import build as build_driver

    target = output or files[0].with_suffix(".sys")
    built = build_driver(files, target, optimize=release, defines=defines, include=include, flags=flags)
    for each in built.warnings:
        click.echo(each, err=True)
    click.echo(f"{built.path}: {built.path.stat().st_size} bytes")


@command.command()
@click.argument("file", type=a_file)
@output_options
def inspect(file: Path, as_json: bool, color: str) -> int:
    """Show what a driver file says of itself, and which of its imports the kernel lacks.

    Nothing is booted. Exit code 1 when an import is missing.
    """
    from lab.kernel.image import KernelImage
    from lab.machine.driver.inspect import inspect_driver
    from lab.machine.driver.load import resolver
    from lab.machine.driver.pe import DriverImage

    image = DriverImage.load(file)
    return emit(inspect_driver(image, resolver(KernelImage.load())), as_json=as_json, color=color)


@command.command()
@click.argument("file", type=a_file)
@click.option("--trace", is_flag=True, help="Have GDB stop at every memory call, and compare all page tables.")
@click.option("--timeout", default=10.0, show_default=True, metavar="SECONDS", help="How long DriverEntry may take.")
@name_option
@output_options
def load(*, file: Path, trace: bool, timeout: float, machine_name: str | None, as_json: bool, color: str) -> int:
    """Load a driver, or build one and load it, into a machine that runs in the background.

    Exit code 1 when its DriverEntry failed, 4 when it ended in a bug check.
    """
    from lab.machine.driver.session import Session

    ready = _checked([file])
    with _attach(machine_name) as machine:
        image = ready.get(file) or _built(file, machine.qemu.folder / FOLDER)
        session = Session(machine, trace=trace, timeout=timeout)
        with session.guarded():
            session.load(image)
        return _show(session, as_json=as_json, color=color)


@command.command()
@click.argument("driver")
@click.option("--trace", is_flag=True, help="Have GDB stop at every memory call, and compare all page tables.")
@click.option("--timeout", default=10.0, show_default=True, metavar="SECONDS", help="How long DriverUnload may take.")
@name_option
@output_options
def unload(*, driver: str, trace: bool, timeout: float, machine_name: str | None, as_json: bool, color: str) -> int:
    """Unload a driver, and show what it left behind.

    Exit code 1 when it has no DriverUnload, and so stays.
    """
    from lab.machine.driver.load import find_driver
    from lab.machine.driver.session import Session

    with _attach(machine_name) as machine:
        session = Session(machine, trace=trace, timeout=timeout)
        visit = session.resume(find_driver(machine, driver))
        with session.guarded():
            session.unload(visit)
        return _show(session, as_json=as_json, color=color)


@command.command(name="list")
@name_option
@output_options
def list_(machine_name: str | None, as_json: bool, color: str) -> int:
    """List the drivers of a machine with their devices, and those that are gone."""
    from lab.machine.driver.report import list_report

    with _attach(machine_name) as machine, machine.paused():
        report = list_report(machine)
    return emit(report, as_json=as_json, color=color)


@command.command()
@click.argument("device")
@click.argument("code")
@click.option("--in", "given", default="", metavar="HEX", help="The input, such as 48656c6c6f.")
@click.option("--out", "wanted", default=0, show_default=True, metavar="N", help="Bytes of room for the output.")
@click.option("--fill", default="", metavar="HEX", help="What stands in that room before: input for in-direct codes.")
@click.option("--method", type=click.Choice(METHODS), help="How buffers are passed; the code's own unless given.")
@click.option("--trace", is_flag=True, help="Have GDB stop at every memory call, and compare all page tables.")
@click.option("--timeout", default=10.0, show_default=True, metavar="SECONDS", help="How long it may take.")
@name_option
@output_options
def ioctl(
    *,
    device: str,
    code: str,
    given: str,
    wanted: int,
    fill: str,
    method: str | None,
    trace: bool,
    timeout: float,
    machine_name: str | None,
    as_json: bool,
    color: str,
) -> int:
    """Send a control code to a device, as a program does: open, DeviceIoControl, close.

    DEVICE is a path (\\\\.\\Name, \\Device\\Name), the Name alone, or a driver that has one device.

    Exit code 1 when the request failed.

    \b
    Example:
      lab driver ioctl LabDirectIo 0x222000 --in 48656c6c6f --out 16
    """  # noqa: D301 - click looks for the character itself
    from lab.machine.driver.devices import find_device
    from lab.machine.driver.report import control_report
    from lab.machine.driver.session import Session

    number, data = _control_code(code, method), _hex(given)
    room = bytearray(_hex(fill).ljust(wanted, b"\0"))
    with _attach(machine_name) as machine:
        session = Session(machine, trace=trace, timeout=timeout)
        target = find_device(machine, session.guest, device)
        output = b""
        with session.guarded():
            output = session.control(target, number, data, room)
        report = control_report(session, target, number, output)
        return _end(session, emit(report, as_json=as_json, color=color))


def _control_code(text: str, method: str | None) -> int:
    try:
        code = int(text.replace("_", ""), 0)
    except ValueError:
        raise UsageError(f"{text!r} is no control code; write it like 0x222000") from None
    if not 0 <= code < 1 << 32:
        raise UsageError(f"{text} is no control code: it has 32 bits")
    return code if method is None else code & ~3 | METHODS.index(method)


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise UsageError(f"{text!r} are no bytes; write them like 48656c6c6f") from None


def _attach(name: str | None) -> Machine:
    from lab.machine import attach

    return attach(name)


def _show(session: Session, *, as_json: bool, color: str) -> int:
    from lab.machine.driver.report import session_report

    return _end(session, emit(session_report(session), as_json=as_json, color=color))


def _checked(files: Sequence[Path]) -> dict[Path, DriverImage]:
    """Read those files that are drivers; what cannot be used is refused before anything is started."""
    from lab.machine.driver.pe import DriverImage

    for each in files:
        if _is_source(each) and not each.is_file():
            raise UsageError(f"there is no source {each}")
    return {each: DriverImage.load(each) for each in files if not _is_source(each)}


def _is_source(file: Path) -> bool:
    return file.suffix.lower() in SOURCES


def _built(source: Path, folder: Path) -> DriverImage:
    """Build a driver of one source; the compiler's warnings go to stderr."""
    from lab.machine.driver.build import build
    from lab.machine.driver.pe import DriverImage

    built = build([source], folder / f"{source.stem}.sys")
    for each in built.warnings:
        click.echo(each, err=True)
    return DriverImage.load(built.path)
