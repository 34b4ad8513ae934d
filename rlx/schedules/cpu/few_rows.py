"""`rlx.matmul` with few rows: the weight is streamed once, as it lies in memory.

Packing it, or packing the rows for a block of a large product, would cost more than it saves:
reading the weight is most of the work.
"""

from dataclasses import dataclass
from functools import partial

from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.dots import Tile, dots, nanoseconds, prefetch
from rlx.schedules.cpu.isa import Isa
from rlx.schedules.cpu.layout import PANEL
from rlx.schedules.cpu.micro import panels_type

__all__ = ["MOST", "Parameters", "as_f32", "kernel", "most_panels", "panels_kernel"]


@dataclass(frozen=True)
class Parameters:
    """Sizes of blocks.

    Attributes:
        dots: tiles of products with a weight [N, K], fewest rows first.
        panels: with a weight in panels; the last has as many rows as are few.
        sums: with a weight [K, N], whose rows are added up: for one row of the input and for
            several; columns of a tile are such rows.
    """

    dots: tuple[Tile, ...]
    panels: tuple[Tile, ...]
    sums: tuple[Tile, ...]


_PARAMETERS = {
    "avx512": Parameters(
        dots=(Tile(1, 4), Tile(3, 4), Tile(6, 4)),
        panels=(Tile(1, 4), Tile(4, 4), Tile(8, 3), Tile(16, 1)),
        sums=(Tile(1, 8), Tile(4, 4)),
    ),
    "avx2": Parameters(
        dots=(Tile(1, 4), Tile(2, 4), Tile(4, 2)),
        panels=(Tile(1, 2), Tile(2, 2), Tile(4, 1), Tile(6, 1)),
        sums=(Tile(1, 4), Tile(2, 2)),
    ),
}

MOST = 40
"""Up to this many rows are few for a weight that lies as it is, [N, K] or [K, N]."""

_UNIT = 64  # columns of a weight [K, N] that one thread works on at least
_COLUMNS = 4096  # elements of the result that rows of such a weight are added to at a time
_AHEAD = 2048  # bytes of a panel that are fetched before they are used


def most_panels(isa: Isa) -> int:
    """Up to this many rows are few for a weight in panels."""
    return _PARAMETERS[isa.name].panels[-1].rows


def kernel(kernels: Kernels, name: str, types: list[ir.Type], transposed: bool, isa: Isa) -> Kernel:
    """input [M, K], weight [N, K] or [K, N], f32 result [M, N], which is overwritten.

    ``types`` are those of the three buffers; ``name`` is the start of the kernels' names.
    """
    p = _PARAMETERS[isa.name]
    wide = [code.matrix(code.f32()), *types[1:]]
    if transposed:
        run = dots(kernels, name, wide, isa, p.dots)
    else:
        run = _sums(kernels, name, wide, isa, p)

    def body(a: ir.Value, b: ir.Value, c: ir.Value) -> None:
        run(as_f32(a, isa), b, c)

    return kernels.define(f"{name}_few", types, body)


def as_f32(a: ir.Value, isa: Isa) -> ir.Value:
    """A matrix of f32; ``a`` itself if it is one."""
    if a.type.element_type == code.f32():
        return a
    rows, inner = code.dim(a, 0), code.dim(a, 1)
    wide = code.alloc([rows, inner], code.f32())

    def row(i: ir.Value) -> None:
        def copy(k: ir.Value, inside: Index | None) -> None:
            code.store(code.load(a, [i, k], isa.lanes, inside), wide, [i, k], inside)

        code.vectors(inner, isa.lanes, copy)

    code.loop(0, rows, 1, row)
    return wide


# -- a weight in panels ----------------------------------------------------------------------------


def panels_kernel(kernels: Kernels, input: ir.Type, weight: ir.Type, isa: Isa) -> Kernel:
    """input [M, K], weight in panels, f32 result [M, N], which is overwritten.

    Args:
        kernels: where the kernel goes.
        input, weight: their element types.
        isa: what the kernel is made of; M is at most `most_panels` of it.
    """
    tiles = _PARAMETERS[isa.name].panels
    name = f"rlx_matmul_{input}_{weight}_{isa.name}_few"
    f32 = code.f32()
    runs = {}
    for tile in tiles:
        steps = ir.MemRefType.get([code.DYNAMIC, tile.rows], f32)
        runs[tile.rows] = kernels.parallel(
            f"{name}_{tile.rows}",
            [steps, panels_type(weight), code.matrix(f32)],
            partial(_panels, isa, tile),
        )

    def body(a: ir.Value, panels: ir.Value, c: ir.Value) -> None:
        rows, inner, columns = code.dim(a, 0), code.dim(a, 1), code.dim(c, 1)

        def run(tile: Tile) -> None:
            groups = code.ceil_div(code.dim(panels, 0), tile.columns)
            parts = kernels.parts(groups, nanoseconds(rows, columns, inner))
            runs[tile.rows](parts, groups, _steps(a, tile.rows), panels, c)

        code.up_to(rows, [tile.rows for tile in tiles[:-1]], lambda n: run(tiles[n]))

    types = [code.matrix(input), panels_type(weight), code.matrix(f32)]
    return kernels.define(name, types, body)


def _steps(a: ir.Value, height: int) -> ir.Value:
    """The input [K, height]: what a step of the inner dimension needs lies together.

    The last row stands in for what is missing.
    """
    inner, last = code.dim(a, 1), code.subtract(code.dim(a, 0), 1)
    steps = code.alloc([inner, height], code.f32())
    rows = [code.minimum(i, last) for i in range(height)]

    def step(k: ir.Value) -> None:
        for i, row in enumerate(rows):
            code.store_scalar(code.load_scalar(a, [row, k]), steps, [k, i])

    code.loop(0, inner, 1, step)
    return steps


def _panels(
    isa: Isa,
    tile: Tile,
    _: ir.Value,
    low: ir.Value,
    high: ir.Value,
    steps: ir.Value,
    panels: ir.Value,
    c: ir.Value,
) -> None:
    """Some groups of panels times all rows."""
    vectors = range(0, PANEL, isa.lanes)
    rows, inner = code.dim(c, 0), code.dim(steps, 0)
    last_panel = code.subtract(code.dim(panels, 0), 1)
    width = ir.ShapedType(panels.type).element_type.width // 8
    ahead = _AHEAD // (PANEL * width)
    every = max(64 // (PANEL * width), 1)  # steps that a line of the cache holds
    unroll = 4 if tile.rows == 1 else 2  # steps of the inner dimension per iteration
    # Enough sums for the latency of a fused multiply-add.
    chains = max(1, 8 // (tile.rows * tile.columns * len(vectors)))
    cells = [
        (u, i, j, v)
        for u in range(chains)
        for i in range(tile.rows)
        for j in range(tile.columns)
        for v in vectors
    ]

    def group(number: ir.Value) -> None:
        start = code.multiply(number, tile.columns)
        # Panels past the end repeat the last one.
        here = [code.minimum(code.add(start, j), last_panel) for j in range(tile.columns)]

        def several(count: int, fetch: bool):
            def body(k: ir.Value, *carried: ir.Value) -> list[ir.Value]:
                sums = dict(zip(cells, carried, strict=True))
                for u in range(count):
                    at = code.add(k, u)
                    if fetch and u % every == 0:
                        for panel in here:
                            for v in range(0, PANEL, 64 // width):
                                prefetch(panels, [panel, code.add(at, ahead), v], 3)
                    weights = {
                        (j, v): code.load(panels, [panel, at, v], isa.lanes)
                        for j, panel in enumerate(here)
                        for v in vectors
                    }
                    for i in range(tile.rows):
                        x = code.broadcast(code.load_scalar(steps, [at, i]), isa.lanes)
                        for (j, v), weight in weights.items():
                            cell = u % chains, i, j, v
                            sums[cell] = code.fma(x, weight, sums[cell])
                return list(sums.values())

            return body

        whole = arith.subi(inner, arith.remui(inner, code.index(unroll)))
        carried = [code.splat(0.0, isa.lanes)] * len(cells)
        carried = code.loop(0, whole, unroll, several(unroll, True), carried)
        carried = code.loop(whole, inner, 1, several(1, False), carried)
        sums = dict(zip(cells, carried, strict=True))

        def row(i: int) -> None:
            for j, panel in enumerate(here):
                for v in vectors:
                    total = sums[0, i, j, v]
                    for u in range(1, chains):
                        total = arith.addf(total, sums[u, i, j, v])
                    column = code.add(code.multiply(panel, PANEL), v)
                    left = code.subtract(code.dim(c, 1), column)
                    code.store(total, c, [i, column], left)

        for i in range(tile.rows):
            code.if_(code.less(i, rows), partial(row, i))

    code.loop(low, high, 1, group)


# -- a weight [K, N] -------------------------------------------------------------------------------


def _sums(kernels: Kernels, name: str, types: list[ir.Type], isa: Isa, p: Parameters) -> Kernel:
    """Rows of the weight are added up, several at a time, for a block of columns."""
    single, several = p.sums
    runs = {
        tile: kernels.parallel(
            f"{name}_sums_{tile.rows}",
            types,
            partial(_some_columns, isa, tile),
        )
        for tile in p.sums
    }

    def body(a: ir.Value, b: ir.Value, c: ir.Value) -> None:
        rows, inner, columns = code.dim(a, 0), code.dim(a, 1), code.dim(c, 1)
        units = code.ceil_div(columns, _UNIT)
        parts = kernels.parts(units, nanoseconds(rows, columns, inner))
        code.if_(
            code.less(rows, several.rows),
            lambda: runs[single](parts, units, a, b, c),
            lambda: runs[several](parts, units, a, b, c),
        )

    return kernels.define(f"{name}_sums", types, body)


def _some_columns(
    isa: Isa,
    tile: Tile,
    _: ir.Value,
    low: ir.Value,
    high: ir.Value,
    a: ir.Value,
    b: ir.Value,
    c: ir.Value,
) -> None:
    """Columns from ``low`` to before ``high``, in units of `_UNIT`."""
    rows, inner, lanes, depth = code.dim(a, 0), code.dim(a, 1), isa.lanes, tile.columns
    end = code.minimum(code.multiply(high, _UNIT), code.dim(c, 1))
    last = code.subtract(inner, 1)
    whole_rows = arith.subi(rows, arith.remui(rows, code.index(tile.rows)))
    whole = arith.subi(inner, arith.remui(inner, code.index(depth)))
    # The sums of a block of columns stay in the L1 cache.
    most = arith.divui(code.index(_COLUMNS), code.maximum(rows, 1))
    step = code.round_up(code.maximum(most, _COLUMNS // 8), _UNIT)

    def block(j: ir.Value) -> None:
        width = code.minimum(code.subtract(end, j), step)

        def clear(i: ir.Value) -> None:
            def vector(n: ir.Value, inside: Index | None) -> None:
                code.store(code.splat(0.0, lanes), c, [i, code.add(j, n)], inside)

            code.vectors(width, lanes, vector)

        def add(k: ir.Value, depth: int) -> None:
            code.loop(0, whole_rows, tile.rows, lambda m: add_to(m, tile.rows, k, depth))
            if tile.rows > 1:
                code.loop(whole_rows, rows, 1, lambda m: add_to(m, 1, k, depth))

        def add_to(m: ir.Value, height: int, k: ir.Value, depth: int) -> None:
            steps = [code.add(k, u) for u in range(depth)]
            ahead = [code.minimum(code.add(step, depth), last) for step in steps]
            into = [code.add(m, i) for i in range(height)]
            factors = [
                [code.broadcast(code.load_scalar(a, [i, step]), lanes) for step in steps]
                for i in into
            ]

            def vector(at: ir.Value, inside: Index | None) -> None:
                n = code.add(j, at)
                weights = [code.load(b, [step, n], lanes, inside) for step in steps]
                for step in ahead:
                    prefetch(b, [step, n], 3)
                for i, own in zip(into, factors, strict=True):
                    total = code.load(c, [i, n], lanes, inside)
                    for factor, weight in zip(own, weights, strict=True):
                        total = code.fma(factor, weight, total)
                    code.store(total, c, [i, n], inside)

            code.vectors(width, lanes, vector)

        code.loop(0, rows, 1, clear)
        code.loop(0, whole, depth, lambda k: add(k, depth))
        code.loop(whole, inner, 1, lambda k: add(k, 1))

    code.loop(code.multiply(low, _UNIT), end, step, block)
