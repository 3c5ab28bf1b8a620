"""The rules that the guest's Driver Verifier watches over (`verifier_rules`), in the guest's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lab.errors import LabError

if TYPE_CHECKING:
    from lab.kernel.objects import Guest

__all__ = ["VerifierRule", "find_rule"]


class VerifierRule(NamedTuple):
    """A rule by the first parameter of bug check 0xC4: which calls it is about, and what a driver did that broke it.

    `parameters` are the meanings of parameters 2 to 4, "" for a reserved one.
    """

    subcode: int
    call: str
    parameters: tuple[str, ...]
    sentence: str


def find_rule(guest: Guest, subcode: int) -> VerifierRule | None:
    """The rule of a subcode; None where the guest has none, or cannot be read."""
    try:
        table = guest.kernel.symbol("verifier_rules").address
        for rule in guest.structs("verifier_rule", table, guest.kernel.constant("VERIFIER_RULES")):
            if rule["subcode"] == subcode:
                texts = tuple(guest.text(each) if each else "" for each in rule.array("parameter"))
                return VerifierRule(subcode, guest.text(rule["call"]), texts, guest.text(rule["sentence"]))
    except LabError:
        pass  # a kernel from before there were rules, or memory without the kernel: the number must do
    return None
