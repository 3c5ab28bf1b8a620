"""The page as text: template, style sheet and scripts of `lab/demo/page/`, with labels in a language.

There is no build step. The lab serves the scripts as they are; an export has them in one piece, which is what
`joined_scripts` makes of them: their imports and exports only connect them with each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files

from lab.demo.words import bits_in, headline, labels_in
from lab.render.html import report_css
from lab.render.markup import text_of
from lab.render.palette import PALETTES, css_variables
from lab.render.svg import picture_css
from lab.views.report import Json

__all__ = ["page_html", "page_css", "script", "joined_scripts", "SCRIPTS"]

SCRIPTS = ("dom.js", "steps.js", "players.js", "stage.js", "pointing.js", "speaker.js", "page.js")
"""In an order in which each stands behind all that it imports."""

_PLACE = re.compile(r"\{\{([a-z_]+)\}\}")


def page_html(title: str, name: str, language: str, head: str, titles: Sequence[str] = ()) -> str:
    """The page with its words; `head` is markup that brings style and scripts.

    `titles` are those of the moments, as far as they are foreseen, for the speaker.
    """
    setup: dict[str, Json] = {
        "name": name,
        "labels": labels_in(language),
        "bits": bits_in(language),
        "titles": list(titles),
    }
    values: Mapping[str, str] = {
        **{label: text_of(text).replace('"', "&quot;") for label, text in labels_in(language).items()},
        "language": language,
        "title": text_of(title),
        "short_title": text_of(headline(title)[0]),
        "head": head,
        "setup": as_script_data(setup),
    }
    return _PLACE.sub(lambda match: values[match[1]], _read("page.html"))


def as_script_data(value: Json) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def page_css() -> str:
    """All style sheets of the page, and the colours of every theme."""
    themes = [f':root[data-theme="{theme}"] {{ {css_variables(theme)} }}' for theme in PALETTES]
    return "\n".join([*themes, report_css(), picture_css(), _read("page.css")])


def script(name: str) -> str:
    """One of `SCRIPTS`."""
    return _read(name)


def joined_scripts() -> str:
    """All scripts as one module that imports nothing."""
    return "\n".join(re.sub(r"^import .*\n|^export (?=\S)", "", _read(name), flags=re.MULTILINE) for name in SCRIPTS)


def _read(name: str) -> str:
    return files("lab.demo").joinpath("page", name).read_text(encoding="utf-8")
