"""The two products of a tile: queries with keys, and weights with values."""

from collections.abc import Callable

from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.attention import ahead
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.code import Index

__all__ = ["add_safely", "add_values", "score", "span", "vectors"]

_UNROLL = 2  # spans of a strip are even
_SOME = 16  # dims of a cache line of f32


def score(
    a: Problem,
    block: ir.Value,
    tiles: ir.Value,
    out: ir.Value,
    spans: ir.Value,
    slot: ir.Value,
    height: ir.Value,
    query: ir.Value,
    result: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    next_row: ir.Value,
    own_row: ir.Value,
    follow: ir.Value,
) -> None:
    """Scores of a slice and a tile, where the rows of a strip see a key of a panel.

    Meanwhile memory is asked for what comes, see :func:`ahead.asks`: ``own_row`` is the first row
    of the slice, and ``next_row`` of one of the next block.
    """

    def panel(n: ir.Value) -> None:
        first = code.multiply(n, a.width)
        end = code.add(first, a.width)

        def strip(s: ir.Value) -> None:
            low, high = span(spans, s)
            seen = arith.andi(code.less(low, end), code.less(first, high))
            code.if_(seen, lambda: some(code.multiply(s, a.p.rows), low, high))

        def some(row: Index, low: ir.Value, high: ir.Value) -> None:
            if a.p.vectors != 2:
                rows(row, 0, a.p.vectors)
                return
            middle = code.add(first, a.lanes)
            is_left, is_right = code.less(low, middle), code.less(middle, high)
            start = arith.select(is_left, code.index(0), code.index(a.lanes))
            both = arith.andi(is_left, is_right)
            code.if_(both, lambda: rows(row, 0, 2), lambda: rows(row, start, 1))

        def rows(row: Index, start: Index, count: int) -> None:
            def load(d: Index, v: int) -> ir.Value:
                return code.load(tiles, [slot, n, d, code.add(start, v * a.lanes)], a.lanes)

            zeros = [code.splat(0.0, a.lanes)] * (a.p.rows * count)
            where = [batch, group, code.add(next_row, row), code.add(own_row, row), follow, n]
            ask = ahead.asks(a, query, result, *where)
            sums = _product(a, block, row, 0, a.dims, load, zeros, ask)
            _store(a, sums, out, row, code.add(first, start))

        code.loop(0, code.ceil_div(height, a.p.rows), 1, strip)

    code.loop(0, a.p.keys // a.width, 1, panel)


def add_values(
    a: Problem,
    weights: ir.Value,
    tiles: ir.Value,
    out: ir.Value,
    factors: ir.Value,
    spans: ir.Value,
    slot: ir.Value,
    height: ir.Value,
) -> None:
    """Scales sums and adds the values of a tile, weighted."""

    def panel(n: ir.Value) -> None:
        column = code.multiply(n, a.width)

        def load(k: Index, v: int) -> ir.Value:
            return code.load(tiles, [slot, n, k, v * a.lanes], a.lanes)

        def strip(s: ir.Value) -> None:
            low, high = span(spans, s)
            first = _is_first(spans, s)
            row = code.multiply(s, a.p.rows)
            code.if_(code.less(low, high), lambda: rows(row, low, high, first))

        def rows(row: Index, low: ir.Value, high: ir.Value, first: ir.Value) -> None:
            zeros = [code.splat(0.0, a.lanes)] * (a.p.rows * a.p.vectors)

            def scaled() -> list[ir.Value]:
                values = []
                for i in range(a.p.rows):
                    at = code.add(row, i)
                    factor = code.broadcast(code.load_scalar(factors, [at]), a.lanes)
                    for v in range(a.p.vectors):
                        before = code.load(out, [at, code.add(column, v * a.lanes)], a.lanes)
                        values.append(arith.mulf(before, factor))
                return values

            inits = code.if_(first, lambda: zeros, scaled, [zero.type for zero in zeros])
            sums = _product(a, weights, row, low, high, load, inits)
            _store(a, sums, out, row, column)

        code.loop(0, code.ceil_div(height, a.p.rows), 1, strip)

    code.loop(0, a.v_padded // a.width, 1, panel)


def span(spans: ir.Value, strip: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The keys [low, high) of the tile that count for a strip; both are even."""
    return code.load_raw(spans, [strip, 0]), code.load_raw(spans, [strip, 1])


def _is_first(spans: ir.Value, strip: ir.Value) -> ir.Value:
    """Whether a strip sees its first keys, so that there are no sums so far."""
    number = code.load_raw(spans, [strip, 2])
    return arith.cmpi(arith.CmpIPredicate.ne, number, code.index(0))


def vectors(a: Problem, spans: ir.Value, strip: ir.Value) -> tuple[Index, Index]:
    """The keys of a strip, and those that complete vectors."""
    low, high = span(spans, strip)
    begin = code.multiply(arith.divui(low, code.index(a.lanes)), a.lanes)
    return begin, code.round_up(high, a.lanes)


def _product(
    a: Problem,
    left: ir.Value,
    row: Index,
    low: Index,
    high: Index,
    load: Callable[[Index, int], ir.Value],
    inits: list[ir.Value],
    beside: Callable[[Index], None] | None = None,
) -> list[ir.Value]:
    """A register-blocked product of rows of ``left`` with what ``load`` gives.

    ``beside`` is called for every :data:`_SOME` steps.
    """
    rows = [code.add(row, i) for i in range(a.p.rows)]
    count = len(inits) // a.p.rows
    unroll = _UNROLL if not isinstance(high, int) or high % _UNROLL == 0 else 1

    def step(k: ir.Value, *sums: ir.Value) -> list[ir.Value]:
        new = list(sums)
        for u in range(unroll):
            here = code.add(k, u)
            right = [load(here, v) for v in range(count)]
            for i in range(a.p.rows):
                x = code.broadcast(code.load_scalar(left, [rows[i], here]), a.lanes)
                for v in range(count):
                    new[i * count + v] = code.fma(x, right[v], new[i * count + v])
        return new

    if beside is None or not isinstance(high, int) or high % _SOME:
        return code.loop(low, high, unroll, step, inits)

    def some(k: ir.Value, *sums: ir.Value) -> list[ir.Value]:
        beside(k)
        return code.loop(k, code.add(k, _SOME), unroll, step, sums)

    return code.loop(low, high, _SOME, some, inits)


def _store(a: Problem, sums: list[ir.Value], out: ir.Value, row: Index, column: Index) -> None:
    count = len(sums) // a.p.rows
    for i in range(a.p.rows):
        for v in range(count):
            place = [code.add(row, i), code.add(column, v * a.lanes)]
            code.store(sums[i * count + v], out, place)


def add_safely(
    a: Problem,
    weights: ir.Value,
    tiles: ir.Value,
    out: ir.Value,
    factors: ir.Value,
    spans: ir.Value,
    slot: ir.Value,
    height: ir.Value,
) -> None:
    """Like :func:`add_values`, but what has no weight is not looked at. Slow."""

    def row(i: ir.Value) -> None:
        strip = arith.divui(i, code.index(a.p.rows))
        low, high = span(spans, strip)
        is_first = _is_first(spans, strip)
        factor = code.broadcast(code.load_scalar(factors, [i]), a.lanes)

        def scale(e: ir.Value) -> None:
            before = arith.mulf(code.load(out, [i, e], a.lanes), factor)
            nothing = code.splat(0.0, a.lanes)
            code.store(arith.select(is_first, nothing, before), out, [i, e])

        def add(k: ir.Value) -> None:
            weight = code.load_scalar(weights, [i, k])
            counts = arith.cmpf(arith.CmpFPredicate.UNE, weight, code.scalar(0.0))

            def element(e: ir.Value) -> None:
                panel = arith.divui(e, code.index(a.width))
                at = [slot, panel, k, arith.remui(e, code.index(a.width))]
                before = code.load(out, [i, e], a.lanes)
                value = code.load(tiles, at, a.lanes)
                total = code.fma(code.broadcast(weight, a.lanes), value, before)
                code.store(total, out, [i, e])

            code.if_(counts, lambda: code.loop(0, a.v_padded, a.lanes, element))

        def both() -> None:
            code.loop(0, a.v_padded, a.lanes, scale)
            code.loop(low, high, 1, add)

        code.if_(code.less(low, high), both)

    code.loop(0, height, 1, row)
