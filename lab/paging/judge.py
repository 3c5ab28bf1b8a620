"""The rules of access, written once: is there a translation, who may use it, what does the fault say, what is set.

Every formula here is made of ``& | ^ *`` and shifts and works on one case (int and bool) as well as on columns of
cases (arrays of numpy), so `lab.paging.prediction` and `lab.paging.batch` are one specification. A *flag* is a bool
or an array of bools; ``flag ^ True`` is its opposite, since neither ``not`` nor ``~`` works for both.

Intel SDM vol. 3A: "Access Rights", "Protection Keys", "Page-Fault Exceptions", "Accessed and Dirty Flags"; vol. 1,
"Shadow Stacks". Where a CPU departs from them, its quirk (`lab.paging.quirks`) is asked for by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from lab.paging.access import Conditions
from lab.paging.quirks import (
    AC_LIFTS_SMAP_OF_IMPLICIT,
    GIB_LEAF_ACCESSED_EARLY,
    NO_PK_OF_USER_ON_SUPERVISOR_PAGE,
    NONE,
    PAE_ROOT_ACCESSED,
    RSVD_WITHOUT_P,
    Quirks,
)
from lab.x86.entry import Entry
from lab.x86.levels import Level

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from lab.paging.rules import LevelRules

__all__ = ["judge", "forbidding", "look", "has", "Judgement", "Page", "Reasons", "Code", "Look", "Updates"]

Flag: TypeAlias = "bool | NDArray[np.bool_]"
Number: TypeAlias = "int | NDArray[np.integer]"


def has(word: Number, mask: int) -> Flag:
    """Whether any bit of `mask` is set in `word`."""
    return word & mask != 0


# ------------------------------------------------------------------------------------------------ one entry ----


class Look(NamedTuple):
    """What an entry says by itself: whether it is in use, maps a page, and has a bit that must be 0."""

    present: Flag
    leaf: Flag
    reserved: Flag


def look(level: LevelRules, entry: Number) -> Look:
    """Look at one entry; nothing else of it counts when it is not present."""
    present = has(entry, Entry.present.mask)
    leaf = present & has(entry, level.leaf_mask)
    in_leaf = leaf & has(entry, level.reserved_in_leaf)
    in_table = (present ^ leaf) & has(entry, level.reserved_in_table)
    return Look(present, leaf, in_leaf | in_table)


# --------------------------------------------------------------------------------------------------- a page ----


class Page(NamedTuple):
    """What the entries of a complete translation say together."""

    writable_above: Flag
    """Whether every level above the leaf allows writes."""
    writable: Flag
    """Whether the leaf does."""
    user: Flag
    """Whether every level lets user mode through."""
    no_execute: Flag
    """Whether any level has NX."""
    dirty: Flag = False
    disables_access: Flag = False
    """Whether the page's protection key disables access, by the register that holds for the page."""
    disables_write: Flag = False


class Reasons(NamedTuple):
    """All that forbids an access to a page that is there."""

    user: Flag
    write: Flag
    no_execute: Flag
    smep: Flag
    smap: Flag
    key: Flag
    shadow_stack: Flag

    @property
    def any(self) -> Flag:
        """Whether anything does."""
        return self.user | self.write | self.no_execute | self.smep | self.smap | self.key | self.shadow_stack


def forbidding(page: Page, conditions: Number, quirks: Quirks = NONE) -> Reasons:
    """All that forbids an access to `page`."""
    user_mode = _is_user_mode(conditions)
    supervisor = user_mode ^ True
    write = has(conditions, Conditions.write.mask)
    fetch = has(conditions, Conditions.fetch.mask)
    data = fetch ^ True
    shadow = has(conditions, Conditions.shadow_stack.mask)
    obeys_read_only = user_mode | has(conditions, Conditions.wp.mask)
    writable = page.writable_above & page.writable
    is_shadow_stack = page.writable_above & (page.writable ^ True) & page.dirty & has(conditions, Conditions.cet.mask)
    return Reasons(
        user=user_mode & (page.user ^ True),
        write=write & (shadow ^ True) & (writable ^ True) & obeys_read_only,
        no_execute=fetch & page.no_execute & has(conditions, Conditions.nxe.mask),
        smep=supervisor & fetch & page.user & has(conditions, Conditions.smep.mask),
        smap=supervisor & data & page.user & _obeys_smap(conditions, quirks),
        key=data & (page.disables_access | page.disables_write & write & obeys_read_only),
        shadow_stack=shadow & ((is_shadow_stack ^ True) | (page.user ^ user_mode)),
    )


def _is_user_mode(conditions: Number) -> Flag:
    """Made at CPL 3, and not by the CPU itself."""
    return has(conditions, Conditions.cpl3.mask) & (has(conditions, Conditions.implicit.mask) ^ True)


def _obeys_smap(conditions: Number, quirks: Quirks) -> Flag:
    """CR4.SMAP counts unless RFLAGS.AC lifts it, as it does for explicit accesses."""
    cannot_lift = Conditions.cpl3 if AC_LIFTS_SMAP_OF_IMPLICIT in quirks else Conditions.implicit
    lifted = has(conditions, Conditions.ac.mask) & (has(conditions, cannot_lift.mask) ^ True)
    return has(conditions, Conditions.smap.mask) & (lifted ^ True)


# -------------------------------------------------------------------------------------------------- a whole case ----


class Code(NamedTuple):
    """The bits of a page fault's error code, from bit 0 (P) to bit 6 (SS)."""

    present: Flag
    write: Flag
    user: Flag
    reserved: Flag
    fetch: Flag
    key: Flag
    shadow_stack: Flag


class Updates(NamedTuple):
    """What happens to the accessed and dirty bits of one entry, where they are not set yet.

    The CPU must set A or D, or it may set A; whatever else it sets is wrong.
    """

    must_access: Flag
    may_access: Flag
    must_dirty: Flag


class Judgement(NamedTuple):
    """All that follows from the entries of a walk and the conditions of an access.

    `leaves` and `updates` have one item for each level, from the top; a leaf is the entry that maps the page. Where
    `key_is_open`, the CPU may leave PK out of the code.
    """

    allowed: Flag
    page: Page
    leaves: tuple[Flag, ...]
    reasons: Reasons
    code: Code
    key_is_open: Flag
    updates: tuple[Updates, ...]


class Path(NamedTuple):
    """How far the entries lead; for each level, whether its entry was `reached`, was good (`used`), and is the leaf."""

    translated: Flag
    reserved: Flag
    page: Page
    leaf: Number
    reached: tuple[Flag, ...]
    used: tuple[Flag, ...]
    leaves: tuple[Flag, ...]


def judge(
    levels: Sequence[LevelRules],
    entries: Sequence[Number],
    conditions: Number,
    keys: tuple[Number, Number] | None = None,
    *,
    canonical: Flag = True,
    quirks: Quirks = NONE,
) -> Judgement:
    """Judge accesses by the entries on their way, the root's first; entries after the one that decides are ignored.

    `keys` are PKRU and IA32_PKRS; None where the conditions have neither PKE nor PKS. Where `canonical` is false no
    entry is used, and there is no page fault.
    """
    path = follow(levels, entries, canonical)
    page = path.page if keys is None else _with_key(path, conditions, keys)
    reasons = forbidding(page, conditions, quirks)
    allowed = path.translated & (reasons.any ^ True)
    code, key_is_open = _code(path, page, reasons, conditions, quirks, fault=canonical & (allowed ^ True))
    written = allowed & has(conditions, Conditions.write.mask)
    updates = tuple(_updates(path, levels, entries, quirks, allowed=allowed, written=written))
    return Judgement(allowed, page, path.leaves, reasons, code, key_is_open, updates)


def follow(levels: Sequence[LevelRules], entries: Sequence[Number], canonical: Flag) -> Path:
    """Follow entry after entry: is it present, has it reserved bits, only then on; rights wait for the end."""
    going = canonical
    translated: Flag = False
    reserved: Flag = False
    writable_above: Flag = True
    writable: Flag = False
    user: Flag = True
    no_execute: Flag = False
    dirty: Flag = False
    leaf: Number = 0
    reached, used, leaves = [], [], []
    for level, entry in zip(levels, entries, strict=False):
        seen = look(level, entry)
        good = going & seen.present & (seen.reserved ^ True)
        end = good & seen.leaf
        reached.append(going)
        used.append(good)
        leaves.append(end)
        reserved = reserved | going & seen.reserved
        going = good ^ end
        granted = entry | level.implied if level.implied else entry
        allows_write = has(granted, Entry.writable.mask)
        writable_above = writable_above & (allows_write | (going ^ True))
        writable = writable | end & allows_write
        user = user & (has(granted, Entry.user.mask) | (good ^ True))
        no_execute = no_execute | good & has(entry, Entry.no_execute.mask)
        dirty = dirty | end & has(entry, Entry.dirty.mask)
        translated = translated | end
        leaf = leaf | entry * end
    page = Page(writable_above, writable, user, no_execute, dirty)
    return Path(translated, reserved, page, leaf, tuple(reached), tuple(used), tuple(leaves))


def _with_key(path: Path, conditions: Number, keys: tuple[Number, Number]) -> Page:
    """The page with what its protection key disables: by PKRU on user pages, by IA32_PKRS on supervisor pages."""
    page, (pkru, pkrs) = path.page, keys
    of_user = page.user & has(conditions, Conditions.pke.mask)
    of_supervisor = (page.user ^ True) & has(conditions, Conditions.pks.mask)
    rights = (pkru * of_user | pkrs * of_supervisor) >> 2 * (path.leaf >> Entry.key.low & 15)
    return page._replace(disables_access=has(rights, 1), disables_write=has(rights, 2))


def _code(
    path: Path, page: Page, reasons: Reasons, conditions: Number, quirks: Quirks, *, fault: Flag
) -> tuple[Code, Flag]:
    """The error code where there is a `fault`, and where the manual leaves it open whether PK is in it."""
    user_mode = _is_user_mode(conditions)
    key = path.translated & reasons.key
    key_is_open = key & user_mode & (page.user ^ True)
    present = fault & (path.translated | path.reserved)
    if RSVD_WITHOUT_P in quirks:
        present = present & (path.reserved ^ True)
    if NO_PK_OF_USER_ON_SUPERVISOR_PAGE in quirks:
        key = key & (key_is_open ^ True)
        key_is_open = key_is_open & False
    code = Code(
        present=present,
        write=fault & has(conditions, Conditions.write.mask),
        user=fault & user_mode,
        reserved=path.reserved,
        fetch=fault & has(conditions, Conditions.fetch.mask) & has(conditions, _NXE_OR_SMEP),
        key=key,
        shadow_stack=fault & has(conditions, Conditions.shadow_stack.mask),
    )
    return code, key_is_open


_NXE_OR_SMEP = Conditions.nxe.mask | Conditions.smep.mask


def _updates(
    path: Path,
    levels: Sequence[LevelRules],
    entries: Sequence[Number],
    quirks: Quirks,
    *,
    allowed: Flag,
    written: Flag,
) -> Iterator[Updates]:
    """An access that succeeds sets A in every entry used and, when it writes, D in the leaf.

    One that faults may have set A in entries that were good, the leaf's included, but never D.
    """
    for level, entry, reached, used, end in zip(levels, entries, path.reached, path.used, path.leaves, strict=False):
        notable = used & (level.notes_use or PAE_ROOT_ACCESSED in quirks)
        must, may = notable & allowed, notable & (allowed ^ True)
        if GIB_LEAF_ACCESSED_EARLY in quirks and level.level == Level.PDPT:
            early = reached & look(level, entry).leaf & (has(entry, level.reserved_in_table) ^ True)
            must, may = must | early, may & (early ^ True)
        not_accessed = has(entry, Entry.accessed.mask) ^ True
        not_dirty = has(entry, Entry.dirty.mask) ^ True
        yield Updates(must & not_accessed, may & not_accessed, end & written & not_dirty)
