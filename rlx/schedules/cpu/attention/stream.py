"""The two products for a few rows, with keys and values as they lie in memory.

A row of keys, a vector along the dims, meets every row of queries while it is in a register; sums
over the lanes are left to the end, where as many are made at a time as a vector has lanes.
"""

from collections.abc import Sequence

from rlx.host import arith, ir, memref, vector
from rlx.schedules.cpu import code
from rlx.schedules.cpu.attention.lanes import across
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.code import Index

__all__ = ["add_rows", "add_rows_safely", "scale", "score_rows"]

# Where there are so many rows for a byte of keys, computing keeps loads from running ahead: keys
# and values are asked for, so many rows before they are needed. Elsewhere that has been slower.
_MANY_ROWS = 2
_AHEAD = 32

_LINE = 64  # bytes that come at a time


def score_rows(
    a: Problem,
    queries: ir.Value,
    key: ir.Value,
    out: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    start: ir.Value,
    low: ir.Value,
    high: ir.Value,
    height: ir.Value,
) -> None:
    """Scores of keys ``low`` to ``high`` of a tile, and of what completes a vector.

    The last key stands in for those past ``high``.
    """
    rows = a.p.rows
    count = a.lanes // rows
    column = code.multiply(group, a.dims)
    last = code.add(start, code.subtract(high, 1))

    def some(k: ir.Value) -> None:
        first = code.add(start, k)
        keys = [code.minimum(code.add(first, n), last) for n in range(count)]
        for n in range(count):
            _fetch(a, key, [batch, code.add(first, _AHEAD + n), column], a.dims)
        code.loop(0, height, rows, lambda row: block(k, keys, row))

    def block(k: ir.Value, keys: list[Index], row: ir.Value) -> None:
        def step(d: Index, sums: Sequence[ir.Value], part: int | None) -> list[ir.Value]:
            at = code.add(column, d)
            right = [code.load(key, [batch, n, at], a.lanes, part) for n in keys]
            new = []
            for i in range(rows):
                left = code.load(queries, [code.add(row, i), d], a.lanes, part)
                new += [
                    code.fma(left, x, total)
                    for x, total in zip(right, sums[i * count : (i + 1) * count], strict=True)
                ]
            return new

        whole = a.dims - a.dims % a.lanes
        sums = [code.splat(0.0, a.lanes)] * a.lanes
        sums = code.loop(0, whole, a.lanes, lambda d, *sums: step(d, sums, None), sums)
        if whole < a.dims:
            sums = step(whole, sums, a.dims - whole)
        totals = across(sums, arith.addf)
        for i in range(rows):
            lanes = list(range(i * count, (i + 1) * count))
            part = totals if rows == 1 else vector.shuffle(totals, totals, lanes)
            code.store(part, out, [code.add(row, i), k])

    code.loop(low, high, count, some)


def scale(a: Problem, sums: ir.Value, factors: ir.Value, height: ir.Value) -> None:
    """Sums so far, in units of weights to come."""

    def row(i: ir.Value) -> None:
        factor = code.broadcast(code.load_scalar(factors, [i]), a.lanes)

        def some(e: ir.Value) -> None:
            code.store(arith.mulf(code.load(sums, [i, e], a.lanes), factor), sums, [i, e])

        code.loop(0, a.v_padded, a.lanes, some)

    code.loop(0, height, 1, row)


def add_rows(
    a: Problem,
    weights: ir.Value,
    value: ir.Value,
    out: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    start: ir.Value,
    low: ir.Value,
    high: ir.Value,
    height: ir.Value,
) -> None:
    """Adds values of keys ``low`` to ``high`` of a tile, weighted."""
    rows = a.p.rows
    column = code.multiply(group, a.v_dims)
    # As many sums as leave registers for what they are made of.
    most = max(a.isa.registers // 2 // rows, 1)
    vectors = list(range(0, a.v_dims, a.lanes))

    def some(parts: list[int], row: ir.Value) -> None:
        places = [[code.add(row, i), e] for i in range(rows) for e in parts]
        inits = [code.load(out, at, a.lanes) for at in places]

        def step(k: ir.Value, *sums: ir.Value) -> list[ir.Value]:
            here = code.add(start, k)
            ahead = [batch, code.add(here, _AHEAD), code.add(column, parts[0])]
            _fetch(a, value, ahead, len(parts) * a.lanes)
            right = [_load_value(a, value, batch, here, column, e) for e in parts]
            new = []
            for i in range(rows):
                x = code.load_scalar(weights, [code.add(row, i), k])
                x = code.broadcast(x, a.lanes)
                new += [code.fma(x, y, sums[i * len(parts) + n]) for n, y in enumerate(right)]
            return new

        sums = code.loop(low, high, 1, step, inits)
        for total, at in zip(sums, places, strict=True):
            code.store(total, out, at)

    for n in range(0, len(vectors), most):
        parts = vectors[n : n + most]
        code.loop(0, height, rows, lambda row, parts=parts: some(parts, row))


def _load_value(
    a: Problem, value: ir.Value, batch: ir.Value, k: Index, column: Index, e: int
) -> ir.Value:
    left = a.v_dims - e
    at = [batch, k, code.add(column, e)]
    return code.load(value, at, a.lanes, left if left < a.lanes else None)


def _fetch(a: Problem, buffer: ir.Value, at: list[Index], count: int) -> None:
    """Asks for ``count`` elements, where that helps. There need not be any."""
    width = a.element.width
    if a.p.rows * 8 // width < _MANY_ROWS:
        return
    for n in range(0, count, _LINE * 8 // width):
        place = [code.index(i) for i in (*at[:-1], code.add(at[-1], n))]
        memref.prefetch(buffer, place, is_write=False, locality_hint=2, is_data_cache=True)


def add_rows_safely(
    a: Problem,
    weights: ir.Value,
    value: ir.Value,
    out: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    start: ir.Value,
    low: ir.Value,
    high: ir.Value,
    height: ir.Value,
) -> None:
    """Like :func:`add_rows`, but what has no weight is not looked at. Slow."""
    column = code.multiply(group, a.v_dims)
    vectors = range(0, a.v_dims, a.lanes)

    def row(i: ir.Value) -> None:
        def add(k: ir.Value) -> None:
            weight = code.load_scalar(weights, [i, k])
            counts = arith.cmpf(arith.CmpFPredicate.UNE, weight, code.scalar(0.0))
            here = code.add(start, k)

            def every() -> None:
                for e in vectors:
                    x = _load_value(a, value, batch, here, column, e)
                    before = code.load(out, [i, e], a.lanes)
                    total = code.fma(code.broadcast(weight, a.lanes), x, before)
                    code.store(total, out, [i, e])

            code.if_(counts, every)

        code.loop(low, high, 1, add)

    code.loop(0, height, 1, row)
