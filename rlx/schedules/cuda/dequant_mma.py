"""`rlx.dequant_matmul` on tensor cores: the portable matmul, by a weight of 8-bit integers.

Slices of the weight arrive in shared memory as they are, half as wide, and become floats there once
for the block. Without groups these floats are the integers, which f16 and bf16 hold exactly, and
the sums are multiplied with the scales. With groups they are rounded products with the scales.
"""

import functools
from dataclasses import dataclass

from rlx.dialects.base import RlxOp
from rlx.dialects.dequant_matmul import DequantMatmulOp
from rlx.host import arith, ir, vector
from rlx.schedules.cuda import code, matmul
from rlx.schedules.cuda.arch import Arch
from rlx.schedules.cuda.by_rows import launch_for, pick
from rlx.schedules.cuda.code import Index
from rlx.schedules.cuda.kernels import Kernels
from rlx.schedules.cuda.output import Launch, Output
from rlx.schedules.cuda.output import build as output_of
from rlx.schedules.cuda.tiles import Memory, Tile

__all__ = ["Parameters", "build", "emit_kernel", "parameters", "prepare", "refusal"]

_EACH = 16
"""Integers that a thread converts at once: 16 bytes."""


@dataclass(frozen=True)
class Parameters(matmul.Parameters):
    """Sizes of tiles, as of the portable kernel."""

    def shared(self, transposed: bool) -> int:
        rows, columns = (self.columns, self.inner) if transposed else (self.inner, self.columns)
        left = Tile.bytes_of(self.stages * self.rows, self.inner)
        weight = Tile.bytes_of(self.stages * rows, columns, 8) + Tile.bytes_of(rows, columns)
        return max(left + weight, Tile.bytes_of(self.rows, self.columns))


_BY_ROWS = (
    (16, Parameters(16, 32, 256, 16, 16, stages=4)),
    (256, Parameters(64, 64, 64, 32, 32, stages=4)),
    (None, Parameters(128, 128, 64, 64, 64, stages=3)),
)
"""For at most so many rows each."""


def parameters(rows: int | None) -> Parameters:
    """For a number of rows; None: any."""
    return pick(_BY_ROWS, rows)


def refusal(op: DequantMatmulOp, arch: Arch) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    element = op.input.type.element_type
    if not isinstance(element, (ir.F16Type, ir.BF16Type)):
        return f"tensor cores would round {element}"
    if op.group % _EACH:
        return f"groups of {op.group} are not multiples of {_EACH}"
    return None


def prepare(op: DequantMatmulOp) -> tuple[RlxOp, ir.Value]:
    """Checks sizes and makes a product of matrices; returns it and the value of the result."""
    input, weight, scales = op.fitting_operands()
    attrs = {"transpose_weight": op.transpose_weight, "group": op.group}
    result = DequantMatmulOp.create(matmul.as_matrix(input), weight, scales, **attrs)
    return result.owner.opview, matmul.with_rows_of(input, result)


def build(op: DequantMatmulOp, kernels: Kernels, arch: Arch) -> ir.Value | None:
    """Emits buffers and the launch for an op that :func:`prepare` made; returns the result.

    Returns None where it has put what the only reader of the result computes in its place.
    """

    def kernel(output: Output, columns: Index) -> Launch:
        emit = functools.partial(emit_kernel, kernels, output, op.transpose_weight, op.group)
        makes = [(most, functools.partial(emit, p)) for most, p in _BY_ROWS]
        return launch_for(matmul.rows_of(op), makes)

    return output_of(op, kernel, lambda found: matmul.fits(op, found.epilogue.offsets))


def emit_kernel(
    kernels: Kernels, output: Output, transposed: bool, group: int, p: Parameters
) -> Launch:
    """A function that emits the launch, given buffers: see the portable kernel."""
    name = f"rlx_dequant_matmul_{'nk' if transposed else 'kn'}_{output.element}"
    if output.epilogue is not None:
        name += "_fused"
    i8 = ir.IntegerType.get_signless(8)
    operands = [code.matrix(output.element), code.matrix(i8)]
    operands.append(code.matrix(code.f32(), 2 if group else 1))
    launch = kernels.define(
        kernels.name(name, (str(output.element), transposed, group, p, output.key)),
        operands + output.types(),
        _Dequant(output, transposed, group, p).body,
        block=[p.threads],
    )

    return matmul.by_tiles(launch, output, p, transposed)


class _Dequant(matmul.Product):
    """The kernel for one set of parameters."""

    scales: ir.Value

    def __init__(self, output: Output, transposed: bool, group: int, p: Parameters):
        super().__init__(output, transposed, p)
        self.group = group

    def body(self, a: ir.Value, b: ir.Value, *outs: ir.Value) -> None:
        self.scales, *rest = outs
        super().body(a, b, *rest)

    def take(self, memory: Memory) -> None:
        rows, columns = self.slice
        i8 = ir.IntegerType.get_signless(8)
        self.arriving = memory.tile(self.p.stages * rows, columns, i8)
        self.right = memory.tile(rows, columns, self.element)

    def ready(self, number: Index, stage: Index) -> Index:
        """Makes floats of a slice."""
        p, (rows, columns) = self.p, self.slice
        chunks = columns // _EACH
        depth = code.multiply(number, p.inner)
        for i in range(-(-rows * chunks // p.threads)):
            at = code.add(self.thread, i * p.threads)
            row, chunk = code.divide(at, chunks), code.remainder(at, chunks)

            def one(row: Index = row, chunk: Index = chunk) -> None:
                values = self.integers(code.add(code.multiply(stage, rows), row), row, chunk)
                if self.group:
                    scales = self.scales_of(row, chunk, depth)
                    values = [arith.mulf(x, y) for x, y in zip(values, scales, strict=True)]
                type_ = ir.VectorType.get([code.CHUNK], self.element)
                for half in range(2):
                    narrow = [arith.truncf(self.element, x) for x in values[8 * half :][:8]]
                    start = self.right.column(row, code.multiply(chunk, 2), half)
                    where = [code.index(row), code.index(start)]
                    whole = vector.from_elements(type_, narrow)
                    vector.store(whole, self.right.memory, where, alignment=16)

            if (i + 1) * p.threads <= rows * chunks:
                one()
            else:
                code.if_(code.less(at, rows * chunks), one)
        code.barrier()
        return 0

    def integers(self, place: Index, row: Index, chunk: Index) -> list[ir.Value]:
        """A chunk of the slice as f32."""
        type_ = ir.VectorType.get([_EACH], self.arriving.element)
        at = [code.index(place), code.index(self.arriving.column(row, chunk))]
        loaded = vector.load(type_, self.arriving.memory, at, alignment=16)
        words = vector.bitcast(ir.VectorType.get([_EACH // 4], code.i32_type()), loaded)
        found = []
        for number in range(_EACH // 4):
            # With 128 added, and 2^23 as the exponent: faster than a conversion.
            word = arith.xori(vector.extract(words, [], [number]), code.i32(-0x7F7F7F80))
            for byte in range(4):
                low = arith.andi(arith.shrui(word, code.i32(8 * byte)), code.i32(0xFF))
                bits = arith.ori(low, code.i32(0x4B000000))
                x = arith.bitcast(code.f32(), bits)
                found.append(arith.subf(x, code.scalar(2.0**23 + 128)))
        return found

    def scales_of(self, row: Index, chunk: Index, depth: Index) -> list[ir.Value]:
        """Of the elements of a chunk; for what is past the end, those of the last ones."""
        start = code.multiply(chunk, _EACH)
        deep = code.add(depth, start if self.transposed else row)
        last = code.subtract(code.dim(self.scales, 1), 1)
        which = code.minimum(code.divide(deep, self.group), last)

        def scale(column: Index) -> ir.Value:
            return code.load_raw(self.scales, [self.channel(column), which])

        if self.transposed:
            return [scale(row)] * _EACH
        return [scale(code.add(start, e)) for e in range(_EACH)]

    def channel(self, column: Index) -> Index:
        """The output channel of a column of the tile; for those past the end, the last one."""
        first, *rest = self.output.offsets
        inside, offset = code.remainder(column, self.width), first
        for piece, start in enumerate(rest, 1):
            is_there = code.equal(code.divide(column, self.width), piece)
            offset = code.select(is_there, start, offset)
        found = code.add(code.add(self.column, inside), offset)
        return code.minimum(found, code.subtract(code.dim(self.scales, 0), 1))

    def finish(self, sums: list[ir.Value]) -> list[ir.Value]:
        if self.group:
            return sums
        p = self.p
        across = p.warp_columns // 8
        first = code.add(self.warp_column, self.lane.column)
        scales = []
        for j in range(across):
            at = [self.channel(code.add(first, 8 * j + x)) for x in range(2)]
            a, b = (code.load_raw(self.scales, [n]) for n in at)
            both = vector.from_elements(code.pairs(2, code.f32()), [a, b, a, b])
            scales.append(both)
        return [arith.mulf(value, scales[n % across]) for n, value in enumerate(sums)]
