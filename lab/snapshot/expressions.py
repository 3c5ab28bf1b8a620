"""Address expressions: what a person may type where an address is wanted.

=====================  ==================================================================================
``0xfffff88000004010``  a virtual address in hexadecimal; 0x may be left out, ``_ ' ``` group the digits
``pa:0x12a010``         a physical address
``KeBugCheckEx``        a symbol of the kernel
``rip``, ``cr2``, …     what a register holds; ``cr3`` is the physical address of the root table
``mdl:0``               the memory that MDL 0 of `lab mdl` describes: its system mapping when it has one, else its
                        buffer, else (pages without any address) its first frame
``pool:Tag``            the first pool block in use with that tag; ``pool:Tag:2`` the third
=====================  ==================================================================================

Each may be followed by ``+0x10`` or ``-16``: an offset in bytes, decimal unless it begins with 0x.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from lab.errors import AddressError
from lab.x86.address import PhysicalAddress, VirtualAddress

if TYPE_CHECKING:
    from lab.kernel.mdl import Mdl
    from lab.snapshot.snapshot import Snapshot

__all__ = ["resolve", "resolve_physical"]

AnyAddress: TypeAlias = VirtualAddress | PhysicalAddress
Address = TypeVar("Address", bound=VirtualAddress | PhysicalAddress)

_OFFSET = re.compile(r"(.+?)\s*([+-])\s*(0x[0-9a-f]+|[0-9]+)", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9].*|[0-9a-f]+[_'`].*", re.IGNORECASE)
_HEXADECIMAL = re.compile(r"[0-9a-f]+", re.IGNORECASE)


def resolve(snapshot: Snapshot, expression: str, *, mdl_itself: bool = False) -> AnyAddress:
    """The address that `expression` stands for; AddressError, with what would be understood, when for none.

    With `mdl_itself` the address of ``mdl:0`` is where the MDL stands, not the memory that it describes.
    """
    text, offset = _split(expression)
    if mdl_itself and text.lower().startswith("mdl:"):
        return _moved(_mdl(snapshot, text).address, offset, expression)
    return _moved(_base(snapshot, text), offset, expression)


def resolve_physical(snapshot: Snapshot, expression: str) -> PhysicalAddress:
    """A physical address: a bare number is taken as one, anything virtual is translated by a walk."""
    text, offset = _split(expression)
    if _NUMBER.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        return _moved(PhysicalAddress.parse(text), offset, expression)
    found = _moved(_base(snapshot, text), offset, expression)
    return found if isinstance(found, PhysicalAddress) else snapshot.walk(found).mapped.physical


def _split(expression: str) -> tuple[str, int]:
    """What stands before an offset, and the offset."""
    text = expression.strip()
    if not text:
        raise AddressError(expression, "it is empty")
    match = _OFFSET.fullmatch(text)
    if match is None:
        return text, 0
    digits = match[3].lower()
    offset = int(digits, 16) if digits.startswith("0x") else int(digits)
    return match[1], offset if match[2] == "+" else -offset


def _moved(base: Address, offset: int, expression: str) -> Address:
    moved = int(base) + offset
    if not 0 <= moved < 1 << base.bits:
        raise AddressError(expression, f"{base}{offset:+#x} leaves the address space")
    return type(base)(moved)


def _base(snapshot: Snapshot, text: str) -> AnyAddress:
    prefix, colon, rest = text.partition(":")
    if colon:
        return _prefixed(snapshot, text, prefix.lower(), rest)
    if text.lower() == "cr3":
        return snapshot.state.root
    if text.lower() in snapshot.registers.names():
        return VirtualAddress(snapshot.registers[text.lower()])
    if _NUMBER.fullmatch(text):
        return VirtualAddress.parse(text)
    return _symbol(snapshot, text)


def _prefixed(snapshot: Snapshot, text: str, prefix: str, rest: str) -> AnyAddress:
    if prefix == "pa":
        return PhysicalAddress.parse(text)
    if prefix == "mdl":
        found = _mdl(snapshot, text).reached_at
        if found is None:
            raise AddressError(text, "that MDL describes no memory")
        return found
    if prefix == "pool":
        return _pool(snapshot, text, rest)
    raise AddressError(text, "before a colon there may be pa, mdl or pool")


def _symbol(snapshot: Snapshot, text: str) -> AnyAddress:
    # A name such as `add` is also a number; the kernel's name for it comes first.
    found = snapshot.kernel.find(text) if snapshot.kernel else None
    if found is not None:
        return found.address
    if _HEXADECIMAL.fullmatch(text):
        return VirtualAddress.parse(text)
    if snapshot.kernel is None:
        raise AddressError(text, "this guest has no symbols here; give a hexadecimal address or a register")
    return snapshot.kernel.symbol(text).address


def _mdl(snapshot: Snapshot, text: str) -> Mdl:
    from lab.kernel.mdl import read_mdls

    rest = text.partition(":")[2]
    mdls = read_mdls(snapshot.guest).mdls
    if not rest.isdecimal() or int(rest) >= len(mdls):
        hint = f"there are {len(mdls)} MDLs, from mdl:0 on" if mdls else "there are no MDLs now"
        raise AddressError(text, hint)
    return mdls[int(rest)]


def _pool(snapshot: Snapshot, text: str, rest: str) -> AnyAddress:
    from lab.kernel.pool import read_pool

    tag, colon, number = rest.rpartition(":")
    if not colon or not number.isdecimal():
        tag, number = rest, "0"
    blocks = [each for each in read_pool(snapshot.guest).allocations if each.tag.rstrip() == tag.rstrip()]
    if int(number) >= len(blocks):
        hint = f"{len(blocks)} blocks in use have the tag {tag!r}" if blocks else f"no block in use has the tag {tag!r}"
        raise AddressError(text, f"{hint}; `lab pool` shows the tags")
    return blocks[int(number)].address
