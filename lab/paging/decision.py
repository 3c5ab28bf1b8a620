"""Which level and bit, register or key decided over an access, as one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from lab.paging.walk import Fault, FaultKind, Step, Walk
from lab.x86.entry import Entry
from lab.x86.levels import Level
from lab.x86.registers import CR0, CR4, RFLAGS
from lab.x86.words import Bit

if TYPE_CHECKING:
    from lab.paging.access import Conditions
    from lab.paging.judge import Judgement

__all__ = ["Decision", "decide"]


class Decision(NamedTuple):
    """What decided: bit `bit`, called `name`, of the entry at `level` or, where level is None, of `register`.

    A canonical address that is none has no bit. `reason` is the sentence without who does what.

    >>> Decision(Level.PD, 1, "", "W", "PD bit 1 (W) is 0")
    Decision(level=<Level.PD: 2>, bit=1, register='', name='W', reason='PD bit 1 (W) is 0')
    """

    level: Level | None
    bit: int | None
    register: str
    name: str
    reason: str


def decide(walk: Walk, judged: Judgement, conditions: Conditions) -> Decision:
    """The first thing that forbids an access, or what lets it pass."""
    if isinstance(walk.outcome, Fault):
        return _no_translation(walk.outcome)
    scene = _Scene(walk, judged, conditions)
    forbidding = next((name for name, forbids in judged.reasons._asdict().items() if forbids), None)
    return _FORBIDDEN_BY[forbidding](scene) if forbidding else scene.allowed()


def _no_translation(fault: Fault) -> Decision:
    match fault.kind:
        case FaultKind.NOT_PRESENT:
            return Decision(fault.level, fault.bit, "", Entry.present.name, f"{fault.level} bit 0 (P) is 0")
        case FaultKind.RESERVED:
            return Decision(fault.level, fault.bit, "", "", f"{fault.level} bit {fault.bit} is {fault.reason}")
        case _:
            return Decision(None, None, "", "", fault.reason)


_USER_PAGE = "bit 2 (U) is 1 at every level"


class _Scene(NamedTuple):
    """A page that was found, and what was judged: how to say what decided."""

    walk: Walk
    judged: Judgement
    conditions: Conditions

    def by_user(self) -> Decision:
        return self._first(Entry.user, value=False)

    def by_write(self) -> Decision:
        found = self._first(Entry.writable, value=False)
        return found._replace(reason=found.reason + self._and_wp())

    def by_no_execute(self) -> Decision:
        return self._first(Entry.no_execute, value=True)

    def by_smep(self) -> Decision:
        return _by_register("CR4", CR4.smep, f"{_USER_PAGE} and CR4.SMEP is 1")

    def by_smap(self) -> Decision:
        why = "RFLAGS.AC does not count for an implicit access" if self.conditions.ac else "RFLAGS.AC is 0"
        return _by_register("CR4", CR4.smap, f"{_USER_PAGE}, CR4.SMAP is 1 and {why}")

    def by_key(self) -> Decision:
        key = self.walk.steps[-1].entry.key
        register = "PKRU" if self.judged.page.user else "IA32_PKRS"
        bit, name, why = 2 * key, f"AD{key}", ""
        if not self.judged.page.disables_access:
            bit, name, why = 2 * key + 1, f"WD{key}", self._and_wp()
        where = f"{self.walk.steps[-1].level} bits 62:59 are key {key}"
        return Decision(None, bit, register, name, f"{where} and {register} bit {bit} ({name}) is 1{why}")

    def by_shadow_stack(self) -> Decision:
        leaf, page = self.walk.steps[-1], self.judged.page
        if page.user and not self.conditions.is_user_mode:
            return Decision(leaf.level, Entry.user.number, "", Entry.user.name, _USER_PAGE)
        if not page.writable_above:
            found = self._first(Entry.writable, value=False)
        elif page.writable:
            found = self._at(leaf, Entry.writable)
        else:
            found = self._at(leaf, Entry.dirty)
        return found._replace(reason=f"{found.reason}, which no shadow stack has")

    def allowed(self) -> Decision:
        """What might have forbidden the access, and does not."""
        page, conditions, leaf = self.judged.page, self.conditions, self.walk.steps[-1]
        if conditions.shadow_stack:
            return self._at(leaf, Entry.dirty)
        if conditions.write and not (page.writable and page.writable_above):
            return _by_register("CR0", CR0.wp, "CR0.WP is 0")
        if page.user and conditions.smap and not (conditions.is_user_mode or conditions.fetch):
            return _by_register("RFLAGS", RFLAGS.ac, "RFLAGS.AC is 1, which lifts CR4.SMAP")
        if conditions.write:
            return self._everywhere(Entry.writable)
        if conditions.fetch:
            return self._everywhere(Entry.no_execute)
        return self._everywhere(Entry.user if conditions.is_user_mode else Entry.present)

    def _everywhere(self, bit: Bit) -> Decision:
        """Every entry has `bit` as the leaf has it; user mode needs U as well."""
        leaf = self.walk.steps[-1]
        value = (leaf.entry & bit.mask) != 0
        reason = f"bit {bit.number} ({bit.name}) is {value:d} at every level"
        if self.conditions.is_user_mode and bit is not Entry.user:
            reason += " and so is bit 2 (U)" if value else ", and bit 2 (U) is 1"
        return Decision(leaf.level, bit.number, "", bit.name, reason)

    def _first(self, bit: Bit, *, value: bool) -> Decision:
        """The topmost entry in which `bit` is `value`; the caller knows that there is one."""
        return self._at(next(step for step in self.walk.steps if (step.entry & bit.mask != 0) is value), bit)

    @staticmethod
    def _at(step: Step, bit: Bit) -> Decision:
        value = (step.entry & bit.mask) != 0
        return Decision(
            step.level, bit.number, "", bit.name, f"{step.level} bit {bit.number} ({bit.name}) is {value:d}"
        )

    def _and_wp(self) -> str:
        """Why a supervisor obeys what forbids writing."""
        return "" if self.conditions.is_user_mode else " and CR0.WP is 1"


def _by_register(register: str, bit: Bit, reason: str) -> Decision:
    return Decision(None, bit.number, register, bit.name, reason)


_FORBIDDEN_BY: dict[str, Callable[[_Scene], Decision]] = {
    "user": _Scene.by_user,
    "write": _Scene.by_write,
    "no_execute": _Scene.by_no_execute,
    "smep": _Scene.by_smep,
    "smap": _Scene.by_smap,
    "key": _Scene.by_key,
    "shadow_stack": _Scene.by_shadow_stack,
}
