"""A block of queries against all tiles of keys that it sees."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.attention import softmax
from rlx.schedules.cpu.attention.attempts import attempts
from rlx.schedules.cpu.attention.steps import TileSteps
from rlx.schedules.cpu.code import Index

__all__ = ["Block"]


@dataclass(frozen=True)
class Slice:
    """Some rows of a block: which slice it is, its first row, and how many there are."""

    number: ir.Value
    row: Index
    height: Index


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
        self.queries, self.sums, self.totals = (
            code.alloc([a.p.slices, *type_.shape], code.f32())
            for type_ in (a.queries, a.sums, a.totals)
        )
        self.scores = code.alloc(a.scores.shape, code.f32())
        self.tops = code.alloca([a.p.slices, *a.stats.shape], code.f32())
        self.factors = code.alloca(a.stats.shape, code.f32())
        self.spans = code.alloca(a.spans.shape, ir.IndexType.get())

    def run(
        self,
        batch: ir.Value,
        group: ir.Value,
        used: Index,
        offset: Index,
        row: ir.Value,
        height: Index,
        later: Index,
        fetch: Callable[[ir.Value], ir.Value],
    ) -> None:
        """Attention of rows ``row`` to ``row + height`` of a head of keys.

        Args:
            batch, group: which head of keys.
            used: how many keys there are.
            offset: position of the first query.
            row, height: which rows, pairs of a query and a head of the group.
            later: the first row of the block that comes next.
            fetch: gives the place of a tile.
        """
        a, steps = self.a, self.steps

        def each(
            body: Callable[..., list[ir.Value] | None], inits: Sequence[ir.Value] = ()
        ) -> list[ir.Value]:
            def one(n: ir.Value, *carried: ir.Value) -> list[ir.Value] | None:
                start = code.multiply(n, a.p.queries)
                left = code.minimum(code.subtract(height, start), a.p.queries)
                return body(Slice(n, code.add(row, start), left), *carried)

            return code.loop(0, code.ceil_div(height, a.p.queries), 1, one, inits)

        def reach(first: Index, count: Index) -> tuple[Index, Index, Index, Index]:
            """The keys that some of ``count`` rows see, and those that all of them see."""

            def position(i: Index) -> Index:
                return code.add(offset, arith.divui(code.index(i), code.index(a.repeat)))

            low, inner_high = a.reach(position(first), used)
            last = position(code.subtract(code.add(first, count), 1))
            inner_low, high = a.reach(last, used)
            return low, high, inner_low, inner_high

        def load(part: Slice) -> None:
            where = [batch, group, part.row, part.height, *self.given["query_tables"]]
            steps.load_queries(self.given["query"], self.of(part, "queries"), *where)
            lowest, tops = code.splat(-math.inf, a.lanes), self.of(part, "tops")
            code.loop(0, a.p.queries, a.lanes, lambda i: code.store(lowest, tops, [i]))

        def clear(part: Slice) -> None:
            nothing, totals = code.splat(0.0, a.lanes), self.of(part, "totals")
            code.loop(0, part.height, 1, lambda i: code.store(nothing, totals, [i, 0]))

        def span(part: Slice, start: ir.Value, strip: ir.Value) -> None:
            top = code.multiply(strip, a.p.rows)
            count = code.minimum(code.subtract(part.height, top), a.p.rows)
            low, high, *_ = reach(code.add(part.row, top), count)
            is_first = arith.index_castui(ir.IndexType.get(), code.at_most(start, low))
            begin, end = (
                code.maximum(code.minimum(code.subtract(bound, start), a.p.keys), 0)
                for bound in (low, high)
            )
            # Whole steps of the products.
            begin = code.subtract(begin, arith.remui(code.index(begin), code.index(2)))
            for n, value in enumerate((begin, code.round_up(end, 2), is_first)):
                code.store_scalar(code.index(value), self.spans, [strip, n])

        def meet(
            part: Slice, start: ir.Value, slot: ir.Value, follow: ir.Value, inside: ir.Value
        ) -> None:
            height = part.height
            strips = code.ceil_div(height, a.p.rows)
            code.loop(0, strips, 1, lambda strip: span(part, start, strip))
            given = [self.of(part, "queries"), self.tiles[0], self.scores, self.spans, slot, height]
            next_row = code.index(code.add(later, code.subtract(part.row, row)))
            early = [self.given["query"], self.given["out"], batch, group, next_row, part.row]
            steps.score(*given, *early, follow)
            if steps.cap is not None:
                steps.cap(self.scores, self.spans, height)

            def hide() -> None:
                mask = self.given["mask"]
                where = [batch, group, part.row, height, start, offset, used, self.given["keys"]]
                steps.hide(self.scores, self.spans, *where, *([] if mask is None else [mask]))

            if a.mask is not None:
                hide()
            else:
                code.if_(inside, lambda: None, hide)
            state = [self.of(part, "tops"), self.of(part, "totals")]
            steps.softmax(self.scores, *state, self.factors, self.spans, height)

        def add(part: Slice, slot: ir.Value, again: ir.Value) -> None:
            given = [self.tiles[1], self.of(part, "sums"), self.factors, self.spans]
            given = [self.scores, *given, slot, part.height]
            code.if_(again, lambda: steps.add_safely(*given), lambda: steps.add_values(*given))

        def visit(tile: ir.Value, last: ir.Value, again: ir.Value) -> None:
            slot = fetch(tile)
            start = code.multiply(tile, a.p.keys)
            end = code.add(start, a.p.keys)
            follow = arith.subi(last, tile)

            def one(part: Slice) -> None:
                low, high, inner_low, inner_high = reach(part.row, part.height)
                inside = arith.andi(code.at_most(inner_low, start), code.at_most(end, inner_high))

                def both() -> None:
                    meet(part, start, slot, follow, inside)
                    add(part, slot, again)

                code.if_(arith.andi(code.less(low, end), code.less(start, high)), both)

            each(one)

        def finish(part: Slice, flag: ir.Value) -> list[ir.Value]:
            sums, totals = self.of(part, "sums"), self.of(part, "totals")
            where = [self.given["out"], batch, group, part.row, part.height]
            return [arith.addf(flag, softmax.finish(a, sums, totals, *where))]

        def run(again: ir.Value) -> ir.Value:
            each(clear)
            low, high, *_ = reach(row, height)
            begin = arith.divui(code.index(low), code.index(a.p.keys))
            end = code.ceil_div(high, a.p.keys)
            last = code.index(code.subtract(end, 1))
            code.loop(begin, end, 1, lambda tile: visit(tile, last, again))
            return each(finish, [code.scalar(0.0)])[0]

        each(load)
        attempts(run)

    def of(self, part: Slice, name: str) -> ir.Value:
        """The rows of a slice in a buffer that has those of the block."""
        buffer = getattr(self, name)
        type_ = self.a.stats if name == "tops" else getattr(self.a, name)
        return code.inner(buffer, type_, part.number)
