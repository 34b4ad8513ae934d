"""`rlx.concat`: tensors one after the other along one axis."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlx.dialects import emit
from rlx.dialects.base import Attr, Invalid, Result, RlxOp, VariadicOperand
from rlx.dialects.types import (
    DYNAMIC,
    compatible,
    expect_type,
    is_static,
    normalized_axis,
    with_shape,
)
from rlx.host import arith, ir

__all__ = ["ConcatOp", "concat"]


class ConcatOp(RlxOp, name="concat"):
    """Joins one or more tensors along `axis`.

    All inputs have the same element type, rank and sizes except along `axis`, whose sizes add up. A
    negative `axis` counts from the end.
    """

    inputs: VariadicOperand
    result: Result

    axis = Attr(int, "the axis to join along; negative counts from the end")

    def verify_op(self) -> None:
        if not self.inputs:
            raise Invalid("expects at least one input, but got none")
        first = self.inputs[0].type
        axis = normalized_axis(self.axis, first.rank)
        for number, value in enumerate(self.inputs):
            type = value.type
            agrees = (
                type.element_type == first.element_type
                and type.rank == first.rank
                and all(
                    i == axis or compatible(a, b)
                    for i, (a, b) in enumerate(zip(type.shape, first.shape, strict=True))
                )
            )
            if not agrees:
                raise Invalid(
                    f"expects inputs that agree except along axis {axis}, but got {first} and "
                    f"{type} (input #{number})"
                )
        expect_type(self.operation.results[0].type, self.result_type(self.inputs, axis=self.axis))

    @classmethod
    def result_type(cls, inputs: Sequence[ir.Value], *, axis: int, **_: Any) -> ir.Type:
        if not inputs:
            raise Invalid("expects at least one input, but got none")
        axis = normalized_axis(axis, inputs[0].type.rank)
        columns = list(zip(*(value.type.shape for value in inputs), strict=True))
        shape = [next(filter(is_static, column), DYNAMIC) for column in columns]
        shape[axis] = sum(columns[axis]) if all(map(is_static, columns[axis])) else DYNAMIC
        return with_shape(inputs[0].type, shape)

    @staticmethod
    def reference(inputs: Sequence[np.ndarray], *, axis: int) -> np.ndarray:
        return np.concatenate(inputs, axis=axis)

    def lower(self) -> ir.Value:
        axis = normalized_axis(self.axis, self.inputs[0].type.rank)
        shape = self._common_sizes(axis)
        parts = [self._clipped(value, axis, shape) for value in self.inputs]
        starts: list[emit.Size] = [0]
        for part in parts:
            starts.append(emit.add(starts[-1], emit.dim(part, axis)))
        shape[axis] = starts.pop()
        joined = emit.empty(shape, parts[0].type.element_type)
        for part, start in zip(parts, starts, strict=True):
            offsets: list[emit.Size] = [0] * len(shape)
            offsets[axis] = start
            joined = emit.insert_slice(part, joined, offsets)
        return joined

    def _common_sizes(self, axis: int) -> list[emit.Size]:
        inferred = self.result_type(self.inputs, axis=axis)
        return [
            size if is_static(size) or i == axis else emit.dim(self.inputs[0], i)
            for i, size in enumerate(inferred.shape)
        ]

    @staticmethod
    def _clipped(value: ir.Value, axis: int, shape: list[emit.Size]) -> ir.Value:
        """``value``, which must have the sizes ``shape`` except along ``axis``."""
        clipped = emit.sizes(value)
        for i, size in enumerate(clipped):
            if i == axis or (isinstance(size, int) and size == shape[i]):
                continue
            same = arith.cmpi(arith.CmpIPredicate.eq, emit.as_index(size), emit.as_index(shape[i]))
            emit.require(same, f"rlx.concat: inputs must have the same size on axis {i}")
            clipped[i] = emit.smaller(size, shape[i])
        return emit.extract_slice(value, [0] * len(clipped), clipped)


def concat(inputs: Sequence[ir.Value], *, axis: int) -> ir.Value:
    """Builds `rlx.concat`; see :class:`ConcatOp`."""
    return ConcatOp.create(list(inputs), axis=axis)
