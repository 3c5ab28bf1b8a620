"""What the parameters of STOP codes mean; Microsoft's "Bug Check Code Reference", in few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.kernel.verifier import find_rule

if TYPE_CHECKING:
    from lab.kernel.objects import Guest

__all__ = ["Explanation", "explain_stop"]

SPECIAL_POOL, VERIFIER = 0xC1, 0xC4

Meanings = Sequence[str]

READ_WRITE_EXECUTE = {0: "it was read", 1: "it was written", 2: "it was written", 8: "it was executed"}

CODES: Mapping[int, Meanings] = {
    0x01: ("the function that returned so", "its APC state", "how often APCs were disabled"),
    0x09: ("the IRQL", "the IRQL asked for", "the caller"),
    0x0A: ("the address", "the IRQL", "", "the instruction"),
    0x0F: ("the spin lock",),
    0x10: ("the spin lock",),
    0x18: ("the object's type", "the object", "", "its reference count"),
    0x1E: ("the exception", "where it was raised", "its first detail", "its second detail"),
    0x35: ("the IRP",),
    0x3F: ("", "pages wanted", "system PTEs that are free", "system PTEs there are"),
    0x44: ("the IRP",),
    0x48: ("the IRP", "its cancel routine"),
    0x4A: ("the function that returned so", "the IRQL it left"),
    0x50: ("the address", "", "the instruction", ""),
    0x7E: ("the exception", "where it was raised", "the exception record", "the context record"),
    0x7F: ("the trap", "its error code", "the instruction", "the stack"),
    0xB8: ("the caller", "the thread"),
    0xBE: ("the address", "its page-table entry"),
    0xC8: ("the IRQL that is, the IRQL expected", "", "the function that returned so"),
    0xCB: ("the caller", "its own caller", "the MDL that locks the pages", "pages that are locked"),
    0xCC: ("the address", "", "the instruction"),
    0xCD: ("the address", "", "the instruction"),
    0xCE: ("the address", "", "the instruction"),
    0xD1: ("the address", "the IRQL", "", "the instruction"),
    0xD5: ("the address", "", "the instruction"),
    0xD6: ("the address", "", "the instruction"),
    0xE1: ("the function that returned so", "the IRQL it left", "its argument"),
    0xE3: ("the resource", "the thread", "", ""),
    0xFC: ("the address", "its page-table entry"),
    0x139: ("why",),
    0x4C414221: ("the name of the source file", "the line", "the condition by its name", "the caller"),
    0x4C414222: ("its name", "the caller"),
    0x4C414223: ("what is waited for", "its type", "the thread"),
}
"""Codes whose parameters always mean the same."""

SUBCODES: Mapping[tuple[int, int], Meanings] = {
    (0x19, 0x03): ("a list of free blocks is broken", "the entry", "what stands before it", "what stands behind it"),
    (0x19, 0x05): ("sizes of neighbours do not fit", "the block before", "", "the block"),
    (0x19, 0x06): ("sizes of neighbours do not fit", "the block before", "", "the block"),
    (0x19, 0x08): ("a block has no size", "", "", "the block"),
    (0x19, 0x09): ("sizes of neighbours do not fit", "the block behind", "", "the block"),
    (0x19, 0x20): ("a pool header is damaged: something wrote past the end of its block", "the block", "the next one"),
    (0x19, 0x22): ("no such allocation", "the address"),
    (0x1A, 0x1233): ("mapped without being locked", "the frame", "the MDL"),
    (0x1A, 0x1235): ("protected without being mapped", "the MDL", "the page-table entry", "what it holds"),
    (0x1A, 0x1236): ("its frames are not of an MDL", "the MDL", "where in it", "the frame"),
    (0x1A, 0x1240): ("the memory is not nonpaged", "the MDL", "the address"),
    (0x4E, 0x07): ("unlocked more often than locked", "the frame", "how often it is mapped"),
    (0x4E, 0x9A): ("freed while it is locked for I/O", "the frame", "where it is listed", "its references"),
    (0x76, 0x00): ("a program ends whose pages a driver left locked", "the process", "pages that are locked"),
    (0xC2, 0x06): ("freed already", "", "the pool header", "the address"),
    (0xC2, 0x07): ("freed already", "the tag it had", "the pool header", "the address"),
    (0xC2, 0x08): ("the IRQL is too high to allocate this", "the IRQL", "the type of pool", "bytes"),
    (0xC2, 0x09): ("the IRQL is too high to free this", "the IRQL", "the type of pool", "the address"),
    (0xC2, 0x0A): ("freed with another tag", "the address", "the tag it has", "the tag that was given"),
    (0xC2, 0x0D): ("quota is given back to something that is no process", "the address", "the tag", "the process"),
    (0xC2, 0x40): ("freed at a user address", "the address", "where system addresses begin"),
    (0xC2, 0x42): ("freed where no block begins", "the address"),
    (0xC2, 0x43): ("freed where no pool is", "the address"),
    (0xC2, 0x46): ("freed where no block begins", "the address"),
    (0xC2, 0x60): ("contiguous memory is freed where none begins", "the address"),
    (0xC2, 0x99): ("freed where no block begins", "the address"),
    (0xC2, 0x9A): ("no such type of pool", "the type", "bytes", "the tag"),
    (0xC2, 0x9B): ("a tag of 0", "the type of pool", "bytes", "the caller"),
    (0xC2, 0x9C): ("a tag that is reserved", "the type of pool", "bytes", "the caller"),
    (0xC2, 0x9D): ("a tag that is none", "the tag", "the type of pool", "the caller"),
    (0xC9, 0x06): ("completed as pending", "the IRP", "the status"),
    (0xDA, 0x02): ("other pages are mapped together than the MDL says", "the MDL", "pages mapped", "the MDL's pages"),
    (0xDA, 0x03): ("unmapped at another address than it is mapped at", "the MDL", "where it is mapped", "the address"),
    (0xDA, 0x04): ("another frame is mapped than the MDL says", "the MDL", "the frame", "the MDL's frame"),
    (0xDA, 0x06): ("nothing is mapped there", "the MDL", "the address", "pages"),
    (0xDA, 0x100): ("reserved with a tag of 0", "", "the tag", "the caller"),
    (0xDA, 0x101): ("freed with another tag than reserved", "the address", "the tag that was given", "the tag it has"),
    (0xDA, 0x102): ("freed where nothing is reserved", "the address", "the tag that was given"),
    (0xDA, 0x103): ("freed while it is mapped", "the page that is mapped", "the tag that was given", "pages"),
    (0xDA, 0x104): ("mapped with another tag than reserved", "the address", "the tag that was given", "the tag it has"),
    (0xDA, 0x105): ("mapped where nothing is reserved", "the address", "the tag that was given"),
    (0xDA, 0x107): ("mapped where something is mapped", "the address", "the page that is mapped", "the last page"),
    (0xDA, 0x108): ("unmapped with another tag", "the address", "the tag that was given", "the tag it has"),
    (0xDA, 0x109): ("unmapped where nothing is reserved", "the address", "the tag that was given"),
    (0xDA, 0x10A): ("unmapped beyond what is reserved", "the address", "pages reserved", "pages to be unmapped"),
    (0xDA, 0x10B): ("unmapped where not all is mapped", "the address", "the tag that was given", "pages"),
    (0xDA, 0x10C): ("unmapped where more is mapped", "the address", "the tag that was given", "pages"),
    (0xDA, 0x303): ("freed where no non-cached memory begins", "the address", "pages to be freed"),
    (0xDA, 0x305): ("freed with another size than allocated", "the address", "pages to be freed", "pages allocated"),
    (0xDA, 0x400): ("unmapped where no I/O space is mapped", "the address", "pages"),
}
"""Codes whose first parameter says which of several reasons it was, and so what the others mean."""

PATTERN = ("the block", "where it is damaged", "")
CORRUPTION: Mapping[int, Meanings] = {
    0x20: ("the address freed", "", "", "no such block was allocated"),
    0x21: ("the address freed", "bytes of the block", "bytes to the end of its page", "not where the block begins"),
    0x22: ("the address freed", "bytes of the block", "bytes to the end of its page", "not where the block begins"),
    0x23: (*PATTERN, "something wrote before the block"),
    0x24: (*PATTERN, "something wrote behind the block"),
    0x30: ("the IRQL", "the type of pool", "bytes", "the IRQL is too high to allocate this"),
    0x31: ("the IRQL", "the type of pool", "the address", "the IRQL is too high to free this"),
    0x32: (*PATTERN, "a single bit was changed"),
}
"""Bug check 0xC1 tells the reason by its last parameter."""

ACCESS: Mapping[int, tuple[int, Mapping[int, str]]] = {
    0x0A: (2, READ_WRITE_EXECUTE),
    0xD1: (2, READ_WRITE_EXECUTE),
    0x50: (1, {**READ_WRITE_EXECUTE, 0x10: "it was executed"}),
    0xCC: (1, READ_WRITE_EXECUTE),
    0xCD: (1, READ_WRITE_EXECUTE),
    0xCE: (1, READ_WRITE_EXECUTE),
    0xD5: (1, READ_WRITE_EXECUTE),
    0xD6: (1, READ_WRITE_EXECUTE),
    0x139: (
        0,
        {
            2: "a stack cookie was overwritten: a buffer on the stack was overrun",
            3: "a list entry is broken: removed twice, or overwritten",
            5: "an argument that cannot be",
            6: "the stack cookie is still the one that every file has: the loader has not made a fresh one",
            7: "a fatal error that the program found by itself",
        },
    ),
}
"""The parameter that says what was done."""

SENTENCES: Mapping[int, str] = {
    0x0A: "memory that may be paged out, or is not there, was used at a raised IRQL",
    0x19: "the pool is damaged",
    0x1E: "nobody handled an exception",
    0x50: "nothing is mapped at the address",
    0x7E: "nobody handled an exception",
    0xBE: "the mapping allows only reading",
    0x76: "pages of a program are still locked, or were unlocked too often",
    0xC1: "a freed or guarded block of special pool was written to",
    0xC2: "a call to the pool is wrong",
    0xC4: "Driver Verifier found a rule broken",
    0xCB: "a driver left pages of a program locked",
    0xCC: "a block of special pool was used after it was freed",
    0xCD: "an access reached beyond the end of a block of special pool",
    0xCE: "something still ran into a driver that was gone",
    0xD1: "a driver used memory that may be paged out, or is not there, at a raised IRQL",
    0xD5: "a driver used a block of special pool after freeing it",
    0xD6: "a driver reached beyond the end of a block of special pool",
    0xFC: "the mapping does not allow execution",
    0x4C414222: "the driver called a function that this kernel does not have",
    0x4C414223: "the driver waits for something that nobody will ever signal",
}


@dataclass(frozen=True)
class Explanation:
    """A STOP in words: what it means, and what each of its parameters says; "" where nothing is known."""

    sentence: str
    meanings: tuple[str, ...]


def explain_stop(guest: Guest, code: int, parameters: Sequence[int]) -> Explanation:
    """Explain a bug check; the rules of Driver Verifier come from the guest that it stopped.

    >>> from lab.kernel import KernelImage
    >>> from lab.kernel.objects import Guest
    >>> from lab.memory import MadeUpSpace
    >>> made_up = MadeUpSpace()
    >>> guest = Guest(KernelImage.load(), made_up.memory, made_up.state)
    >>> explain_stop(guest, 0xC2, (7, 0x65637754, 0, 0xFFFFFA8040001010)).meanings
    ('freed already', 'the tag it had', 'the pool header', 'the address')
    """
    rule = find_rule(guest, parameters[0]) if code == VERIFIER else None
    known = (rule.sentence, *rule.parameters) if rule else _known(code, parameters)
    meanings = [*known, "", "", "", ""][: len(parameters)]
    if code in ACCESS:
        index, words = ACCESS[code]
        meanings[index] = words.get(parameters[index], meanings[index])
    return Explanation(SENTENCES.get(code, ""), tuple(meanings))


def _known(code: int, parameters: Sequence[int]) -> Meanings:
    if code == SPECIAL_POOL:
        return CORRUPTION.get(parameters[-1], ())
    return SUBCODES.get((code, parameters[0])) or CODES.get(code, ())
