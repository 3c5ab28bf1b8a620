"""The parts of a scene that our kernel's books are drawn from, on stored states of it."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from xml.etree import ElementTree as ET

from lab.demo.layout import PoolPage, frame_map, pool_pages, space_regions
from lab.demo.mdls import mdl_pictures
from lab.demo.pictures import frames_svg, mdl_svg, pool_svg, space_svg
from lab.demo.words import NAMES, name_in
from lab.kernel.frames import USE_NAMES, read_frames
from lab.kernel.mdl import read_mdls
from lab.snapshot import Snapshot
from lab.x86 import VirtualAddress

State = Callable[[str], Snapshot]


def test_every_frame_is_in_one_run(state: State) -> None:
    snapshot = state("mapped")
    frames, counted = frame_map(snapshot), read_frames(snapshot.guest)
    assert frames is not None
    assert frames.count == counted.count
    for one, other in itertools.pairwise(frames.runs):
        assert one.first + one.count <= other.first
    uses: dict[str, int] = {}
    for run in frames.runs:
        if run.use:
            uses[run.use] = uses.get(run.use, 0) + run.count
    assert uses == counted.uses


def test_a_pool_page_is_full_of_its_pieces(state: State) -> None:
    pages = pool_pages(state("mapped"))
    cut = [page for page in pages if len(page.pieces) > 1]
    assert cut
    for page in cut:
        assert sum(piece.size for piece in page.pieces) == page.size == 4096
    assert [page.address for page in pages] == sorted(page.address for page in pages)


def test_an_mdl_feeds_the_entries_that_name_its_frames(state: State) -> None:
    snapshot = state("mapped")
    first, *others = mdl_pictures(snapshot)
    (page,) = first.pages
    assert page.buffer
    assert page.mapping
    assert page.frame == page.buffer.frame == page.mapping.frame
    assert page.buffer.entry_address != page.mapping.entry_address
    assert len(others) == len(read_mdls(snapshot.guest).mdls) - 1


def test_regions_have_our_kernels_names(state: State) -> None:
    names = [each.name for each in space_regions(state("mapped"))]
    assert {"user half", "self map", "kernel image", "system PTEs", "nonpaged pool", "PFN database"} <= set(names)
    assert len(names) == len(set(names))


def test_whatever_frames_serve_has_a_name_in_every_language(state: State) -> None:
    uses = state("mapped").guest.kernel.enum("frame_use").values
    for use in uses.keys() - {"FRAME_UNUSED"}:
        word = use.removeprefix("FRAME_").lower().replace("_", " ")
        name = USE_NAMES.get(word, word)
        assert name_in(name, "tr") != name


def test_pictures_speak_one_language(state: State) -> None:
    snapshot = state("mapped")
    frames = frame_map(snapshot)
    assert frames
    big = PoolPage(VirtualAddress(0), "NonPagedPoolNx", 3 * 4096, ())
    drawn = [space_svg(space_regions(snapshot), (), "tr"), pool_svg([*pool_pages(snapshot), big], "tr")]
    drawn += [mdl_svg(mdl_pictures(snapshot), "tr"), frames_svg(frames, (), "tr")]
    english = [text for text in NAMES if text.in_language("tr") != text]
    for picture in drawn:
        for said in ET.fromstring(picture).itertext():
            assert [text for text in english if re.search(rf"\b{text}\b", said)] == []
            assert not re.search(r"\b(pages|none)\b", said)


def test_no_state_is_too_odd_to_be_drawn(state_name: str, state: State) -> None:
    snapshot = state(state_name)
    frames = frame_map(snapshot)
    drawn = [space_svg(space_regions(snapshot), (), "en"), pool_svg(pool_pages(snapshot), "tr")]
    drawn += [mdl_svg(mdl_pictures(snapshot), "en"), frames_svg(frames, (), "tr") if frames else ""]
    for picture in filter(None, drawn):
        numbers = [each.get(name) for each in ET.fromstring(picture).iter() for name in ("x", "y", "width", "height")]
        assert all(math.isfinite(float(number)) and float(number) >= 0 for number in numbers if number)
