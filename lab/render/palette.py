"""The colours of pages and pictures, by what they mean; a theme gives each name a value.

Virtual addresses are cyan and physical ones amber, as in the terminal, and nothing else is. Letters say what colours
say, so that nobody has to tell them apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["PALETTES", "CLASSES", "css_variables", "resolved", "contrast"]

PALETTES: Mapping[str, Mapping[str, str]] = {
    "dark": {
        "background": "#0c121d",
        "surface": "#131c2b",
        "raised": "#1c283b",
        "line": "#33445f",
        "text": "#eaf0f8",
        "muted": "#a3b3c9",
        "virtual": "#63d5f2",
        "virtual-fill": "#0e3140",
        "physical": "#ffc657",
        "physical-fill": "#3b2c0b",
        "flags": "#d8abff",
        "rights": "#86dfa3",
        "symbol": "#9cc0ff",
        "good": "#74e39d",
        "good-fill": "#11331f",
        "warning": "#ff9f66",
        "bad": "#ff8b8b",
        "bad-fill": "#43191f",
    },
    "light": {
        "background": "#f7f6f2",
        "surface": "#ffffff",
        "raised": "#eeece5",
        "line": "#c9c5b9",
        "text": "#18202c",
        "muted": "#525c6b",
        "virtual": "#00607f",
        "virtual-fill": "#dcf1f8",
        "physical": "#7a4f00",
        "physical-fill": "#fdeecb",
        "flags": "#73329f",
        "rights": "#1a6334",
        "symbol": "#264da8",
        "good": "#176332",
        "good-fill": "#ddf3e3",
        "warning": "#963d00",
        "bad": "#ad221b",
        "bad-fill": "#fde4e1",
    },
    "projector": {
        "background": "#ffffff",
        "surface": "#ffffff",
        "raised": "#ececec",
        "line": "#8a8a8a",
        "text": "#000000",
        "muted": "#333333",
        "virtual": "#004a63",
        "virtual-fill": "#c6ebf7",
        "physical": "#5c3a00",
        "physical-fill": "#ffe3a1",
        "flags": "#57177f",
        "rights": "#0c4a20",
        "symbol": "#123a8c",
        "good": "#0b4a1f",
        "good-fill": "#cdeed6",
        "warning": "#7a2f00",
        "bad": "#8f0d0d",
        "bad-fill": "#ffd3cf",
    },
}

CLASSES = {"virtual address": "virtual", "physical address": "physical"}
"""CSS classes of roles whose names are not classes already."""


def css_variables(theme: str) -> str:
    """The theme's colours as declarations of CSS variables.

    >>> css_variables("dark")[:24]
    '--background: #0c121d; -'
    """
    return " ".join(f"--{name}: {value};" for name, value in PALETTES[theme].items())


def resolved(css: str, theme: str) -> str:
    """A style sheet with the values in the variables' places, for programs that draw SVG but know no variables.

    >>> resolved("a { fill: var(--text) }", "dark")
    'a { fill: #eaf0f8 }'
    """
    return re.sub(r"var\(--([a-z-]+)\)", lambda match: PALETTES[theme][match[1]], css)


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, from 1 to 21; WCAG 2.2, "contrast ratio". 4.5 is enough for text.

    >>> contrast("#000000", "#ffffff")
    21.0
    """
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return round((light + 0.05) / (dark + 0.05), 2)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
