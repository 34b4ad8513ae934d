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

from rlx.host import arith, ir, memref, vector
from rlx.schedules.cpu import amx, bf16, code
from rlx.schedules.cpu import amx_attention_steps as steps
from rlx.schedules.cpu.amx import DEPTH, SIDE
from rlx.schedules.cpu.amx_attention_steps import KEYS, Shapes
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.bf16 import PAIRS
from rlx.schedules.cpu.code import Index, Kernel

__all__ = ["Decode", "suits"]

_KEYS_AHEAD = 64  # keys that are fetched before they are multiplied
_VALUES_AHEAD = 32
_PART = 2 * KEYS  # keys that one thread takes at least
_WIDTH = 64  # dims of values at a time


def suits(a: Problem) -> bool:
    """Whether keys can be read as they lie, and no mask has to be turned around."""
    return a.key_rotation is None and a.dims % DEPTH == 0 and a.mask is None


def _rows(a: Problem) -> int:
    """Rows whose sums are kept in registers."""
    return min(a.repeat, 4) if a.repeat != 3 else 4


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
    def padded(self) -> int:
        """Dims of sums."""
        return -(-self.a.v_dims // _WIDTH) * _WIDTH

    @property
    def results(self) -> list[ir.MemRefType]:
        """For every part: the largest scores and the sums of weights of all rows, and the sums."""
        stats = ir.MemRefType.get([code.DYNAMIC, SIDE], code.f32())
        return [stats, stats, ir.MemRefType.get([code.DYNAMIC, SIDE, self.padded], code.f32())]

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
            return whole.define(build, types, "amx_decode")

        load = define(steps.load_queries, [a.storage, self.s.queries, *[index] * 4, *turn])
        turn_queries = define(self.turn_queries, [self.s.queries, self._turned])
        score = define(self.score, [a.storage, self._turned, self._scores, *[index] * 4])
        softmax = define(
            self.softmax,
            [self._scores, self._weights, self._bounds, *self.results[:2], stats, *[index] * 3],
        )
        add_types = [a.storage, self._weights, stats, self.results[2], *[index] * 6]
        add, add_safely = (define(f, add_types) for f in (self.add_values, self.add_safely))
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
                    for d in range(0, self.padded, SIDE):
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
            for d in range(0, self.padded, SIDE):
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
        repeat = code.index(a.repeat)
        scale = code.splat(steps.factor(a), SIDE)

        def head(number: ir.Value) -> None:
            batch, group = whole.place(number)
            first = code.multiply(number, splits)
            end = code.add(first, splits)

            def larger(n: ir.Value, top: ir.Value) -> list[ir.Value]:
                return [code.larger(code.load(tops, [n, 0], SIDE), top)]

            (top,) = code.loop(first, end, 1, larger, [code.splat(-math.inf, SIDE)])
            base = _base(top, scale)

            def weigh(n: ir.Value, total: ir.Value) -> list[ir.Value]:
                # Takes the place of what it is made of.
                factor = bf16.exp2(code.fma(code.load(tops, [n, 0], SIDE), scale, base))
                code.store(factor, tops, [n, 0])
                return [code.fma(factor, code.load(totals, [n, 0], SIDE), total)]

            (total,) = code.loop(first, end, 1, weigh, [code.splat(0.0, SIDE)])
            code.store(total, totals, [first, 0])

            def row(i: ir.Value) -> None:
                all_of = code.load_scalar(totals, [first, i])
                zero = code.scalar(0.0)
                empty = arith.cmpf(arith.CmpFPredicate.OEQ, all_of, zero)
                inverse = arith.select(empty, zero, arith.divf(code.scalar(1.0), all_of))
                by = code.broadcast(inverse, SIDE)
                own = code.add(code.multiply(group, a.repeat), arith.remui(i, repeat))
                column = code.multiply(own, a.v_dims)

                def some(e: ir.Value, count: Index | None) -> None:
                    def add(n: ir.Value, total: ir.Value) -> list[ir.Value]:
                        factor = code.broadcast(code.load_scalar(tops, [n, i]), SIDE)
                        return [code.fma(factor, code.load(sums, [n, i, e], SIDE), total)]

                    (value,) = code.loop(first, end, 1, add, [code.splat(0.0, SIDE)])
                    at = [batch, arith.divui(i, repeat), code.add(column, e)]
                    bf16.store(bf16.narrow(arith.mulf(value, by)), named["out"], at, count)

                code.vectors(a.v_dims, SIDE, some)

            code.loop(0, rows, 1, row)

        code.loop(low, high, 1, head)

    # -- steps -------------------------------------------------------------------------------------

    def turn_queries(self, _: Shapes, queries: ir.Value, turned: ir.Value) -> None:
        """Queries as columns."""
        for d in range(self.s.depth):
            rows = [bf16.load(queries, [0, d, i, 0]) for i in range(SIDE)]
            for p, pairs in enumerate(bf16.transpose_pairs(rows)):
                bf16.store(pairs, turned, [d, p, 0])

    def score(
        self,
        _: Shapes,
        key: ir.Value,
        turned: ir.Value,
        scores: ir.Value,
        batch: ir.Value,
        group: ir.Value,
        start: ir.Value,
        count: ir.Value,
    ) -> None:
        """Products of ``count`` keys from ``start`` on with all rows; [key, row]."""
        depth = self.s.depth
        column = code.multiply(group, self.a.dims)
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
        self,
        _: Shapes,
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
        a = self.a
        scale = code.splat(steps.factor(a), SIDE)
        lowest = code.splat(-math.inf, SIDE)
        ints = ir.VectorType.get([SIDE], _i32())
        low, high = (vector.load(ints, bounds, [code.index(n), code.index(0)]) for n in range(2))

        def visible(k: ir.Value, top: ir.Value) -> list[ir.Value]:
            key = code.broadcast(arith.index_cast(_i32(), code.add(start, k)), SIDE)
            seen = arith.andi(
                arith.cmpi(arith.CmpIPredicate.sge, key, low),
                arith.cmpi(arith.CmpIPredicate.slt, key, high),
            )
            score = code.load(scores, [k, 0], SIDE)
            if not steps.is_plain(a):
                score = steps.bounded(a, score)
            score = arith.select(seen, score, lowest)
            code.store(score, scores, [k, 0])
            return [code.larger(score, top)]

        before = code.load(tops, [number, 0], SIDE)
        (now,) = code.loop(0, count, 1, visible, [before])
        code.store(now, tops, [number, 0])
        base = _base(now, scale)
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
        self,
        _: Shapes,
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
        a, height = self.a, _rows(self.a)
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
            last = a.v_dims % _WIDTH
            code.loop(0, a.v_dims - last, _WIDTH, lambda e: dims(e, row, _WIDTH))
            if last:
                dims(a.v_dims - last, row, last)

        code.loop(0, rows, height, some_rows)

    def add_safely(
        self,
        _: Shapes,
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
        """Like :meth:`add_values`, but what has no weight is not looked at. Slow."""
        a = self.a
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
                low = arith.shli(pair, arith.constant(_i32(), 16))
                high = arith.andi(pair, arith.constant(_i32(), -65536))
                weight = arith.bitcast(f32, arith.select(is_low, low, high))
                counts = arith.cmpf(arith.CmpFPredicate.UNE, weight, code.scalar(0.0))

                def element(e: ir.Value, inside: Index | None) -> None:
                    at = [number, i, e]
                    here = [batch, code.add(start, k), code.add(column, e)]
                    values = code.load(value, here, SIDE, inside)
                    total = code.load(sums, at, SIDE)
                    code.store(code.fma(code.broadcast(weight, SIDE), values, total), sums, at)

                code.if_(counts, lambda: code.vectors(a.v_dims, SIDE, element))

            code.loop(0, self.padded, SIDE, scale)
            code.loop(0, count, 1, add)

        code.loop(0, rows, 1, row)


def _share(n: Index, blocks: Index, splits: Index) -> Index:
    """Where the part ``n`` of some blocks begins."""
    return arith.divui(code.index(code.multiply(n, blocks)), code.index(splits))


def _base(top: ir.Value, scale: ir.Value) -> ir.Value:
    """What to add to scaled scores; any number will do where there is none so far."""
    none = arith.cmpf(arith.CmpFPredicate.OEQ, top, code.splat(-math.inf, SIDE))
    return arith.negf(arith.mulf(arith.select(none, code.splat(0.0, SIDE), top), scale))
