"""Report -> JSON."""

from __future__ import annotations

import json

from lab.views.report import Report

__all__ = ["render_json"]


def render_json(report: Report) -> str:
    """One object, two blanks of indentation, ending with a newline.

    >>> print(render_json(Report("lab.example/1", {"frames": 3}, ())), end="")
    {
      "schema": "lab.example/1",
      "frames": 3
    }
    """
    return json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n"
