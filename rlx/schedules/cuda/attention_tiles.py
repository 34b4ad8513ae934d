"""Tiles of attention on tensor cores: which a block visits, how they get there, and products."""

import math
from dataclasses import dataclass
from typing import Any

from rlx.host import arith, ir, memref, vector
from rlx.schedules.cuda import code, tiles
from rlx.schedules.cuda.code import Index
from rlx.schedules.cuda.softmax import Problem, Row, Softmax
from rlx.schedules.cuda.tiles import Lane, Tile
from rlx.schedules.cuda.turned import turn_rows

__all__ = ["Parameters", "State", "Tiles", "columns_of", "parts_of"]

_MOST_COLUMNS = 256
"""Columns of the result that a block computes; wider heads are computed in parts."""

_FLAGS_BYTES = 1024


@dataclass(frozen=True)
class Parameters:
    """Sizes of tiles.

    Attributes:
        warps: of a block.
        rows: of a warp, a multiple of 16.
        keys: of a tile, a multiple of 16.
        split: whether keys are split over blocks.
        guarded: how many queries have flags in common: a block does nothing if none of its
            queries' is set. 0: there is no argument of flags.
    """

    warps: int
    rows: int
    keys: int
    split: bool = False
    guarded: int = 0

    @property
    def block_rows(self) -> int:
        return self.warps * self.rows

    @property
    def threads(self) -> int:
        return self.warps * 32

    def shared(self, dims: int, columns: int) -> int:
        """Bytes of shared memory for heads of ``dims``, ``columns`` of values at a time."""
        queries = max(Tile.bytes_of(self.block_rows, dims), Tile.bytes_of(self.block_rows, columns))
        tiles = Tile.bytes_of(self.keys, dims) + Tile.bytes_of(self.keys, columns)
        return queries + tiles + _FLAGS_BYTES


def parts_of(problem: Problem) -> int:
    """Parts that the columns of a head's result are computed in."""
    return -(-problem.v_dims // _MOST_COLUMNS)


def columns_of(problem: Problem) -> int:
    """Columns of a part."""
    parts = parts_of(problem)
    return ((problem.v_dims + parts - 1) // parts + 15) // 16 * 16


@dataclass(frozen=True)
class State:
    """What a lane holds: fragments of sums, and for each of its rows largest score and total."""

    sums: list[ir.Value]
    tops: list[ir.Value]
    totals: list[ir.Value]

    def pack(self) -> list[ir.Value]:
        return [*self.sums, *self.tops, *self.totals]


class Tiles(Softmax):
    """What of a kernel visits tiles; sizes come at run time.

    Attributes:
        element: storage type.
        query, key, value: the buffers.
        q, k, v: tiles of them in shared memory.
        part: which columns of values the block computes.
        row, rows: the first row of the block, and how many there are.
        warp_row: the first row of the warp in the block.
    """

    element: ir.Type
    query: ir.Value
    key: ir.Value
    value: ir.Value
    rows: Index
    q: Tile
    k: Tile
    v: Tile

    def __init__(self, problem: Problem, p: Parameters):
        super().__init__(problem, p.keys)
        self.p = p
        self.parts, self.columns = parts_of(problem), columns_of(problem)
        self.k_steps = problem.padded // 16
        self.k_tiles = p.keys // 8
        self.e_tiles = self.columns // 8
        self.m_tiles = p.rows // 16

    def blocks(self, query: ir.Value) -> Index:
        """Blocks that see all keys."""
        rows = code.multiply(code.dim(query, 1), self.problem.repeat)
        across = code.multiply(code.dim(query, 0), self.problem.groups * self.parts)
        return code.multiply(code.ceil_div(rows, self.p.block_rows), across)

    def be(self, thread: ir.Value) -> None:
        """Sets what depends on the thread."""
        self.thread = thread
        self.lane = Lane(code.remainder(thread, 32))
        self.warp_row = code.multiply(code.warp_of(thread), self.p.rows)

    # -- places ------------------------------------------------------------------------------------

    def place(self, splits: Index) -> Index:
        """Which part of the problem the block computes; returns which part of the keys it sees."""
        problem, p = self.problem, self.p
        number = code.block("x")
        split = code.remainder(number, splits)
        number = code.divide(number, splits)
        blocks = code.ceil_div(self.rows, p.block_rows)
        down = code.remainder(number, blocks)
        if problem.causal:
            # Blocks that see many keys come first.
            down = code.subtract(code.subtract(blocks, 1), down)
        number = code.divide(number, blocks)
        self.part = code.remainder(number, self.parts)
        number = code.divide(number, self.parts)
        self.group = code.remainder(number, problem.groups)
        self.batch = code.divide(number, problem.groups)
        self.row = code.multiply(down, p.block_rows)
        return split

    def queries_of(self) -> tuple[Index, Index]:
        """The first query of the block, and the last one."""
        end = code.minimum(code.add(self.row, self.p.block_rows), self.rows)
        repeat = self.problem.repeat
        return code.divide(self.row, repeat), code.divide(code.subtract(end, 1), repeat)

    def tiles(self, split: Index, splits: Index) -> tuple[Index, Index]:
        """The first tile that the block visits, and the one after the last."""
        first, end = self.see(*self.queries_of())
        if not self.p.split:
            return first, end
        count = code.subtract(end, first)
        each = code.divide(code.add(count, code.subtract(splits, 1)), splits)
        begin = code.add(first, code.multiply(split, each))
        return begin, code.minimum(code.add(begin, each), end)

    # -- copies ------------------------------------------------------------------------------------

    def head_of(self, row: Index) -> tuple[Index, Index]:
        """Query and head that a row of the problem stands for."""
        repeat = self.problem.repeat
        head = code.add(code.multiply(self.group, repeat), code.remainder(row, repeat))
        return code.divide(row, repeat), head

    def copy(
        self, source: ir.Value, dims: int, place: Any, limit: Index | None, tile: Tile
    ) -> None:
        rows = tile.memory.type.shape[0]
        fast = code.aligned(source) if dims % code.CHUNK == 0 else None
        tiles.copy_tile(self.thread, self.p.threads, fast, source, place, limit, tile, 0, rows)

    def load_queries(self) -> None:
        dims = self.problem.dims

        def place(row: Index) -> tuple[list[Index], Index, ir.Value]:
            at = code.add(self.row, row)
            query, head = self.head_of(at)
            return [self.batch, query], code.multiply(head, dims), code.less(at, self.rows)

        limit = None if dims == self.problem.padded else dims
        self.copy(self.query, dims, place, limit, self.q)

    def load_keys(self, number: Index) -> None:
        dims = self.problem.dims
        limit = None if dims == self.problem.padded else dims
        self.load_rows(self.key, number, dims, code.multiply(self.group, dims), limit, self.k)

    def load_values(self, number: Index) -> None:
        dims, columns = self.problem.v_dims, self.columns
        start = code.multiply(self.part, columns)
        column = code.add(code.multiply(self.group, dims), start)
        limit = None if dims % columns == 0 else code.subtract(dims, start)
        self.load_rows(self.value, number, dims, column, limit, self.v)

    def load_rows(
        self,
        source: ir.Value,
        number: Index,
        dims: int,
        column: Index,
        limit: Index | None,
        tile: Tile,
    ) -> None:
        """Rows of keys or values; zero past those in use, whatever memory holds."""
        first = code.multiply(number, self.p.keys)

        def place(row: Index) -> tuple[list[Index], Index, ir.Value]:
            at = code.add(first, row)
            return [self.batch, at], column, code.less(at, self.used)

        self.copy(source, dims, place, limit, tile)

    def start(self, first: Index, end: Index) -> None:
        """Starts to copy what comes first."""
        self.load_queries()
        code.if_(code.less(first, end), lambda: self.load_keys(first))
        tiles.commit()
        if self.problem.turn is None:
            return
        tiles.wait(0)
        code.barrier()

        def place(row: Index, chunk: Index) -> tuple[Index, Index]:
            return row, self.q.column(row, chunk)

        def angle(row: Index) -> Index:
            return self.angle(self.head_of(code.add(self.row, row))[0])

        rows, turn = self.p.block_rows, self.problem.turn
        turn_rows(self.q.memory, place, rows, angle, self.tables, turn, self.thread, self.p.threads)

    # -- the loop over tiles -----------------------------------------------------------------------

    def loop(self, first: Index, end: Index, mode: ir.Value) -> State:
        zero = code.zeros(code.pairs(2, code.f32()))
        lowest, nothing = code.scalar(-math.inf), code.scalar(0.0)
        state = State(
            [zero] * (self.m_tiles * self.e_tiles),
            [lowest] * (2 * self.m_tiles),
            [nothing] * (2 * self.m_tiles),
        )

        def step(number: ir.Value, *values: ir.Value) -> list[ir.Value]:
            state = self.unpack(list(values))
            tiles.wait(0)
            code.barrier()  # the keys are there, and nobody reads the last values any more
            self.load_values(number)
            tiles.commit()
            weights, state = self.weigh(self.hide(self.by_row(self.scores()), number), state)
            tiles.wait(0)
            code.barrier()  # the values are there, and nobody reads the keys any more
            coming = code.add(number, 1)
            code.if_(code.less(coming, end), lambda: self.load_keys(coming))
            tiles.commit()

            def replace() -> None:
                self.replace_values(mode)
                code.barrier()

            code.if_(code.less(0, mode), replace)
            return self.mix(weights, state).pack()

        return self.unpack(code.loop(first, end, 1, step, state.pack()))

    def unpack(self, values: list[ir.Value]) -> State:
        count = self.m_tiles * self.e_tiles
        rows = 2 * self.m_tiles
        return State(
            values[:count], values[count : count + rows], values[count + rows : count + 2 * rows]
        )

    def scores(self) -> list[list[ir.Value]]:
        """Products of queries and keys: for each tile of 16 rows those of 8 keys each."""
        lane, zero = self.lane, code.zeros(code.pairs(2, code.f32()))
        sums = [[zero] * self.k_tiles for _ in range(self.m_tiles)]
        for k in range(self.k_steps):
            left = []
            for m in range(self.m_tiles):
                row = code.add(self.warp_row, code.add(lane.low, 16 * m))
                left.append(self.q.load(row, lane.half, 2 * k, lane.low, False))
            for n in range(self.k_tiles // 2):
                row = code.add(lane.across, 16 * n)
                both = self.k.load(row, lane.chunk, 2 * k, lane.across, False)
                for half in range(2):
                    right = code.part(both, 2 * half, 2)
                    for m in range(self.m_tiles):
                        total = sums[m][2 * n + half]
                        sums[m][2 * n + half] = code.mma(left[m], right, total)
        return sums

    def by_row(self, sums: list[list[ir.Value]]) -> list[Row]:
        return [
            Row(m, i, [code.element(t, i, x) for t in sums[m] for x in range(2)])
            for m in range(self.m_tiles)
            for i in range(2)
        ]

    def query_of(self, row: Row) -> tuple[Index, Index]:
        at = code.add(self.row, code.add(self.warp_row, row.number(self.lane)))
        return self.head_of(at)

    def weigh(self, rows: list[Row], state: State) -> tuple[list[ir.Value], State]:
        """Fragments of weights for each tile of rows, and the state with sums scaled for them."""
        weights, factors, tops, totals = self.softmax(rows, state.tops, state.totals)
        sums = list(state.sums)
        for m in range(self.m_tiles):
            two = factors[2 * m : 2 * m + 2]
            scale = vector.from_elements(
                code.pairs(2, code.f32()), [two[0], two[0], two[1], two[1]]
            )
            for e in range(self.e_tiles):
                at = m * self.e_tiles + e
                sums[at] = arith.mulf(sums[at], scale)
        return self.fragments(weights), State(sums, tops, totals)

    def fragments(self, weights: list[list[ir.Value]]) -> list[ir.Value]:
        """Weights as left operands: for each tile of rows those of 16 keys each."""
        made = []
        for m in range(self.m_tiles):
            for k in range(self.p.keys // 16):
                parts = []
                for tile in (2 * k, 2 * k + 1):
                    for half in range(2):
                        row = weights[2 * m + half]
                        both = code.pair(row[2 * tile], row[2 * tile + 1])
                        parts.append(code.narrow(both, self.element))
                value = code.zeros(code.pairs(4, self.element))
                for n, one in enumerate(parts):
                    value = vector.insert(one, value, [], [n])
                made.append(value)
        return made

    def mix(self, weights: list[ir.Value], state: State) -> State:
        """Adds products of weights and values."""
        lane, sums = self.lane, list(state.sums)
        steps = self.p.keys // 16
        for k in range(steps):
            for e in range(self.e_tiles // 2):
                row = code.add(lane.low, 16 * k)
                both = self.v.load(row, lane.half, 2 * e, lane.low, True)
                for half in range(2):
                    right = code.part(both, 2 * half, 2)
                    for m in range(self.m_tiles):
                        at = m * self.e_tiles + 2 * e + half
                        sums[at] = code.mma(weights[m * steps + k], right, sums[at])
        return State(sums, state.tops, state.totals)

    def replace_values(self, mode: ir.Value) -> None:
        """Makes of the tile of values what the round needs."""
        zero, one = code.scalar(0.0), code.scalar(1.0)
        columns = self.columns

        def change(number: ir.Value) -> None:
            row, inside = code.divide(number, columns), code.remainder(number, columns)
            column = code.add(
                self.v.column(row, code.divide(inside, code.CHUNK)),
                code.remainder(inside, code.CHUNK),
            )
            place = [code.index(row), code.index(column)]
            x = arith.extf(code.f32(), memref.load(self.v.memory, place))
            finite = arith.cmpf(arith.CmpFPredicate.OEQ, arith.subf(x, x), zero)
            kind = arith.select(
                code.equal(mode, 2), code.is_float(x, math.inf), code.is_float(x, -math.inf)
            )
            nan = arith.cmpf(arith.CmpFPredicate.UNO, x, x)
            kind = arith.select(code.equal(mode, 4), nan, kind)
            value = arith.select(
                code.equal(mode, 1), arith.select(finite, x, zero), arith.select(kind, one, zero)
            )
            memref.store(arith.truncf(self.element, value), self.v.memory, place)

        code.loop(self.thread, self.p.keys * columns, self.p.threads, change)
