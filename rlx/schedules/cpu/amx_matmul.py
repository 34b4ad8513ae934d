"""`rlx.matmul` in bf16 with AMX.

The weight is read in pairs, as :mod:`rlx.schedules.cpu.layout` says: a parameter that was laid out
when it was loaded as it is, another one after packing in the call. The result is computed in
blocks, each from blocks of the inner dimension; sums of a block stay in memory, tile by tile,
between them. Two by two tiles of sums at a time stay in registers. Two panels of the weight fill
a third of the L1 cache; while they are used, those after them are fetched, some lines at a time.

Rows of the input are read as they lie in memory. What does not fill two tiles, at the end of the
rows and of the inner dimension, is copied and filled up with zeros before.
"""

from dataclasses import dataclass
from typing import Any

from rlx.dialects import emit
from rlx.dialects.matmul import MatmulOp
from rlx.host import arith, ir
from rlx.schedules.cpu import amx, bf16, code, matmul
from rlx.schedules.cpu.amx import DEPTH, SIDE
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.isa import Isa

__all__ = ["Parameters", "build", "prepare", "refusal"]

prepare = matmul.prepare

PAIRS = DEPTH // 2
STEP = 2 * DEPTH  # of the inner dimension: two tiles at a time


@dataclass(frozen=True)
class Parameters:
    """Sizes of blocks.

    Attributes:
        rows, columns, inner: a block of the result is rows x columns, and is computed from
            ``inner`` steps of the inner dimension at a time; multiples of 32, 32 and 64.
        packed: about how many elements of the weight are packed at a time.
    """

    rows: int = 256
    columns: int = 256
    inner: int = 256
    packed: int = 1 << 22


_P = Parameters()


def refusal(op: MatmulOp) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if not isinstance(op.input.type.element_type, ir.BF16Type):
        return "the element type is not bf16"
    return matmul.refusal(op)


def build(op: MatmulOp, kernels: Kernels, isa: Isa) -> ir.Value:
    """Emits buffers and the call for an op that :func:`prepare` made; returns the result."""
    columns = op.results[0].type.shape[1]
    result = code.alloc([emit.dim(op.input, 0), columns], bf16.bf16())
    run = _packing(kernels, op.transpose_weight, _P)
    amx.permit(kernels)
    run(code.to_buffer(op.input), code.to_buffer(op.weight), result)
    return code.to_tensor(result)


# -- types of buffers ------------------------------------------------------------------------------


def _matrix() -> ir.MemRefType:
    return code.matrix(bf16.bf16())


def _panels() -> ir.MemRefType:
    """A weight in pairs: [panels, pairs of steps, 2 * SIDE]."""
    return code.matrix(bf16.bf16(), 3)


def _tiles() -> ir.MemRefType:
    """Rows in tiles: [SIDE rows, DEPTH steps, row, step]."""
    return ir.MemRefType.get([code.DYNAMIC, code.DYNAMIC, SIDE, DEPTH], bf16.bf16())


def _sums(p: Parameters) -> ir.MemRefType:
    return ir.MemRefType.get([p.rows // SIDE, p.columns // SIDE, SIDE, SIDE], code.f32())


# -- packing ---------------------------------------------------------------------------------------


def _packing(kernels: Kernels, transposed: bool, p: Parameters) -> Kernel:
    """input [M, K], weight [N, K] or [K, N], result [M, N]: packs the weight, part by part."""
    name = f"rlx_matmul_{'nk' if transposed else 'kn'}_amx"
    types = [_matrix()] * 3
    pack = kernels.parallel(
        f"{name}_pack", [_matrix(), _panels(), ir.IndexType.get()], _pack_t if transposed else _pack
    )
    product = _product(kernels, p)

    def body(a: ir.Value, b: ir.Value, c: ir.Value) -> None:
        inner, columns = code.dim(a, 1), code.dim(c, 1)
        depth = code.maximum(code.round_up(inner, STEP), STEP)
        most = arith.divui(code.index(p.packed), depth)
        most = code.round_up(code.maximum(most, 1), p.columns)
        width = code.minimum(code.round_up(columns, 2 * SIDE), most)
        count = code.ceil_div(width, SIDE)
        pairs = arith.divui(depth, code.index(2))
        panels = code.alloc([count, pairs, 2 * SIDE], bf16.bf16())

        def part(j: ir.Value) -> None:
            left = code.minimum(code.subtract(columns, j), width)
            groups = code.ceil_div(left, 2 * SIDE)
            work = code.multiply(code.multiply(groups, inner), 2)
            pack(kernels.parts(groups, work), groups, b, panels, j)
            product(a, panels, c, j, left)

        code.loop(0, columns, width, part)

    return kernels.define(name, types, body)


def _pack(
    part: ir.Value, low: ir.Value, high: ir.Value, weight: ir.Value, panels: ir.Value, j: ir.Value
) -> None:
    """Two panels at a time of a weight [K, N], from column ``j`` on; zeros fill them up."""
    inner, columns = code.dim(weight, 0), code.dim(weight, 1)
    whole = arith.divui(inner, code.index(2))
    pairs = code.dim(panels, 1)

    def group(g: ir.Value) -> None:
        panel = code.multiply(g, 2)
        column = code.add(j, code.multiply(g, 2 * SIDE))
        left = code.subtract(columns, column)

        def put(pair: Index, a: ir.Value, b: ir.Value) -> None:
            for n, value in enumerate(bf16.interleave(a, b)):
                bf16.store(value, panels, [code.add(panel, n), pair, 0])

        def copy(count: Index | None) -> None:
            def row(pair: ir.Value) -> None:
                k = code.multiply(pair, 2)
                a = bf16.load(weight, [k, column], count)
                put(pair, a, bf16.load(weight, [code.add(k, 1), column], count))

            def last(pair: ir.Value) -> None:
                put(pair, bf16.load(weight, [code.multiply(pair, 2), column], count), bf16.zero())

            code.loop(0, whole, 1, row)
            code.loop(whole, code.ceil_div(inner, 2), 1, last)

        code.if_(code.less(left, 2 * SIDE), lambda: copy(left), lambda: copy(None))
        zero = bf16.zero()
        code.loop(code.ceil_div(inner, 2), pairs, 1, lambda pair: put(pair, zero, zero))

    code.loop(low, high, 1, group)


def _pack_t(
    part: ir.Value, low: ir.Value, high: ir.Value, weight: ir.Value, panels: ir.Value, j: ir.Value
) -> None:
    """Two panels at a time of a weight [N, K], from column ``j`` on.

    Zeros fill up the inner dimension. Columns past the end repeat the last one; nobody looks at
    what comes of them.
    """
    inner, last = code.dim(weight, 1), code.subtract(code.dim(weight, 0), 1)

    def panel(n: ir.Value) -> None:
        column = code.add(j, code.multiply(n, SIDE))
        rows = [code.minimum(code.add(column, i), last) for i in range(SIDE)]

        def square(k: ir.Value, count: Index | None) -> None:
            loaded = [bf16.load(weight, [row, k], count) for row in rows]
            pair = arith.divui(k, code.index(2))
            for i, column in enumerate(bf16.transpose_pairs(loaded)):
                bf16.store(column, panels, [n, code.add(pair, i), 0])

        code.vectors(inner, DEPTH, square)

        def clear(k: ir.Value) -> None:
            pair = arith.divui(k, code.index(2))
            for i in range(PAIRS):
                bf16.store(bf16.zero(), panels, [n, code.add(pair, i), 0])

        depth = code.multiply(code.dim(panels, 1), 2)
        code.loop(code.round_up(inner, DEPTH), depth, DEPTH, clear)

    code.loop(code.multiply(low, 2), code.multiply(high, 2), 1, panel)


# -- the product -----------------------------------------------------------------------------------


def _product(kernels: Kernels, p: Parameters) -> Kernel:
    """input, panels, result, its first column, how many: the product with all rows of the input."""
    index = ir.IndexType.get()
    blocks = kernels.parallel(
        "rlx_matmul_amx_blocks",
        [_matrix(), _panels(), _matrix(), index, index],
        lambda *arguments: _blocks(kernels, p, *arguments),
    )

    def body(
        a: ir.Value, panels: ir.Value, c: ir.Value, column: ir.Value, columns: ir.Value
    ) -> None:
        rows, inner = code.dim(a, 0), code.dim(a, 1)
        count = code.multiply(code.ceil_div(rows, p.rows), code.ceil_div(columns, p.columns))
        # About a multiplication and an addition for each of 500 elements in a nanosecond.
        work = code.multiply(code.multiply(rows, inner), columns)
        nanoseconds = arith.divui(work, code.index(500))
        blocks(kernels.parts(count, nanoseconds), count, a, panels, c, column, columns)

    types = [_matrix(), _panels(), _matrix(), index, index]
    return kernels.define("rlx_matmul_amx", types, body)


def _blocks(
    kernels: Kernels,
    p: Parameters,
    part: ir.Value,
    low: ir.Value,
    high: ir.Value,
    a: ir.Value,
    panels: ir.Value,
    c: ir.Value,
    column: ir.Value,
    columns: ir.Value,
) -> None:
    """Blocks [low, high) of the result, counted along its rows."""
    runs = {
        (source, first): _nest(kernels, p, source, first)
        for source in (_matrix(), _tiles())
        for first in (True, False)
    }
    copy = _copying(kernels)
    rows, inner = code.dim(a, 0), code.dim(a, 1)
    across = code.index(code.ceil_div(columns, p.columns))
    whole = arith.subi(inner, arith.remui(inner, code.index(STEP)))
    rest = code.subtract(inner, whole)
    has_rest = code.less(0, rest)
    # The result is zero without an inner dimension: one step that is all zeros.
    has_rest = arith.ori(has_rest, code.less(inner, 1))

    sums = code.alloc(_sums(p).shape, code.f32())
    last_rows = code.alloc([2, arith.divui(whole, code.index(DEPTH)), SIDE, DEPTH], bf16.bf16())
    last_steps = code.alloc([p.rows // SIDE, 2, SIDE, DEPTH], bf16.bf16())

    def block(number: ir.Value) -> None:
        i = code.multiply(arith.divui(number, across), p.rows)
        j = code.multiply(arith.remui(number, across), p.columns)
        height = code.minimum(code.subtract(rows, i), p.rows)
        width = code.minimum(code.subtract(columns, j), p.columns)
        direct = arith.subi(height, arith.remui(height, code.index(2 * SIDE)))
        has_more = code.less(direct, height)
        below = code.add(i, direct)

        def copies() -> None:
            code.if_(has_more, lambda: copy(a, last_rows, below, height_left(), 0, whole))
            code.if_(has_rest, lambda: copy(a, last_steps, i, height, whole, inner))

        def height_left() -> Index:
            return code.subtract(height, direct)

        is_new = arith.ori(
            arith.cmpi(arith.CmpIPredicate.eq, number, low),
            arith.cmpi(arith.CmpIPredicate.eq, j, code.index(0)),
        )
        code.if_(is_new, copies)

        def run(source: ir.Value, first: bool, *arguments: Any) -> None:
            type_ = _matrix() if source == a else _tiles()
            runs[type_, first](source, panels, sums, c, *arguments)

        def inner_block(k: ir.Value) -> None:
            end = code.minimum(code.add(k, p.inner), whole)
            steps = code.subtract(end, k)
            last = arith.cmpi(arith.CmpIPredicate.eq, end, inner)
            at = (j, width, column)

            def nests(first: bool) -> None:
                run(a, first, i, k, k, steps, last, 0, direct, *at, i)
                code.if_(
                    has_more,
                    lambda: run(
                        last_rows, first, 0, k, k, steps, last, direct, height_left(), *at, below
                    ),
                )

            code.if_(code.less(k, 1), lambda: nests(True), lambda: nests(False))

        code.loop(0, whole, p.inner, inner_block)

        def last_nest(first: bool) -> None:
            arguments = (0, 0, whole, STEP, code.true(), 0, height, j, width, column, i)
            run(last_steps, first, *arguments)

        code.if_(
            has_rest,
            lambda: code.if_(
                code.less(whole, 1), lambda: last_nest(True), lambda: last_nest(False)
            ),
        )

    code.loop(low, high, 1, block)


def _copying(kernels: Kernels) -> Kernel:
    """Copies rows of the input to tiles, with zeros below them and behind them.

    Takes the input, the tiles, the first row and how many, the first step and the end.
    """
    index = ir.IndexType.get()

    def body(
        a: ir.Value,
        tiles: ir.Value,
        row: ir.Value,
        height: ir.Value,
        start: ir.Value,
        end: ir.Value,
    ) -> None:
        depth = code.multiply(code.dim(tiles, 1), DEPTH)
        count = code.subtract(end, start)

        def one(i: ir.Value) -> None:
            tile, within = arith.divui(i, code.index(SIDE)), arith.remui(i, code.index(SIDE))

            def put(value: ir.Value, k: Index) -> None:
                bf16.store(value, tiles, [tile, arith.divui(k, code.index(DEPTH)), within, 0])

            def copy(k: ir.Value, inside: Index | None) -> None:
                put(bf16.load(a, [code.add(row, i), code.add(start, k)], inside), k)

            def copy_row() -> None:
                code.vectors(count, DEPTH, copy)
                code.loop(code.round_up(count, DEPTH), depth, DEPTH, lambda k: put(bf16.zero(), k))

            def clear_row() -> None:
                code.loop(0, depth, DEPTH, lambda k: put(bf16.zero(), k))

            code.if_(code.less(i, height), copy_row, clear_row)

        code.loop(0, code.round_up(height, 2 * SIDE), 1, one)

    types = [_matrix(), _tiles(), *[index] * 4]
    return kernels.define("rlx_matmul_amx_copy", types, body)


def _nest(kernels: Kernels, p: Parameters, source: ir.MemRefType, first: bool) -> Kernel:
    """A block of the result from a block of the inner dimension.

    Takes rows of the input, as they are or in tiles; panels; sums; the result; and

    * the first row of the source, and the step at which it and the panels start, and how many;
    * whether these are the last ones, with which the result is written;
    * the first row of the block that is computed, and how many;
    * the first column of the panels, how many, and what to add to them in the result;
    * the row of the result that stands for the first row.
    """
    index, i1 = ir.IndexType.get(), ir.IntegerType.get_signless(1)
    kind = "rows" if source == _matrix() else "tiles"
    name = f"rlx_matmul_amx_{kind}_{'first' if first else 'next'}"
    types = [source, _panels(), _sums(p), _matrix(), *[index] * 4, i1, *[index] * 6]

    def body(
        a: ir.Value,
        panels: ir.Value,
        sums: ir.Value,
        c: ir.Value,
        row: ir.Value,
        a_step: ir.Value,
        b_step: ir.Value,
        steps: ir.Value,
        last: ir.Value,
        top: ir.Value,
        height: ir.Value,
        j: ir.Value,
        width: ir.Value,
        column: ir.Value,
        to_row: ir.Value,
    ) -> None:
        last_panel = code.subtract(code.ceil_div(code.add(j, width), SIDE), 1)
        first_panel = arith.divui(j, code.index(SIDE))
        first_pair = arith.divui(b_step, code.index(2))
        first_tile = arith.divui(a_step, code.index(DEPTH))
        depth = arith.divui(steps, code.index(DEPTH))
        last_pair = code.add(first_pair, code.multiply(code.subtract(depth, 1), PAIRS))

        def columns(n: ir.Value) -> None:
            panel = code.add(first_panel, n)
            # One tile stands in for another that is not there: its sums are not looked at.
            places = [panel, code.minimum(code.add(panel, 1), last_panel)]

            def rows(i: ir.Value) -> None:
                tile(n, places, i)

            code.loop(0, height, 2 * SIDE, rows)

        def tile(n: ir.Value, places: list[Index], i: ir.Value) -> None:
            down = arith.divui(code.add(top, i), code.index(SIDE))
            # What is complete only passes through memory.
            down, across = (arith.select(last, code.index(0), x) for x in (down, n))
            cells = [(x, y) for x in range(2) for y in range(2)]
            at = {(x, y): [code.add(down, x), code.add(across, y), 0, 0] for x, y in cells}
            own = arith.divui(code.add(top, i), code.index(SIDE))

            def load_a(x: int, t: Index) -> ir.Value:
                if source == _matrix():
                    here = code.add(row, code.add(i, x * SIDE))
                    return amx.load(a, [here, code.add(a_step, code.multiply(t, DEPTH))])
                here = arith.divui(code.add(row, i), code.index(SIDE))
                return amx.load(a, [code.add(here, x), code.add(first_tile, t), 0, 0])

            def load_b(y: int, t: Index) -> ir.Value:
                pair = code.add(first_pair, code.multiply(t, PAIRS))
                return amx.load(panels, [places[y], pair, 0])

            if first:
                inits = [amx.zero() for _ in cells]
            else:
                inits = [
                    amx.load_sums(sums, [code.add(own, x), code.add(n, y), 0, 0]) for x, y in cells
                ]
            ahead = arith.divui(i, code.index(2 * SIDE))
            pair = code.minimum(code.add(first_pair, code.multiply(ahead, PAIRS)), last_pair)
            for y in range(2):
                following = code.add(places[0], 2 + y)
                for r in range(PAIRS):
                    amx.prefetch(panels, [following, code.add(pair, r), 0])

            def step(t: ir.Value, *carried: ir.Value) -> list[ir.Value]:
                total = dict(zip(cells, carried, strict=True))
                for u in range(2):
                    here = code.add(t, u)
                    x0, y0 = load_a(0, here), load_b(0, here)
                    total[0, 0] = amx.multiply(x0, y0, total[0, 0])
                    y1 = load_b(1, here)
                    total[0, 1] = amx.multiply(x0, y1, total[0, 1])
                    x1 = load_a(1, here)
                    total[1, 0] = amx.multiply(x1, y0, total[1, 0])
                    total[1, 1] = amx.multiply(x1, y1, total[1, 1])
                return list(total.values())

            totals = code.loop(0, depth, 2, step, inits)
            for cell, total in zip(cells, totals, strict=True):
                amx.store(total, sums, at[cell])
            code.if_(last, lambda: write(n, i))

        def write(n: ir.Value, i: ir.Value) -> None:
            """Rounds and writes what lies in the first tiles of sums."""
            left = code.subtract(width, code.multiply(n, SIDE))
            place = code.add(code.add(column, j), code.multiply(n, SIDE))

            def rows_of(count: Index | None) -> None:
                for x in range(2):

                    def one(r: ir.Value, x: int = x) -> None:
                        halves = [code.load(sums, [x, y, r, 0], SIDE) for y in range(2)]
                        value = bf16.narrow(bf16.join(*halves))
                        at = code.add(to_row, code.add(code.add(i, x * SIDE), r))
                        bf16.store(value, c, [at, place], count)

                    here = code.subtract(code.subtract(height, i), x * SIDE)
                    code.loop(0, code.maximum(code.minimum(here, SIDE), 0), 1, one)

            code.if_(code.less(left, 2 * SIDE), lambda: rows_of(left), lambda: rows_of(None))

        tiles = code.ceil_div(width, SIDE)
        code.loop(0, tiles, 2, columns)

    return kernels.define(name, types, body)
