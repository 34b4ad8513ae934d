"""How the loops of a `linalg.generic` on buffers are spread over threads.

Where nothing is reduced, a thread computes neighbouring elements, as many as fit into 128 bits and
lie side by side in every buffer; where types do not tell whether rows are aligned, it finds out,
and else computes them one by one. A reduction along contiguous elements is shared by the lanes of a
warp, which read neighbours and exchange their partial results; any other reduction is a loop within
a thread, whose neighbours compute neighbouring elements.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rlx.dialects.types import DYNAMIC
from rlx.host import ir

__all__ = ["NEUTRAL", "Loops", "analyse", "inputs_of", "is_contiguous", "maps_of", "uses", "width"]

_BITS = 128


@dataclass(frozen=True)
class Loops:
    """How the loops of a generic op are spread over threads.

    Attributes:
        bounds: of each loop: the size, or the operand and axis that tell it.
        parallel, reduction: numbers of loops.
        lanes: neighbouring elements along the last parallel loop that a thread computes.
        guarded: whether a thread finds out if they can be moved together.
        combine: with it a warp computes an element: the op that combines partial results.
    """

    bounds: tuple[int | tuple[int, int], ...]
    parallel: tuple[int, ...]
    reduction: tuple[int, ...]
    lanes: int
    guarded: bool
    combine: ir.Operation | None


def maps_of(op: ir.Operation) -> list[ir.AffineMap]:
    return [ir.AffineMapAttr(m).value for m in ir.ArrayAttr(op.attributes["indexing_maps"])]


def inputs_of(op: ir.Operation) -> int:
    """How many operands are inputs."""
    return next(iter(ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"])))


def analyse(op: ir.Operation) -> Loops:
    """How to spread a `linalg.generic` on buffers over threads."""
    kinds = [str(kind) for kind in ir.ArrayAttr(op.attributes["iterator_types"])]
    maps = maps_of(op)
    bounds: list[int | tuple[int, int]] = []
    for loop in range(len(kinds)):
        found = [
            (operand, axis)
            for operand, map_ in enumerate(maps)
            for axis, expr in enumerate(map_.results)
            if isinstance(expr, ir.AffineDimExpr) and ir.AffineDimExpr(expr).position == loop
        ]
        sizes = [op.operands[operand].type.shape[axis] for operand, axis in found]
        static = [size for size in sizes if size != DYNAMIC]
        bounds.append(static[0] if static else found[0])
    parallel = tuple(n for n, kind in enumerate(kinds) if "parallel" in kind)
    reduction = tuple(n for n, kind in enumerate(kinds) if "parallel" not in kind)
    last = parallel[-1] if parallel else None
    combine = _combine(op, reduction[-1], last) if reduction else None
    lanes, guarded = 1, False
    if parallel and not reduction:
        lanes, guarded = _lanes(op, bounds, parallel[-1])
    return Loops(tuple(bounds), parallel, reduction, lanes, guarded, combine)


# -- neighbours ------------------------------------------------------------------------------------


def uses(expr: ir.AffineExpr, loop: int) -> bool:
    if isinstance(expr, ir.AffineDimExpr):
        return ir.AffineDimExpr(expr).position == loop
    if isinstance(expr, ir.AffineConstantExpr):
        return False
    return uses(expr.lhs, loop) or uses(expr.rhs, loop)


def is_contiguous(type_: ir.MemRefType, map_: ir.AffineMap, loop: int) -> bool:
    """Whether steps of ``loop`` are steps along contiguous elements."""
    exprs = list(map_.results)
    if not exprs or any(uses(expr, loop) for expr in exprs[:-1]):
        return False
    last = exprs[-1]
    return (
        isinstance(last, ir.AffineDimExpr)
        and ir.AffineDimExpr(last).position == loop
        and type_.get_strides_and_offset()[0][-1] == 1
    )


def width(type_: ir.Type) -> int:
    """Bits that an element takes in memory."""
    if isinstance(type_, ir.IndexType):
        return 64
    return max(8, type_.width)


def _lanes(
    op: ir.Operation, bounds: Sequence[int | tuple[int, int]], loop: int
) -> tuple[int, bool]:
    """Lanes, and whether only the run time tells if rows are aligned."""
    found = bounds[loop]
    size = found if isinstance(found, int) else None
    along, widest = [], 0
    for operand, map_ in zip(op.operands, maps_of(op), strict=True):
        if isinstance(operand.type, ir.MemRefType) and is_contiguous(operand.type, map_, loop):
            along.append(operand.type)
            widest = max(widest, width(operand.type.element_type))
    lanes = _BITS // widest if widest else 1
    while lanes > 1 and (
        (size is not None and size % lanes) or any(_is_aligned(t, lanes) is False for t in along)
    ):
        lanes //= 2
    known = size is not None and all(_is_aligned(t, lanes) for t in along)
    return lanes, lanes > 1 and not known


def _is_aligned(type_: ir.MemRefType, lanes: int) -> bool | None:
    """Whether rows begin at multiples of ``lanes``, given that the buffer itself does.

    None where the type does not tell.
    """
    if width(type_.element_type) < 8 or str(type_.element_type) == "i1":
        return False
    if type_.affine_map == ir.AffineMap.get_identity(type_.rank, type_.context):
        # All strides but the last one are multiples of the last size.
        if type_.rank > 1 and type_.shape[-1] == DYNAMIC:
            return None
        return type_.rank < 2 or type_.shape[-1] % lanes == 0
    strides, offset = type_.get_strides_and_offset()
    dynamic = ir.ShapedType.get_dynamic_stride_or_offset()
    steps = (*strides[:-1], offset)
    if any(n != dynamic and n % lanes for n in steps):
        return False
    return None if dynamic in steps else True


# -- reductions ------------------------------------------------------------------------------------

NEUTRAL: dict[str, float | int] = {
    "arith.addf": 0.0,
    "arith.mulf": 1.0,
    "arith.maximumf": float("-inf"),
    "arith.maxnumf": float("-inf"),
    "arith.minimumf": float("inf"),
    "arith.minnumf": float("inf"),
    "arith.addi": 0,
    "arith.ori": 0,
    "arith.andi": -1,
}
"""Ops that partial results may be combined with, and what changes nothing."""

_REORDERS = ("reassoc", "fast>")


def _combine(op: ir.Operation, loop: int, parallel: int | None) -> ir.Operation | None:
    """The op that a warp combines partial results with; None if a thread has to do it all."""
    inputs = inputs_of(op)
    operands, maps = list(op.operands), maps_of(op)
    if len(operands) != inputs + 1:
        return None
    block = op.regions[0].blocks[0]
    accumulator = block.arguments[inputs]
    end = list(block.operations)[-1].operation
    owner = end.operands[0].owner
    if isinstance(owner, ir.Block):
        return None
    combine = owner.operation
    if combine.name not in NEUTRAL or combine.block != block:
        return None
    readers = list(accumulator.uses)
    if len(readers) != 1 or readers[0].owner.operation != combine:
        return None
    flags = str(combine.attributes["fastmath"]) if "fastmath" in combine.attributes else ""
    if combine.name in ("arith.addf", "arith.mulf") and not any(
        flag in flags for flag in _REORDERS
    ):
        return None
    if str(accumulator.type) not in ("f32", "f64", "i1", "i32", "i64"):
        return None
    buffers = [
        (value.type, map_)
        for value, map_ in zip(operands[:inputs], maps, strict=False)
        if isinstance(value.type, ir.MemRefType)
    ]
    # Neighbouring threads should read neighbouring elements: either along this loop, or along the
    # last one that makes elements.
    along = any(is_contiguous(type_, map_, loop) for type_, map_ in buffers)
    across = parallel is not None and any(
        is_contiguous(type_, map_, parallel) and any(uses(expr, loop) for expr in map_.results)
        for type_, map_ in buffers
    )
    return combine if along and not across else None
