"""Our guest's kernel: what its own ELF and DWARF say, and its structures decoded from memory.

Every decoder takes a `Guest` and returns plain data. What cannot be read, or contradicts itself, is a sentence in the
result's `problems`: memory that a driver has written over must not stop the one who looks for the reason.
"""

from lab.kernel.image import KernelImage
from lab.kernel.objects import Guest, StructView

__all__ = ["KernelImage", "Guest", "StructView"]
