"""`rlx.attention` on Hopper: TMA, and products of warp groups.

The first warp group copies: queries once, then tiles of keys and values into a ring of stages. The
others compute 64 rows each: products with the keys from shared memory, the softmax in registers,
products of those weights with the values. Barriers in memory tell them that a tile is there, and
the copying one that its place is free again.

Rows are pairs of a query and a head of the group, which is what a box of TMA with an axis for heads
and one for queries brings. Where the heads of a group do not divide 128, the last rows stay idle.
"""

from dataclasses import dataclass, replace

from rlx.dialects import emit
from rlx.dialects.attention import AttentionOp
from rlx.dialects.base import RlxOp
from rlx.dialects.types import is_static
from rlx.host import arith, ir, memref, vector
from rlx.schedules.cuda import attention, code, hopper
from rlx.schedules.cuda.arch import Arch
from rlx.schedules.cuda.code import Index
from rlx.schedules.cuda.hopper import BOX, GROUP, Roles
from rlx.schedules.cuda.kernels import Kernels
from rlx.schedules.cuda.softmax import Problem, Row, Softmax
from rlx.schedules.cuda.tiles import Lane, Tile
from rlx.schedules.cuda.turned import turn_rows

__all__ = ["Parameters", "build", "emit_kernel", "parameters", "prepare", "refusal"]


@dataclass(frozen=True)
class Parameters(Roles):
    """Sizes of tiles.

    Attributes:
        keys: of a tile; a multiple of 64.
        stages: tiles that shared memory holds.
    """

    keys: int
    stages: int = 2

    def shared(self, dims: int) -> int:
        return (self.rows + 2 * self.stages * self.keys) * dims * 2


_PARAMETERS = {64: Parameters(128), 128: Parameters(128), 256: Parameters(64)}
"""By head dim."""


def parameters(dims: int) -> Parameters:
    return _PARAMETERS[dims]


def refusal(op: AttentionOp, arch: Arch) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if not arch.wgmma:
        return f"{arch.name} has no wgmma"
    if reason := attention.refusal(op, arch):
        return reason
    if op.head_dim not in _PARAMETERS or op.v_head_dim != op.head_dim:
        return "head dims are not 64, 128 or 256, or differ"
    if op.mask is not None or op.kv_lengths is not None:
        return "there is a mask, or keys that are not in use"
    repeat = op.num_heads // op.num_kv_heads
    if repeat > 64:
        return "more than 64 heads share keys"
    queries = op.query.type.shape[1]
    if is_static(queries) and queries * repeat <= attention.FEW_ROWS:
        return "there are few rows"
    if not all(hopper.is_mappable(x) for x in (op.query, op.key, op.value)):
        return "rows may not be aligned to 16 bytes"
    return None


def prepare(op: AttentionOp) -> tuple[RlxOp, ir.Value]:
    """As of the portable kernel."""
    return attention.prepare(op)


def build(op: AttentionOp, kernels: Kernels, arch: Arch) -> ir.Value:
    """Emits buffers and the launch for an op that :func:`prepare` made; returns the result."""
    problem, query, tables = attention.turned_by(op)
    shape = emit.sizes(op.query)
    result = code.alloc(shape, op.query.type.element_type)
    flat = [code.to_buffer(x) for x in (query, op.key, op.value, *tables)]
    buffers = []
    for value, heads in (
        (query, op.num_heads),
        (op.key, op.num_kv_heads),
        (op.value, op.num_kv_heads),
    ):
        split = emit.split_axis(value, 2, [heads, problem.dims])
        buffers.append(code.to_buffer(split))
    flags = emit_kernel(kernels, problem, parameters(problem.dims))(buffers, flat[3:], result)
    # Where infinite values showed that must not, all is computed once more.
    portable = attention.parameters(problem, arch, None)
    assert portable is not None  # else it was refused
    again = attention.emit_kernel(kernels, problem, replace(portable, guarded=True))
    again([*flat, flags], result)
    return code.to_tensor(result)


def emit_kernel(kernels: Kernels, problem: Problem, p: Parameters):
    """A function that emits the launch.

    It is given buffers [B, S, heads, D], those of cosines and sines, and that of the result.

    It returns a buffer of flags; a flag tells of sums that are not finite.
    """
    kernel = _Attention(problem, p)
    element = ir.Type.parse(problem.element)
    boxes = kernel.query_box, kernel.key_box, kernel.key_box
    types = [hopper.map_type(box, element) for box in boxes]
    if problem.turn is not None:
        types += [code.matrix(ir.Type.parse(problem.turn[1]))] * 2
    types += [ir.IndexType.get(), code.matrix(_i32(), 1), code.matrix(element, 3)]
    name = kernels.name(f"rlx_attention_wgmma_{problem.element}", (problem, p))
    launch = kernels.define(
        name,
        types,
        kernel.body,
        block=[p.threads],
        attributes={"nvvm.minctasm": ir.IntegerAttr.get(_i32(), 1)},
    )

    def emit_launch(buffers: list[ir.Value], tables: list[ir.Value], result: ir.Value) -> ir.Value:
        maps = [hopper.describe(b, box) for b, box in zip(buffers, boxes, strict=True)]
        blocks = code.ceil_div(code.dim(result, 1), kernel.queries_of_block)
        across = code.multiply(code.dim(result, 0), problem.groups)
        grid = code.multiply(blocks, across)
        flags = code.alloc([code.multiply(grid, 4 * p.groups)], _i32())
        keys = code.dim(buffers[1], 1)
        launch(*maps, *tables, keys, flags, result, grid=[grid], shared=p.shared(problem.dims))
        return flags

    return emit_launch


class _Attention(Softmax):
    """The kernel for one problem; sizes come at run time."""

    def __init__(self, problem: Problem, p: Parameters):
        super().__init__(problem, p.keys)
        self.p = p
        self.dims = problem.dims
        self.queries_of_block = p.rows // problem.repeat
        self.query_box = [1, self.queries_of_block, problem.repeat, BOX]
        self.key_box = [1, p.keys, 1, BOX]
        self.query_bytes = p.rows * self.dims * 2
        self.tile_bytes = p.keys * self.dims * 2

    # -- barriers: queries, then for each stage keys and values there, keys and values free --------

    def full(self, stage: Index, values: bool) -> Index:
        return code.add(stage, 1 + values * self.p.stages)

    def free(self, stage: Index, values: bool) -> Index:
        return code.add(stage, 1 + (2 + values) * self.p.stages)

    def start_of(self, stage: Index, values: bool) -> Index:
        """First byte of a tile."""
        first = self.query_bytes + values * self.p.stages * self.tile_bytes
        return code.add(code.multiply(stage, self.tile_bytes), first)

    # -- the whole ---------------------------------------------------------------------------------

    def body(self, *arguments: ir.Value) -> None:
        problem, p = self.problem, self.p
        self.maps, self.tables = arguments[:3], arguments[3:-3]
        keys, self.flags, out = arguments[-3:]
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
        self.reach(None)
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
        self.barriers.expect(0, self.queries_of_block * repeat * self.dims * 2)
        head = code.multiply(self.group, repeat)
        self.load(0, [self.batch, self.query, head], 0, 0, self.query_box, p.rows)

        def step(tile: ir.Value) -> None:
            turn = code.subtract(tile, first)
            stage = code.remainder(turn, p.stages)
            is_free = hopper.parity(turn, p.stages, 1)
            for values in (False, True):
                self.barriers.wait(self.free(stage, values), is_free)
                here = self.full(stage, values)
                self.barriers.expect(here, self.tile_bytes)
                at = [self.batch, code.multiply(tile, p.keys), self.group]
                start = self.start_of(stage, values)
                self.load(1 + values, at, here, start, self.key_box, p.keys)

        code.loop(first, end, 1, step)

    def load(
        self, which: int, at: list[Index], barrier: Index, start: Index, box: list[int], rows: int
    ) -> None:
        for column in range(0, self.dims, BOX):
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

    # -- computing ---------------------------------------------------------------------------------

    def compute(self, first: Index, end: Index, out: ir.Value) -> None:
        inside = code.remainder(self.thread, GROUP)
        self.inside = inside
        self.lane = Lane(code.remainder(self.thread, 32))
        self.warp_row = code.multiply(code.divide(inside, 32), 16)
        is_first = arith.cmpi(arith.CmpIPredicate.eq, code.index(self.lane.lane), code.index(0))
        self.teller = arith.extui(_i32(), is_first)
        start = code.multiply(self.number, 64 * 128)
        self.left = self.shared.descriptor(start, 16)
        count = self.dims // 2
        lowest, zero = code.scalar(float("-inf")), code.scalar(0.0)
        self.barriers.wait(0, code.i1(False))
        if self.problem.turn is not None:
            self.turn(self.problem.turn[0])

        def step(tile: ir.Value, *values: ir.Value) -> list[ir.Value]:
            state = list(values)
            sums, tops, totals = state[:count], state[count : count + 2], state[count + 2 :]
            turn = code.subtract(tile, first)
            stage = code.remainder(turn, self.p.stages)
            is_there = hopper.parity(turn, self.p.stages, 0)
            self.barriers.wait(self.full(stage, False), is_there)
            scores = hopper.settle(self.scores(stage))
            self.barriers.arrive(self.free(stage, False), self.teller)
            rows = self.hide(self.by_row(scores), tile)
            weights, factors, tops, totals = self.softmax(rows, tops, totals)
            packed = self.pack(weights)
            sums = [arith.mulf(x, factors[n // 2 % 2]) for n, x in enumerate(sums)]
            self.barriers.wait(self.full(stage, True), is_there)
            sums = hopper.settle(self.mix(sums, packed, stage))
            self.barriers.arrive(self.free(stage, True), self.teller)
            return [*sums, *tops, *totals]

        done = code.loop(first, end, 1, step, [zero] * count + [lowest] * 2 + [zero] * 2)
        self.write(done[:count], done[count + 2 :], out)

    def turn(self, n_rot: int) -> None:
        """Turns the queries of the warp group."""
        p, first = self.p, code.multiply(self.number, 64)
        memory = self.shared.view(0, [self.dims // BOX * p.rows, BOX], self.element)
        tile = Tile(memory, BOX)

        def place(row: Index, chunk: Index) -> tuple[Index, Index]:
            at = code.add(code.multiply(code.divide(chunk, 8), p.rows), code.add(first, row))
            return at, tile.column(row, code.remainder(chunk, 8))

        def query(row: Index) -> Index:
            at, _ = self.pair_of(row)
            return code.minimum(at, code.subtract(self.queries, 1))

        cos, sin = self.tables
        turn_rows(memory, place, 64, query, (cos, sin), n_rot, self.inside, GROUP)
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

    def scores(self, stage: Index) -> list[ir.Value]:
        p = self.p
        right = self.shared.descriptor(self.start_of(stage, False), 16)
        lefts, rights = [], []
        for step in range(self.dims // 16):
            box, inside = step // 4, step % 4 * 32
            lefts.append(hopper.further(self.left, box * p.rows * 128 + inside))
            rights.append(hopper.further(right, box * p.keys * 128 + inside))
        return hopper.product(self.element, p.keys, None, lefts, rights, transposed=False)

    def pack(self, weights: list[list[ir.Value]]) -> list[list[ir.Value]]:
        """Weights as left operands, 16 keys each."""
        made = []
        for k in range(self.p.keys // 16):
            registers = []
            for tile in (2 * k, 2 * k + 1):
                for row in weights:
                    a, b = row[2 * tile : 2 * tile + 2]
                    registers.append(hopper.pack(a, b, self.element))
            made.append(registers)
        return made

    def mix(
        self, sums: list[ir.Value], weights: list[list[ir.Value]], stage: Index
    ) -> list[ir.Value]:
        start = self.start_of(stage, True)
        right = self.shared.descriptor(start, self.p.keys * 128)
        rights = [hopper.further(right, step * 16 * 128) for step in range(len(weights))]
        return hopper.product(self.element, self.dims, sums, weights, rights, transposed=True)

    def tell(self, sums: list[ir.Value]) -> None:
        """Sets the warp's flag if a sum is not finite."""
        found = zero = code.scalar(0.0)
        for value in sums:
            found = code.fma(value, zero, found)
        bad = arith.cmpf(arith.CmpFPredicate.UNO, found, found)
        flag = arith.extui(_i32(), bad)
        for distance in (1, 2, 4, 8, 16):
            flag = arith.ori(flag, code.shuffle_xor(flag, distance))
        warp = code.add(code.multiply(self.number, 4), code.divide(self.warp_row, 16))
        place = code.add(code.multiply(code.block("x"), 4 * self.p.groups), warp)

        def store() -> None:
            memref.store(flag, self.flags, [code.index(place)])

        code.if_(code.equal(self.lane.lane, 0), store)

    # -- the result --------------------------------------------------------------------------------

    def write(self, sums: list[ir.Value], totals: list[ir.Value], out: ir.Value) -> None:
        """Divides, rounds, and writes rows, by way of where the queries were."""
        p, lane = self.p, self.lane
        self.tell(sums)
        boxes = self.dims // BOX
        memory = self.shared.view(0, [boxes * p.rows, BOX], self.element)
        tile = Tile(memory, BOX)
        first = code.multiply(self.number, 64)
        for i in range(2):
            factor = self.inverse(totals[i])
            row = code.add(first, code.add(self.warp_row, code.add(lane.row, 8 * i)))
            for n in range(self.dims // 8):
                a, b = (arith.mulf(sums[4 * n + 2 * i + x], factor) for x in range(2))
                both = code.narrow(code.pair(a, b), self.element)
                at = code.add(tile.column(lane.row, 0, n % 8), lane.column)
                place = code.add(row, n // 8 * p.rows)
                vector.store(both, memory, [code.index(place), code.index(at)], alignment=4)
        hopper.sync_group(code.add(self.number, 1))
        chunks = self.dims // code.CHUNK
        type_ = ir.VectorType.get([code.CHUNK], self.element)

        def one(number: ir.Value) -> None:
            row, chunk = code.divide(number, chunks), code.remainder(number, chunks)
            at = code.add(code.multiply(code.divide(chunk, 8), p.rows), code.add(first, row))
            start = tile.column(row, code.remainder(chunk, 8))
            query, head = self.pair_of(row)
            column = code.add(code.multiply(head, self.dims), code.multiply(chunk, code.CHUNK))

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


def _i32() -> ir.Type:
    return ir.IntegerType.get_signless(32)
