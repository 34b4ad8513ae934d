"""`rlx.matmul` in bf16 with AMX.

The weight is read in pairs, as :mod:`rlx.schedules.cpu.layout` says: a parameter that was laid out
when it was loaded as it is, another one after packing in the call. The result is computed in
blocks, each from blocks of the inner dimension; sums of a block stay in memory, tile by tile,
between them. Two by two tiles of sums at a time stay in registers. Two panels of the weight fill
a third of the L1 cache; while they are used, those after them are fetched, some lines at a time.

Rows of the input are read as they lie in memory. What does not fill two tiles, at the end of the
rows and of the inner dimension, is copied and filled up with zeros before.

A few rows leave tiles mostly empty: see `bf16_few_rows`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from rlx.dialects import emit
from rlx.dialects.matmul import MatmulOp
from rlx.dialects.types import is_static
from rlx.host import arith, ir, tensor
from rlx.schedules.cpu import amx, bf16, bf16_few_rows, code, matmul
from rlx.schedules.cpu.amx import DEPTH, SIDE
from rlx.schedules.cpu.amx_nest import (
    STEP,
    Parameters,
    copying,
    matrix_type,
    nest,
    sums_type,
    tiles_type,
)
from rlx.schedules.cpu.bf16_pack import pack_kernel, panels_type
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.isa import Isa
from rlx.schedules.cpu.layout import Layout, packed

__all__ = ["build", "layout", "prepare", "refusal"]

prepare = matmul.prepare

_P = Parameters()


def refusal(op: MatmulOp) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if not isinstance(op.input.type.element_type, ir.BF16Type):
        return "the element type is not bf16"
    return matmul.refusal(op)


def layout(op: MatmulOp, isa: Isa) -> Layout:
    """How the weight of ``op`` should lie in memory, if that can be chosen."""
    return Layout(depth=2)


def build(op: MatmulOp, kernels: Kernels, isa: Isa) -> ir.Value:
    """Emits buffers and the call for an op that :func:`prepare` made; returns the result."""
    columns = op.results[0].type.shape[1]
    result = code.alloc([emit.dim(op.input, 0), columns], bf16.bf16())
    amx.permit(kernels)
    panels, rows = packed(op.weight), op.input.type.shape[0]
    if panels is None:
        run, source = _packing(kernels, op.transpose_weight, rows, _P), op.weight
    else:
        run, source = _with_panels(kernels, rows, _P), _as_pairs(panels[0])
    run(code.to_buffer(op.input), code.to_buffer(source), result)
    return code.to_tensor(result)


def _as_pairs(panels: ir.Value) -> ir.Value:
    """[panels, pairs of steps, columns, 2] with the last two axes as one."""
    count, depth, *_ = panels.type.shape
    type_ = ir.RankedTensorType.get([count, depth, 2 * SIDE], panels.type.element_type)
    return tensor.collapse_shape(type_, panels, [[0], [1], [2, 3]])


def _with_panels(kernels: Kernels, rows: int, p: Parameters) -> Kernel:
    """input [M, K], weight in pairs, result [M, N]; ``rows`` is M if that is known."""
    types = [matrix_type(), panels_type(), matrix_type()]

    def many() -> Kernel:
        product = _product(kernels, p)
        return lambda a, panels, c: product(a, panels, c, 0, code.dim(c, 1))

    few = partial(bf16_few_rows.panels_kernel, kernels, rows)
    return _either(kernels, "rlx_matmul_amx_panels", types, rows, bf16_few_rows.MOST, few, many)


def _either(
    kernels: Kernels,
    name: str,
    types: list[ir.Type],
    rows: int,
    most: int,
    few: Callable[[], Kernel],
    many: Callable[[], Kernel],
) -> Kernel:
    """The kernel that ``few`` makes up to ``most`` rows, else that of ``many``."""
    if is_static(rows):
        return few() if rows <= most else many()
    some, all_of = few(), many()

    def body(a: ir.Value, b: ir.Value, c: ir.Value) -> None:
        is_many = code.less(most, code.dim(a, 0))
        code.if_(is_many, lambda: all_of(a, b, c), lambda: some(a, b, c))

    return kernels.define(name, types, body)


def _packing(kernels: Kernels, transposed: bool, rows: int, p: Parameters) -> Kernel:
    """input [M, K], weight [N, K] or [K, N], result [M, N]; ``rows`` is M if that is known."""
    name = f"rlx_matmul_{'nk' if transposed else 'kn'}_amx"
    few = partial(bf16_few_rows.kernel, kernels, transposed)
    many = partial(_packing_many, kernels, transposed, p)
    most = bf16_few_rows.most(transposed)
    return _either(kernels, name, [matrix_type()] * 3, rows, most, few, many)


def _packing_many(kernels: Kernels, transposed: bool, p: Parameters) -> Kernel:
    """Packs the weight, part by part."""
    pack = pack_kernel(kernels, transposed)
    product = _product(kernels, p)

    def body(a: ir.Value, b: ir.Value, c: ir.Value) -> None:
        inner, columns = code.dim(a, 1), code.dim(c, 1)
        depth = code.maximum(code.round_up(inner, DEPTH), DEPTH)
        # All columns unless they are very many.
        most = arith.divui(code.index(p.packed), depth)
        most = code.round_up(code.maximum(most, 1), p.columns)
        width = code.minimum(code.round_up(columns, 2 * SIDE), most)
        count, pairs = code.ceil_div(width, SIDE), arith.divui(depth, code.index(2))
        panels = code.alloc([count, pairs, 2 * SIDE], bf16.bf16())

        def some(j: ir.Value) -> None:
            left = code.minimum(code.subtract(columns, j), width)
            groups = code.ceil_div(left, 2 * SIDE)
            work = code.multiply(code.multiply(groups, inner), 2)
            pack(kernels.parts(groups, work), groups, b, panels, j)
            product(a, panels, c, j, left)

        code.loop(0, columns, width, some)

    name = f"rlx_matmul_{'nk' if transposed else 'kn'}_amx_packing"
    return kernels.define(name, [matrix_type()] * 3, body)


def _product(kernels: Kernels, p: Parameters) -> Kernel:
    """input, panels, result, its first column, how many: the product with all rows of the input."""
    index = ir.IndexType.get()
    types = [matrix_type(), panels_type(), matrix_type(), index, index]
    blocks = kernels.parallel("rlx_matmul_amx_blocks", types, partial(_blocks, kernels, p))

    def body(
        a: ir.Value, panels: ir.Value, c: ir.Value, column: ir.Value, columns: ir.Value
    ) -> None:
        rows, inner = code.dim(a, 0), code.dim(a, 1)
        count = code.multiply(code.ceil_div(rows, p.rows), code.ceil_div(columns, p.columns))
        # About a multiplication and an addition for each of 500 elements in a nanosecond.
        work = code.multiply(code.multiply(rows, inner), columns)
        nanoseconds = arith.divui(work, code.index(500))
        blocks(kernels.parts(count, nanoseconds), count, a, panels, c, column, columns)

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
        (source, first): nest(kernels, p, source, first)
        for source in (matrix_type(), tiles_type())
        for first in (True, False)
    }
    copy = copying(kernels)
    rows, inner = code.dim(a, 0), code.dim(a, 1)
    across = code.index(code.ceil_div(columns, p.columns))
    whole = arith.subi(inner, arith.remui(inner, code.index(STEP)))
    # Without an inner dimension there is one step of zeros.
    has_rest = arith.ori(code.less(whole, inner), code.less(inner, 1))

    sums = code.alloc(sums_type(p).shape, code.f32())
    last_rows = code.alloc([2, arith.divui(whole, code.index(DEPTH)), SIDE, DEPTH], bf16.bf16())
    last_steps = code.alloc([p.rows // SIDE, STEP // DEPTH, SIDE, DEPTH], bf16.bf16())
    last_panels = code.alloc([p.columns // SIDE, STEP // 2, 2 * SIDE], bf16.bf16())

    def block(number: ir.Value) -> None:
        i = code.multiply(arith.divui(number, across), p.rows)
        j = code.multiply(arith.remui(number, across), p.columns)
        height = code.minimum(code.subtract(rows, i), p.rows)
        width = code.minimum(code.subtract(columns, j), p.columns)
        panel, to_column = arith.divui(j, code.index(SIDE)), code.add(column, j)
        direct = arith.subi(height, arith.remui(height, code.index(2 * SIDE)))
        has_more, below = code.less(direct, height), code.add(i, direct)
        left = code.subtract(height, direct)

        def copies() -> None:
            code.if_(has_more, lambda: copy(a, last_rows, below, left, 0, whole))
            code.if_(has_rest, lambda: copy(a, last_steps, i, height, whole, inner))

        is_new = arith.ori(
            arith.cmpi(arith.CmpIPredicate.eq, number, low),
            arith.cmpi(arith.CmpIPredicate.eq, j, code.index(0)),
        )
        code.if_(is_new, copies)

        def run(source: ir.Value, first: bool, weight: ir.Value, *arguments: Any) -> None:
            type_ = matrix_type() if source == a else tiles_type()
            runs[type_, first](source, weight, sums, c, *arguments)

        def inner_block(k: ir.Value) -> None:
            end = code.minimum(code.add(k, p.inner), whole)
            steps = (k, k, code.subtract(end, k))
            last = arith.cmpi(arith.CmpIPredicate.eq, end, inner)
            at = (panel, width, to_column)

            def nests(first: bool) -> None:
                run(a, first, panels, i, *steps, last, 0, direct, *at, i)

                def more() -> None:
                    run(last_rows, first, panels, 0, *steps, last, direct, left, *at, below)

                code.if_(has_more, more)

            code.if_(code.less(k, 1), lambda: nests(True), lambda: nests(False))

        code.loop(0, whole, p.inner, inner_block)

        def rest() -> None:
            _last_steps(panels, last_panels, panel, width, whole, inner)

            def last(first: bool) -> None:
                steps = (0, 0, STEP)
                at = (0, width, to_column)
                run(last_steps, first, last_panels, 0, *steps, code.true(), 0, height, *at, i)

            code.if_(code.less(whole, 1), lambda: last(True), lambda: last(False))

        code.if_(has_rest, rest)

    code.loop(low, high, 1, block)


def _last_steps(
    panels: ir.Value,
    into: ir.Value,
    panel: Index,
    columns: Index,
    start: ir.Value,
    end: ir.Value,
) -> None:
    """Copies steps from ``start`` on to panels that have zeros after them."""
    first = arith.divui(start, code.index(2))
    count = code.subtract(code.ceil_div(end, 2), first)

    def one(n: ir.Value) -> None:
        def copy(pair: ir.Value) -> None:
            bf16.store(
                bf16.load(panels, [code.add(panel, n), code.add(first, pair), 0]),
                into,
                [n, pair, 0],
            )

        code.loop(0, count, 1, copy)
        code.loop(count, STEP // 2, 1, lambda pair: bf16.store(bf16.zero(), into, [n, pair, 0]))

    code.loop(0, code.ceil_div(columns, SIDE), 1, one)
