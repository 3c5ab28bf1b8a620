"""The catalogues: for each language one TOML file that maps English templates to its own.

::

    language = "Türkçe"

    [mdl_remap]
    "The page is at {page}." = "Sayfa {page} adresinde."

The names of the tables are for those who write the file: they say where the templates are used.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from lab.errors import UsageError

__all__ = ["ENGLISH", "catalogue", "languages", "language_name"]

ENGLISH = "en"
"""The language of the templates themselves."""

FOLDER = Path(__file__).parent


def languages() -> tuple[str, ...]:
    """The codes of all languages there are texts in, English first."""
    return (ENGLISH, *sorted(file.stem for file in FOLDER.glob("*.toml")))


def language_name(language: str) -> str:
    """What a language calls itself; UsageError for one there are no texts in.

    >>> language_name("tr")
    'Türkçe'
    """
    return "English" if language == ENGLISH else _read(language)[0]


def catalogue(language: str) -> Mapping[str, str]:
    """Every template of a language by its English; UsageError for one there are no texts in."""
    return {} if language == ENGLISH else _read(language)[1]


@functools.cache
def _read(language: str) -> tuple[str, Mapping[str, str]]:
    import tomllib

    if language not in languages():
        raise UsageError(f"there are no texts in {language!r}; there are {', '.join(languages())}")
    content = tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
    templates: dict[str, str] = {}
    for table in content.values():
        if isinstance(table, dict):
            templates |= table
    return str(content.get("language", language)), templates
