"""Products in bf16 with the dot products of AVX512-BF16, block by block.

The scheme is that of `gemm`, with pairs: a block of rows of the input is copied to where it stays
in the L2 cache, some panels of the weight stay in L1, and a tile of sums in registers.
"""

from functools import partial

from rlx.host import arith, ir, memref, vector
from rlx.schedules.cpu import bf16, code
from rlx.schedules.cpu.bf16 import LANES, PAIRS
from rlx.schedules.cpu.bf16_pack import panels_type
from rlx.schedules.cpu.bf16_product import product_by_blocks
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.epilogue import Epilogue, finish_kernel
from rlx.schedules.cpu.isa import ISAS
from rlx.schedules.cpu.layout import PANEL

__all__ = ["product"]

_ROWS, _PANELS = 6, 4  # of a tile of sums: with four vectors of the weight, 28 registers
_BLOCK_ROWS, _BLOCK_COLUMNS, _BLOCK_PAIRS = 120, 512, 128


def _rows_type() -> ir.MemRefType:
    """Rows of the input, a pair as an integer."""
    return ir.MemRefType.get([_BLOCK_ROWS, _BLOCK_PAIRS], ir.IntegerType.get_signless(32))


def _sums_type() -> ir.MemRefType:
    return ir.MemRefType.get([_BLOCK_ROWS, _BLOCK_COLUMNS], code.f32())


def product(kernels: Kernels, epilogue: Epilogue) -> Kernel:
    """As :func:`product_by_blocks` says."""
    run = partial(_blocks, kernels, epilogue)
    name, block = "rlx_matmul_avx512_bf16", (_BLOCK_ROWS, _BLOCK_COLUMNS)
    return product_by_blocks(kernels, name, epilogue, *block, 100, run)


def _blocks(
    kernels: Kernels,
    epilogue: Epilogue,
    _: ir.Value,
    low: ir.Value,
    high: ir.Value,
    a: ir.Value,
    panels: ir.Value,
    *others: ir.Value,
) -> None:
    """Blocks [low, high) of the result, counted along its rows."""
    count = len(epilogue.offsets)
    outputs, (column, columns, *bases) = others[: -2 - count], others[-2 - count :]
    index, i1 = ir.IndexType.get(), ir.IntegerType.get_signless(1)
    copy = kernels.define(
        "rlx_matmul_avx512_bf16_copy", [a.type, _rows_type(), *[index] * 4], _copy
    )
    types = [_rows_type(), panels_type(), _sums_type(), *[index] * 6, i1]
    micro = kernels.define("rlx_matmul_avx512_bf16_micro", types, _micro)
    finish = finish_kernel(kernels, epilogue, ISAS["avx512"])
    rows, inner = code.dim(a, 0), code.dim(a, 1)
    across = code.index(code.ceil_div(columns, _BLOCK_COLUMNS))
    block_rows = code.alloc(_rows_type().shape, ir.IntegerType.get_signless(32))
    sums = [code.alloc(_sums_type().shape, code.f32()) for _ in range(count)]

    def block(number: ir.Value) -> None:
        i = code.multiply(arith.divui(number, across), _BLOCK_ROWS)
        j = code.multiply(arith.remui(number, across), _BLOCK_COLUMNS)
        height = code.minimum(code.subtract(rows, i), _BLOCK_ROWS)
        width = code.minimum(code.subtract(columns, j), _BLOCK_COLUMNS)
        groups = code.ceil_div(width, PANEL)

        def inner_block(k: ir.Value) -> None:
            end = code.minimum(code.add(k, 2 * _BLOCK_PAIRS), inner)
            copy(a, block_rows, i, height, k, end)
            pairs = code.ceil_div(code.subtract(end, k), 2)
            first = code.less(k, 1)
            for base, into in zip(bases, sums, strict=True):
                panel = code.add(base, arith.divui(j, code.index(PANEL)))
                last = code.subtract(code.add(panel, groups), 1)
                pair = arith.divui(k, code.index(2))

                def tiles(n: ir.Value, panel=panel, last=last, into=into, pair=pair) -> None:
                    where = (code.add(panel, n), last, pair, pairs)

                    def tile(row: ir.Value) -> None:
                        micro(block_rows, panels, into, row, *where, n, first)

                    code.loop(0, height, _ROWS, tile)

                code.loop(0, groups, _PANELS, tiles)

        # Without an inner dimension there is one empty block, which writes zeros.
        code.loop(0, code.maximum(inner, 1), 2 * _BLOCK_PAIRS, inner_block)
        found = [code.part(each, [0, 0], [height, width]) for each in sums]
        finish(*found, *outputs, i, code.add(column, j))

    code.loop(low, high, 1, block)


def _copy(
    a: ir.Value,
    rows: ir.Value,
    row: ir.Value,
    height: ir.Value,
    start: ir.Value,
    end: ir.Value,
) -> None:
    """Copies rows of the input; zeros follow, to the end of the last vector and tile."""
    zero = code.splat(0.0, PAIRS, ir.IntegerType.get_signless(32))
    count = code.subtract(end, start)

    def put(value: ir.Value, i: Index, k: Index) -> None:
        place = [code.index(i), arith.divui(code.index(k), code.index(2))]
        vector.store(value, rows, place)

    def one(i: ir.Value) -> None:
        def some(k: ir.Value, inside: Index | None) -> None:
            value = bf16.load(a, [code.add(row, i), code.add(start, k)], inside)
            put(vector.bitcast(bf16.integers(), value), i, k)

        code.vectors(count, LANES, some)

    def clear(i: ir.Value) -> None:
        code.loop(0, count, LANES, lambda k: put(zero, i, k))

    code.loop(0, height, 1, one)
    code.loop(height, code.round_up(height, _ROWS), 1, clear)


def _micro(
    rows: ir.Value,
    panels: ir.Value,
    sums: ir.Value,
    row: ir.Value,
    panel: ir.Value,
    last: ir.Value,
    start: ir.Value,
    count: ir.Value,
    to_panel: ir.Value,
    first: ir.Value,
) -> None:
    """A tile of sums: overwritten if ``first``, else added to.

    Args:
        rows, row: where the rows are.
        panels, panel: where the panels are; those after ``last`` are not there.
        start, count: pairs of the panels that the rows hold.
        sums, to_panel: where the sums are.
    """
    cells = [(i, v) for i in range(_ROWS) for v in range(_PANELS)]
    # Those after the last repeat it; what comes of them is not looked at.
    here = [code.minimum(code.add(panel, v), last) for v in range(_PANELS)]

    def place(i: int, v: int) -> list[Index]:
        return [code.add(row, i), code.multiply(code.add(to_panel, v), PANEL)]

    totals = code.if_(
        first,
        lambda: [code.splat(0.0, PANEL) for _ in cells],
        lambda: [code.load(sums, place(*cell), PANEL) for cell in cells],
        [ir.VectorType.get([PANEL], code.f32())] * len(cells),
    )

    def step(pair: ir.Value, *carried: ir.Value) -> list[ir.Value]:
        own = dict(zip(cells, carried, strict=True))
        weights = [bf16.load(panels, [n, code.add(start, pair), 0]) for n in here]
        for i in range(_ROWS):
            x = memref.load(rows, [code.index(code.add(row, i)), pair])
            both = vector.bitcast(bf16.pairs(), code.broadcast(x, PAIRS))
            for v, weight in enumerate(weights):
                own[i, v] = bf16.dot(own[i, v], weight, both)
        return list(own.values())

    totals = code.loop(0, count, 1, step, totals)
    for cell, total in zip(cells, totals, strict=True):
        code.store(total, sums, place(*cell))
