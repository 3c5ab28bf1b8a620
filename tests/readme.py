"""`python -m tests.readme`: put real output into the README.

Each `<!-- output: COMMAND | FIRST-LAST -->` is followed by a code block; it gets the command, and those lines of what
it printed (all without a range). Commands are run in order, on a runtime directory of their own. Those of make are
left out unless `--all` is given: they take minutes, and an otherwise idle machine.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCK = re.compile(r"(<!-- output: ([^|\n]+?)(?: \| (\d+)-(\d+))? -->\n)```\n.*?```\n", re.DOTALL)


def main() -> None:
    """Rewrite the README in place."""
    with tempfile.TemporaryDirectory(prefix="lab-") as runtime:
        os.environ["LAB_RUNTIME_DIR"] = runtime
        README.write_text(filled(README.read_text(), with_make="--all" in sys.argv[1:]))


def filled(text: str, *, with_make: bool) -> str:
    """The README's text with its outputs made anew."""

    def made(block: re.Match[str]) -> str:
        if block[2].startswith("make ") and not with_make:
            return block[0]
        return f"{block[1]}```\n$ {block[2]}\n{output(block)}```\n"

    return BLOCK.sub(made, text)


def output(block: re.Match[str]) -> str:
    """What the command of a block prints, in the lines that the block asks for."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(shlex.split(block[2]), capture_output=True, text=True, check=False, env=environment)
    lines = (done.stdout + done.stderr).splitlines()
    if block[3]:
        first, last = int(block[3]), int(block[4])
        lines = lines[first - 1 : last] + (["…"] if len(lines) > last else [])
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
