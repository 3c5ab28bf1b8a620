"""`lab quirks`: where the emulated CPU departs from the manual."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lab.cli.common import emit, output_options

if TYPE_CHECKING:
    from lab.paging import Prediction, Quirk
    from lab.paging.quirks import Case
    from lab.views.report import Json, Line

__all__ = ["command"]


@click.command()
@output_options
def command(as_json: bool, color: str) -> int:
    """List where QEMU departs from the manual: each quirk by name, with what shows it.

    Predictions follow the manual, so each of these shows up as a difference unless it is asked for by name. Those
    about translations say what the manual predicts for their case, and what with the quirk.
    """
    from lab.paging import QUIRKS
    from lab.views.report import Lines, Report

    data: dict[str, Json] = {"quirks": [_data(quirk) for quirk in QUIRKS]}
    lines = tuple(line for quirk in QUIRKS for line in _lines(quirk))[:-1]
    return emit(Report("lab.quirks/1", data, (Lines(lines),)), as_json=as_json, color=color)


def _lines(quirk: Quirk) -> list[Line]:
    """The quirk for people, with an empty line after it."""
    from lab.views.report import Cell, Role

    read = "" if quirk.read_in is None else f" (by their source also {' to '.join(quirk.read_in)})"
    where = f"QEMU {', '.join(quirk.versions)}{read}, {quirk.accelerator}"
    lines: list[Line] = [
        (Cell(quirk.name, Role.LABEL), Cell(f"  {where}", Role.MUTED)),
        (Cell(f"  {quirk.sentence}"),),
        (Cell("  shown by   ", Role.MUTED), Cell(quirk.example)),
    ]
    if quirk.case is None:
        return [*lines, (Cell("  not about translations: no prediction changes", Role.MUTED),), ()]
    strict, departed = _verdicts(quirk, quirk.case)
    verdicts = (Cell(strict, Role.GOOD), Cell("; with the quirk: ", Role.MUTED), Cell(departed, Role.WARNING))
    return [*lines, (Cell("  predicted  ", Role.MUTED), *verdicts), ()]


def _data(quirk: Quirk) -> dict[str, Json]:
    """The quirk for programs; `prediction` is null where it is not about translations."""
    verdicts = None if quirk.case is None else _verdicts(quirk, quirk.case)
    return {
        "name": quirk.name,
        "sentence": quirk.sentence,
        "example": quirk.example,
        "accelerator": quirk.accelerator,
        "versions": list(quirk.versions),
        "read_in": None if quirk.read_in is None else list(quirk.read_in),
        "about_translations": quirk.is_about_translations,
        "prediction": None if verdicts is None else {"strict": verdicts[0], "quirk": verdicts[1]},
    }


def _verdicts(quirk: Quirk, case: Case) -> tuple[str, str]:
    """What the manual predicts for the quirk's case, and what with the quirk."""
    from lab.paging.prediction import predict_case

    return _verdict(predict_case(case)), _verdict(predict_case(case, frozenset([quirk])))


def _verdict(found: Prediction) -> str:
    codes = "".join(f" or {found.vector}({'|'.join(code.names()) or 0})" for code in found.alternatives)
    levels = [str(update.level) for update in found.updates if update.must_set]
    return f"{found.fault or 'no fault'}{codes}" + (f", A set in {' '.join(levels)}" if levels else "")
