"""`rlx.attention` in bf16 with AMX.

Like :mod:`rlx.schedules.cpu.attention`, with other blocks: all keys and values are copied to tiles
first, then blocks of 32 rows look at up to 512 keys at a time. What no row of a block sees is not
computed, in steps of 32 keys; what only some rows see is hidden from the others, in steps of 16.
Scores and sums are in f32, weights are rounded to bf16.

Where one block holds all rows of a head, keys and values are copied as they are read. For half as
many rows as that, or fewer, see `amx_decode`.
"""

import math
from typing import Any

from rlx.dialects import emit
from rlx.dialects.attention import AttentionOp
from rlx.host import arith, ir
from rlx.schedules.cpu import amx, attention, bf16, code
from rlx.schedules.cpu import amx_attention_steps as steps
from rlx.schedules.cpu import amx_decode as decode
from rlx.schedules.cpu.amx import DEPTH, SIDE
from rlx.schedules.cpu.amx_attention_steps import KEYS, ROWS, Shapes
from rlx.schedules.cpu.attention.inputs import Attention, operands
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.attention.rotation import before
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.isa import ISAS, Isa

__all__ = ["build", "prepare", "refusal"]

prepare = attention.prepare

_AT_ONCE = 128  # keys that are copied at a time: a multiple of DEPTH


def refusal(op: AttentionOp) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if not isinstance(op.query.type.element_type, ir.BF16Type):
        return "the element type is not bf16"
    return attention.refusal(op)


def build(op: AttentionOp, kernels: Kernels, isa: Isa) -> ir.Value:
    """Emits buffers and the call for an op in the form for kernels; returns the result."""
    problem = Problem.of(op, ISAS["avx512"])
    shape = emit.sizes(before(op.query))
    shape[2] = op.num_heads * op.v_head_dim
    result = code.alloc(shape, problem.element)
    whole = _Attention(problem, kernels)
    name = kernels.name("rlx_attention_amx", problem.key)
    run = kernels.define(name, whole.types, whole.body)
    amx.permit(kernels)
    run(*map(code.to_buffer, operands(op)), result)
    return code.to_tensor(result)


class _Attention(Attention):
    """The kernel of a problem: its arguments, and what it does with them."""

    def __init__(self, a: Problem, kernels: Kernels):
        super().__init__(a, kernels)
        self.s = Shapes(a)

    def define(self, build: Any, types: list[ir.Type], what: str = "amx") -> Kernel:
        """A kernel for a step."""
        name = self.kernels.name(f"rlx_attention_{what}_{build.__name__}", self.a.key)
        return self.kernels.define(name, types, lambda *given: build(self.s, *given))

    def parallel(self, what: str, types: list[ir.Type], build: Any) -> Kernel:
        name = self.kernels.name(f"rlx_attention_amx_{what}", self.a.key)
        return self.kernels.parallel(name, types, build)

    # -- loops -------------------------------------------------------------------------------------

    def body(self, *buffers: ir.Value) -> None:
        a, s = self.a, self.s
        given = self.named(list(buffers))
        size, rows_of = code.dim(given["query"], 0), code.dim(given["query"], 1)
        rows = code.multiply(rows_of, a.repeat)
        heads = code.multiply(size, a.groups)
        keys = given["keys"]
        tile_types = [s.keys, s.values, s.flags]
        copies = self.parallel("copies", [*self.types, *tile_types], self.copies)
        blocks = self.parallel("blocks", [*self.types, *tile_types], self.blocks)
        single = self.parallel("heads", self.types, self.heads)
        # About a multiplication and an addition for each of 400 elements in a nanosecond.
        width = a.dims + a.v_dims
        work = code.multiply(code.multiply(heads, rows), code.multiply(keys, width))
        nanoseconds = arith.divui(work, code.index(400))

        def several() -> None:
            chunks = code.multiply(heads, code.ceil_div(keys, _AT_ONCE))
            tiles = code.multiply(heads, code.ceil_div(keys, DEPTH))
            packed = [
                code.alloc([code.multiply(tiles, 2), s.depth, SIDE, DEPTH], bf16.bf16()),
                code.alloc([tiles, s.width, SIDE, DEPTH], bf16.bf16()),
                code.alloc([tiles], code.f32()),
            ]
            moved = code.multiply(code.multiply(heads, keys), width)
            parts = self.kernels.parts(chunks, arith.divui(moved, code.index(8)))
            copies(parts, chunks, *buffers, *packed)
            count = code.multiply(heads, code.ceil_div(rows, ROWS))
            blocks(self.kernels.parts(count, nanoseconds), count, *buffers, *packed)

        def one() -> None:
            single(self.kernels.parts(heads, nanoseconds), heads, *buffers)

        def few() -> None:
            # Memory sets the pace: about 20 bytes in a nanosecond.
            moved = code.multiply(code.multiply(heads, keys), width)
            decode.Decode(self).emit(heads, arith.divui(moved, code.index(10)), list(buffers))

        def not_many() -> None:
            if decode.suits(a):
                code.if_(code.at_most(rows, SIDE), few, one)
            else:
                one()

        code.if_(code.at_most(rows, ROWS), not_many, several)

    def copiers(self) -> Any:
        """Copies keys and values from ``start`` to ``end`` of a head to tiles, from 32 x ``to``."""
        a, s = self.a, self.s
        index = [ir.IndexType.get()] * 6
        turn = [] if a.key_rotation is None else a.key_rotation.types
        pack_keys = self.define(steps.pack_keys, [a.storage, s.keys, *index, *turn])
        pack_values = self.define(steps.pack_values, [a.storage, s.values, s.flags, *index])

        def copy(
            given: dict[str, Any],
            tiles: list[ir.Value],
            batch: ir.Value,
            group: ir.Value,
            start: Index,
            end: Index,
            used: Index,
            to: Index,
        ) -> None:
            where = [batch, group, start, end, used]
            twice = code.multiply(to, 2)
            pack_keys(given["key"], tiles[0], *where, twice, *given["key_tables"])
            pack_values(given["value"], tiles[1], tiles[2], *where, to)

        return copy

    def copies(self, part: ir.Value, low: ir.Value, high: ir.Value, *buffers: ir.Value) -> None:
        """Chunks [low, high) of the keys and values of all heads."""
        given, tiles = self.named(list(buffers[:-3])), list(buffers[-3:])
        keys = given["keys"]
        chunks = code.index(code.ceil_div(keys, _AT_ONCE))
        per_head = code.ceil_div(keys, DEPTH)
        copy = self.copiers()

        def chunk(number: ir.Value) -> None:
            head = arith.divui(number, chunks)
            start = code.multiply(arith.remui(number, chunks), _AT_ONCE)
            batch, group = self.place(head)
            used, _ = self.extent(given, batch, code.dim(given["query"], 1))
            end = code.minimum(code.round_up(used, DEPTH), code.add(start, _AT_ONCE))
            to = code.add(
                code.multiply(head, per_head), arith.divui(code.index(start), code.index(DEPTH))
            )
            is_used = code.less(start, used)
            code.if_(is_used, lambda: copy(given, tiles, batch, group, start, end, used, to))

        code.loop(low, high, 1, chunk)

    def blocks(self, part: ir.Value, low: ir.Value, high: ir.Value, *buffers: ir.Value) -> None:
        """Blocks [low, high) of the rows of all heads."""
        given, tiles = self.named(list(buffers[:-3])), list(buffers[-3:])
        rows_of = code.dim(given["query"], 1)
        rows = code.multiply(rows_of, self.a.repeat)
        per_head = code.index(code.ceil_div(rows, ROWS))
        tiles_per_head = code.ceil_div(given["keys"], DEPTH)
        block = _Block(self, given)

        def one(number: ir.Value) -> None:
            head, i = arith.divui(number, per_head), arith.remui(number, per_head)
            # Late blocks see more keys: an early one and a late one in turn.
            half = arith.divui(i, code.index(2))
            is_odd = arith.cmpi(
                arith.CmpIPredicate.eq, arith.remui(i, code.index(2)), code.index(1)
            )
            late = code.subtract(code.subtract(per_head, 1), half)
            row = code.multiply(arith.select(is_odd, late, half), ROWS)
            batch, group = self.place(head)
            used, offset = self.extent(given, batch, rows_of)
            first = code.multiply(head, tiles_per_head)
            height = code.minimum(code.subtract(rows, row), ROWS)

            def fetch(start: ir.Value, end: Index) -> tuple[list[ir.Value], Index]:
                return tiles, code.add(first, arith.divui(start, code.index(DEPTH)))

            block.run(batch, group, used, offset, row, height, fetch)

        code.loop(low, high, 1, one)

    def heads(self, part: ir.Value, low: ir.Value, high: ir.Value, *buffers: ir.Value) -> None:
        """Heads [low, high), whose rows are one block."""
        given, s = self.named(list(buffers)), self.s
        rows_of = code.dim(given["query"], 1)
        tiles = [
            code.alloc([KEYS // SIDE, s.depth, SIDE, DEPTH], bf16.bf16()),
            code.alloc([KEYS // DEPTH, s.width, SIDE, DEPTH], bf16.bf16()),
            code.alloc([KEYS // DEPTH], code.f32()),
        ]
        block, copy = _Block(self, given), self.copiers()

        def one(head: ir.Value) -> None:
            batch, group = self.place(head)
            used, offset = self.extent(given, batch, rows_of)

            def fetch(start: ir.Value, end: Index) -> tuple[list[ir.Value], Index]:
                copy(given, tiles, batch, group, start, end, used, 0)
                return tiles, 0

            height = code.multiply(rows_of, self.a.repeat)
            block.run(batch, group, used, offset, code.index(0), height, fetch)

        code.loop(low, high, 1, one)


class _Block:
    """Memory for a block of rows, and what is done with it."""

    def __init__(self, whole: _Attention, given: dict[str, Any]):
        a, s = whole.a, whole.s
        self.a, self.given = a, given
        index = ir.IndexType.get()
        turn = [] if a.query_rotation is None else a.query_rotation.types
        masks = [] if a.mask is None else [a.mask]
        define = whole.define
        self.load = define(steps.load_queries, [a.storage, s.queries, *[index] * 4, *turn])
        self.score = define(steps.score, [s.queries, s.keys, s.scores, index, index])
        self.adjust = define(steps.adjust, [s.scores, *[index] * 11, *masks])
        self.softmax = define(
            steps.softmax,
            [s.scores, s.weights, s.sums, s.stats, s.totals, s.stats, index, index],
        )
        self.add = define(steps.add_values, [s.weights, s.values, s.sums, index, index])
        self.add_safely = define(steps.add_safely, [s.weights, a.storage, s.sums, *[index] * 5])
        self.clear = define(steps.clear, [s.sums, s.totals])
        self.finish = define(steps.finish, [s.sums, s.totals, a.storage, *[index] * 4])
        self.queries, self.weights = (
            code.alloc(type_.shape, bf16.bf16()) for type_ in (s.queries, s.weights)
        )
        self.scores, self.sums, self.totals = (
            code.alloc(type_.shape, code.f32()) for type_ in (s.scores, s.sums, s.totals)
        )
        self.tops, self.factors = (code.alloca(s.stats.shape, code.f32()) for _ in range(2))
        self.bad = code.alloca([1], code.f32())

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
        code.store_scalar(code.scalar(0.0), self.bad, [0])

        def visit(start: ir.Value, again: ir.Value) -> None:
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

            if steps.is_plain(a):
                covered = arith.andi(code.less(from_tile, 1), code.at_most(count, to_tile))
                code.if_(covered, lambda: None, adjust)
            else:
                adjust()
            stats = (self.tops, self.totals, self.factors)
            self.softmax(self.scores, self.weights, self.sums, *stats, count, height)

            def normally() -> None:
                flag = code.sum_of(code.load(tiles[2], [to], SIDE, half))
                code.store_scalar(arith.addf(code.load_scalar(self.bad, [0]), flag), self.bad, [0])
                self.add(self.weights, tiles[1], self.sums, to, half)

            def safely() -> None:
                here = (batch, group, start, code.minimum(stop, used), height)
                self.add_safely(self.weights, given["value"], self.sums, *here)

            code.if_(again, safely, normally)

        def attempt(number: ir.Value) -> None:
            again = arith.cmpi(arith.CmpIPredicate.ne, number, code.index(0))
            flag = code.load_scalar(self.bad, [0])
            is_bad = arith.cmpf(arith.CmpFPredicate.UNO, flag, flag)
            skip = arith.andi(again, arith.xori(is_bad, code.true()))

            def all_keys() -> None:
                self.clear(self.sums, self.totals)
                code.loop(begin, end, KEYS, lambda start: visit(start, again))

            code.if_(skip, lambda: None, all_keys)

        code.loop(0, 2, 1, attempt)
        self.finish(self.sums, self.totals, given["out"], *where)

    def inside(
        self, low: Index, high: Index, start: ir.Value, count: ir.Value
    ) -> tuple[Index, Index]:
        """The tiles of scores that all rows see, where those see keys from ``low`` to ``high``."""
        first = code.ceil_div(code.maximum(code.subtract(low, start), 0), SIDE)
        first = code.minimum(first, count)
        end = arith.divui(code.index(code.maximum(code.subtract(high, start), 0)), code.index(SIDE))
        return first, code.maximum(code.minimum(end, count), first)
