"""Each quirk by the case that shows it: what the manual says, and what the CPU does."""

from __future__ import annotations

import pytest

from lab.paging import QUIRKS, Prediction, Quirk
from lab.paging.prediction import predict_case

ABOUT_TRANSLATIONS = [quirk for quirk in QUIRKS if quirk.is_about_translations]


def verdict(prediction: Prediction) -> str:
    """The fault, other codes allowed, and the bits that must and may be set, from the top."""
    others = "".join(f" or {hex(code)}" for code in prediction.alternatives)
    updates = " ".join(f"{int(update.must_set):x}/{int(update.may_set):x}" for update in prediction.updates)
    return f"{prediction.fault or 'ok'}{others} {updates}".strip()


SHOWN = {
    "rsvd-without-p": ("#PF(P|RSVD) 0/20 0/20 0/20 0/0", "#PF(RSVD) 0/20 0/20 0/20 0/0"),
    "gib-leaf-accessed-early": ("#PF(P|RSVD) 0/20 0/0", "#PF(P|RSVD) 0/20 20/0"),
    "ac-lifts-smap-of-implicit": ("#PF(P) 0/20 0/20 0/20 0/20", "ok 20/0 20/0 20/0 20/0"),
    "no-pk-of-user-on-supervisor-page": (
        "#PF(P|U|PK) or 0x5 0/20 0/20 0/20 0/20",
        "#PF(P|U) 0/20 0/20 0/20 0/20",
    ),
    "gib-leaf-without-cpuid": ("#PF(P|RSVD) 0/20 0/0", "ok 20/0 20/0"),
    "pae-root-accessed": ("ok 0/0 20/0", "ok 20/0 20/0"),
    "gp-for-ss": ("#SS(0)", "#GP(0)"),
    "amd-bit-8-not-reserved": ("#PF(P|RSVD) 0/0", "ok 20/0 20/0 20/0 20/0"),
}


@pytest.mark.parametrize("quirk", ABOUT_TRANSLATIONS, ids=str)
def test_a_quirk_changes_its_case(quirk: Quirk) -> None:
    assert quirk.case is not None
    strict, departed = predict_case(quirk.case), predict_case(quirk.case, frozenset([quirk]))
    assert (verdict(strict), verdict(departed)) == SHOWN[quirk.name]
