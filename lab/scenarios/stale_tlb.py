"""Stale translations: an entry changes, and the CPU goes on using what it remembers of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.paging.quirks import CR3_FLUSHES_GLOBAL, NO_PCID, PCIDE_WITHOUT_CPUID
from lab.scenarios.eyes import Eyes, look
from lab.scenarios.registry import scenario
from lab.texts import Text
from lab.x86.address import VirtualAddress
from lab.x86.entry import Entry
from lab.x86.registers import CR4

if TYPE_CHECKING:
    from lab.scenarios.stage import Stage, TracedCall
    from lab.scenarios.step import Step
    from lab.views.report import Report

PAGE = 4096
OLD, NEW = "old page", "new page"
"""What the two frames begin with: eight bytes, so one instruction reads them."""

CPUID_PCID = 1 << 17
"""In ECX of leaf 1."""

WRITABLE, ACCESSED, DIRTY, GLOBAL = (each.mask for each in (Entry.writable, Entry.accessed, Entry.dirty, Entry.global_))


@scenario("stale-tlb", 8)
def stale_tlb(stage: Stage) -> Iterator[Step]:
    """Stale translations: what the CPU remembers of a page whose entry has changed.

    Changes the entry of a page without telling the CPU, and shows that the CPU still reads the old frame while all who
    walk the tables see the new one; then makes it forget. Has a case for INVLPG, MOV CR3, global pages, PCIDs, rights
    that are taken away and given back, entries that were not present, and the D bit. That a stale translation is seen
    can be shown and never required, because a TLB may drop anything at any time. That it is gone after the flush is
    required, and checked. Where QEMU differs from silicon, the step says so.
    """
    before = stage.books()
    lecture = _Lecture(stage)
    for part in (
        lecture.one_page,
        lecture.not_global,
        lecture.global_page,
        lecture.process_contexts,
        lecture.rights_taken,
        lecture.rights_given,
        lecture.absent,
        lecture.dirty,
    ):
        yield from part()
    lecture.give_back()
    yield stage.nothing_left(before)


class _Lecture:
    """One page, whose entry leads to the frame of the old page or to that of the new one."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        kernel = stage.machine.kernel
        cached, mode = kernel.constant("MmCached"), kernel.constant("KernelMode")
        priority = kernel.constant("NormalPagePriority") | kernel.constant("MdlMappingNoExecute")
        self.mdl = stage.quick_call("MmAllocatePagesForMdl", 0, (1 << 64) - 1, 0, 2 * PAGE).result
        mapped = stage.quick_call("MmMapLockedPagesSpecifyCache", self.mdl, mode, cached, 0, 0, priority)
        self.page = VirtualAddress(mapped.result)
        self.original = self._entry(self.page)
        self.old, self.new = (self._entry(page) & ~GLOBAL for page in (self.page, self.page + PAGE))
        stage.quick_call("copy", self.page, OLD.encode(), len(OLD))
        stage.quick_call("copy", self.page + PAGE, NEW.encode(), len(NEW))

    def give_back(self) -> None:
        """Take down what was made, by the entry that it was made with."""
        self.stage.quick_call("set_entry", self.page, self.original)
        self.stage.quick_call("MmUnmapLockedPages", self.page, self.mdl)
        self.stage.quick_call("MmFreePagesFromMdl", self.mdl)
        self.stage.quick_call("ExFreePool", self.mdl)

    # ----------------------------------------------------------------------------------------- which frame it is ----

    def one_page(self) -> Iterator[Step]:
        """The whole story for one page: remembered, stale, forgotten by INVLPG."""
        self.stage.quick_call("set_entry", self.page, self.old)
        call = self.stage.call("read_u64", self.page)
        yield self.stage.step(
            "Read a page: the CPU remembers where it is",
            "The CPU walks the tables, finds the frame that begins with '{old}', and keeps the translation of {page} in"
            " its TLB.",
            notes="Go through the walk with the hall: four or five entries, read once, and not again from now on.",
            old=OLD,
            page=self.page,
            call=call,
            reports={"walk": self._walk(), "eyes": look(self.stage, self.page).report},
        )
        yield self._changed(
            Text("Change the entry, and tell nobody"),
            ask=Text("The entry in memory now leads to the frame that begins with 'new page'. What does the CPU read?"),
        )
        yield self._flushed(
            Text("INVLPG: forget this page"),
            self.stage.call("invlpg", self.page),
            Text("INVLPG drops the translation of one page, a global one too, and all that is cached of upper levels."),
            Text("On other CPUs nothing is dropped: the kernel has to interrupt them, which is called a shootdown."),
        )

    def not_global(self) -> Iterator[Step]:
        """MOV CR3 and a page that is not global."""
        self._use(self.old)
        yield self._changed(Text("Once more, for MOV CR3: change the entry, and tell nobody"))
        yield self._flushed(
            Text("MOV CR3: forget all but the global pages"),
            self.stage.call("reload_cr3"),
            Text("Writing CR3, even with the value that it has, drops every translation that is not global."),
            Text("With CR4.PCIDE only those of the PCID that is loaded, and with bit 63 of the operand none."),
        )

    def global_page(self) -> Iterator[Step]:
        """MOV CR3 and a page that is global; then a toggle of CR4.PGE."""
        self._use(self.old | GLOBAL)
        yield self._changed(Text("A global page (G set, CR4.PGE set): change the entry, and tell nobody"), GLOBAL)
        call = self.stage.call("reload_cr3")
        eyes = look(self.stage, self.page)
        yield self.stage.step(
            "MOV CR3 need not reach a global page",
            self._about_global(eyes),
            notes="Kernels mark their own pages global, so that a switch to another process keeps their translations.",
            call=call,
            reports={"eyes": eyes.report},
            focus=(self.page,),
        )
        if not eyes.stale:
            self._use(self.old | GLOBAL)
            yield self._changed(Text("The global page once more: change the entry, and tell nobody"), GLOBAL)
        yield self._flushed(
            Text("CR4.PGE off and on: forget everything"),
            self.stage.call("flush_tlb"),
            Text("A change of CR4.PGE drops every translation, global ones included."),
            Text("Expensive: the next access to each page walks the tables again."),
        )

    def _about_global(self, eyes: Eyes) -> Text:
        if eyes.stale:
            return Text(
                "The CPU still reads '{old}': MOV CR3 left the global translation alone, as it does on silicon.",
                {"old": OLD},
            )
        if CR3_FLUSHES_GLOBAL in self.stage.machine.quirks:
            return Text(
                "The CPU reads '{new}': QEMU's TCG drops global pages too (quirk {quirk}). Silicon keeps them, and the"
                " page may stay stale there.",
                {"new": NEW, "quirk": CR3_FLUSHES_GLOBAL},
            )
        return self._forgotten()

    def process_contexts(self) -> Iterator[Step]:
        """INVPCID, where the CPU has it."""
        stage = self.stage
        features = stage.snapshot().guest.variable("lab_cpu")["features"]
        if features & stage.machine.kernel.constant("CPU_INVPCID"):
            self._use(self.old)
            yield self._changed(Text("Once more, for INVPCID: change the entry, and tell nobody"))
            yield self._flushed(
                Text("INVPCID: forget one page of one process"),
                stage.call("invpcid", 0, 0, self.page),
                Text("INVPCID of type 0 drops one page that is tagged with one PCID, here 0."),
                Text("It reaches the translations of a process that is not running, without loading its CR3."),
            )
        else:
            yield self._without_invpcid()
            if PCIDE_WITHOUT_CPUID in stage.machine.quirks:
                yield self._useless_bit()

    def _without_invpcid(self) -> Step:
        stage, title = self.stage, Text("PCIDs and INVPCID: this CPU has none")
        tags = Text(
            "PCIDs tag translations with a number for each process, so that MOV CR3 need not drop them, and INVPCID"
            " drops those of one number. CPUID says that this CPU has no INVPCID."
        )
        if NO_PCID not in stage.machine.quirks:
            return stage.step(title, tags)  # what CPUID does not offer need not be harmless
        call = stage.call("invpcid", 0, 0, self.page)
        fault = call.result.exception
        if fault is None or fault.name != "#UD":
            stage.refute(f"INVPCID should be undefined on a CPU whose CPUID has none; it gave {call.result}")
        return stage.step(
            title,
            "{tags}\nQEMU's TCG never has (quirk {quirk}): the instruction is undefined.",
            tags=tags,
            quirk=NO_PCID,
            call=call,
        )

    def _useless_bit(self) -> Step:
        """CR4.PCIDE where CPUID has no PCIDs: silicon refuses it, and other versions of QEMU may hang."""
        stage = self.stage
        probe = stage.probe("mov eax, 1; cpuid; mov rax, cr4; bts rax, 17; mov cr4, rax; mov rdx, cr4")
        registers = probe.result.registers
        if not probe.result.ok or registers.rcx & CPUID_PCID or not CR4(registers.rdx).pcide:
            stage.refute(
                f"CR4.PCIDE should be settable on a CPU without PCIDs (quirk {PCIDE_WITHOUT_CPUID}): {probe.result}"
            )
        return stage.step(
            "CR4.PCIDE can be set all the same, and does nothing",
            "CPUID bit 17 of ECX is 0, so silicon would refuse the bit by #GP. QEMU's TCG takes it (quirk {quirk}), and"
            " CR4 reads back as {cr4:#x}. It tags nothing: each MOV CR3 goes on dropping all translations.",
            quirk=PCIDE_WITHOUT_CPUID,
            cr4=registers.rdx,
            call=probe,
        )

    # ------------------------------------------------------------------------------------------------ its rights ----

    def rights_taken(self) -> Iterator[Step]:
        """A right that the CPU remembers is used until the flush."""
        stage = self.stage
        self._use(self.old)
        stage.quick_call("touch_write", self.page)
        call = stage.call("set_entry_stale", self.page, self.old & ~WRITABLE)
        wrote = self._may_write()
        remembered = Text("A write still succeeds: the CPU remembers the right that the entry has lost.")
        dropped = Text("A write faults already: the CPU had dropped what it remembered, which it may do at any time.")
        yield stage.step(
            "Take the right to write away, and tell nobody",
            remembered if wrote else dropped,
            ask=Text("The entry is read-only now. Does a write fault?"),
            answer=Text("Not yet.") if wrote else Text("Yes, at once."),
            notes="Copy-on-write and garbage collectors take this right away, and rely on the fault.",
            focus=(self.page,),
            call=call,
            reports={"walk": self._walk()},
        )
        stage.quick_call("invlpg", self.page)
        call = stage.call("write_u64", self.page, int.from_bytes(OLD.encode(), "little"))
        if call.result.exception is None:
            stage.refute(f"a write to {self.page}, which is read-only and flushed, should fault; it succeeded")
        yield stage.step(
            "After INVLPG the write faults",
            "{fault}\nThe CPU walked the tables again, and the entry forbids the write.",
            fault=call.result.exception,
            notes="This is why a kernel that makes a page read-only must flush, on all CPUs, before it relies on it.",
            call=call,
            focus=(self.page,),
        )

    def rights_given(self) -> Iterator[Step]:
        """A right that is given needs no flush: the CPU looks again before it faults, or faults once."""
        stage = self.stage
        call = stage.call("set_entry_stale", self.page, self.old)
        tries = 1 if self._may_write() else 2
        if tries == 2 and not self._may_write():
            stage.refute(f"a second write to {self.page}, which is writable again, should succeed; it faulted")
        at_once = Text("A write succeeds at once. Silicon may fault once for nothing; the fault drops the translation.")
        spurious = Text("The first write faulted for nothing, and dropped the translation; the second succeeded.")
        yield stage.step(
            "Give the right back: no flush is needed",
            at_once if tries == 1 else spurious,
            ask="The entry allows writing again, and nothing is flushed. Can that do harm?",
            answer="None: at worst one fault too many, and that one drops the translation.",
            notes="More rights need no flush, fewer rights do: so a page fault handler must expect faults for nothing.",
            call=call,
            reports={"walk": self._walk()},
        )

    def absent(self) -> Iterator[Step]:
        """What is not present is never cached."""
        stage = self.stage
        stage.quick_call("set_entry", self.page, 0)
        call = stage.call("read_u64", self.page)
        if call.result.exception is None:
            stage.refute(f"a read of {self.page}, whose entry is 0, should fault; it succeeded")
        yield stage.step(
            "An entry that is not present: the read faults",
            "{fault}\nThe entry was made 0 and flushed; now it leads nowhere.",
            fault=call.result.exception,
            notes="Nothing of this fault is kept but CR2 and the error code.",
            call=call,
            focus=(self.page,),
        )
        call = stage.call("set_entry_stale", self.page, self.new)
        eyes = self._fresh(call)
        yield stage.step(
            "From not present to present: nothing to forget",
            "The CPU reads '{new}' at once: an entry that is not present is never kept in a TLB.",
            new=NEW,
            ask="The entry becomes present, and nothing is flushed. What does the CPU read?",
            answer=Text("It reads '{seen}'.", {"seen": NEW}),
            notes="So mapping a new page needs no flush; only what was present before can be stale.",
            call=call,
            reports={"eyes": eyes.report},
            focus=(self.page,),
        )

    # ---------------------------------------------------------------------------------------------- A and D bits ----

    def dirty(self) -> Iterator[Step]:
        """The CPU notes a use once, and remembers that it did."""
        stage = self.stage
        self._use(self.old)
        stage.quick_call("touch_write", self.page)
        call = stage.call("set_entry_stale", self.page, self.old & ~(ACCESSED | DIRTY))
        stage.quick_call("touch_write", self.page)
        noted = bool(self._entry(self.page) & DIRTY)
        lost = Text("The page was written just now, and D is still 0: the CPU remembers that it has set it before.")
        seen = Text("D is set again: the CPU had dropped what it remembered, which it may do at any time.")
        yield stage.step(
            "Clear A and D, tell nobody, and write the page",
            seen if noted else lost,
            ask=Text("Is D set again by the write?"),
            answer=Text("Yes.") if noted else Text("No."),
            notes="A and D are set when a translation is loaded or first written through, and not at every access.",
            call=call,
            reports={"walk": self._walk()},
        )
        stage.quick_call("invlpg", self.page)
        call = stage.call("touch_write", self.page)
        if not self._entry(self.page) & DIRTY:
            stage.refute(
                f"a write to {self.page} after the flush should set D; the entry is {self._entry(self.page):#x}"
            )
        yield stage.step(
            "After INVLPG the next write sets them",
            "A pager that clears D without a flush loses the next write to the page.",
            ask=Text("And now, after INVLPG?"),
            answer=Text("Both are set: the CPU has walked the tables again."),
            notes="A page that is dirty and looks clean is thrown away instead of written to disk.",
            call=call,
            reports={"walk": self._walk()},
        )

    # --------------------------------------------------------------------------------------------------- helpers ----

    def _entry(self, page: VirtualAddress) -> int:
        return int(self.stage.snapshot().walk(page).steps[-1].entry)

    def _walk(self) -> Report:
        return self.stage.report("walk", {"address": hex(self.page)})

    def _use(self, entry: int) -> None:
        """Let the CPU have a translation by this entry, and no other."""
        self.stage.quick_call("set_entry", self.page, entry)
        self.stage.quick_call("read_u64", self.page)

    def _may_write(self) -> bool:
        return self.stage.call("touch_write", self.page).result.exception is None

    def _changed(self, title: Text, flags: int = 0, *, ask: Text | None = None) -> Step:
        """Change the entry without a flush. What the CPU then reads is told, and may be either."""
        call = self.stage.call("set_entry_stale", self.page, self.new | flags)
        eyes = look(self.stage, self.page)
        stale = Text(
            "The CPU still reads '{old}': it uses what it remembers. Whoever walks the tables is led to '{new}'.",
            {"old": OLD, "new": NEW},
        )
        return self.stage.step(
            title,
            stale if eyes.stale else self._forgotten(),
            notes="That this is seen can be shown and never required: a TLB may drop anything at any time.",
            ask=ask or "",
            answer=Text("It reads '{seen}'.", {"seen": OLD if eyes.stale else NEW}) if ask else "",
            call=call,
            reports={"eyes": eyes.report},
            focus=(self.page,),
        )

    def _forgotten(self) -> Text:
        return Text(
            "The CPU reads '{new}' already: it had dropped what it remembered, which it may do at any time.",
            {"new": NEW},
        )

    def _flushed(self, title: Text, call: TracedCall, text: Text, notes: Text) -> Step:
        """Show a flush, after which the new translation must be used."""
        eyes = self._fresh(call)
        return self.stage.step(title, text, call=call, notes=notes, reports={"eyes": eyes.report}, focus=(self.page,))

    def _fresh(self, call: TracedCall) -> Eyes:
        eyes = look(self.stage, self.page)
        if eyes.stale:
            done = call.halts[-1].function
            self.stage.refute(f"after {done} the CPU must not use the old translation of {self.page}, and does")
        return eyes
