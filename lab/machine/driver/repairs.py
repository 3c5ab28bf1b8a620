"""Mends what Microsoft's compiler accepts, or Windows' file system forgives, and this compiler refuses.

A driver's source is never changed. Where it does not compile, what the compiler said is looked through for faults that
can be mended from outside: a header spelled with other capitals gets a forwarding header; a function that is used above
its definition gets its declaration, and a text in UTF-16 becomes one in UTF-8, in a copy that keeps the original's name
and line numbers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Repairs", "Function", "functions"]

MISSING_HEADER = re.compile(r"^([^:\n]+):\d+:\d+: fatal error: '([^'\n]+)' file not found", re.MULTILINE)
UNDECLARED = re.compile(r"error: use of undeclared (?:identifier '(\w+)'|(\w+)$)", re.MULTILINE)
CONFLICTING = re.compile(r"error: (?:conflicting types for|static declaration of) '(\w+)'")
IMPLICIT = re.compile(r"warning: call to undeclared function '(\w+)'")

NOT_CODE = re.compile(
    r"//(?:[^\n\\]|\\.|\\\n)*"
    r"|/\*.*?(?:\*/|\Z)"
    r"|\"(?:[^\"\n\\]|\\.|\\\n)*\"?"
    r"|'(?:[^'\n\\]|\\.)*'?"
    r"|^[ \t]*\#(?:[^\n\\]|\\.|\\\n)*",
    re.DOTALL | re.MULTILINE,
)
"""Comments, strings, characters and preprocessor lines."""

HEAD = re.compile(r"^(?P<before>[\w\s*]*?[\s*])(?P<name>[A-Za-z_]\w*)\s*\((?P<rest>.*)\)\s*$", re.DOTALL)
ANNOTATION = re.compile(r"\b_Use_decl_annotations_\b|\b_[A-Z]\w*_\([^()]*(?:\([^()]*\)[^()]*)*\)|\b_[A-Z]\w*_\b")


@dataclass(frozen=True)
class Function:
    """A function definition as it stands in a source: its head without the body, and the line where that begins."""

    name: str
    head: str
    line: int


@dataclass
class Repairs:
    """What was mended in one source so far."""

    source: Path
    folder: Path
    search: Sequence[Path]
    declared: dict[str, Function] = field(default_factory=dict)
    forwarded: dict[str, Path] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """What was assumed, as warnings of the compiler's kind."""
        name = self.source.name
        notes = [f"{name}: warning: header {wrong} is spelled {right.name}" for wrong, right in self.forwarded.items()]
        notes += [
            f"{name}:{function.line}: warning: {function.name} is used before it is declared; "
            f"assumed: {' '.join(function.head.split())};"
            for function in self.declared.values()
        ]
        return notes

    @property
    def headers(self) -> Path:
        """A folder to search for headers last; deep enough that ../.. of a name stays below `folder`."""
        return self.folder / "headers" / "up" / "up" / "up" / "up"

    @property
    def compiled(self) -> Path:
        """The file to compile: the source itself while nothing had to be declared."""
        copy = self.folder / self.source.name
        return copy if copy.is_file() else self.source

    def apply(self, said: str) -> bool:
        """Mend what `said` complains of; False when there is nothing in it that can be mended here."""
        headers = [self._forward(Path(by).parent, name) for by, name in MISSING_HEADER.findall(said)]
        return any(headers) | self._declare(said) | self._recode()

    def _recode(self) -> bool:
        raw = self.source.read_bytes()
        if self.compiled != self.source or not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            return False
        self._write(_decoded(raw))
        return True

    def _forward(self, nearby: Path, wrong: str) -> bool:
        """Write a header of the name that was asked for, which includes the one of other capitals."""
        name = wrong.replace("\\", "/")  # which is how the compiler takes it for Windows
        right = _find_ignoring_case(name, [nearby, self.source.parent, *self.search])
        forward = Path(os.path.normpath(self.headers / name))
        if right is None or wrong in self.forwarded or not forward.is_relative_to(self.folder):
            return False
        forward.parent.mkdir(parents=True, exist_ok=True)
        forward.write_text(f'#include "{right}"\n')
        self.forwarded[wrong] = right
        return True

    def _declare(self, said: str) -> bool:
        if self.source.suffix.lower() != ".c":
            return False  # Microsoft's compiler refuses it there as well
        implicit = set(IMPLICIT.findall(said))
        faults = {name for either in UNDECLARED.findall(said) for name in either} | set(
            CONFLICTING.findall(said)
        ) & implicit
        text = _decoded(self.source.read_bytes())
        defined = {function.name: function for function in functions(text)}
        if not faults & defined.keys() - self.declared.keys():
            return False
        wanted = (faults | implicit) & defined.keys()
        self.declared |= {name: defined[name] for name in sorted(wanted)}
        self._write_copy(text, before=min(function.line for function in defined.values()))
        return True

    def _write_copy(self, text: str, before: int) -> None:
        lines = text.splitlines(keepends=True)
        # A pragma may name functions as well, and stands above the first of them.
        pragmas = [i for i, line in enumerate(lines[: before - 1], 1) if re.match(r"\s*#\s*pragma\s+alloc_text", line)]
        at = min([before, *(_outside_of_conditionals(lines, line) for line in pragmas)]) - 1
        declarations = [f"{' '.join(function.head.split())};\n" for function in self.declared.values()]
        lines[at:at] = [*declarations, f'#line {at + 1} "{self.source}"\n']
        self._write("".join(lines))

    def _write(self, text: str) -> None:
        """Write the copy that is compiled instead of the source."""
        copy = self.folder / self.source.name
        copy.write_text(f'#line 1 "{self.source}"\n{text}', encoding="utf-8", errors="surrogateescape")


def _decoded(raw: bytes) -> str:
    """The text of a source. What is not UTF-8 in one that should be is kept byte for byte."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace")
    return raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="surrogateescape")


def functions(text: str) -> list[Function]:
    r"""Find the function definitions at the outermost level of a C source.

    >>> functions("#include <ntddk.h>\nstatic int\nfoo(int a)\n{ if (a) { } }\nint b;")
    [Function(name='foo', head='static int\nfoo(int a)', line=2)]
    """
    code = NOT_CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    found: list[Function] = []
    depth = start = 0
    for mark in re.finditer(r"[{};]", code):
        if mark[0] == "{":
            if depth == 0 and (head := _head(code, start, mark.start())):
                found.append(head)
            depth += 1
        elif mark[0] == "}":
            depth = max(depth - 1, 0)
        if depth == 0:
            start = mark.end()
    return found


def _head(code: str, start: int, end: int) -> Function | None:
    raw = code[start:end]
    head = HEAD.match(ANNOTATION.sub(" ", raw).strip())
    if head is None or not head["before"].strip():
        return None
    first = start + len(raw) - len(raw.lstrip())
    return Function(head["name"], head[0].strip(), code.count("\n", 0, first) + 1)


def _outside_of_conditionals(lines: Sequence[str], line: int) -> int:
    """The line at or above `line` that stands in no #if."""
    opened: list[int] = []
    for number, each in enumerate(lines[: line - 1], 1):
        if re.match(r"\s*#\s*if", each):
            opened.append(number)
        elif re.match(r"\s*#\s*endif", each) and opened:
            opened.pop()
    return opened[0] if opened else line


def _find_ignoring_case(name: str, folders: Iterable[Path]) -> Path | None:
    for folder in folders:
        found = folder
        for part in Path(name).parts:
            exact = found / part
            same = [exact] if part in ("..", ".") else [p for p in _listed(found) if p.name.lower() == part.lower()]
            if not same:
                break
            found = same[0]
        else:
            if found.is_file():
                return found.resolve()
    return None


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
