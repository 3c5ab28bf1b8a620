"""Physical memory: one protocol, and the transports that speak it."""

from lab.memory.made_up import MadeUpMemory, MadeUpSpace
from lab.memory.paged import PagedMemory
from lab.memory.protocol import Bank, Memory, read_table, read_u64
from lab.memory.ram import SharedRam

__all__ = ["Memory", "SharedRam", "PagedMemory", "Bank", "MadeUpMemory", "MadeUpSpace", "read_u64", "read_table"]
