"""What was foretold against what the guest found: the exception, CR2, every entry, and the data.

Compared are the exception and its error code, CR2, the bits that changed in every entry (all that must be set, nothing
that may not be), and the physical address that a successful access reached.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lab.machine.exhaustive.trials import Batch, Instruction, Outcomes, Setting
from lab.paging.access import Access, AccessKind, Conditions
from lab.paging.batch import Predictions, predict_many

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lab.machine.exhaustive.trials import Trials
    from lab.paging.quirks import Quirks

    Flags = NDArray[np.bool_]

__all__ = ["foretell", "differs", "accesses_of"]

IMPLICIT = {Instruction.LOAD_SEGMENT, Instruction.MARK_SEGMENT}
KINDS: dict[Instruction, tuple[AccessKind, ...]] = {
    Instruction.WRITE: (AccessKind.WRITE,),
    Instruction.FETCH: (AccessKind.FETCH,),
    Instruction.MARK_SEGMENT: (AccessKind.READ, AccessKind.WRITE),
}

IN_DESCRIPTOR = np.uint64(0xFFFF_FFFF_FFFF_FFF8)
"""Of a descriptor, eight bytes long, any byte may be the one that faults."""


def accesses_of(setting: Setting) -> tuple[Access, ...]:
    """The accesses that an instruction makes, in their order: a descriptor is read before it is marked.

    >>> from lab.x86 import PagingState
    >>> setting = Setting(state=PagingState(), instruction=Instruction.MARK_SEGMENT, address=0, user=True)
    >>> print(*accesses_of(setting), sep=", then ")
    implicit read at CPL 3, then implicit write at CPL 3
    """
    implicit, stack = setting.instruction in IMPLICIT, setting.instruction is Instruction.READ_STACK
    kinds = KINDS.get(setting.instruction, (AccessKind.READ,))
    return tuple(Access(kind, user=setting.user, implicit=implicit, stack=stack) for kind in kinds)


# -------------------------------------------------------------------------------------------------- what will be ----


def foretell(batch: Batch, quirks: Quirks, *, strict: bool = False) -> Predictions:
    """What will become of each case of a batch, all settings of which have the same instruction and kind of machine.

    With `strict`, no other error code will do where the manual leaves one open.
    """
    states = [setting.state for setting in batch.settings]
    accesses = zip(*map(accesses_of, batch.settings), strict=True)
    found = [
        predict_many(
            states[0],
            list(batch.entries),
            batch.column([Conditions.of(*each) for each in zip(states, made, strict=True)], np.uint16),
            address=batch.column([setting.address for setting in batch.settings], np.uint64),
            pkru=batch.column([state.pkru for state in states], np.uint32),
            pkrs=batch.column([state.pkrs for state in states], np.uint32),
            quirks=quirks,
        )
        for made in accesses
    ]
    foretold = found[0] if len(found) == 1 else _one_after_the_other(*found)
    return replace(foretold, alternative=foretold.code) if strict else foretold


def _one_after_the_other(first: Predictions, second: Predictions) -> Predictions:
    """Two accesses by one instruction: the second is made only if the first succeeds, whose traces it finds."""
    goes_on = first.vector == 0
    must = first.must_set | second.must_set * goes_on
    return Predictions(
        vector=np.where(goes_on, second.vector, first.vector),
        code=np.where(goes_on, second.code, first.code),
        alternative=np.where(goes_on, second.alternative, first.alternative),
        cr2=np.where(goes_on, second.cr2, first.cr2),
        must_set=must,
        may_set=(first.may_set | second.may_set * goes_on) & ~must,
        physical=first.physical,
    )


# ------------------------------------------------------------------------------------------------------ what was ----


def differs(trials: Trials, batch: Batch, foretold: Predictions, found: Outcomes) -> Flags:
    """In which cases of a batch anything is otherwise than foretold."""
    instruction = batch.settings[0].instruction
    succeeded = found.vector == trials.no_vector
    right = foretold.accept(np.where(succeeded, 0, found.vector), found.code)
    right &= foretold.accept_entries(list(batch.entries), list(found.after))
    right &= _right_cr2(instruction, foretold, found)
    # The data tells where it was found; only outside of all places can nothing be told.
    right &= ~(succeeded & trials.is_word(foretold.physical, instruction)) | (found.reached == foretold.physical)
    return ~right


def _right_cr2(instruction: Instruction, foretold: Predictions, found: Outcomes) -> Flags:
    """A page fault writes its address; where only another exception can come, CR2 stays as it was, which is 0."""
    where = found.cr2 & IN_DESCRIPTOR if instruction in IMPLICIT else found.cr2
    says_nothing = foretold.vector == 0
    return np.asarray((where == foretold.cr2) | says_nothing)
