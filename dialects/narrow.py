"""`rlx.narrow`: a slice along one axis."""

from typing import Any

import numpy as np

from rlx.dialects import emit
from rlx.dialects.base import Attr, Invalid, Operand, Result, RlxOp
from rlx.dialects.types import LARGEST, expect_type, normalized_axis, with_dim
from rlx.host import arith, ir

__all__ = ["NarrowOp", "narrow"]


class NarrowOp(RlxOp, name="narrow"):
    """Keeps the rows `start` to `start + length - 1` of `axis`.

    The result has the type of `input` with dimension `axis` set to `length`. A negative `axis`
    counts from the end.
    """

    EXAMPLE = """
      %k = "rlx.narrow"(%qk) {axis = 2 : i64, start = 1024 : i64, length = 256 : i64}
        : (tensor<1x512x1280xf32>) -> tensor<1x512x256xf32>
    """

    input: Operand
    result: Result

    axis = Attr(int, "the axis to cut; negative counts from the end")
    start = Attr(int, "the first index that is kept")
    length = Attr(int, "how many indices are kept, at least 1")

    def verify_op(self) -> None:
        source = self.input.type
        axis = normalized_axis(self.axis, source.rank)
        if self.start < 0 or self.length < 1:
            raise Invalid(
                f"expects start >= 0 and length >= 1, but got start {self.start} and "
                f"length {self.length}"
            )
        size = LARGEST if source.is_dynamic_dim(axis) else source.shape[axis]
        if self.start + self.length > size:
            raise Invalid(
                f"expects start + length <= {size} on axis {axis}, but got "
                f"{self.start} + {self.length}"
            )
        expect_type(self.operation.results[0].type, with_dim(source, axis, self.length))

    @classmethod
    def result_type(cls, input: ir.Value, *, axis: int, length: int, **_: Any) -> ir.Type:
        return with_dim(input.type, normalized_axis(axis, input.type.rank), length)

    @staticmethod
    def reference(input: np.ndarray, *, axis: int, start: int, length: int) -> np.ndarray:
        return np.take(input, np.arange(start, start + length), axis=axis)

    def lower(self) -> ir.Value:
        axis = normalized_axis(self.axis, self.input.type.rank)
        input, shape = self.input, emit.sizes(self.input)
        if not isinstance(shape[axis], int):
            end = emit.index(self.start + self.length)
            inside = arith.cmpi(arith.CmpIPredicate.sle, end, shape[axis])
            shape[axis] = arith.maxsi(end, shape[axis])
            message = f"rlx.narrow: start + length must be within axis {axis}"
            input = emit.guard(inside, input, shape, message)
        offsets: list[emit.Size] = [0] * len(shape)
        offsets[axis], shape[axis] = self.start, self.length
        return emit.extract_slice(input, offsets, shape)


def narrow(input: ir.Value, *, axis: int, start: int, length: int) -> ir.Value:
    """Builds `rlx.narrow`; see :class:`NarrowOp`."""
    return NarrowOp.create(input, axis=axis, start=start, length=length)
