"""The exhaustive check as people and programs read it: a line a family as it is done, then what differed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lab.paging.quirks import QUIRKS
from lab.views.report import Cell, Lines, Report, Role

if TYPE_CHECKING:
    from lab.machine.exhaustive.difference import Difference
    from lab.machine.exhaustive.run import Finding, Plan
    from lab.views.report import Json, Line

__all__ = ["heading", "row", "total", "exhaustive_report"]

NAME, CASES, SECONDS, RATE, MISMATCHES = 20, 14, 9, 12, 12


def heading() -> str:
    """The titles above the rows."""
    titles = f"{'cases':>{CASES}}{'seconds':>{SECONDS}}{'cases/s':>{RATE}}{'mismatches':>{MISMATCHES}}"
    return f"{'family':<{NAME}}{titles}"


def row(name: str, cases: int, seconds: float, mismatches: int) -> str:
    """One row.

    >>> print(row("pd-pt", 63528960, 61.5, 0))
    pd-pt                   63,528,960     61.5   1,032,991           0
    """
    rate = cases / seconds if seconds else 0
    numbers = f"{cases:>{CASES},}{seconds:>{SECONDS}.1f}{rate:>{RATE},.0f}{mismatches:>{MISMATCHES},}"
    return f"{name:<{NAME}}{numbers}"


def total(findings: Sequence[Finding]) -> str:
    """The row under all others."""
    cases, seconds = sum(each.cases for each in findings), sum(each.seconds for each in findings)
    return row("all", cases, seconds, sum(each.mismatches for each in findings))


def exhaustive_report(findings: Sequence[Finding], plan: Plan) -> Report:
    """All findings; as text only what differed, since the rows stand there already."""
    mismatches = sum(each.mismatches for each in findings)
    data: dict[str, Json] = {
        "strict": plan.strict,
        "sample": plan.sample.cases if plan.sample else None,
        "seed": plan.sample.seed if plan.sample else None,
        "cases": sum(each.cases for each in findings),
        "seconds": round(sum(each.seconds for each in findings), 3),
        "mismatches": mismatches,
        "families": [_family(each) for each in findings],
        "differences": [_difference(one) for each in findings for one in each.differences],
    }
    return Report("lab.exhaustive/1", data, (Lines(tuple(_lines(findings))),), answer=not mismatches)


def _family(finding: Finding) -> dict[str, Json]:
    return {
        "name": finding.family.name,
        "about": finding.family.about,
        "cases": finding.cases,
        "seconds": round(finding.seconds, 3),
        "mismatches": finding.mismatches,
        "quirks": {_names(quirks): count for quirks, count in finding.differing.items()},
    }


def _difference(difference: Difference) -> dict[str, Json]:
    return {
        "family": difference.family,
        "quirks": list(difference.quirks),
        "access": difference.setting,
        "entries": [f"{entry:#x}" for entry in difference.entries],
        "foretold": difference.foretold,
        "found": difference.found,
        "text": list(difference.lines),
    }


def _names(quirks: Iterable[str]) -> str:
    return " and ".join(quirks) or "unexplained"


# ----------------------------------------------------------------------------------------------------------- text ----


def _lines(findings: Sequence[Finding]) -> list[Line]:
    """What differed by which quirk, each with the smallest case of one; what nothing explains, first and in full."""
    counts: Counter[tuple[str, ...]] = Counter()
    for finding in findings:
        counts.update(finding.differing)
    if not counts:
        return [(Cell("every case went as foretold", Role.GOOD),)]
    lines: list[Line] = []
    for quirks, count in sorted(counts.items()):
        shown = [one for each in findings for one in each.differences if one.quirks == quirks]
        lines += [(Cell(f"{_names(quirks)}: {count:,} cases", Role.BAD if not quirks else Role.TITLE),)]
        lines += [(Cell(f"  {_sentence(name)}", Role.MUTED),) for name in quirks if len(quirks) == 1]
        for difference in shown if not quirks else shown[:1]:
            lines += [(Cell(f"  {line}"),) for line in (f"in {difference.family}:", *difference.lines)]
        lines.append(())
    return lines[:-1]


def _sentence(name: str) -> str:
    return next(quirk.sentence for quirk in QUIRKS if quirk.name == name)
