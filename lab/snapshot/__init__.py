"""A machine at one moment: its memory, its registers, and what is known of the kernel in it.

Inspectors take a `Snapshot` and need nothing else, so they work alike on a running guest, on a recording and on
memory made up for a test. `kernel` is None for a guest that is not ours.
"""

from lab.snapshot.changes import EntryChange, TableImage, capture, diff, recapture
from lab.snapshot.registers import Registers
from lab.snapshot.snapshot import Snapshot

__all__ = ["Snapshot", "Registers", "TableImage", "EntryChange", "capture", "recapture", "diff"]
