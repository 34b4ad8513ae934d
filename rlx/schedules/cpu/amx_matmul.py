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

from collections.abc import Callable, Sequence
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
from rlx.schedules.cpu.epilogue import Epilogue, find, finish_all, rounding
from rlx.schedules.cpu.isa import ISAS, Isa
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


def build(op: MatmulOp, kernels: Kernels, isa: Isa) -> ir.Value | None:
    """Emits buffers and the call for an op that :func:`prepare` made; returns the result.

    Returns None where it has put what the only reader of the result computes in its place.
    """
    amx.permit(kernels)
    found = find(op.results[0])
    if found is None:
        return _emit(op, kernels, op.results[0].type.shape[1], rounding(bf16.bf16()), [])
    with ir.InsertionPoint(found.consumer), found.consumer.location:
        found.replace(_emit(op, kernels, found.width, found.epilogue, found.matrices()))
    return None


def _emit(
    op: MatmulOp,
    kernels: Kernels,
    columns: int,
    epilogue: Epilogue,
    operands: Sequence[ir.Value],
) -> ir.Value:
    """The product, with ``columns`` columns after the epilogue, which reads ``operands``."""
    result = code.alloc([emit.dim(op.input, 0), columns], epilogue.result)
    panels, rows = packed(op.weight), op.input.type.shape[0]
    if panels is None:
        run, source = _packing(kernels, op.transpose_weight, rows, epilogue), op.weight
    else:
        run, source = _with_panels(kernels, rows, epilogue), _as_pairs(panels[0])
    run(*map(code.to_buffer, (op.input, source, *operands)), result)
    return code.to_tensor(result)


def _as_pairs(panels: ir.Value) -> ir.Value:
    """[panels, pairs of steps, columns, 2] with the last two axes as one."""
    count, depth, *_ = panels.type.shape
    type_ = ir.RankedTensorType.get([count, depth, 2 * SIDE], panels.type.element_type)
    return tensor.collapse_shape(type_, panels, [[0], [1], [2, 3]])


def _with_panels(kernels: Kernels, rows: int, epilogue: Epilogue) -> Kernel:
    """input [M, K], weight in pairs, the epilogue's buffers; ``rows`` is M if that is known."""
    few = partial(bf16_few_rows.panels_kernel, kernels, rows)

    def many() -> Kernel:
        product = _product(kernels, epilogue)
        bases = [offset // SIDE for offset in epilogue.offsets]
        return lambda *buffers: product(*buffers, 0, code.dim(buffers[-1], 1), *bases)

    name = epilogue.name(kernels, "rlx_matmul_amx_panels")
    types = [matrix_type(), panels_type(), *epilogue.types()]
    return _either(kernels, name, types, rows, bf16_few_rows.MOST, few, many, epilogue)


def _either(
    kernels: Kernels,
    name: str,
    types: list[ir.Type],
    rows: int,
    most: int,
    few: Callable[[], Kernel],
    many: Callable[[], Kernel],
    epilogue: Epilogue,
) -> Kernel:
    """Up to ``most`` rows the kernel of ``few``, and then the epilogue; else that of ``many``."""

    def finished() -> Kernel:
        run, finish = few(), finish_all(kernels, epilogue, ISAS["avx512"])

        def body(a: ir.Value, b: ir.Value, *buffers: ir.Value) -> None:
            columns = code.add(code.dim(buffers[-1], 1), max(epilogue.offsets))
            product = code.alloc([code.dim(a, 0), columns], code.f32())
            run(a, b, product)
            finish(product, *buffers)

        return kernels.define(f"{name}_few", types, body)

    if is_static(rows):
        return finished() if rows <= most else many()
    some, all_of = finished(), many()

    def body(*buffers: ir.Value) -> None:
        is_many = code.less(most, code.dim(buffers[0], 0))
        code.if_(is_many, lambda: all_of(*buffers), lambda: some(*buffers))

    return kernels.define(name, types, body)


def _packing(kernels: Kernels, transposed: bool, rows: int, epilogue: Epilogue) -> Kernel:
    """input [M, K], weight [N, K] or [K, N], the epilogue's buffers; ``rows`` is M if known."""
    orientation = "nk" if transposed else "kn"
    name = epilogue.name(kernels, f"rlx_matmul_{orientation}_amx")
    few = partial(bf16_few_rows.kernel, kernels, transposed)
    many = partial(_packing_many, kernels, transposed, f"{name}_many", epilogue)
    most = bf16_few_rows.most(transposed)
    types = [matrix_type(), matrix_type(), *epilogue.types()]
    return _either(kernels, name, types, rows, most, few, many, epilogue)


def _packing_many(kernels: Kernels, transposed: bool, name: str, epilogue: Epilogue) -> Kernel:
    """Packs the weight, part by part."""
    pack = pack_kernel(kernels, transposed)
    product = _product(kernels, epilogue)
    pieces = len(epilogue.offsets)

    def body(a: ir.Value, b: ir.Value, *buffers: ir.Value) -> None:
        inner, columns = code.dim(a, 1), code.dim(buffers[-1], 1)
        depth = code.maximum(code.round_up(inner, DEPTH), DEPTH)
        # All columns unless they are very many.
        most = arith.divui(code.index(_P.packed), depth)
        most = code.round_up(code.maximum(most, 1), _P.columns)
        width = code.minimum(code.round_up(columns, 2 * SIDE), most)
        count, pairs = code.ceil_div(width, SIDE), arith.divui(depth, code.index(2))
        panels = code.alloc([code.multiply(count, pieces), pairs, 2 * SIDE], bf16.bf16())

        def some(j: ir.Value) -> None:
            left = code.minimum(code.subtract(columns, j), width)
            groups = code.ceil_div(left, 2 * SIDE)
            parts = kernels.parts(groups, code.multiply(code.multiply(groups, inner), 2))
            bases = [code.multiply(count, n) for n in range(pieces)]
            for base, offset in zip(bases, epilogue.offsets, strict=True):
                pack(parts, groups, b, panels, base, code.add(j, offset))
            product(a, panels, *buffers, j, left, *bases)

        code.loop(0, columns, width, some)

    return kernels.define(name, [matrix_type(), matrix_type(), *epilogue.types()], body)


def _product(kernels: Kernels, epilogue: Epilogue) -> Kernel:
    """The product with all rows of the input, for some columns of the result.

    Takes the input, panels, the epilogue's buffers, the first column of the result and how many,
    and for every piece the first panel.
    """
    index = ir.IndexType.get()
    pieces = len(epilogue.offsets)
    types = [matrix_type(), panels_type(), *epilogue.types(), *[index] * (2 + pieces)]
    blocks = kernels.parallel(
        epilogue.name(kernels, "rlx_matmul_amx_blocks"), types, partial(_blocks, kernels, epilogue)
    )

    def body(a: ir.Value, panels: ir.Value, *others: ir.Value) -> None:
        rows, inner, columns = code.dim(a, 0), code.dim(a, 1), others[-1 - pieces]
        count = code.multiply(code.ceil_div(rows, _P.rows), code.ceil_div(columns, _P.columns))
        # About a multiplication and an addition for each of 500 elements in a nanosecond.
        work = code.multiply(code.multiply(rows, inner), code.multiply(columns, pieces))
        nanoseconds = arith.divui(work, code.index(500))
        blocks(kernels.parts(count, nanoseconds), count, a, panels, *others)

    return kernels.define(epilogue.name(kernels, "rlx_matmul_amx"), types, body)


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
    p, count = _P, len(epilogue.offsets)
    outputs, (column, columns, *bases) = others[: -2 - count], others[-2 - count :]
    runs = {
        (source, first, own): nest(kernels, p, source, first, own)
        for source in (matrix_type(), tiles_type())
        for first in (True, False)
        for own in ([None, epilogue] if count > 1 else [epilogue])
    }
    copy = copying(kernels)
    rows, inner = code.dim(a, 0), code.dim(a, 1)
    across = code.index(code.ceil_div(columns, p.columns))
    whole = arith.subi(inner, arith.remui(inner, code.index(STEP)))
    # Without an inner dimension there is one step of zeros.
    has_rest = arith.ori(code.less(whole, inner), code.less(inner, 1))

    *before, last_sums = (code.alloc(sums_type(p).shape, code.f32()) for _ in range(count))
    last_rows = code.alloc([2, arith.divui(whole, code.index(DEPTH)), SIDE, DEPTH], bf16.bf16())
    last_steps = code.alloc([p.rows // SIDE, STEP // DEPTH, SIDE, DEPTH], bf16.bf16())
    last_panels = code.alloc([p.columns // SIDE, STEP // 2, 2 * SIDE], bf16.bf16())

    def block(number: ir.Value) -> None:
        i = code.multiply(arith.divui(number, across), p.rows)
        j = code.multiply(arith.remui(number, across), p.columns)
        height = code.minimum(code.subtract(rows, i), p.rows)
        width = code.minimum(code.subtract(columns, j), p.columns)
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
        to_column = code.add(column, j)
        first_panel = arith.divui(j, code.index(SIDE))

        def piece(base: ir.Value, sums: ir.Value, own: Epilogue | None) -> None:
            panel = code.add(base, first_panel)
            outside = [] if own is None else [*before, *outputs]

            def run(source: ir.Value, first: bool, weight: ir.Value, *numbers: Any) -> None:
                type_ = matrix_type() if source == a else tiles_type()
                runs[type_, first, own](source, weight, sums, *outside, *numbers)

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
                    at = (0, width, to_column)
                    steps = (0, 0, STEP)
                    run(last_steps, first, last_panels, 0, *steps, code.true(), 0, height, *at, i)

                code.if_(code.less(whole, 1), lambda: last(True), lambda: last(False))

            code.if_(has_rest, rest)

        for base, sums in zip(bases[:-1], before, strict=True):
            piece(base, sums, None)
        piece(bases[-1], last_sums, epilogue)

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
