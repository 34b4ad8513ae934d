"""Questions about tensor types that verifiers, builders and lowerings share."""

from collections.abc import Sequence

import numpy as np

from rlx.dialects.base import Invalid
from rlx.host import ir

__all__ = [
    "DYNAMIC",
    "LARGEST",
    "accumulator_type",
    "compatible",
    "expect_axes",
    "expect_element_type",
    "expect_float",
    "expect_ids",
    "expect_rank",
    "expect_type",
    "is_float",
    "is_id",
    "is_static",
    "normalized_axis",
    "widen",
    "with_dim",
    "with_shape",
]

DYNAMIC: int = ir.ShapedType.get_dynamic_size()
LARGEST: int = 2**63 - 1


def is_static(size: int) -> bool:
    return size != DYNAMIC


def compatible(a: int, b: int) -> bool:
    """Whether two dimensions may be equal at run time."""
    return a == b or DYNAMIC in (a, b)


def is_float(element_type: ir.Type) -> bool:
    """f16, bf16, f32 or f64: the storage types of rlx."""
    return isinstance(element_type, ir.F16Type | ir.BF16Type | ir.F32Type | ir.F64Type)


def is_id(element_type: ir.Type) -> bool:
    """i32 or i64: ids, positions and lengths."""
    return (
        isinstance(element_type, ir.IntegerType)
        and element_type.is_signless
        and element_type.width in (32, 64)
    )


def accumulator_type(element_type: ir.Type) -> ir.Type:
    """f64 for f64, f32 for every other float: the type all arithmetic is done in."""
    return element_type if isinstance(element_type, ir.F64Type) else ir.F32Type.get()


def widen(array: np.ndarray) -> np.ndarray:
    """An array in the dtype that corresponds to :func:`accumulator_type`, for references."""
    return array.astype(np.float64 if array.dtype == np.float64 else np.float32)


def normalized_axis(axis: int, rank: int) -> int:
    """``axis`` counted from the front.

    Raises:
        Invalid: it is out of range.
    """
    if not -rank <= axis < rank:
        raise Invalid(f"expects axis in [{-rank}, {rank}) for rank {rank}, but got {axis}")
    return axis % rank


def with_shape(type: ir.RankedTensorType, shape: Sequence[int]) -> ir.RankedTensorType:
    """``type`` with other sizes.

    Raises:
        Invalid: a size is larger than MLIR can hold.
    """
    if max(shape, default=0) > LARGEST:
        raise Invalid(f"expects sizes up to {LARGEST}, but got {max(shape)}")
    return ir.RankedTensorType.get(list(shape), type.element_type)


def with_dim(type: ir.RankedTensorType, axis: int, size: int) -> ir.RankedTensorType:
    shape = list(type.shape)
    shape[axis] = size
    return with_shape(type, shape)


def expect_rank(name: str, value: ir.Value, *ranks: int) -> None:
    if value.type.rank not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise Invalid(f"expects {name} of rank {wanted}, but got {value.type}")


def expect_element_type(name: str, value: ir.Value, *wanted: ir.Type) -> None:
    if value.type.element_type not in wanted:
        words = " or ".join(dict.fromkeys(map(str, wanted)))
        raise Invalid(f"expects {name} with element type {words}, but got {value.type}")


def expect_float(name: str, value: ir.Value) -> None:
    if not is_float(value.type.element_type):
        raise Invalid(f"expects {name} of f16, bf16, f32 or f64, but got {value.type}")


def expect_ids(name: str, value: ir.Value) -> None:
    if not is_id(value.type.element_type):
        raise Invalid(f"expects {name} of i32 or i64, but got {value.type}")


def expect_axes(name: str, value: ir.Value) -> None:
    """``value`` must have a last axis."""
    if value.type.rank < 1:
        raise Invalid(f"expects {name} of rank 1 or more, but got {value.type}")


def expect_type(
    actual: ir.RankedTensorType, inferred: ir.RankedTensorType, name: str = "result"
) -> None:
    """The type of ``name`` must agree with the inferred one; ``?`` agrees with any size."""
    agrees = (
        actual.element_type == inferred.element_type
        and actual.rank == inferred.rank
        and all(map(compatible, actual.shape, inferred.shape))
    )
    if not agrees:
        raise Invalid(f"expects {name} of type {inferred}, but got {actual}")
