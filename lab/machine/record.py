"""What is written down about a background machine, for the commands that come later."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.machine.qemu import MachineOptions, Qemu

__all__ = ["Record"]

FILE = "state.json"


@dataclass(frozen=True)
class Record:
    """A background machine: its QEMU, named for good by number and start time, and how it was built."""

    name: str
    pid: int
    started: int
    options: MachineOptions
    source: Path
    command: tuple[str, ...]

    @classmethod
    def of(cls, name: str, options: MachineOptions, source: Path, qemu: Qemu) -> Record:
        """Make the record of a machine that was just started; `source` is where its kernel was taken from."""
        return cls(name, qemu.process.pid, qemu.process.started, options, source, qemu.command)

    def save(self, folder: Path) -> None:
        """Write the record; readers see all of it or nothing."""
        new = folder / f"{FILE}.new"
        new.write_text(json.dumps(asdict(self), default=str, indent=1) + "\n")
        new.rename(folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> Record | None:
        """Read the record of the machine in `folder`, None when it has not been written yet."""
        try:
            values = json.loads((folder / FILE).read_text())
        except FileNotFoundError:
            return None
        values["options"] = MachineOptions.from_values(values["options"])
        values["source"], values["command"] = Path(values["source"]), tuple(values["command"])
        return cls(**values)
