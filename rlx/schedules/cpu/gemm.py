"""Products of many rows with a weight in panels, block by block.

The well-known scheme of Goto and of BLIS: a block of rows stays in the L2 cache, a few panels of
the weight pass through it, and a microkernel keeps a tile of sums in registers while it runs down
them. All of a block of the result is computed before the next one, so that what is done to it
afterwards finds it in the cache.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from rlx.dialects.types import is_static
from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.dots import nanoseconds
from rlx.schedules.cpu.epilogue import Epilogue, finish_kernel
from rlx.schedules.cpu.isa import Isa
from rlx.schedules.cpu.layout import PANEL
from rlx.schedules.cpu.micro import PACE, Tile, micro, panels_type

__all__ = ["MANY_ROWS", "Parameters", "kernel", "parameters"]


@dataclass(frozen=True)
class Parameters:
    """Sizes of blocks.

    Attributes:
        rows: heights of tiles, largest first. All tiles are as high as possible but for the last
            one, which is the lowest that holds the rows that are left.
        panels: widths of tiles in panels, likewise.
        unroll: steps of the inner dimension per iteration.
        block_rows, block_panels, inner: a block of the result is at most block_rows x block_panels
            * PANEL, and computed from at most ``inner`` steps of the inner dimension at a time.
            They are multiples of the largest tile and of ``unroll``.
        ahead: steps of its panels that a tile fetches into L1 before it needs them, if any.
        rows_of_thread: threads share out rows where each has more than that, else columns.
    """

    rows: tuple[int, ...]
    panels: tuple[int, ...]
    unroll: int = 2
    block_rows: int = 168
    block_panels: int = 32
    inner: int = 1040
    ahead: int = 0
    rows_of_thread: int = 63

    @property
    def tiles(self) -> str:
        """The heights and widths of tiles, as a part of a name."""
        return "_".join(map(str, self.rows)) + "x" + "_".join(map(str, self.panels))


MANY_ROWS = 384  # from here on, higher tiles leave over little

_PARAMETERS = {
    "avx512": Parameters(rows=(6, 4, 2), panels=(4, 2)),
    # A step is half as long, and so are the caches of most machines with no more than that.
    "avx2": Parameters(rows=(6, 4, 2), panels=(1,), unroll=8, block_rows=84, inner=512),
}
# Higher and narrower tiles read half as much of the weight per step, and leave more rows over. Half
# as many rows at a time leave more of the cache to panels, which often share sets of it.
_TALL = {"avx512": Parameters(rows=(14, 8, 4), panels=(2,), block_rows=84, inner=2080, ahead=32)}
_MANY_PANELS = 64  # from here on, the last tile is as wide as the others
_APART = 16  # elements between rows: those that a tile needs together are in different sets of L1


def parameters(
    isa: Isa,
    weight: ir.Type | None = None,
    rows: int = code.DYNAMIC,
    columns: int = code.DYNAMIC,
    many: bool = False,
) -> Parameters:
    """Those of an instruction set, with the tiles that so many rows and columns need.

    ``many`` says that there are at least `MANY_ROWS`.
    """
    p = _PARAMETERS[isa.name]
    if weight is not None and weight != code.f32():
        # Panels are widened once per block of rows, into the cache.
        twice, both = 2 * p.block_rows, 2 * p.rows_of_thread
        p = replace(p, block_rows=twice, inner=p.inner // 2, rows_of_thread=both)
    elif many:
        p = _TALL.get(isa.name, p)
    if is_static(columns):
        count = -(-columns // PANEL)
        p = replace(p, panels=_needed(count, p.panels[:1] if count >= _MANY_PANELS else p.panels))
    return replace(p, rows=_needed(rows, p.rows)) if is_static(rows) else p


def _needed(count: int, tiles: tuple[int, ...]) -> tuple[int, ...]:
    """Which of ``tiles``, largest first, so many rows or panels are split into."""
    most = tiles[0]
    last = {tile for tile in tiles if tile >= (count % most or most)}
    return tuple(sorted({min(last)} | ({most} if count > most else set()), reverse=True))


def kernel(
    kernels: Kernels,
    input: ir.Type,
    weight: ir.Type,
    isa: Isa,
    epilogue: Epilogue | None = None,
    sizes: Parameters | None = None,
) -> Kernel:
    """input [M, K], weight in panels, f32 result [M, N], which is overwritten.

    With an epilogue, its buffers take the place of the result.

    Args:
        kernels: where the kernel goes.
        input, weight: their element types.
        isa: what the kernel is made of.
        epilogue: what is done to each block of the product.
        sizes: of blocks and tiles; by default those for any number of rows and columns.
    """
    p = sizes or parameters(isa, weight)
    f32 = code.f32()
    outputs = [code.matrix(f32)] if epilogue is None else epilogue.types()
    types = [code.matrix(input), panels_type(weight), *outputs]
    name = f"rlx_matmul_{input}_{weight}_{isa.name}_{p.tiles}"
    if epilogue is not None:
        name = epilogue.name(kernels, name)
    run = _part_kernel(kernels, name, types, isa, p, epilogue)

    def some_rows(_: ir.Value, low: ir.Value, high: ir.Value, *buffers: ir.Value) -> None:
        rows = code.dim(buffers[0], 0)
        low, end = (code.multiply(at, p.rows[0]) for at in (low, high))
        panels = code.ceil_div(code.dim(buffers[-1], 1), PANEL)
        run(*buffers, low, code.minimum(end, rows), 0, panels)

    def some_columns(_: ir.Value, low: ir.Value, high: ir.Value, *buffers: ir.Value) -> None:
        panels = code.ceil_div(code.dim(buffers[-1], 1), PANEL)
        low, end = (code.multiply(at, p.panels[0]) for at in (low, high))
        run(*buffers, 0, code.dim(buffers[0], 0), low, code.minimum(end, panels))

    by_rows = kernels.parallel(f"{name}_rows", types, some_rows)
    by_columns = kernels.parallel(f"{name}_columns", types, some_columns)

    def body(*buffers: ir.Value) -> None:
        rows, inner = code.dim(buffers[0], 0), code.dim(buffers[0], 1)
        columns = code.dim(buffers[-1], 1)
        count = code.ceil_div(columns, PANEL)
        pieces = 1 if epilogue is None else len(epilogue.offsets)
        time = nanoseconds(rows, code.multiply(columns, pieces), inner)
        groups, tiles = code.ceil_div(count, p.panels[0]), code.ceil_div(rows, p.rows[0])
        parts = kernels.parts(groups, time)
        if isinstance(parts, int):
            run(*buffers, 0, rows, 0, count)
            return
        # A part of the rows needs all of the weight, a part of the columns all of the rows. Reading
        # the weight is hidden where there are rows enough.
        enough = code.less(code.multiply(parts, p.rows_of_thread), rows)
        code.if_(
            enough,
            lambda: by_rows(parts, tiles, *buffers),
            lambda: by_columns(parts, groups, *buffers),
        )

    return kernels.define(name, types, body)


def _part_kernel(
    kernels: Kernels,
    name: str,
    types: list[ir.MemRefType],
    isa: Isa,
    p: Parameters,
    epilogue: Epilogue | None,
) -> Kernel:
    """Some rows and panels of the result: those from one to before another."""
    index = ir.IndexType.get()
    pack = _pack_rows_kernel(kernels, types[0].element_type, isa, p)
    block = _block_kernel(kernels, types[1].element_type, isa, p)

    finish = None if epilogue is None else finish_kernel(kernels, epilogue, isa)
    offsets = (0,) if epilogue is None else epilogue.offsets
    # Pieces of the product share the cache.
    most_panels = max(p.block_panels // len(offsets) // p.panels[0], 1) * p.panels[0]

    def body(*arguments: ir.Value) -> None:
        a, panels, *outputs, low, high, first, end = arguments
        inner, columns = code.dim(a, 1), code.dim(outputs[-1], 1)
        blocks, depth = _depth(inner, p)
        packed = code.alloc([blocks, *_rows_type(p).shape[1:]], code.f32())
        scratch = []
        if finish is not None:
            shape = [p.block_rows, most_panels * PANEL]
            scratch = [code.alloc(shape, code.f32()) for _ in offsets]

        def row_block(at_row: ir.Value, height: ir.Value) -> None:
            i = code.add(low, at_row)
            pack(a, packed, i, height, depth)

            def column_block(at: ir.Value, count: ir.Value) -> None:
                panel = code.add(first, at)
                j = code.multiply(panel, PANEL)
                width = code.minimum(code.subtract(columns, j), code.multiply(count, PANEL))
                if finish is None:
                    into = [code.part(outputs[0], [i, j], [height, width])]
                else:
                    into = [code.part(piece, [0, 0], [height, width]) for piece in scratch]
                # Each block fetches the start of the next one; the next rows need the first panels.
                beyond = code.add(panel, count)
                beyond = arith.select(code.less(beyond, end), beyond, first)
                starts = [code.add(panel, offset // PANEL) for offset in offsets]
                starts.append(code.add(beyond, offsets[0] // PANEL))
                for here, later, piece in zip(starts, starts[1:], into, strict=False):
                    block(packed, panels, here, count, later, depth, piece)
                if finish is not None:
                    finish(*into, *outputs, i, j)

            _split(code.subtract(end, first), most_panels, p.panels[0], column_block)

        _split(code.subtract(high, low), p.block_rows, p.rows[0], row_block)

    return kernels.define(f"{name}_part", [*types, *[index] * 4], body)


def _depth(inner: Index, p: Parameters) -> tuple[Index, Index]:
    """How many blocks the inner dimension has, and how deep they are, but for the last.

    Without an inner dimension there is one empty block, which writes zeros.
    """
    blocks = code.maximum(code.ceil_div(inner, p.inner), 1)
    depth = arith.ceildivui(code.index(inner), code.index(blocks))
    return blocks, code.maximum(code.round_up(depth, p.unroll), p.unroll)


def _rows_type(p: Parameters) -> ir.MemRefType:
    """Rows of the input: [blocks of the inner dimension, block_rows, inner and some space]."""
    return ir.MemRefType.get([code.DYNAMIC, p.block_rows, p.inner + _APART], code.f32())


def _pack_rows_kernel(kernels: Kernels, element: ir.Type, isa: Isa, p: Parameters) -> Kernel:
    """Copies ``height`` rows of an input [M, K] from ``row`` on to a buffer of `_rows_type`."""
    index = ir.IndexType.get()

    def body(
        source: ir.Value, rows: ir.Value, row: ir.Value, height: ir.Value, depth: ir.Value
    ) -> None:
        inner = code.dim(source, 1)
        last = code.subtract(code.add(row, height), 1)

        def one(i: ir.Value) -> None:
            # Tiles may be higher than what is left: the last row stands in for what is missing.
            at = code.minimum(code.add(row, i), last)

            def part(number: ir.Value) -> None:
                k = code.multiply(number, depth)

                def copy(step: ir.Value, inside: Index | None) -> None:
                    value = code.load(source, [at, code.add(k, step)], isa.lanes, inside)
                    code.store(value, rows, [number, i, step])

                code.vectors(code.minimum(code.subtract(inner, k), depth), isa.lanes, copy)

            code.loop(0, arith.ceildivui(inner, depth), 1, part)

        code.loop(0, code.round_up(height, p.rows[0]), 1, one)

    return kernels.define(
        f"rlx_matmul_{element}_{isa.name}_pack_rows_{p.rows[0]}_{p.block_rows}_{p.inner}",
        [code.matrix(element), _rows_type(p), index, index, index],
        body,
    )


def _block_kernel(kernels: Kernels, element: ir.Type, isa: Isa, p: Parameters) -> Kernel:
    """A block of the result: packed rows times some panels.

    The kernel takes the packed rows, panels [P, K, PANEL], the first of them, how many there are,
    the panel that is needed after them, the depth of blocks of the inner dimension, and the block
    of the result, which it overwrites; that has as many rows, and as many columns as are wanted.
    """
    index = ir.IndexType.get()
    f32 = code.f32()
    runs = {
        tile: micro(kernels, isa, tile, _rows_type(p), element, p.unroll, p.ahead)
        for tile in (Tile(r, n) for r in p.rows for n in p.panels)
    }

    def body(
        rows: ir.Value,
        panels: ir.Value,
        panel: ir.Value,
        count: ir.Value,
        later: ir.Value,
        depth: ir.Value,
        result: ir.Value,
    ) -> None:
        inner = code.dim(panels, 1)
        scratch = None
        if element != f32:
            scratch = code.alloca([p.panels[0], p.inner, PANEL], f32)
        height = code.dim(result, 0)
        shares = arith.divui(code.ceil_div(height, p.rows[0]), code.index(p.panels[0]))
        shares = code.maximum(shares, p.unroll)

        def inner_block(number: ir.Value) -> None:
            k = code.multiply(number, depth)
            steps = code.minimum(code.subtract(inner, k), depth)
            first = code.less(number, 1)
            # Where the first group after this block starts: its panel and its step.
            next_k = code.add(k, depth)
            after = _either(code.less(next_k, inner), (panel, next_k), (later, 0))

            def group(at: ir.Value) -> None:
                width = code.minimum(code.subtract(count, at), p.panels[0])
                source, start, step = panels, code.add(panel, at), k
                if scratch is not None:
                    _widen(isa, panels, scratch, start, width, k, steps)
                    source, start, step = scratch, 0, 0
                to = code.multiply(at, PANEL)
                beyond = code.add(at, width)
                here = code.add(panel, beyond), k
                following = _either(code.less(beyond, count), here, after)

                def tile(row: ir.Value) -> None:
                    high = code.minimum(code.subtract(height, row), p.rows[0])
                    ahead = _share(p, row, depth, shares, following)

                    def run(tile: Tile) -> None:
                        where = (rows, number, row, source, start, step, result, row, to)
                        runs[tile](*where, steps, first, panels, *ahead)

                    _choose(
                        high,
                        p.rows,
                        lambda r: _choose(width, p.panels, lambda n: run(Tile(r, n))),
                    )

                code.loop(0, height, p.rows[0], tile)

            code.loop(0, count, p.panels[0], group)

        code.loop(0, code.dim(rows, 0), 1, inner_block)

    return kernels.define(
        f"rlx_matmul_{element}_{isa.name}_{p.tiles}_block",
        [_rows_type(p), panels_type(element), *[index] * 4, code.matrix(f32)],
        body,
    )


def _either(
    condition: ir.Value, then: tuple[Index, Index], otherwise: tuple[Index, Index]
) -> tuple[Index, Index]:
    """The one pair or the other."""
    first, second = (
        arith.select(condition, *map(code.index, both))
        for both in zip(then, otherwise, strict=True)
    )
    return first, second


def _share(
    p: Parameters, row: ir.Value, depth: ir.Value, shares: ir.Value, following: tuple[Index, Index]
) -> tuple[Index, Index, Index]:
    """Which part of the next group of panels a tile fetches, as `micro` takes it.

    It is one of so many ``shares`` of the steps of one panel. Every tile fetches as much: what is
    on its way takes the place of what the tile itself waits for.
    """
    turn, most = arith.divui(row, code.index(p.rows[0])), code.index(p.panels[0])
    share = arith.remui(arith.divui(turn, most), shares)
    start = code.multiply(share, arith.divui(depth, shares))
    pace = arith.divui(code.index(PACE), shares)
    return code.add(following[0], arith.remui(turn, most)), code.add(following[1], start), pace


def _split(
    count: ir.Value, most: int, unit: int, body: Callable[[ir.Value, ir.Value], None]
) -> None:
    """Calls ``body`` with the start and the size of parts of ``count`` of at most ``most``.

    They have nearly equal sizes, and all but the last are multiples of ``unit``.
    """
    units = code.ceil_div(count, unit)
    parts = code.ceil_div(units, most // unit)
    least = code.maximum(parts, 1)
    size, larger = arith.divui(units, least), arith.remui(units, least)

    def one(n: ir.Value) -> None:
        start = code.add(code.multiply(n, size), code.minimum(n, larger))
        more = arith.index_castui(ir.IndexType.get(), code.less(n, larger))
        start = code.multiply(start, unit)
        wanted = code.multiply(code.add(size, more), unit)
        body(start, code.minimum(wanted, code.subtract(count, start)))

    code.loop(0, parts, 1, one)


def _choose(value: ir.Value, choices: tuple[int, ...], body: Callable[[int], None]) -> None:
    """``body`` of the smallest of ``choices``, largest first, that is not below ``value``."""
    if len(choices) == 1:
        body(choices[0])
        return
    code.if_(
        code.less(choices[1], value),
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
