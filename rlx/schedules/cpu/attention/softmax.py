"""From scores to weights."""

import math

from rlx.host import arith, ir
from rlx.host import math as mlir_math
from rlx.schedules.cpu import code
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.attention.products import vectors
from rlx.schedules.cpu.code import Index

__all__ = ["cap", "finish", "hide", "load_mask", "softmax"]


def cap(a: Problem, scores: ir.Value, spans: ir.Value, height: ir.Value) -> None:
    """Bounds scores, which are in units of the bound; then they are powers of two."""

    def row(i: ir.Value) -> None:
        low, high = vectors(a, spans, arith.divui(i, code.index(a.p.rows)))

        def some(k: ir.Value) -> None:
            bound = code.splat(a.softcap * math.log2(math.e), a.lanes)
            score = mlir_math.tanh(code.load(scores, [i, k], a.lanes))
            code.store(arith.mulf(score, bound), scores, [i, k])

        code.loop(low, high, a.lanes, some)

    code.loop(0, height, 1, row)


def hide(
    a: Problem,
    scores: ir.Value,
    spans: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    row: ir.Value,
    height: ir.Value,
    start: ir.Value,
    offset: ir.Value,
    used: ir.Value,
    keys: ir.Value,
    mask: ir.Value | None = None,
) -> None:
    """Adds the mask, and makes -inf of what a row does not see."""
    repeat = code.index(a.repeat)
    lowest = code.splat(-math.inf, a.lanes)

    def one(i: ir.Value) -> None:
        pair = code.add(row, i)
        query = arith.divui(pair, repeat)
        head = code.add(code.multiply(group, a.repeat), arith.remui(pair, repeat))
        low, high = a.reach(code.add(offset, query), used)
        begin, end = vectors(a, spans, arith.divui(i, code.index(a.p.rows)))

        def some(k: ir.Value) -> None:
            first = code.add(start, k)
            begin_here, end_here = (
                code.maximum(code.minimum(code.subtract(bound, first), a.lanes), 0)
                for bound in (low, high)
            )
            score = code.load(scores, [i, k], a.lanes)
            visible = code.between(begin_here, end_here, a.lanes)
            if mask is not None:
                added = load_mask(a, mask, [batch, head, query, first], keys)
                seen = arith.cmpf(arith.CmpFPredicate.UNE, added, lowest)
                visible = arith.andi(visible, seen)
                log2e = code.splat(math.log2(math.e), a.lanes)
                score = code.fma(added, log2e, score)
            code.store(arith.select(visible, score, lowest), scores, [i, k])

        code.loop(begin, end, a.lanes, some)

    code.loop(0, height, 1, one)


def load_mask(a: Problem, mask: ir.Value, at: list[Index], keys: Index) -> ir.Value:
    """Mask elements from batch, head, query and key ``at`` on."""
    shape = mask.type.shape
    place = at[4 - len(shape) :]
    place = [0 if size == 1 else i for size, i in zip(shape, place, strict=True)]
    if not shape or shape[-1] == 1:
        return code.broadcast(code.load_scalar(mask, place), a.lanes)
    return code.load(mask, place, a.lanes, code.subtract(keys, at[-1]))


def softmax(
    a: Problem,
    scores: ir.Value,
    tops: ir.Value,
    totals: ir.Value,
    factors: ir.Value,
    spans: ir.Value,
    height: ir.Value,
) -> None:
    """Weights in place of scores; new largest scores, sums of weights, and factors for sums."""
    lowest = code.splat(-math.inf, a.lanes)

    def row(i: ir.Value) -> None:
        low, high = vectors(a, spans, arith.divui(i, code.index(a.p.rows)))
        whole = arith.cmpi(arith.CmpIPredicate.eq, code.subtract(high, low), code.index(a.p.keys))
        code.if_(whole, lambda: all_keys(i), lambda: some_keys(i, low, high))

    def all_keys(i: ir.Value) -> None:
        columns = range(0, a.p.keys, a.lanes)
        values = [code.load(scores, [i, k], a.lanes) for k in columns]
        tops_here = values
        while len(tops_here) > 1:
            pairs = zip(tops_here[::2], tops_here[1::2], strict=True)
            tops_here = [code.larger(x, y) for x, y in pairs]
        base, total = update(i, tops_here[0])
        for k, value in zip(columns, values, strict=True):
            weight = code.exp2(arith.subf(value, base))
            code.store(weight, scores, [i, k])
            total = arith.addf(total, weight)
        code.store(total, totals, [i, 0])

    def some_keys(i: ir.Value, low: ir.Value, high: ir.Value) -> None:
        def larger(k: ir.Value, top: ir.Value) -> list[ir.Value]:
            return [code.larger(code.load(scores, [i, k], a.lanes), top)]

        (top,) = code.loop(low, high, a.lanes, larger, [lowest])
        base, total = update(i, top)

        def weigh(k: ir.Value, total: ir.Value) -> list[ir.Value]:
            weight = code.exp2(arith.subf(code.load(scores, [i, k], a.lanes), base))
            code.store(weight, scores, [i, k])
            return [arith.addf(total, weight)]

        (total,) = code.loop(low, high, a.lanes, weigh, [total])
        code.store(total, totals, [i, 0])

    def update(i: ir.Value, top: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The largest score so far, and the sums of weights in units of it."""
        before = code.load_scalar(tops, [i])
        now = code.larger(code.largest_of(top), before)
        code.store_scalar(now, tops, [i])
        # Nothing seen so far: any number will do.
        none = arith.cmpf(arith.CmpFPredicate.OEQ, now, code.scalar(-math.inf))
        base = code.broadcast(arith.select(none, code.scalar(0.0), now), a.lanes)
        factor = code.exp2(arith.subf(code.broadcast(before, a.lanes), base))
        code.store_scalar(code.first_of(factor), factors, [i])
        return base, arith.mulf(code.load(totals, [i, 0], a.lanes), factor)

    code.loop(0, height, 1, row)


def finish(
    a: Problem,
    sums: ir.Value,
    totals: ir.Value,
    out: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    row: ir.Value,
    height: Index,
) -> None:
    """Divides by the sums of weights; a row without any gives zeros."""
    repeat = code.index(a.repeat)

    def one(i: ir.Value) -> None:
        pair = code.add(row, i)
        head = code.add(code.multiply(group, a.repeat), arith.remui(pair, repeat))
        start = code.multiply(head, a.v_dims)
        total = code.sum_of(code.load(totals, [i, 0], a.lanes))
        zero = code.scalar(0.0)
        empty = arith.cmpf(arith.CmpFPredicate.OEQ, total, zero)
        inverse = arith.select(empty, zero, arith.divf(code.scalar(1.0), total))
        factor = code.broadcast(inverse, a.lanes)

        def copy(e: Index, count: Index | None) -> None:
            value = arith.mulf(code.load(sums, [i, e], a.lanes), factor)
            at = [batch, arith.divui(pair, repeat), code.add(start, e)]
            code.store(value, out, at, count)

        code.vectors(a.v_dims, a.lanes, copy)

    code.loop(0, height, 1, one)
