"""The kernel of attention on tensor cores: rounds over tiles, and what is written of them."""

import math

from rlx.host import arith, ir, memref, vector
from rlx.schedules.cuda import code, tiles
from rlx.schedules.cuda.attention_tiles import State, Tiles
from rlx.schedules.cuda.code import Index
from rlx.schedules.cuda.tiles import Memory

__all__ = ["Attention"]

_ROUNDS = 5


class Attention(Tiles):
    """The kernel for one problem; sizes come at run time."""

    # -- the whole ---------------------------------------------------------------------------------

    def body(self, *arguments: ir.Value) -> None:
        problem, p = self.problem, self.p
        self.query, self.key, self.value = arguments[:3]
        rest = self.take(list(arguments[3:]))
        flags = rest.pop(0) if p.guarded else None
        self.element = ir.Type.parse(problem.element)
        self.queries, self.keys = code.dim(self.query, 1), code.dim(self.key, 1)
        self.be(code.thread(p.threads))
        self.rows = code.multiply(self.queries, problem.repeat)

        memory = Memory()
        self.q = memory.tile(p.block_rows, problem.padded, self.element)
        self.out = memory.tile(p.block_rows, self.columns, self.element, at=0)
        self.k = memory.tile(p.keys, problem.padded, self.element)
        self.v = memory.tile(p.keys, self.columns, self.element)
        self.flags = memory.take([2], ir.IntegerType.get_signless(32))
        code.if_(code.equal(self.thread, 0), self.clear_flags)
        if flags is None:
            self.run(rest)
        else:
            code.if_(self.any_of(flags), lambda: self.run(rest))

    def run(self, outs: list[ir.Value]) -> None:
        p = self.p
        splits = code.dim(outs[0], 0) if p.split else 1
        split = self.place(splits)
        self.reach()
        first, end = self.tiles(split, splits)

        def put(state: State, mode: ir.Value | None) -> None:
            if p.split:
                self.write_part(state, split, outs[0], outs[1], mode)
                return
            self.stage(state)
            code.barrier()
            self.write(outs[0], mode)

        def round_(mode: ir.Value) -> ir.Value:
            thread = self.thread
            self.be(code.opaque(thread))
            self.start(first, end)
            state = self.loop(first, end, mode)
            self.be(code.opaque(thread))
            tiles.wait(0)
            trouble = self.share(self.trouble(state), 0)

            def first_time() -> list[ir.Value]:
                code.if_(arith.xori(trouble, code.i1(True)), lambda: put(state, None))
                return [code.select(trouble, 1, _ROUNDS)]

            def later() -> list[ir.Value]:
                put(state, mode)
                return [code.index(code.add(mode, 1))]

            (following,) = code.if_(code.equal(mode, 0), first_time, later, [ir.IndexType.get()])
            code.barrier()
            return following

        code.repeat(0, _ROUNDS, round_)

    # -- values that are not finite ----------------------------------------------------------------
    #
    # What a row does not see must not show, but zero times infinity is NaN. Where a sum is not
    # finite, all are computed again, in four rounds: with zeros in place of values that are not
    # finite; then with ones in place of each of infinity, minus infinity and NaN, and zeros
    # elsewhere, which tells what shows after all.

    def clear_flags(self) -> None:
        for n in range(2):
            memref.store(code.i32(0), self.flags, [code.index(n)])

    def share(self, condition: ir.Value, number: int) -> ir.Value:
        """Whether the condition holds for any thread of the block; a barrier."""

        def tell() -> None:
            kind = arith.AtomicRMWKind.ori
            memref.atomic_rmw(kind, code.i32(1), self.flags, [code.index(number)])

        code.if_(condition, tell)
        code.barrier()
        found = code.load_raw(self.flags, [number])
        return arith.cmpi(arith.CmpIPredicate.ne, found, code.i32(0))

    def any_of(self, flags: ir.Value) -> ir.Value:
        """Whether a flag is set that tells of rows of the block."""
        self.place(1)
        first, last = self.queries_of()
        width, each = code.dim(flags, 1), self.p.guarded
        low, high = code.divide(first, each), code.divide(last, each)
        blocks = code.ceil_div(self.queries, each)
        number = code.add(code.multiply(self.batch, self.problem.groups), self.group)
        # In the order of the blocks that have written them.
        begin = code.subtract(code.subtract(blocks, 1), high) if self.problem.causal else low
        start = code.add(code.multiply(number, blocks), begin)
        count = code.add(code.subtract(high, low), 1)

        def add(i: ir.Value, found: ir.Value) -> list[ir.Value]:
            at = [code.add(start, code.divide(i, width)), code.remainder(i, width)]
            return [arith.ori(found, code.load_raw(flags, at))]

        total = code.multiply(count, width)
        (found,) = code.loop(self.thread, total, self.p.threads, add, [code.i32(0)])
        code.barrier()  # the flags of the block are cleared
        return self.share(arith.cmpi(arith.CmpIPredicate.ne, found, code.i32(0)), 1)

    def trouble(self, state: State) -> ir.Value:
        """Whether a sum is not finite."""
        found = zero = code.scalar(0.0)
        for total in state.sums:
            for i in range(2):
                for x in range(2):
                    found = code.fma(code.element(total, i, x), zero, found)
        return arith.cmpf(arith.CmpFPredicate.UNO, found, found)

    def combine(self, mode: ir.Value, value: ir.Value, before: ir.Value) -> ir.Value:
        """What a round makes of the result of those before, all in f32."""
        nan, infinity = code.scalar(math.nan), code.scalar(math.inf)
        against = arith.select(code.is_float(before, math.inf), nan, code.scalar(-math.inf))
        special = arith.select(code.equal(mode, 2), infinity, against)
        special = arith.select(code.equal(mode, 4), nan, special)
        shows = arith.cmpf(arith.CmpFPredicate.OGT, value, code.scalar(0.0))
        after = arith.select(shows, special, before)
        return arith.select(code.equal(mode, 1), value, after)

    # -- results -----------------------------------------------------------------------------------

    def stage(self, state: State) -> None:
        """Divides by the sums of weights, rounds, and puts rows into shared memory."""
        lane, out = self.lane, self.out
        for m in range(self.m_tiles):
            for i in range(2):
                factor = self.inverse(state.totals[2 * m + i])
                factor = code.pair(factor, factor)
                row = code.add(self.warp_row, code.add(lane.row, 16 * m + 8 * i))
                for e in range(self.e_tiles):
                    both = vector.extract(state.sums[m * self.e_tiles + e], [], [i])
                    both = code.narrow(arith.mulf(both, factor), self.element)
                    at = code.add(out.column(lane.row, 0, e), lane.column)
                    vector.store(both, out.memory, [code.index(row), code.index(at)], alignment=4)

    def write(self, result: ir.Value, mode: ir.Value | None) -> None:
        """Writes rows of the block, as much of them as there is."""
        problem, p, out = self.problem, self.p, self.out
        chunks = self.columns // code.CHUNK
        type_ = ir.VectorType.get([code.CHUNK], self.element)
        wide = code.aligned(result) if problem.v_dims % code.CHUNK == 0 else code.i1(False)

        def one(number: ir.Value) -> None:
            row, chunk = code.divide(number, chunks), code.remainder(number, chunks)
            at = code.add(self.row, row)
            query, head = self.head_of(at)
            inside = code.add(
                code.multiply(self.part, self.columns), code.multiply(chunk, code.CHUNK)
            )
            column = code.add(code.multiply(head, problem.v_dims), inside)
            place = [code.index(self.batch), code.index(query)]
            start = out.column(row, chunk)

            def vectors() -> None:
                indices = [code.index(row), code.index(start)]
                value = vector.load(type_, out.memory, indices, alignment=16)
                vector.store(value, result, [*place, code.index(column)], alignment=16)

            def elements() -> None:
                left = code.minimum(code.subtract(problem.v_dims, inside), code.CHUNK)

                def element(e: ir.Value) -> None:
                    value = code.load_raw(out.memory, [row, code.add(start, e)])
                    at = [*place, code.index(code.add(column, e))]
                    if mode is not None:
                        before = arith.extf(code.f32(), memref.load(result, at))
                        value = self.combine(mode, arith.extf(code.f32(), value), before)
                        value = arith.truncf(self.element, value)
                    memref.store(value, result, at)

                code.loop(0, left, 1, element)

            if mode is not None:
                code.if_(code.less(at, self.rows), elements)
                return
            whole = code.at_most(code.add(inside, code.CHUNK), problem.v_dims)
            fits = arith.andi(wide, whole)
            code.if_(code.less(at, self.rows), lambda: code.if_(fits, vectors, elements))

        code.loop(self.thread, p.block_rows * chunks, p.threads, one)

    # -- split keys --------------------------------------------------------------------------------

    def write_part(
        self,
        state: State,
        split: Index,
        sums: ir.Value,
        stats: ir.Value,
        mode: ir.Value | None,
    ) -> None:
        """Sums, largest scores (as exponents of two) and totals of what the block saw."""
        problem, lane = self.problem, self.lane
        heads = problem.heads
        start = code.multiply(self.part, self.columns)
        for m in range(self.m_tiles):
            for i in range(2):
                total = code.over_quad(state.totals[2 * m + i], arith.addf)
                top = arith.mulf(state.tops[2 * m + i], code.scalar(self.unit))
                at = code.add(self.row, code.add(self.warp_row, code.add(lane.row, 16 * m + 8 * i)))
                query, head = self.head_of(at)
                row = code.add(
                    code.multiply(code.add(code.multiply(self.batch, self.queries), query), heads),
                    head,
                )
                place = [code.index(x) for x in (split, row, 0)]

                def one(
                    m: int = m,
                    i: int = i,
                    place: list[ir.Value] = place,
                    top: ir.Value = top,
                    total: ir.Value = total,
                ) -> None:
                    for e in range(self.e_tiles):
                        both = vector.extract(state.sums[m * self.e_tiles + e], [], [i])
                        for x in range(2):
                            column = code.add(start, code.add(lane.column, 8 * e + x))
                            value = vector.extract(both, [], [x])
                            self.store_if_inside(value, sums, place, column, mode)

                    def statistics() -> None:
                        memref.store(top, stats, [*place, code.index(0)])
                        memref.store(total, stats, [*place, code.index(1)])

                    # One lane of four, and one block of those for the parts of a head.
                    one = code.add(lane.column, self.part)
                    code.if_(code.equal(one, 0), statistics)

                code.if_(code.less(at, self.rows), one)

    def store_if_inside(
        self,
        value: ir.Value,
        sums: ir.Value,
        place: list[ir.Value],
        column: Index,
        mode: ir.Value | None,
    ) -> None:
        def store() -> None:
            at = [*place, code.index(column)]
            made = value
            if mode is not None:
                made = self.combine(mode, value, memref.load(sums, at))
            memref.store(made, sums, at)

        if self.problem.v_dims % self.columns == 0:
            store()
        else:
            code.if_(code.less(column, self.problem.v_dims), store)
