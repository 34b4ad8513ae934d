"""`rlx.concat`: tensors one after the other along one axis."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlx.dialects import emit
from rlx.dialects.base import Attr, Invalid, Operand, Result, RlxOp, VariadicOperand
from rlx.dialects.types import (
    DYNAMIC,
    compatible,
    expect_type,
    is_static,
    normalized_axis,
    with_shape,
)
from rlx.host import arith, ir, tensor

__all__ = ["ConcatOp", "common_type", "concat"]


class ConcatOp(RlxOp, name="concat"):
    """Joins one or more tensors along `axis`.

    All inputs have the same element type, rank and sizes except along `axis`, whose sizes add up. A
    negative `axis` counts from the end.

    The inputs are `first` and then `rest`. The host demands one type for all operands of a variadic
    list: where the types in `rest` differ, the builder and rlx's own parsing of text pass them
    through `tensor.cast` to a common one such as `tensor<1x?xf32>`. The op looks through these
    casts.
    """

    EXAMPLE = """
      %y = "rlx.concat"(%rotated, %kept) {axis = -1 : i64}
        : (tensor<1x512x64xf32>, tensor<1x512x192xf32>) -> tensor<1x512x256xf32>
    """

    first: Operand
    rest: VariadicOperand
    result: Result

    axis = Attr(int, "the axis to join along; negative counts from the end")

    @property
    def inputs(self) -> list[ir.Value]:
        """All inputs in order, as they are before casts that forget sizes."""
        return [self.first, *map(_before_cast, self.rest)]

    def verify_op(self) -> None:
        kinds = {value.type for value in self.rest}
        if len(kinds) > 1:
            names = " and ".join(sorted(map(str, kinds)))
            raise Invalid(
                "expects inputs that have one type from the second on (tensor.cast to a dynamic "
                f"size gives them one), but got {names}"
            )
        first, *rest = self.inputs
        inferred = self.result_type(first, rest, axis=self.axis)
        expect_type(self.operation.results[0].type, inferred)

    @classmethod
    def result_type(
        cls, first: ir.Value, rest: Sequence[ir.Value] = (), *, axis: int, **_: Any
    ) -> ir.Type:
        types = [first.type, *(value.type for value in rest)]
        axis = normalized_axis(axis, types[0].rank)
        for number, type in enumerate(types):
            if not _agree(types[0], type, axis):
                raise Invalid(
                    f"expects inputs that agree except along axis {axis}, but got {types[0]} and "
                    f"{type} (input #{number})"
                )
        columns = list(zip(*(type.shape for type in types), strict=True))
        shape = [next(filter(is_static, column), DYNAMIC) for column in columns]
        shape[axis] = sum(columns[axis]) if all(map(is_static, columns[axis])) else DYNAMIC
        return with_shape(types[0], shape)

    @staticmethod
    def reference(inputs: Sequence[np.ndarray], *, axis: int) -> np.ndarray:
        return np.concatenate(inputs, axis=axis)

    def lower(self) -> ir.Value:
        inputs = self.inputs
        inferred = self.result_type(inputs[0], inputs[1:], axis=self.axis)
        axis = normalized_axis(self.axis, inferred.rank)
        shape = [
            size if is_static(size) or i == axis else emit.dim(inputs[0], i)
            for i, size in enumerate(inferred.shape)
        ]
        parts = [self._clipped(value, axis, shape) for value in inputs]
        starts: list[emit.Size] = [0]
        for part in parts:
            starts.append(emit.add(starts[-1], emit.dim(part, axis)))
        shape[axis] = starts.pop()
        joined = emit.empty(shape, inferred.element_type)
        for part, start in zip(parts, starts, strict=True):
            offsets: list[emit.Size] = [0] * len(shape)
            offsets[axis] = start
            joined = emit.insert_slice(part, joined, offsets)
        return joined

    @staticmethod
    def _clipped(value: ir.Value, axis: int, shape: list[emit.Size]) -> ir.Value:
        """``value``, which must have the sizes ``shape`` except along ``axis``."""
        clipped = emit.sizes(value)
        for i, size in enumerate(clipped):
            if i == axis or emit.known_equal(size, shape[i]):
                continue
            same = arith.cmpi(arith.CmpIPredicate.eq, emit.as_index(size), emit.as_index(shape[i]))
            emit.require(same, f"rlx.concat: inputs must have the same size on axis {i}")
            clipped[i] = emit.smaller(size, shape[i])
        return emit.extract_slice(value, [0] * len(clipped), clipped)


def _before_cast(value: ir.Value) -> ir.Value:
    owner = value.owner
    if not isinstance(owner, ir.Block) and owner.operation.name == "tensor.cast":
        source = owner.operation.operands[0]
        known = zip(source.type.shape, value.type.shape, strict=True)
        if all(size == seen or not is_static(seen) for size, seen in known):
            return source
    return value


def _agree(a: ir.RankedTensorType, b: ir.RankedTensorType, axis: int) -> bool:
    return (
        a.element_type == b.element_type
        and a.rank == b.rank
        and all(i == axis or compatible(a.shape[i], b.shape[i]) for i in range(a.rank))
    )


def common_type(types: Sequence[ir.RankedTensorType]) -> ir.RankedTensorType:
    """The type that keeps the sizes which all of ``types`` share, and forgets the others."""
    columns = zip(*(type.shape for type in types), strict=True)
    shape = [column[0] if len(set(column)) == 1 else DYNAMIC for column in columns]
    return with_shape(types[0], shape)


def concat(inputs: Sequence[ir.Value], *, axis: int) -> ir.Value:
    """Builds `rlx.concat`; see :class:`ConcatOp`.

    Raises:
        Invalid: there are no inputs, or they do not agree.
    """
    if not inputs:
        raise Invalid("expects at least one input, but got none")
    first, *rest = inputs
    result_type = ConcatOp.result_type(first, rest, axis=axis)
    if rest:
        common = common_type([value.type for value in rest])
        rest = [value if value.type == common else tensor.cast(common, value) for value in rest]
    return ConcatOp.create(first, rest, axis=axis, result_type=result_type)
