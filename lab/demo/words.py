"""What the page itself says, besides the lecture: labels, help, names of parts, in every language of `lab.texts`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lab.render.diagram import entry_bits
from lab.texts import Text

__all__ = ["LABELS", "NAMES", "headline", "labels_in", "bits_in", "name_in"]

LABELS: Mapping[str, Text] = {
    "skip": Text("To the step"),
    "steps": Text("Steps"),
    "step": Text("Step"),
    "live": Text("live"),
    "recorded": Text("recording"),
    "export": Text("file"),
    "walk": Text("Walk"),
    "memory": Text("Memory"),
    "mdl": Text("MDLs"),
    "pool": Text("Pool"),
    "frames": Text("Frames"),
    "source": Text("Source"),
    "console": Text("Console"),
    "more": Text("More"),
    "panels": Text("Panels"),
    "space": Text("Address space"),
    "notes": Text("Notes"),
    "no_notes": Text("There are no notes for this step."),
    "keys": Text("Keys"),
    "close": Text("Close"),
    "prompt": Text("Ask: a view such as walk mdl:0, or call FUNCTION ARG"),
    "question": Text("What do you think?"),
    "reveal": Text("The next key reveals the answer."),
    "next_step": Text("Next"),
    "last_step": Text("This is the last step."),
    "clock": Text("Clock"),
    "elapsed": Text("Elapsed"),
    "blanked": Text("The screen is blank; b shows it again."),
    "unknown": Text("This file knows only the addresses that it shows; the lab itself can answer more."),
    "gone": Text("The lab has gone; the page goes on with what it has seen."),
    "no_such_step": Text("There is no such step here."),
    "key_next": Text("next step, or the answer"),
    "key_back": Text("step back"),
    "key_go": Text("go to that step"),
    "key_ends": Text("first step, last step"),
    "key_size": Text("larger, smaller"),
    "dark": Text("dark"),
    "light": Text("light"),
    "projector": Text("projector"),
    "key_theme": Text("theme: dark, light, projector"),
    "key_panel": Text("next panel"),
    "key_notes": Text("notes"),
    "key_blank": Text("blank screen"),
    "key_ask": Text("ask something"),
    "key_speaker": Text("speaker window"),
    "key_close": Text("close"),
    "key_help": Text("this list"),
    "key_point": Text("on an entry: its bits, named; on an address: its walk"),
}
"""By the names that the page's template and scripts use."""

NAMES = (
    Text("user half"),
    Text("not canonical"),
    Text("kernel half"),
    Text("self map"),
    Text("hyperspace"),
    Text("kernel image"),
    Text("system PTEs"),
    Text("special pool"),
    Text("PFN database"),
    Text("nonpaged pool"),
    Text("page tables"),
    Text("kernel stacks"),
    Text("nonpaged pool NX"),
    Text("pages of MDLs"),
    Text("system pages"),
    Text("driver images"),
    Text("user pages"),
    Text("contiguous memory"),
    Text("non-cached memory"),
    Text("freed, still locked"),
    Text("firmware"),
    Text("buffer"),
    Text("system mapping"),
    Text("own walk"),
    Text("frame"),
    Text("bytes changed"),
    Text("the entry is in use; when clear, all other bits are the operating system's"),
    Text("writes are allowed"),
    Text("user-mode accesses are allowed"),
    Text("lowest bit of the PAT index"),
    Text("middle bit of the PAT index"),
    Text("the CPU has used the entry"),
    Text("leaf: the CPU has written to the page"),
    Text("PDPT and PD: the entry is a leaf"),
    Text("PT: highest bit of the PAT index"),
    Text("leaf: the translation survives a change of CR3, when CR4.PGE is set"),
    Text("2 MiB and 1 GiB leaf: highest bit of the PAT index"),
    Text("instruction fetches are forbidden; reserved unless EFER.NXE is set"),
    Text("free for the operating system"),
    Text("leaf: protection key, when CR4.PKE or CR4.PKS is set"),
    Text("where the entry points: a table or a frame"),
    Text("all other bits belong to the operating system"),
)
"""Names of regions and frames, and the meanings of bits: written down elsewhere, and listed here to be said."""

KINDS = ("table", "leaf", "large leaf", "absent")


def headline(title: str) -> tuple[str, str]:
    """A lecture's name, and what else its title says.

    >>> headline("One frame, two addresses: map an MDL"), headline("What is paging? A lecture")
    (('One frame, two addresses', 'map an MDL'), ('What is paging?', 'A lecture'))
    """
    name, *more = re.split(r"(?<=\?)\s|:\s", title, maxsplit=1)
    return name, more[0] if more else ""


def name_in(name: str, language: str) -> str:
    """A name of `NAMES` in a language; one that is not there stays as it is."""
    return Text.verbatim(name).in_language(language)


def labels_in(language: str) -> dict[str, str]:
    """All labels in a language."""
    return {name: text.in_language(language) for name, text in LABELS.items()}


def bits_in(language: str) -> dict[str, list[list[str | int]]]:
    """For each kind of entry its bits from the top: high, low, name, meaning."""
    return {
        kind: [[bit.high, bit.low, bit.name, name_in(bit.doc, language)] for bit in entry_bits(kind)] for kind in KINDS
    }
