"""Attention of a few rows with AMX and AVX512-BF16: keys and values are read once, as they lie.

Up to 16 rows, pairs of a query and a head of the group, are the columns of a tile: keys from memory
are the other factor, so that scores have rows in their lanes, and neither the largest nor the sum
is one across a register. Weights of two keys side by side multiply values of two keys, mixed as
they are read. Keys are split into parts, which threads share; what they find is put together at the
end.

Values that are not finite show in the sums; then the part is computed once more, without the
products that have a weight of zero.
"""

import math
from typing import Any

from rlx.host import arith, ir
from rlx.schedules.cpu import bf16, code
from rlx.schedules.cpu.amx import DEPTH, SIDE
from rlx.schedules.cpu.amx_attention import copies, decode_steps
from rlx.schedules.cpu.amx_attention.decode_steps import base_of
from rlx.schedules.cpu.amx_attention.shapes import KEYS, Shapes, factor
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.attention.softmax import inverse
from rlx.schedules.cpu.code import Index, Kernel

__all__ = ["Decode", "suits"]

_PART = 2 * KEYS  # keys that one thread takes at least


def suits(a: Problem) -> bool:
    """Whether keys can be read as they lie, and no mask has to be turned around."""
    return a.key_rotation is None and a.dims % DEPTH == 0 and a.mask is None


def _i32() -> ir.Type:
    return ir.IntegerType.get_signless(32)


class Decode:
    """The kernel for parts of the keys of all heads.

    Args:
        whole: the attention that it is a part of, with methods ``define``, ``named``, ``extent``
            and ``place``.
    """

    def __init__(self, whole: Any):
        self.whole, self.a, self.s = whole, whole.a, Shapes(whole.a)

    # -- buffers -----------------------------------------------------------------------------------

    @property
    def results(self) -> list[ir.MemRefType]:
        """For every part: the largest scores and the sums of weights of all rows, and the sums."""
        stats = ir.MemRefType.get([code.DYNAMIC, SIDE], code.f32())
        return [
            stats,
            stats,
            ir.MemRefType.get([code.DYNAMIC, SIDE, self.s.decode_width], code.f32()),
        ]

    @property
    def _turned(self) -> ir.MemRefType:
        return ir.MemRefType.get([self.s.depth, SIDE, DEPTH], bf16.bf16())

    @property
    def _scores(self) -> ir.MemRefType:
        return ir.MemRefType.get([KEYS, SIDE], code.f32())

    @property
    def _weights(self) -> ir.MemRefType:
        """Of two keys side by side."""
        return ir.MemRefType.get([KEYS // 2, SIDE], _i32())

    @property
    def _bounds(self) -> ir.MemRefType:
        """The first key that a row sees, and the one after the last."""
        return ir.MemRefType.get([2, SIDE], _i32())

    # -- the whole ---------------------------------------------------------------------------------

    def emit(self, heads: Index, nanoseconds: Index, buffers: list[ir.Value]) -> None:
        """Calls of the kernels for all heads."""
        a, whole = self.a, self.whole
        given = whole.named(buffers)
        span: Index = given["keys"]
        if a.left >= 0 and (a.causal or a.right >= 0):
            beside = a.left + (0 if a.causal else a.right)
            span = code.minimum(span, code.add(code.dim(given["query"], 1), beside))
        # Whatever the number of threads, so that results do not depend on it.
        splits = code.index(code.maximum(code.ceil_div(span, _PART), 1))
        count = code.multiply(heads, splits)
        results = [
            code.alloc([count, *type_.shape[1:]], type_.element_type) for type_ in self.results
        ]
        index = ir.IndexType.get()
        types = [*whole.types, *self.results, index]
        parts = whole.parallel("decode", types, self.parts)
        merge = whole.parallel("merge", types, self.merge)
        threads = whole.kernels.parts(count, nanoseconds)
        parts(threads, count, *buffers, *results, splits)
        merge(1, heads, *buffers, *results, splits)

    def parts(self, part: ir.Value, low: ir.Value, high: ir.Value, *given: ir.Value) -> None:
        """Parts [low, high) of the keys of all heads."""
        *buffers, tops, totals, sums, splits = given
        a, whole = self.a, self.whole
        named = whole.named(buffers)
        index = ir.IndexType.get()
        turn = [] if a.query_rotation is None else a.query_rotation.types
        stats = ir.MemRefType.get([SIDE], code.f32())

        def define(build: Any, types: list[ir.Type]) -> Kernel:
            return whole.define(build, types, what="amx_decode")

        load = define(copies.load_queries, [a.storage, self.s.queries, *[index] * 4, *turn])
        turn_queries = define(decode_steps.turn_queries, [self.s.queries, self._turned])
        score = define(decode_steps.score, [a.storage, self._turned, self._scores, *[index] * 4])
        softmax = define(
            decode_steps.softmax,
            [self._scores, self._weights, self._bounds, *self.results[:2], stats, *[index] * 3],
        )
        add_types = [a.storage, self._weights, stats, self.results[2], *[index] * 6]
        add, add_safely = (
            define(f, add_types) for f in (decode_steps.add_values, decode_steps.add_safely)
        )
        queries = code.alloc(self.s.queries.shape, bf16.bf16())
        turned = code.alloc(self._turned.shape, bf16.bf16())
        scores = code.alloc(self._scores.shape, code.f32())
        weights = code.alloc(self._weights.shape, _i32())
        bounds = code.alloca(self._bounds.shape, _i32())
        factors = code.alloca([SIDE], code.f32())
        rows_of = code.dim(named["query"], 1)
        rows = code.multiply(rows_of, a.repeat)

        def one(number: ir.Value) -> None:
            head = arith.divui(number, splits)
            batch, group = whole.place(head)
            used, offset = whole.extent(named, batch, rows_of)
            low, _ = a.reach(offset, used)
            _, high = a.reach(code.subtract(code.add(offset, rows_of), 1), used)
            span = code.subtract(code.maximum(high, low), low)
            blocks = code.ceil_div(span, KEYS)
            own = arith.remui(number, splits)
            begin = code.add(low, code.multiply(_share(own, blocks, splits), KEYS))
            end = code.add(low, code.multiply(_share(code.add(own, 1), blocks, splits), KEYS))
            end = code.minimum(end, high)
            code.store(code.splat(-math.inf, SIDE), tops, [number, 0])

            def prepare() -> None:
                load(named["query"], queries, batch, group, 0, rows, *named["query_tables"])
                turn_queries(queries, turned)
                self.bound(bounds, offset, used)

            code.if_(code.less(begin, end), prepare)

            def attempt(again: ir.Value) -> None:
                code.store(code.splat(0.0, SIDE), totals, [number, 0])

                def clear(i: ir.Value) -> None:
                    for d in range(0, self.s.decode_width, SIDE):
                        code.store(code.splat(0.0, SIDE), sums, [number, i, d])

                code.loop(0, SIDE, 1, clear)

                def block(start: ir.Value) -> None:
                    count = code.minimum(code.subtract(end, start), KEYS)
                    score(named["key"], turned, scores, batch, group, start, count)
                    softmax(scores, weights, bounds, tops, totals, factors, number, start, count)
                    where = (named["value"], weights, factors, sums)
                    place = (number, batch, group, start, count, rows)
                    code.if_(again, lambda: add_safely(*where, *place), lambda: add(*where, *place))

                code.loop(begin, end, KEYS, block)

            attempt(arith.constant(ir.IntegerType.get_signless(1), 0))
            is_bad = self.not_finite(sums, number, rows)
            code.if_(is_bad, lambda: attempt(code.true()))

        code.loop(low, high, 1, one)

    def bound(self, bounds: ir.Value, offset: Index, used: Index) -> None:
        """The keys that rows see."""

        def row(i: ir.Value) -> None:
            query = arith.divui(i, code.index(self.a.repeat))
            reach = self.a.reach(code.add(offset, query), used)
            for n, key in enumerate(reach):
                code.store_scalar(arith.index_cast(_i32(), code.index(key)), bounds, [n, i])

        code.loop(0, SIDE, 1, row)

    def not_finite(self, sums: ir.Value, number: ir.Value, rows: Index) -> ir.Value:
        """Whether any sum of a part is infinite or NaN."""
        zero = code.splat(0.0, SIDE)

        def row(i: ir.Value, flag: ir.Value) -> list[ir.Value]:
            for d in range(0, self.s.decode_width, SIDE):
                flag = code.fma(code.load(sums, [number, i, d], SIDE), zero, flag)
            return [flag]

        flag = code.sum_of(code.loop(0, rows, 1, row, [zero])[0])
        return arith.cmpf(arith.CmpFPredicate.UNO, flag, flag)

    def merge(self, part: ir.Value, low: ir.Value, high: ir.Value, *given: ir.Value) -> None:
        """Puts the parts of heads [low, high) together."""
        *buffers, tops, totals, sums, splits = given
        a, whole = self.a, self.whole
        named = whole.named(buffers)
        rows = code.multiply(code.dim(named["query"], 1), a.repeat)
        scale = code.splat(factor(a), SIDE)

        def head(number: ir.Value) -> None:
            batch, group = whole.place(number)
            first = code.multiply(number, splits)
            end = code.add(first, splits)

            def larger(n: ir.Value, top: ir.Value) -> list[ir.Value]:
                return [code.larger(code.load(tops, [n, 0], SIDE), top)]

            (top,) = code.loop(first, end, 1, larger, [code.splat(-math.inf, SIDE)])
            base = base_of(top, scale)

            def weigh(n: ir.Value, total: ir.Value) -> list[ir.Value]:
                # Takes the place of what it is made of.
                factor = bf16.exp2(code.fma(code.load(tops, [n, 0], SIDE), scale, base))
                code.store(factor, tops, [n, 0])
                return [code.fma(factor, code.load(totals, [n, 0], SIDE), total)]

            (total,) = code.loop(first, end, 1, weigh, [code.splat(0.0, SIDE)])
            code.store(total, totals, [first, 0])

            def row(i: ir.Value) -> None:
                by, _ = inverse(code.load_scalar(totals, [first, i]))
                by = code.broadcast(by, SIDE)
                query, own = a.pair(group, i)
                column = code.multiply(own, a.v_dims)

                def some(e: ir.Value, count: Index | None) -> None:
                    def add(n: ir.Value, total: ir.Value) -> list[ir.Value]:
                        factor = code.broadcast(code.load_scalar(tops, [n, i]), SIDE)
                        return [code.fma(factor, code.load(sums, [n, i, e], SIDE), total)]

                    (value,) = code.loop(first, end, 1, add, [code.splat(0.0, SIDE)])
                    at = [batch, query, code.add(column, e)]
                    bf16.store(bf16.narrow(arith.mulf(value, by)), named["out"], at, count)

                code.vectors(a.v_dims, SIDE, some)

            code.loop(0, rows, 1, row)

        code.loop(low, high, 1, head)


def _share(n: Index, blocks: Index, splits: Index) -> Index:
    """Where the part ``n`` of some blocks begins."""
    return arith.divui(code.index(code.multiply(n, blocks)), code.index(splits))
