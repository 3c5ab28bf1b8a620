"""From reset to long mode: the boot, stopped by hardware breakpoints where the CPU becomes another one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.scenarios.registry import scenario

if TYPE_CHECKING:
    from lab.scenarios.stage import Stage
    from lab.scenarios.step import Halt, Source, Step
    from lab.views.report import Report
    from lab.x86.address import VirtualAddress

GUEST = Path(__file__).resolve().parents[2] / "guest"
"""Where the kernel's own sources are: a step shows the line that the CPU has come to."""


@scenario("from-reset", 2, frozen=True)
def from_reset(stage: Stage) -> Iterator[Step]:
    """From reset to long mode: the first page table.

    Starts with a CPU that has not run one instruction, and stops it at the entry of the kernel, before and behind the
    instruction that switches paging on, in 64-bit code, in the higher half, and on the kernel's own tables. Shows the
    registers that decide, and the walks by the first tables and by the last.
    """
    yield stage.step(
        "Reset: the CPU before its first instruction",
        "16-bit real mode, no paging, no protection. RAM holds the kernel already: QEMU has put it there.",
        notes="The first fetch is from 0xFFFFFFF0: RIP is FFF0, and CS has the hidden base FFFF0000 after a reset.",
        reports={"regs": _control(stage)},
    )
    halt = stage.run_to("boot_start32", physical=True)
    entry = halt.address
    yield stage.step(
        "The kernel's entry: 32 bits, flat, no paging",
        "The firmware is done. By the PVH boot protocol the CPU is in protected mode, and RBX holds the physical"
        " address of the start info. All addresses are physical.",
        ask="CR0 has PE, and not PG. What is an address now?",
        answer="The physical address itself: segments are flat, and no table is asked.",
        notes="PVH is how virtual machines start a kernel: no 16-bit code is needed, and no boot loader.",
        halts=(halt,),
        source=_place(stage, halt),
        reports={"regs": stage.report("regs")},
    )
    halt = stage.run_to("boot_switch_on", physical=True)
    state = stage.snapshot().state
    _expect(stage, state.cr4.pae and state.efer.lme and not state.cr0.pg, "PAE and LME should be set, and PG clear")
    yield stage.step(
        "Everything is ready for paging",
        "CR4.PAE is set, CR3 holds the address of the first root table, and EFER.LME asks for long mode. The tables"
        " stand in RAM at {root}; nothing uses them yet.",
        ask="One bit, CR0.PG, will switch paging on. What must be right before?",
        answer="CR4.PAE, a root table in CR3, and EFER.LME: then paging and long mode begin together.",
        notes="The order is the manual's. Few entries are enough for a start; one of them leads to the table itself.",
        root=state.root,
        halts=(halt,),
        source=_place(stage, halt),
        reports={"regs": _control(stage), "root": _root_table(stage)},
    )
    yield from _on_first_tables(stage)
    yield from _on_own_tables(stage, entry)


def _on_first_tables(stage: Stage) -> Iterator[Step]:
    halt = stage.run_to("boot_switched_on", physical=True)
    kernel = stage.machine.kernel.symbol("kernel_start").address
    own = stage.snapshot().walk(halt.address).mapped.physical
    _expect(stage, int(own) == int(halt.address), f"{halt.address} should be mapped to itself, and is at {own}")
    yield stage.step(
        "CR0.PG: paging is on",
        "The CPU has set EFER.LMA, and fetches through the tables now. This code goes on because its address is mapped"
        " to itself, in a page of 2 MiB; the same frames stand once more where the kernel is linked.",
        ask="One instruction has switched paging on. What must the tables say, for the next one to be found?",
        answer="That its address leads to the frame that it has been in all along: an identity map.",
        notes="Without it the next fetch is a page fault, and nobody handles it yet: a triple fault, so a reset.",
        halts=(halt,),
        source=_place(stage, halt),
        reports={"regs": _control(stage), "here": _walk(stage, halt.address), "kernel": _walk(stage, kernel)},
    )
    halt = stage.run_to("boot_start64", physical=True)
    yield stage.step(
        "A far jump: 64-bit code",
        "Until now this was 32-bit code in long mode. The jump loaded a code segment whose descriptor has the L bit.",
        notes="The manual calls it compatibility mode: with EFER.LMA set, CS.L decides how instructions are decoded.",
        halts=(halt,),
        source=_place(stage, halt),
        reports={"regs": _control(stage)},
    )
    halt = stage.run_to("kernel_start")
    yield stage.step(
        "The higher half: the first C function",
        "RIP and RSP are where the kernel is linked. The first 4 GiB stand there, and at their physical addresses too.",
        ask="The kernel was loaded at 1 MiB, and linked for the upper half. How can both be right?",
        answer="The first tables map the same frames twice.",
        notes="Both halves share even the PDPT. The row between them is the self map: it shows page tables as memory.",
        halts=(halt,),
        source=_place(stage, halt),
        reports={"rip": _walk(stage, kernel), "map": stage.report("map")},
    )


def _on_own_tables(stage: Stage, entry: VirtualAddress) -> Iterator[Step]:
    first, halt = stage.snapshot().state.root, stage.run_to("kernel_main")
    if stage.snapshot().walk(entry).is_mapped:
        stage.refute(f"the identity map should be gone in kernel_main, but {entry} is still mapped")
    whole = stage.report("map")
    _expect(stage, not any(_is_open(row) for row in _rows(whole)), "no page should be both writable and executable")
    yield stage.step(
        "Tables of the kernel's own: the identity map is gone",
        "CR3 went from {first} to {root}. Pages are 4 KiB now, none is both writable and executable, and an address"
        " that was its own physical one leads nowhere.",
        first=first,
        root=stage.snapshot().state.root,
        ask="The code at {entry} is still in RAM. Can it be run from there?",
        answer="Not by that address: nothing is mapped there any more.",
        notes="Read the rights in the map: code r-x, constants r--, data rw-. A null pointer faults from now on.",
        entry=entry,
        halts=(halt,),
        source=_place(stage, halt),
        reports={"entry": _walk(stage, entry), "map": whole},
    )
    halt = stage.run_to("mailbox_serve")
    yield stage.step(
        "Ready",
        "Frames, pools, threads and interrupts are set up; the guest waits for calls.",
        notes="CR4 has SMEP and SMAP now, where the CPU has them, and the PAT has write-combining, as Windows sets it.",
        halts=(halt,),
        source=_place(stage, halt),
        reports={"regs": _control(stage)},
    )
    stage.run_on()
    stage.machine.wait_ready()


def _expect(stage: Stage, is_so: bool, sentence: str) -> None:
    if not is_so:
        stage.refute(sentence)


def _place(stage: Stage, halt: Halt) -> Source | None:
    """The line of the kernel's own source at which it stands: a label, or where a function begins."""
    begins = re.compile(rf"^{halt.function}:|\b{halt.function}\(.*\{{$")
    for path in sorted(GUEST.rglob("*.[cS]")):
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if begins.search(text):
                return stage.source(path, number)
    return None


def _control(stage: Stage) -> Report:
    """The registers, of which only those that control the CPU are shown."""
    report = stage.report("regs")
    return report._replace(blocks=report.blocks[1:])


def _rows(report: Report) -> list[Any]:
    found = report.data["mappings"]
    return found if isinstance(found, list) else []


def _is_open(row: Any) -> bool:
    """Whether a row of the map is a page that the kernel may both write and execute."""
    return row["kind"] == "page" and {"w", "x"} <= {*row["supervisor"]}


def _walk(stage: Stage, address: int) -> Report:
    return stage.report("walk", {"address": hex(address)})


def _root_table(stage: Stage) -> Report:
    """The table in CR3, seen as the CPU will see it once paging is on."""
    now = stage.snapshot()
    state = replace(now.state, cr0=now.state.cr0.replace(pg=True), efer=now.state.efer.replace(lma=True))
    return stage.report("table", {"table": "cr3"}, replace(now, state=state))
