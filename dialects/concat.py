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
from rlx.host import ir

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


def concat(inputs: Sequence[ir.Value], *, axis: int) -> ir.Value:
    """Builds `rlx.concat`; see :class:`ConcatOp`."""
    return ConcatOp.create(list(inputs), axis=axis)
