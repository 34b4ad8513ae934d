"""`rlx.attention` on tensor cores: mma.sync, fed by ldmatrix and cp.async, with an online softmax.

The heads of a group share their keys and values, so the rows of a block are pairs of a query and a
head of the group: every tile of keys and values is read once for all of them. Each warp keeps the
sums of its rows in registers. While it multiplies with a tile of keys, the values of that tile are
on their way, and while it multiplies with the values, the next keys.

Tiles that no row of a block sees are not visited; in those that not all rows see all of, and where
there is a mask, scores of hidden keys become -inf. Keys and values past `kv_lengths` are not read.

With few rows (decoding) the keys are split over many blocks of a single warp or a few, and a second
kernel merges what they found. Head dims are padded to 16; sizes and strides come at run time.
"""

import math
from dataclasses import dataclass
from typing import Any

from rlx.dialects import emit
from rlx.dialects.attention import AttentionOp
from rlx.dialects.base import RlxOp
from rlx.dialects.types import is_static
from rlx.host import arith, ir, memref, tensor, vector
from rlx.schedules.cuda import code
from rlx.schedules.cuda.arch import Arch
from rlx.schedules.cuda.code import Index, Lane, Memory, Tile
from rlx.schedules.cuda.kernels import Kernels
from rlx.schedules.cuda.softmax import Problem, Row, Softmax

__all__ = ["Parameters", "Problem", "build", "emit_kernel", "parameters", "prepare", "refusal"]

_MOST_DIM = 512
_MOST_COLUMNS = 256
"""Columns of the result that a block computes; wider heads are computed in parts."""

FEW_ROWS = 64
"""Up to here keys are split over blocks."""

_FLAGS_BYTES = 1024
_ROUNDS = 5

_SPLIT_BLOCKS = 768
"""Blocks that keys are split over, about; enough to have several on every processor."""


@dataclass(frozen=True)
class Parameters:
    """Sizes of tiles.

    Attributes:
        warps: of a block.
        rows: of a warp, a multiple of 16.
        keys: of a tile, a multiple of 16.
        split: whether keys are split over blocks.
        guarded: whether there is an argument of flags, and nothing to do if none is set.
    """

    warps: int
    rows: int
    keys: int
    split: bool = False
    guarded: bool = False

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


# By what the head dims are at most; the first that fits into shared memory.
_PARAMETERS: tuple[tuple[int, tuple[Parameters, ...]], ...] = (
    (64, (Parameters(4, 32, 64),)),
    (128, (Parameters(4, 32, 32),)),
    (256, (Parameters(4, 16, 64), Parameters(4, 16, 32))),
    (512, (Parameters(4, 16, 32), Parameters(2, 16, 32))),
)


def _parts(problem: Problem) -> int:
    """Parts that the columns of a head's result are computed in."""
    return -(-problem.v_dims // _MOST_COLUMNS)


def _columns(problem: Problem) -> int:
    """Columns of a part."""
    parts = _parts(problem)
    return ((problem.v_dims + parts - 1) // parts + 15) // 16 * 16


def parameters(problem: Problem, arch: Arch, rows: int | None) -> Parameters | None:
    """For a number of rows, None if it is not known; None if nothing fits.

    The rows are those that share keys: queries times the heads of a group.
    """
    sizes = problem.padded, _columns(problem)
    candidates = next(found for most, found in _PARAMETERS if max(sizes) <= most)
    if problem.mask is not None and max(sizes) <= 128:
        # Reading the mask takes registers.
        candidates = (Parameters(4, 16, 64),)
    if rows is not None and rows <= FEW_ROWS:
        warps = max(1, -(-rows // 16))
        candidates = tuple(Parameters(warps, 16, keys, split=True) for keys in (64, 32))
    return next((p for p in candidates if p.shared(*sizes) <= arch.shared), None)


def _rows(op: AttentionOp) -> int | None:
    queries = op.query.type.shape[1]
    return queries * op.num_heads // op.num_kv_heads if is_static(queries) else None


def refusal(op: AttentionOp, arch: Arch) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    element = op.query.type.element_type
    if not isinstance(element, (ir.F16Type, ir.BF16Type)):
        return f"tensor cores would round {element}"
    for what, size in (("head_dim", op.head_dim), ("v_head_dim", op.v_head_dim)):
        if size > _MOST_DIM:
            return f"{what}, {size}, is above {_MOST_DIM}"
    if not math.isfinite(op.scale) or abs(op.scale) > 1e30 or op.softcap > 1e30:
        return "the scale or the bound of the scores is too large"
    if parameters(Problem.of(op), arch, _rows(op)) is None:
        return f"{arch.name} does not have the shared memory"
    return None


def prepare(op: AttentionOp) -> tuple[RlxOp, ir.Value]:
    """Checks sizes and makes attention whose mask, if it has one, is in f32; returns it twice."""
    key, value, lengths = op.fitting_operands()
    mask = op.fitting_mask()
    if mask is not None:
        mask = _as_f32(mask)
    result = AttentionOp.create(op.query, key, value, mask, lengths, **op.attrs)
    return result.owner.opview, result


def _as_f32(mask: ir.Value) -> ir.Value:
    """A mask of floats; what an i1 mask hides is -inf, the rest 0."""
    wide = ir.F32Type.get()
    if mask.type.rank == 0:
        type_ = ir.RankedTensorType.get([1], mask.type.element_type)
        mask = tensor.expand_shape(type_, mask, [], [], [1])
    if isinstance(mask.type.element_type, ir.FloatType):
        return emit.convert_tensor(mask, wide)
    axes = emit.axes(mask.type.rank)

    def body(allowed: ir.Value, _: ir.Value) -> ir.Value:
        return arith.select(allowed, emit.constant(wide, 0.0), emit.constant(wide, -math.inf))

    out = emit.empty(emit.sizes(mask), wide)
    return emit.generic([mask], out, [axes, axes], "p" * mask.type.rank, body)


def build(op: AttentionOp, kernels: Kernels, arch: Arch) -> ir.Value:
    """Emits buffers and launches for an op that :func:`prepare` made; returns the result."""
    problem = Problem.of(op)
    p = parameters(problem, arch, _rows(op))
    assert p is not None  # else it was refused
    element = op.query.type.element_type
    shape = emit.sizes(op.query)
    shape[2] = op.num_heads * op.v_head_dim
    result = code.alloc(shape, element)
    buffers = [code.to_buffer(x) for x in (op.query, op.key, op.value)]
    buffers += [code.to_buffer(x) for x in (op.mask, op.kv_lengths) if x is not None]
    emit_kernel(kernels, problem, p)(buffers, result)
    return code.to_tensor(result)


def emit_kernel(kernels: Kernels, problem: Problem, p: Parameters) -> Any:
    """A function that emits launches, given the buffers of operands and of the result."""
    attention = _Attention(problem, p)
    element = ir.Type.parse(problem.element)
    types: list[ir.Type] = [code.matrix(element, 3)] * 3
    if problem.mask is not None:
        types.append(ir.Type.parse(problem.mask))
    if problem.lengths is not None:
        types.append(code.matrix(ir.Type.parse(problem.lengths), 1))
    if p.guarded:
        types.append(code.matrix(ir.IntegerType.get_signless(32), 1))
    outs = [code.matrix(code.f32(), 4), code.matrix(code.f32(), 4)]
    types += outs if p.split else [code.matrix(element, 3)]
    name = kernels.name(f"rlx_attention_{problem.element}", (problem, p))
    launch = kernels.define(name, types, attention.body, block=[p.threads])
    shared = p.shared(problem.padded, attention.columns)
    if not p.split:

        def direct(buffers: list[ir.Value], result: ir.Value) -> None:
            launch(*buffers, result, grid=[attention.blocks(buffers[0])], shared=shared)

        return direct

    merge = kernels.define(
        f"{name}_merge",
        [*outs, code.matrix(element, 3)],
        attention.merge,
        block=[_MERGE_THREADS],
    )

    def split(buffers: list[ir.Value], result: ir.Value) -> None:
        blocks = attention.blocks(buffers[0])
        tiles = code.ceil_div(code.dim(buffers[1], 1), p.keys)
        each = arith.divui(code.index(_SPLIT_BLOCKS), code.index(code.maximum(blocks, 1)))
        splits = code.maximum(code.minimum(each, tiles), 1)
        # The rows of a head's result: one for each query.
        heads = problem.heads
        batch, queries = code.dim(buffers[0], 0), code.dim(buffers[0], 1)
        rows = code.multiply(batch, code.multiply(queries, heads))
        sums = code.alloc([splits, rows, 1, problem.v_dims], code.f32())
        stats = code.alloc([splits, rows, 1, 2], code.f32())
        launch(*buffers, sums, stats, grid=[code.multiply(blocks, splits)], shared=shared)
        merge(sums, stats, result, grid=[rows])

    return split


_MERGE_THREADS = 128


class _Attention(Softmax):
    """The kernel for one problem; sizes come at run time."""

    def __init__(self, problem: Problem, p: Parameters):
        super().__init__(problem, p.keys)
        self.p = p
        self.parts, self.columns = _parts(problem), _columns(problem)
        self.k_steps = problem.padded // 16
        self.k_tiles = p.keys // 8
        self.e_tiles = self.columns // 8
        self.m_tiles = p.rows // 16

    def blocks(self, query: ir.Value) -> Index:
        """Blocks that see all keys."""
        rows = code.multiply(code.dim(query, 1), self.problem.repeat)
        across = code.multiply(code.dim(query, 0), self.problem.groups * self.parts)
        return code.multiply(code.ceil_div(rows, self.p.block_rows), across)

    # -- the whole ---------------------------------------------------------------------------------

    def body(self, *arguments: ir.Value) -> None:
        problem, p = self.problem, self.p
        self.query, self.key, self.value = arguments[:3]
        rest = list(arguments[3:])
        self.mask = rest.pop(0) if problem.mask is not None else None
        lengths = rest.pop(0) if problem.lengths is not None else None
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
            self.run(lengths, rest)
        else:
            code.if_(self.any_of(flags), lambda: self.run(lengths, rest))

    def be(self, thread: ir.Value) -> None:
        """Sets what depends on the thread."""
        self.thread = thread
        self.lane = Lane(code.remainder(thread, 32))
        self.warp_row = code.multiply(code.warp_of(thread), self.p.rows)

    def run(self, lengths: ir.Value | None, outs: list[ir.Value]) -> None:
        p = self.p
        splits = code.dim(outs[0], 0) if p.split else 1
        split = self.place(splits)
        self.reach(lengths)
        first, end = self.tiles(split, splits)

        def put(state: _State, mode: ir.Value | None) -> None:
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
            code.wait(0)
            trouble = self.share(self.trouble(state), 0)

            def first_time() -> list[ir.Value]:
                code.if_(arith.xori(trouble, code.i1(True)), lambda: put(state, None))
                return [code.select(trouble, 1, _ROUNDS)]

            def later() -> list[ir.Value]:
                put(state, mode)
                return [code.index(code.add(mode, 1))]

            (following,) = code.if_(_is(mode, 0), first_time, later, [ir.IndexType.get()])
            code.barrier()
            return following

        code.repeat(0, _ROUNDS, round_)

    def start(self, first: Index, end: Index) -> None:
        """Starts to copy what comes first."""
        self.load_queries()
        code.if_(code.less(first, end), lambda: self.load_keys(first))
        code.commit()

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
        def add(i: ir.Value, found: ir.Value) -> list[ir.Value]:
            return [arith.ori(found, code.load_raw(flags, [i]))]

        (found,) = code.loop(self.thread, code.dim(flags, 0), self.p.threads, add, [code.i32(0)])
        code.barrier()  # the flags of the block are cleared
        return self.share(arith.cmpi(arith.CmpIPredicate.ne, found, code.i32(0)), 1)

    def trouble(self, state: "_State") -> ir.Value:
        """Whether a sum is not finite."""
        found = zero = code.scalar(0.0)
        for total in state.sums:
            for i in range(2):
                for x in range(2):
                    found = code.fma(code.element(total, i, x), zero, found)
        return arith.cmpf(arith.CmpFPredicate.UNO, found, found)

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
            kind = arith.select(_is(mode, 2), _equals(x, math.inf), _equals(x, -math.inf))
            nan = arith.cmpf(arith.CmpFPredicate.UNO, x, x)
            kind = arith.select(_is(mode, 4), nan, kind)
            value = arith.select(
                _is(mode, 1), arith.select(finite, x, zero), arith.select(kind, one, zero)
            )
            memref.store(arith.truncf(self.element, value), self.v.memory, place)

        code.loop(self.thread, self.p.keys * columns, self.p.threads, change)

    def combine(self, mode: ir.Value, value: ir.Value, before: ir.Value) -> ir.Value:
        """What a round makes of the result of those before, all in f32."""
        nan, infinity = code.scalar(math.nan), code.scalar(math.inf)
        against = arith.select(_equals(before, math.inf), nan, code.scalar(-math.inf))
        special = arith.select(_is(mode, 2), infinity, against)
        special = arith.select(_is(mode, 4), nan, special)
        shows = arith.cmpf(arith.CmpFPredicate.OGT, value, code.scalar(0.0))
        after = arith.select(shows, special, before)
        return arith.select(_is(mode, 1), value, after)

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

    def tiles(self, split: Index, splits: Index) -> tuple[Index, Index]:
        """The first tile that the block visits, and the one after the last."""
        end = code.minimum(code.add(self.row, self.p.block_rows), self.rows)
        repeat = self.problem.repeat
        first_query = code.divide(self.row, repeat)
        last_query = code.divide(code.subtract(end, 1), repeat)
        first, end = self.see(first_query, last_query)
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
        code.copy_tile(self.thread, self.p.threads, fast, source, place, limit, tile, 0, rows)

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

    # -- the loop over tiles -----------------------------------------------------------------------

    def loop(self, first: Index, end: Index, mode: ir.Value) -> "_State":
        zero = code.zeros(code.pairs(2, code.f32()))
        lowest, nothing = code.scalar(-math.inf), code.scalar(0.0)
        state = _State(
            [zero] * (self.m_tiles * self.e_tiles),
            [lowest] * (2 * self.m_tiles),
            [nothing] * (2 * self.m_tiles),
        )

        def step(number: ir.Value, *values: ir.Value) -> list[ir.Value]:
            state = self.unpack(list(values))
            code.wait(0)
            code.barrier()  # the keys are there, and nobody reads the last values any more
            self.load_values(number)
            code.commit()
            weights, state = self.weigh(self.hide(self.by_row(self.scores()), number), state)
            code.wait(0)
            code.barrier()  # the values are there, and nobody reads the keys any more
            coming = code.add(number, 1)
            code.if_(code.less(coming, end), lambda: self.load_keys(coming))
            code.commit()

            def replace() -> None:
                self.replace_values(mode)
                code.barrier()

            code.if_(code.less(0, mode), replace)
            return self.mix(weights, state).pack()

        return self.unpack(code.loop(first, end, 1, step, state.pack()))

    def unpack(self, values: list[ir.Value]) -> "_State":
        count = self.m_tiles * self.e_tiles
        rows = 2 * self.m_tiles
        return _State(
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

    def weigh(self, rows: list[Row], state: "_State") -> tuple[list[ir.Value], "_State"]:
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
        return self.fragments(weights), _State(sums, tops, totals)

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

    def mix(self, weights: list[ir.Value], state: "_State") -> "_State":
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
        return _State(sums, state.tops, state.totals)

    # -- results -----------------------------------------------------------------------------------

    def stage(self, state: "_State") -> None:
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
        state: "_State",
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

    def merge(self, sums: ir.Value, stats: ir.Value, result: ir.Value) -> None:
        """Merges the parts of a row; a block per row."""
        problem = self.problem
        heads = problem.heads
        element = ir.Type.parse(problem.element)
        row, thread = code.block("x"), code.thread(_MERGE_THREADS)
        splits, queries = code.dim(sums, 0), code.dim(result, 1)
        lowest, zero = code.scalar(-math.inf), code.scalar(0.0)

        def statistic(split: ir.Value, which: int) -> ir.Value:
            return code.load_raw(stats, [split, row, 0, which])

        (top,) = code.loop(
            0, splits, 1, lambda s, best: [code.larger(best, statistic(s, 0))], [lowest]
        )
        none = arith.cmpf(arith.CmpFPredicate.OEQ, top, lowest)
        base = arith.select(none, zero, top)
        query = code.divide(row, heads)
        column = code.multiply(code.remainder(row, heads), problem.v_dims)
        place = [code.divide(query, queries), code.remainder(query, queries)]

        def one(e: ir.Value) -> None:
            def add(s: ir.Value, total: ir.Value, weight: ir.Value) -> list[ir.Value]:
                factor = code.exp2(arith.subf(statistic(s, 0), base))
                value = code.load_raw(sums, [s, row, 0, e])
                # What has no weight may be infinite.
                value = arith.select(_equals(factor, 0.0), zero, value)
                return [code.fma(value, factor, total), code.fma(statistic(s, 1), factor, weight)]

            total, weight = code.loop(0, splits, 1, add, [zero, zero])
            empty = arith.cmpf(arith.CmpFPredicate.OEQ, weight, zero)
            factor = arith.select(empty, zero, code.reciprocal(weight))
            value = arith.truncf(element, arith.mulf(total, factor))
            at = [code.index(i) for i in (*place, code.add(column, e))]
            memref.store(value, result, at)

        code.loop(thread, problem.v_dims, _MERGE_THREADS, one)


@dataclass(frozen=True)
class _State:
    """What a lane holds: fragments of sums, and for each of its rows largest score and total."""

    sums: list[ir.Value]
    tops: list[ir.Value]
    totals: list[ir.Value]

    def pack(self) -> list[ir.Value]:
        return [*self.sums, *self.tops, *self.totals]


def _is(mode: ir.Value, number: int) -> ir.Value:
    return code.equal(mode, number)


def _equals(x: ir.Value, value: float) -> ir.Value:
    return arith.cmpf(arith.CmpFPredicate.OEQ, x, code.scalar(value))
