"""The innermost part of a product: a tile of sums that stays in registers."""

from dataclasses import dataclass

from rlx.host import arith, ir, memref
from rlx.schedules.cpu import code
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.isa import Isa
from rlx.schedules.cpu.layout import PANEL

__all__ = ["PACE", "Tile", "micro", "panels_type"]

PACE = 256
"""One step that is fetched per step that is computed."""


def panels_type(element: ir.Type) -> ir.MemRefType:
    """Panels [count, K, PANEL] of any sizes, whose rows lie next to each other."""
    layout = ir.Attribute.parse(f"strided<[?, {PANEL}, 1], offset: ?>")
    return ir.MemRefType.get([code.DYNAMIC, code.DYNAMIC, PANEL], element, layout)


@dataclass(frozen=True)
class Tile:
    """How much a microkernel computes: rows, and panels of columns."""

    rows: int
    panels: int


def micro(
    kernels: Kernels,
    isa: Isa,
    tile: Tile,
    block: ir.MemRefType,
    weight: ir.Type,
    unroll: int,
    ahead: int,
) -> Kernel:
    """Rows of the input times panels of the weight, added to a tile of the result.

    The kernel takes the input's rows [blocks, rows, depth], of type ``block``, the block and the
    row where it starts; panels [P, K, PANEL] of f32, the panel and the step where it starts; the
    result and where in it; the number of steps; whether the result is overwritten instead of added
    to; and what is needed later and is fetched now: panels of elements of type ``weight``, a panel
    and a step to start from, and how fast, of `PACE`. Panels past the last one stand for that, and
    the parts of the tile that are outside of the result are not stored. If ``ahead`` is not 0, the
    panels are fetched into L1 so many steps before they are needed.
    """
    index = ir.IndexType.get()
    _, height, depth = block.shape
    name = f"rlx_matmul_{weight}_{isa.name}_{tile.rows}x{tile.panels}_of_{height}x{depth}"
    types = [block, index, index, panels_type(code.f32()), index, index, code.matrix(code.f32())]
    return kernels.define(
        name,
        [
            *types,
            *[index] * 3,
            ir.IntegerType.get_signless(1),
            panels_type(weight),
            *[index] * 3,
        ],
        lambda *arguments: _micro(isa, tile, unroll, ahead, *arguments),
    )


def _micro(
    isa: Isa,
    tile: Tile,
    unroll: int,
    ahead: int,
    block: ir.Value,
    number: ir.Value,
    row: ir.Value,
    panels: ir.Value,
    panel: ir.Value,
    k: ir.Value,
    result: ir.Value,
    to_row: ir.Value,
    to_column: ir.Value,
    steps: ir.Value,
    first: ir.Value,
    later: ir.Value,
    next_panel: ir.Value,
    next_k: ir.Value,
    pace: ir.Value,
) -> None:
    vectors = PANEL // isa.lanes
    cells = [(i, v) for i in range(tile.rows) for v in range(tile.panels * vectors)]
    last_panel = code.subtract(code.dim(panels, 0), 1)
    last_row = code.subtract(code.dim(result, 0), 1)
    sources = [code.minimum(code.add(panel, v), last_panel) for v in range(tile.panels)]
    rows = [code.add(row, i) for i in range(tile.rows)]
    to_rows = [code.minimum(code.add(to_row, i), last_row) for i in range(tile.rows)]
    to_columns = [code.add(to_column, v * isa.lanes) for v in range(tile.panels * vectors)]
    left = [code.subtract(code.dim(result, 1), column) for column in to_columns]

    def step(here: Index, sums: dict) -> None:
        for source in sources if ahead else ():
            line = code.add(k, code.add(here, ahead))
            memref.prefetch(panels, [source, line, code.index(0)], False, 3, True)
        weights = [
            code.load(panels, [source, code.add(k, here), v * isa.lanes], isa.lanes)
            for source in sources
            for v in range(vectors)
        ]
        for i in range(tile.rows):
            x = code.broadcast(code.load_scalar(block, [number, rows[i], here]), isa.lanes)
            for v, weight in enumerate(weights):
                sums[i, v] = code.fma(x, weight, sums[i, v])

    def body(count: int):
        def steps_from(at: ir.Value, *carried: ir.Value) -> list[ir.Value]:
            sums = dict(zip(cells, carried, strict=True))
            if count > 1:
                fetched = arith.divui(code.multiply(at, pace), code.index(PACE))
                line = code.add(next_k, fetched)
                memref.prefetch(later, [next_panel, line, code.index(0)], False, 2, True)
            for u in range(count):
                step(code.add(at, u), sums)
            return list(sums.values())

        return steps_from

    # Fetched now, so that it is at hand when the sums are complete.
    for i in range(tile.rows):
        for v in range(tile.panels):
            memref.prefetch(result, [to_rows[i], to_columns[v * vectors]], True, 3, True)
    sums = [code.splat(0.0, isa.lanes) for _ in cells]
    whole = arith.subi(steps, arith.remui(steps, code.index(unroll)))
    sums = code.loop(0, whole, unroll, body(unroll), sums)
    sums = code.loop(whole, steps, 1, body(1), sums)

    places = [[to_rows[i], to_columns[v]] for i, v in cells]

    # Nothing is loaded where the result is overwritten. All is read before any is written, since
    # rows may stand in for others.
    there = [arith.select(first, code.index(0), code.index(count)) for count in left]
    values = [
        arith.addf(value, code.load(result, at, isa.lanes, there[v]))
        for (_, v), at, value in zip(cells, places, sums, strict=True)
    ]
    for (_, v), at, value in zip(cells, places, values, strict=True):
        code.store(value, result, at, left[v])
