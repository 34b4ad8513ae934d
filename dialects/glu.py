"""`rlx.glu`: a gated linear unit."""

import math as pymath
from typing import Any

import numpy as np

from rlx.dialects import emit
from rlx.dialects.base import Attr, Operand, Result, RlxOp
from rlx.dialects.types import accumulator_type, expect_float, expect_type, widen
from rlx.host import arith, ir, math

__all__ = ["ACTIVATIONS", "GluOp", "activate", "glu"]

ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu")


class GluOp(RlxOp, name="glu"):
    """Multiplies `up` with the activated `gate`, element by element.

    `gelu` is the exact form with erf, `gelu_tanh` the approximation with tanh. Computed in f32 (f64
    for f64) and rounded once.
    """

    EXAMPLE = """
      %y = "rlx.glu"(%gate, %up) {activation = "gelu_tanh"}
        : (tensor<1x512x2048xf32>, tensor<1x512x2048xf32>) -> tensor<1x512x2048xf32>
    """

    gate: Operand
    up: Operand
    result: Result

    activation = Attr(str, "what is applied to `gate`", choices=ACTIVATIONS)

    def verify_op(self) -> None:
        expect_float("gate", self.gate)
        expect_type(self.up.type, self.gate.type, "up")
        expect_type(self.operation.results[0].type, self.gate.type)

    @classmethod
    def result_type(cls, gate: ir.Value, up: ir.Value, **_: Any) -> ir.Type:
        return gate.type

    @staticmethod
    def reference(gate: np.ndarray, up: np.ndarray, *, activation: str) -> np.ndarray:
        x = widen(gate)
        if activation == "silu":
            y = x / (1 + np.exp(-x))
        elif activation == "gelu":
            y = x * 0.5 * (1 + np.vectorize(pymath.erf, otypes=[x.dtype])(x / pymath.sqrt(2)))
        elif activation == "gelu_tanh":
            y = x * 0.5 * (1 + np.tanh(pymath.sqrt(2 / pymath.pi) * (x + 0.044715 * x**3)))
        else:
            y = np.maximum(x, 0)
        return (y * widen(up)).astype(gate.dtype)

    def lower(self) -> ir.Value:
        shape = emit.sizes(self.gate)
        up = emit.fit(self.up, shape, "rlx.glu: gate and up must have the same sizes")
        element = self.gate.type.element_type
        wide = accumulator_type(element)

        def body(x: ir.Value, y: ir.Value, _: ir.Value) -> ir.Value:
            gated = activate(self.activation, emit.convert(x, wide))
            return emit.convert(arith.mulf(gated, emit.convert(y, wide)), element)

        axes = emit.axes(self.gate.type.rank)
        return emit.generic(
            [self.gate, up], emit.empty(shape, element), [axes] * 3, "p" * len(axes), body
        )


def activate(activation: str, x: ir.Value) -> ir.Value:
    """The activation of a scalar float."""

    def number(value: float) -> ir.Value:
        return emit.constant(x.type, value)

    if activation == "silu":
        return arith.divf(x, arith.addf(number(1), math.exp(arith.negf(x))))
    if activation == "relu":
        return arith.maximumf(x, number(0))
    if activation == "gelu":
        curve = math.erf(arith.mulf(x, number(0.5**0.5)))
    else:
        cubic = arith.mulf(arith.mulf(x, x), arith.mulf(x, number(0.044715)))
        curve = math.tanh(arith.mulf(number((2 / pymath.pi) ** 0.5), arith.addf(x, cubic)))
    return arith.mulf(arith.mulf(x, number(0.5)), arith.addf(curve, number(1)))


def glu(gate: ir.Value, up: ir.Value, *, activation: str) -> ir.Value:
    """Builds `rlx.glu`; see :class:`GluOp`."""
    return GluOp.create(gate, up, activation=activation)
