"""From scores to weights."""

import math
from collections.abc import Callable

from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.attention.lanes import across
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.attention.products import vectors
from rlx.schedules.cpu.code import Index

__all__ = ["cap", "finish", "hide", "inverse", "masked", "softmax"]


def cap(a: Problem, scores: ir.Value, spans: ir.Value, height: ir.Value) -> None:
    """Bounds scores, which are what tanh takes; then they are powers of two."""

    def row(i: ir.Value) -> None:
        low, high = vectors(a, spans, arith.divui(i, code.index(a.p.rows)))

        def some(k: ir.Value) -> None:
            score = code.load(scores, [i, k], a.lanes)
            code.store(code.tanh(score, a.softcap * math.log2(math.e)), scores, [i, k])

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

    def one(i: ir.Value) -> None:
        query, head = a.pair(group, code.add(row, i))
        seen = a.reach(code.add(offset, query), used)
        begin, end = vectors(a, spans, arith.divui(i, code.index(a.p.rows)))

        def some(k: ir.Value) -> None:
            score = code.load(scores, [i, k], a.lanes)
            at = [batch, head, query, code.add(start, k)]
            code.store(masked(a, score, seen, at, keys, mask), scores, [i, k])

        code.loop(begin, end, a.lanes, some)

    code.loop(0, height, 1, one)


def masked(
    a: Problem,
    score: ir.Value,
    seen: tuple[Index, Index],
    at: list[Index],
    keys: Index,
    mask: ir.Value | None,
) -> ir.Value:
    """Scores of batch, head, query and key ``at`` on, with the mask; -inf but for keys ``seen``."""
    begin, end = (
        code.maximum(code.minimum(code.subtract(bound, at[-1]), a.lanes), 0) for bound in seen
    )
    visible = code.between(begin, end, a.lanes)
    lowest = code.splat(-math.inf, a.lanes)
    if mask is not None:
        added = _load_mask(a, mask, at, keys)
        visible = arith.andi(visible, arith.cmpf(arith.CmpFPredicate.UNE, added, lowest))
        score = code.fma(added, code.splat(math.log2(math.e), a.lanes), score)
    return arith.select(visible, score, lowest)


def _load_mask(a: Problem, mask: ir.Value, at: list[Index], keys: Index) -> ir.Value:
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
    # The largest of all lanes are found for as many rows as there are lanes, together.
    largest = code.alloca([a.lanes, a.lanes], code.f32())
    bases = code.alloca([a.lanes], code.f32())
    columns = range(0, a.p.keys, a.lanes)

    def each(first: ir.Value, whole: Callable[..., None], part: Callable[..., None]) -> None:
        """Calls one of the two for every row from ``first`` on."""

        def row(n: ir.Value) -> None:
            i = code.add(first, n)
            low, high = vectors(a, spans, arith.divui(i, code.index(a.p.rows)))
            size = code.index(code.subtract(high, low))
            is_whole = arith.cmpi(arith.CmpIPredicate.eq, size, code.index(a.p.keys))
            code.if_(is_whole, lambda: whole(n, i), lambda: part(n, i, low, high))

        code.loop(0, code.minimum(code.subtract(height, first), a.lanes), 1, row)

    def compare_all(n: ir.Value, i: ir.Value) -> None:
        tops_here = [code.load(scores, [i, k], a.lanes) for k in columns]
        while len(tops_here) > 1:
            pairs = zip(tops_here[::2], tops_here[1::2], strict=True)
            tops_here = [code.larger(x, y) for x, y in pairs]
        code.store(tops_here[0], largest, [n, 0])

    def compare(n: ir.Value, i: ir.Value, low: ir.Value, high: ir.Value) -> None:
        def larger(k: ir.Value, top: ir.Value) -> list[ir.Value]:
            return [code.larger(code.load(scores, [i, k], a.lanes), top)]

        lowest = code.splat(-math.inf, a.lanes)
        code.store(code.loop(low, high, a.lanes, larger, [lowest])[0], largest, [n, 0])

    def update(first: ir.Value) -> None:
        """The largest scores so far, and what makes old sums sums in units of them."""
        found = [code.load(largest, [n, 0], a.lanes) for n in range(a.lanes)]
        before = code.load(tops, [first], a.lanes)
        now = code.larger(across(found, code.larger), before)
        code.store(now, tops, [first])
        # Nothing seen so far: any number will do.
        none = arith.cmpf(arith.CmpFPredicate.OEQ, now, code.splat(-math.inf, a.lanes))
        base = arith.select(none, code.splat(0.0, a.lanes), now)
        code.store(base, bases, [0])
        code.store(code.exp2(arith.subf(before, base)), factors, [first])

    def begin(n: ir.Value, i: ir.Value) -> tuple[ir.Value, ir.Value]:
        factor = code.broadcast(code.load_scalar(factors, [i]), a.lanes)
        base = code.broadcast(code.load_scalar(bases, [n]), a.lanes)
        return base, arith.mulf(code.load(totals, [i, 0], a.lanes), factor)

    def weigh(i: ir.Value, k: Index, base: ir.Value, total: ir.Value) -> ir.Value:
        weight = code.exp2(arith.subf(code.load(scores, [i, k], a.lanes), base))
        code.store(weight, scores, [i, k])
        return arith.addf(total, weight)

    def weigh_all(n: ir.Value, i: ir.Value) -> None:
        base, total = begin(n, i)
        for k in columns:
            total = weigh(i, k, base, total)
        code.store(total, totals, [i, 0])

    def weigh_some(n: ir.Value, i: ir.Value, low: ir.Value, high: ir.Value) -> None:
        base, total = begin(n, i)

        def step(k: ir.Value, total: ir.Value) -> list[ir.Value]:
            return [weigh(i, k, base, total)]

        (total,) = code.loop(low, high, a.lanes, step, [total])
        code.store(total, totals, [i, 0])

    def some(first: ir.Value) -> None:
        each(first, compare_all, compare)
        update(first)
        each(first, weigh_all, weigh_some)

    code.loop(0, height, a.lanes, some)


def finish(
    a: Problem,
    sums: ir.Value,
    totals: ir.Value,
    out: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    row: ir.Value,
    height: Index,
) -> ir.Value:
    """Divides by the sums of weights; a row without any gives zeros, whatever its sums are.

    The result is NaN if a sum that counts is not finite, else zero.
    """
    zeros = code.splat(0.0, a.lanes)

    def one(i: ir.Value, *flags: ir.Value) -> list[ir.Value]:
        query, head = a.pair(group, code.add(row, i))
        start = code.multiply(head, a.v_dims)
        by, empty = inverse(code.sum_of(code.load(totals, [i, 0], a.lanes)))
        factor = code.broadcast(by, a.lanes)
        new = list(flags)
        for n, e in enumerate(range(0, a.v_dims, a.lanes)):
            value = arith.select(empty, zeros, code.load(sums, [i, e], a.lanes))
            # Several sums, so that one does not wait for the other.
            new[n % 4] = code.fma(value, zeros, new[n % 4])
            at = [batch, query, code.add(start, e)]
            left = a.v_dims - e
            code.store(arith.mulf(value, factor), out, at, left if left < a.lanes else None)
        return new

    first, *others = code.loop(0, height, 1, one, [zeros] * 4)
    for other in others:
        first = arith.addf(first, other)
    return code.sum_of(first)


def inverse(total: ir.Value) -> tuple[ir.Value, ir.Value]:
    """One by a sum of weights, zero if there are none, and whether that is so."""
    zero = code.scalar(0.0)
    empty = arith.cmpf(arith.CmpFPredicate.OEQ, total, zero)
    return arith.select(empty, zero, arith.divf(code.scalar(1.0), total)), empty
