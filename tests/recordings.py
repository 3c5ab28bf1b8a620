"""`python -m tests.recordings`: play every scenario, and write its recording to images/recordings/.

To be done when a scenario, or what the kernel shows in it, has changed. A recording of a scenario that is no more is
removed.
"""

from __future__ import annotations

import sys

from lab.scenarios import all_scenarios
from lab.timeline.recorder import Recorder
from lab.timeline.recording import shipped, write


def main() -> None:
    """Write them all, and say how large each is."""
    folder = shipped("").parent
    folder.mkdir(exist_ok=True)
    for stale in {*folder.glob("*.lab")} - {shipped(name) for name in all_scenarios()}:
        stale.unlink()
    for name, scenario in all_scenarios().items():
        with scenario.machine() as machine:
            timeline = Recorder(scenario, machine).finish()
        write(timeline, shipped(name))
        print(
            f"{name:<24} {len(timeline):>3} moments {shipped(name).stat().st_size / 1024:>6.0f} KiB {timeline.outcome}"
        )


if __name__ == "__main__":
    sys.exit(main())
