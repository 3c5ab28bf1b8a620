"""Values of the guest's C types, as people read and write them: enum names, tags, addresses, NTSTATUS."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from lab.errors import UsageError
from lab.x86.address import PhysicalAddress, VirtualAddress

if TYPE_CHECKING:
    from lab.kernel.image import KernelImage, Type

__all__ = [
    "format_value",
    "parse_value",
    "takes_virtual",
    "takes_physical",
    "make_tag",
    "ntstatus",
    "ntstatus_name",
    "is_success",
]

_VIRTUAL, _PHYSICAL = frozenset({"address", "base", "destination", "source"}), "physical"
"""What parameters of the kernel's own commands are called whose u64 is an address."""

_BARE_HEXADECIMAL = re.compile(r"([0-9a-f][0-9a-f_'`]*)(\s*[+-].*)?", re.IGNORECASE)

_HEX_FROM = 0x10000
"""From here on a number is more likely bits or an address than a count."""


def make_tag(text: str) -> int:
    """A pool tag as the number Windows stores: up to four characters, the first in the lowest byte.

    >>> hex(make_tag("Lab1"))
    '0x3162614c'

    UsageError for an empty, longer or non-ASCII text.
    """
    if not 1 <= len(text) <= 4 or not text.isascii():
        raise UsageError(f"{text!r} is no pool tag: one to four ASCII characters")
    return int.from_bytes(text.encode().ljust(4), "little")


def format_value(image: KernelImage, type_: Type, value: int, name: str = "") -> str:
    """`value` of a parameter or result `name` of the given type, as text.

    >>> from lab.kernel.image import KernelImage
    >>> kernel = KernelImage.load()
    >>> (_, pool_type), *_ = kernel.exports["ExAllocatePoolWithTag"].signature.parameters
    >>> format_value(kernel, pool_type, 512)
    'NonPagedPoolNx'
    """
    value &= (1 << 8 * min(type_.size or 8, 8)) - 1
    named = _NAMED.get(type_.name)
    if named:
        return named(image, value)
    if type_.kind == "pointer":
        return str(VirtualAddress(value)) if value else "NULL"
    if type_.kind == "enum":
        return image.enum(type_.tag or type_.name).name_of(value)
    if _is_tag(type_, name) and (tag := value.to_bytes(4, "little").decode("latin-1")).isprintable() and tag.isascii():
        return repr(tag)
    if type_.kind == "signed" and value >> (8 * type_.size - 1):
        return str(value - (1 << 8 * type_.size))
    return str(value) if value < _HEX_FROM else f"{value:#x}"


def is_success(status: int) -> bool:
    """Whether an NTSTATUS is a success or a mere notice, as NT_SUCCESS has it.

    >>> is_success(0x40000000), is_success(0xC0000001)
    (True, False)
    """
    return not status & 0x80000000


def ntstatus_name(image: KernelImage, status: int) -> str | None:
    """Microsoft's name of an NTSTATUS, None where the kernel does not know it."""
    values = image.record["enums"].get("ntstatus", {})
    return next((name for name, value in values.items() if value & 0xFFFFFFFF == status & 0xFFFFFFFF), None)


def ntstatus(image: KernelImage, status: int) -> str:
    """An NTSTATUS by name and number, or by its number alone.

    >>> from lab.kernel.image import KernelImage
    >>> kernel = KernelImage.load()
    >>> ntstatus(kernel, 0xC0000001), ntstatus(kernel, 0xC0DE0001)
    ('STATUS_UNSUCCESSFUL (0xc0000001)', '0xc0de0001')
    """
    name, number = ntstatus_name(image, status), f"{status & 0xFFFFFFFF:#010x}"
    return f"{name} ({number})" if name else number


_NAMED: dict[str, Callable[[KernelImage, int], str]] = {
    "PHYSICAL_ADDRESS": lambda _, value: str(PhysicalAddress(value % (1 << PhysicalAddress.bits))),
    "BOOLEAN": lambda _, value: "TRUE" if value else "FALSE",
    "LOGICAL": lambda _, value: "TRUE" if value else "FALSE",
    "KPROCESSOR_MODE": lambda image, value: image.enum("_MODE").name_of(value),
    "NTSTATUS": ntstatus,
}
"""Types whose values read better by what they mean than as numbers."""


def takes_virtual(type_: Type | None, name: str) -> bool:
    """Whether a parameter is a virtual address."""
    return name in _VIRTUAL or (type_ is not None and type_.kind == "pointer")


def takes_physical(type_: Type | None, name: str) -> bool:
    """Whether a parameter is a physical address."""
    return name == _PHYSICAL or (type_ is not None and type_.name == "PHYSICAL_ADDRESS")


def parse_value(
    image: KernelImage, type_: Type | None, name: str, text: str, address: Callable[[str], int]
) -> int | str:
    """What a person typed for a parameter, as a number, or as text that the callee gets the address of.

    Enum names, quoted or bare pool tags, decimal and hexadecimal numbers; `address` resolves address expressions.
    A C string parameter takes the text itself. UsageError or AddressError for anything else, and for what the type
    has no room for.

    >>> from lab.kernel.image import KernelImage
    >>> kernel = KernelImage.load()
    >>> parameters = kernel.exports["ExAllocatePoolWithTag"].signature.parameters
    >>> typed = zip(parameters, ("NonPagedPoolNx", "0x1000", "1abc"), strict=True)
    >>> [hex(parse_value(kernel, type_, name, text, int)) for (name, type_), text in typed]
    ['0x200', '0x1000', '0x63626131']
    """
    if type_ is not None and type_.kind == "pointer" and type_.target is not None and type_.target.kind == "char":
        return text
    return _fitting(type_, name, text, _number(image, type_, name, text, address))


def _number(image: KernelImage, type_: Type | None, name: str, text: str, address: Callable[[str], int]) -> int:
    is_tag = type_ is not None and _is_tag(type_, name)
    constant = None if is_tag else image.find_constant(text)
    if constant is not None:
        return constant
    try:
        return int(text if is_tag else text.replace("_", ""), 0)
    except ValueError:
        if is_tag:
            return make_tag(text.strip("'"))
    if text.upper() in ("NULL", "FALSE", "TRUE"):
        return int(text.upper() == "TRUE")
    hexadecimal = _BARE_HEXADECIMAL.fullmatch(text)
    is_address = takes_virtual(type_, name) or takes_physical(type_, name)
    if hexadecimal and not is_address and image.find(hexadecimal[1]) is None:
        # Elsewhere such digits are an address; as a count or a size they may be a slip, such as 1e3.
        raise UsageError(f"{text!r} is neither a number nor a name here; a hexadecimal number begins with 0x")
    return address(text)


def _fitting(type_: Type | None, name: str, text: str, value: int) -> int:
    """The value, if the parameter has room for it, as a signed or an unsigned number."""
    bits = 8 * min(type_.size or 8, 8) if type_ is not None else 64
    if -(1 << bits - 1) <= value < 1 << bits:
        return value
    what = f"{name} ({type_.name})" if type_ is not None else "an argument"
    raise UsageError(f"{what} has {bits} bits; {text} does not fit")


def _is_tag(type_: Type, name: str) -> bool:
    return name.lower().endswith("tag") and type_.size == 4
