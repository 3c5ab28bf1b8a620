"""What no control register tells of the CPU, and the kernel found out by CPUID and RDMSR: struct lab_cpu."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Literal

from lab.kernel.image import KernelImage
from lab.kernel.objects import Guest, StructView
from lab.memory.protocol import Memory
from lab.x86.caching import Mtrrs
from lab.x86.registers import PAT, KeyRights
from lab.x86.state import PagingState

__all__ = ["with_cpu"]


def with_cpu(state: PagingState, kernel: KernelImage, memory: Memory) -> PagingState:
    """The state with PAT, MTRRs, key rights and features; as it is before the kernel has looked at its CPU."""
    guest = Guest(kernel, memory, state)
    cpu = guest.variable("lab_cpu")
    if not cpu["max_physical_bits"]:
        return state
    vendor: Literal["intel", "amd"] = "amd" if cpu.bytes("vendor").startswith(b"AuthenticAMD") else "intel"
    features = cpu["features"]
    state = replace(
        state,
        pat=PAT(cpu["pat"]),
        max_phys_bits=cpu["max_physical_bits"],
        gib_pages=bool(features & kernel.constant("CPU_GIB_PAGES")),
        vendor=vendor,
    )
    if features & kernel.constant("CPU_MTRR"):
        state = replace(state, mtrrs=_mtrrs(cpu.inner("mtrrs"), state.max_phys_bits))
    return _with_keys(state, guest)


def _mtrrs(registers: StructView, max_phys_bits: int) -> Mtrrs:
    return _decoded(registers["default_type"], registers.array("fixed"), registers.array("ranges"), max_phys_bits)


@lru_cache(maxsize=4)
def _decoded(default: int, fixed: tuple[int, ...], ranges: tuple[int, ...], max_phys_bits: int) -> Mtrrs:
    """The same registers are read over and over."""
    return Mtrrs.from_registers(default, fixed, zip(ranges[::2], ranges[1::2], strict=True), max_phys_bits)


def _with_keys(state: PagingState, guest: Guest) -> PagingState:
    """The rights of the keys, where they count: nobody but a probe turns them on."""
    if not (state.cr4.pke or state.cr4.pks):
        return state
    inside = guest.variable("probe_detour").inner("inside")
    return replace(
        state,
        pkru=KeyRights(inside["pkru"] if state.cr4.pke else 0),
        pkrs=KeyRights(inside["pkrs"] if state.cr4.pks else 0),
    )
