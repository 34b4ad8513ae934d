"""Tiles of attention on Hopper: where they lie, who copies them, and who waits for whom."""

from dataclasses import dataclass

from rlx.host import ir
from rlx.schedules.cuda import code, hopper
from rlx.schedules.cuda.code import Index
from rlx.schedules.cuda.hopper import BOX, GROUP, Roles
from rlx.schedules.cuda.softmax import Problem, Softmax

__all__ = ["Copies", "Parameters", "boxes"]


@dataclass(frozen=True)
class Parameters(Roles):
    """Sizes of tiles.

    Attributes:
        keys: of a tile; a multiple of 16.
        stages: tiles that shared memory holds.
        in_turn: whether groups, of which there are two, start products one after the other.
    """

    keys: int
    stages: int = 2
    in_turn: bool = True

    def queries(self, problem: Problem) -> int:
        """Queries of a block, with all heads of a group."""
        return self.rows // problem.repeat

    def tile_bytes(self, problem: Problem, values: bool) -> int:
        """Of a tile of keys or values, in whole boxes of columns."""
        return self.keys * boxes(problem.v_dims if values else problem.dims) * BOX * 2

    def query_bytes(self, problem: Problem) -> int:
        """Of the queries, and later the result."""
        return self.rows * boxes(max(problem.dims, problem.v_dims)) * BOX * 2

    def shared(self, problem: Problem) -> int:
        tiles = sum(self.tile_bytes(problem, values) for values in (False, True))
        return self.query_bytes(problem) + self.stages * tiles


def boxes(dims: int) -> int:
    """How many boxes the columns of a head take; TMA fills up the last one with zeros."""
    return -(-dims // BOX)


class Copies(Softmax):
    """What of a kernel copies tiles, and hands them on.

    Attributes:
        element: storage type.
        maps: descriptors of queries, keys and values.
        barriers, shared: of the block.
        number: of the warp group, among those that compute.
        teller: i32, 1 for one lane of each warp.
        query: the first one of the block.
        first, end: tiles that the block visits.
    """

    roomy = True
    element: ir.Type
    maps: tuple[ir.Value, ...]
    barriers: hopper.Barriers
    shared: hopper.Shared
    number: Index
    teller: ir.Value
    query: Index
    first: Index
    end: Index

    def __init__(self, problem: Problem, p: Parameters):
        super().__init__(problem, p.keys)
        self.p = p
        self.dims, self.v_dims = problem.dims, problem.v_dims
        self.queries_of_block = p.queries(problem)
        self.query_box = [1, self.queries_of_block, problem.repeat, BOX]
        self.key_box = [1, p.keys, 1, BOX]

    # -- barriers: queries, then for each stage keys and values there, keys and values free --------

    def full(self, stage: Index, values: bool) -> Index:
        return code.add(stage, 1 + values * self.p.stages)

    def free(self, stage: Index, values: bool) -> Index:
        return code.add(stage, 1 + (2 + values) * self.p.stages)

    def start_of(self, stage: Index, values: bool) -> Index:
        """First byte of a tile."""
        p, problem = self.p, self.problem
        first = p.query_bytes(problem) + values * p.stages * p.tile_bytes(problem, False)
        return code.add(code.multiply(stage, p.tile_bytes(problem, values)), first)

    def place(self) -> None:
        """Which queries of which group of heads the block computes."""
        blocks = code.ceil_div(self.queries, self.queries_of_block)
        number = code.block("x")
        down = code.remainder(number, blocks)
        if self.problem.causal:
            # Blocks that see many keys come first.
            down = code.subtract(code.subtract(blocks, 1), down)
        self.query = code.multiply(down, self.queries_of_block)
        number = code.divide(number, blocks)
        self.group = code.remainder(number, self.problem.groups)
        self.batch = code.divide(number, self.problem.groups)

    # -- copying -----------------------------------------------------------------------------------

    def copy(self, first: Index, end: Index) -> None:
        p, repeat = self.p, self.problem.repeat
        self.barriers.expect(0, self.queries_of_block * repeat * boxes(self.dims) * BOX * 2)
        head = code.multiply(self.group, repeat)
        self.load(0, [self.batch, self.query, head], 0, 0, self.query_box, p.rows)

        def step(tile: ir.Value) -> None:
            turn = code.subtract(tile, first)
            stage = code.remainder(turn, p.stages)
            is_free = hopper.parity(turn, p.stages, 1)
            for values in (False, True):
                self.barriers.wait(self.free(stage, values), is_free)
                here = self.full(stage, values)
                self.barriers.expect(here, p.tile_bytes(self.problem, values))
                at = [self.batch, code.multiply(tile, p.keys), self.group]
                start = self.start_of(stage, values)
                self.load(1 + values, at, here, start, self.key_box, p.keys)

        code.loop(first, end, 1, step)

    def load(
        self, which: int, at: list[Index], barrier: Index, start: Index, box: list[int], rows: int
    ) -> None:
        for column in range(0, self.v_dims if which == 2 else self.dims, BOX):
            place = code.add(start, column // BOX * rows * 128)
            here = [*at, column]
            hopper.load_box(
                self.maps[which],
                here,
                self.barriers,
                barrier,
                self.shared,
                place,
                box,
                self.element,
            )

    # -- tiles in turn -----------------------------------------------------------------------------

    def stage_of(self, tile: Index) -> Index:
        return code.remainder(code.subtract(tile, self.first), self.p.stages)

    def wait_for(self, tile: Index, values: bool) -> None:
        """Until a tile is there."""
        parity = hopper.parity(code.subtract(tile, self.first), self.p.stages, 0)
        self.barriers.wait(self.full(self.stage_of(tile), values), parity)

    def expect(self, tile: Index) -> None:
        """Waits for the keys after those of a tile, if there are any."""
        coming = code.add(tile, 1)
        code.if_(code.less(coming, self.end), lambda: self.wait_for(coming, False))

    def release(self, tile: Index, values: bool) -> None:
        """The place of a tile may be used again."""
        self.barriers.arrive(self.free(self.stage_of(tile), values), self.teller)

    def take_turn(self, tile: Index) -> None:
        """Waits until the other group has started its products; the first group goes first."""
        if not self.p.in_turn:
            return
        index = code.add(self.number, code.subtract(tile, self.first))
        number = code.add(self.number, 1 + self.p.groups)
        code.if_(code.less(0, index), lambda: hopper.sync_group(number, 2 * GROUP))

    def give_turn(self, tile: Index) -> None:
        if not self.p.in_turn:
            return
        # Nobody waits for the second group after its last tile.
        other = code.subtract(1, self.number)
        more = code.less(code.add(tile, self.number), self.end)
        number = code.add(other, 1 + self.p.groups)
        code.if_(more, lambda: hopper.arrive_at(number, 2 * GROUP))
