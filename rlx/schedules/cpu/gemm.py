"""Products of many rows with a weight in panels, block by block.

The well-known scheme of Goto and of BLIS: a block of rows stays in the L2 cache, a few panels of
the weight pass through it, and a microkernel keeps a tile of sums in registers while it runs down
them. All of a block of the result is computed before the next one, so that what is done to it
afterwards finds it in the cache.
"""

from collections.abc import Callable
from dataclasses import dataclass

from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.dots import nanoseconds
from rlx.schedules.cpu.isa import Isa
from rlx.schedules.cpu.layout import PANEL
from rlx.schedules.cpu.micro import Tile, micro, panels_type

__all__ = ["Parameters", "kernel", "parameters"]


@dataclass(frozen=True)
class Parameters:
    """Sizes of blocks.

    Attributes:
        rows: heights of tiles, largest first and without gaps. Rows are split into tiles of nearly
            equal height; what is lower than the lowest tile is computed as if it were as high.
        panels: widths of tiles in panels, likewise.
        unroll: steps of the inner dimension per iteration.
        block_rows, block_panels, inner: a block of the result is at most block_rows x block_panels
            * PANEL, and computed from at most ``inner`` steps of the inner dimension at a time;
            that is a multiple of ``unroll``.
    """

    rows: tuple[int, ...]
    panels: tuple[int, ...]
    unroll: int = 4
    block_rows: int = 126
    block_panels: int = 32
    inner: int = 512


_PARAMETERS = {
    "avx512": Parameters(rows=(6, 5, 4), panels=(4, 3)),
    "avx2": Parameters(rows=(6, 5, 4), panels=(1,)),
}


def parameters(isa: Isa) -> Parameters:
    return _PARAMETERS[isa.name]


def kernel(kernels: Kernels, input: ir.Type, weight: ir.Type, isa: Isa) -> Kernel:
    """input [M, K], weight in panels, f32 result [M, N], which is overwritten.

    Args:
        kernels: where the kernel goes.
        input, weight: their element types.
        isa: what the kernel is made of.
    """
    p = parameters(isa)
    types = [code.matrix(input), panels_type(weight), code.matrix(code.f32())]
    name = f"rlx_matmul_{input}_{weight}_{isa.name}"
    run = _part_kernel(kernels, name, types, isa, p)

    def some_rows(_: ir.Value, low: ir.Value, high: ir.Value, a: ir.Value, *rest: ir.Value) -> None:
        panels, c = rest
        inner, columns, count = code.dim(a, 1), code.dim(c, 1), code.subtract(high, low)
        a, c = code.part(a, [low, 0], [count, inner]), code.part(c, [low, 0], [count, columns])
        run(a, panels, c, 0, code.ceil_div(columns, PANEL))

    def some_columns(_: ir.Value, low: ir.Value, high: ir.Value, *arguments: ir.Value) -> None:
        run(*arguments, low, high)

    by_rows = kernels.parallel(f"{name}_rows", types, some_rows)
    by_columns = kernels.parallel(f"{name}_columns", types, some_columns)

    def body(a: ir.Value, panels: ir.Value, c: ir.Value) -> None:
        rows, inner, columns = code.dim(a, 0), code.dim(a, 1), code.dim(c, 1)
        count = code.ceil_div(columns, PANEL)
        time = nanoseconds(rows, columns, inner)
        parts = kernels.parts(count, time)
        if isinstance(parts, int):
            run(a, panels, c, 0, count)
            return
        # A part of the rows needs all of the weight, a part of the columns all of the rows. Reading
        # the weight is hidden where there are rows enough.
        enough = code.less(code.multiply(parts, p.block_rows // 2), rows)
        code.if_(
            enough,
            lambda: by_rows(parts, rows, a, panels, c),
            lambda: by_columns(parts, count, a, panels, c),
        )

    return kernels.define(name, types, body)


def _part_kernel(
    kernels: Kernels, name: str, types: list[ir.MemRefType], isa: Isa, p: Parameters
) -> Kernel:
    """All rows times the panels from one to before another."""
    index = ir.IndexType.get()
    pack = _pack_rows_kernel(kernels, types[0].element_type, isa, p)
    block = _block_kernel(kernels, types[1].element_type, isa, p)

    def body(a: ir.Value, panels: ir.Value, c: ir.Value, first: ir.Value, end: ir.Value) -> None:
        rows, inner, columns = code.dim(a, 0), code.dim(a, 1), code.dim(c, 1)
        blocks, depth = _depth(inner, p)
        packed = code.alloc([blocks, p.block_rows, p.inner], code.f32())

        def row_block(i: ir.Value, height: ir.Value) -> None:
            pack(a, packed, i, height, depth)

            def column_block(at: ir.Value, count: ir.Value) -> None:
                panel = code.add(first, at)
                j = code.multiply(panel, PANEL)
                width = code.minimum(code.subtract(columns, j), code.multiply(count, PANEL))
                into = code.part(c, [i, j], [height, width])
                block(packed, panels, panel, count, depth, into)

            _split(code.subtract(end, first), p.block_panels)(column_block)

        _split(rows, p.block_rows)(row_block)

    return kernels.define(f"{name}_part", [*types, index, index], body)


def _depth(inner: Index, p: Parameters) -> tuple[Index, Index]:
    """How many blocks the inner dimension has, and how deep they are, but for the last.

    Without an inner dimension there is one empty block, which writes zeros.
    """
    blocks = code.maximum(code.ceil_div(inner, p.inner), 1)
    depth = arith.ceildivui(code.index(inner), code.index(blocks))
    return blocks, code.maximum(code.round_up(depth, p.unroll), p.unroll)


def _rows_type(p: Parameters) -> ir.MemRefType:
    """Rows of the input: [blocks of the inner dimension, block_rows, inner]."""
    return ir.MemRefType.get([code.DYNAMIC, p.block_rows, p.inner], code.f32())


def _pack_rows_kernel(kernels: Kernels, element: ir.Type, isa: Isa, p: Parameters) -> Kernel:
    """Copies ``height`` rows of an input [M, K] from ``row`` on to a buffer of `_rows_type`."""
    index = ir.IndexType.get()

    def body(
        source: ir.Value, rows: ir.Value, row: ir.Value, height: ir.Value, depth: ir.Value
    ) -> None:
        inner = code.dim(source, 1)
        last = code.subtract(code.add(row, height), 1)

        def one(i: ir.Value) -> None:
            # No tile is lower than the lowest: the last row stands in for what is missing.
            at = code.minimum(code.add(row, i), last)

            def part(number: ir.Value) -> None:
                k = code.multiply(number, depth)

                def copy(step: ir.Value, inside: Index | None) -> None:
                    value = code.load(source, [at, code.add(k, step)], isa.lanes, inside)
                    code.store(value, rows, [number, i, step])

                code.vectors(code.minimum(code.subtract(inner, k), depth), isa.lanes, copy)

            code.loop(0, arith.ceildivui(inner, depth), 1, part)

        least = p.rows[-1]
        missing = code.minimum(code.add(height, least - 1), 2 * least)
        code.loop(0, code.maximum(height, missing), 1, one)

    return kernels.define(
        f"rlx_matmul_{element}_{isa.name}_pack_rows",
        [code.matrix(element), _rows_type(p), index, index, index],
        body,
    )


def _block_kernel(kernels: Kernels, element: ir.Type, isa: Isa, p: Parameters) -> Kernel:
    """A block of the result: packed rows times some panels.

    The kernel takes the packed rows, panels [P, K, PANEL], the first of them, how many there are,
    the depth of blocks of the inner dimension, and the block of the result, which it overwrites;
    that has as many rows, and as many columns as are wanted.
    """
    index = ir.IndexType.get()
    f32 = code.f32()
    runs = {
        tile: micro(kernels, isa, tile, _rows_type(p), p.unroll)
        for tile in (Tile(r, n) for r in p.rows for n in p.panels)
    }

    def body(
        rows: ir.Value,
        panels: ir.Value,
        panel: ir.Value,
        count: ir.Value,
        depth: ir.Value,
        result: ir.Value,
    ) -> None:
        inner = code.dim(panels, 1)
        scratch = None
        if element != f32:
            scratch = code.alloca([p.panels[0], p.inner, PANEL], f32)
        tiles, groups = _split(code.dim(result, 0), p.rows[0]), _split(count, p.panels[0])

        def inner_block(number: ir.Value) -> None:
            k = code.multiply(number, depth)
            steps = code.minimum(code.subtract(inner, k), depth)
            first = code.less(number, 1)

            def group(at: ir.Value, width: ir.Value) -> None:
                source, start, step = panels, code.add(panel, at), k
                if scratch is not None:
                    _widen(isa, panels, scratch, start, width, k, steps)
                    source, start, step = scratch, 0, 0
                to = code.multiply(at, PANEL)
                following = _following(panel, at, width, count, k, depth)

                def tile(row: ir.Value, high: ir.Value) -> None:
                    ahead = _share(p, row, following)

                    def run(tile: Tile) -> None:
                        where = (rows, number, row, source, start, step, result, row, to)
                        runs[tile](*where, steps, first, *ahead)

                    _choose(
                        high,
                        p.rows,
                        lambda r: _choose(width, p.panels, lambda n: run(Tile(r, n))),
                    )

                tiles(tile)

            groups(group)

        code.loop(0, code.dim(rows, 0), 1, inner_block)

    return kernels.define(
        f"rlx_matmul_{element}_{isa.name}_block",
        [_rows_type(p), panels_type(element), index, index, index, code.matrix(f32)],
        body,
    )


def _following(
    panel: ir.Value, at: ir.Value, width: ir.Value, count: ir.Value, k: ir.Value, depth: ir.Value
) -> tuple[Index, Index]:
    """The panel and the step at which the next group of panels starts."""
    is_last, zero = code.at_most(count, code.add(at, width)), code.index(0)
    next_panel = code.add(panel, arith.select(is_last, zero, code.add(at, width)))
    return next_panel, code.add(k, arith.select(is_last, depth, zero))


def _share(p: Parameters, row: ir.Value, following: tuple[Index, Index]) -> tuple[Index, Index]:
    """Which part of the next group of panels a tile fetches: some steps of one of them."""
    turn, most = arith.divui(row, code.index(p.rows[0])), code.index(p.panels[0])
    far = code.multiply(arith.divui(turn, most), p.inner // p.unroll)
    return code.add(following[0], arith.remui(turn, most)), code.add(following[1], far)


def _split(count: ir.Value, most: int) -> Callable[[Callable[[ir.Value, ir.Value], None]], None]:
    """A loop over parts of ``count``, of nearly equal sizes of at most ``most``.

    What it calls takes the start of a part and its size.
    """
    parts = code.ceil_div(count, most)
    least = code.maximum(parts, 1)
    size, larger = arith.divui(count, least), arith.remui(count, least)

    def run(body: Callable[[ir.Value, ir.Value], None]) -> None:
        def one(n: ir.Value) -> None:
            start = code.add(code.multiply(n, size), code.minimum(n, larger))
            more = arith.index_castui(ir.IndexType.get(), code.less(n, larger))
            body(start, code.add(size, more))

        code.loop(0, parts, 1, one)

    return run


def _choose(value: ir.Value, choices: tuple[int, ...], body: Callable[[int], None]) -> None:
    """``body`` of the smallest of ``choices``, largest first, that is not below ``value``."""
    if len(choices) == 1:
        body(choices[0])
        return
    code.if_(
        code.at_most(choices[0], value),
        lambda: body(choices[0]),
        lambda: _choose(value, choices[1:], body),
    )


def _widen(
    isa: Isa,
    panels: ir.Value,
    scratch: ir.Value,
    panel: Index,
    width: Index,
    k: ir.Value,
    steps: ir.Value,
) -> None:
    """Some steps of some panels as f32."""

    def one(n: ir.Value) -> None:
        def step(i: ir.Value) -> None:
            for v in range(0, PANEL, isa.lanes):
                value = code.load(panels, [code.add(panel, n), code.add(k, i), v], isa.lanes)
                code.store(value, scratch, [n, i, v])

        code.loop(0, steps, 1, step)

    code.loop(0, width, 1, one)
