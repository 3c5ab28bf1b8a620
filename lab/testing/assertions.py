"""Claims about mappings and faults. A claim that does not hold shows the walk, and names the level and bit that decide.

What is claimed is compared with the page tables in RAM (`assert_maps`) or with what the CPU reported (`assert_faults`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from lab.errors import UsageError
from lab.paging.access import Access, AccessKind
from lab.paging.prediction import Prediction, predict
from lab.paging.rights import Rights
from lab.paging.walk import Fault, Mapped, Walk
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.entry import Entry
from lab.x86.levels import Level, size_text
from lab.x86.registers import RFLAGS, PageFaultCode

if TYPE_CHECKING:
    from lab.machine.mailbox import GuestException
    from lab.snapshot import Snapshot

__all__ = ["Refuted", "Attempt", "assert_faults", "assert_maps"]

PAGE_FAULT = 14

KINDS = {"r": AccessKind.READ, "w": AccessKind.WRITE, "x": AccessKind.FETCH}
"""The accesses that the letters of rights stand for."""


class Refuted(AssertionError):
    """A claim that does not hold; `address` is the virtual address it is about, where there is one."""

    def __init__(self, message: str, address: int | None = None) -> None:
        super().__init__(message)
        self.address = address


class Attempt(Protocol):
    """What a call or a probe gave: the exception that ended it, or None."""

    @property
    def exception(self) -> GuestException | None:
        """The exception, None when there was none."""


def assert_maps(
    snapshot: Snapshot,
    address: int | str,
    *,
    pa: int | None = None,
    access: str | None = None,
    user: str | None = None,
    memory_type: str | None = None,
    page_size: int | None = None,
) -> Walk:
    """Claim that a virtual address is mapped, and how; return its walk.

    `address` is a number or an expression such as "KeBugCheckEx+0x10". `access` is what the kernel may do ("rw-"),
    `user` what user mode may ("---"), both effective: over all levels, control bits and protection keys, RFLAGS.AC
    being clear. `pa` is the physical address it stands for, `page_size` is in bytes. What is not given may be anything.

    >>> from lab.memory import MadeUpSpace
    >>> from lab.snapshot import Registers, Snapshot
    >>> space = MadeUpSpace()
    >>> space.map(0x400000, 0x12A000, "rw-")
    >>> snapshot = Snapshot(space.memory, space.state, Registers())
    >>> assert_maps(snapshot, 0x400010, pa=0x12A010, access="rw-", memory_type="WB").is_mapped
    True
    >>> assert_maps(snapshot, 0x400010, access="r-x", user="r--")
    Traceback (most recent call last):
    lab.testing.assertions.Refuted: 0x0000000000400010 is not mapped as claimed
      supervisor access is rw-, not r-x: write succeeds: bit 1 (W) is 1 at every level
      supervisor access is rw-, not r-x: fetch faults: PT bit 63 (NX) is 1
      user access is ---, not r--: user read faults: PML4 bit 2 (U) is 0
    walk 0x0000000000400010 by cr3 pa:0x0000100000
      PML4 [000] @ pa:0x0000100000 = 0x0000000000101003  P W
      PDPT [000] @ pa:0x0000101000 = 0x0000000000102003  P W
      PD   [002] @ pa:0x0000102010 = 0x0000000000103003  P W
      PT   [000] @ pa:0x0000103000 = 0x800000000012a003  P W NX
      => pa:0x000012a010  4 KiB  WB  supervisor rw-  user ---
      denied: execute by PT bit 63 (NX)
      denied: user by PML4 bit 2 (U)

    Raises Refuted, an AssertionError; UsageError for a claim that cannot be one.
    """
    __tracebackhide__ = True
    walk = snapshot.walk(_virtual(snapshot, address))
    claims = {"supervisor": access, "user": user}
    rights = {who: _rights(letters) for who, letters in claims.items() if letters is not None}
    if isinstance(walk.outcome, Fault):
        raise Refuted(f"{walk.address} is not mapped: {walk.outcome}\n{walk}", walk.address)
    found = walk.outcome
    differences = [*_placement(walk, found, pa, page_size)]
    if memory_type is not None and str(found.memory_type) != memory_type:
        differences.append(f"memory type is {found.memory_type}, not {memory_type}: {_type_bits(walk)}")
    for who, wanted in rights.items():
        differences += _access(snapshot, walk.address, who, wanted)
    if differences:
        lines = "\n".join(f"  {each}" for each in differences)
        raise Refuted(f"{walk.address} is not mapped as claimed\n{lines}\n{walk}", walk.address)
    return walk


def assert_faults(
    attempt: Attempt, bits: str | None = None, *, at: int | None = None, snapshot: Snapshot | None = None
) -> GuestException:
    """Claim that a probe or a call ended in a page fault; return it.

    `bits` are all bits set in its error code, such as "P|W" ("" for none), `at` is the address it must be at. With a
    `snapshot` of the guest a failure shows the walk, and what decides over such an access.

    Raises Refuted, an AssertionError; UsageError for bits that do not exist.
    """
    __tracebackhide__ = True
    wanted = None if bits is None else _fault_code(bits)
    exception = attempt.exception
    claimed = "#PF" if wanted is None else f"#PF with {_names(wanted)}"
    if exception is None:
        message = f"no exception came, instead of {claimed}"
        raise Refuted(_with_walk(message, attempt, snapshot, at, wanted), at)
    if exception.vector != PAGE_FAULT:
        raise Refuted(f"{exception}, instead of {claimed}", at)
    found = PageFaultCode(exception.error_code)
    if at is not None and exception.cr2 != at:
        message = f"#PF came at {VirtualAddress(exception.cr2)}, not at {VirtualAddress(at)}"
    elif wanted is not None and found != wanted:
        message = f"#PF came with {_names(found)}, not with {_names(wanted)}"
    else:
        return exception
    raise Refuted(_with_walk(f"{message}\n{exception}", attempt, snapshot, exception.cr2, found), exception.cr2)


def _virtual(snapshot: Snapshot, address: int | str) -> VirtualAddress:
    found = snapshot.resolve(address) if isinstance(address, str) else VirtualAddress(address)
    if isinstance(found, PhysicalAddress):
        raise UsageError(f"{found} is a physical address; give a virtual one to claim how it is mapped")
    return found


def _rights(letters: str) -> Rights:
    try:
        return Rights.parse(letters)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _placement(walk: Walk, found: Mapped, pa: int | None, page_size: int | None) -> Iterator[str]:
    """How the frame or its size differ; the leaf's entry decides both."""
    level = walk.steps[-1].level
    if pa is not None and found.physical != pa:
        frame = f"{level} bits 51:{level.shift} name the frame"
        yield f"physical address is {found.physical}, not {PhysicalAddress(pa)}: {frame}"
    if page_size is not None and found.page_size != page_size:
        leaf = f"{level} bit 7 (PS) is 1" if level > Level.PT else "the walk goes down to PT"
        yield f"page size is {size_text(found.page_size)}, not {size_text(page_size)}: {leaf}"


def _type_bits(walk: Walk) -> str:
    """Which bits of the leaf choose the entry of the PAT."""
    step = walk.steps[-1]
    high = Entry.pat if step.level == Level.PT else Entry.pat_large
    bits = (high, Entry.cache_disable, Entry.write_through)
    values = " ".join(str(int(step.entry & bit.mask != 0)) for bit in bits)
    numbers = ", ".join(str(bit.number) for bit in bits)
    return f"{step.level} bits {numbers} (PAT PCD PWT) are {values}"


def _access(snapshot: Snapshot, address: VirtualAddress, who: str, wanted: Rights) -> Iterator[str]:
    """A line for each right that is not as claimed, with what decides it."""
    state = replace(snapshot.state, rflags=RFLAGS(snapshot.state.rflags.replace(ac=False)))

    def ask(kind: AccessKind) -> Prediction:
        return predict(snapshot.memory, state, address, Access(kind, user=who == "user"))

    predicted = {letter: ask(kind) for letter, kind in KINDS.items()}
    found = "".join(letter if each.ok else "-" for letter, each in predicted.items())
    for letter, claimed in zip(predicted, str(wanted), strict=True):
        if predicted[letter].ok != (claimed == letter):
            yield f"{who} access is {found}, not {wanted}: {predicted[letter]}"


def _fault_code(bits: str) -> PageFaultCode:
    names = [{"I": "I/D"}.get(name.strip(), name.strip()) for name in bits.split("|") if name.strip()]
    try:
        return PageFaultCode.from_names(*names)
    except (KeyError, ValueError, LookupError) as error:
        raise UsageError(f"{bits!r} are not bits of a page fault's error code; write them like 'P|W'") from error


def _names(code: PageFaultCode) -> str:
    return "|".join(code.names()) or "no bit"


def _with_walk(
    message: str, attempt: Attempt, snapshot: Snapshot | None, address: int | None, code: PageFaultCode | None
) -> str:
    """The message with what decides over an access as `code` says, and the walk, in the space that a probe had."""
    if snapshot is None or address is None:
        return message
    kind = AccessKind.READ
    if code is not None:
        kind = AccessKind.FETCH if code.fetch else AccessKind.WRITE if code.write else kind
    state, root = getattr(attempt, "state", snapshot.state), getattr(attempt, "root", None)
    access = Access(kind, user=code is not None and code.user)
    predicted = predict(snapshot.memory, state, VirtualAddress(address), access, root=root)
    return f"{message}\n{predicted}\n{predicted.walk}"
