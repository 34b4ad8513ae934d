"""`rlx.matmul`: activations times a weight matrix."""

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
    with_dim,
)
from rlx.host import arith, ir

__all__ = ["MatmulOp", "matmul"]


class MatmulOp(RlxOp, name="matmul"):
    """Multiplies the last axis of `input` with a matrix.

    `input` is [..., M, X]; `weight` is [X, N], or [N, X] with `transpose_weight` (the layout of
    `torch.nn.Linear`). The result is [..., M, N] in the element type of the operands; products are
    accumulated in f32 (f64 for f64).
    """

    EXAMPLE = """
      %y = "rlx.matmul"(%x, %w) {transpose_weight = true}
        : (tensor<1x512x640xbf16>, tensor<1024x640xbf16>) -> tensor<1x512x1024xbf16>
    """

    input: Operand
    weight: Operand
    result: Result

    transpose_weight = Attr(bool, "whether `weight` is [N, X]", default=False)

    def verify_op(self) -> None:
        input, weight = self.input, self.weight
        expect_axes("input", input)
        expect_rank("weight", weight, 2)
        expect_float("input", input)
        expect_element_type("weight", weight, input.type.element_type)
        inner = weight.type.shape[1 if self.transpose_weight else 0]
        if not compatible(input.type.shape[-1], inner):
            raise Invalid(
                f"expects the inner dimensions to agree, but got {input.type} and {weight.type}"
                + (" with transpose_weight" if self.transpose_weight else "")
            )
        expect_type(
            self.operation.results[0].type,
            self.result_type(input, weight, transpose_weight=self.transpose_weight),
        )

    @classmethod
    def result_type(
        cls, input: ir.Value, weight: ir.Value, *, transpose_weight: bool = False, **_: Any
    ) -> ir.Type:
        return with_dim(
            input.type, input.type.rank - 1, weight.type.shape[0 if transpose_weight else 1]
        )

    @staticmethod
    def reference(
        input: np.ndarray, weight: np.ndarray, *, transpose_weight: bool = False
    ) -> np.ndarray:
        product = widen(input) @ widen(weight.T if transpose_weight else weight)
        return product.astype(input.dtype)

    def lower(self) -> ir.Value:
        input, weight = self.fitting_operands()
        rank = input.type.rank
        element = input.type.element_type
        wide = accumulator_type(element)
        shape = emit.sizes(input)
        shape[-1] = emit.dim(weight, 0 if self.transpose_weight else 1)
        total = emit.fill(shape, wide, 0.0)

        def body(a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
            flags = emit.reassoc()
            product = arith.mulf(emit.convert(a, wide), emit.convert(b, wide), fastmath=flags)
            return arith.addf(total, product, fastmath=flags)

        # The innermost loop runs along the contiguous axis of the weight. A weight row stays in
        # the cache while all rows of the input are multiplied with it.
        loops = emit.axes(rank + 1)
        if self.transpose_weight:
            n, *rows, x = loops
            maps, iterators = [[*rows, x], [n, x], [*rows, n]], "p" * rank + "r"
        else:
            *rows, x, n = loops
            maps, iterators = [[*rows, x], [x, n], [*rows, n]], "p" * (rank - 1) + "rp"
        total = emit.generic([input, weight], total, maps, iterators, body)
        return emit.convert_tensor(total, element)

    def fitting_operands(self) -> tuple[ir.Value, ir.Value]:
        """The operands, whose inner sizes are made sure to agree."""
        input, weight = self.input, self.weight
        inner = 1 if self.transpose_weight else 0
        shape, matrix = emit.sizes(input), emit.sizes(weight)
        message = "rlx.matmul: the inner sizes of input and weight must agree"
        if isinstance(matrix[inner], int):
            shape[-1] = matrix[inner]
            return emit.fit(input, shape, message), weight
        matrix[inner] = shape[-1]
        return input, emit.fit(weight, matrix, message)


def matmul(input: ir.Value, weight: ir.Value, *, transpose_weight: bool = False) -> ir.Value:
    """Builds `rlx.matmul`; see :class:`MatmulOp`."""
    return MatmulOp.create(input, weight, transpose_weight=transpose_weight)
