"""`lab regs`: the registers, those of paging bit by bit."""

from __future__ import annotations

from lab.snapshot import Snapshot
from lab.views.cells import address_cell, flags_cell, line
from lab.views.registry import view
from lab.views.report import Cell, Json, KeyValues, Line, Lines, Report, Role
from lab.x86.registers import CR0, CR4, EFER, RFLAGS
from lab.x86.words import Word

__all__ = ["show_regs"]

GENERAL = (
    ("rax", "rbx", "rcx"),
    ("rdx", "rsi", "rdi"),
    ("rbp", "rsp", "r8"),
    ("r9", "r10", "r11"),
    ("r12", "r13", "r14"),
    ("r15",),
)


@view("regs", schema="lab.regs/1")
def show_regs(snapshot: Snapshot) -> Report:
    """The registers, those that control paging bit by bit."""
    registers, state = snapshot.registers, snapshot.state
    words: dict[str, Word] = {
        "rflags": RFLAGS(registers.rflags),
        "cr0": CR0(registers.cr0),
        "cr4": CR4(registers.cr4),
        "efer": EFER(registers.efer),
    }
    symbol = snapshot.describe(registers.rip)
    data: dict[str, Json] = {
        "registers": {name: hex(value) for name, value in registers.as_dict().items()},
        "rip_symbol": symbol,
        "privilege": registers.privilege,
        "paging": str(state.mode),
        "root": hex(state.root),
        "pat": [str(kind) for kind in state.pat.types],
        "bits": {name: list(word.names()) for name, word in words.items()},
    }
    return Report("lab.regs/1", data, (Lines(_general(snapshot)), _control(snapshot, words, symbol)))


def _general(snapshot: Snapshot) -> tuple[Line, ...]:
    """Three to a line, at even columns."""
    rows = []
    for names in GENERAL:
        cells: list[Cell] = []
        for name in names:
            gap = "   " if cells else ""
            cells += [Cell(f"{gap}{name:<3} ", Role.LABEL), Cell(f"{snapshot.registers[name]:#018x}")]
        rows.append(tuple(cells))
    return tuple(rows)


def _control(snapshot: Snapshot, words: dict[str, Word], symbol: str | None) -> KeyValues:
    registers, state = snapshot.registers, snapshot.state

    def word(name: str) -> tuple[str, Line]:
        value = words[name]
        return name, line(f"{value:#x}  ", flags_cell(value.names()))

    privilege = "kernel" if registers.privilege == 0 else f"privilege {registers.privilege}"
    where = (Cell(f"  {symbol}", Role.SYMBOL),) if symbol else ()
    root = line(f"{registers.cr3:#x}  root table at ", address_cell(state.root))
    if state.cr4.pcide:
        root += line(f"  PCID {state.cr3.pcid}")
    items: list[tuple[str, Line]] = [
        ("rip", (Cell(f"{registers.rip:#018x}", Role.VIRTUAL), *where)),
        ("cs", line(f"{registers.cs:#x}  {privilege}")),
        word("rflags"),
        word("cr0"),
        (
            "cr2",
            line(
                Cell(f"{registers.cr2:#018x}", Role.VIRTUAL), "  address of the last page fault" * bool(registers.cr2)
            ),
        ),
        ("cr3", root),
        word("cr4"),
        word("efer"),
        ("paging", line(f"{state.mode}  {state.max_phys_bits}-bit physical addresses")),
        ("pat", line(" ".join(str(kind) for kind in state.pat.types))),
    ]
    return KeyValues(tuple(items))
