"""Buffers of any sizes and strides, and how tensors become and leave them."""

from collections.abc import Sequence

from rlx.dialects.types import DYNAMIC
from rlx.host import bufferization, ir, memref
from rlx.schedules.cpu.code.indices import Index, index

__all__ = [
    "alloc",
    "alloca",
    "dim",
    "f32",
    "inner",
    "matrix",
    "part",
    "to_buffer",
    "to_tensor",
]


def f32() -> ir.Type:
    return ir.F32Type.get()


def matrix(element: ir.Type, rank: int = 2) -> ir.MemRefType:
    """A buffer of any sizes and strides, whose last axis is contiguous."""
    strides = ", ".join(["?"] * (rank - 1) + ["1"])
    layout = ir.Attribute.parse(f"strided<[{strides}], offset: ?>")
    return ir.MemRefType.get([DYNAMIC] * rank, element, layout)


def dim(buffer: ir.Value, axis: int) -> ir.Value:
    return memref.DimOp(buffer, index(axis)).result


def _buffer(shape: Sequence[Index], element: ir.Type) -> tuple[ir.MemRefType, list[ir.Value]]:
    static = [size if isinstance(size, int) else DYNAMIC for size in shape]
    return ir.MemRefType.get(static, element), [s for s in shape if not isinstance(s, int)]


def alloc(shape: Sequence[Index], element: ir.Type) -> ir.Value:
    """A buffer that bufferization's own passes free."""
    type_, dynamic = _buffer(shape, element)
    return memref.alloc(type_, dynamic, [], alignment=64)


def alloca(shape: Sequence[int], element: ir.Type) -> ir.Value:
    """A small buffer on the stack; not inside of loops."""
    return memref.alloca(_buffer(shape, element)[0], [], [], alignment=64)


def part(buffer: ir.Value, start: Sequence[Index], shape: Sequence[Index]) -> ir.Value:
    """Some rows and columns of a :func:`matrix`, or the like of another rank."""
    offsets, sizes = [index(i) for i in start], [index(i) for i in shape]
    dynamic, rank = ir.DenseI64ArrayAttr.get([DYNAMIC] * len(sizes)), buffer.type.rank
    return memref.SubViewOp(
        matrix(buffer.type.element_type, rank),
        buffer,
        offsets,
        sizes,
        [],
        dynamic,
        dynamic,
        ir.DenseI64ArrayAttr.get([1] * rank),
    ).result


def inner(buffer: ir.Value, type_: ir.MemRefType, *indices: ir.Value) -> ir.Value:
    """The part of ``buffer`` at leading indices, of a type without them."""
    shape, count = type_.shape, len(indices)
    dynamic = ir.ShapedType.get_dynamic_stride_or_offset()
    return memref.SubViewOp(
        type_,
        buffer,
        list(indices),
        [],
        [],
        [dynamic] * count + [0] * len(shape),
        [1] * count + list(shape),
        [1] * (count + len(shape)),
    ).result


def to_buffer(value: ir.Value) -> ir.Value:
    """A tensor as a buffer that is only read; a copy where its last axis is not contiguous."""
    shape, element = value.type.shape, value.type.element_type
    layout = matrix(element, len(shape)).layout if _has_dense_rows(value) else None
    return bufferization.ToBufferOp(
        ir.MemRefType.get(shape, element, layout), value, read_only=True
    ).result


def _has_dense_rows(value: ir.Value) -> bool:
    """Whether the last axis will be contiguous where ``value`` becomes a view of what it is from.

    Bufferization cannot copy into a layout with unknown strides.
    """
    while isinstance(value.owner, ir.OpView | ir.Operation):
        op = value.owner.operation
        if op.name == "tensor.extract_slice":
            strides = list(ir.DenseI64ArrayAttr(op.attributes["static_strides"]))
            sizes = list(ir.DenseI64ArrayAttr(op.attributes["static_sizes"]))
            # A last axis of size 1 may be the one that is left out.
            if strides[-1] != 1 or (len(sizes) > value.type.rank and sizes[-1] == 1):
                return False
            value = op.operands[0]
        elif op.name in ("tensor.cast", "tensor.expand_shape"):
            value = op.operands[0]
        elif op.name == "tensor.collapse_shape":
            value = op.operands[0]
            # Without an axis of size 1, the last one has the stride of its neighbour.
            if value.type.shape[-1] == 1:
                return False
        elif op.name.startswith("scf."):
            return False
        elif (written := _written(op, value)) is not None:
            value = written
        else:
            return True
    return True


def _written(op: ir.Operation, value: ir.Value) -> ir.Value | None:
    """The operand that ``op`` may write ``value`` to."""
    if op.name == "tensor.insert_slice":
        return op.operands[1]
    if op.name.startswith("linalg.") and "operandSegmentSizes" in op.attributes:
        inputs = ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"])[0]
        return op.operands[inputs + list(op.results).index(value)]
    return None


def to_tensor(buffer: ir.Value) -> ir.Value:
    """A buffer that nothing else uses as a tensor."""
    type_ = ir.RankedTensorType.get(buffer.type.shape, buffer.type.element_type)
    return bufferization.ToTensorOp(type_, buffer, restrict=True, writable=True).result
