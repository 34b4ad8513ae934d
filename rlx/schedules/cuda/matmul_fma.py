"""`rlx.matmul` in f32 without tensor cores, which would round the operands.

A block of threads computes a tile of the result. Slices of the operands go through shared memory,
with the inner axis outermost; each thread multiplies four rows with four columns of them.
"""

from dataclasses import dataclass

from rlx.dialects.base import RlxOp
from rlx.dialects.matmul import MatmulOp
from rlx.dialects.types import is_static
from rlx.host import arith, ir, memref, vector
from rlx.schedules.cuda import code, matmul
from rlx.schedules.cuda.arch import Arch
from rlx.schedules.cuda.code import Index
from rlx.schedules.cuda.kernels import Kernels
from rlx.schedules.cuda.output import Launch, Output
from rlx.schedules.cuda.output import build as output_of
from rlx.schedules.cuda.tiles import Memory

__all__ = ["Parameters", "build", "prepare", "refusal"]

_FEW_ROWS = 8


@dataclass(frozen=True)
class Parameters:
    """Sizes of tiles.

    Attributes:
        tile: rows and columns of the tile of a block.
        inner: of a slice of the operands.
        each: rows and columns of a thread; a vector.
        group: tiles below each other that follow in a row.
    """

    tile: int = 64
    inner: int = 16
    each: int = 4
    group: int = 8

    @property
    def threads(self) -> int:
        return (self.tile // self.each) ** 2

    @property
    def pitch(self) -> int:
        """Of slices in shared memory: rows are written column by column, into different banks."""
        return self.tile + self.each

    @property
    def shared(self) -> int:
        return max(2 * self.inner * self.pitch, self.tile * self.tile) * 4


_PARAMETERS = Parameters()


def refusal(op: MatmulOp, arch: Arch) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    element = op.input.type.element_type
    if not isinstance(element, ir.F32Type):
        return f"there is no kernel for {element}"
    rows = op.input.type.shape[:-1]
    if all(map(is_static, rows)) and all(size <= _FEW_ROWS for size in rows):
        return "there are few rows"
    return None


def prepare(op: MatmulOp) -> tuple[RlxOp, ir.Value]:
    """As of the kernel with tensor cores."""
    return matmul.prepare(op)


def build(op: MatmulOp, kernels: Kernels, arch: Arch) -> ir.Value | None:
    """Emits buffers and the launch for an op that :func:`prepare` made; returns the result.

    Returns None where it has put what the only reader of the result computes in its place.
    """

    def kernel(output: Output, columns: Index) -> Launch:
        return emit_kernel(kernels, output, op.transpose_weight, _PARAMETERS)

    return output_of(op, kernel, lambda found: len(found.epilogue.offsets) == 1)


def emit_kernel(kernels: Kernels, output: Output, transposed: bool, p: Parameters) -> Launch:
    """A function that emits the launch, given buffers: see the kernel with tensor cores."""
    name = f"rlx_matmul_fma_{'nk' if transposed else 'kn'}"
    if output.epilogue is not None:
        name += "_fused"
    launch = kernels.define(
        kernels.name(name, (transposed, output.key)),
        [code.matrix(output.element)] * 2 + output.types(),
        _Matmul(output, transposed, p).body,
        block=[p.threads],
    )

    def emit_launch(*buffers: ir.Value) -> None:
        rows, columns = (code.ceil_div(code.dim(buffers[-1], axis), p.tile) for axis in (0, 1))
        launch(*buffers, grid=[code.multiply(rows, columns)], shared=p.shared)

    return emit_launch


class _Matmul:
    """The kernel for one set of parameters."""

    def __init__(self, output: Output, transposed: bool, p: Parameters):
        self.output, self.transposed, self.p = output, transposed, p

    def body(self, a: ir.Value, b: ir.Value, *outs: ir.Value) -> None:
        p = self.p
        rows, inner, columns = code.dim(a, 0), code.dim(a, 1), code.dim(outs[-1], 1)
        self.thread = code.thread(p.threads)
        row, column = matmul.place(rows, columns, p.tile, p.tile, p.group)
        (offset,) = self.output.offsets
        memory = Memory()
        left = memory.take([p.inner, p.pitch], code.f32())
        right = memory.take([p.inner, p.pitch], code.f32(), at=p.inner * p.pitch * 4)
        tile = memory.take([p.tile, p.tile], code.f32(), at=0)
        across = p.tile // p.each
        my_row = code.multiply(code.divide(self.thread, across), p.each)
        my_column = code.multiply(code.remainder(self.thread, across), p.each)
        four = ir.VectorType.get([p.each], code.f32())

        def step(depth: ir.Value, *sums: ir.Value) -> list[ir.Value]:
            code.barrier()  # nobody reads the slices before any more
            self.fetch(a, left, row, rows, 0, depth, inner, False)
            self.fetch(b, right, column, columns, offset, depth, inner, not self.transposed)
            code.barrier()
            new = list(sums)
            for k in range(p.inner):
                at = code.index(k)
                x = vector.load(four, left, [at, code.index(my_row)], alignment=16)
                y = vector.load(four, right, [at, code.index(my_column)], alignment=16)
                for i in range(p.each):
                    scalar = vector.broadcast(four, vector.extract(x, [], [i]))
                    new[i] = code.fma(scalar, y, new[i])
            return new

        zero = arith.constant(
            four, ir.DenseElementsAttr.get_splat(four, ir.FloatAttr.get(code.f32(), 0.0))
        )
        sums = code.loop(0, inner, p.inner, step, [zero] * p.each)
        code.barrier()
        for i, value in enumerate(sums):
            place = [code.index(code.add(my_row, i)), code.index(my_column)]
            vector.store(value, tile, place, alignment=16)
        code.barrier()

        def where(at: Index, chunk: Index) -> tuple[Index, Index]:
            return at, code.multiply(chunk, code.CHUNK)

        size = (p.tile, p.tile)
        self.output.write(outs, tile, where, size, (row, column), self.thread, p.threads)

    def fetch(
        self,
        source: ir.Value,
        target: ir.Value,
        first: Index,
        end: Index,
        offset: int,
        depth: Index,
        inner: Index,
        inner_first: bool,
    ) -> None:
        """A slice of rows ``first`` on; zeros past ``end`` and past the inner axis."""
        p = self.p
        zero = code.scalar(0.0)

        def one(number: ir.Value) -> None:
            if inner_first:
                k, i = code.divide(number, p.tile), code.remainder(number, p.tile)
            else:
                i, k = code.divide(number, p.inner), code.remainder(number, p.inner)
            at, deep = code.add(first, i), code.add(depth, k)
            here = [deep, code.add(at, offset)] if inner_first else [code.add(at, offset), deep]
            exists = arith.andi(code.less(at, end), code.less(deep, inner))
            (value,) = code.if_(
                exists, lambda: [code.load_raw(source, here)], lambda: [zero], [code.f32()]
            )
            memref.store(value, target, [code.index(k), code.index(i)])

        for i in range(p.tile * p.inner // p.threads):
            one(code.add(self.thread, i * p.threads))
