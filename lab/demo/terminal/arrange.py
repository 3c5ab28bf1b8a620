"""Where things stand on a screen of that size: from 80 columns and 24 rows to a wall of them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Arrangement", "arrange", "SIZES", "EVERYTHING", "NO_PANELS", "ALONE", "AROUND", "TWO_ROWS"]

EVERYTHING, NO_PANELS, ALONE = range(3)
"""Sizes: all parts; story and walk; one part with the screen for itself. A terminal cannot make its letters larger."""
SIZES = (EVERYTHING, NO_PANELS, ALONE)

WIDE = 140
"""From this width on the story stands at the left of the walk; below, the walk is above the story."""

AROUND = 4
"""Rows of head, title and foot, and of the line above the panels."""
LEAST_BELOW = 9
"""Rows that the walks leave to what is below them."""
TWO_ROWS = 24
"""Rows that panels need to stand below each other."""
PANEL = 54
"""What a panel should have at least to stand beside another one."""
EDGE = 3
"""Columns of a part's margins and its scroll bar."""


@dataclass(frozen=True)
class Arrangement:
    """Letters that each part has for itself; `panels` is how many stand beside each other."""

    is_wide: bool
    story: int
    walk: int
    walk_height: int
    panels: int
    panel: int


def arrange(width: int, height: int, size: int = EVERYTHING) -> Arrangement:
    """What fits on a screen.

    >>> arrange(80, 24)
    Arrangement(is_wide=False, story=37, walk=78, walk_height=11, panels=1, panel=37)
    >>> arrange(240, 70).panels
    3
    """
    inner = height - AROUND
    if size == ALONE:
        return Arrangement(False, width - EDGE, width - 2, height, 1, width - EDGE)
    is_wide = width >= WIDE
    story = max(46, width * 28 // 100) if is_wide else width if size == NO_PANELS else width // 2
    beside = width - story
    panels = 0 if size == NO_PANELS else max(1, min(3, beside // PANEL))
    walk = (width - story if is_wide else width) - 2
    walk_height = inner if is_wide and size == NO_PANELS else inner - LEAST_BELOW
    return Arrangement(is_wide, story - EDGE, walk, walk_height, panels, beside // max(panels, 1) - EDGE)
