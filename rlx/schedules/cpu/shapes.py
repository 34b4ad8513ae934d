"""Products of any rank as products of two matrices."""

from collections.abc import Sequence

from rlx.dialects import emit
from rlx.dialects.types import is_static
from rlx.host import ir, tensor
from rlx.schedules.cpu import code

__all__ = ["as_matrix", "refused_sizes", "with_shape_of"]

# Below these sizes vectors and blocks stay mostly empty.
_LEAST_COLUMNS = 32
_LEAST_INNER = 32


def refused_sizes(shape: Sequence[int], transposed: bool) -> str | None:
    """What is wrong with the shape of a weight, [N, K] if ``transposed``, else [K, N]."""
    inner, columns = reversed(shape) if transposed else shape
    for what, size, least in (
        ("inner dimension", inner, _LEAST_INNER),
        ("number of columns", columns, _LEAST_COLUMNS),
    ):
        if not is_static(size):
            return f"the {what} is not known"
        if size < least:
            return f"the {what}, {size}, is below {least}"
    return None


def as_matrix(input: ir.Value) -> ir.Value:
    """All but the last axis as one."""
    if input.type.rank == 1:
        type_ = ir.RankedTensorType.get([1, *input.type.shape], input.type.element_type)
        sizes = [size for size in emit.sizes(input) if not isinstance(size, int)]
        return tensor.expand_shape(type_, input, [[0, 1]], sizes, [1, *input.type.shape])
    while input.type.rank > 2:
        input = emit.join_axes(input, 0)
    return input


def with_shape_of(result: ir.Value, input: ir.Value) -> ir.Value:
    """A matrix with the rows of :func:`as_matrix` of ``input``, in the shape that those have."""
    shape, columns = emit.sizes(input), result.type.shape[1]
    element = result.type.element_type
    if len(shape) == 1:
        return tensor.collapse_shape(ir.RankedTensorType.get([columns], element), result, [[0, 1]])
    if len(shape) == 2:
        return result
    leading = [size if isinstance(size, int) else code.DYNAMIC for size in shape[:-1]]
    type_ = ir.RankedTensorType.get([*leading, columns], element)
    last = len(shape) - 1
    dynamic = [size for size in shape[:-1] if not isinstance(size, int)]
    groups = [list(range(last)), [last]]
    return tensor.expand_shape(type_, result, groups, dynamic, [*leading, columns])
