"""A block of queries against all tiles of keys that it sees."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.attention import softmax
from rlx.schedules.cpu.attention.attempts import attempts
from rlx.schedules.cpu.attention.steps import TileSteps
from rlx.schedules.cpu.code import Index

__all__ = ["Block"]


class Block:
    """Memory for a block, and what is done with it.

    Args:
        given: the buffers of the op by name.
        tiles: packed keys and values.
    """

    def __init__(
        self, steps: TileSteps, given: Mapping[str, Any], tiles: tuple[ir.Value, ir.Value]
    ):
        a = steps.a
        self.a, self.steps, self.given, self.tiles = a, steps, given, tiles
        self.queries, self.scores, self.sums, self.totals = (
            code.alloc(type_.shape, code.f32()) for type_ in (a.queries, a.scores, a.sums, a.totals)
        )
        self.tops, self.factors = (code.alloca(a.stats.shape, code.f32()) for _ in range(2))
        self.spans = code.alloca(a.spans.shape, ir.IndexType.get())

    def run(
        self,
        batch: ir.Value,
        group: ir.Value,
        used: Index,
        offset: Index,
        row: ir.Value,
        height: Index,
        fetch: Callable[[ir.Value], ir.Value],
    ) -> None:
        """Attention of rows ``row`` to ``row + height`` of a head of keys.

        Args:
            batch, group: which head of keys.
            used: how many keys there are.
            offset: position of the first query.
            row, height: which rows, pairs of a query and a head of the group.
            fetch: gives the place of a tile.
        """
        a, steps = self.a, self.steps
        tables = self.given["query_tables"]
        steps.load_queries(self.given["query"], self.queries, batch, group, row, height, *tables)
        repeat = code.index(a.repeat)

        def position(i: Index) -> Index:
            return code.add(offset, arith.divui(code.index(code.add(row, i)), repeat))

        first, last = position(0), position(code.subtract(height, 1))
        low, inner_high = a.reach(first, used)
        inner_low, high = a.reach(last, used)
        lowest = code.splat(-math.inf, a.lanes)
        code.loop(0, a.p.queries, a.lanes, lambda i: code.store(lowest, self.tops, [i]))

        def span(start: ir.Value, s: ir.Value) -> None:
            top = code.multiply(s, a.p.rows)
            bottom = code.minimum(code.add(top, a.p.rows - 1), code.subtract(height, 1))
            low, _ = a.reach(position(top), used)
            _, high = a.reach(position(bottom), used)
            is_first = arith.index_castui(ir.IndexType.get(), code.at_most(start, low))
            code.store_scalar(is_first, self.spans, [s, 2])
            begin, end = (
                code.maximum(code.minimum(code.subtract(bound, start), a.p.keys), 0)
                for bound in (low, high)
            )
            # Whole steps of the products.
            begin = code.subtract(begin, arith.remui(code.index(begin), code.index(2)))
            code.store_scalar(code.index(begin), self.spans, [s, 0])
            code.store_scalar(code.index(code.round_up(end, 2)), self.spans, [s, 1])

        def visit(tile: ir.Value, again: ir.Value) -> None:
            slot = fetch(tile)
            start = code.multiply(tile, a.p.keys)
            strips = code.ceil_div(height, a.p.rows)
            code.loop(0, strips, 1, lambda s: span(start, s))
            keys, values = self.tiles
            steps.score(self.queries, keys, self.scores, self.spans, slot, height)
            if steps.cap is not None:
                steps.cap(self.scores, self.spans, height)
            inside = arith.andi(
                code.at_most(inner_low, start),
                code.at_most(code.add(start, a.p.keys), inner_high),
            )

            def hide() -> None:
                mask = self.given["mask"]
                where = [batch, group, row, height, start, offset, used, self.given["keys"]]
                steps.hide(self.scores, self.spans, *where, *([] if mask is None else [mask]))

            if a.mask is not None:
                hide()
            else:
                code.if_(inside, lambda: None, hide)
            steps.softmax(self.scores, self.tops, self.totals, self.factors, self.spans, height)
            rest = [values, self.sums, self.factors, self.spans, slot, height]

            code.if_(
                again,
                lambda: steps.add_safely(self.scores, *rest),
                lambda: steps.add_values(self.scores, *rest),
            )

        def run(again: ir.Value) -> ir.Value:
            nothing = code.splat(0.0, a.lanes)
            code.loop(0, height, 1, lambda i: code.store(nothing, self.totals, [i, 0]))
            begin = arith.divui(code.index(low), code.index(a.p.keys))
            end = code.ceil_div(high, a.p.keys)
            code.loop(begin, end, 1, lambda tile: visit(tile, again))
            where = [self.given["out"], batch, group, row, height]
            return softmax.finish(a, self.sums, self.totals, *where)

        attempts(run)
