"""`lab pool`: what the pools hold."""

from __future__ import annotations

from typing import Annotated

from lab.kernel.pool import Allocation, Pool, PoolBlock, PoolPage, TagUsage, read_pool
from lab.snapshot import Snapshot
from lab.views.cells import address_cell, line
from lab.views.registry import view
from lab.views.report import Cell, Column, Json, Line, Lines, Report, Role, Table

__all__ = ["show_pool"]

PICTURE = 32
"""Characters in the picture of a page: 128 bytes each."""


@view("pool", schema="lab.pool/1", example="lab pool --tag Mdl")
def show_pool(
    snapshot: Snapshot,
    *,
    tag: Annotated[str | None, "only what has this tag, each block on a line"] = None,
    blocks: Annotated[bool, "every block of every page, the free ones too"] = False,
) -> Report:
    """The pools: tags, pages of blocks, allocations of whole pages.

    For each tag what it holds now, and how often it was allocated and freed. In the picture of a page # is in use and
    . is free; a character is 128 bytes. With `--tag` exit code 1 when no block in use has the tag.
    """
    pool = read_pool(snapshot.guest)
    data: dict[str, Json] = {
        "tags": [_tag_data(each) for each in pool.tags],
        "pages": [_page_data(each) for each in pool.pages],
        "big": [_allocation_data(each) for each in pool.big],
    }
    if tag is None:
        shown = [each for each in (_tags(pool), _blocks(pool) if blocks else _pages(pool), _big(pool)) if each.rows]
        nothing = Lines((line(Cell("nothing has been allocated yet", Role.MUTED)),))
        return Report("lab.pool/1", data, tuple(shown) or (nothing,), problems=pool.problems)
    held = [each for each in pool.allocations if each.tag.rstrip() == tag.rstrip()]
    data = {"tag": tag, "allocations": [_allocation_data(each) for each in held]}
    return Report("lab.pool/1", data, (_allocations(held, tag),), answer=bool(held), problems=pool.problems)


def _tag_data(usage: TagUsage) -> dict[str, Json]:
    return {
        "tag": usage.tag,
        "pool": usage.kind,
        "held": usage.held,
        "allocations": usage.allocations,
        "frees": usage.frees,
        "bytes": usage.bytes,
    }


def _page_data(page: PoolPage) -> dict[str, Json]:
    return {"address": hex(page.address), "pool": page.kind, "blocks": [_block_data(each) for each in page.blocks]}


def _block_data(block: PoolBlock) -> dict[str, Json]:
    return {
        "header": hex(block.header),
        "address": hex(block.address),
        "size": block.size,
        "tag": block.tag,
        "in_use": block.in_use,
        "fill": block.fill,
    }


def _allocation_data(each: Allocation) -> dict[str, Json]:
    return {"address": hex(each.address), "size": each.size, "tag": each.tag, "pool": each.kind, "big": each.big}


def _tags(pool: Pool) -> Table:
    columns = (
        Column("tag"),
        Column("pool"),
        *(Column(each, right=True) for each in ("held", "bytes", "made", "freed")),
    )
    rows = tuple(
        (
            Cell(each.tag, Role.SYMBOL),
            Cell(each.kind),
            Cell(str(each.held), Role.NUMBER if each.held else Role.MUTED),
            Cell(str(each.bytes), Role.NUMBER if each.bytes else Role.MUTED),
            Cell(str(each.allocations), Role.MUTED),
            Cell(str(each.frees), Role.MUTED),
        )
        for each in sorted(pool.tags, key=lambda each: (-each.bytes, each.tag, each.kind))
    )
    return Table(columns, rows, title="tags")


def _pages(pool: Pool) -> Table:
    columns = (
        Column("page"),
        Column("pool"),
        Column("used", right=True),
        Column("free", right=True),
        Column("picture"),
    )
    rows = tuple(
        (
            address_cell(page.address),
            Cell(page.kind),
            Cell(str(sum(block.in_use for block in page.blocks)), Role.NUMBER),
            Cell(str(sum(not block.in_use for block in page.blocks)), Role.NUMBER),
            Cell(_picture(page)),
        )
        for page in pool.pages
    )
    return Table(columns, rows, title="pages of blocks")


def _picture(page: PoolPage) -> str:
    """The page at a glance: a piece of it is in use when any byte of it is."""
    step = 4096 // PICTURE
    used = [False] * PICTURE
    for block in page.blocks:
        if block.in_use:
            first = block.header.offset()
            for i in range(first // step, (first + block.size - 1) // step + 1):
                used[i] = True
    return "".join("#" if each else "." for each in used)


def _blocks(pool: Pool) -> Table:
    rows = tuple(_block_cells(page, block) for page in pool.pages for block in page.blocks)
    columns = (
        Column("data at"),
        Column("size", right=True),
        Column("state"),
        Column("tag"),
        Column("pool"),
        Column("bytes"),
    )
    return Table(columns, rows, title="blocks")


def _block_cells(page: PoolPage, block: PoolBlock) -> Line:
    state = Cell("in use", Role.GOOD) if block.in_use else Cell("free", Role.MUTED)
    size = Cell(str(block.size), Role.NUMBER)
    fill = Cell(f"all {block.fill}" if block.fill else "", Role.MUTED)
    return address_cell(block.address), size, state, Cell(block.tag, Role.SYMBOL), Cell(page.kind), fill


def _big(pool: Pool) -> Table:
    return _allocation_table(list(pool.big), "whole pages", "")


def _allocations(held: list[Allocation], tag: str) -> Table:
    return _allocation_table(held, "", f"no block in use has the tag {tag!r}")


def _allocation_table(held: list[Allocation], title: str, empty: str) -> Table:
    columns = (Column("address"), Column("size", right=True), Column("tag"), Column("pool"), Column(""))
    rows = tuple(
        (
            address_cell(each.address),
            Cell(str(each.size), Role.NUMBER),
            Cell(each.tag, Role.SYMBOL),
            Cell(each.kind),
            Cell("whole pages" if each.big and not title else "", Role.MUTED),
        )
        for each in held
    )
    return Table(columns, rows, title=title, empty=empty)
