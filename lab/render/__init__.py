"""Reports for people and programs: text with or without colour, JSON, pages and pictures."""

from lab.render.html import render_html
from lab.render.json import render_json
from lab.render.svg import render_svg
from lab.render.text import render_text

__all__ = ["render_text", "render_json", "render_html", "render_svg"]
