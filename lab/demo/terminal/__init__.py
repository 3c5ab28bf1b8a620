"""The terminal face: the same Scene as the page's, drawn in letters; Textual is imported with it and not before."""

from lab.demo.terminal.face import TerminalFace

__all__ = ["TerminalFace"]
