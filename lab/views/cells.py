"""What views share: cells of frequent kinds, and the walk's lines cut into them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lab.paging import Rights
from lab.views.report import Cell, Line, Role
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.levels import size_text

__all__ = ["address_cell", "size_cell", "amount_cell", "rights_cell", "flags_cell", "line", "walk_line", "plural"]

_TOKENS = re.compile(
    r"(?P<physical>pa:0x[0-9a-f]+)"
    r"|(?<== )(?P<entry>0x[0-9a-f]{8}(?:[0-9a-f]{8})?)(?P<flags>.*)"
    r"|(?P<virtual>0x[0-9a-f]{16})"
    r"|^  (?P<level>PML5|PML4|PDPT|PD|PT)\b"
    r"|(?P<bad>(?<==> )fault:.*)"
    r"|^  (?P<denied>denied: .*)"
    r"|(?<=supervisor )(?P<supervisor>[r-][w-][x-])"
    r"|(?<=  user )(?P<user>[r-][w-][x-])"
)

_ROLES = {
    "physical": Role.PHYSICAL,
    "entry": Role.ENTRY,
    "flags": Role.FLAGS,
    "virtual": Role.VIRTUAL,
    "level": Role.LEVEL,
    "bad": Role.BAD,
    "denied": Role.WARNING,
    "supervisor": Role.RIGHTS,
    "user": Role.RIGHTS,
}


def address_cell(address: VirtualAddress | PhysicalAddress) -> Cell:
    """An address of either kind, printed as its kind is."""
    return Cell(str(address), Role.PHYSICAL if isinstance(address, PhysicalAddress) else Role.VIRTUAL)


def size_cell(size: int) -> Cell:
    """A number of bytes as people say it."""
    return Cell(size_text(size), Role.NUMBER)


def amount_cell(size: int) -> Cell:
    """A number of bytes where its order of magnitude matters: at most four digits before the point.

    >>> amount_cell(3145344 << 10).text, amount_cell(4096).text
    ('3071.6 MiB', '4 KiB')
    """
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    power = next((each for each in range(size >= 1 << 10, 4) if size < 10000 << 10 * each), 4)
    value = f"{size / (1 << 10 * power):.1f}".removesuffix(".0")
    return Cell(f"{value} {units[power]}", Role.NUMBER)


def rights_cell(rights: Rights) -> Cell:
    """Rights such as rw-; none at all are muted."""
    return Cell(str(rights), Role.RIGHTS if rights else Role.MUTED)


def flags_cell(flags: Iterable[str]) -> Cell:
    """Names of set bits, with a blank between."""
    return Cell(" ".join(flags), Role.FLAGS)


def line(*parts: Cell | str) -> Line:
    """A line of cells; plain strings become plain cells.

    >>> [each.text for each in line("root ", address_cell(PhysicalAddress(0x1000)))]
    ['root ', 'pa:0x0000001000']
    """
    return tuple(Cell(part) if isinstance(part, str) else part for part in parts)


def walk_line(text: str) -> Line:
    """A line of the walk grammar as cells; their texts put together are the line again.

    >>> [(each.text, each.role.value) for each in walk_line("  => pa:0x000012a010  4 KiB  WB")]
    [('  => ', 'plain'), ('pa:0x000012a010', 'physical address'), ('  4 KiB  WB', 'plain')]
    """
    cells, end = [], 0
    for match in _TOKENS.finditer(text):
        for name, part in match.groupdict().items():
            if part:
                start = match.start(name)
                cells += [Cell(text[end:start])] if start > end else []
                cells.append(Cell(part, _ROLES[name]))
                end = match.end(name)
    return (*cells, Cell(text[end:])) if end < len(text) else tuple(cells)


def plural(count: int, word: str) -> str:
    """A count with its noun.

    >>> plural(1, "leaf"), plural(3, "alias"), plural(2, "entry")
    ('1 leaf', '3 aliases', '2 entries')
    """
    if count == 1:
        return f"{count} {word}"
    if word.endswith("f"):
        return f"{count} {word[:-1]}ves"
    if word.endswith("ry"):
        return f"{count} {word[:-1]}ies"
    return f"{count} {word}es" if word.endswith("s") else f"{count} {word}s"
