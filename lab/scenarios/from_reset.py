"""From reset to long mode: the boot, stopped by hardware breakpoints where the CPU becomes another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from lab.scenarios.registry import scenario

if TYPE_CHECKING:
    from lab.scenarios.stage import Stage
    from lab.scenarios.step import Step
    from lab.views.report import Report
    from lab.x86.address import VirtualAddress


@scenario("from-reset", frozen=True)
def from_reset(stage: Stage) -> Iterator[Step]:
    """From reset to long mode: the first page table.

    Starts with a CPU that has not run one instruction, and stops it at the entry of the kernel, before and behind the
    instruction that switches paging on, in 64-bit code, in the higher half, and on the kernel's own tables. Shows the
    registers that decide, and the walks by the first tables and by the last.
    """
    yield stage.step(
        "Reset: the CPU before its first instruction",
        "16-bit real mode, no paging, no protection. RAM holds the kernel already: QEMU has put it there.",
        reports={"regs": stage.report("regs")},
    )
    halt = stage.run_to("boot_start32", physical=True)
    entry = halt.address
    yield stage.step(
        "The kernel's entry: 32 bits, flat, no paging",
        "The firmware is done. By the PVH boot protocol the CPU is in protected mode, and RBX holds the physical"
        " address of the start info. All addresses are physical.",
        halts=(halt,),
        reports={"regs": stage.report("regs")},
    )
    halt = stage.run_to("boot_switch_on", physical=True)
    yield stage.step(
        "Everything is ready for paging",
        "CR4.PAE is set, CR3 holds the address of the first root table, and EFER.LME asks for long mode. The tables"
        " stand in RAM at {root}; nothing uses them yet.",
        root=stage.snapshot().state.root,
        halts=(halt,),
        reports={"regs": stage.report("regs"), "root": _root_table(stage)},
    )
    yield from _on_first_tables(stage)
    yield from _on_own_tables(stage, entry)


def _on_first_tables(stage: Stage) -> Iterator[Step]:
    halt = stage.run_to("boot_switched_on", physical=True)
    kernel = stage.machine.kernel.symbol("kernel_start").address
    yield stage.step(
        "CR0.PG: paging is on",
        "The CPU has set EFER.LMA, and fetches through the tables now. This code goes on because its address is mapped"
        " to itself, in a page of 2 MiB; the same frames stand once more where the kernel is linked.",
        ask="One instruction has switched paging on. What must the tables say, for the next one to be found?",
        halts=(halt,),
        reports={"regs": stage.report("regs"), "here": _walk(stage, halt.address), "kernel": _walk(stage, kernel)},
    )
    halt = stage.run_to("boot_start64", physical=True)
    yield stage.step(
        "A far jump: 64-bit code",
        "Until now this was 32-bit code in long mode. The jump loaded a code segment whose descriptor has the L bit.",
        halts=(halt,),
        reports={"regs": stage.report("regs")},
    )
    halt = stage.run_to("kernel_start")
    yield stage.step(
        "The higher half: the first C function",
        "RIP and RSP are where the kernel is linked. The first 4 GiB stand there, and at their physical addresses too.",
        halts=(halt,),
        reports={"rip": _walk(stage, kernel), "map": stage.report("map")},
    )


def _on_own_tables(stage: Stage, entry: VirtualAddress) -> Iterator[Step]:
    first, halt = stage.snapshot().state.root, stage.run_to("kernel_main")
    if stage.snapshot().walk(entry).is_mapped:
        stage.refute(f"the identity map should be gone in kernel_main, but {entry} is still mapped")
    yield stage.step(
        "Tables of the kernel's own: the identity map is gone",
        "CR3 went from {first} to {root}. Pages are 4 KiB now, none is both writable and executable, and an address"
        " that was its own physical one leads nowhere.",
        first=first,
        root=stage.snapshot().state.root,
        halts=(halt,),
        reports={"entry": _walk(stage, entry), "map": stage.report("map")},
    )
    halt = stage.run_to("mailbox_serve")
    yield stage.step(
        "Ready",
        "Frames, pools, threads and interrupts are set up; the guest waits for calls.",
        halts=(halt,),
        reports={"regs": stage.report("regs")},
    )
    stage.run_on()
    stage.machine.wait_ready()


def _walk(stage: Stage, address: int) -> Report:
    return stage.report("walk", {"address": hex(address)})


def _root_table(stage: Stage) -> Report:
    """The table in CR3, seen as the CPU will see it once paging is on."""
    now = stage.snapshot()
    state = replace(now.state, cr0=now.state.cr0.replace(pg=True), efer=now.state.efer.replace(lma=True))
    return stage.report("table", {"table": "cr3"}, replace(now, state=state))
