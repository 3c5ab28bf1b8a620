"""`lab`, the command line: one file a verb, and every view is a verb by itself.

A file `lab/cli/NAME.py` with a click command called `command` adds `lab NAME`; a file in `lab/views/`
adds a verb of the view's name. Nothing else has to be edited.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from lab import __version__
from lab.errors import HostError, LabError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["main"]

CTRL_C = 130
_SUPPORT = {"common"}  # files in this folder that are not verbs


class Verbs(click.Group):
    """Finds verbs by looking at the folder, and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        from lab.views import all_views

        return sorted({*_verb_files(), *all_views()})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name in _verb_files():
            command = importlib.import_module(f"{__name__}.{name}").command
            return command if isinstance(command, click.Command) else None
        from lab.cli.common import view_command
        from lab.views import find_view

        view = find_view(name) if name.isidentifier() else None
        return view_command(view) if view else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = _nearest(args[0], self.list_commands(ctx))
            if near is None:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near!r}?", ctx) from None


def _verb_files() -> set[str]:
    return {file.stem for file in Path(__file__).parent.glob("[a-z]*.py")} - _SUPPORT


def _nearest(word: str, names: list[str]) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(word, names, n=1)), None)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lab")
def cli() -> None:
    """Boot a tiny x86-64 kernel in QEMU, and see its real page tables and physical memory.

    `lab run` boots a machine, remaps one frame through an MDL and shows every page-table entry it
    took. `lab boot` leaves a machine running; the views (walk, map, pool, …) then look into it.
    """


def main() -> None:
    """Run the command line; end with the exit codes that scripts may rely on.

    0 done · 1 the answer is no · 2 usage · 3 this host lacks something · 4 the guest crashed or did
    not answer · 130 Ctrl-C.
    """
    gc.disable()  # a verb is over before there is anything worth collecting; those that last turn it on again
    _take_streams()
    code = _code_of(_run)
    atexit._run_exitfuncs()  # noqa: SLF001 - what is open is closed, as at any exit
    code = _code_of(sys.stdout.flush) or code
    sys.stderr.flush()
    os._exit(code)  # else the interpreter would take itself apart first, as long as two calls of the guest take


def _run() -> int:
    code = cli.main(standalone_mode=False)
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _code_of(action: Callable[[], int | None]) -> int:
    """The exit code that an action asks for, by what it returns or raises; an error is told in its own words."""
    try:
        return action() or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return CTRL_C
    except LabError as error:
        click.echo(f"lab: {error}", err=True)
        return error.exit_code
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        click.echo(end.code, err=True)
        return 1


# ------------------------------------------------------------------------------------------------------ streams ----


class _Answers(io.FileIO):
    """Standard output that ends the verb when nobody takes the answer any more, and takes all else in silence then.

    A reader that has gone (`lab map | head`) has seen what it wanted: SystemExit, which click lets pass, unlike
    BrokenPipeError. HostError for all else, such as a full disk.
    """

    _is_over = False

    def write(self, data: ReadableBuffer, /) -> int:
        if self._is_over:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except BrokenPipeError:
            self._is_over = True
            raise SystemExit(0) from None
        except OSError as error:
            self._is_over = True
            raise HostError(f"cannot write the answer to stdout: {error.strerror}; send it elsewhere") from error


class _Complaints(io.FileIO):
    """Standard error: a complaint that cannot be heard changes nothing."""

    def write(self, data: ReadableBuffer, /) -> int:
        with suppress(OSError):
            return super().write(data)
        return memoryview(data).nbytes


def _take_streams() -> None:
    """See to it that the three standard streams are there, and that writing to them raises nothing unforeseen."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed by whoever started us, and the next file or socket would get its number
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - as long as we live
    # What an encoding lacks, as Latin-1 does the arrow, is a question mark.
    sys.stdout = _text(_Answers(1, "w", closefd=False), sys.stdout, "replace")
    sys.stderr = _text(_Complaints(2, "w", closefd=False), sys.stderr, "backslashreplace")


def _text(raw: io.FileIO, before: TextIO | None, errors: str) -> io.TextIOWrapper:
    """A stream for text, in the encoding of the one that was there before."""
    lines, at_once = getattr(before, "line_buffering", False), getattr(before, "write_through", False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before else "utf-8",
        errors=errors,
        newline="\n",
        line_buffering=lines,
        write_through=at_once,
    )
