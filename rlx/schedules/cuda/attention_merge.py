"""Attention whose keys are split over blocks: what the blocks found becomes the result.

A block merges the parts of a row. Its threads first find how much each part counts; then groups of
them add up some of the parts each, several at a time, so that few loads wait for each other.
"""

import functools
import math
from collections.abc import Callable

from rlx.host import arith, ir, memref, vector
from rlx.schedules.cuda import code
from rlx.schedules.cuda.code import Index
from rlx.schedules.cuda.softmax import Problem
from rlx.schedules.cuda.tiles import Memory

__all__ = ["MOST_SPLITS", "THREADS", "merge", "shared"]

THREADS = 256
MOST_SPLITS = 768
_AT_ONCE = 4
"""Parts that a thread loads before it adds them."""


def _lanes(problem: Problem) -> int:
    return 4 if problem.v_dims % 4 == 0 else 1


def _across(problem: Problem) -> int:
    """Threads next to each other in a row."""
    return min(problem.v_dims // _lanes(problem), THREADS)


def _groups(problem: Problem) -> int:
    return THREADS // _across(problem)


def _factors(problem: Problem) -> int:
    """How many factors there is room for, with zeros behind those of the parts."""
    each = _groups(problem) * _AT_ONCE
    return -(-MOST_SPLITS // each) * each


def shared(problem: Problem) -> int:
    """Bytes of shared memory."""
    sizes = _factors(problem), _groups(problem) * problem.v_dims, THREADS // 32
    return sum(-(-size * 4 // 1024) * 1024 for size in sizes)


def merge(problem: Problem, sums: ir.Value, stats: ir.Value, result: ir.Value) -> None:
    """Emits the kernel.

    Args:
        problem: of the attention.
        sums: [splits, rows, 1, columns].
        stats: [splits, rows, 1, 2]: largest scores as exponents of two, and sums of weights.
        result: [batch, queries, heads * columns].
    """
    row, thread = code.block("x"), code.thread(THREADS)
    splits = code.dim(sums, 0)
    lanes, across, groups = _lanes(problem), _across(problem), _groups(problem)
    lowest, zero = code.scalar(-math.inf), code.scalar(0.0)
    memory, f32 = Memory(), code.f32()
    factors = memory.take([_factors(problem)], f32)
    partial = memory.take([groups, problem.v_dims], f32)
    scratch = memory.take([THREADS // 32], f32)

    def statistic(split: Index, which: int) -> ir.Value:
        return code.load_raw(stats, [split, row, 0, which])

    (top,) = code.loop(
        thread, splits, THREADS, lambda s, t: [code.larger(t, statistic(s, 0))], [lowest]
    )
    top = _over_block(top, code.larger, scratch, thread)
    none = arith.cmpf(arith.CmpFPredicate.OEQ, top, lowest)
    base = arith.select(none, zero, top)

    def weigh(split: ir.Value, total: ir.Value) -> list[ir.Value]:
        exists = code.less(split, splits)

        def weight() -> list[ir.Value]:
            factor = code.exp2(arith.subf(statistic(split, 0), base))
            return [factor, arith.mulf(statistic(split, 1), factor)]

        factor, share = code.if_(exists, weight, lambda: [zero, zero], [f32, f32])
        memref.store(factor, factors, [split])
        return [arith.addf(total, share)]

    each = groups * _AT_ONCE
    padded = code.multiply(code.ceil_div(splits, each), each)
    (total,) = code.loop(thread, padded, THREADS, weigh, [zero])
    total = _over_block(total, arith.addf, scratch, thread)  # the factors are there, too
    type_ = ir.VectorType.get([lanes], f32)
    nothing = code.zeros(type_)
    group, first = code.divide(thread, across), code.remainder(thread, across)

    def column(number: ir.Value) -> None:
        start = code.multiply(number, lanes)

        def add(split: ir.Value, found: ir.Value) -> list[ir.Value]:
            places = [code.add(split, n * groups) for n in range(_AT_ONCE)]
            values, scales = [], []
            for place in places:
                # The factors of those past the last part are zero.
                at = [code.minimum(place, code.subtract(splits, 1)), row, 0, start]
                indices = [code.index(i) for i in at]
                alignment = 4 * lanes
                values.append(vector.load(type_, sums, indices, alignment=alignment))
                scales.append(code.load_raw(factors, [place]))
            for value, scale in zip(values, scales, strict=True):
                # What has no weight may be infinite.
                gone = code.is_float(scale, 0.0)
                wide = vector.broadcast(type_, scale)
                found = code.fma(arith.select(gone, nothing, value), wide, found)
            return [found]

        (found,) = code.loop(group, splits, each, add, [nothing])
        vector.store(found, partial, [code.index(group), code.index(start)], alignment=4 * lanes)

    whole = groups * across
    active = code.less(thread, whole) if whole < THREADS else code.i1(True)
    code.if_(active, lambda: code.loop(first, problem.v_dims // lanes, across, column))
    code.barrier()
    element = ir.Type.parse(problem.element)
    heads, queries = problem.heads, code.dim(result, 1)
    query = code.divide(row, heads)
    place = [code.divide(query, queries), code.remainder(query, queries)]
    offset = code.multiply(code.remainder(row, heads), problem.v_dims)
    empty = arith.cmpf(arith.CmpFPredicate.OEQ, total, zero)
    inverse = arith.select(empty, zero, code.reciprocal(total))

    def finish(e: ir.Value) -> None:
        parts = [code.load_raw(partial, [g, e]) for g in range(groups)]
        value = arith.mulf(functools.reduce(arith.addf, parts), inverse)
        at = [code.index(i) for i in (*place, code.add(offset, e))]
        memref.store(arith.truncf(element, value), result, at)

    code.loop(thread, problem.v_dims, THREADS, finish)


def _over_block(
    value: ir.Value,
    combine: Callable[[ir.Value, ir.Value], ir.Value],
    scratch: ir.Value,
    thread: ir.Value,
) -> ir.Value:
    """Combines the values of all threads; a barrier before and after."""
    for distance in (16, 8, 4, 2, 1):
        value = combine(value, code.shuffle_xor(value, distance))
    code.barrier()  # nobody reads what was there before
    first = code.equal(code.remainder(thread, 32), 0)
    warp = code.index(code.warp_of(thread))
    code.if_(first, lambda: memref.store(value, scratch, [warp]))
    code.barrier()
    return functools.reduce(combine, [code.load_raw(scratch, [n]) for n in range(THREADS // 32)])
