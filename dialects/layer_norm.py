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
    widen,
)
from rlx.host import arith, ir, math

__all__ = ["LayerNormOp", "layer_norm"]


class LayerNormOp(RlxOp, name="layer_norm"):
    """Normalises the last axis [N] to mean 0 and variance 1, then scales and shifts.

    `y = (x - mean(x)) * rsqrt(var(x) + epsilon) * weight + bias` with the biased variance, in two
    passes over the data, computed in f32 (f64 for f64) and rounded once. `weight` and `bias` are
    [N], in the element type of `input` or f32.
    """

    EXAMPLE = """
      %y = "rlx.layer_norm"(%x, %w, %b) {epsilon = 1.0e-05 : f64}
        : (tensor<1x512x768xf32>, tensor<768xf32>, tensor<768xf32>) -> tensor<1x512x768xf32>
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
        x = widen(input)
        centred = x - np.mean(x, axis=-1, keepdims=True)
        variance = np.mean(centred * centred, axis=-1, keepdims=True)
        y = centred / np.sqrt(variance + epsilon)
        return (y * widen(weight) + widen(bias)).astype(input.dtype)

    def lower(self) -> ir.Value:
        x, element = self.input, self.input.type.element_type
        wide = accumulator_type(element)
        *shape, width = emit.sizes(x)
        message = "rlx.layer_norm: {} must have the size of the last axis of input"
        weight = emit.fit(self.weight, [width], message.format("weight"))
        bias = emit.fit(self.bias, [width], message.format("bias"))
        rank = len(shape) + 1
        row, all_axes = emit.axes(rank - 1), emit.axes(rank)
        rows, reduction = "p" * (rank - 1), "p" * (rank - 1) + "r"
        count, epsilon = emit.to_float(width, wide), emit.constant(wide, self.epsilon)

        def add(value: ir.Value, total: ir.Value) -> ir.Value:
            return arith.addf(total, emit.convert(value, wide), fastmath=emit.reassoc())

        def divide(total: ir.Value, _: ir.Value) -> ir.Value:
            return arith.divf(total, count)

        def add_square(value: ir.Value, mean: ir.Value, total: ir.Value) -> ir.Value:
            flags, value = emit.reassoc(), arith.subf(emit.convert(value, wide), mean)
            square = arith.mulf(value, value, fastmath=flags)
            return arith.addf(total, square, fastmath=flags)

        def inverse_root(total: ir.Value, _: ir.Value) -> ir.Value:
            root = math.sqrt(arith.addf(arith.divf(total, count), epsilon))
            return arith.divf(emit.constant(wide, 1.0), root)

        def scale(
            value: ir.Value, mean: ir.Value, factor: ir.Value, w: ir.Value, b: ir.Value, _: ir.Value
        ) -> ir.Value:
            y = arith.mulf(arith.subf(emit.convert(value, wide), mean), factor)
            y = arith.addf(arith.mulf(y, emit.convert(w, wide)), emit.convert(b, wide))
            return emit.convert(y, element)

        zeros = emit.fill(shape, wide, 0.0)
        spare = emit.empty(shape, wide)
        sums = emit.generic([x], zeros, [all_axes, row], reduction, add)
        means = emit.generic([sums], spare, [row, row], rows, divide)
        squares = emit.generic([x, means], zeros, [all_axes, row, row], reduction, add_square)
        factors = emit.generic([squares], spare, [row, row], rows, inverse_root)
        return emit.generic(
            [x, means, factors, weight, bias],
            emit.empty([*shape, width], element),
            [all_axes, row, row, all_axes[-1:], all_axes[-1:], all_axes],
            "p" * rank,
            scale,
        )


def layer_norm(input: ir.Value, weight: ir.Value, bias: ir.Value, *, epsilon: float) -> ir.Value:
    """Builds `rlx.layer_norm`; see :class:`LayerNormOp`."""
    return LayerNormOp.create(input, weight, bias, epsilon=epsilon)
