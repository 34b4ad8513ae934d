"""`rlx.matmul` in bf16 with few rows: the weight is streamed once, with dot products of pairs.

A weight in pairs is read some panels at a time; each vector of it is multiplied with a pair of
every row. For a weight that lies as it is there is the kernel for f32.
"""

from functools import partial
from typing import Any

from rlx.dialects.types import is_static
from rlx.host import arith, ir, memref, vector
from rlx.schedules.cpu import bf16, code, few_rows
from rlx.schedules.cpu.bf16 import LANES, PAIRS
from rlx.schedules.cpu.bf16_pack import panels_type
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.dots import Tile, nanoseconds, prefetch
from rlx.schedules.cpu.isa import ISAS, Isa
from rlx.schedules.cpu.layout import PANEL

__all__ = ["kernel", "most", "panels_kernel"]


# Tiles of AMX are better from a few rows on.
_PANELS = {
    "amx": (Tile(1, 4), Tile(2, 4), Tile(4, 4)),
    "avx512_bf16": (Tile(1, 4), Tile(2, 4), Tile(4, 4), Tile(8, 3), Tile(12, 2)),
}

_AHEAD = 32  # pairs of a panel, of a cache line each, that are fetched before they are used
_UNROLL = 4  # pairs per iteration


def most(isa: Isa) -> int:
    """Up to this many rows are few for a weight in pairs."""
    return _PANELS[isa.name][-1].rows


# -- a weight in pairs -----------------------------------------------------------------------------


def panels_kernel(kernels: Kernels, isa: Isa, count: int) -> Kernel:
    """input [M, K], weight in pairs, f32 result [M, N], which is overwritten.

    Args:
        kernels: where the kernel goes.
        isa: what it is made of; M is at most :func:`most` of it.
        count: M if that is known.
    """
    tiles: tuple[Tile, ...] = _PANELS[isa.name]
    if is_static(count):
        tiles = tuple(tile for tile in tiles if tile.rows >= count)[:1]
    i32 = ir.IntegerType.get_signless(32)
    pairs = ir.MemRefType.get([code.DYNAMIC], i32)
    result = code.matrix(code.f32())
    name = f"rlx_matmul_{isa.name}_few"
    runs = {
        tile: kernels.parallel(
            f"{name}_{tile.rows}", [pairs, panels_type(), result], partial(_panels, tile)
        )
        for tile in tiles
    }

    def body(a: ir.Value, panels: ir.Value, c: ir.Value) -> None:
        rows, inner, columns = code.dim(a, 0), code.dim(a, 1), code.dim(c, 1)

        def run(tile: Tile) -> None:
            groups = code.ceil_div(code.dim(panels, 0), tile.columns)
            parts = kernels.parts(groups, nanoseconds(rows, columns, inner))
            runs[tile](parts, groups, _steps(a, tile.rows), panels, c)

        code.up_to(rows, [tile.rows for tile in tiles[:-1]], lambda n: run(tiles[n]))

    if is_static(count):
        name += f"_up_to_{tiles[0].rows}"
    return kernels.define(name, [code.matrix(bf16.bf16()), panels_type(), result], body)


def _steps(a: ir.Value, height: int) -> ir.Value:
    """Pairs of the input: those of all rows for a step lie together. The last row is repeated."""
    inner, last = code.dim(a, 1), code.subtract(code.dim(a, 0), 1)
    i32 = ir.IntegerType.get_signless(32)
    # Every step is written with a whole vector.
    size = code.add(code.multiply(code.round_up(code.ceil_div(inner, 2), PAIRS), height), PAIRS)
    steps = code.alloc([size], i32)
    rows = [code.minimum(i, last) for i in range(height)]

    def some(k: ir.Value, inside: Index | None) -> None:
        loaded = [vector.bitcast(bf16.integers(), bf16.load(a, [row, k], inside)) for row in rows]
        at = code.multiply(arith.divui(k, code.index(2)), height)
        if height == 1:
            vector.store(loaded[0], steps, [at])
            return
        square = loaded + [loaded[0]] * (PAIRS - height)
        for i, step in enumerate(code.transpose(square)):
            vector.store(step, steps, [code.index(code.add(at, i * height))])

    code.vectors(inner, LANES, some)
    return steps


def _panels(
    tile: Tile,
    _: ir.Value,
    low: ir.Value,
    high: ir.Value,
    steps: ir.Value,
    panels: ir.Value,
    c: ir.Value,
) -> None:
    """Some groups of panels times all rows."""
    rows, depth = code.dim(c, 0), code.dim(panels, 1)
    last_panel = code.subtract(code.dim(panels, 0), 1)
    # Enough sums for the latency of a dot product.
    chains = max(1, 8 // (tile.rows * tile.columns))
    cells = [
        (u, i, j) for u in range(chains) for i in range(tile.rows) for j in range(tile.columns)
    ]

    def group(number: ir.Value) -> None:
        start = code.multiply(number, tile.columns)
        # Panels past the end repeat the last one.
        here = [code.minimum(code.add(start, j), last_panel) for j in range(tile.columns)]

        def several(count: int, fetch: bool) -> Any:
            def body(pair: ir.Value, *carried: ir.Value) -> list[ir.Value]:
                sums = dict(zip(cells, carried, strict=True))
                for u in range(count):
                    at = code.add(pair, u)
                    if fetch:
                        for panel in here:
                            prefetch(panels, [panel, code.add(at, _AHEAD), 0], 3)
                    weights = [bf16.load(panels, [panel, at, 0]) for panel in here]
                    for i in range(tile.rows):
                        place = code.add(code.multiply(at, tile.rows), i)
                        x = _broadcast(memref.load(steps, [code.index(place)]))
                        for j, weight in enumerate(weights):
                            cell = u % chains, i, j
                            sums[cell] = bf16.dot(sums[cell], weight, x)
                return list(sums.values())

            return body

        whole = arith.subi(depth, arith.remui(depth, code.index(_UNROLL)))
        carried = [code.splat(0.0, PANEL)] * len(cells)
        carried = code.loop(0, whole, _UNROLL, several(_UNROLL, True), carried)
        carried = code.loop(whole, depth, 1, several(1, False), carried)
        sums = dict(zip(cells, carried, strict=True))

        def row(i: int) -> None:
            for j, panel in enumerate(here):
                total = sums[0, i, j]
                for u in range(1, chains):
                    total = arith.addf(total, sums[u, i, j])
                column = code.multiply(panel, PANEL)
                left = code.subtract(code.dim(c, 1), column)
                code.store(total, c, [i, column], left)

        for i in range(tile.rows):
            code.if_(code.less(i, rows), partial(row, i))

    code.loop(low, high, 1, group)


def _broadcast(pair: ir.Value) -> ir.Value:
    return vector.bitcast(bf16.pairs(), code.broadcast(pair, PAIRS))


# -- a weight as it lies ---------------------------------------------------------------------------


def kernel(kernels: Kernels, transposed: bool) -> Kernel:
    """input [M, K], weight [N, K] or [K, N], f32 result [M, N], which is overwritten."""
    matrix = code.matrix(bf16.bf16())
    name = f"rlx_matmul_{'nk' if transposed else 'kn'}_bf16"
    types = [matrix, matrix, code.matrix(code.f32())]
    return few_rows.kernel(kernels, name, types, transposed, ISAS["avx512"])
