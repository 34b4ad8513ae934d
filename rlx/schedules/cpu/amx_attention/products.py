"""The two products: queries with keys, and weights with values."""

from rlx.host import arith, ir
from rlx.schedules.cpu import amx, code
from rlx.schedules.cpu.amx import DEPTH, SIDE
from rlx.schedules.cpu.amx_attention.shapes import ROWS, Shapes, within
from rlx.schedules.cpu.code import Index

__all__ = ["add_safely", "add_values", "clear", "score"]

_UNROLLED = 8  # products of tiles


def clear(s: Shapes, sums: ir.Value, totals: ir.Value) -> None:
    zero = code.splat(0.0, SIDE)

    def row(i: ir.Value) -> None:
        tile, place = within(i)
        code.loop(0, s.width, 1, lambda e: code.store(zero, sums, [tile, e, place, 0]))
        code.store(zero, totals, [i, 0])

    code.loop(0, ROWS, 1, row)


_CELLS = [(x, y) for x in range(2) for y in range(2)]


def _step(totals: dict, load_a: list, load_b: list) -> None:
    """Adds the products of two by two tiles; ``load_*`` load them."""
    x0, y0 = load_a[0](), load_b[0]()
    totals[0, 0] = amx.multiply(x0, y0, totals[0, 0])
    y1 = load_b[1]()
    totals[0, 1] = amx.multiply(x0, y1, totals[0, 1])
    x1 = load_a[1]()
    totals[1, 0] = amx.multiply(x1, y0, totals[1, 0])
    totals[1, 1] = amx.multiply(x1, y1, totals[1, 1])


def score(
    s: Shapes,
    queries: ir.Value,
    tiles: ir.Value,
    out: ir.Value,
    first: ir.Value,
    count: ir.Value,
) -> None:
    """Products of all rows with ``count`` tiles of keys from tile ``first`` on."""

    def panel(n: ir.Value) -> None:
        def step(d: Index, *carried: ir.Value) -> list[ir.Value]:
            totals = dict(zip(_CELLS, carried, strict=True))
            _step(
                totals,
                [lambda x=x: amx.load(queries, [x, d, 0, 0]) for x in range(2)],
                [
                    lambda y=y: amx.load(tiles, [code.add(code.add(first, n), y), d, 0, 0])
                    for y in range(2)
                ],
            )
            return list(totals.values())

        totals = [amx.zero() for _ in _CELLS]
        if s.depth <= _UNROLLED:
            for d in range(s.depth):
                totals = step(d, *totals)
        else:
            totals = code.loop(0, s.depth, 1, step, totals)
        for (x, y), total in zip(_CELLS, totals, strict=True):
            amx.store(total, out, [x, code.add(n, y), 0, 0])

    code.loop(0, count, 2, panel)


def add_values(
    s: Shapes,
    weights: ir.Value,
    tiles: ir.Value,
    sums: ir.Value,
    first: ir.Value,
    count: ir.Value,
) -> None:
    """Adds products of weights with ``count`` tiles of values from tile ``first`` on."""

    def panel(n: ir.Value) -> None:
        def step(k: ir.Value, *carried: ir.Value) -> list[ir.Value]:
            totals = dict(zip(_CELLS, carried, strict=True))
            _step(
                totals,
                [lambda x=x: amx.load(weights, [x, k, 0, 0]) for x in range(2)],
                [
                    lambda y=y: amx.load(tiles, [code.add(first, k), code.add(n, y), 0, 0])
                    for y in range(2)
                ],
            )
            return list(totals.values())

        totals = [amx.load_sums(sums, [x, code.add(n, y), 0, 0]) for x, y in _CELLS]
        totals = code.loop(0, count, 1, step, totals)
        for (x, y), total in zip(_CELLS, totals, strict=True):
            amx.store(total, sums, [x, code.add(n, y), 0, 0])

    code.loop(0, s.width, 2, panel)


def add_safely(
    s: Shapes,
    weights: ir.Value,
    value: ir.Value,
    sums: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    start: ir.Value,
    end: ir.Value,
    height: ir.Value,
) -> None:
    """Like :func:`add_values`, but what has no weight is not looked at. Slow."""
    column = code.multiply(group, s.a.v_dims)

    def row(i: ir.Value) -> None:
        tile, place = within(i)

        def add(k: ir.Value) -> None:
            at = code.subtract(k, start)
            depth = code.index(DEPTH)
            where = [tile, arith.divui(at, depth), place, arith.remui(at, depth)]
            weight = code.load_scalar(weights, where)
            counts = arith.cmpf(arith.CmpFPredicate.UNE, weight, code.scalar(0.0))

            def element(e: ir.Value, count: Index | None) -> None:
                here = [tile, within(e)[0], place, 0]
                values = code.load(value, [batch, k, code.add(column, e)], SIDE, count)
                before = code.load(sums, here, SIDE)
                code.store(code.fma(code.broadcast(weight, SIDE), values, before), sums, here)

            code.if_(counts, lambda: code.vectors(s.a.v_dims, SIDE, element))

        code.loop(start, end, 1, add)

    code.loop(0, height, 1, row)
