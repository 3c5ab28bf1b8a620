"""Views declare themselves; what is typed becomes what they take."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest

from lab.errors import AddressError, UsageError
from lab.memory import MadeUpSpace
from lab.snapshot import Registers, Snapshot
from lab.views import all_views
from lab.views.registry import AnyAddress, Kind, View, parameters_of
from lab.views.report import Report
from lab.x86 import PhysicalAddress, VirtualAddress


def show(
    snapshot: Snapshot,
    where: Annotated[AnyAddress, "a place"],
    count: Annotated[int | None, "how many"] = None,
    *,
    style: Annotated[Literal["plain", "fancy"], "how"] = "plain",
    dry_run: Annotated[bool, "do nothing"] = False,
    cr3: Annotated[PhysicalAddress | None, "a root"] = None,
) -> Report:
    """Shows a thing.

    And says more about it.
    """
    return Report("lab.show/1", {"got": repr((where, count, style, dry_run, cr3))}, ())


@pytest.fixture
def view() -> View:
    return View("show", "lab.show/1", "lab show 0", parameters_of(show), show)


@pytest.fixture
def snapshot() -> Snapshot:
    space = MadeUpSpace()
    return Snapshot(space.memory, space.state, Registers(rip=0x1000))


def test_the_signature_declares_the_parameters(view: View) -> None:
    assert [(each.name, each.kind, each.positional, each.required) for each in view.parameters] == [
        ("where", Kind.ADDRESS, True, True),
        ("count", Kind.INTEGER, True, False),
        ("style", Kind.CHOICE, False, False),
        ("dry_run", Kind.FLAG, False, False),
        ("cr3", Kind.PHYSICAL, False, False),
    ]
    assert [each.flag for each in view.parameters] == ["", "", "--style", "--dry-run", "--cr3"]
    assert view.parameters[2].choices == ("plain", "fancy")
    assert view.parameters[0].help == "a place"
    assert view.summary == "Shows a thing."
    assert view.help.endswith("And says more about it.")


def test_what_is_typed_is_resolved(view: View, snapshot: Snapshot) -> None:
    got = view.run(snapshot, {"where": "rip+0x10", "count": "0x20", "cr3": "0x5000"}).data["got"]
    assert got == repr((VirtualAddress(0x1010), 32, "plain", False, PhysicalAddress(0x5000)))
    got = view.run(snapshot, {"where": "pa:1", "count": None, "dry_run": True, "style": "fancy"}).data["got"]
    assert got == repr((PhysicalAddress(1), None, "fancy", True, None))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, "needs WHERE: a place"),
        ({"where": "0", "count": "many"}, "count takes a number"),
        ({"where": "0", "style": "odd"}, "plain, fancy"),
        ({"where": "0", "colour": "red"}, "no colour"),
    ],
)
def test_wrong_arguments_are_named(view: View, snapshot: Snapshot, arguments: dict[str, str], error: str) -> None:
    with pytest.raises(UsageError, match=error):
        view.run(snapshot, arguments)


def test_an_address_that_is_none(view: View, snapshot: Snapshot) -> None:
    with pytest.raises(AddressError):
        view.run(snapshot, {"where": "nowhere"})


def test_a_view_cannot_take_just_anything() -> None:
    def wrong(snapshot: Snapshot, what: float) -> Report:
        raise NotImplementedError

    with pytest.raises(TypeError, match="float"):
        parameters_of(wrong)


def test_all_views_are_found_and_documented() -> None:
    views = all_views()
    promised = {"walk", "map", "table", "aliases", "mem", "regs", "pool", "mdl", "frames", "symbols", "log"}
    assert promised <= set(views)
    for name, found in views.items():
        assert found.name == name
        assert found.schema == f"lab.{name}/1"
        assert found.example.startswith(f"lab {name}")
        assert 0 < len(found.summary) <= 66, "one line in `lab --help`"
        assert all(each.help for each in found.parameters)
