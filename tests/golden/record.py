"""Records the guest states of the golden tests: ``.venv/bin/python tests/golden/record.py``, then rewrite the files
with ``LAB_UPDATE_GOLDEN=1 .venv/bin/pytest tests/golden``.

Only needed when the kernel's structures change so much that the old recordings no longer show what they should.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Boot a machine, stop at three moments, and write each down."""
    from conftest import save_recording

    from lab.kernel.values import make_tag
    from lab.machine import Machine, MachineOptions

    def keep(name: str, base: str | None = None) -> None:
        with machine.paused():
            save_recording(name, machine.snapshot(), base)

    with Machine(MachineOptions()) as machine:
        keep("ready")
        call, demo, tiny = machine.call, make_tag("Demo"), make_tag("Tiny")
        page = int(call("ExAllocatePoolWithTag", 512, 4096, demo))
        call("ExAllocatePoolWithTag", 0, 40, demo)
        gap = int(call("ExAllocatePool2", 0x40, 300, tiny))
        big = int(call("ExAllocatePool2", 0x40, 9000, make_tag("Big1")))
        call("ExAllocatePool2", 0x42, 48, tiny)
        call("ExFreePoolWithTag", gap, tiny)
        mdl = int(call("IoAllocateMdl", page, 4096, 0, 0, 0))
        call("IoAllocateMdl", big + 0x123, 8000, 0, 0, 0)
        call("MmBuildMdlForNonPagedPool", mdl)
        mapping = int(call("MmMapLockedPagesSpecifyCache", mdl, 0, 1, 0, 0, 0x40000010))
        call("MmAllocatePagesForMdl", 0, 0xFFFFFFFF, 0, 0x3000)
        call("fill", mapping, 0x41, 0x20)
        keep("mapped", "ready")
        machine.post("KeBugCheckEx", 0xC4, 0xB2, mdl, 0x4, 0x4)
        machine.qmp.wait_event("GUEST_PANICKED", timeout=5)
        keep("stopped", "mapped")


if __name__ == "__main__":
    sys.exit(main())
