"""The Machine: QEMU, the guest in it, and all ways to drive and see it, as one object that cleans up after itself."""

from __future__ import annotations

import atexit
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lab.errors import GuestError, HostError, UsageError
from lab.machine import autopsy
from lab.machine.folder import Folder
from lab.machine.host import OWN_KERNEL, find_image, find_program, runtime_directory
from lab.machine.process import Process, uninterrupted
from lab.machine.qemu import EMULATOR, MONITORS, MachineOptions, Qemu, ram_banks
from lab.machine.waiting import wait_until

# Whatever is not needed to start QEMU is imported while it boots.
if TYPE_CHECKING:
    from lab.kernel.image import KernelImage
    from lab.kernel.mailbox import BugCheck
    from lab.machine.calls import CallResult, Calls, Target
    from lab.machine.gdb import Gdb
    from lab.machine.mailbox import Argument, Mailbox
    from lab.machine.probe import ProbeResult
    from lab.machine.qmp import Qmp
    from lab.machine.record import Record
    from lab.machine.space import Space
    from lab.memory.ram import SharedRam
    from lab.paging import Quirks
    from lab.snapshot import Registers, Snapshot
    from lab.x86.address import PhysicalAddress
    from lab.x86.state import PagingState

__all__ = ["Machine", "PendingCall"]

START_TIMEOUT = 10.0
CALL_TIMEOUT = 5.0
RESCUE_TIMEOUT = 1.0


class Machine:
    """A machine: QEMU and the guest in it.

    Use it as a context manager: inside, the guest is up; afterwards QEMU is gone, and all files with it, whatever
    happened. With `gdb`, GDB is started while the guest boots.

    >>> with Machine(MachineOptions(append=("verifier",))) as machine:
    ...     machine.call.MmIsAddressValid(0xfffff78000000000).result
    1

    Entering raises ToolMissing, ImageMissing or HostError for what this host lacks, QemuFailed when QEMU refuses its
    arguments, GuestCrashed and GuestStopped when the guest ends while it boots, and GuestTimeout when it is not ready
    after `timeout` seconds.
    """

    def __init__(
        self,
        options: MachineOptions | None = None,
        *,
        name: str = "",
        gdb: bool = False,
        timeout: float = START_TIMEOUT,
    ) -> None:
        self.options = options or MachineOptions()
        self.name = name
        self._wants_gdb = gdb
        self._timeout = timeout
        self._outlives_us = False
        self._is_up = False
        self._has_ended = False
        self._folder: Folder | None = None
        self._qemu: Qemu | None = None
        self._kernel: KernelImage | None = None
        self._memory: SharedRam | None = None
        self._mailbox: Mailbox | None = None
        self._qmp: Qmp | None = None
        self._gdb: Gdb | None = None
        self._idle_gdb: Gdb | None = None  # still connecting
        self._targets: dict[str | int, Target] = {}
        self.epoch = 0
        """How often the machine was taken back to a saved state: what was remembered of the guest is void then."""

    # ------------------------------------------------------------------------------------------------- lifetime ----

    def start(self) -> Self:
        """Boot the machine; return it when the guest is ready."""
        if self._qemu is None:
            self.launch()
        if self._is_up:
            raise UsageError("this machine has been started already; make a new one")
        try:
            self._bring_up()
            if self._idle_gdb is not None:
                self._finish_attach(self._idle_gdb)
        except BaseException:
            self.close()
            raise
        self._is_up = True
        self._outlives_us = bool(self.name)
        return self

    def launch(self) -> Self:
        """Start the programs and return at once; entering the machine waits for the guest. Calling it is optional.

        Whoever has something else to do, such as imports, does it in between.
        """
        if self._qemu is not None:
            raise UsageError("this machine has been started already; make a new one")
        _open_machines[self] = os.getpid()
        try:
            with uninterrupted():
                self._launch()
        except BaseException:
            self.close()
            raise
        return self

    def _launch(self) -> None:
        source = find_image(self.options.kernel)
        find_program(EMULATOR)  # what is missing first of all is said first of all
        self._folder = Folder.create(runtime_directory(), self.name or None)
        if self.name:
            self.options = self.options.with_kernel(_keep_kernel(source, self._folder.path))
        if self._wants_gdb:
            self._idle_gdb = self._start_gdb(self._folder.path)  # before QEMU: it takes longer to start
        self._qemu = Qemu.start(self.options, self._folder, lasting=bool(self.name))
        if self.name:
            from lab.machine.record import Record

            Record.of(self.name, self.options, source, self._qemu).save(self._folder.path)
        if self._idle_gdb is not None:
            self._begin_attach(self._idle_gdb, resume=not self.options.frozen)

    @classmethod
    def attach(cls, record: Record, folder: Path, *, timeout: float = START_TIMEOUT) -> Self:
        """Return the background machine that `record` tells of; closing it leaves it running.

        Raises ProcessLookupError when it has ended, GuestTimeout when its QEMU does not answer in `timeout` seconds.
        """
        machine = cls(record.options, name=record.name)
        machine._outlives_us = True
        machine._qemu = Qemu(Process(record.pid, started=record.started), folder, record.command)
        try:
            machine._kernel = _image_of(record.options)
            machine._open_memory()
            machine._connect_qmp(timeout)
        except BaseException:
            machine.close()
            raise
        machine._is_up = True
        return machine

    def close(self) -> None:
        """End QEMU, and remove all that the machine left; a background machine goes on and is only let go of."""
        with uninterrupted():
            _open_machines.pop(self, None)
            try:
                self._disconnect()
            finally:
                self._end()

    def _disconnect(self) -> None:
        for gdb in (self._gdb, self._idle_gdb):
            if gdb is not None:
                gdb.close(detach=self._outlives_us)
        if self._qmp is not None:
            self._qmp.close()

    def _end(self) -> None:
        self._has_ended = True
        self._gdb = self._idle_gdb = self._qmp = None
        if self._qemu is not None:
            end = self._qemu.process.close if self._outlives_us else self._qemu.process.kill
            end()
        for each in (self._mailbox, self._memory):
            if each is not None:
                each.close()
        self._mailbox = self._memory = None
        if self._folder is not None:
            self._folder.close(remove=not self._outlives_us)

    def __enter__(self) -> Self:
        if not self._is_up:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _bring_up(self) -> None:
        """Connect to a QEMU that is still starting, and wait for the guest in it."""
        self._kernel = _image_of(self.options)
        if "exit" in self.options.append:
            return  # it leaves as soon as it is ready; `wait_exit` tells how
        try:
            self._open_memory()
            self._connect_qmp(self._timeout)
        except (GuestError, HostError):
            if not self.qemu.process.wait(1.0):
                raise
            raise self.qemu.refusal() from None
        if self._mailbox is not None and not self.options.frozen:
            self.wait_ready(self._timeout)

    def wait_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait for the guest to say that it is ready: entering does it, but for a frozen machine that was let go later.

        Raises what entering does.
        """
        mailbox = self.mailbox
        if not wait_until(lambda: mailbox.is_ready, timeout, alive=lambda: self.check("during the boot"), spin=0):
            raise autopsy.timeout(self, "become ready", timeout)

    def _open_memory(self) -> None:
        from lab.machine.mailbox import Mailbox
        from lab.memory.ram import SharedRam

        banks = ram_banks(self.options)
        self._memory = SharedRam(self.qemu.ram, banks)
        if self._kernel is not None and self._kernel.find("lab_mailbox"):
            self._mailbox = Mailbox(self.qemu.ram, banks, self._kernel, self.qemu.folder)

    def wait_exit(self, timeout: float = START_TIMEOUT) -> int:
        """Wait until the guest has left through the debug-exit device; return the value it gave.

        Raises GuestTimeout when it has not after `timeout` seconds, GuestCrashed when QEMU ended in another way.
        """
        if not self.qemu.process.wait(timeout):
            raise autopsy.timeout(self, "exit", timeout)
        code = self.qemu.process.exit_code
        if code is None or code < 2 or not code & 1:
            self.check("before the guest exited")
            raise self.qemu.refusal()
        return code >> 1

    # ---------------------------------------------------------------------------------------------------- parts ----

    @property
    def qemu(self) -> Qemu:
        """The QEMU process and its folder."""
        if self._qemu is None:
            raise UsageError("this machine is not running; use it in a with statement, or call start()")
        return self._qemu

    def _check_open(self) -> None:
        """Raise UsageError where there is no QEMU yet, or none any more."""
        _ = self.qemu
        if self._has_ended:
            raise UsageError("this machine has ended; make a new one")

    @property
    def memory(self) -> SharedRam:
        """The guest's RAM, by physical addresses."""
        if self._memory is None:
            self._check_open()
            raise UsageError("this machine is only waited for, so its memory is not open; leave `exit` away")
        return self._memory

    @property
    def kernel(self) -> KernelImage:
        """What the kernel's own image says of it. Raises UsageError for a guest that is not ours."""
        if self._kernel is None:
            raise UsageError(f"{self.options.kernel} is not the lab's kernel, so nothing is known of its insides")
        return self._kernel

    @property
    def mailbox(self) -> Mailbox:
        """The mailbox of the guest. Raises UsageError for a guest that is not ours."""
        if self._mailbox is None:
            self._check_open()
            raise UsageError(f"{self.options.kernel} has no mailbox: only the lab's own kernel can be called")
        return self._mailbox

    @property
    def has_mailbox(self) -> bool:
        """Whether the guest can be called."""
        return self._mailbox is not None

    @property
    def qmp(self) -> Qmp:
        """The connection to QEMU itself, made when first needed."""
        self._check_open()
        return self._qmp or self._connect_qmp(START_TIMEOUT)

    def _connect_qmp(self, timeout: float) -> Qmp:
        from lab.machine.qmp import Qmp

        # The last first: other programs find the first one free.
        paths = [self.qemu.folder / name for name in reversed(MONITORS)]
        self._qmp = Qmp.connect_to_free(paths, timeout=timeout)
        return self._qmp

    @property
    def connected_qmp(self) -> Qmp | None:
        """The connection to QEMU if there is one already."""
        return self._qmp

    @property
    def gdb(self) -> Gdb:
        """GDB, connected when first needed. The guest goes on running if it was."""
        if self._gdb is not None:
            return self._gdb
        was_running = self.is_running
        with uninterrupted():
            if self._idle_gdb is None:
                self._idle_gdb = self._start_gdb(self.qemu.folder)
                self._begin_attach(self._idle_gdb, resume=was_running)
        return self._finish_attach(self._idle_gdb)

    @property
    def has_gdb(self) -> bool:
        """Whether GDB is connected already."""
        return self._gdb is not None

    def _begin_attach(self, gdb: Gdb, *, resume: bool) -> None:
        """Have GDB connect by itself, as soon as it and QEMU are there."""
        with self._giving_up(gdb):
            gdb.begin_attach(self.qemu.folder / "gdb", resume=resume)

    def _finish_attach(self, gdb: Gdb) -> Gdb:
        with self._giving_up(gdb):
            gdb.finish_attach()
        self._gdb, self._idle_gdb = gdb, None
        return gdb

    @contextmanager
    def _giving_up(self, gdb: Gdb) -> Iterator[None]:
        """End a GDB that could not connect, so that the next one can try."""
        try:
            yield
        except BaseException:
            gdb.close(detach=False)
            self._idle_gdb = None
            raise

    def _start_gdb(self, folder: Path) -> Gdb:
        from lab.machine.gdb import Gdb

        def check(during: str, patience: float) -> None:
            if self.qemu.process.wait(patience):
                self.check(during)

        return Gdb(folder, self.options.kernel, check)

    def disconnect_gdb(self, *, resume: bool = True) -> None:
        """End GDB, and with it all breakpoints. The guest runs on, or is paused where it is."""
        if self._gdb is None:
            return
        if not resume:
            self._gdb.interrupt()
            self._gdb.delete_all()
        self._gdb.close(detach=resume)
        self._gdb = None

    def wait_log(self, text: str, timeout: float = START_TIMEOUT) -> None:
        """Wait until the guest has written `text` to its serial port.

        >>> machine.wait_log("ready")

        Raises GuestTimeout when it has not after `timeout` seconds, GuestCrashed and GuestStopped when it ends before.
        """
        if not wait_until(lambda: text in self.log, timeout, alive=lambda: self.check(f"before it wrote {text!r}")):
            raise autopsy.timeout(self, f"write {text!r}", timeout)

    @property
    def log(self) -> str:
        """All that the guest wrote to its serial port."""
        return self.qemu.console

    # ---------------------------------------------------------------------------------------- running and stopping ----

    @property
    def is_running(self) -> bool:
        """Whether the CPU runs: not paused, not at a breakpoint, not stopped for good."""
        if self._gdb is not None:
            return self._gdb.is_running
        return self.qmp.status() == "running"

    def stop(self) -> None:
        """Pause the guest."""
        if self._gdb is not None:
            self._gdb.interrupt()
        else:
            self.qmp.stop()

    def cont(self) -> None:
        """Let the guest run on."""
        if self._gdb is not None:
            self._gdb.continue_()
        else:
            self.qmp.cont()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the guest for the duration of the block; it runs on afterwards if it ran before."""
        was_running = self.is_running
        if was_running:
            self.stop()
        try:
            yield
        finally:
            if was_running:
                self.cont()

    # ------------------------------------------------------------------------------------------- saved states ----

    def save_state(self, tag: str) -> None:
        """Save RAM, CPU and devices as `tag`, over an older state of that name; the guest runs on if it ran.

        The first state takes some 100 ms. States live as long as the machine. One that is saved in the midst of a
        call holds half of it: taken back there, the guest ends it, and nobody waits for the result.

        >>> machine.save_state("ready")
        >>> machine.call.lab_ping(1).result
        2

        Raises UsageError for a name that cannot be one, GuestCrashed when QEMU is dead.
        """
        from lab.machine import states

        states.save(self, tag)

    def load_state(self, tag: str) -> None:
        """Take the machine back to the state `tag`, in some 10 ms; then the guest runs if it ran when saved.

        Any guest can be taken back: paused, stopped at a breakpoint, in an endless loop, after a bug check or a triple
        fault. What the log had then is its log again; calls under way are given up; breakpoints of GDB stay.

        >>> machine.save_state("before")
        >>> page = machine.call.ExAllocatePool(0, 4096).result
        >>> machine.load_state("before")
        >>> machine.call.ExAllocatePool(0, 4096).result == page
        True

        Raises UsageError when there is no such state, GuestTimeout while another session's call is under way,
        GuestCrashed when QEMU is dead.
        """
        from lab.machine import states

        states.load(self, tag)

    def abandon_calls(self) -> None:
        """Give up what the guest was asked to do and has not done; their `wait` raises UsageError from then on."""
        self.epoch += 1
        if self._mailbox is not None:
            self._mailbox.abandon()

    @property
    def bugcheck(self) -> BugCheck | None:
        """Why the guest stopped for good, None while it has not."""
        if self._mailbox is None or self._kernel is None or not self._mailbox.is_stopped:
            return None
        from lab.kernel.mailbox import read_mailbox
        from lab.kernel.objects import Guest
        from lab.x86.state import PagingState

        # The image is read where it was loaded, so no state of paging is needed.
        return read_mailbox(Guest(self._kernel, self.memory, PagingState())).bugcheck

    def check(self, during: str = "meanwhile") -> None:
        """Raise GuestCrashed or GuestStopped if the guest is beyond help; `during` ends that sentence."""
        autopsy.check(self, during)

    # ---------------------------------------------------------------------------------------------------- calls ----

    @cached_property
    def call(self) -> Calls:
        """The guest's functions: `machine.call("name", …)` or `machine.call.name(…)`; see `Calls`."""
        from lab.machine.calls import Calls

        return Calls(self)

    def post(
        self,
        function: str | int,
        *arguments: Argument,
        guarded: bool = True,
        watched: bool = False,
        timeout: float = CALL_TIMEOUT,
        rescue: Callable[[], bool] | None = None,
    ) -> PendingCall:
        """Ask the guest to call a function, without waiting for its result: it may meet a breakpoint on the way.

        A `watched` call, which is guarded, returns to the kernel's label trap_call_returned; others do not.

        Others are kept from calling until `PendingCall.wait` has returned. Raises what `machine.call` does; `timeout`
        is how long to wait for the guest to finish what it does for others. When the result does not come in time,
        `rescue` may make the guest give up: it returns whether to wait once more.
        """
        target, mailbox = self._target(function, len(arguments)), self.mailbox
        if not mailbox.acquire(timeout, lambda: self.check(f"before a call of {target.name}")):
            raise autopsy.timeout(self, f"come to serve {target.name}, because of another session's call,", timeout)
        try:
            self._wait_idle(target, timeout)
            numbers, blocks = mailbox.place(arguments)
            mailbox.post(target.address, numbers, guarded=guarded, watched=watched)
        except BaseException:
            mailbox.release()
            raise
        return PendingCall(self, target, numbers, blocks, rescue)

    def _wait_idle(self, target: Target, timeout: float) -> None:
        """Wait for the guest to be ready, although a call that was given up may still be under way."""
        mailbox = self.mailbox
        if mailbox.is_idle and mailbox.is_ready:
            return
        during = f"before a call of {target.name}"
        if not wait_until(lambda: mailbox.is_idle and mailbox.is_ready, timeout, alive=lambda: self.check(during)):
            raise autopsy.timeout(self, f"come to serve {target.name}, because of an earlier call,", timeout)

    def probe(
        self,
        source: str | bytes,
        *,
        user: bool = False,
        space: Space | None = None,
        root: int | None = None,
        controls: Mapping[str, int] | None = None,
        ac: bool = False,
        pkru: int | None = None,
        pkrs: int | None = None,
        timeout: float = CALL_TIMEOUT,
        **registers: int,
    ) -> ProbeResult:
        """Let the guest's CPU run some instructions, at CPL 0 or as `user` at CPL 3; return what came of them.

        >>> print(machine.probe("mov rax, [rdi]", rdi=0x1234))
        #PF at 0x0000000000001234: supervisor read, page not present (error code 0x0), by +0x0 mov rax, qword ptr [rdi]
        >>> machine.probe("mov eax, 2; add rax, rbx", rbx=40).registers.rax
        42

        `source` is assembly in Intel's syntax, with the kernel's symbols as numbers, or machine code. It runs on pages
        of its own with 4 KiB of stack; RET ends it, too. Registers not given are 0, interrupts are off. An exception
        of any kind is a result; no probe harms the guest, unless at CPL 0 it writes to the kernel's memory.

        `space` or `root` is the root table to run with, `controls` overrides bits such as {"CR0.WP": 0} (all of them
        are in lab.machine.probe.CONTROLS), `ac` sets RFLAGS.AC, `pkru` and `pkrs` turn protection keys on and set
        their rights; afterwards all is as it was.

        Raises AssemblyError for a source that is none, UsageError for controls or a root that cannot be, GuestTimeout
        when the probe does not end within `timeout` seconds: then it is ended from outside, and the guest lives on.
        """
        from lab.machine.probe import probe

        return probe(
            self,
            source,
            registers,
            user=user,
            space=space,
            root=root,
            controls=controls,
            ac=ac,
            pkru=pkru,
            pkrs=pkrs,
            timeout=timeout,
        )

    def new_space(self) -> Space:
        """Make an address space with an empty lower half, for probes to run in; see `lab.machine.space.Space`."""
        from lab.machine.probe import kernel_state
        from lab.machine.space import Space

        return Space(self, kernel_state(self))

    def gdb_call(self, function: str | int, *arguments: int, timeout: float = CALL_TIMEOUT) -> CallResult:
        """Call a guest function through GDB, whatever the guest is doing, and return its result.

        No request is made of the mailbox: it also works at a breakpoint, and breakpoints inside the function are met. A
        guest that runs is stopped, and makes the call on its way on; one that stands is made to by GDB's own call, and
        stands there again. Raises GdbError when the guest stops before the function has returned.
        """
        target, mailbox, gdb = self._target(function, len(arguments)), self.mailbox, self.gdb
        has_returned = mailbox.stage(target.address, arguments)
        on_its_way = gdb.detour(self.kernel.symbol("mailbox_detour").address, mailbox.end_detour_at)
        mailbox.ring()  # a halted CPU does not go on by itself, wherever its instruction pointer points
        if not on_its_way:
            gdb.call(self.kernel.symbol("mailbox_call_staged").address, timeout=timeout)
        elif not wait_until(has_returned, timeout, alive=lambda: self._check_detour(gdb, target)):
            raise autopsy.timeout(self, f"return from {target.name}", timeout)
        return target.result(mailbox.staged_reply())

    def _check_detour(self, gdb: Gdb, target: Target) -> None:
        from lab.machine.gdb import GdbError

        self.check(f"during the call of {target.name}")
        if not gdb.is_running:
            raise GdbError(f"call of {target.name}", "the guest stopped before it had returned")

    def _target(self, function: str | int, count: int) -> Target:
        target = self._targets.get(function)
        if target is None:
            from lab.machine.calls import find_target

            target = self._targets[function] = find_target(self.kernel, function)
        target.check(count, self.mailbox.most_arguments)
        return target

    # ----------------------------------------------------------------------------------------------- inspecting ----

    def registers(self) -> Registers:
        """Return the registers of the CPU now, asked of GDB where it is attached, else of QEMU itself."""
        from lab.snapshot import Registers

        return Registers.from_mapping((self.qmp if self._gdb is None else self._gdb).registers())

    def paging_state(self, registers: Registers | None = None) -> PagingState:
        """Return all that decides how addresses are translated, as it is now or was with these registers."""
        state = (registers or self.registers()).paging_state()
        if self._kernel is None:
            return state
        from lab.kernel.cpu import with_cpu

        return with_cpu(state, self._kernel, self.memory)

    def gva2gpa(self, address: int) -> PhysicalAddress | None:
        """Return QEMU's own translation of a virtual address, None where it finds no mapping: a second opinion.

        Asked over the connection that is open: GDB's monitor where GDB is attached, else QMP.
        """
        from lab.machine.qmp import parse_gva2gpa

        if self._gdb is None:
            return self.qmp.gva2gpa(address)
        return parse_gva2gpa(self._gdb.monitor(f"gva2gpa {address:#x}"))

    @cached_property
    def quirks(self) -> Quirks:
        """What is known of this QEMU and accelerator to differ from the manual; nothing where nobody has measured."""
        from lab.paging import quirks_of

        words = self.qmp.hmp("info version") if self._gdb is None else self._gdb.monitor("info version")
        return quirks_of(self.options.accel.partition(",")[0], words.partition("(")[0].strip())

    def snapshot(self) -> Snapshot:
        """Return the machine as it is now, for inspectors; pause it first where the moment matters.

        >>> with machine.paused():
        ...     print(machine.snapshot().resolve("cr3"))
        pa:0x000...
        """
        from lab.snapshot import Snapshot

        registers = self.registers()
        return Snapshot(self.memory, self.paging_state(registers), registers, self._kernel, self.name)

    def describe(self, address: int, *, returned_to: bool = False) -> str:
        """Return an address as people read it, with the symbol it is in, or that of the call which returns to it."""
        from lab.x86.address import VirtualAddress

        symbol = self._kernel.describe(address, returned_to=returned_to) if self._kernel else None
        return f"{VirtualAddress(address)} ({symbol})" if symbol else str(VirtualAddress(address))


class PendingCall:
    """A call that the guest was asked to make, and may be making; `arguments` are what it was given, all numbers."""

    def __init__(
        self,
        machine: Machine,
        target: Target,
        arguments: Sequence[int],
        blocks: list[tuple[int, bytearray]],
        rescue: Callable[[], bool] | None = None,
    ) -> None:
        self.arguments = tuple(arguments)
        self._machine = machine
        self._rescue = rescue
        self._target = target
        self._blocks = blocks
        self._result: CallResult | None = None
        self._given_up = False
        self._epoch = machine.epoch

    def wait(self, timeout: float = CALL_TIMEOUT) -> CallResult:
        """Wait for the function to return; then others may call again. Raises what `machine.call` does."""
        if self._result is not None:
            return self._result
        if self._given_up or self._epoch != self._machine.epoch:
            raise UsageError(f"waiting for {self._target.name} was given up before")
        mailbox = self._machine.mailbox
        self._given_up = True
        try:
            reply = mailbox.wait(timeout, self._look_after)
            if reply is None and self._rescue is not None and self._rescue():
                reply = mailbox.wait(RESCUE_TIMEOUT, self._look_after)
            if reply is None:
                raise autopsy.timeout(self._machine, f"return from {self._target.name}", timeout)
            mailbox.take_back(self._blocks)
        finally:
            if self._epoch == self._machine.epoch:
                mailbox.release()
        self._result = self._target.result(reply)
        return self._result

    def _look_after(self) -> None:
        self._machine.check(f"during the call of {self._target.name}")


_open_machines: dict[Machine, int] = {}
"""Machines to be ended with this process, each with the process that started it: a fork does not own them."""


@atexit.register
def _close_all() -> None:
    for machine, owner in list(_open_machines.items()):
        if owner == os.getpid():
            machine.close()


def _image_of(options: MachineOptions) -> KernelImage | None:
    """What is known of the kernel; None for one that is not ours. Raises ImageMissing when its description is stale."""
    from lab.kernel.image import KernelImage

    ours = options.kernel == OWN_KERNEL or options.kernel.with_suffix(".json").exists()
    return KernelImage.load(options.kernel) if ours else None


def _keep_kernel(kernel: Path, folder: Path) -> Path:
    """Copy a kernel and its description beside the machine that runs it, so that building it anew does no harm."""
    for source in (kernel, kernel.with_suffix(".json")):
        if source.exists():
            shutil.copy(source, folder)
    return folder / kernel.name
