"""The pinned compiler and linker as driver builds need them: flags, headers, import libraries.

`ziglang` from PyPI brings clang, LLD and mingw-w64's headers for drivers, so any host builds the same bytes. The linker
is called directly, not through `zig cc`: that would first compile a runtime library (ten seconds, 40 MB of cache) from
which a driver needs nothing, and would always write a PDB.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from lab.errors import HostError, LabError, ToolMissing
from lab.kernel.image import IMAGES

__all__ = ["Libraries", "compile_command", "link_command", "libraries", "run", "toolchain", "workshop", "DDK"]

DDK = Path(__file__).resolve().parents[3] / "guest" / "ddk"
"""Our header for what mingw-w64 lacks, and the list of exports for what its import library lacks."""

TIMEOUT = 120.0
"""Seconds after which a compiler is taken for hung; a large driver takes one or two."""

LANGUAGE = (
    # Without optimisation, as in Microsoft's debug configuration: a read of freed memory whose value is not used stays
    # in the code, every variable can be seen, and each line is where the source has it.
    "-O0 -gdwarf32 -UNDEBUG -DDBG=1",
    "-fno-sanitize=all -fno-stack-protector -fno-strict-aliasing -fwrapv -fno-delete-null-pointer-checks",
    # -fasync-exceptions has to pass the driver program by, or a faulting load directly inside __try has no handler.
    "-fms-extensions -Xclang -fasync-exceptions",
    # Newer processors' vector intrinsics are half of what the compiler would read; this is how it is told to skip them.
    "-mcpu=x86_64+cx16+xsave -D__SCE__=1",
    # The C library's names are to mean what ntoskrnl exports, not wrappers around a user-mode library.
    "-U__MSVCRT_VERSION__ -D__MSVCRT_VERSION__=0x600 -D__USE_MINGW_ANSI_STDIO=0",
    "-D_AMD64_ -DAMD64 -D_KERNEL_MODE=1",
)
OPTIMIZED = {"-O0": "-O2", "-DDBG=1": "-DDBG=0"}
"""What becomes of flags above in a build as for release."""

TOLERANT = (
    # Errors of this compiler that are warnings, or nothing, for Microsoft's.
    "-Wno-error=implicit-function-declaration -Wno-error=implicit-int -Wno-error=int-conversion",
    "-Wno-error=incompatible-pointer-types -Wno-error=incompatible-function-pointer-types",
    "-Wno-error=return-mismatch -Wno-error=return-type",
    # Said about every driver written for Microsoft's compiler, and of no use to who reads it.
    "-Wno-microsoft -Wno-unknown-pragmas -Wno-ignored-pragmas -Wno-ignored-attributes -Wno-pragma-pack",
    "-Wno-multichar -Wno-unused-value -Wno-unused-command-line-argument -Wno-inconsistent-dllimport",
    "-Wno-nonportable-include-path -Wno-date-time",
)
TOLERANT_CPP = ("-Wno-error=c++11-narrowing -Wno-error=address-of-temporary -Wno-writable-strings",)
CPP = ("-fno-exceptions -fno-rtti -fno-threadsafe-statics",)

LINK = (
    "-NOLOGO -ERRORLIMIT:0 -MACHINE:X64 -SUBSYSTEM:NATIVE,6.1 -DRIVER -ENTRY:DriverEntry -DYNAMICBASE -NODEFAULTLIB",
    # Time stamps come from the contents; the checksum is written, as Microsoft's linker does.
    "-BREPRO -RELEASE -DEBUG:DWARF",
    # Discarded once DriverEntry has returned.
    "-SECTION:INIT,ERD",
)

ALIASES = {
    "___chkstk_ms": "__chkstk",
    "__cxa_pure_virtual": "_purecall",
}
"""What this compiler calls, and the kernel's name for the same."""


@dataclass(frozen=True)
class Toolchain:
    """Where the compiler and the headers stand."""

    zig: Path
    version: str
    headers: Path
    exports: Path

    @property
    def definitions(self) -> tuple[Path, ...]:
        """The lists of exports that drivers link against; a name is looked up in this order."""
        return (self.exports / "ntoskrnl.def", DDK / "ntoskrnl.def", self.exports / "hal.def")


@cache
def toolchain() -> Toolchain:
    """Find the pinned compiler; ToolMissing, with the command that installs it, when it is not there."""
    found = find_spec("ziglang")
    folders = found.submodule_search_locations if found else None
    if not folders:
        raise ToolMissing("ziglang", "python -m pip install ziglang")
    home = Path(folders[0])
    libc = home / "lib" / "libc"
    headers = libc / "include" / "any-windows-any"
    if not (headers / "ddk" / "wdm.h").is_file():
        raise HostError(
            f"{home} has no headers for Windows drivers; reinstall it: pip install --force-reinstall ziglang"
        )
    version = next((p.name for p in home.parent.glob("ziglang-*.dist-info")), "ziglang")
    return Toolchain(home / "zig", version.removesuffix(".dist-info"), headers, libc / "mingw" / "lib64")


@contextmanager
def workshop() -> Iterator[Path]:
    """A temporary folder that also holds the compiler's caches.

    They are not kept: with a warm cache the compiler does not repeat its warnings, and without one it is fast enough.
    """
    with tempfile.TemporaryDirectory(prefix="lab-driver-") as folder:
        yield Path(folder)


def run(arguments: Sequence[str], bench: Path) -> subprocess.CompletedProcess[str]:
    """Run the compiler, the linker or one of their helpers in `bench`; what it says is in `stderr`."""
    tools = toolchain()
    cache_folder = str(bench / "cache")
    environment = {
        **os.environ,
        "ZIG_GLOBAL_CACHE_DIR": cache_folder,
        "ZIG_LOCAL_CACHE_DIR": cache_folder,
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "SOURCE_DATE_EPOCH": "0",  # what __DATE__ and __TIME__ say
    }
    for name in ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH"):
        environment.pop(name, None)
    try:
        return subprocess.run(
            [str(tools.zig), *arguments],
            cwd=bench,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"`zig {arguments[0]}` has not ended after {TIMEOUT:.0f} s; it was stopped") from None
    except OSError as error:
        raise HostError(f"{tools.zig} cannot be run ({error.strerror}); reinstall it: pip install ziglang") from None


def compile_command(source: Path, target: Path, *, optimize: bool, recorded_without: Sequence[Path]) -> list[str]:
    """Arguments that compile one source. Paths below the folders `recorded_without` are recorded relative to them."""
    tools = toolchain()
    is_cpp = source.suffix.lower() != ".c"
    # First of all others: what stands here stands in front of mingw-w64's header of the same name.
    folders = [f"-I{DDK}", f"-isystem{tools.headers}", f"-isystem{tools.headers / 'ddk'}"]
    # The last that fits is taken, so the most particular stands last.
    recorded = {tools.zig.parent / "lib": "zig/", DDK: "ddk/", **dict.fromkeys(recorded_without, "")}
    flags = [flag for group in (*LANGUAGE, *TOLERANT) for flag in group.split()]
    if optimize:
        flags = [OPTIMIZED.get(flag, flag) for flag in flags]
    if is_cpp:
        flags += [flag for group in (*CPP, *TOLERANT_CPP) for flag in group.split()]
    return [
        *("cc", "-target", "x86_64-windows-gnu", "-c", str(source), "-o", str(target)),
        *flags,
        *folders,
        "-fdebug-compilation-dir=.",
        # For Windows targets the compiler may put a backslash before the last part of a path.
        *(f"-ffile-prefix-map={old}{slash}={new}" for old, new in recorded.items() for slash in "/\\"),
    ]


def link_command(objects: Sequence[Path], target: Path, against: Libraries) -> list[str]:
    """Arguments that link a driver."""
    flags = [flag for group in LINK for flag in group.split()]
    return ["lld-link", *flags, f"-OUT:{target}", *map(str, objects), *map(str, against.files), f"@{against.aliases}"]


@dataclass(frozen=True)
class Libraries:
    """What drivers are linked against: import libraries, and a file of linker options with further names."""

    files: tuple[Path, ...]
    aliases: Path


def libraries(bench: Path) -> Libraries:
    """Make the import libraries, or find those made before in images/build/ddk."""
    definitions = toolchain().definitions
    digest = hashlib.sha256(toolchain().version.encode())
    for definition in definitions:
        digest.update(definition.read_bytes())
    digest.update(Path(__file__).read_bytes())
    kept = IMAGES / "build" / "ddk" / digest.hexdigest()[:16]
    if not kept.is_dir():
        made = _make_libraries(bench / "ddk")
        try:
            _keep(made, kept)
        except OSError:  # a read-only installation: they take a few hundredths of a second each time
            kept = made
    return Libraries(tuple(kept / f"{index}.lib" for index in range(len(definitions))), kept / "aliases.rsp")


def _make_libraries(folder: Path) -> Path:
    folder.mkdir()
    aliases = dict(ALIASES)
    for index, definition in enumerate(toolchain().definitions):
        library = folder / f"{index}.lib"
        made = run(["dlltool", "-m", "i386:x86-64", "-d", str(definition), "-l", str(library)], folder)
        if made.returncode:
            raise LabError(f"no import library could be made of {definition}: {made.stderr.strip()}")
        # A variable that is declared without an import attribute is its import slot, as in Microsoft's libraries: so
        # `*PsProcessType` works as it is written in drivers.
        data = re.findall(r"^(\w+)\s+DATA", definition.read_text(), re.MULTILINE)
        aliases |= {name: f"__imp_{name}" for name in data}
    text = "".join(f"-alternatename:{name}={meaning}\n" for name, meaning in sorted(aliases.items()))
    (folder / "aliases.rsp").write_text(text)
    return folder


def _keep(made: Path, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        copy = shutil.copytree(made, Path(folder) / "ddk", ignore=shutil.ignore_patterns("cache"))
        try:
            copy.rename(kept)
        except OSError:
            if not kept.is_dir():  # somebody else was quicker
                raise
