"""What the terminal face says, besides what it shares with the page."""

from __future__ import annotations

from collections.abc import Mapping

from lab.demo.words import LABELS
from lab.texts import Text

__all__ = ["WORDS", "KEYS"]

WORDS: Mapping[str, Text] = {
    **LABELS,
    "story": Text("Story"),
    "typed": Text("type a view, call or probe; Enter asks, Esc leaves"),
    "hints": Text("→ next  ← back  : ask  n notes  + - size  t theme  b blank  ? keys  q quit"),
    "same": Text("same frame"),
    "closes": Text("Esc or the next key closes this."),
    "working": Text("the guest is at work…"),
    "one_part": Text("only this part: - shows all, v the next one"),
}

KEYS: Mapping[str, Text] = {
    "→ Space PgDn": LABELS["key_next"],
    "← PgUp": LABELS["key_back"],
    "0…9 Enter": LABELS["key_go"],
    "Home End": LABELS["key_ends"],
    "+ -": Text("fewer parts with more room each, or all; the size of letters is the terminal's own, often Ctrl and +"),
    "t": LABELS["key_theme"],
    "v Tab": LABELS["key_panel"],
    "↑ ↓": Text("scroll what does not fit"),
    "n": LABELS["key_notes"],
    "b": LABELS["key_blank"],
    ": /": Text("ask: a view, call FUNCTION ARG, probe 'ASSEMBLY'"),
    "Esc": LABELS["key_close"],
    "?": LABELS["key_help"],
    "q": Text("quit"),
}
"""What the keys do, in the order of the list."""
