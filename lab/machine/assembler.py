"""Assembly -> machine code, by keystone: Intel syntax, as the manuals write it.

Keystone tells neither where an error is nor what it made of a number too wide for its instruction, so both are found
out here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import UsageError

if TYPE_CHECKING:
    from keystone import Ks

__all__ = ["assemble", "AssemblyError"]

Resolve = Callable[[str], int | None]

MISSING: Mapping[str, str] = {
    "endbr64": ".byte 0xf3, 0x0f, 0x1e, 0xfa",
    "endbr32": ".byte 0xf3, 0x0f, 0x1e, 0xfb",
    "sysretq": ".byte 0x48, 0x0f, 0x07",
    "sysexitq": ".byte 0x48, 0x0f, 0x35",
    "clui": ".byte 0xf3, 0x0f, 0x01, 0xee",
    "stui": ".byte 0xf3, 0x0f, 0x01, 0xef",
}
"""Instructions that keystone lacks, and how to write them all the same."""

_COMMENT = re.compile(r"(#|//).*|/\*.*?\*/")
_PART = re.compile(r"(?:\"[^\"]*\"|'[^']*'|[^;])+")
_LABEL = re.compile(r"\s*([\w.$]+)\s*:")
_NAME = re.compile(r"(?<![\w.$'\"])([A-Za-z_$][\w.$]*)(\s*[+-]\s*(?:0x[0-9a-f]+|[0-9]+)\b)?", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.$])-?(?:0x[0-9a-f]+|[0-9]+)(?![\w.$])", re.IGNORECASE)
_BRANCH = re.compile(r"call|j[a-z]+|loop[a-z]*|xbegin")
_RESERVED = re.compile(
    r"[er]?[abcd]x|[abcd][hl]|[er]?[sd]i|[er]?[sb]p|[sd]il|[sb]pl|r\d+[bwd]?|[er]?ip|[c-g]s|ss|[cd]r\d+|st|k\d"
    r"|[xyz]?mm\d+|bnd\d|ptr|byte|[dqtfo]?word|[xyz]mmword|xword|short|near|far|offset|rel|not|and|or|xor|shl|shr|mod",
    re.IGNORECASE,
)
"""Words that mean something to the assembler where an operand stands."""


class AssemblyError(UsageError):
    """Assembly that is none; `line` and `column` count from 1, `statement` is the offending part."""

    def __init__(self, statement: str, reason: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {statement!r}: {reason}")
        self.statement = statement
        self.reason = reason
        self.line = line
        self.column = column


class Statement(NamedTuple):
    """One instruction or directive, and the labels before it."""

    text: str
    labels: tuple[str, ...]
    line: int
    column: int

    @property
    def source(self) -> str:
        """Labels and text as the assembler wants them."""
        return "".join(f"{label}: " for label in self.labels) + self.text

    @property
    def mnemonic(self) -> str:
        """The first word."""
        return self.text.split(maxsplit=1)[0].lower() if self.text else ""

    def error(self, reason: str, part: str = "") -> AssemblyError:
        """The error at this statement, or at a part of it."""
        within = max(self.text.find(part), 0) if part else 0
        return AssemblyError(part or self.text, reason, self.line, self.column + within)


def assemble(source: str, address: int, resolve: Resolve = lambda _: None) -> bytes:
    """The code of `source` for `address`; statements stand on lines or between semicolons.

    Labels are defined as `name:`, `.` is the present place, `#` and `//` begin comments. `resolve` knows more names,
    such as a kernel's symbols. Raises AssemblyError with the place and the reason.

    >>> assemble("again: dec rcx; jnz again", 0).hex(" ")
    '48 ff c9 75 fb'
    >>> assemble("nop; mov rax, [rdi", 0)
    Traceback (most recent call last):
    lab.machine.assembler.AssemblyError: line 1, column 6: 'mov rax, [rdi': brackets do not match
    """
    statements = list(_statements(source))
    labels = {label for each in statements for label in each.labels}
    ready = [_resolved(each, labels, resolve) for each in statements]
    if not any(each.text for each in ready):
        raise AssemblyError(source.strip(), "there is no instruction", 1, 1)
    code, error = _encode("\n".join(each.source for each in ready), address)
    if error:
        raise _blame(statements, ready, labels, address, error)
    for number, each in enumerate(ready):
        _check_width(statements[number], each, code)
    return code


def _statements(source: str) -> Iterator[Statement]:
    for number, line in enumerate(source.splitlines(), 1):
        # Comments become blanks, so that columns stay what they are.
        bare = _COMMENT.sub(lambda found: " " * len(found[0]), line)
        for part in _PART.finditer(bare):
            labels, start = [], 0
            while found := _LABEL.match(part[0], start):
                if found[1][0].isdigit():
                    raise AssemblyError(found[0].strip(), "a label begins with a letter here", number, part.start() + 1)
                labels.append(found[1])
                start = found.end()
            text = part[0][start:]
            column = part.start() + start + len(text) - len(text.lstrip()) + 1
            if text.strip() or labels:
                yield Statement(text.strip(), tuple(labels), number, column)


def _resolved(statement: Statement, labels: set[str], resolve: Resolve) -> Statement:
    """The statement with names that are neither labels nor the assembler's own as numbers."""
    mnemonic, blank, operands = statement.text.partition(" ")
    if operands.count("[") != operands.count("]"):
        raise statement.error("brackets do not match")
    if mnemonic.startswith("."):
        return statement

    def value(found: re.Match[str]) -> str:
        name, offset = found[1], found[2] or ""
        if name in labels or _RESERVED.fullmatch(name):
            return found[0]
        number = resolve(name)
        if number is None:
            raise statement.error("no register, label or symbol has this name", name)
        return hex(number + _number(offset.replace(" ", "") or "0"))

    if mnemonic.lower() in {"rep", "repe", "repz", "repne", "repnz", "lock"}:
        inner = _resolved(statement._replace(text=operands.strip(), labels=()), labels, resolve)
        return statement._replace(text=f"{mnemonic} {inner.text}")
    return statement._replace(text=mnemonic + blank + _NAME.sub(value, operands))


def _encode(source: str, address: int) -> tuple[bytes, str]:
    """The code, or what keystone complains of."""
    from keystone import KsError

    try:
        code, _ = _keystone().asm(source, address, as_bytes=True)
    except KsError as error:
        return b"", str(error)
    return code or b"", ""


@cache
def _keystone() -> Ks:
    import keystone

    return keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_64)


def _blame(
    statements: list[Statement], ready: list[Statement], labels: set[str], address: int, error: str
) -> AssemblyError:
    """The error for the first statement that cannot be assembled by itself, all labels being at its end."""
    ends = "".join(f"\n{label}:" for label in labels)
    for shown, each in zip(statements, ready, strict=True):
        _, own = _encode(each.text + ends, address)
        if own:
            return shown.error(_reason(each, own), shown.mnemonic if "MNEMONIC" in own else "")
    return AssemblyError("; ".join(each.source for each in statements), _reason(None, error), 1, 1)


def _reason(statement: Statement | None, error: str) -> str:
    if statement and "MNEMONIC" in error:
        instead = MISSING.get(statement.mnemonic)
        if instead:
            return f"keystone, the assembler, lacks this instruction; write {instead}"
        return "no such instruction, or keystone, the assembler, lacks it; its bytes can be given with .byte"
    if "INVALIDOPERAND" in error:
        return "the instruction does not take such operands; a size such as 'qword ptr' may be missing"
    if "FIXUP" in error:
        return "the target is out of reach; put it into a register first"
    return error.partition(" (KS_ERR")[0].lower()


def _check_width(shown: Statement, statement: Statement, code: bytes) -> None:
    """Refuse a number that keystone has cut to 32 bits without a word."""
    if _BRANCH.fullmatch(statement.mnemonic) and "[" not in statement.text:
        return  # their targets are checked by keystone
    for found in _NUMBER.finditer(statement.text):
        value = _number(found[0]) & (1 << 64) - 1
        if 0xFFFFFFFF < value < 0xFFFFFFFF80000000 and value.to_bytes(8, "little") not in code:
            raise shown.error(f"{found[0]} does not fit into this instruction; put it into a register first")


def _number(text: str) -> int:
    """A number as the assembler reads it: leading zeros mean nothing."""
    return int(text, 16 if "0x" in text.lower() else 10)
