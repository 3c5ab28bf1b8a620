"""The lecture on memory types: three bits of a leaf choose one of eight, and MTRRs have a say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.scenarios.registry import scenario
from lab.texts import Text
from lab.x86.address import VirtualAddress
from lab.x86.entry import Entry
from lab.x86.registers import MemoryType

if TYPE_CHECKING:
    from lab.scenarios.stage import Stage
    from lab.scenarios.step import Step
    from lab.views.report import Report

PAGE = 4096
ANY_ADDRESS = (1 << 64) - 1

WANTED = (
    ("MmCached", "WB", Text("Write-back: reads and writes stay in the cache as long as they can. All usual memory.")),
    ("MmNonCached", "UC", Text("Uncacheable: every access goes out, in order. Registers of devices need that.")),
    (
        "MmWriteCombined",
        "WC",
        Text("Write-combining: writes are gathered and leave in bursts, reads bypass the cache. Frame buffers."),
    ),
)


@scenario("cache-types", 9)
def cache_types(stage: Stage) -> Iterator[Step]:
    """Cache types: three bits of the leaf, the PAT, and the MTRRs.

    PWT, PCD and PAT of a leaf are a number from 0 to 7, and the register IA32_PAT says which memory type that is.
    Three frames are mapped as cached, non-cached and write-combined memory. A second mapping of a frame gets the type
    that the first one has, whatever was asked for. At last the types of PAT and MTRRs together. QEMU's TCG has no
    caches: the bits are real, and what they would do to speed cannot be seen here.
    """
    before = stage.books()
    if stage.snapshot().state.pat.types[1] is not MemoryType.WC:
        stage.refute(f"number 1 of the PAT should be WC, and is {stage.snapshot().state.pat.types[1]}")
    yield stage.step(
        "Eight numbers, and what they mean",
        "Windows puts write-combining in the place of number 1, where a CPU has write-through after a reset.",
        ask="Three bits of a leaf choose the memory type. How many types can be in use at once?",
        answer="Eight numbers, and what each means stands in the register IA32_PAT.",
        notes="The index is PAT, PCD, PWT read as a binary number. In larger leaves PAT is bit 12.",
        reports={"pat": _pat_report(stage)},
    )
    for cache_type, expected, text in WANTED:
        yield from _map_as(stage, cache_type, expected, text)
    yield stage.step(
        "Both together: PAT and MTRR",
        "The MTRRs say by physical address what firmware knows: RAM is WB, devices are UC. The stricter one usually"
        " wins; write-combining wins over UC of an MTRR, which is what a frame buffer lives on.",
        ask="The MTRR says UC, and the entry says WB. What is it?",
        answer="UC: an entry cannot make a device cacheable.",
        notes="The manual calls this table Effective Page-Level Memory Types: rows by the MTRR, columns by the PAT.",
        reports={"effective": _effective_report()},
    )
    yield stage.nothing_left(before)


def _map_as(stage: Stage, cache_type: str, expected: str, text: Text) -> Iterator[Step]:
    """Map a new frame as one type, then again as another."""
    kernel = stage.machine.kernel
    mdl = int(stage.quick_call("MmAllocatePagesForMdl", 0, ANY_ADDRESS, 0, PAGE))
    priority = kernel.constant("NormalPagePriority") | kernel.constant("MdlMappingNoExecute")
    call = stage.call("MmMapLockedPagesSpecifyCache", mdl, 0, kernel.constant(cache_type), 0, 0, priority)
    first = VirtualAddress(int(call))
    _expect(stage, first, expected)
    yield stage.step(
        "Map a frame with {cache_type}",
        text,
        call=call,
        cache_type=cache_type,
        ask="Which of PAT, PCD and PWT will be set?",
        answer=_bits_set(stage, first),
        agree=(first,),
        notes="The three bits stand in the last line of the walk, and the type they make behind the arrow.",
        reports={"walk": stage.report("walk", {"address": hex(first)})},
    )
    again = int(stage.quick_call("IoAllocateMdl", first, PAGE, 0, 0, 0))
    stage.quick_call("MmProbeAndLockPages", again, 0, kernel.constant("IoReadAccess"))
    other = "MmNonCached" if cache_type == "MmCached" else "MmCached"
    call = stage.call("MmMapLockedPagesSpecifyCache", again, 0, kernel.constant(other), 0, 0, priority)
    second = VirtualAddress(int(call))
    _expect(stage, second, expected)
    yield stage.step(
        "Map the same frame again, and ask for {other}",
        "It is {expected} all the same: a frame has one type in all its mappings, or the CPU would see two truths.",
        call=call,
        other=other,
        expected=expected,
        ask="The frame is {expected} already. Of what type is a second mapping, asked for as {other}?",
        answer="{expected}: what the frame is already.",
        notes="The PFN database keeps the type of every mapped frame. What two types for one frame do, the manual"
        " leaves open.",
        focus=(second, first),
        reports={"aliases": stage.report("aliases", {"address": hex(first)})},
    )
    stage.quick_call("MmUnlockPages", again)  # takes its mapping away, too
    stage.quick_call("IoFreeMdl", again)
    stage.quick_call("MmUnmapLockedPages", first, mdl)
    stage.quick_call("MmFreePagesFromMdl", mdl)
    stage.quick_call("ExFreePool", mdl)


def _expect(stage: Stage, address: VirtualAddress, expected: str) -> None:
    found = stage.snapshot().walk(address).mapped.memory_type
    if str(found) != expected:
        stage.refute(f"{address} should be {expected} memory, and is {found}")


def _bits_set(stage: Stage, address: VirtualAddress) -> Text:
    """Which of the three bits the leaf of an address has."""
    leaf = stage.snapshot().walk(address).steps[-1].entry
    names = [bit.name for bit in (Entry.pat, Entry.cache_disable, Entry.write_through) if leaf & bit.mask]
    return Text("These: {bits}.", {"bits": ", ".join(names)}) if names else Text("None: it is number 0.")


def _pat_report(stage: Stage) -> Report:
    from lab.views.report import Cell, Column, Report, Role, Table

    types = stage.snapshot().state.pat.types
    rows = tuple(
        (
            Cell(str(index), Role.NUMBER),
            *(Cell(str(index >> bit & 1)) for bit in (2, 1, 0)),
            Cell(str(each), Role.FLAGS),
        )
        for index, each in enumerate(types)
    )
    columns = (Column("number", right=True), Column("PAT"), Column("PCD"), Column("PWT"), Column("type"))
    return Report("lab.pat/1", {"types": [str(each) for each in types]}, (Table(columns, rows),))


def _effective_report() -> Report:
    """What every MTRR type and every PAT type make together."""
    from lab.views.report import Cell, Column, Report, Role, Table
    from lab.x86.caching import effective_type

    by_mtrr = [MemoryType.UC, MemoryType.WC, MemoryType.WT, MemoryType.WB, MemoryType.WP]
    by_pat = [MemoryType.UC, MemoryType.UC_MINUS, MemoryType.WC, MemoryType.WT, MemoryType.WB, MemoryType.WP]
    table = {str(mtrr): {str(pat): str(effective_type(mtrr, pat)) for pat in by_pat} for mtrr in by_mtrr}
    rows = tuple(
        (Cell(mtrr, Role.LABEL), *(Cell(found, Role.FLAGS) for found in types.values()))
        for mtrr, types in table.items()
    )
    columns = (Column("MTRR \\ PAT"), *(Column(str(pat)) for pat in by_pat))
    return Report("lab.effective-types/1", {"effective": table}, (Table(columns, rows),))
