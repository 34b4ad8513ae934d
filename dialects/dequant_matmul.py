"""`rlx.dequant_matmul`: activations times a weight matrix of 8-bit integers with scales."""

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
    is_static,
    widen,
    with_dim,
)
from rlx.host import arith, ir

__all__ = ["DequantMatmulOp", "dequant_matmul"]


class DequantMatmulOp(RlxOp, name="dequant_matmul"):
    """Multiplies the last axis of `input` with a matrix that is stored as integers and scales.

    `input` is [..., M, X]; `weight` is i8, [X, N] or with `transpose_weight` [N, X]. An element of
    the matrix is its integer times a scale. Without `group` there is one scale per output channel:
    `scales` is [N]. With it, `group` elements in a row along X share one: `scales` is
    [N, X / group], whichever way `weight` lies. Scales are f32 (f64 for f64), and so are products
    and sums; the result is [..., M, N] in the element type of `input`.

    `rlx-quantize-weights` makes this op of `rlx.matmul`.
    """

    EXAMPLE = """
      %y = "rlx.dequant_matmul"(%x, %w, %s) {transpose_weight = true, group = 64 : i64}
        : (tensor<1x512x640xbf16>, tensor<1024x640xi8>, tensor<1024x10xf32>)
        -> tensor<1x512x1024xbf16>
    """

    input: Operand
    weight: Operand
    scales: Operand
    result: Result

    transpose_weight = Attr(bool, "whether `weight` is [N, X]", default=False)
    group = Attr(int, "how many elements along X share a scale; 0 for all of them", default=0)

    def verify_op(self) -> None:
        input, weight, scales = self.input, self.weight, self.scales
        expect_axes("input", input)
        expect_rank("weight", weight, 2)
        expect_float("input", input)
        expect_element_type("weight", weight, ir.IntegerType.get_signless(8))
        inner, outer = (1, 0) if self.transpose_weight else (0, 1)
        depth = weight.type.shape[inner]
        if not compatible(input.type.shape[-1], depth):
            raise Invalid(
                f"expects the inner dimensions to agree, but got {input.type} and {weight.type}"
                + (" with transpose_weight" if self.transpose_weight else "")
            )
        expect_element_type("scales", scales, accumulator_type(input.type.element_type))
        if self.group < 0:
            raise Invalid(f"expects group of at least 0, but got {self.group}")
        expect_rank("scales", scales, 2 if self.group else 1)
        if not compatible(scales.type.shape[0], weight.type.shape[outer]):
            raise Invalid(
                "expects a scale for each output channel of weight, but got "
                f"{scales.type} and {weight.type}"
            )
        for size in {depth, input.type.shape[-1]} if self.group else ():
            if is_static(size) and size % self.group:
                raise Invalid(
                    f"expects group to divide the inner size {size}, but got {self.group}"
                )
            if is_static(size) and not compatible(scales.type.shape[1], size // self.group):
                raise Invalid(
                    f"expects {size // self.group} groups of {self.group} in scales, but got "
                    f"{scales.type}"
                )
        expect_type(
            self.operation.results[0].type,
            self.result_type(input, weight, transpose_weight=self.transpose_weight),
        )

    @classmethod
    def result_type(
        cls, input: ir.Value, weight: ir.Value, *_: Any, transpose_weight: bool = False, **__: Any
    ) -> ir.Type:
        return with_dim(
            input.type, input.type.rank - 1, weight.type.shape[0 if transpose_weight else 1]
        )

    @staticmethod
    def reference(
        input: np.ndarray,
        weight: np.ndarray,
        scales: np.ndarray,
        *,
        transpose_weight: bool = False,
        group: int = 0,
    ) -> np.ndarray:
        rows = weight if transpose_weight else weight.T
        each = np.repeat(scales, group, axis=1) if group else scales[:, None]
        matrix = rows.astype(widen(input).dtype) * each
        return (widen(input) @ matrix.T).astype(input.dtype)

    def lower(self) -> ir.Value:
        """The integers are converted where they are multiplied: no other matrix is made."""
        input, weight, scales = self._fitting_operands()
        rank = input.type.rank
        element = input.type.element_type
        wide = accumulator_type(element)
        shape = emit.sizes(input)
        shape[-1] = emit.dim(weight, 0 if self.transpose_weight else 1)
        zeros = emit.fill(shape, wide, 0.0)
        total = (
            self._sum_of_groups(input, weight, scales, zeros)
            if self.group
            else self._sum(input, weight, zeros)
        )
        rows = emit.axes(rank)

        def scaled(value: ir.Value, scale: ir.Value, _: ir.Value) -> ir.Value:
            return emit.convert(arith.mulf(value, scale), element)

        if self.group:
            return emit.convert_tensor(total, element)
        return emit.generic(
            [total, scales], emit.empty(shape, element), [rows, rows[-1:], rows], "p" * rank, scaled
        )

    def _sum(self, input: ir.Value, weight: ir.Value, zeros: ir.Value) -> ir.Value:
        """Sums of the integers, not scaled yet."""
        # Loops in the order of `rlx.matmul`.
        loops = emit.axes(input.type.rank + 1)
        if self.transpose_weight:
            n, *rows, x = loops
            maps, iterators = [[*rows, x], [n, x], [*rows, n]], "p" * len(rows) + "pr"
        else:
            *rows, x, n = loops
            maps, iterators = [[*rows, x], [x, n], [*rows, n]], "p" * len(rows) + "rp"
        return emit.generic(
            [input, weight], zeros, maps, iterators, lambda a, b, total: _add_product(total, a, b)
        )

    def _sum_of_groups(
        self, input: ir.Value, weight: ir.Value, scales: ir.Value, zeros: ir.Value
    ) -> ir.Value:
        """Scaled sums. The inner axis is seen as [groups, group]."""
        rank = input.type.rank
        parts = [emit.dim(scales, 1), self.group]
        input = emit.split_axis(input, rank - 1, parts)
        loops = emit.axes(rank + 2)
        if self.transpose_weight:
            weight = emit.split_axis(weight, 1, parts)
            n, *rows, g, x = loops
            layout, iterators = [n, g, x], "p" * rank + "rr"
        else:
            weight = emit.split_axis(weight, 0, parts)
            *rows, g, x, n = loops
            layout, iterators = [g, x, n], "p" * (rank - 1) + "rrp"
        return emit.generic(
            [input, weight, scales],
            zeros,
            [[*rows, g, x], layout, [n, g], [*rows, n]],
            iterators,
            lambda a, b, scale, total: _add_product(total, a, b, scale),
        )

    def _fitting_operands(self) -> tuple[ir.Value, ir.Value, ir.Value]:
        """The operands, whose sizes are made sure to agree."""
        input, weight, scales = self.input, self.weight, self.scales
        inner, outer = (1, 0) if self.transpose_weight else (0, 1)
        shape, matrix, found = emit.sizes(input), emit.sizes(weight), emit.sizes(scales)
        if self.group:
            # The number of groups decides, so that the inner size is a multiple of them.
            known = [size for size in (matrix[inner], shape[-1]) if isinstance(size, int)]
            groups = known[0] // self.group if known else found[1]
            wanted = [matrix[outer], groups]
            depth = known[0] if known else arith.muli(emit.as_index(groups), emit.index(self.group))
        else:
            wanted = [matrix[outer]]
            depth = matrix[inner] if isinstance(matrix[inner], int) else shape[-1]
        scales = emit.fit(scales, wanted, "rlx.dequant_matmul: scales must fit weight")
        shape[-1] = matrix[inner] = depth
        message = "rlx.dequant_matmul: the inner sizes of input, weight and scales must agree"
        return emit.fit(input, shape, message), emit.fit(weight, matrix, message), scales


def _add_product(
    total: ir.Value, a: ir.Value, b: ir.Value, scale: ir.Value | None = None
) -> ir.Value:
    """``total`` plus the float ``a`` times the integer ``b``, times ``scale`` if there is one."""
    flags = emit.reassoc()
    factor = arith.sitofp(total.type, b)
    if scale is not None:
        factor = arith.mulf(factor, scale, fastmath=flags)
    product = arith.mulf(emit.convert(a, total.type), factor, fastmath=flags)
    return arith.addf(total, product, fastmath=flags)


def dequant_matmul(
    input: ir.Value,
    weight: ir.Value,
    scales: ir.Value,
    *,
    transpose_weight: bool = False,
    group: int = 0,
) -> ir.Value:
    """Builds `rlx.dequant_matmul`; see :class:`DequantMatmulOp`."""
    return DequantMatmulOp.create(
        input, weight, scales, transpose_weight=transpose_weight, group=group
    )
