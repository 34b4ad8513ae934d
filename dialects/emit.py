"""Small builders for linalg on tensors, used by the plain lowerings.

Sizes are ``int`` where the type knows them and ``index`` values where it does not, so one lowering
serves static and dynamic shapes.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from rlx.dialects.types import DYNAMIC, is_static
from rlx.host import arith, ir, linalg, tensor

__all__ = [
    "Size",
    "cast",
    "constant",
    "convert",
    "convert_tensor",
    "dim",
    "empty",
    "extract_slice",
    "fill",
    "generic",
    "index",
    "insert_slice",
    "reassoc",
    "sizes",
]

Size: TypeAlias = int | ir.Value


def reassoc() -> ir.Attribute:
    """Fast-math flags of a reduction: sums may be reordered and products fused into them."""
    return ir.Attribute.parse("#arith.fastmath<reassoc,contract>")


def index(value: int) -> ir.Value:
    return arith.constant(ir.IndexType.get(), value)


def constant(type: ir.Type, value: float | int | bool) -> ir.Value:
    """A scalar constant of any float, integer or index type."""
    if isinstance(type, ir.IntegerType | ir.IndexType):
        return arith.constant(type, int(value))
    return arith.constant(type, float(value))


def as_index(size: Size) -> ir.Value:
    return index(size) if isinstance(size, int) else size


def dim(value: ir.Value, axis: int) -> Size:
    """The size of ``axis``: an ``int`` when static."""
    size = value.type.shape[axis]
    return size if is_static(size) else tensor.dim(value, index(axis))


def sizes(value: ir.Value) -> list[Size]:
    return [dim(value, axis) for axis in range(value.type.rank)]


def _static(shape: Sequence[Size]) -> list[int]:
    return [size if isinstance(size, int) else DYNAMIC for size in shape]


def empty(shape: Sequence[Size], element_type: ir.Type) -> ir.Value:
    return tensor.empty(list(shape), element_type)


def fill(shape: Sequence[Size], element_type: ir.Type, value: float | int | bool) -> ir.Value:
    init = empty(shape, element_type)
    return linalg.fill(constant(element_type, value), outs=[init])


def cast(value: ir.Value, type: ir.Type) -> ir.Value:
    """``tensor.cast`` where the types differ in static knowledge only."""
    return value if value.type == type else tensor.cast(type, value)


def convert(value: ir.Value, type: ir.Type) -> ir.Value:
    """A float scalar in another float type."""
    if value.type == type:
        return value
    return (arith.extf if type.width > value.type.width else arith.truncf)(type, value)


def convert_tensor(value: ir.Value, element_type: ir.Type) -> ir.Value:
    """A float tensor in another float type."""
    if value.type.element_type == element_type:
        return value
    rank = value.type.rank
    axes = [ir.AffineExpr.get_dim(i) for i in range(rank)]
    return generic(
        [value],
        empty(sizes(value), element_type),
        [axes, axes],
        "p" * rank,
        lambda scalar, _: convert(scalar, element_type),
    )


def generic(
    inputs: Sequence[ir.Value],
    init: ir.Value,
    maps: Sequence[Sequence[ir.AffineExpr]],
    iterators: str,
    body: Callable[..., ir.Value],
) -> ir.Value:
    """``linalg.generic`` with one result.

    Args:
        inputs: the tensors that are read.
        init: the tensor that is written (and read, for reductions).
        maps: one per input, then one for ``init``: the affine expressions of each axis.
        iterators: a letter per loop, ``p`` for parallel and ``r`` for reduction, outermost first.
        body: takes one scalar per input and the current output scalar, returns the new one.
    """
    loops = len(iterators)
    affine = [
        m if isinstance(m, ir.AffineMap) else ir.AffineMap.get(loops, 0, list(m)) for m in maps
    ]
    kinds = {"p": "parallel", "r": "reduction"}
    op = linalg.GenericOp(
        [init.type],
        list(inputs),
        [init],
        ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in affine]),
        ir.ArrayAttr.get(
            [ir.Attribute.parse(f"#linalg.iterator_type<{kinds[i]}>") for i in iterators]
        ),
    )
    scalars = [value.type.element_type for value in (*inputs, init)]
    block = op.regions[0].blocks.append(*scalars)
    with ir.InsertionPoint(block):
        linalg.YieldOp([body(*block.arguments)])
    return op.results[0]


def _split(values: Sequence[Size]) -> tuple[list[ir.Value], list[int]]:
    dynamic = [value for value in values if not isinstance(value, int)]
    return dynamic, _static(values)


def extract_slice(source: ir.Value, offsets: Sequence[Size], shape: Sequence[Size]) -> ir.Value:
    """A unit-stride slice of the same rank."""
    dynamic_offsets, static_offsets = _split(offsets)
    dynamic_sizes, static_sizes = _split(shape)
    type = ir.RankedTensorType.get(static_sizes, source.type.element_type)
    ones = [1] * source.type.rank
    return tensor.extract_slice(
        type, source, dynamic_offsets, dynamic_sizes, [], static_offsets, static_sizes, ones
    )


def insert_slice(source: ir.Value, into: ir.Value, offsets: Sequence[Size]) -> ir.Value:
    """``into`` with ``source`` written at ``offsets``, unit stride."""
    dynamic_offsets, static_offsets = _split(offsets)
    dynamic_sizes, static_sizes = _split(sizes(source))
    ones: list[Any] = [1] * into.type.rank
    return tensor.insert_slice(
        source, into, dynamic_offsets, dynamic_sizes, [], static_offsets, static_sizes, ones
    )
