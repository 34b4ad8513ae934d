"""`rlx.matmul` on tensor cores: mma.sync, fed by ldmatrix and cp.async.

A block of threads computes a tile of the result. While it multiplies a slice of the operands in
shared memory, the next slices are on their way. Each warp keeps its part of the tile in registers,
in f32; at the end the tile goes through shared memory, so that rows are written 16 bytes at a time,
after what follows the product: bias, residual, activation, gated units.

Sizes and strides come at run time. Rows that are not aligned to 16 bytes are copied element by
element: right, but slow.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from rlx.dialects import emit
from rlx.dialects.base import RlxOp
from rlx.dialects.dequant_matmul import DequantMatmulOp
from rlx.dialects.matmul import MatmulOp
from rlx.dialects.types import is_static
from rlx.host import ir, tensor, vector
from rlx.schedules.cuda import code, tiles
from rlx.schedules.cuda.arch import Arch
from rlx.schedules.cuda.by_rows import launch_for, pick
from rlx.schedules.cuda.code import Index
from rlx.schedules.cuda.kernels import Kernels
from rlx.schedules.cuda.output import Launch, Output
from rlx.schedules.cuda.output import build as output_of
from rlx.schedules.cuda.tiles import Lane, Memory, Tile

__all__ = [
    "FEW",
    "SOME",
    "Parameters",
    "Product",
    "as_matrix",
    "build",
    "by_tiles",
    "emit_kernel",
    "fits",
    "parameters",
    "place",
    "prepare",
    "refusal",
    "rows_of",
    "with_rows_of",
]


@dataclass(frozen=True)
class Parameters:
    """Sizes of tiles.

    Attributes:
        rows, columns, inner: of the tile that a block computes, and of a slice of its operands.
        warp_rows, warp_columns: the part of a warp; multiples of 16, columns a power of two.
        stages: slices that shared memory holds.
        group: tiles below each other that follow in a row, so that they share columns in the cache.
    """

    rows: int
    columns: int
    inner: int
    warp_rows: int
    warp_columns: int
    stages: int
    group: int = 8

    @property
    def warps_across(self) -> int:
        return self.columns // self.warp_columns

    @property
    def threads(self) -> int:
        return 32 * (self.rows // self.warp_rows) * self.warps_across

    def stage_bytes(self, transposed: bool) -> int:
        weight = (self.columns, self.inner) if transposed else (self.inner, self.columns)
        return Tile.bytes_of(self.rows, self.inner) + Tile.bytes_of(*weight)

    def shared(self, transposed: bool) -> int:
        return max(
            self.stages * self.stage_bytes(transposed), Tile.bytes_of(self.rows, self.columns)
        )


FEW = Parameters(16, 32, 128, 16, 16, stages=5)
SOME = Parameters(64, 64, 64, 32, 32, stages=4)
_MANY = Parameters(128, 128, 32, 64, 64, stages=4)
_BY_ROWS = ((16, FEW), (256, SOME), (None, _MANY))
"""For at most so many rows each."""


def parameters(rows: int | None) -> Parameters:
    """For a number of rows; None: any."""
    return pick(_BY_ROWS, rows)


def refusal(op: MatmulOp, arch: Arch) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    element = op.input.type.element_type
    if not isinstance(element, (ir.F16Type, ir.BF16Type)):
        return f"tensor cores would round {element}"
    return None


def prepare(op: MatmulOp) -> tuple[RlxOp, ir.Value]:
    """Checks sizes and makes a matmul of two matrices; returns it and the value of the result."""
    input, weight = op.fitting_operands()
    attrs = {"transpose_weight": op.transpose_weight}
    result = MatmulOp.create(as_matrix(input), weight, **attrs)
    return result.owner.opview, with_rows_of(input, result)


def as_matrix(input: ir.Value) -> ir.Value:
    """All axes but the last one as rows."""
    rows = input
    if input.type.rank == 1:
        (size,) = emit.sizes(input)
        static = [1, *input.type.shape]
        type_ = ir.RankedTensorType.get(static, input.type.element_type)
        dynamic = [] if isinstance(size, int) else [size]
        rows = tensor.expand_shape(type_, input, [[0, 1]], dynamic, static)
    while rows.type.rank > 2:
        rows = emit.join_axes(rows, 0)
    return rows


def with_rows_of(input: ir.Value, value: ir.Value) -> ir.Value:
    """A matrix with its rows spread over the leading axes of ``input``."""
    sizes = [*emit.sizes(input)[:-1], emit.dim(value, 1)]
    element = value.type.element_type
    static = [size if isinstance(size, int) else code.DYNAMIC for size in sizes]
    if len(sizes) == 1:
        return tensor.collapse_shape(ir.RankedTensorType.get(static, element), value, [[0, 1]])
    if len(sizes) == 2:
        return value
    last = len(sizes) - 1
    dynamic = [size for size in sizes if not isinstance(size, int)]
    type_ = ir.RankedTensorType.get(static, element)
    return tensor.expand_shape(type_, value, [list(range(last)), [last]], dynamic, static)


def build(op: MatmulOp, kernels: Kernels, arch: Arch) -> ir.Value | None:
    """Emits buffers and the launch for an op that :func:`prepare` made; returns the result.

    Returns None where it has put what the only reader of the result computes in its place.
    """

    def kernel(output: Output, columns: Index) -> Launch:
        emit = functools.partial(emit_kernel, kernels, output, op.transpose_weight)
        return launch_for(rows_of(op), [(most, functools.partial(emit, p)) for most, p in _BY_ROWS])

    return output_of(op, kernel, lambda found: fits(op, found.epilogue.offsets))


def rows_of(op: MatmulOp | DequantMatmulOp) -> int | None:
    """Rows of the result; None if that is not known."""
    rows = op.input.type.shape[0]
    return rows if is_static(rows) else None


def fits(op: MatmulOp | DequantMatmulOp, offsets: Sequence[int]) -> bool:
    """Whether the kernel can do with pieces that begin there: they must be rows of the weight."""
    return len(offsets) == 1 or op.transpose_weight


def emit_kernel(kernels: Kernels, output: Output, transposed: bool, p: Parameters) -> Launch:
    """A function that emits the launch, given buffers.

    They are input [M, X], weight [N, X] or [X, N], what the output reads, and the result.
    """
    name = f"rlx_matmul_{'nk' if transposed else 'kn'}_{output.element}"
    if output.epilogue is not None:
        name += "_fused"
    launch = kernels.define(
        kernels.name(name, (str(output.element), transposed, p, output.key)),
        [code.matrix(output.element)] * 2 + output.types(),
        Product(output, transposed, p).body,
        block=[p.threads],
    )

    return by_tiles(launch, output, p, transposed)


def by_tiles(launch: Launch, output: Output, p: Parameters, transposed: bool) -> Launch:
    """A function that emits the launch: a block for each tile of the result, the last buffer."""

    def emit_launch(*buffers: ir.Value, when: ir.Value | None = None) -> None:
        rows, columns = (code.dim(buffers[-1], axis) for axis in (0, 1))
        across = code.ceil_div(columns, output.width(p.columns))
        grid = code.multiply(code.ceil_div(rows, p.rows), across)
        launch(*buffers, grid=[grid], shared=p.shared(transposed), when=when)

    return emit_launch


def place(rows: Index, columns: Index, height: int, width: int, group: int) -> tuple[Index, Index]:
    """First row and column of the block's tile.

    Tiles come in groups of ``group`` rows of them, column by column: blocks that run at the same
    time share operands in the cache.
    """
    number = code.block("x")
    down, across = code.ceil_div(rows, height), code.ceil_div(columns, width)
    size = code.multiply(across, group)
    first = code.multiply(code.divide(number, size), group)
    here = code.minimum(code.subtract(down, first), group)
    inside = code.remainder(number, size)
    row = code.add(first, code.remainder(inside, here))
    return code.multiply(row, height), code.multiply(code.divide(inside, here), width)


class Product:
    """The kernel for one set of parameters.

    Attributes:
        left: slices of the input in shared memory, one for each stage.
        arriving: the same of the weight, as it lies in memory.
        right: slices of the weight that are multiplied.
    """

    arriving: Tile
    right: Tile

    def __init__(self, output: Output, transposed: bool, p: Parameters):
        self.output, self.transposed, self.p = output, transposed, p
        self.element, self.width = output.element, output.width(p.columns)
        self.slice = (p.columns, p.inner) if transposed else (p.inner, p.columns)

    def take(self, memory: Memory) -> None:
        """Takes shared memory for the weight."""
        rows, columns = self.slice
        self.arriving = self.right = memory.tile(self.p.stages * rows, columns, self.element)

    def ready(self, number: Index, stage: Index) -> Index:
        """Makes slice ``number``, which has arrived, ready; returns its first row in ``right``."""
        return code.multiply(stage, self.slice[0])

    def finish(self, sums: list[ir.Value]) -> list[ir.Value]:
        """What the sums are multiplied with at the end."""
        return sums

    def body(self, a: ir.Value, b: ir.Value, *outs: ir.Value) -> None:
        p = self.p
        self.a, self.b = a, b
        self.rows, self.inner = code.dim(a, 0), code.dim(a, 1)
        self.columns = code.dim(outs[-1], 1)
        self.thread = code.thread(p.threads)
        warp = code.warp_of(self.thread)
        self.lane = Lane(code.remainder(self.thread, 32))
        self.warp_row = code.multiply(code.divide(warp, p.warps_across), p.warp_rows)
        self.warp_column = code.multiply(code.remainder(warp, p.warps_across), p.warp_columns)
        self.row, self.column = place(self.rows, self.columns, p.rows, self.width, p.group)
        self.fast = code.both(code.aligned(a), code.aligned(b))

        memory = Memory()
        self.left = memory.tile(p.stages * p.rows, p.inner, self.element)
        self.take(memory)
        out = memory.tile(p.rows, p.columns, self.element, at=0)

        slices = code.ceil_div(self.inner, p.inner)
        for stage in range(p.stages - 1):
            code.if_(code.less(stage, slices), functools.partial(self.fetch, stage, stage))
            tiles.commit()

        def step(number: ir.Value, *sums: ir.Value) -> list[ir.Value]:
            tiles.wait(p.stages - 2)
            code.barrier()  # the slice is there, and nobody reads the one before any more
            coming = code.add(number, p.stages - 1)
            code.if_(
                code.less(coming, slices),
                lambda: self.fetch(coming, code.remainder(coming, p.stages)),
            )
            tiles.commit()
            stage = code.remainder(number, p.stages)
            return self.multiply(stage, self.ready(number, stage), list(sums))

        count = p.warp_rows // 16 * p.warp_columns // 8
        zero = code.zeros(code.pairs(2, code.f32()))
        sums = code.loop(0, slices, 1, step, [zero] * count)
        tiles.wait(0)
        code.barrier()
        self.stage(self.finish(sums), out)
        code.barrier()

        def where(row: Index, chunk: Index) -> tuple[Index, Index]:
            return row, out.column(row, chunk)

        size, first = (p.rows, p.columns), (self.row, self.column)
        self.output.write(outs, out.memory, where, size, first, self.thread, p.threads)

    def fetch(self, number: Index, stage: Index) -> None:
        """Starts to copy slice ``number`` of both operands."""
        p = self.p
        depth = code.multiply(number, p.inner)
        left = code.subtract(self.inner, depth)

        def copy(
            source: ir.Value,
            tile: Tile,
            inside: int,
            rows: int,
            at: tuple[Index, Index],
            limits: list[Index],
            offset: int = 0,
        ) -> None:
            def place(row: Index) -> tuple[list[Index], Index, ir.Value]:
                here = code.add(at[0], row)
                return [code.add(here, offset)], at[1], code.less(here, limits[0])

            first = code.add(code.multiply(stage, tile.memory.type.shape[0] // p.stages), inside)
            tiles.copy_tile(
                self.thread, p.threads, self.fast, source, place, limits[1], tile, first, rows
            )

        copy(self.a, self.left, 0, p.rows, (self.row, depth), [self.rows, left])
        if self.transposed:
            for n, offset in enumerate(self.output.offsets):
                at, limits = (self.column, depth), [self.columns, left]
                copy(self.b, self.arriving, n * self.width, self.width, at, limits, offset)
        else:
            (offset,) = self.output.offsets
            limits = [self.inner, code.subtract(self.columns, self.column)]
            at = (depth, code.add(self.column, offset))
            copy(self.b, self.arriving, 0, p.inner, at, limits)

    def multiply(self, stage: Index, first: Index, sums: list[ir.Value]) -> list[ir.Value]:
        p, lane = self.p, self.lane
        down, across = p.warp_rows // 16, p.warp_columns // 8
        for k in range(p.inner // 16):
            lefts, rights = [], []
            for i in range(down):
                row = code.add(self.warp_row, code.add(lane.low, 16 * i))
                at = code.add(code.multiply(stage, p.rows), row)
                lefts.append(self.left.load(at, lane.half, 2 * k, lane.low, False))
            for j in range(across // 2):
                if self.transposed:
                    row = code.add(self.warp_column, code.add(lane.across, 16 * j))
                    chunk, more, same = lane.chunk, 2 * k, lane.across
                else:
                    row = code.add(lane.low, 16 * k)
                    chunk = code.add(code.divide(self.warp_column, 8), lane.half)
                    more, same = 2 * j, lane.low
                at = code.add(first, row)
                both = self.right.load(at, chunk, more, same, not self.transposed)
                rights += [code.part(both, 0, 2), code.part(both, 2, 2)]
            for i in range(down):
                for j in range(across):
                    sums[i * across + j] = code.mma(lefts[i], rights[j], sums[i * across + j])
        return sums

    def stage(self, sums: list[ir.Value], out: Tile) -> None:
        """Rounds the sums, and puts them into shared memory."""
        p, lane = self.p, self.lane
        across = p.warp_columns // 8
        for i in range(p.warp_rows // 16):
            for j in range(across):
                rounded = code.narrow(sums[i * across + j], self.element)
                for half in range(2):
                    row = code.add(self.warp_row, code.add(lane.row, 16 * i + 8 * half))
                    chunk = code.divide(self.warp_column, 8)
                    at = code.add(out.column(lane.row, chunk, j), lane.column)
                    value = vector.extract(rounded, [], [half])
                    indices = [code.index(row), code.index(at)]
                    vector.store(value, out.memory, indices, alignment=4)
