"""The description of the kernel is what its ELF, read by other programs, says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import ImageMissing
from lab.kernel.extract import extract, main
from lab.kernel.image import IMAGES, KernelImage

ELF = IMAGES / "kernel.elf"


@pytest.fixture(scope="module")
def kernel() -> KernelImage:
    return KernelImage.load()


def test_description_is_fresh_and_small() -> None:
    description = ELF.with_suffix(".json")
    assert json.loads(description.read_text()) == json.loads(json.dumps(extract(ELF)))
    assert description.stat().st_size < 300_000


def test_a_kernel_that_is_built_already_is_built_in_silence() -> None:
    guest, python = ELF.parents[1] / "guest", sys.executable
    done = subprocess.run(["make", "-n", "-C", guest, f"PYTHON={python}"], capture_output=True, text=True, check=True)
    assert "Nothing to be done" not in done.stdout


def test_symbols_are_those_of_the_linkers_own_map(kernel: KernelImage) -> None:
    rows = [line.split() for line in ELF.with_suffix(".map").read_text().splitlines()]
    linked = {(row[4], row[0]) for row in rows if len(row) == 5}

    functions = {(each.name, f"{each.address:x}") for each in kernel.symbols if each.kind == "function"}

    assert len(functions) > 100
    assert functions <= linked


def test_structures_are_laid_out_as_windows_has_them(kernel: KernelImage) -> None:
    offsets = {name: field.offset for name, field in kernel.structure("MDL").fields.items()}
    assert offsets == {
        "Next": 0x00,
        "Size": 0x08,
        "MdlFlags": 0x0A,
        "Process": 0x10,
        "MappedSystemVa": 0x18,
        "StartVa": 0x20,
        "ByteCount": 0x28,
        "ByteOffset": 0x2C,
    }
    assert kernel.structure("_MMPFN").size == 0x30
    assert kernel.structure("_MMPFN").field("u3").type.tag == "_MMPFN.u3"
    assert kernel.structure("POOL_HEADER").field("PoolTag").type.name == "ULONG"


def test_enums_and_constants(kernel: KernelImage) -> None:
    assert kernel.enum("page_location").name_of(6) == "PAGE_ACTIVE"
    assert kernel.enum("mdl_flag").flags_of(0x5) == ("MDL_MAPPED_TO_SYSTEM_VA", "MDL_SOURCE_IS_NONPAGED_POOL")
    assert kernel.constant("PTE_NX") == 1 << 63
    assert kernel.constant("PFN_DATABASE") == 0xFFFFFA80_00000000


def test_exports_have_addresses_types_and_help(kernel: KernelImage) -> None:
    export = kernel.export("MmMapLockedPagesSpecifyCache")
    assert kernel.symbol(export.name).address == export.address
    assert not export.is_command
    assert export.signature is not None
    assert export.signature.returns.name == "PVOID"
    assert [name for name, _ in export.signature.parameters][:3] == ["MemoryDescriptorList", "AccessMode", "CacheType"]
    assert export.signature.parameters[2][1].kind == "enum"
    assert str(kernel.export("DbgPrint").signature) == "(PCSTR Format, ...)"
    commands = [each for each in kernel.exports.values() if each.is_command]
    assert commands
    assert all(each.help for each in commands)
    assert list(kernel.exports) == sorted(kernel.exports)


def test_every_export_has_a_signature_but_those_in_assembly(kernel: KernelImage) -> None:
    without = {each.name for each in kernel.exports.values() if each.signature is None}
    assert without == {
        "__chkstk",
        "_chkstk",
        "___chkstk_ms",
        "_setjmp",
        "_setjmpex",
        "setjmp",
        "longjmp",
        "RtlCaptureContext",
    }


def test_globals_have_types(kernel: KernelImage) -> None:
    kind = kernel.variable_type("lab_mailbox")
    assert kind is not None
    assert (kind.kind, kind.tag) == ("struct", "lab_mailbox")
    usage = kernel.structure("pool_tag_usage").field("kind").type
    assert usage.kind == "array"
    assert usage.target is not None
    assert "bytes" in kernel.structure(usage.target.tag).fields


def test_main_writes_a_loadable_description(tmp_path: Path) -> None:
    elf = tmp_path / "kernel.elf"
    shutil.copy(ELF, elf)
    assert main([str(elf), str(tmp_path / "kernel.json")]) == 0
    assert KernelImage.load(elf).symbol("lab_log").size > 65536
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".new"] == []


def test_stale_or_missing_description_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageMissing, match="make kernel"):
        KernelImage.load(tmp_path / "kernel.json")
    elf = tmp_path / "kernel.elf"
    shutil.copy(ELF, elf)
    shutil.copy(ELF.with_suffix(".json"), tmp_path)
    with elf.open("ab") as file:
        file.write(b"changed")
    with pytest.raises(ImageMissing, match="does not describe"):
        KernelImage.load(elf)
    elf.with_suffix(".json").write_text("{")
    with pytest.raises(ImageMissing, match="make kernel"):
        KernelImage.load(elf)


def test_an_image_that_cannot_be_described_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/bin/true", str(tmp_path / "kernel.json")]) == 1

    assert capsys.readouterr().err == "/bin/true has no symbol table: link it without --strip\n"
    assert not (tmp_path / "kernel.json").exists()


def test_usage() -> None:
    assert main([]) == 2
