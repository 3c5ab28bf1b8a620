"""Probes: a few instructions of one's own, run by the guest's CPU under its guard, and all that came of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import GuestError, GuestTimeout, LabError, NoMemoryAt, UsageError
from lab.kernel.objects import Guest, StructView
from lab.machine.assembler import assemble
from lab.machine.disassembly import Instruction, disassemble
from lab.machine.mailbox import PAGE_FAULT, GuestException
from lab.machine.waiting import wait_until
from lab.paging import Access, AccessKind, Prediction, Walk, predict
from lab.paging.rules import rules_of
from lab.snapshot.registers import Registers
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.levels import KIB, Level
from lab.x86.registers import CR0, CR3, CR4, EFER, RFLAGS, KeyRights, PageFaultCode
from lab.x86.state import PagingState

if TYPE_CHECKING:
    from lab.kernel.image import KernelImage
    from lab.machine.machine import Machine
    from lab.machine.space import Space
    from lab.paging import Quirk

__all__ = ["ProbeResult", "CONTROLS", "SETTABLE", "probe", "kernel_state"]

SETTABLE = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rflags")
"""The registers that a probe can be started with."""

MASK64 = (1 << 64) - 1
FIRST_INTERRUPT = 32
TRIES, PATIENCE = 20, 0.1
"""How often a probe is interrupted before it is given up, and seconds between."""

KEY_0 = 3
"""The two bits of PKRS that speak of key 0, which all the kernel's own pages have."""


class Control(NamedTuple):
    """A control bit that a probe may have its own way: its register, and the CPU feature it needs."""

    register: str
    mask: int
    feature: str = ""


CONTROLS: Mapping[str, Control] = {
    "CR0.WP": Control("cr0", CR0.wp.mask),
    "CR0.AM": Control("cr0", CR0.am.mask),
    "CR0.TS": Control("cr0", CR0.ts.mask),
    "CR0.EM": Control("cr0", CR0.em.mask),
    "CR4.TSD": Control("cr4", CR4.tsd.mask),
    "CR4.PGE": Control("cr4", CR4.pge.mask, "CPU_PGE"),
    "CR4.UMIP": Control("cr4", CR4.umip.mask, "CPU_UMIP"),
    "CR4.SMEP": Control("cr4", CR4.smep.mask, "CPU_SMEP"),
    "CR4.SMAP": Control("cr4", CR4.smap.mask, "CPU_SMAP"),
    "CR4.PKE": Control("cr4", CR4.pke.mask, "CPU_PKU"),
    "CR4.PKS": Control("cr4", CR4.pks.mask, "CPU_PKS"),
    "EFER.NXE": Control("efer", EFER.nxe.mask, "CPU_NX"),
}
"""The bits a probe may override. No others: with some the guest could not come back, and TCG retries a refused MOV to
CR4 for ever."""


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What became of a probe.

    `before` and `registers` are those at its first instruction and at its end. `code` is all of it, run or not.
    `state` is what its accesses were translated by, the root table and the keys' rights included. After a page fault
    `prediction` is what the manual says of such an access, by the tables as they are now, and `quirk` why the CPU may
    nevertheless have done otherwise; there is none for the probe's own pages, which are gone by then.
    """

    before: Registers
    registers: Registers
    exception: GuestException | None
    code: tuple[Instruction, ...]
    user: bool
    state: PagingState
    prediction: Prediction | None = None
    quirk: Quirk | None = None

    @property
    def ok(self) -> bool:
        """Whether it came to its end."""
        return self.exception is None

    @property
    def root(self) -> PhysicalAddress:
        """The root table that was in CR3."""
        return self.state.root

    @property
    def walk(self) -> Walk | None:
        """The walk of a page fault's address, as the tables are now; see `prediction`."""
        return self.prediction.walk if self.prediction else None

    @property
    def error_code(self) -> PageFaultCode:
        """The error code of its page fault; UsageError where it had none."""
        if self.exception is None or self.exception.vector != PAGE_FAULT:
            raise UsageError(f"there was no page fault: {self}")
        return PageFaultCode(self.exception.error_code)

    @cached_property
    def instruction(self) -> Instruction | None:
        """The instruction that the exception is about; None where it was outside of the probe's code."""
        passed = self.exception is not None and _is_trap(self.exception.vector)
        return _instruction_at(self.code, self.registers.rip, passed=passed)

    @cached_property
    def offset(self) -> int | None:
        """How far into the code that instruction is."""
        return None if self.instruction is None else self.instruction.address - self.code[0].address

    @property
    def changed(self) -> dict[str, tuple[int, int]]:
        """The general registers and flags that have other values than before, and both values."""
        pairs = {name: (self.before[name], self.registers[name]) for name in SETTABLE}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def __str__(self) -> str:
        if self.exception is None:
            return "the probe came to its end"
        what = f"{self.exception.name}, error code {self.exception.error_code:#x}"
        if self.exception.vector == PAGE_FAULT:
            what = f"{self.exception.name} at {VirtualAddress(self.exception.cr2)}: {self.error_code.sentence()}"
            what += f" (error code {self.exception.error_code:#x})"
        if self.instruction is None:
            return f"{what}, at rip {VirtualAddress(self.registers.rip)}, outside of the probe"
        return f"{what}, by +{self.offset:#x} {self.instruction}"


def probe(
    machine: Machine,
    source: str | bytes,
    registers: Mapping[str, int],
    *,
    user: bool = False,
    space: Space | None = None,
    root: int | None = None,
    controls: Mapping[str, int] | None = None,
    ac: bool = False,
    pkru: int | None = None,
    pkrs: int | None = None,
    timeout: float,
) -> ProbeResult:
    """Run a probe; `Machine.probe` says how."""
    kernel = kernel_state(machine)
    state = _controls(machine, kernel, controls or {}, pkru, pkrs)
    state = replace(state, cr3=CR3(_root(state, space, root) | state.cr3.pcid))
    address = code_address(machine.kernel, state)
    code = source if isinstance(source, bytes) else assemble(source, address, _resolver(machine.kernel))
    block = _Block(machine.kernel)
    room = machine.mailbox.room - len(block.data) - 16
    if len(code) > room:
        raise UsageError(f"the probe has {len(code)} bytes of code; {room} is the most")
    block.fill(_initial(registers, ac=ac), state, user=user)
    listing = tuple(disassemble(code, address))
    watchdog = _Watchdog(machine)
    try:
        run = machine.post("probe_run", block.data, code, len(code), timeout=timeout, rescue=watchdog).wait(timeout)
    except GuestTimeout:
        if watchdog.stuck is None:
            raise
        raise _endless(machine, listing, watchdog.stuck, f"{timeout:g} s", lost=True) from None
    if run.exception is not None:
        where, registers_then = run.exception.symbol(machine.kernel), run.exception.registers.as_dict()
        raise GuestError(f"the guest could not run the probe: {run.exception} ({where})", registers=registers_then)
    outcome = block.view().enum("outcome", "lab_probe_outcome").removeprefix("LAB_PROBE_")
    if outcome == "STOPPED":
        raise _endless(machine, listing, block.registers(), f"{timeout:g} s")
    if outcome == "NO_MEMORY":
        raise LabError("the guest has no frames left for a probe's code and stack; boot it with more RAM")
    if outcome == "NO_KERNEL":
        raise UsageError(
            f"what stands at {state.root} is no root table that maps itself and shares the kernel's half, so it cannot "
            "be in CR3; machine.new_space() makes one"
        )
    return _result(machine, block, listing, state)


def kernel_state(machine: Machine) -> PagingState:
    """The state that the guest's kernel runs with, whatever its CPU is doing at this moment."""
    cpu = Guest(machine.kernel, machine.memory, PagingState()).variable("lab_cpu")
    return machine.paging_state(Registers.from_mapping({name: cpu[name] for name in ("cr0", "cr3", "cr4", "efer")}))


def code_address(kernel: KernelImage, state: PagingState) -> VirtualAddress:
    """Where the code of probes stands: at the beginning of a slot of the root table that is theirs."""
    slot = kernel.constant("PROBE_SLOT") << Level(state.levels).shift
    return VirtualAddress(rules_of(state).canonical(slot))


# ------------------------------------------------------------------------------------------------- what is asked ----


def _resolver(kernel: KernelImage) -> Callable[[str], int | None]:
    def resolve(name: str) -> int | None:
        found = kernel.find(name)
        return None if found is None else int(found.address)

    return resolve


def _initial(registers: Mapping[str, int], *, ac: bool) -> dict[str, int]:
    unknown = [name for name in registers if name not in SETTABLE]
    if unknown:
        raise UsageError(f"a probe cannot be started with {unknown[0]!r}; it can with {', '.join(SETTABLE)}")
    flags = RFLAGS(registers.get("rflags", 0) | 2)
    return {**registers, "rflags": flags | RFLAGS.ac.mask if ac else flags}


def _controls(
    machine: Machine, state: PagingState, wanted: Mapping[str, int], pkru: int | None, pkrs: int | None
) -> PagingState:
    """The state with the bits that are wanted; UsageError for bits nobody may choose or this CPU does not have."""
    wanted = {**({} if pkru is None else {"CR4.PKE": 1}), **({} if pkrs is None else {"CR4.PKS": 1}), **wanted}
    features = Guest(machine.kernel, machine.memory, state).variable("lab_cpu")["features"]
    words = {"cr0": int(state.cr0), "cr4": int(state.cr4), "efer": int(state.efer)}
    for name, value in wanted.items():
        control = CONTROLS.get(name.upper())
        if control is None:
            raise UsageError(f"a probe cannot choose {name!r}; it can choose {', '.join(CONTROLS)}")
        if value and control.feature and not features & machine.kernel.constant(control.feature):
            raise UsageError(f"this CPU cannot set {name}; boot with another --cpu")
        words[control.register] = words[control.register] & ~control.mask | control.mask * bool(value)
    if (pkrs or 0) & KEY_0:
        raise UsageError("PKRS cannot forbid key 0, which is that of the kernel's own pages")
    return replace(
        state,
        cr0=CR0(words["cr0"]),
        cr4=CR4(words["cr4"]),
        efer=EFER(words["efer"]),
        pkru=KeyRights(pkru or 0),
        pkrs=KeyRights(pkrs or 0),
    )


def _root(state: PagingState, space: Space | None, root: int | None) -> PhysicalAddress:
    if space is not None and root is not None:
        raise UsageError("a probe has one root table: give a space or an address, not both")
    if space is not None:
        return space.root
    if root is None:
        return state.root
    if root % (4 * KIB) or root >> state.max_phys_bits:
        raise UsageError(f"{root:#x} cannot be in CR3: a root table begins a frame of {state.max_phys_bits} bits")
    return PhysicalAddress(root)


class _Block:
    """The guest's struct lab_probe, to be filled in and read back."""

    def __init__(self, kernel: KernelImage) -> None:
        self._kernel = kernel
        self._structure = kernel.structure("lab_probe")
        self.data = bytearray(self._structure.size)
        self._given: dict[str, int] = {}

    def fill(self, registers: Mapping[str, int], state: PagingState, *, user: bool) -> None:
        """Write down what the guest is to do."""
        self._given = dict(registers)
        words = {
            **{f"registers.{name}": value for name, value in registers.items()},
            **{f"controls.{name}": getattr(state, name) for name in ("cr0", "cr3", "cr4", "efer", "pkru", "pkrs")},
            "user": int(user),
        }
        for path, value in words.items():
            offset = self._offset(path)
            self.data[offset : offset + 8] = (int(value) & MASK64).to_bytes(8, "little")

    def _offset(self, path: str) -> int:
        structure, offset = self._structure, 0
        *outer, last = path.split(".")
        for name in outer:
            field = structure.field(name)
            structure, offset = self._kernel.structure(field.type.tag), offset + field.offset
        return offset + structure.field(last).offset

    def view(self) -> StructView:
        """The structure as it is now."""
        return StructView(VirtualAddress(0), self._structure, bytes(self.data), self._kernel)

    def before(self) -> Registers:
        """What the probe began with; all that was not given was 0, but for its stack."""
        view = self.view()
        given = {name: value & MASK64 for name, value in self._given.items()}
        return Registers.from_mapping({"rsp": view["stack"], **given, "rip": view["code"]})

    def registers(self) -> Registers:
        """What the probe ended with."""
        record = self.view().inner("registers")
        return Registers.from_mapping({name: record[name] for name in record.structure.fields})


# ---------------------------------------------------------------------------------------------- what came of it ----


class _Watchdog:
    """Ends a probe that goes on for too long; `stuck` are its registers when it was last seen."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.stuck: Registers | None = None

    def __call__(self) -> bool:
        """End it; False where that fails, or is not for us because somebody else holds the machine.

        A busy host may not have let the guest begin yet, and a non-maskable interrupt that comes too early is lost.
        """
        return any(wait_until(lambda: self._machine.mailbox.is_idle, PATIENCE) for _ in range(TRIES) if self._hit())

    def _hit(self) -> bool:
        machine = self._machine
        if not machine.is_running:
            return False
        with machine.paused():
            if not machine.mailbox.is_idle:
                self.stuck = machine.registers()
                machine.qmp.execute("inject-nmi")
        return True


def _result(machine: Machine, block: _Block, code: tuple[Instruction, ...], state: PagingState) -> ProbeResult:
    found, registers = block.view(), block.registers()
    exception = prediction = quirk = None
    if found["outcome"] == machine.kernel.constant("LAB_PROBE_EXCEPTION"):
        vector = found["registers.vector"]
        name = machine.kernel.enum("trap_vector").name_of(vector).replace("TRAP_", "#")
        exception = GuestException(vector, name, found["registers.error_code"], found["cr2"], registers)
        if vector == PAGE_FAULT:
            prediction, quirk = _explain(machine, exception, state, user=bool(found["user"]))
    else:
        registers = replace(registers, rip=registers.rip - 1)  # INT3 behind the last instruction is not part of it
    return ProbeResult(
        before=block.before(),
        registers=registers,
        exception=exception,
        code=code,
        user=bool(found["user"]),
        state=state,
        prediction=prediction,
        quirk=quirk,
    )


def _explain(
    machine: Machine, exception: GuestException, state: PagingState, *, user: bool
) -> tuple[Prediction | None, Quirk | None]:
    """What the manual says of the access that faulted, and the quirk of this CPU that explains a difference."""
    address, registers = VirtualAddress(exception.cr2), exception.registers
    own_pages = code_address(machine.kernel, state)
    if own_pages <= address < own_pages + Level(state.levels).page_size:
        return None, None
    state = replace(state, rflags=RFLAGS(registers.rflags))
    access = _access(PageFaultCode(exception.error_code), fetched=registers.rip == address, user=user)
    try:
        prediction = predict(machine.memory, state, address, access)
        if prediction.accepts(exception.vector, exception.error_code):
            return prediction, None
        for quirk in sorted(machine.quirks, key=str):
            other = predict(machine.memory, state, address, access, quirks=frozenset([quirk]))
            if other.accepts(exception.vector, exception.error_code):
                return prediction, quirk
    except NoMemoryAt:
        return None, None  # a table outside of RAM: nobody can say what the CPU read there
    return prediction, None


def _access(code: PageFaultCode, *, fetched: bool, user: bool) -> Access:
    """The access that raised a page fault. That it was a fetch stands in the code only where that matters."""
    if code.fetch or fetched:
        return Access(AccessKind.FETCH, user)
    return Access(AccessKind.WRITE if code.write else AccessKind.READ, user, implicit=user and not code.user)


def _endless(
    machine: Machine, code: tuple[Instruction, ...], registers: Registers, time: str, *, lost: bool = False
) -> GuestTimeout:
    before = _instruction_at(code, registers.rip, passed=True)
    here = before if before and before.mnemonic == "hlt" else _instruction_at(code, registers.rip)
    place = f"+{here.address - code[0].address:#x} {here}" if here else f"rip {machine.describe(registers.rip)}"
    ending = "the guest lives on, and a probe may be given more time"
    if lost:  # TCG begins a MOV to CR3 or CR4 with a value that cannot be again and again, deaf to interrupts
        ending = "not even an NMI ends this instruction, so the guest is lost; boot it anew, `lab reboot`"
    return GuestTimeout(
        f"the probe did not end within {time}: it was at {place}; {ending}", registers=registers.as_dict()
    )


def _is_trap(vector: int) -> bool:
    """Whether the CPU has passed the instruction when the exception comes: #DB, #BP, #OF, and INT."""
    return vector in {1, 3, 4} or vector >= FIRST_INTERRUPT


def _instruction_at(code: tuple[Instruction, ...], rip: int, *, passed: bool = False) -> Instruction | None:
    """The instruction at `rip`, or the one before if it is `passed`."""
    return next((each for each in code if rip == (each.end if passed else each.address)), None)
