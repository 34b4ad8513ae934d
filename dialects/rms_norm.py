"""`rlx.rms_norm`: division by the root mean square."""

from typing import Any

import numpy as np

from rlx.dialects import emit
from rlx.dialects.base import Attr, Invalid, Operand, OptionalOperand, Result, RlxOp
from rlx.dialects.types import (
    accumulator_type,
    compatible,
    expect_axes,
    expect_element_type,
    expect_float,
    expect_rank,
    expect_type,
    is_static,
)
from rlx.host import ir

__all__ = ["RmsNormOp", "rms_norm"]


class RmsNormOp(RlxOp, name="rms_norm"):
    """Divides by the root mean square of the last axis, then scales.

    With `group`, each run of `group` elements of the last axis [N] is normalised on its own: the
    per-head norm of queries and keys. `weight` is [N], or [group] and then shared by all groups;
    it has the element type of `input` or f32. Without it nothing is scaled.

    `y = x * rsqrt(mean(x^2) + epsilon) * (weight + weight_offset)`, computed in f32 (f64 for f64)
    and rounded once.
    """

    input: Operand
    weight: OptionalOperand = None
    result: Result

    epsilon = Attr(float, "added to the mean square; at least 0")
    weight_offset = Attr(float, "added to `weight`; 1.0 in Gemma 1 to 3", default=0.0)
    group = Attr(
        int,
        "how many elements are normalised together; divides N (default: N)",
        default=lambda op: _width(op.input),
    )

    def verify_op(self) -> None:
        input, weight = self.input, self.weight
        expect_axes("input", input)
        expect_float("input", input)
        width = input.type.shape[-1]
        if self.epsilon < 0:
            raise Invalid(f"expects epsilon >= 0, but got {self.epsilon}")
        if self.group is not None:
            _expect_group(self.group, width)
        if weight is None and self.weight_offset != 0:
            raise Invalid(f"expects weight for weight_offset {self.weight_offset}, but got none")
        if weight is not None:
            self._verify_weight(weight, width)
        expect_type(self.operation.results[0].type, input.type)

    def _verify_weight(self, weight: ir.Value, width: int) -> None:
        expect_rank("weight", weight, 1)
        expect_element_type("weight", weight, self.input.type.element_type, ir.F32Type.get())
        size = weight.type.shape[0]
        grouped = self.group is not None and self.group != width
        if grouped and not is_static(size):
            raise Invalid(f"expects weight of static size with group, but got {weight.type}")
        if not compatible(size, width) and not (grouped and size == self.group):
            words = f"{width} or {self.group}" if grouped else f"{width}"
            raise Invalid(f"expects weight of size {words}, but got {weight.type}")

    @classmethod
    def result_type(cls, input: ir.Value, weight: ir.Value | None = None, **_: Any) -> ir.Type:
        return input.type

    @staticmethod
    def reference(
        input: np.ndarray,
        weight: np.ndarray | None = None,
        *,
        epsilon: float,
        weight_offset: float = 0.0,
        group: int | None = None,
    ) -> np.ndarray:
        wide = np.float64 if input.dtype == np.float64 else np.float32
        width = input.shape[-1]
        x = input.astype(wide).reshape(*input.shape[:-1], -1, width if group is None else group)
        y = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + wide(epsilon))
        if weight is not None:
            scale = weight.astype(wide) + wide(weight_offset)
            y = y * (scale.reshape(y.shape[-2:]) if scale.size == width else scale)
        return y.reshape(input.shape).astype(input.dtype)


def _width(input: ir.Value) -> int | None:
    """The size of the last axis; None when dynamic (or absent, which the verifier rejects)."""
    type = input.type
    return type.shape[-1] if type.rank and not type.is_dynamic_dim(type.rank - 1) else None


def _expect_group(group: int, width: int) -> None:
    if is_static(width) and width == group:
        return
    if group < 1 or (is_static(width) and width % group):
        raise Invalid(f"expects group >= 1 that divides {width}, but got {group}")


def rms_norm(
    input: ir.Value,
    weight: ir.Value | None = None,
    *,
    epsilon: float,
    weight_offset: float = 0.0,
    group: int | None = None,
) -> ir.Value:
    """Builds `rlx.rms_norm`; see :class:`RmsNormOp`."""
    return RmsNormOp.create(
        input, weight, epsilon=epsilon, weight_offset=weight_offset, group=group
    )
