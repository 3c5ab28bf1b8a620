"""The one place that waits by looking again: everything else in the lab waits for an event.

Shared memory cannot wake its reader, so whoever waits for a word of guest RAM to change has to look at it: in a tight
loop at first, because most answers come within microseconds, then ever more seldom.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["wait_until"]

SPIN = 0.0001
"""Seconds to look without a pause: most calls take less, and a longer spin may keep whom we wait for off the CPU."""

FIRST_NAP, LONGEST_NAP = 0.00002, 0.001


def wait_until(
    done: Callable[[], bool],
    timeout: float,
    *,
    alive: Callable[[], None] | None = None,
    spin: float = SPIN,
) -> bool:
    """Look until `done()` is true, for `timeout` seconds at most; return whether it became so.

    `alive` is asked before every nap, never while spinning; it raises what should be raised when waiting on has no
    sense any more (the process that should answer is dead), or helps the answer along.

    >>> wait_until(lambda: True, timeout=0.1), wait_until(lambda: False, timeout=0.001)
    (True, False)
    """
    start = time.monotonic()
    while time.monotonic() - start < spin:
        if done():
            return True
    nap = FIRST_NAP
    while not done():
        if alive is not None:
            alive()
        if time.monotonic() - start > timeout:
            return done()
        time.sleep(nap)
        nap = min(nap * 2, LONGEST_NAP)
    return True
