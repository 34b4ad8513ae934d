"""Attention of a few rows, as in decoding: keys and values are read once, where they lie.

A unit of work is a chunk of keys for all heads of a batch, which lie next to each other in memory.
They are read in that order, in which memory is fastest.
It leaves largest scores, sums of weights and sums of values; in the end those of all chunks come
together. Chunks do not depend on the number of threads, and so neither does the result.
"""

import math
from collections.abc import Callable

from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.attention import softmax
from rlx.schedules.cpu.attention.attempts import attempts
from rlx.schedules.cpu.attention.inputs import Attention
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.attention.steps import StreamSteps
from rlx.schedules.cpu.code import Index, Kernel, Kernels

__all__ = ["TILES", "few"]

TILES = 4
"""Tiles of a chunk."""

_KEYS = 16  # so many at a time, whose heads are read one after the other

_BYTES = 10  # per nanosecond, about


def few(a: Problem, kernels: Kernels) -> Kernel:
    """The kernel; it takes the buffers of the op and that of the result."""
    name = kernels.name("rlx_attention_few", (a.p, a.key))
    whole = _Few(a, kernels, name)
    return kernels.define(name, whole.types, whole.body)


class _Few(Attention):
    def __init__(self, a: Problem, kernels: Kernels, name: str):
        super().__init__(a, kernels)
        self.name = name

    @property
    def state(self) -> list[ir.MemRefType]:
        """[unit, group, ...]: largest scores, sums of weights and sums of values."""
        a = self.a
        shapes = [type_.shape for type_ in (a.stats, a.totals, a.sums)]
        return [a.scratch(code.DYNAMIC, a.groups, *shape) for shape in shapes]

    def body(self, *buffers: ir.Value) -> None:
        a, kernels = self.a, self.kernels
        self.steps = StreamSteps(a, kernels)
        *inputs, out = buffers
        size, keys = code.dim(inputs[0], 0), code.dim(inputs[1], 1)
        chunks = code.ceil_div(keys, TILES * a.p.keys)
        units = code.multiply(size, chunks)
        state = [code.alloc([units, *type_.shape[1:]], code.f32()) for type_ in self.state]
        width = a.groups * (a.dims + a.v_dims) * a.element.width // 8
        read = code.multiply(code.multiply(size, keys), width)
        parts = kernels.parts(units, arith.divui(read, code.index(_BYTES)))
        types = [*self.inputs, *self.state]
        stream = kernels.parallel(f"{self.name}_chunks", types, self.stream)
        stream(parts, units, *inputs, *state)
        merge = kernels.parallel(f"{self.name}_merge", [*types, a.storage], self.merge)
        merge(parts, code.multiply(size, a.groups), *inputs, *state, out)

    # -- chunks ------------------------------------------------------------------------------------

    def stream(self, part: ir.Value, low: ir.Value, high: ir.Value, *arguments: ir.Value) -> None:
        """Works off chunks ``low`` to ``high``."""
        a, steps = self.a, self.steps
        inputs, state = arguments[:-3], arguments[-3:]
        given = self.named(inputs)
        chunks = code.index(code.ceil_div(given["keys"], TILES * a.p.keys))
        queries_of = code.dim(given["query"], 1)
        height = code.multiply(queries_of, a.repeat)
        queries = code.alloc([a.groups, *a.queries.shape], code.f32())
        tile = _Tile(a, steps, given, height, a.groups)

        def one(unit: ir.Value) -> None:
            batch, chunk = arith.divui(unit, chunks), arith.remui(unit, chunks)
            used, offset = self.extent(given, batch, queries_of)

            def places(group: ir.Value) -> list[ir.Value]:
                return [
                    code.inner(x, t, unit, group) for x, t in zip(state, self.parts, strict=True)
                ]

            def block(group: ir.Value) -> ir.Value:
                return code.inner(queries, a.queries, group)

            def prepare(group: ir.Value) -> None:
                tables = given["query_tables"]
                steps.load_queries(given["query"], block(group), batch, group, 0, height, *tables)
                tops, totals, sums = places(group)
                _lowest(a, tops)
                _clear(a, sums, totals, height)

            code.loop(0, a.groups, 1, prepare)
            begin, end = tile.range(used, offset)
            begin = code.maximum(begin, code.multiply(chunk, TILES))
            end = code.minimum(end, code.multiply(code.add(chunk, 1), TILES))

            def visit(number: ir.Value) -> None:
                where = tile.place(number, batch, used, offset)
                groups = (0, a.groups)
                tile.visit(groups, where, block, places, steps.add_values)

            code.loop(begin, end, 1, visit)

        code.loop(low, high, 1, one)

    @property
    def parts(self) -> list[ir.MemRefType]:
        return [self.a.stats, self.a.totals, self.a.sums]

    # -- all of them -------------------------------------------------------------------------------

    def merge(self, part: ir.Value, low: ir.Value, high: ir.Value, *arguments: ir.Value) -> None:
        """Brings the chunks of heads ``low`` to ``high`` together."""
        a, steps = self.a, self.steps
        *inputs, tops, totals, sums, out = arguments
        given = self.named(inputs)
        chunks = code.index(code.ceil_div(given["keys"], TILES * a.p.keys))
        queries_of = code.dim(given["query"], 1)
        height = code.multiply(queries_of, a.repeat)
        top, total, result, queries = (
            code.alloc(type_.shape, code.f32()) for type_ in (a.stats, a.totals, a.sums, a.queries)
        )
        factors = code.alloc([chunks, *a.stats.shape], code.f32())
        tile = _Tile(a, steps, given, height, 1)

        def one(head: ir.Value) -> None:
            batch, group = self.place(head)
            first = arith.muli(batch, chunks)

            def row(i: ir.Value) -> None:
                lowest = code.scalar(-math.inf)

                def larger(c: ir.Value, best: ir.Value) -> list[ir.Value]:
                    return [
                        code.larger(code.load_scalar(tops, [code.add(first, c), group, i]), best)
                    ]

                (best,) = code.loop(0, chunks, 1, larger, [lowest])
                code.store_scalar(best, top, [i])
                none = arith.cmpf(arith.CmpFPredicate.OEQ, best, lowest)
                base = code.broadcast(arith.select(none, code.scalar(0.0), best), a.lanes)

                def weigh(c: ir.Value) -> None:
                    here = code.load_scalar(tops, [code.add(first, c), group, i])
                    factor = code.exp2(arith.subf(code.broadcast(here, a.lanes), base))
                    code.store_scalar(code.first_of(factor), factors, [c, i])

                code.loop(0, chunks, 1, weigh)
                add_up(totals, total, i, 0)
                for e in range(0, a.v_padded, a.lanes):
                    add_up(sums, result, i, e)

            def add_up(source: ir.Value, target: ir.Value, i: ir.Value, e: int) -> None:
                def add(c: ir.Value, so_far: ir.Value) -> list[ir.Value]:
                    factor = code.broadcast(code.load_scalar(factors, [c, i]), a.lanes)
                    value = code.load(source, [code.add(first, c), group, i, e], a.lanes)
                    return [code.fma(value, factor, so_far)]

                zero = code.splat(0.0, a.lanes)
                code.store(code.loop(0, chunks, 1, add, [zero])[0], target, [i, e])

            def together() -> None:
                code.loop(0, height, 1, row)

            def run(is_second: ir.Value) -> ir.Value:
                code.if_(is_second, lambda: again(batch, group), together)
                where = (out, batch, group, code.index(0), height)
                return softmax.finish(a, result, total, *where)

            attempts(run)

        def again(batch: ir.Value, group: ir.Value) -> None:
            used, offset = self.extent(given, batch, queries_of)
            tables = given["query_tables"]
            steps.load_queries(given["query"], queries, batch, group, 0, height, *tables)
            _clear(a, result, total, height)

            def visit(number: ir.Value) -> None:
                where = tile.place(number, batch, used, offset)
                own, state = (group, code.add(group, 1)), [top, total, result]
                tile.visit(own, where, lambda _: queries, lambda _: state, steps.add_safely)

            code.loop(*tile.range(used, offset), 1, visit)

        code.loop(low, high, 1, one)


class _Tile:
    """A tile of keys and values, as a few rows see it."""

    def __init__(
        self,
        a: Problem,
        steps: StreamSteps,
        given: dict[str, ir.Value],
        height: Index,
        heads: int,
    ):
        """``heads`` is how many are looked at together."""
        self.a, self.steps, self.given, self.height = a, steps, given, height
        self.scores = code.alloc([heads, *a.scores.shape], code.f32())
        self.factors = code.alloca(a.stats.shape, code.f32())
        self.spans = code.alloca(a.spans.shape, ir.IndexType.get())

    def ends(self, offset: Index) -> tuple[Index, Index]:
        """Positions of the first and the last row."""
        last = arith.divui(code.subtract(self.height, 1), code.index(self.a.repeat))
        return offset, code.add(offset, last)

    def range(self, used: Index, offset: Index) -> tuple[Index, Index]:
        """The tiles that some row sees."""
        a = self.a
        first, last = self.ends(offset)
        low, high = a.reach(first, used)[0], a.reach(last, used)[1]
        begin = arith.divui(code.index(low), code.index(a.p.keys))
        # Without rows there is nothing to see.
        none = code.less(self.height, 1)
        end = code.index(code.ceil_div(high, a.p.keys))
        return begin, arith.select(none, begin, end)

    def place(
        self, number: ir.Value, batch: ir.Value, used: Index, offset: Index
    ) -> dict[str, ir.Value]:
        """Where a tile starts, and which part of it counts."""
        a = self.a
        first, last = self.ends(offset)
        low, inner_high = a.reach(first, used)
        inner_low, high = a.reach(last, used)
        start = code.multiply(number, a.p.keys)
        begin, end = (
            code.maximum(code.minimum(code.subtract(bound, start), a.p.keys), 0)
            for bound in (low, high)
        )
        begin = code.multiply(arith.divui(code.index(begin), code.index(a.lanes)), a.lanes)

        def store(strip: ir.Value) -> None:
            code.store_scalar(code.index(begin), self.spans, [strip, 0])
            code.store_scalar(code.index(code.round_up(end, a.lanes)), self.spans, [strip, 1])

        code.loop(0, a.strips, 1, store)
        inside = arith.andi(
            code.at_most(inner_low, start), code.at_most(code.add(start, a.p.keys), inner_high)
        )
        return {
            "batch": batch,
            "start": start,
            "low": begin,
            "high": end,
            "inside": inside,
            "offset": offset,
            "used": used,
        }

    def visit(
        self,
        groups: tuple[Index, Index],
        where: dict[str, ir.Value],
        queries: Callable[[ir.Value], ir.Value],
        state: Callable[[ir.Value], list[ir.Value]],
        add: Kernel,
    ) -> None:
        """Attention of some groups; their queries and results so far are given by group."""
        a, steps, given, height = self.a, self.steps, self.given, self.height
        batch, start, low, high = (where[name] for name in ("batch", "start", "low", "high"))

        def heads(body: Callable[..., None], *more: Index) -> None:
            code.loop(*groups, 1, lambda group: body(group, *more))

        def in_order(body: Callable[..., None]) -> None:
            """Heads lie next to each other: all of them for some keys, then the next keys."""

            def some(k: ir.Value) -> None:
                heads(body, start, k, code.minimum(code.add(k, _KEYS), high), height)

            code.loop(low, high, _KEYS, some)

        def scores(group: ir.Value) -> ir.Value:
            return code.inner(self.scores, a.scores, code.index(code.subtract(group, groups[0])))

        def weigh(group: ir.Value) -> None:
            here = scores(group)
            if steps.cap is not None:
                steps.cap(here, self.spans, height)

            def hide() -> None:
                mask = given["mask"]
                rows = [code.index(0), height, *(where[n] for n in ("start", "offset", "used"))]
                more = [given["keys"], *([] if mask is None else [mask])]
                steps.hide(here, self.spans, batch, group, *rows, *more)

            if a.mask is not None:
                hide()
            else:
                code.if_(where["inside"], lambda: None, hide)
            tops, totals, sums = state(group)
            steps.softmax(here, tops, totals, self.factors, self.spans, height)
            steps.scale(sums, self.factors, height)

        in_order(lambda g, *part: steps.score(queries(g), given["key"], scores(g), batch, g, *part))
        heads(weigh)
        in_order(lambda g, *part: add(scores(g), given["value"], state(g)[2], batch, g, *part))


def _lowest(a: Problem, tops: ir.Value) -> None:
    value = code.scalar(-math.inf)
    code.loop(0, a.p.queries, 1, lambda i: code.store_scalar(value, tops, [i]))


def _clear(a: Problem, sums: ir.Value, totals: ir.Value, height: Index) -> None:
    """Zeros to start with."""
    zero = code.splat(0.0, a.lanes)

    def row(i: ir.Value) -> None:
        code.loop(0, a.v_padded, a.lanes, lambda e: code.store(zero, sums, [i, e]))
        code.store(zero, totals, [i, 0])

    code.loop(0, code.round_up(height, a.p.rows), 1, row)
