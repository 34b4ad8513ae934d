"""`rlx.glu`: a gated linear unit."""

import math as pymath
from typing import Any

import numpy as np

from rlx.dialects import emit
from rlx.dialects.base import Attr, Operand, Result, RlxOp
from rlx.dialects.types import accumulator_type, expect_float, expect_type
from rlx.host import ir

__all__ = ["GluOp", "glu"]

ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu")


class GluOp(RlxOp, name="glu"):
    """Multiplies `up` with the activated `gate`, element by element.

    `gelu` is the exact form with erf, `gelu_tanh` the approximation with tanh. Computed in f32 (f64
    for f64) and rounded once.
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
        wide = np.float64 if gate.dtype == np.float64 else np.float32
        x = gate.astype(np.float64)
        if activation == "silu":
            y = x / (1 + np.exp(-x))
        elif activation == "gelu":
            y = x * 0.5 * (1 + np.vectorize(pymath.erf, otypes=[np.float64])(x / pymath.sqrt(2)))
        elif activation == "gelu_tanh":
            y = x * 0.5 * (1 + np.tanh(pymath.sqrt(2 / pymath.pi) * (x + 0.044715 * x**3)))
        else:
            y = np.maximum(x, 0)
        return (y.astype(wide) * up.astype(wide)).astype(gate.dtype)


def glu(gate: ir.Value, up: ir.Value, *, activation: str) -> ir.Value:
    """Builds `rlx.glu`; see :class:`GluOp`."""
    return GluOp.create(gate, up, activation=activation)
