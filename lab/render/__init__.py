"""Reports for people and programs: text with or without colour, and JSON."""

from lab.render.json import render_json
from lab.render.text import render_text

__all__ = ["render_text", "render_json"]
