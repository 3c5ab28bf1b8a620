"""A sentence with its template and values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Self, TypeAlias

from lab.errors import UsageError
from lab.texts.catalogue import ENGLISH, catalogue

__all__ = ["Text", "Value", "placeholders", "needs_translation"]

Value: TypeAlias = "str | int | Text"
"""What fills a placeholder: a number or a word, the same in every language, or a Text, which is said in the same one.

Addresses of both kinds are taken as they print.
"""

_PLACE = re.compile(r"\{\{|\}\}|\{([a-z_][a-z0-9_]*)(?::(#?0?[0-9]{0,2}[xd,]))?\}|[{}]")
"""A placeholder is a name, perhaps with how a number is written; braces that are meant stand twice.

No more than that of Python's format language: templates also come out of files that were made elsewhere.
"""


class Text(str):
    r"""A sentence: the English string itself, together with the template and the values it was made of.

    >>> refused = Text("It returned NULL: {left}.", {"left": Text("there is nothing to undo")})
    >>> print(refused)
    It returned NULL: there is nothing to undo.
    >>> print(Text("frame {frame:#x}", {"frame": 0x6C, "unused": 1}))
    frame 0x6c
    >>> print(Text("The page is at {page}.", {"page": "here"}).in_language("tr"))
    Sayfa here adresinde.

    A value that no placeholder names is left out. Raises UsageError for a placeholder without a value, and for a
    template that is none.
    """

    __slots__ = ("template", "values")

    template: str
    values: Mapping[str, Value]

    def __new__(cls, template: str = "", values: Mapping[str, object] | None = None) -> Self:  # noqa: D102
        given = values or {}
        kept = {name: _value(given[name]) for name, _ in _places(template) if name in given}
        text = super().__new__(cls, _filled(template, kept, ENGLISH))
        text.template, text.values = template, kept
        return text

    @classmethod
    def verbatim(cls, text: str) -> Self:
        """A text without placeholders, whatever braces are in it: to be translated as a whole, or not at all."""
        return cls(text.replace("{", "{{").replace("}", "}}"))

    def in_language(self, language: str) -> str:
        """The same in another language; in English where that language has no words for it."""
        return _filled(catalogue(language).get(self.template, self.template), self.values, language)


def needs_translation(template: str) -> bool:
    """Whether there are words in a template, and not only what its values are.

    >>> needs_translation("{number}: {words}"), needs_translation("at {page}")
    (False, True)
    """
    return any(each.isalpha() for each in _PLACE.sub("", template))


def placeholders(template: str) -> tuple[tuple[str, str], ...]:
    """The placeholders of a template, each as its name and format, in alphabetical order.

    >>> placeholders("Frame {frame:#x} is at {page}.")
    (('frame', '#x'), ('page', ''))
    """
    return tuple(sorted(set(_places(template))))


def _value(value: object) -> Value:
    if isinstance(value, Text) or type(value) in (int, str):
        return value  # type: ignore[return-value]
    return str(value)


def _places(template: str) -> Iterator[tuple[str, str]]:
    for match in _PLACE.finditer(template):
        if match[1]:
            yield match[1], match[2] or ""
        elif len(match[0]) == 1:
            raise UsageError(f"{template!r} is no template: a {match[0]} that is meant stands twice")


def _filled(template: str, values: Mapping[str, Value], language: str) -> str:
    def fill(match: re.Match[str]) -> str:
        if not match[1]:
            return match[0][0]
        if match[1] not in values:
            raise UsageError(f"the text {template!r} has no value for {{{match[1]}}}")
        value = values[match[1]]
        if isinstance(value, Text):
            return value.in_language(language)
        return format(value, match[2]) if match[2] and isinstance(value, int) else str(value)

    return _PLACE.sub(fill, template)
