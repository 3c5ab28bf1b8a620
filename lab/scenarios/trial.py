"""Trials: an access is asked about, predicted from the tables, and then judged by the guest's CPU."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.scenarios.step import NO_TEXT
from lab.texts import Text
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    from lab.machine.probe import ProbeResult
    from lab.machine.space import Space
    from lab.scenarios.stage import Stage
    from lab.scenarios.step import Source, Step

__all__ = ["Trial", "all_trials", "put_to_trial"]


@dataclass(frozen=True)
class Trial:
    """One instruction that touches `address`, which RDI holds; `faults` says what a page fault is expected to tell.

    `user` is the mode it runs in, `options` are further ones of `machine.probe`. No `faults`: it is to succeed.
    """

    title: Text
    text: Text
    source: str
    address: VirtualAddress
    faults: str = ""
    user: bool = True
    notes: Text = NO_TEXT
    options: Mapping[str, Any] = field(default_factory=dict)


def all_trials(stage: Stage, prepare: Callable[[Stage, Space], Step], trials: Iterable[Trial]) -> Iterator[Step]:
    """A lecture of trials: `prepare` fills an empty address space, and what may be done there the CPU says."""
    before = stage.books()
    with stage.machine.new_space() as space, stage.inside(space):
        yield prepare(stage, space)
        for trial in trials:
            yield put_to_trial(stage, trial, _written(stage, trial, prepare))
    yield stage.nothing_left(before)


def put_to_trial(stage: Stage, trial: Trial, source: Source | None = None) -> Step:
    """Let the CPU judge a trial, in the space that the stage is inside; Disagreement when it judges otherwise."""
    probe = stage.probe(trial.source, user=trial.user, rdi=trial.address, **trial.options)
    found = _outcome(probe.result)
    if found != trial.faults or (probe.result.exception and probe.result.exception.cr2 != trial.address):
        stage.refute(
            f"{trial.source} with RDI={trial.address} should give {trial.faults or 'no fault'}: {probe.result}"
        )
    named = {"instruction": trial.source, "address": trial.address}
    return stage.step(
        trial.title,
        trial.text,
        call=probe,
        ask=Text("{instruction} in user mode, RDI = {address}: what happens?", named)
        if trial.user
        else Text("{instruction} in the kernel, RDI = {address}: what happens?", named),
        answer=_answer(probe.result),
        notes=trial.notes,
        focus=(trial.address,),
        source=source,
    )


def _written(stage: Stage, trial: Trial, lecture: Callable[..., object]) -> Source | None:
    """The line at which a lecture writes a trial down: that of its title."""
    path = Path(inspect.getsourcefile(lecture) or "")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if f'Text("{trial.title.template}")' in line:
            return stage.source(path, number)
    return None


def _outcome(result: ProbeResult) -> str:
    """The names of a page fault's bits as tests write them; empty when all went well."""
    if result.ok:
        return ""
    return "|".join(result.error_code.names()) or "0"


def _answer(result: ProbeResult) -> Text:
    if result.ok:
        return Text("It succeeds.")
    code = result.error_code
    bits = " ".join(code.names()) or Text("no bit at all")
    return Text("Page fault, error code {code:#x}: {bits}.", {"code": int(code), "bits": bits})
