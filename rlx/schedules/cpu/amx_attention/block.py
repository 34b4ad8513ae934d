"""A block of rows against all keys that it sees."""

import math
from typing import Any

from rlx.host import arith, ir
from rlx.schedules.cpu import bf16, code
from rlx.schedules.cpu.amx import DEPTH, SIDE
from rlx.schedules.cpu.amx_attention import copies, products, softmax
from rlx.schedules.cpu.amx_attention.shapes import KEYS, ROWS, factor, is_plain
from rlx.schedules.cpu.attention.attempts import attempts
from rlx.schedules.cpu.code import Index

__all__ = ["Block"]


class Block:
    """Memory for a block of rows, and what is done with it."""

    def __init__(self, whole: Any, given: dict[str, Any]):
        a, s = whole.a, whole.s
        self.a, self.given = a, given
        index = ir.IndexType.get()
        turn = [] if a.query_rotation is None else a.query_rotation.types
        masks = [] if a.mask is None else [a.mask]
        define = whole.define
        scaling, turned = factor(a), a.query_rotation and a.query_rotation.key
        self.load = define(
            copies.load_queries,
            [a.storage, s.queries, *[index] * 4, *turn],
            *(a.dims, a.repeat, turned),
        )
        self.score = define(products.score, [s.queries, s.keys, s.scores, index, index], s.depth)
        self.adjust = define(softmax.adjust, [s.scores, *[index] * 11, *masks])
        self.softmax = define(
            softmax.softmax,
            [s.scores, s.weights, s.sums, s.stats, s.totals, s.stats, index, index],
            *(scaling, s.width),
        )
        add_types = [s.weights, s.values, s.sums, index, index]
        self.add = define(products.add_values, add_types, s.width)
        self.add_safely = define(
            products.add_safely, [s.weights, a.storage, s.sums, *[index] * 5], a.v_dims
        )
        self.clear = define(products.clear, [s.sums, s.totals], s.width)
        self.finish = define(
            softmax.finish, [s.sums, s.totals, a.storage, *[index] * 4], a.v_dims, a.repeat
        )
        self.queries, self.weights = (
            code.alloc(type_.shape, bf16.bf16()) for type_ in (s.queries, s.weights)
        )
        self.scores, self.sums, self.totals = (
            code.alloc(type_.shape, code.f32()) for type_ in (s.scores, s.sums, s.totals)
        )
        self.tops, self.factors = (code.alloca(s.stats.shape, code.f32()) for _ in range(2))

    def run(
        self,
        batch: ir.Value,
        group: ir.Value,
        used: Index,
        offset: Index,
        row: ir.Value,
        height: Index,
        fetch: Any,
    ) -> None:
        """Attention of rows ``row`` to ``row + height`` of a head of keys.

        Args:
            batch, group: which head of keys.
            used: how many keys there are.
            offset: position of the first query.
            row, height: which rows, pairs of a query and a head of the group.
            fetch: gives tiles for keys from a first to before a last, and the number of the first
                tile of values.
        """
        a, given = self.a, self.given
        where = (batch, group, row, height)
        self.load(given["query"], self.queries, *where, *given["query_tables"])
        repeat = code.index(a.repeat)
        first = code.add(offset, arith.divui(row, repeat))
        bottom = code.subtract(code.add(row, height), 1)
        last = code.add(offset, arith.divui(bottom, repeat))
        low, inner_high = a.reach(first, used)
        inner_low, high = a.reach(last, used)
        begin = arith.subi(code.index(low), arith.remui(code.index(low), code.index(DEPTH)))
        end = code.round_up(high, DEPTH)
        lowest = code.splat(-math.inf, SIDE)
        code.loop(0, ROWS, SIDE, lambda i: code.store(lowest, self.tops, [i]))

        def visit(start: ir.Value, again: ir.Value, flag: ir.Value) -> list[ir.Value]:
            stop = code.minimum(code.add(start, KEYS), end)
            tiles, to = fetch(start, stop)
            count = arith.divui(code.subtract(stop, start), code.index(SIDE))
            half = arith.divui(count, code.index(2))
            self.score(self.queries, tiles[0], self.scores, code.multiply(to, 2), count)
            from_tile, to_tile = self.inside(inner_low, inner_high, start, count)

            def adjust() -> None:
                mask = given["mask"]
                span = (start, from_tile, to_tile, count)
                rest = (offset, used, given["keys"], *([] if mask is None else [mask]))
                self.adjust(self.scores, *where, *span, *rest)

            if is_plain(a):
                covered = arith.andi(code.less(from_tile, 1), code.at_most(count, to_tile))
                code.if_(covered, lambda: None, adjust)
            else:
                adjust()
            stats = (self.tops, self.totals, self.factors)
            self.softmax(self.scores, self.weights, self.sums, *stats, count, height)

            def normally() -> list[ir.Value]:
                self.add(self.weights, tiles[1], self.sums, to, half)
                return [arith.addf(flag, code.sum_of(code.load(tiles[2], [to], SIDE, half)))]

            def safely() -> list[ir.Value]:
                here = (batch, group, start, code.minimum(stop, used), height)
                self.add_safely(self.weights, given["value"], self.sums, *here)
                return [flag]

            return code.if_(again, safely, normally, [code.f32()])

        def run(again: ir.Value) -> ir.Value:
            self.clear(self.sums, self.totals)
            zero = code.scalar(0.0)
            return code.loop(begin, end, KEYS, lambda i, flag: visit(i, again, flag), [zero])[0]

        attempts(run)
        self.finish(self.sums, self.totals, given["out"], *where)

    def inside(
        self, low: Index, high: Index, start: ir.Value, count: ir.Value
    ) -> tuple[Index, Index]:
        """The tiles of scores that all rows see, where those see keys from ``low`` to ``high``."""
        first = code.ceil_div(code.maximum(code.subtract(low, start), 0), SIDE)
        first = code.minimum(first, count)
        end = arith.divui(code.index(code.maximum(code.subtract(high, start), 0)), code.index(SIDE))
        return first, code.maximum(code.minimum(end, count), first)
