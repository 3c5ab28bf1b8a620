"""The guest's structures as types of numpy, so that an array of thousands is one view of shared RAM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lab.errors import LabError

if TYPE_CHECKING:
    from lab.kernel.image import KernelImage, Type

__all__ = ["dtype_of"]

_LETTERS = {"signed": "i", "char": "u", "unsigned": "u", "bool": "u", "enum": "u", "pointer": "u"}


def dtype_of(kernel: KernelImage, structure: str) -> np.dtype[np.void]:
    """The layout of a structure, with the C names and offsets of its fields.

    An array in it is a subarray of one dimension. LabError for a structure that the kernel does not have, or one with
    fields that are neither numbers nor made of them.

    >>> from lab.kernel import KernelImage
    >>> dtype_of(KernelImage.load(), "trial_case")["before"]
    dtype(('<u8', (5,)))
    """
    found = kernel.structure(structure)
    fields = found.fields.values()
    return np.dtype(
        {
            "names": [field.name for field in fields],
            "formats": [_format(kernel, field.type) for field in fields],
            "offsets": [field.offset for field in fields],
            "itemsize": found.size,
        }
    )


def _format(kernel: KernelImage, kind: Type) -> np.dtype[np.generic]:
    if kind.kind == "array" and kind.target is not None:
        return np.dtype((_format(kernel, kind.target), (kind.count,)))
    if kind.kind in ("struct", "union"):
        return dtype_of(kernel, kind.tag)
    if kind.kind not in _LETTERS:
        raise LabError(f"{kind.name} has no counterpart in numpy")
    return np.dtype(f"<{_LETTERS[kind.kind]}{kind.size}")
