"""Builds Windows drivers from sources written for Microsoft's kit.

The result is the same to the bit wherever it is built. It carries DWARF in sections of its own, which GDB reads and
`lab.machine.driver.pe` turns into function and line; Windows, and our loader, leave them aside.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError, UsageError
from lab.machine.driver.repairs import Repairs
from lab.machine.driver.toolchain import (
    DDK,
    compile_command,
    libraries,
    link_command,
    run,
    toolchain,
    workshop,
)

__all__ = ["Built", "BuildFailed", "build"]

SUFFIXES = {".c", ".cpp", ".cc", ".cxx"}

ROUNDS = 4
"""Attempts at one source: what was mended may uncover the next thing to mend."""

ELSEWHERE = {
    "wdf.h": "sources of KMDF drivers cannot be built here, only drivers built elsewhere be loaded",
    "fltkernel.h": "file-system filters cannot be built here",
    "ntifs.h": "the compiler's headers for drivers are incomplete",
}
"""Headers that nothing can be done about, and what to say of them."""

DIAGNOSTIC = re.compile(r"^(?:[^\n:]+:\d+:\d+: |zig: |clang: )(fatal error|error|warning|note): ")


@dataclass(frozen=True)
class Built:
    """A driver that was built, and what the compiler had to say: one text a warning, with the lines it shows."""

    path: Path
    warnings: list[str]


class BuildFailed(LabError):
    """A driver's source does not compile or link; `diagnostics` are the errors, `warnings` what else was said."""

    def __init__(self, sentence: str, diagnostics: Sequence[str], warnings: Sequence[str] = ()) -> None:
        super().__init__("\n".join([sentence, *diagnostics]))
        self.diagnostics = tuple(diagnostics)
        self.warnings = tuple(warnings)


def build(
    sources: Sequence[Path],
    output: Path,
    *,
    optimize: bool = False,
    defines: Sequence[str] = (),
    include: Sequence[Path] = (),
    flags: Sequence[str] = (),
) -> Built:
    """Compile and link `sources` (C by `.c`, C++ by `.cpp`) into the driver `output`.

    As in Microsoft's debug configuration, DBG is 1 and nothing is optimised; `optimize` builds as for release.
    `defines` are `NAME` or `NAME=VALUE`, `include` folders for headers, `flags` anything else for clang.

    >>> built = build([samples / "remap.c"], folder / "remap.sys")
    >>> built.path.name, built.warnings
    ('remap.sys', [])

    Raises BuildFailed with the compiler's own lines, UsageError for a source that is missing or in another language,
    ToolMissing without `ziglang`.
    """
    files = _checked(sources)
    root = Path(os.path.commonpath([file.parent for file in files]))
    further = [*(f"-D{each}" for each in defines), *(f"-I{Path(each).absolute()}" for each in include), *flags]
    with workshop() as bench:
        options = _Options(root, optimize, include, further)
        jobs = [_Job(file, bench / str(index), options) for index, file in enumerate(files)]
        with ThreadPoolExecutor(max_workers=2) as pool:
            said = list(pool.map(_Job.compile, jobs))
        shown = [_diagnostics(text, root, bench) for text in said]
        warnings = [line for job, lines in zip(jobs, shown, strict=True) for line in (*job.repairs.notes, *lines[1])]
        if failed := [job for job in jobs if not job.target.is_file()]:
            raise _compile_failure(failed, [error for errors, _ in shown for error in errors], warnings)
        linked = bench / output.name
        _link([job.target for job in jobs], linked, bench, warnings)
        _install(linked, output)
    return Built(output, warnings)


@dataclass(frozen=True)
class _Options:
    """What is the same for all sources of a driver."""

    root: Path
    optimize: bool
    include: Sequence[Path]
    flags: Sequence[str]


class _Job:
    """The compilation of one source, in a folder of its own."""

    def __init__(self, source: Path, folder: Path, options: _Options) -> None:
        self.source = source
        self.folder = folder
        self.options = options
        self.target = folder / f"{source.stem}.obj"
        headers = toolchain().headers
        self.repairs = Repairs(source, folder / "mended", [*options.include, DDK, headers / "ddk", headers])
        self.repairs.headers.mkdir(parents=True)

    def compile(self) -> str:
        """Compile, mending what can be mended; return what the compiler said in the end."""
        said = self._once()
        for _ in range(ROUNDS):
            if self.target.is_file() or not self.repairs.apply(said):
                break
            said = self._once()
        return said

    def _once(self) -> str:
        options = self.options
        command = compile_command(
            self.repairs.compiled,
            self.target,
            optimize=options.optimize,
            recorded_without=(options.root, self.repairs.folder),
        )
        # What a moved copy includes by quotes stands beside the original.
        nearby = ["-iquote", str(self.source.parent), f"-I{self.repairs.headers}"]
        finished = run([*command, *options.flags, *nearby], self.folder)
        if finished.returncode == 0 and not self.target.is_file():
            raise LabError(
                f"the compiler made nothing of {self.source}; were the flags {list(options.flags)} meant so?"
            )
        return finished.stderr


def _checked(sources: Sequence[Path]) -> list[Path]:
    """The sources as absolute paths, or a UsageError that says what is wrong with them."""
    if not sources:
        raise UsageError("no source was given; a driver is built of one or more .c or .cpp files")
    files = []
    for source in sources:
        path = Path(source)
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(
                f"{path} is not a C or C++ source ({', '.join(sorted(SUFFIXES))}); nothing else is compiled"
            )
        if not path.is_file():
            raise UsageError(f"there is no source {path}")
        files.append(path.absolute())
    return files


def _diagnostics(said: str, root: Path, bench: Path) -> tuple[list[str], list[str]]:
    """Errors and warnings in what the compiler said, each with the lines that belong to it; paths as in the source."""
    errors: list[str] = []
    warnings: list[str] = []
    current = errors
    for line in said.replace(f"{root}/", "").replace(f"{bench}/", "").splitlines():
        if found := DIAGNOSTIC.match(line):
            if found[1] == "note":
                current[-1:] = [f"{current[-1]}\n{line}"] if current else [line]
            else:
                current = warnings if found[1] == "warning" else errors
                current.append(line)
        elif current and not re.fullmatch(r"\d+ (warning|error)s?.* generated\.", line):
            current[-1] += f"\n{line}"
    return errors, warnings


def _compile_failure(failed: Sequence[_Job], errors: Sequence[str], warnings: Sequence[str]) -> BuildFailed:
    names = ", ".join(job.source.name for job in failed)
    sentence = f"{names} {'does' if len(failed) == 1 else 'do'} not compile"
    for header, remark in ELSEWHERE.items():
        if any(f"'{header}' file not found" in error.lower() for error in errors):
            sentence += f": {remark}"
    return BuildFailed(sentence, errors, warnings)


def _link(objects: Sequence[Path], target: Path, bench: Path, warnings: Sequence[str]) -> None:
    finished = run(link_command(objects, target, libraries(bench)), bench)
    if finished.returncode == 0:
        return
    blocks = re.split(r"^(?=lld-link: )", finished.stderr.replace(f"{bench}/", ""), flags=re.MULTILINE)
    errors = [block.removeprefix("lld-link: ").strip() for block in blocks if block.strip()]
    raise BuildFailed(_link_sentence(finished.stderr, target.name), errors, warnings)


def _link_sentence(said: str, name: str) -> str:
    undefined = re.findall(r"undefined symbol: (?:__declspec\(dllimport\) )?(\S.*)", said)
    if "DriverEntry" in undefined or "<root>: undefined symbol" in said:
        return f'{name} has no DriverEntry; in C++ it must be declared extern "C"'
    if undefined:
        what = ", ".join(undefined[:4]) + (", …" if len(undefined) > 4 else "")
        verb = "is" if len(undefined) == 1 else "are"
        return f"{name} does not link: {what} {verb} neither defined in the sources nor exported by Windows' kernel"
    return f"{name} does not link"


def _install(built: Path, output: Path) -> None:
    """Put the finished driver in its place at once, so that nobody ever sees half of it."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        nearby = output.with_name(f".{output.name}.{os.getpid()}")
        shutil.copyfile(built, nearby)
        nearby.replace(output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}; choose another place for the driver") from None
