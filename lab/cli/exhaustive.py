"""`lab exhaustive`: foretell accesses by the million, let the CPU make them, and compare."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import click

from lab.cli.common import output_options, wants_colour

if TYPE_CHECKING:
    from lab.machine.exhaustive.families import Family
    from lab.machine.exhaustive.run import Finding, Plan

__all__ = ["command"]


@click.command()
@click.option("--family", "names", multiple=True, metavar="NAME", help="Only this family; may be repeated.")
@click.option("--list", "wants_list", is_flag=True, help="List the families, and check nothing.")
@click.option("--strict", is_flag=True, help="Follow the manual: each quirk of the accelerator is a difference.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="About N cases of each family instead of all.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which cases a sample takes.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Machines at once; one a CPU by default.")
@click.option("--accel", default="tcg", show_default=True, metavar="NAME", help="QEMU's accelerator.")
@output_options
def command(
    *,
    names: tuple[str, ...],
    wants_list: bool,
    strict: bool,
    sample: int | None,
    seed: int,
    workers: int | None,
    accel: str,
    as_json: bool,
    color: str,
) -> int:
    """Foretell every access, let the CPU make it, and compare: exceptions, error codes, CR2, A and D bits, data.

    A family is the product of page-table entries, control bits and accesses. What the accelerator is known to do
    otherwise than the manual is foretold too; with --strict it is not, and each difference is named. The exit code is
    1 when anything differs.

    \b
    Examples:
      lab exhaustive --family pd-pt
      lab exhaustive --sample 100000 --strict
    """  # noqa: D301 - click looks for the character itself
    from lab.machine.exhaustive.check import Sample
    from lab.machine.exhaustive.families import FAMILIES, find_family
    from lab.machine.exhaustive.run import Plan
    from lab.machine.qemu import MachineOptions

    families = [find_family(name) for name in names] or list(FAMILIES)
    if wants_list:
        return _list(families)
    gc.enable()  # unlike other verbs this one lasts
    plan = Plan(MachineOptions(accel=accel), workers or 0, strict, Sample(sample, seed) if sample else None)
    return _check(families, plan, as_json=as_json, colour=wants_colour(color))


def _list(families: list[Family]) -> int:
    for family in families:
        click.echo(f"{family.name:<20}{family.cases:>12,}  {family.about}")
    click.echo(f"{'all':<20}{sum(family.cases for family in families):>12,}")
    return 0


def _check(families: list[Family], plan: Plan, *, as_json: bool, colour: bool) -> int:
    from lab.machine.exhaustive.report import exhaustive_report, heading, row, total
    from lab.machine.exhaustive.run import run
    from lab.render.json import render_json
    from lab.render.text import render_text

    say = _silence if as_json else click.echo
    if plan.sample is not None:
        say(f"a sample of {plan.sample.cases:,} cases of each family, with seed {plan.sample.seed}")
    say(heading())
    findings: list[Finding] = []
    for finding in run(families, plan, None if as_json else _progress):
        findings.append(finding)
        say(row(finding.family.name, finding.cases, finding.seconds, finding.mismatches))
    say(total(findings))
    say("")
    report = exhaustive_report(findings, plan)
    click.echo(render_json(report) if as_json else render_text(report, color=colour), nl=False, color=True)
    return 0 if report.answer else 1


def _silence(_text: str) -> None:
    """In place of the rows, where the answer is one object."""


def _progress(finding: Finding, expected: int) -> None:
    """Show on a terminal how far a family has come, on the line where its row will be."""
    if not sys.stderr.isatty():
        return
    from lab.machine.exhaustive.report import row

    text = row(finding.family.name, finding.cases, finding.seconds, finding.mismatches)
    done = finding.cases >= expected
    click.echo("\r\x1b[K" if done else f"\r{text}  {100 * finding.cases // expected} %", nl=False, err=True)
