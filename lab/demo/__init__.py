"""Lectures before an audience: a Player that goes through a Timeline, and the faces that show it."""

from lab.demo.player import Player

__all__ = ["Player"]
