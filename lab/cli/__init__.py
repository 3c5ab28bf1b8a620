"""`lab`, the command line: one file a verb, and every view is a verb by itself.

A file `lab/cli/NAME.py` with a click command called `command` adds `lab NAME`; a file in `lab/views/`
adds a verb of the view's name. Nothing else has to be edited.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
from contextlib import suppress
from pathlib import Path

import click

from lab import __version__
from lab.errors import LabError

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
    code = _run()
    atexit._run_exitfuncs()  # noqa: SLF001 - what is open is closed, as at any exit
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # else the interpreter would take itself apart first, as long as two calls of the guest take


def _run() -> int:
    try:
        code = cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return CTRL_C
    except LabError as error:
        click.echo(f"lab: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        return 0  # the reader of our output has gone (`lab map | head`): nothing to say, and nobody to say it to
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return code if isinstance(code, int) else 0
