"""A lecture as it was played: one Moment a step, each with all that any view or face needs to show it.

Stepping back is a position in a `Timeline`, not a machine that runs backwards: it takes no time, and works on a file
from another computer as well. `Recorder` makes one from a scenario on a live machine; `lab.timeline.recording` writes
it to a file and reads it again.
"""

from lab.timeline.timeline import Moment, Timeline

__all__ = ["Timeline", "Moment"]
