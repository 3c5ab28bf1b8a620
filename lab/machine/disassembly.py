"""Machine code as text, by capstone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lab.x86.address import VirtualAddress

__all__ = ["Instruction", "disassemble"]


class Instruction(NamedTuple):
    """One instruction: where it stands, its bytes, and what it says in Intel's syntax.

    >>> print(Instruction(VirtualAddress(0x1000), bytes([0x90]), "nop", ""))
    nop
    """

    address: VirtualAddress
    code: bytes
    mnemonic: str
    operands: str

    @property
    def end(self) -> VirtualAddress:
        """The address of the next one."""
        return self.address + len(self.code)

    def __str__(self) -> str:
        return f"{self.mnemonic} {self.operands}".rstrip()


def disassemble(code: bytes, address: int) -> Iterator[Instruction]:
    """The instructions that `code` holds if it stands at `address`; bytes that are none end it.

    >>> [str(each) for each in disassemble(bytes.fromhex("488b0790"), 0xFFFFFB8000000000)]
    ['mov rax, qword ptr [rdi]', 'nop']
    """
    import capstone

    for each in capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm(code, address):
        yield Instruction(VirtualAddress(each.address), bytes(each.bytes), each.mnemonic, each.op_str)
