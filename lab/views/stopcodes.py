"""What the parameters of STOP codes mean; Microsoft's "Bug Check Code Reference", in few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["parameter_meanings", "stop_sentence"]

Meanings = Sequence[str]

READ_WRITE_EXECUTE = {0: "it was read", 1: "it was written", 2: "it was written", 8: "it was executed"}

CODES: Mapping[int, Meanings] = {
    0x01: ("the function that returned so", "its APC state", "how often APCs were disabled"),
    0x0A: ("the address", "the IRQL", "", "the instruction"),
    0x0F: ("the spin lock",),
    0x10: ("the spin lock",),
    0x18: ("the object's type", "the object", "", "its reference count"),
    0x1E: ("the exception", "where it was raised", "its first detail", "its second detail"),
    0x35: ("the IRP",),
    0x3F: ("", "pages wanted", "system PTEs that are free", "system PTEs there are"),
    0x44: ("the IRP",),
    0x48: ("the IRP", "its cancel routine"),
    0x50: ("the address", "", "the instruction", ""),
    0x7E: ("the exception", "where it was raised", "the exception record", "the context record"),
    0x7F: ("the trap", "its error code", "the instruction", "the stack"),
    0xB8: ("the caller", "the thread"),
    0xBE: ("the address", "its page-table entry"),
    0xCC: ("the address", "", "the instruction"),
    0xCD: ("the address", "", "the instruction"),
    0xCE: ("the address", "", "the instruction"),
    0xD1: ("the address", "the IRQL", "", "the instruction"),
    0xD5: ("the address", "", "the instruction"),
    0xD6: ("the address", "", "the instruction"),
    0xE1: ("the function that returned so", "the IRQL it left", "its argument"),
    0xFC: ("the address", "its page-table entry"),
    0x139: ("why",),
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
    (0x1A, 0x1236): ("its frames are not of an MDL", "the MDL", "where in it", "the frame"),
    (0x1A, 0x1240): ("the memory is not nonpaged", "the MDL", "the address"),
    (0xC2, 0x06): ("freed already", "", "the pool header", "the address"),
    (0xC2, 0x07): ("freed already", "the tag it had", "the pool header", "the address"),
    (0xC2, 0x08): ("the IRQL is too high to allocate this", "the IRQL", "the type of pool", "bytes"),
    (0xC2, 0x09): ("the IRQL is too high to free this", "the IRQL", "the type of pool", "the address"),
    (0xC2, 0x0A): ("freed with another tag", "the address", "the tag it has", "the tag that was given"),
    (0xC2, 0x40): ("freed at a user address", "the address", "where system addresses begin"),
    (0xC2, 0x42): ("freed where no block begins", "the address"),
    (0xC2, 0x43): ("freed where no pool is", "the address"),
    (0xC2, 0x46): ("freed where no block begins", "the address"),
    (0xC2, 0x9A): ("no such type of pool", "the type", "bytes", "the tag"),
    (0xC2, 0x9B): ("a tag of 0", "the type of pool", "bytes", "the caller"),
    (0xC2, 0x9C): ("a tag that is reserved", "the type of pool", "bytes", "the caller"),
    (0xC4, 0x00): ("an allocation of no bytes", "the IRQL", "the type of pool", "bytes"),
    (0xC4, 0x01): ("paged pool, while the IRQL is above APC_LEVEL", "the IRQL", "the type of pool", "bytes"),
    (0xC4, 0x02): ("nonpaged pool, while the IRQL is above DISPATCH_LEVEL", "the IRQL", "the type of pool", "bytes"),
    (0xC4, 0x11): (
        "paged pool freed, while the IRQL is above APC_LEVEL",
        "the IRQL",
        "the type of pool",
        "the address",
    ),
    (0xC4, 0x12): ("pool freed, while the IRQL is above DISPATCH_LEVEL", "the IRQL", "the type of pool", "the address"),
    (0xC4, 0x13): ("freed already", "", "the pool header", "the address"),
    (0xC4, 0x14): ("freed already", "", "the pool header", "the address"),
    (0xC4, 0x3B): ("a wait, while the IRQL is above APC_LEVEL", "the IRQL", "the object", "the time-out"),
    (0xC4, 0x60): ("unloaded without freeing its pool", "bytes of paged pool", "bytes of nonpaged pool", "allocations"),
    (0xC4, 0x61): ("a thread of its own allocates while it is unloaded",),
    (0xC4, 0x62): ("unloaded without freeing its pool", "the driver's name", "", "allocations"),
    (0xC4, 0x6F): ("frames are locked that are no RAM", "the MDL", "the frame"),
    (0xC4, 0x70): ("locked, while the IRQL is too high", "the IRQL", "the MDL", "the access"),
    (0xC4, 0x74): ("mapped, while the IRQL is too high", "the IRQL", "the MDL", "the mode"),
    (0xC4, 0x75): ("mapped, while the IRQL is too high", "the IRQL", "the MDL", "the mode"),
    (0xC4, 0x78): ("unlocked, while the IRQL is too high", "the IRQL", "the MDL"),
    (0xC4, 0x79): ("unmapped, while the IRQL is too high", "the IRQL", "the address", "the MDL"),
    (0xC4, 0x7A): ("unmapped, while the IRQL is too high", "the IRQL", "the address", "the MDL"),
    (0xC4, 0x7C): ("unlocked without being locked", "the MDL", "its flags"),
    (0xC4, 0x7D): ("unlocked, although it describes nonpaged pool", "the MDL", "its flags"),
    (0xC4, 0x7F): ("built for nonpaged pool over memory that is none", "", "the MDL", "its flags"),
    (0xC4, 0x81): ("MmMapLockedPages is called, which stops the system where it fails", "the MDL", "its flags"),
    (0xC4, 0x82): ("mapped with BugCheckOnFailure", "the MDL", "its flags"),
    (0xC4, 0x83): ("RAM is mapped as I/O space without being locked", "the address", "bytes"),
    (0xC4, 0x85): ("mapped without being locked", "the MDL", "its flags"),
    (0xC4, 0xB0): ("locked with flags that do not allow it", "the MDL", "its flags", "those that forbid it"),
    (0xC4, 0xB2): ("mapped with flags that do not allow it", "the MDL", "its flags", "those that forbid it"),
    (0xC4, 0xB3): ("mapped without the flags that are needed", "the MDL", "its flags", "one of those is needed"),
    (0xC4, 0xB4): ("a partial MDL is unlocked", "the MDL", "its flags", "the flag that forbids it"),
    (0xC4, 0xB5): ("a partial MDL is unmapped", "the MDL", "its flags", "the flag that forbids it"),
    (0xC4, 0xB6): ("unmapped without being mapped", "the MDL", "its flags", "the flag that is missing"),
    (0xC4, 0xB8): ("freed while it is mapped", "the MDL", "its flags"),
    (0xC9, 0x06): ("completed as pending", "the IRP", "the status"),
    (0xDA, 0x03): ("unmapped at another address than it is mapped at", "the MDL", "where it is mapped", "the address"),
    (0xDA, 0x04): ("another frame is mapped than the MDL says", "the MDL", "the frame", "the MDL's frame"),
    (0xDA, 0x06): ("nothing is mapped there", "the MDL", "the address", "pages"),
}
"""Codes whose first parameter says which of several reasons it was, and so what the others mean."""

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
    0xC1: "a freed or guarded block of special pool was written to",
    0xC2: "a call to the pool is wrong",
    0xC4: "Driver Verifier found a rule broken",
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


def parameter_meanings(code: int, parameters: Sequence[int]) -> tuple[str, ...]:
    """What each of the four parameters says, "" where nothing is known of one.

    >>> parameter_meanings(0xC2, (7, 0x65637754, 0, 0xFFFFFA8040001010))
    ('freed already', 'the tag it had', 'the pool header', 'the address')
    """
    known = SUBCODES.get((code, parameters[0])) or CODES.get(code, ())
    meanings = [*known, "", "", "", ""][: len(parameters)]
    if code in ACCESS:
        index, words = ACCESS[code]
        meanings[index] = words.get(parameters[index], meanings[index])
    return tuple(meanings)


def stop_sentence(code: int) -> str:
    """What a STOP code means in a sentence, "" where that is not known here.

    >>> stop_sentence(0xBE)
    'the mapping allows only reading'
    """
    return SENTENCES.get(code, "")
