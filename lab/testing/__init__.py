"""What a bare-metal test says of a guest: claims about mappings and faults, which fail with the walk that decides.

The pytest plugin (lab.pytest_plugin) makes fixtures of these; they can be imported and used on any snapshot, too.
"""

from lab.testing.assertions import Refuted, assert_faults, assert_maps

__all__ = ["assert_maps", "assert_faults", "Refuted"]
