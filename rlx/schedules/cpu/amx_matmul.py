"""Products in bf16 with AMX, block by block.

A block of the result is computed from blocks of the inner dimension; its sums stay in memory, tile
by tile, between them. Two by two tiles of sums at a time stay in registers. Two panels of the
weight fill a third of the L1 cache; while they are used, those after them are fetched, some lines
at a time.

Rows of the input are read as they lie in memory. What does not fill two tiles, at the end of the
rows and of the inner dimension, is copied and filled up with zeros before.
"""

from functools import partial
from typing import Any

from rlx.host import arith, ir
from rlx.schedules.cpu import bf16, code
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
from rlx.schedules.cpu.bf16_product import product_by_blocks
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.epilogue import Epilogue

__all__ = ["product"]

_P = Parameters()


def product(kernels: Kernels, epilogue: Epilogue) -> Kernel:
    """As :func:`product_by_blocks` says."""
    run = partial(_blocks, kernels, epilogue)
    return product_by_blocks(kernels, "rlx_matmul_amx", epilogue, _P.rows, _P.columns, 500, run)


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
