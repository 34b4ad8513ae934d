"""`rlx.clip`: values kept within bounds."""

from typing import Any

import numpy as np

from rlx.dialects import emit
from rlx.dialects.base import Attr, Invalid, Operand, Result, RlxOp
from rlx.dialects.types import expect_float, expect_type
from rlx.host import arith, ir

__all__ = ["ClipOp", "clip"]


class ClipOp(RlxOp, name="clip"):
    """Replaces what is below `low` by `low` and what is above `high` by `high`."""

    EXAMPLE = """
      %y = "rlx.clip"(%x) {low = -1.0 : f64, high = 1.0 : f64} : (tensor<4xf32>) -> tensor<4xf32>
    """

    input: Operand
    result: Result

    low = Attr(float, "the lower bound")
    high = Attr(float, "the upper bound, not below `low`")

    def verify_op(self) -> None:
        expect_float("input", self.input)
        if self.low > self.high:
            raise Invalid(f"expects low <= high, but got {self.low} and {self.high}")
        expect_type(self.operation.results[0].type, self.input.type)

    @classmethod
    def result_type(cls, input: ir.Value, **_: Any) -> ir.Type:
        return input.type

    @staticmethod
    def reference(input: np.ndarray, *, low: float, high: float) -> np.ndarray:
        return np.clip(input, low, high).astype(input.dtype)

    def lower(self) -> ir.Value:
        element = self.input.type.element_type

        def body(x: ir.Value, _: ir.Value) -> ir.Value:
            low, high = (emit.constant(element, bound) for bound in (self.low, self.high))
            return arith.minimumf(arith.maximumf(x, low), high)

        axes = emit.axes(self.input.type.rank)
        init = emit.empty(emit.sizes(self.input), element)
        return emit.generic([self.input], init, [axes] * 2, "p" * len(axes), body)


def clip(input: ir.Value, *, low: float, high: float) -> ir.Value:
    """Builds `rlx.clip`; see :class:`ClipOp`."""
    return ClipOp.create(input, low=low, high=high)
