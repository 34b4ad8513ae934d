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
    widen,
)
from rlx.host import arith, ir, math

__all__ = ["RmsNormOp", "rms_norm"]


class RmsNormOp(RlxOp, name="rms_norm"):
    """Divides by the root mean square of the last axis, then scales.

    With `group`, each run of `group` elements of the last axis [N] is normalised on its own: the
    per-head norm of queries and keys. `weight` is [N], or [group] and then shared by all groups;
    it has the element type of `input` or f32. Without it nothing is scaled.

    `y = x * rsqrt(mean(x^2) + epsilon) * (weight + weight_offset)`, computed in f32 (f64 for f64)
    and rounded once.
    """

    EXAMPLE = """
      %y = "rlx.rms_norm"(%x, %w)
        {epsilon = 1.0e-06 : f64, weight_offset = 1.0 : f64, group = 256 : i64}
        : (tensor<1x?x1024xbf16>, tensor<256xbf16>) -> tensor<1x?x1024xbf16>
    """

    input: Operand
    weight: OptionalOperand = None
    result: Result

    epsilon = Attr(float, "added to the mean square; at least 0")
    weight_offset = Attr(float, "added to `weight`; 1.0 in Gemma 1 to 3", default=0.0)
    group = Attr(
        int,
        "how many elements are normalised together; divides N",
        default=lambda op: _width(op.input),
        default_text="the size of the last axis",
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
        width = input.shape[-1]
        count = width if group is None else group
        x = widen(input).reshape(*input.shape[:-1], width // count, count)
        y = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon)
        if weight is not None:
            scale = widen(weight) + weight_offset
            y = y * (scale.reshape(y.shape[-2:]) if scale.size == width else scale)
        return y.reshape(input.shape).astype(input.dtype)

    def lower(self) -> ir.Value:
        width = emit.dim(self.input, self.input.type.rank - 1)
        weight = self.weight
        if self.group is None or self.group == width:
            if weight is not None:
                weight = emit.fit(weight, [width], _WEIGHT_SIZE)
            return self._normalise(self.input, weight)
        return self._lower_groups(width, weight)

    def _lower_groups(self, width: emit.Size, weight: ir.Value | None) -> ir.Value:
        group, shape = self.group, emit.sizes(self.input)
        input, heads = self.input, _heads(width, group)
        if not isinstance(heads, int):
            # Whole groups only, so that the reshape below stays inside the data.
            whole = arith.muli(heads, emit.index(group))
            input = emit.extract_slice(input, [0] * len(shape), [*shape[:-1], whole])
        split = emit.split_axis(input, len(shape) - 1, [heads, group])
        if weight is not None and weight.type.shape[0] != group:
            weight = emit.fit(weight, [emit.dim(input, len(shape) - 1)], _WEIGHT_SIZE)
            weight = emit.split_axis(weight, 0, [heads, group])
        joined = emit.join_axes(self._normalise(split, weight), len(shape) - 1)
        if isinstance(heads, int):
            return joined
        return emit.fit(joined, shape, "rlx.rms_norm: group must divide the last axis of input")

    def _normalise(self, x: ir.Value, weight: ir.Value | None) -> ir.Value:
        """Normalises the last axis; ``weight`` covers the last or the last two axes."""
        element = x.type.element_type
        wide = accumulator_type(element)
        *shape, width = emit.sizes(x)
        rank = len(shape) + 1
        row, all_axes = emit.axes(rank - 1), emit.axes(rank)

        def add_square(value: ir.Value, total: ir.Value) -> ir.Value:
            flags, value = emit.reassoc(), emit.convert(value, wide)
            square = arith.mulf(value, value, fastmath=flags)
            return arith.addf(total, square, fastmath=flags)

        squares = emit.generic(
            [x], emit.fill(shape, wide, 0.0), [all_axes, row], "p" * (rank - 1) + "r", add_square
        )
        count, epsilon = emit.to_float(width, wide), emit.constant(wide, self.epsilon)

        def inverse_root(total: ir.Value, _: ir.Value) -> ir.Value:
            mean = arith.divf(total, count)
            return arith.divf(emit.constant(wide, 1.0), math.sqrt(arith.addf(mean, epsilon)))

        factors = emit.generic(
            [squares], emit.empty(shape, wide), [row, row], "p" * (rank - 1), inverse_root
        )
        offset = self.weight_offset

        def scale(value: ir.Value, factor: ir.Value, *rest: ir.Value) -> ir.Value:
            y = arith.mulf(emit.convert(value, wide), factor)
            if weight is not None:
                w = emit.convert(rest[0], wide)
                if offset:
                    w = arith.addf(w, emit.constant(wide, offset))
                y = arith.mulf(y, w)
            return emit.convert(y, element)

        weights = [] if weight is None else [weight]
        return emit.generic(
            [x, factors, *weights],
            emit.empty([*shape, width], element),
            [all_axes, row, *(all_axes[rank - w.type.rank :] for w in weights), all_axes],
            "p" * rank,
            scale,
        )


_WEIGHT_SIZE = "rlx.rms_norm: weight must have the size of the last axis of input"


def _heads(width: emit.Size, group: int) -> emit.Size:
    if isinstance(width, int):
        return width // group
    return arith.divui(width, emit.index(group))


def _width(input: ir.Value) -> int | None:
    """The size of the last axis; None when dynamic (or absent, which the verifier rejects)."""
    type = input.type
    return type.shape[-1] if type.rank and not type.is_dynamic_dim(type.rank - 1) else None


def _expect_group(group: int, width: int) -> None:
    if is_static(width) and width == group:
        return
    if group < 1 or (is_static(width) and width % group):
        size = width if is_static(width) else "the last axis"
        raise Invalid(f"expects group >= 1 that divides {size}, but got {group}")


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
