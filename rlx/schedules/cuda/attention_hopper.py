"""The kernel of attention on Hopper: who copies, who computes, and when.

While the products of one tile of weights with its values are under way, and those of the queries
with the keys of the next tile, a warp group does the softmax of the latter. Two groups take turns:
one starts products while the other one does its softmax.
"""

import math
from dataclasses import dataclass, replace

from rlx.host import arith, ir, memref, vector
from rlx.schedules.cuda import code, hopper
from rlx.schedules.cuda.attention_copies import Copies, boxes
from rlx.schedules.cuda.code import Index
from rlx.schedules.cuda.hopper import BOX, GROUP
from rlx.schedules.cuda.softmax import Row, Turn
from rlx.schedules.cuda.tiles import Lane, Tile
from rlx.schedules.cuda.turned import turn_rows

__all__ = ["Attention"]


@dataclass(frozen=True)
class _State:
    """What a thread holds between tiles.

    Attributes:
        sums: of products of weights and values.
        weights: of the last tile, not yet in the sums, as left operands.
        tops, totals: largest score and sum of weights of its two rows.
    """

    sums: list[ir.Value]
    weights: list[ir.Value]
    tops: list[ir.Value]
    totals: list[ir.Value]

    def values(self) -> list[ir.Value]:
        return [*self.sums, *self.weights, *self.tops, *self.totals]

    @classmethod
    def unpack(cls, values: list[ir.Value], sums: int) -> "_State":
        return cls(values[:sums], values[sums:-4], values[-4:-2], values[-2:])


class Attention(Copies):
    """The kernel for one problem; sizes come at run time."""

    # -- the whole ---------------------------------------------------------------------------------

    def body(self, *arguments: ir.Value) -> None:
        problem, p = self.problem, self.p
        self.maps = arguments[:3]
        keys, self.flags, out = self.take(list(arguments[3:]))
        self.element = ir.Type.parse(problem.element)
        self.queries, self.keys = code.dim(out, 1), keys
        self.thread = code.thread(p.threads)
        leader = code.equal(self.thread, 0)
        full = [1] * (1 + 2 * p.stages)
        # One lane of each warp tells that it has read.
        self.barriers = hopper.Barriers(full + [4 * p.groups] * (2 * p.stages), leader)
        code.barrier()
        self.shared = hopper.Shared()
        self.place()
        self.reach()
        last = code.minimum(code.add(self.query, self.queries_of_block), self.queries)
        first, end = self.see(self.query, code.subtract(last, 1))
        group, group_index = hopper.group_of(self.thread)
        self.number = code.subtract(group_index, 1)

        def copying() -> None:
            hopper.set_registers(p.few, more=False)
            code.if_(leader, lambda: self.copy(first, end))

        def computing() -> None:
            hopper.set_registers(p.many, more=True)
            self.compute(first, end, out)

        is_first = arith.cmpi(arith.CmpIPredicate.eq, group, code.i32(0))
        code.if_(is_first, copying, computing)

    # -- computing ---------------------------------------------------------------------------------

    def compute(self, first: Index, end: Index, out: ir.Value) -> None:
        self.be(self.thread)
        is_first = arith.cmpi(arith.CmpIPredicate.eq, code.index(self.lane.lane), code.index(0))
        self.teller = arith.extui(code.i32_type(), is_first)
        start = code.multiply(self.number, 64 * 128)
        self.left = self.shared.descriptor(start, 16)
        count, zero = self.v_dims // 2, code.scalar(0.0)
        self.barriers.wait(0, code.i1(False))
        if self.problem.turn is not None:
            self.turn(self.problem.turn)

        def some() -> list[ir.Value]:
            state = self.loop(first, end)
            return [*state.sums, *state.totals]

        def none() -> list[ir.Value]:
            return [zero] * (count + 2)

        types = [code.f32()] * (count + 2)
        done = code.if_(code.less(first, end), some, none, types)
        self.be(code.opaque(self.thread))
        self.write(done[:count], done[count:], out)

    def be(self, thread: ir.Value) -> None:
        """Sets what depends on the thread, which need not be kept once it has been used."""
        self.inside = code.remainder(thread, GROUP)
        self.lane = Lane(code.remainder(thread, 32))
        self.warp_row = code.multiply(code.divide(self.inside, 32), 16)

    def loop(self, first: Index, end: Index) -> _State:
        """Over tiles, of which there is one at least."""
        count, zero = self.v_dims // 2, code.scalar(0.0)
        state = _State([zero] * count, [], [code.scalar(-math.inf)] * 2, [zero] * 2)
        self.first, self.end = first, end
        self.wait_for(first, False)
        self.take_turn(first)
        scores = self.scores(first)
        self.give_turn(first)
        weights, _, state = self.weigh(hopper.settle(scores), code.index(first), state)
        self.release(first, False)
        state = replace(state, weights=self.pack(weights))
        self.expect(first)

        def step(tile: ir.Value, *values: ir.Value) -> list[ir.Value]:
            state = _State.unpack(list(values), count)
            before = code.subtract(tile, 1)
            self.take_turn(tile)
            scores = self.scores(tile)
            self.wait_for(before, True)
            sums = self.mix(before, state)
            self.give_turn(tile)
            scores = hopper.settle(scores, left=1)
            self.release(tile, False)
            weights, factors, state = self.weigh(scores, tile, state)
            # ptxas puts the wait for products first in its block of instructions. Here one ends.
            self.expect(tile)
            # Weights are packed when the products that read the last ones are over: else ptxas has
            # these wait for each other.
            done = hopper.settle([*sums, *weights])
            sums, weights = done[:count], done[count:]
            self.release(before, True)
            sums = [arith.mulf(x, factors[n // 2 % 2]) for n, x in enumerate(sums)]
            return replace(state, sums=sums, weights=self.pack(weights)).values()

        values = code.loop(code.add(first, 1), end, 1, step, state.values())
        state = _State.unpack(values, count)
        last = code.subtract(end, 1)
        self.wait_for(last, True)
        self.clear(last)
        sums = hopper.settle(self.mix(last, state))
        self.release(last, True)
        return replace(state, sums=sums)

    def weigh(
        self, scores: list[ir.Value], tile: ir.Value, state: _State
    ) -> tuple[list[ir.Value], list[ir.Value], _State]:
        """Weights of a tile, row by row, factors for what was summed up before, and the state."""
        rows = self.hide(self.by_row(scores), tile)
        weights, factors, tops, totals = self.softmax(rows, state.tops, state.totals)
        state = replace(state, tops=tops, totals=totals)
        return [x for row in weights for x in row], factors, state

    def turn(self, turn: Turn) -> None:
        """Turns the queries of the warp group."""
        p, first = self.p, code.multiply(self.number, 64)
        memory = self.shared.view(0, [boxes(self.dims) * p.rows, BOX], self.element)
        tile = Tile(memory, BOX)

        def place(row: Index, chunk: Index) -> tuple[Index, Index]:
            at = code.add(code.multiply(code.divide(chunk, 8), p.rows), code.add(first, row))
            return at, tile.column(row, code.remainder(chunk, 8))

        def angle(row: Index) -> Index:
            return self.angle(self.pair_of(row)[0])

        turn_rows(memory, place, 64, angle, self.tables, turn, self.inside, GROUP)
        hopper.fence()
        hopper.sync_group(code.add(self.number, 1))

    def by_row(self, scores: list[ir.Value]) -> list[Row]:
        tiles = self.p.keys // 8
        return [
            Row(0, i, [scores[4 * n + 2 * i + x] for n in range(tiles) for x in range(2)])
            for i in range(2)
        ]

    def query_of(self, row: Row) -> tuple[Index, Index]:
        return self.pair_of(code.add(self.warp_row, row.number(self.lane)))

    def pair_of(self, row: Index) -> tuple[Index, Index]:
        """Query and head of a row of the warp group."""
        repeat = self.problem.repeat
        at = code.add(code.multiply(self.number, 64), row)
        head = code.add(code.multiply(self.group, repeat), code.remainder(at, repeat))
        return code.add(self.query, code.divide(at, repeat)), head

    def scores(self, tile: Index) -> list[ir.Value]:
        """Starts the products of the queries with a tile of keys."""
        p = self.p
        right = self.shared.descriptor(self.start_of(self.stage_of(tile), False), 16)
        lefts, rights = [], []
        for step in range(-(-self.dims // 16)):
            box, inside = step // 4, step % 4 * 32
            lefts.append(hopper.further(self.left, box * p.rows * 128 + inside))
            rights.append(hopper.further(right, box * p.keys * 128 + inside))
        return hopper.product(self.element, p.keys, None, lefts, rights, transposed=False)

    def pack(self, weights: list[ir.Value]) -> list[ir.Value]:
        """Weights of two rows as left operands, 16 keys in each four registers."""
        each = len(weights) // 2
        return [
            hopper.pack(weights[n], weights[n + 1], self.element)
            for tile in range(self.p.keys // 8)
            for n in (2 * tile, each + 2 * tile)
        ]

    def mix(self, tile: Index, state: _State) -> list[ir.Value]:
        """Starts to add the products of the weights with a tile of values."""
        start = self.start_of(self.stage_of(tile), True)
        right = self.shared.descriptor(start, self.p.keys * 128)
        weights = [state.weights[n : n + 4] for n in range(0, len(state.weights), 4)]
        rights = [hopper.further(right, step * 16 * 128) for step in range(len(weights))]
        columns = self.v_dims
        return hopper.product(self.element, columns, state.sums, weights, rights, transposed=True)

    def clear(self, tile: Index) -> None:
        """Zeros in place of values that are not in use: they may be infinite.

        Only the last tile has such ones.
        """
        if self.problem.lengths is None:
            return
        p, start = self.p, code.multiply(tile, self.p.keys)
        zero = code.zeros(ir.VectorType.get([code.CHUNK], self.element))
        place = self.start_of(self.stage_of(tile), True)
        memory = self.shared.view(place, [boxes(self.v_dims) * p.keys, BOX], self.element)

        def rows() -> None:
            used = code.subtract(self.used, start)
            rows = code.subtract(p.keys, used)
            chunks = self.v_dims // code.CHUNK

            def one(number: ir.Value) -> None:
                row = code.add(used, code.divide(number, chunks))
                chunk = code.remainder(number, chunks)
                at = code.add(code.multiply(code.divide(chunk, 8), p.keys), row)
                column = code.multiply(code.remainder(chunk, 8), code.CHUNK)
                vector.store(zero, memory, [code.index(at), code.index(column)], alignment=16)

            threads = GROUP * p.groups
            first = code.add(code.multiply(self.number, GROUP), self.inside)
            code.loop(first, code.multiply(rows, chunks), threads, one)
            hopper.fence()
            hopper.sync_group(1 + 2 * p.groups, threads)

        code.if_(code.less(self.used, code.add(start, p.keys)), rows)

    def tell(self, sums: list[ir.Value]) -> None:
        """Sets the warp's flag if a sum is not finite."""
        found = zero = code.scalar(0.0)
        for value in sums:
            found = code.fma(value, zero, found)
        bad = arith.cmpf(arith.CmpFPredicate.UNO, found, found)
        flag = arith.extui(code.i32_type(), bad)
        for distance in (1, 2, 4, 8, 16):
            flag = arith.ori(flag, code.shuffle_xor(flag, distance))
        warp = code.add(code.multiply(self.number, 4), code.divide(self.warp_row, 16))

        def store() -> None:
            memref.store(flag, self.flags, [code.block("x"), code.index(warp)])

        code.if_(code.equal(self.lane.lane, 0), store)

    # -- the result --------------------------------------------------------------------------------

    def write(self, sums: list[ir.Value], totals: list[ir.Value], out: ir.Value) -> None:
        """Divides, rounds, and writes rows, by way of where the queries were."""
        p, lane = self.p, self.lane
        self.tell(sums)
        memory = self.shared.view(0, [boxes(self.v_dims) * p.rows, BOX], self.element)
        tile = Tile(memory, BOX)
        first = code.multiply(self.number, 64)
        for i in range(2):
            factor = self.inverse(totals[i])
            row = code.add(first, code.add(self.warp_row, code.add(lane.row, 8 * i)))
            for n in range(self.v_dims // 8):
                a, b = (arith.mulf(sums[4 * n + 2 * i + x], factor) for x in range(2))
                both = code.narrow(code.pair(a, b), self.element)
                at = code.add(tile.column(lane.row, 0, n % 8), lane.column)
                place = code.add(row, n // 8 * p.rows)
                vector.store(both, memory, [code.index(place), code.index(at)], alignment=4)
        hopper.sync_group(code.add(self.number, 1))
        chunks = self.v_dims // code.CHUNK
        type_ = ir.VectorType.get([code.CHUNK], self.element)

        def one(number: ir.Value) -> None:
            row, chunk = code.divide(number, chunks), code.remainder(number, chunks)
            at = code.add(code.multiply(code.divide(chunk, 8), p.rows), code.add(first, row))
            start = tile.column(row, code.remainder(chunk, 8))
            query, head = self.pair_of(row)
            column = code.add(code.multiply(head, self.v_dims), code.multiply(chunk, code.CHUNK))

            def store() -> None:
                value = vector.load(
                    type_, memory, [code.index(at), code.index(start)], alignment=16
                )
                place = [code.index(x) for x in (self.batch, query, column)]
                vector.store(value, out, place, alignment=16)

            # Rows past those of whole queries are nobody's.
            used = self.queries_of_block * self.problem.repeat
            exists = arith.andi(
                code.less(query, self.queries), code.less(code.add(first, row), used)
            )
            code.if_(exists, store)

        code.loop(self.inside, 64 * chunks, GROUP, one)
