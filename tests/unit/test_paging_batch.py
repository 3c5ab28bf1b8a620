"""A million predictions are a million times one: the columns say what `predict` says of every single case."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.memory import MadeUpMemory
from lab.paging import NONE, QUIRKS, Access, AccessKind, Conditions, Prediction, Quirks, predict, quirks_of
from lab.paging.batch import Predictions, predict_many
from lab.x86 import CR0, CR3, CR4, EFER, RFLAGS, KeyRights, PagingState, VirtualAddress

ROOT = 0x100_0000
FRAMES = (0x200_0000, 0x400_0000, 0x600_0000, 0x800_0000, 0xA00_0000)
TCG = quirks_of("tcg", "7.2.22")


def one(state: PagingState, entries: list[int], address: int, access: Access, quirks: Quirks) -> Prediction:
    """The prediction of one case, whose entries are laid out in memory where each leads to."""
    words, table = {}, ROOT
    for level, entry in zip(range(state.levels, 0, -1), entries, strict=True):
        words[table + 8 * (address >> 3 + 9 * level & 511)] = entry
        table = entry & 0x000F_FFFF_FFFF_F000
    return predict(MadeUpMemory.holding(words, size=1 << 52), state, VirtualAddress(address), access, quirks=quirks)


def assert_same(many: Predictions, row: int, single: Prediction, levels: int) -> None:
    """Row `row` of the columns says what the single prediction says."""
    assert many.vector[row] == (single.vector or 0)
    assert many.code[row] == (single.error_code or 0)
    assert {many.code[row], many.alternative[row]} == {single.error_code or 0, *single.alternatives}
    assert many.cr2[row] == (single.cr2 or 0)
    masks = [(int(update.must_set), int(update.may_set)) for update in single.updates]
    masks += [(0, 0)] * (levels - len(masks))
    assert list(zip(many.must_set[:, row].tolist(), many.may_set[:, row].tolist(), strict=True)) == masks
    if single.ok:
        assert many.physical[row] == single.physical


# ------------------------------------------------------------------------------------------------ random cases ----


def random_entry(random: Random, frame: int) -> int:
    """A pointer to `frame` that mostly lets accesses through, with some bits turned."""
    value = frame | 7
    for bit in (0, 7, 12, 13, 29, 51, 8, 40):
        value ^= (random.random() < 0.06) << bit
    for bit in (1, 2, 5, 6, 63):
        value ^= (random.random() < 0.3) << bit
    return value | random.getrandbits(4) << 59


def random_state(random: Random) -> PagingState:
    def flip() -> bool:
        return random.random() < 0.5

    names = ("la57", "smep", "smap", "pke", "pks", "cet")
    return PagingState(
        cr3=CR3(ROOT),
        cr0=CR0.from_names("PE", "PG").replace(wp=flip()),
        cr4=CR4.from_names("PAE").replace(**{name: flip() for name in names}),
        efer=EFER.from_names("LME", "LMA").replace(nxe=random.random() < 0.8),
        rflags=RFLAGS(2).replace(ac=flip()),
        pkru=KeyRights(random.getrandbits(32)),
        pkrs=KeyRights(random.getrandbits(32)),
        max_phys_bits=random.choice([36, 40, 52]),
        gib_pages=flip(),
        vendor=random.choice(["intel", "amd"]),
    )


def random_access(random: Random, state: PagingState) -> Access:
    kind = random.choice(list(AccessKind))
    if kind is AccessKind.FETCH:
        return Access(kind, user=random.random() < 0.5)
    flags = [random.random() < 0.4 for _ in range(3)]
    return Access(kind, *flags, shadow_stack=state.cr4.cet and random.random() < 0.3)


@settings(max_examples=50)
@given(st.integers(0, 2**64), st.sampled_from([NONE, TCG, *(frozenset([quirk]) for quirk in QUIRKS[:7])]))
def test_columns_say_what_single_predictions_say(seed: int, quirks: Quirks) -> None:
    """One state's CPU features, and all else different from row to row: control bits, access, entries, address."""
    random = Random(seed)  # noqa: S311
    base = random_state(random)
    rows = []
    for _ in range(40):
        drawn = random_state(random)
        state = replace(
            drawn,
            max_phys_bits=base.max_phys_bits,
            gib_pages=base.gib_pages,
            vendor=base.vendor,
            cr4=drawn.cr4.replace(la57=base.cr4.la57),
        )
        entries = [random_entry(random, frame) for frame in FRAMES[: state.levels]]
        address = random.choice([0, 0x7FFF_FFFF_F123, 1 << 47, random.getrandbits(64), random.getrandbits(47)])
        rows.append((state, entries, address, random_access(random, state)))
    many = predict_many(
        base,
        [np.array(column, np.uint64) for column in zip(*(row[1] for row in rows), strict=True)],
        np.array([Conditions.of(state, access) for state, _, _, access in rows], np.uint16),
        address=np.array([row[2] for row in rows], np.uint64),
        pkru=np.array([row[0].pkru for row in rows], np.uint32),
        pkrs=np.array([row[0].pkrs for row in rows], np.uint32),
        quirks=quirks,
    )
    for number, (state, entries, address, access) in enumerate(rows):
        assert_same(many, number, one(state, entries, address, access, quirks), state.levels)
