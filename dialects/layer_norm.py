"""`rlx.layer_norm`: zero mean, unit variance."""

from typing import Any

import numpy as np

from rlx.dialects import emit
from rlx.dialects.base import Attr, Invalid, Operand, Result, RlxOp
from rlx.dialects.types import (
    accumulator_type,
    compatible,
    expect_axes,
    expect_element_type,
    expect_float,
    expect_rank,
    expect_type,
)
from rlx.host import ir

__all__ = ["LayerNormOp", "layer_norm"]


class LayerNormOp(RlxOp, name="layer_norm"):
    """Normalises the last axis [N] to mean 0 and variance 1, then scales and shifts.

    `y = (x - mean(x)) * rsqrt(var(x) + epsilon) * weight + bias` with the biased variance, in two
    passes over the data, computed in f32 (f64 for f64) and rounded once. `weight` and `bias` are
    [N], in the element type of `input` or f32.
    """

    input: Operand
    weight: Operand
    bias: Operand
    result: Result

    epsilon = Attr(float, "added to the variance; at least 0")

    def verify_op(self) -> None:
        input = self.input
        expect_axes("input", input)
        expect_float("input", input)
        width = input.type.shape[-1]
        for name, value in (("weight", self.weight), ("bias", self.bias)):
            expect_rank(name, value, 1)
            expect_element_type(name, value, input.type.element_type, ir.F32Type.get())
            if not compatible(value.type.shape[0], width):
                raise Invalid(f"expects {name} of size {width}, but got {value.type}")
        if self.epsilon < 0:
            raise Invalid(f"expects epsilon >= 0, but got {self.epsilon}")
        expect_type(self.operation.results[0].type, input.type)

    @classmethod
    def result_type(cls, input: ir.Value, weight: ir.Value, bias: ir.Value, **_: Any) -> ir.Type:
        return input.type

    @staticmethod
    def reference(
        input: np.ndarray, weight: np.ndarray, bias: np.ndarray, *, epsilon: float
    ) -> np.ndarray:
        wide = np.float64 if input.dtype == np.float64 else np.float32
        x = input.astype(wide)
        centred = x - np.mean(x, axis=-1, keepdims=True)
        variance = np.mean(centred * centred, axis=-1, keepdims=True)
        y = centred / np.sqrt(variance + wide(epsilon))
        return (y * weight.astype(wide) + bias.astype(wide)).astype(input.dtype)


def layer_norm(input: ir.Value, weight: ir.Value, bias: ir.Value, *, epsilon: float) -> ir.Value:
    """Builds `rlx.layer_norm`; see :class:`LayerNormOp`."""
    return LayerNormOp.create(input, weight, bias, epsilon=epsilon)
