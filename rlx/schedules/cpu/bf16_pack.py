"""Weights in pairs, as :mod:`rlx.schedules.cpu.layout` says."""

from rlx.host import arith, ir
from rlx.schedules.cpu import bf16, code
from rlx.schedules.cpu.bf16 import LANES, PAIRS
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.layout import PANEL

__all__ = ["pack_kernel", "panels_type"]


def panels_type() -> ir.MemRefType:
    """Panels [count, ceil(K / 2), 2 * PANEL] of any sizes."""
    return code.matrix(bf16.bf16(), 3)


def pack_kernel(kernels: Kernels, transposed: bool) -> Kernel:
    """Packs columns of a weight [N, K] or [K, N], two panels at a time.

    The kernel is one of `Kernels.parallel`, for pairs of panels, and takes the weight, the panels,
    whose inner dimension is padded to a multiple of 32, the first one to write, and the first
    column.
    """
    name = f"rlx_pack_pairs_{'nk' if transposed else 'kn'}"
    types = [code.matrix(bf16.bf16()), panels_type(), *[ir.IndexType.get()] * 2]
    return kernels.parallel(name, types, _pack_transposed if transposed else _pack)


def _pack(
    _: ir.Value,
    low: ir.Value,
    high: ir.Value,
    weight: ir.Value,
    panels: ir.Value,
    first: ir.Value,
    j: ir.Value,
) -> None:
    """Two panels at a time of a weight [K, N], from column ``j`` on; zeros fill them up."""
    inner, columns = code.dim(weight, 0), code.dim(weight, 1)
    whole = arith.divui(inner, code.index(2))
    pairs = code.dim(panels, 1)

    def group(g: ir.Value) -> None:
        panel = code.add(first, code.multiply(g, 2))
        column = code.add(j, code.multiply(g, LANES))
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

        code.if_(code.less(left, LANES), lambda: copy(left), lambda: copy(None))
        zero = bf16.zero()
        code.loop(code.ceil_div(inner, 2), pairs, 1, lambda pair: put(pair, zero, zero))

    code.loop(low, high, 1, group)


def _pack_transposed(
    _: ir.Value,
    low: ir.Value,
    high: ir.Value,
    weight: ir.Value,
    panels: ir.Value,
    first: ir.Value,
    j: ir.Value,
) -> None:
    """Two panels at a time of a weight [N, K], from column ``j`` on.

    Zeros fill up the inner dimension. Columns past the end repeat the last one; nobody looks at
    what comes of them.
    """
    inner, last = code.dim(weight, 1), code.subtract(code.dim(weight, 0), 1)

    def panel(n: ir.Value) -> None:
        column, to = code.add(j, code.multiply(n, PANEL)), code.add(first, n)
        rows = [code.minimum(code.add(column, i), last) for i in range(PANEL)]

        def square(k: ir.Value, count: Index | None) -> None:
            loaded = [bf16.load(weight, [row, k], count) for row in rows]
            pair = arith.divui(k, code.index(2))
            for i, column in enumerate(bf16.transpose_pairs(loaded)):
                bf16.store(column, panels, [to, code.add(pair, i), 0])

        code.vectors(inner, LANES, square)

        def clear(k: ir.Value) -> None:
            pair = arith.divui(k, code.index(2))
            for i in range(PAIRS):
                bf16.store(bf16.zero(), panels, [to, code.add(pair, i), 0])

        depth = code.multiply(code.dim(panels, 1), 2)
        code.loop(code.round_up(inner, LANES), depth, LANES, clear)

    code.loop(code.multiply(low, 2), code.multiply(high, 2), 1, panel)
