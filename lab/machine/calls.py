"""Calling the guest's functions by name, with arguments and results as their C signatures have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import UsageError
from lab.kernel.image import Export, KernelImage
from lab.machine.mailbox import Argument, GuestException, Reply

if TYPE_CHECKING:
    from lab.machine.machine import Machine

__all__ = ["CallResult", "Calls", "Target", "find_target"]


class CallResult(NamedTuple):
    """What a call of a guest function gave.

    `result` is as wide as the function's return type (0 for void), `raw` is all of RAX. After an `exception` both
    are 0.
    """

    function: str
    result: int
    raw: int = 0
    exception: GuestException | None = None

    @property
    def ok(self) -> bool:
        """Whether the function returned."""
        return self.exception is None

    def __int__(self) -> int:
        return self.result


class Target(NamedTuple):
    """A function to be called: its name for messages, its address, and its signature where it is known."""

    name: str
    address: int
    export: Export | None = None

    def check(self, count: int, most: int) -> None:
        """Raise UsageError when the function does not take `count` arguments, or the mailbox has no room for them."""
        signature = self.export.signature if self.export else None
        if signature is not None:
            wanted = len(signature.parameters)
            if count < wanted or (count > wanted and not signature.variadic):
                takes = f"{wanted} argument{'' if wanted == 1 else 's'}"
                raise UsageError(f"{self.name} takes {takes}, not {count}: {self.name}{signature}")
        if count > most:
            raise UsageError(f"{self.name} cannot be given {count} arguments; {most} is the most")

    def result(self, reply: Reply) -> CallResult:
        """Make the reply of the guest a result. Raises UsageError when the guest refused to call the function."""
        if reply.refused:
            raise UsageError(f"the guest does not call {self.name}: only its exports can be called")
        kind = self.export.signature.returns if self.export and self.export.signature else None
        size = 8 if kind is None else min(kind.size, 8)
        return CallResult(self.name, reply.result & (1 << 8 * size) - 1, reply.result, reply.exception)


def find_target(image: KernelImage, function: str | int) -> Target:
    """Find a function by the name of an export, or by any address. Raises UsageError for an unknown name."""
    if isinstance(function, str):
        export = image.export(function)
        return Target(function, export.address, export)
    name = image.describe(function)
    return Target(name or f"{function:#x}", function, image.exports.get(name or ""))


class Calls:
    """The guest's functions, as `machine.call`.

    >>> machine.call("ExAllocatePool", 0, 64).ok
    True
    >>> machine.call.ExAllocatePool(0, 64).ok
    True
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def __call__(
        self, function: str | int, *arguments: Argument, timeout: float = 5.0, guarded: bool = True
    ) -> CallResult:
        """Call an export by name, or any function the guest allows by address; wait for its result.

        Strings and bytes are copied to the guest and passed by address; a `bytearray` has the guest's version of it
        afterwards. An exception inside the function ends the call, and the guest lives on; without `guarded` it takes
        its Windows course, a bug check.

        Raises GuestStopped when a bug check stopped the guest, GuestCrashed when it died, GuestTimeout when it did not
        answer within `timeout` seconds, UsageError for arguments that the function does not take.
        """
        return self._machine.post(function, *arguments, guarded=guarded, timeout=timeout).wait(timeout)

    def __getattr__(self, name: str) -> Callable[..., CallResult]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments: Argument, timeout: float = 5.0, guarded: bool = True) -> CallResult:
            return self(name, *arguments, timeout=timeout, guarded=guarded)

        return call

    def __dir__(self) -> list[str]:
        return sorted(self._machine.kernel.exports)
