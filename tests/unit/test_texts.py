"""Texts: English by themselves, and whole in every language."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import lab
from lab.errors import UsageError
from lab.scenarios import all_scenarios
from lab.texts import ENGLISH, Text, language_name, languages, needs_translation, placeholders
from lab.texts.catalogue import catalogue
from lab.x86 import PhysicalAddress, VirtualAddress

PACKAGE = Path(lab.__file__).parent
WORDS = {"title", "text", "notes", "ask", "answer"}
"""The arguments of `Stage.step` that are templates; the first two also by their places."""

OTHERS = [each for each in languages() if each != ENGLISH]


def test_a_text_is_its_english() -> None:
    text = Text(
        "Frame {frame:#x} of {page} is at {where}.", {"frame": 0x6C, "page": VirtualAddress(0x1000), "where": 7}
    )

    assert text == "Frame 0x6c of 0x0000000000001000 is at 7."
    assert isinstance(text, str)
    assert text.values == {"frame": 0x6C, "page": "0x0000000000001000", "where": 7}


def test_addresses_print_as_everywhere() -> None:
    assert Text("{a} {b}", {"a": PhysicalAddress(0x1000), "b": None}) == "pa:0x0000001000 None"


def test_a_text_within_a_text_is_said_in_the_same_language() -> None:
    left = Text("there is nothing to undo")
    text = Text("It returned NULL: out of resources, as was asked for; {left}.", {"left": left})

    assert text.in_language("en").endswith("there is nothing to undo.")
    assert text.in_language("tr").endswith("bir şey yok.")


def test_what_has_no_translation_stays_english() -> None:
    assert Text("nobody translated {this}", {"this": 1}).in_language("tr") == "nobody translated 1"
    assert Text.verbatim("if (x) { y(); }").in_language("tr") == "if (x) { y(); }"


@pytest.mark.parametrize("template", ["{", "}", "{}", "{a.b}", "{a[0]}", "{a!r}", "{a:999999}", "{a:{b}}", "{ a}"])
def test_templates_take_no_more_than_names(template: str) -> None:
    with pytest.raises(UsageError, match=r"template|no value"):
        Text(template, {"a": 1, "b": 2})


def test_a_value_that_is_missing_is_told() -> None:
    with pytest.raises(UsageError, match=r"no value for \{page\}"):
        Text("The page is at {page}.", {"Page": 1})


def test_languages_say_what_they_are_called() -> None:
    assert languages()[0] == ENGLISH
    assert [language_name(each) for each in ("en", "tr")] == ["English", "Türkçe"]
    with pytest.raises(UsageError, match="there are en"):
        Text("x").in_language("../../etc/passwd")


# ------------------------------------------------------------------------------------------------- completeness ----


def templates_in(file: Path) -> Iterator[str]:
    """The templates that a source writes down: in `Text(…)`, and in a scenario's `….step(…)`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == "Text":
            yield from constants(file, node.args[:1])
        elif name == "step" and file.parent.name == "scenarios":
            yield from constants(file, [*node.args[:2], *(each.value for each in node.keywords if each.arg in WORDS)])


def constants(file: Path, nodes: list[ast.expr]) -> Iterator[str]:
    """The strings among these; put together at run time they could not be looked up."""
    for node in nodes:
        assert not isinstance(node, ast.JoinedStr | ast.BinOp), f"{file.name}:{node.lineno} is no template"
        if isinstance(node, ast.Constant) and node.value:
            yield node.value


def shipped() -> set[str]:
    """Every template of the lab itself, with the titles and descriptions of its scenarios."""
    written = {each for file in PACKAGE.rglob("*.py") if file.parent.name != "texts" for each in templates_in(file)}
    texts = [text for each in all_scenarios().values() for text in (each.title, each.description)]
    return {each for each in written | {text.template for text in texts} if needs_translation(each)}


@pytest.mark.parametrize("language", OTHERS)
def test_every_template_has_its_translation(language: str) -> None:
    missing = sorted(shipped() - catalogue(language).keys())

    assert not missing, f"{language}.toml lacks {len(missing)} texts, the first is {missing[0]!r}"


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_placeholders_of_its_template(language: str) -> None:
    wrong = {each: said for each, said in catalogue(language).items() if placeholders(each) != placeholders(said)}

    assert wrong == {}


@pytest.mark.parametrize("language", OTHERS)
def test_nothing_is_translated_that_nobody_says(language: str) -> None:
    assert sorted(catalogue(language).keys() - shipped()) == []


def test_the_collector_sees_texts() -> None:
    assert "The page is at {page}." in shipped()
    assert inspect.getdoc(all_scenarios()["mdl-remap"].play).startswith(all_scenarios()["mdl-remap"].title)
