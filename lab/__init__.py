"""A QEMU-backed paging lab: boot a tiny kernel, and see every page-table entry it uses."""

__version__ = "0.1.0"
