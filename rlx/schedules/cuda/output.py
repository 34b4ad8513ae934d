"""What becomes of the tile of a product: rounded, put through an epilogue, and written.

The tile lies in shared memory, rounded as the product is. An epilogue may read it in pieces, as a
gated unit does: then the columns of the tile are as many columns of each piece.
"""

from collections.abc import Callable, Sequence
from typing import Any

from rlx.dialects import emit
from rlx.dialects.dequant_matmul import DequantMatmulOp
from rlx.dialects.matmul import MatmulOp
from rlx.host import arith, ir, memref, vector
from rlx.schedules.cpu.epilogue import Epilogue, Found, find
from rlx.schedules.cuda import code
from rlx.schedules.cuda.code import Index

__all__ = ["Found", "Launch", "Output", "build"]

_MOST_PIECES = 2


class Output:
    """How a kernel writes its result.

    Attributes:
        offsets: columns of the product at which pieces begin.
        key: equal for equal code.
    """

    def __init__(self, element: ir.Type, epilogue: Epilogue | None = None):
        self.element, self.epilogue = element, epilogue
        self.offsets = (0,) if epilogue is None else epilogue.offsets
        self.kinds = () if epilogue is None else epilogue.kinds
        self.result = element if epilogue is None else epilogue.result
        self.key: Any = None if epilogue is None else epilogue.key

    def types(self) -> list[ir.Type]:
        """Of the buffers that the epilogue reads, and of the result."""
        if self.epilogue is None:
            return [code.matrix(self.element)]
        return list(self.epilogue.types())

    def width(self, columns: int) -> int:
        """Columns of the result that a tile of ``columns`` gives."""
        return columns // len(self.offsets)

    def write(
        self,
        buffers: Sequence[ir.Value],
        memory: ir.Value,
        place: Callable[[Index, Index], tuple[Index, Index]],
        size: tuple[int, int],
        first: tuple[Index, Index],
        thread: Index,
        threads: int,
    ) -> None:
        """Writes a tile, as much of it as there is.

        Args:
            buffers: of :meth:`types`.
            memory: where the tile lies.
            place: maps a row and a chunk of 8 columns of the tile to where that begins.
            size: rows and columns of the tile.
            first: row and column of the result where it starts.
            thread, threads: who does it.
        """
        *others, result = buffers
        rows, columns = code.dim(result, 0), code.dim(result, 1)
        chunks = self.width(size[1]) // code.CHUNK
        wide = code.aligned(result)
        for other, kind in zip(others, self.kinds, strict=True):
            if kind != "row":
                wide = arith.andi(wide, code.aligned(other))

        def one(number: ir.Value) -> None:
            row, chunk = code.divide(number, chunks), code.remainder(number, chunks)
            at = code.add(first[0], row)
            column = code.add(first[1], code.multiply(chunk, code.CHUNK))
            starts = [
                place(row, code.add(chunk, piece * chunks)) for piece in range(len(self.offsets))
            ]

            def vectors() -> None:
                self.lanes(others, result, memory, starts, at, column, 0, code.CHUNK)

            def elements() -> None:
                count = code.minimum(code.subtract(columns, column), code.CHUNK)
                code.loop(
                    0,
                    count,
                    1,
                    lambda e: self.lanes(others, result, memory, starts, at, column, e, 1),
                )

            whole = code.at_most(code.add(column, code.CHUNK), columns)
            fits = arith.andi(wide, whole)
            code.if_(code.less(at, rows), lambda: code.if_(fits, vectors, elements))

        code.loop(thread, size[0] * chunks, threads, one)

    def lanes(
        self,
        others: Sequence[ir.Value],
        result: ir.Value,
        memory: ir.Value,
        starts: Sequence[tuple[Index, Index]],
        row: Index,
        column: Index,
        inside: Index,
        lanes: int,
    ) -> None:
        """Writes ``lanes`` neighbouring elements."""
        column = code.add(column, inside)
        # What is read one by one has any alignment.
        alignment = 16 if lanes > 1 else None

        def read(buffer: ir.Value, at: Sequence[Index]) -> ir.Value:
            element = buffer.type.element_type
            type_ = ir.VectorType.get([lanes], element)
            indices = [code.index(i) for i in at]
            if alignment:
                bytes_ = min(16, lanes * element.width // 8)
                return vector.load(type_, buffer, indices, alignment=bytes_)
            return vector.broadcast(type_, memref.load(buffer, indices))

        pieces = [read(memory, (at_row, code.add(at, inside))) for at_row, at in starts]
        (value,) = (
            pieces if self.epilogue is None else (self.apply(pieces, others, row, column, read),)
        )
        target = [code.index(row), code.index(column)]
        if alignment:
            vector.store(value, result, target, alignment=16)
        else:
            memref.store(vector.extract(value, [], [0]), result, target)

    def apply(
        self,
        pieces: Sequence[ir.Value],
        others: Sequence[ir.Value],
        row: Index,
        column: Index,
        read: Callable[[ir.Value, Sequence[Index]], ir.Value],
    ) -> ir.Value:
        assert self.epilogue is not None
        lanes = pieces[0].type.shape[0]
        wide = ir.VectorType.get([lanes], code.f32())

        def widen(value: ir.Value) -> ir.Value:
            return value if value.type == wide else arith.extf(wide, value)

        values = [widen(piece) for piece in pieces]
        for other, kind in zip(others, self.kinds, strict=True):
            if kind == "row":
                scalar = memref.load(other, [code.index(row)])
                type_ = ir.VectorType.get([lanes], scalar.type)
                values.append(widen(vector.broadcast(type_, scalar)))
            else:
                values.append(widen(read(other, [row, column] if kind == "all" else [column])))
        return code.narrow(self.epilogue.apply(values), self.result)


Launch = Callable[..., None]
"""Emits the launch, given buffers: of the operands, what the epilogue reads, and the result."""


def build(
    op: MatmulOp | DequantMatmulOp,
    kernel: Callable[[Output, Index], Launch],
    fits: Callable[[Found], bool],
) -> ir.Value | None:
    """Emits buffers and the launch for a product of two matrices; returns the result.

    Returns None where it has put what the only reader of the result computes in its place.

    Args:
        op: the product.
        kernel: defines the kernel for an output with a number of columns.
        fits: whether the kernel can do with an epilogue.
    """
    element = op.input.type.element_type

    def emit_product(output: Output, columns: Index, operands: Sequence[ir.Value]) -> ir.Value:
        result = code.alloc([emit.dim(op.input, 0), columns], output.result)
        launch = kernel(output, columns)
        launch(*map(code.to_buffer, op.operation.operands), *operands, result)
        return code.to_tensor(result)

    columns = emit.dim(op.weight, 0 if op.transpose_weight else 1)
    found = find(op.results[0])
    if found is None or len(found.epilogue.offsets) > _MOST_PIECES or not fits(found):
        return emit_product(Output(element), columns, [])
    with ir.InsertionPoint(found.consumer), found.consumer.location:
        output = Output(element, found.epilogue)
        operands = [code.to_buffer(value) for value in found.matrices()]
        found.replace(emit_product(output, found.width, operands))
    return None
