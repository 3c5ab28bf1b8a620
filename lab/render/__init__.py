"""Reports for people and programs: text with or without colour, JSON, pages and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.late import late

if TYPE_CHECKING:
    from lab.render.html import render_html
    from lab.render.json import render_json
    from lab.render.svg import render_svg
    from lab.render.text import render_text

__all__ = ["render_text", "render_json", "render_html", "render_svg"]

__getattr__ = late(__name__, {f"lab.render.{name.removeprefix('render_')}": (name,) for name in __all__})
