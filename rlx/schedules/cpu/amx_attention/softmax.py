"""From scores to weights."""

import math

from rlx.host import arith, ir
from rlx.schedules.cpu import bf16, code
from rlx.schedules.cpu.amx import DEPTH, SIDE
from rlx.schedules.cpu.amx_attention.shapes import LOG2E, Shapes, factor, is_plain, within
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.attention.softmax import inverse, masked
from rlx.schedules.cpu.code import Index

__all__ = ["adjust", "bounded", "finish", "softmax"]


def adjust(
    s: Shapes,
    scores: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    row: ir.Value,
    height: ir.Value,
    start: ir.Value,
    low_tiles: ir.Value,
    high_tiles: ir.Value,
    count: ir.Value,
    offset: ir.Value,
    used: ir.Value,
    keys: ir.Value,
    mask: ir.Value | None = None,
) -> None:
    """Scale, bound and mask, and -inf for what a row does not see.

    Where nothing but the last is to be done, tiles from ``low_tiles`` to before ``high_tiles``,
    which all rows see, are left alone.
    """
    a = s.a

    def one(i: ir.Value) -> None:
        tile, place = within(i)
        query, head = a.pair(group, code.add(row, i))
        seen = a.reach(code.add(offset, query), used)

        def some(t: ir.Value) -> None:
            at = [tile, t, place, 0]
            value = code.load(scores, at, SIDE)
            if not is_plain(a):
                value = bounded(a, value)
            key = code.add(start, code.multiply(t, SIDE))
            value = masked(a, value, seen, [batch, head, query, key], keys, mask)
            code.store(value, scores, at)

        if is_plain(a):
            code.loop(0, low_tiles, 1, some)
            code.loop(high_tiles, count, 1, some)
        else:
            code.loop(0, count, 1, some)

    code.loop(0, height, 1, one)


def bounded(a: Problem, value: ir.Value) -> ir.Value:
    """Scores as powers of two."""
    if not a.softcap:
        return arith.mulf(value, code.splat(a.scale * LOG2E, SIDE))
    # tanh(x) = 1 - 2 / (1 + e^2x)
    twice = arith.mulf(value, code.splat(2 * LOG2E * a.scale / a.softcap, SIDE))
    most = code.splat(126.0, SIDE)
    twice = arith.select(arith.cmpf(arith.CmpFPredicate.OLT, most, twice), most, twice)
    bound = code.splat(a.softcap * LOG2E, SIDE)
    below = arith.addf(bf16.exp2(twice), code.splat(1.0, SIDE))
    part = arith.divf(code.splat(-2 * a.softcap * LOG2E, SIDE), below)
    return arith.addf(bound, part)


def softmax(
    s: Shapes,
    scores: ir.Value,
    weights: ir.Value,
    sums: ir.Value,
    tops: ir.Value,
    totals: ir.Value,
    factors: ir.Value,
    count: ir.Value,
    height: ir.Value,
) -> None:
    """Weights of ``count`` tiles of scores; what was summed up before is scaled accordingly."""
    scale = code.splat(factor(s.a), SIDE)
    lowest = code.splat(-math.inf, SIDE)
    one = code.scalar(1.0)

    def load(i: tuple[Index, Index], t: Index, n: int) -> ir.Value:
        return code.load(scores, [i[0], code.add(t, n), i[1], 0], SIDE)

    def row(i: ir.Value, least: ir.Value) -> list[ir.Value]:
        at = within(i)

        def larger(t: ir.Value, *tops: ir.Value) -> list[ir.Value]:
            return [code.larger(load(at, t, n), top) for n, top in enumerate(tops)]

        top = code.larger(*code.loop(0, count, 2, larger, [lowest] * 2))
        before = code.load_scalar(tops, [i])
        now = code.larger(code.largest_of(top), before)
        code.store_scalar(now, tops, [i])
        # Nothing seen so far: any number will do.
        none = arith.cmpf(arith.CmpFPredicate.OEQ, now, code.scalar(-math.inf))
        base = code.broadcast(arith.select(none, code.scalar(0.0), now), SIDE)
        base = arith.negf(arith.mulf(base, scale))
        first = arith.cmpf(arith.CmpFPredicate.OEQ, before, code.scalar(-math.inf))
        change = bf16.exp2(code.fma(code.broadcast(before, SIDE), scale, base))
        same = arith.ori(first, arith.cmpf(arith.CmpFPredicate.OEQ, now, before))
        change = arith.select(same, code.splat(1.0, SIDE), change)
        change_here = code.first_of(change)
        code.store_scalar(change_here, factors, [i])
        total = arith.mulf(code.load(totals, [i, 0], SIDE), change)

        def weigh(t: ir.Value, *carried: ir.Value) -> list[ir.Value]:
            parts = [bf16.exp2(code.fma(load(at, t, n), scale, base)) for n in range(2)]
            place = [at[0], arith.divui(t, code.index(2)), at[1], 0]
            bf16.store(bf16.narrow(bf16.join(*parts)), weights, place)
            return [arith.addf(c, part) for c, part in zip(carried, parts, strict=True)]

        parts = code.loop(0, count, 2, weigh, [total, code.splat(0.0, SIDE)])
        code.store(arith.addf(*parts), totals, [i, 0])
        return [arith.select(same, least, code.scalar(0.0))]

    (least,) = code.loop(0, height, 1, row, [one])
    changed = arith.cmpf(arith.CmpFPredicate.UNE, least, one)

    def rescale(i: ir.Value) -> None:
        tile, place = within(i)
        change = code.broadcast(code.load_scalar(factors, [i]), SIDE)
        for e in range(s.width):
            value = code.load(sums, [tile, e, place, 0], SIDE)
            code.store(arith.mulf(value, change), sums, [tile, e, place, 0])

    code.if_(changed, lambda: code.loop(0, height, 1, rescale))


def finish(
    s: Shapes,
    sums: ir.Value,
    totals: ir.Value,
    out: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    row: ir.Value,
    height: ir.Value,
) -> None:
    """Divides by the sums of weights; a row without any gives zeros."""
    a = s.a

    def one(i: ir.Value) -> None:
        tile, place = within(i)
        query, head = a.pair(group, code.add(row, i))
        column = code.multiply(head, a.v_dims)
        by, _ = inverse(code.sum_of(code.load(totals, [i, 0], SIDE)))
        by = code.broadcast(by, SIDE)
        for e in range(0, a.v_dims, DEPTH):
            halves = [
                arith.mulf(code.load(sums, [tile, e // SIDE + n, place, 0], SIDE), by)
                for n in range(2)
            ]
            at = [batch, query, code.add(column, e)]
            count = a.v_dims - e if e + DEPTH > a.v_dims else None
            bf16.store(bf16.narrow(bf16.join(*halves)), out, at, count)

    code.loop(0, height, 1, one)
