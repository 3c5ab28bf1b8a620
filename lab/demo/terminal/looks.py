"""How the terminal face looks: the palette's colours as Textual's themes, and what each meaning looks like.

Whatever a colour says, a letter, a weight or a line says too, so that nothing is lost under NO_COLOR.
"""

from __future__ import annotations

from collections.abc import Mapping

from textual.theme import Theme

from lab.render.palette import PALETTES
from lab.views.report import Role

__all__ = ["THEMES", "LOOKS", "themes", "variables"]

THEMES = tuple(PALETTES)

MUTED = "$lab-muted"
STRONG = "bold"
CHANGED = "bold underline $lab-text on $lab-physical-fill"
"""A digit, byte or line that is not what it was."""
CURRENT = "bold $lab-text on $lab-raised"
"""The line of source, or the panel, that one looks at."""
BAD = "bold $lab-bad"
GOOD = "bold $lab-good"
LINE = "$lab-line"
CUT = "bold $lab-virtual on $lab-virtual-fill"
"""Bits that were cut out of an address."""
OFFSET = "bold $lab-physical on $lab-physical-fill"
"""Bits that no table translates."""

LOOKS: Mapping[Role, str] = {
    Role.TITLE: STRONG,
    Role.LABEL: "bold $lab-muted",
    Role.MUTED: MUTED,
    Role.VIRTUAL: "$lab-virtual",
    Role.PHYSICAL: "$lab-physical",
    Role.LEVEL: STRONG,
    Role.FLAGS: "$lab-flags",
    Role.RIGHTS: "$lab-rights",
    Role.SYMBOL: "$lab-symbol",
    Role.GOOD: GOOD,
    Role.WARNING: "bold $lab-warning",
    Role.BAD: BAD,
}


def variables(theme: str) -> dict[str, str]:
    """The colours of a theme by the names that styles use.

    >>> variables("dark")["lab-virtual"]
    '#63d5f2'
    """
    return {f"lab-{name}": value for name, value in PALETTES[theme].items()}


def themes() -> dict[str, Theme]:
    """Every palette as a theme of Textual."""
    return {name: _theme(name, colours) for name, colours in PALETTES.items()}


def _theme(name: str, colours: Mapping[str, str]) -> Theme:
    return Theme(
        name=f"lab-{name}",
        primary=colours["virtual"],
        foreground=colours["text"],
        background=colours["background"],
        surface=colours["surface"],
        panel=colours["raised"],
        warning=colours["warning"],
        error=colours["bad"],
        success=colours["good"],
        dark=name == "dark",
        variables=variables(name),
    )
