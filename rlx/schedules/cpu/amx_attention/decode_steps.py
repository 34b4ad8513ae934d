"""The steps of attention of a few rows: products with keys and values as they lie, and weights."""

import math
from typing import Any

from rlx.host import arith, ir, memref, vector
from rlx.schedules.cpu import amx, bf16, code
from rlx.schedules.cpu.amx import DEPTH, SIDE
from rlx.schedules.cpu.amx_attention.shapes import WIDTH, Shapes, factor, is_plain
from rlx.schedules.cpu.amx_attention.softmax import bounded
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.bf16 import PAIRS
from rlx.schedules.cpu.code import Index

__all__ = ["add_safely", "add_values", "base_of", "score", "softmax", "turn_queries"]

_KEYS_AHEAD = 64  # keys that are fetched before they are multiplied
_VALUES_AHEAD = 32


def _rows(a: Problem) -> int:
    """Rows whose sums are kept in registers."""
    return min(a.repeat, 4) if a.repeat != 3 else 4


def base_of(top: ir.Value, scale: ir.Value) -> ir.Value:
    """What to add to scaled scores; any number will do where there is none so far."""
    none = arith.cmpf(arith.CmpFPredicate.OEQ, top, code.splat(-math.inf, SIDE))
    return arith.negf(arith.mulf(arith.select(none, code.splat(0.0, SIDE), top), scale))


def turn_queries(s: Shapes, queries: ir.Value, turned: ir.Value) -> None:
    """Queries as columns."""
    for d in range(s.depth):
        rows = [bf16.load(queries, [0, d, i, 0]) for i in range(SIDE)]
        for p, pairs in enumerate(bf16.transpose_pairs(rows)):
            bf16.store(pairs, turned, [d, p, 0])


def score(
    s: Shapes,
    key: ir.Value,
    turned: ir.Value,
    scores: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    start: ir.Value,
    count: ir.Value,
) -> None:
    """Products of ``count`` keys from ``start`` on with all rows; [key, row]."""
    depth = s.depth
    column = code.multiply(group, s.a.dims)
    spare = code.alloca([depth, SIDE, DEPTH], bf16.bf16())
    whole = arith.subi(count, arith.remui(count, code.index(SIDE)))

    def products(load: Any, t: ir.Value) -> None:
        total = amx.zero()
        for d in range(depth):
            total = amx.multiply(load(d), amx.load(turned, [d, 0, 0]), total)
        amx.store(total, scores, [t, 0])

    def tile(t: ir.Value) -> None:
        k = code.add(start, t)
        for i in range(SIDE):
            ahead = code.add(k, _KEYS_AHEAD + i)
            for d in range(depth):
                amx.prefetch(key, [batch, ahead, code.add(column, d * DEPTH)])
        products(lambda d: amx.load(key, [batch, k, code.add(column, d * DEPTH)]), t)

    def last(t: ir.Value) -> None:
        left = code.subtract(count, t)

        def copy(i: ir.Value) -> None:
            for d in range(depth):
                at = [batch, code.add(code.add(start, t), i), code.add(column, d * DEPTH)]
                bf16.store(bf16.load(key, at), spare, [d, i, 0])

        def clear(i: ir.Value) -> None:
            for d in range(depth):
                bf16.store(bf16.zero(), spare, [d, i, 0])

        code.loop(0, left, 1, copy)
        code.loop(left, SIDE, 1, clear)
        products(lambda d: amx.load(spare, [d, 0, 0]), t)

    code.loop(0, whole, SIDE, tile)
    code.loop(whole, count, SIDE, last)


def softmax(
    s: Shapes,
    scores: ir.Value,
    weights: ir.Value,
    bounds: ir.Value,
    tops: ir.Value,
    totals: ir.Value,
    factors: ir.Value,
    number: ir.Value,
    start: ir.Value,
    count: ir.Value,
) -> None:
    """Weights of keys for all rows, and the factors for what was summed up before."""
    a = s.a
    scale = code.splat(factor(a), SIDE)
    lowest = code.splat(-math.inf, SIDE)
    ints = ir.VectorType.get([SIDE], ir.IntegerType.get_signless(32))
    low, high = (vector.load(ints, bounds, [code.index(n), code.index(0)]) for n in range(2))

    def visible(k: ir.Value, top: ir.Value) -> list[ir.Value]:
        key = code.broadcast(
            arith.index_cast(ir.IntegerType.get_signless(32), code.add(start, k)), SIDE
        )
        seen = arith.andi(
            arith.cmpi(arith.CmpIPredicate.sge, key, low),
            arith.cmpi(arith.CmpIPredicate.slt, key, high),
        )
        score = code.load(scores, [k, 0], SIDE)
        if not is_plain(a):
            score = bounded(a, score)
        score = arith.select(seen, score, lowest)
        code.store(score, scores, [k, 0])
        return [code.larger(score, top)]

    before = code.load(tops, [number, 0], SIDE)
    (now,) = code.loop(0, count, 1, visible, [before])
    code.store(now, tops, [number, 0])
    base = base_of(now, scale)
    same = arith.cmpf(arith.CmpFPredicate.OEQ, now, before)
    change = bf16.exp2(code.fma(before, scale, base))
    change = arith.select(same, code.splat(1.0, SIDE), change)
    code.store(change, factors, [0])
    # An odd key at the end stands beside one without weight.
    odd = arith.remui(count, code.index(2))
    code.loop(count, code.add(count, odd), 1, lambda k: code.store(lowest, scores, [k, 0]))

    def weigh(pair: ir.Value, *sums: ir.Value) -> list[ir.Value]:
        k = code.multiply(pair, 2)
        both = [
            bf16.exp2(code.fma(code.load(scores, [code.add(k, n), 0], SIDE), scale, base))
            for n in range(2)
        ]
        low, high = (bf16.narrow(weight) for weight in both)
        order = [lane + SIDE * n for lane in range(SIDE) for n in range(2)]
        mixed = vector.shuffle(low, high, order)
        place = [code.index(pair), code.index(0)]
        vector.store(vector.bitcast(bf16.integers(), mixed), weights, place)
        return [arith.addf(total, weight) for total, weight in zip(sums, both, strict=True)]

    total = arith.mulf(code.load(totals, [number, 0], SIDE), change)
    parts = code.loop(0, code.ceil_div(count, 2), 1, weigh, [total, code.splat(0.0, SIDE)])
    code.store(arith.addf(*parts), totals, [number, 0])


def add_values(
    s: Shapes,
    value: ir.Value,
    weights: ir.Value,
    factors: ir.Value,
    sums: ir.Value,
    number: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    start: ir.Value,
    count: ir.Value,
    rows: ir.Value,
) -> None:
    """Adds products of weights with values of ``count`` keys."""
    a, height = s.a, _rows(s.a)
    column = code.multiply(group, a.v_dims)
    whole = arith.divui(count, code.index(2))

    def dims(e: Index, row: ir.Value, width: int) -> None:
        spans = [(n, min(width - n, DEPTH)) for n in range(0, width, DEPTH)]
        cells = [(i, n) for i in range(height) for n in range(2 * len(spans))]

        def load(k: Index, n: int, size: int) -> ir.Value:
            at = [batch, code.add(start, k), code.add(code.add(column, e), n)]
            return bf16.load(value, at, size if size < DEPTH else None)

        def add(pair: ir.Value, carried: tuple[ir.Value, ...], both: bool) -> list[ir.Value]:
            k = code.multiply(pair, 2)
            mixed: list[ir.Value] = []
            for n, size in spans:
                other = load(code.add(k, 1), n, size) if both else bf16.zero()
                mixed += bf16.interleave(load(k, n, size), other)
                for i in range(2):
                    ahead = code.add(code.add(start, k), _VALUES_AHEAD + i)
                    amx.prefetch(value, [batch, ahead, code.add(code.add(column, e), n)])
            totals = dict(zip(cells, carried, strict=True))
            for i in range(height):
                weight = memref.load(weights, [code.index(pair), code.index(code.add(row, i))])
                x = vector.bitcast(bf16.pairs(), code.broadcast(weight, PAIRS))
                for n, values in enumerate(mixed):
                    totals[i, n] = bf16.dot(totals[i, n], x, values)
            return list(totals.values())

        places = [[number, code.add(row, i), code.add(e, n * SIDE)] for i, n in cells]
        change = [
            code.broadcast(code.load_scalar(factors, [code.add(row, i)]), SIDE)
            for i in range(height)
        ]
        totals = [
            arith.mulf(code.load(sums, place, SIDE), change[i])
            for place, (i, _) in zip(places, cells, strict=True)
        ]
        totals = code.loop(0, whole, 1, lambda p, *c: add(p, c, True), totals)
        totals = code.loop(
            whole, code.ceil_div(count, 2), 1, lambda p, *c: add(p, c, False), totals
        )
        for place, total in zip(places, totals, strict=True):
            code.store(total, sums, place)

    def some_rows(row: ir.Value) -> None:
        last = a.v_dims % WIDTH
        code.loop(0, a.v_dims - last, WIDTH, lambda e: dims(e, row, WIDTH))
        if last:
            dims(a.v_dims - last, row, last)

    code.loop(0, rows, height, some_rows)


def add_safely(
    s: Shapes,
    value: ir.Value,
    weights: ir.Value,
    factors: ir.Value,
    sums: ir.Value,
    number: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    start: ir.Value,
    count: ir.Value,
    rows: ir.Value,
) -> None:
    """Like :func:`add_values`, but what has no weight is not looked at. Slow."""
    a = s.a
    column = code.multiply(group, a.v_dims)
    f32 = code.f32()

    def row(i: ir.Value) -> None:
        change = code.broadcast(code.load_scalar(factors, [i]), SIDE)

        def scale(d: ir.Value) -> None:
            at = [number, i, d]
            code.store(arith.mulf(code.load(sums, at, SIDE), change), sums, at)

        def add(k: ir.Value) -> None:
            pair = memref.load(weights, [arith.divui(k, code.index(2)), i])
            is_low = arith.cmpi(
                arith.CmpIPredicate.eq, arith.remui(k, code.index(2)), code.index(0)
            )
            low = arith.shli(pair, arith.constant(ir.IntegerType.get_signless(32), 16))
            high = arith.andi(pair, arith.constant(ir.IntegerType.get_signless(32), -65536))
            weight = arith.bitcast(f32, arith.select(is_low, low, high))
            counts = arith.cmpf(arith.CmpFPredicate.UNE, weight, code.scalar(0.0))

            def element(e: ir.Value, inside: Index | None) -> None:
                at = [number, i, e]
                here = [batch, code.add(start, k), code.add(column, e)]
                values = code.load(value, here, SIDE, inside)
                total = code.load(sums, at, SIDE)
                code.store(code.fma(code.broadcast(weight, SIDE), values, total), sums, at)

            code.if_(counts, lambda: code.vectors(a.v_dims, SIDE, element))

        code.loop(0, s.decode_width, SIDE, scale)
        code.loop(0, count, 1, add)

    code.loop(0, rows, 1, row)
