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
from rlx.host import arith, ir, scf

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
        """No matrix of floats is made: integers become floats where they are multiplied, or with
        ``group`` one output channel at a time."""
        input, weight, scales = self.fitting_operands()
        rank = input.type.rank
        element = input.type.element_type
        wide = accumulator_type(element)
        shape = emit.sizes(input)
        shape[-1] = emit.dim(weight, 0 if self.transpose_weight else 1)
        if self.group:
            return self._by_columns(input, weight, scales, shape)
        zeros = emit.fill(shape, wide, 0.0)
        total = _sums(input, weight, zeros, self.transpose_weight)
        rows = emit.axes(rank)

        def scaled(value: ir.Value, scale: ir.Value, _: ir.Value) -> ir.Value:
            return emit.convert(arith.mulf(value, scale), element)

        return emit.generic(
            [total, scales], emit.empty(shape, element), [rows, rows[-1:], rows], "p" * rank, scaled
        )

    def _by_columns(
        self, input: ir.Value, weight: ir.Value, scales: ir.Value, shape: list[emit.Size]
    ) -> ir.Value:
        """One column of the result at a time: what it is multiplied with is converted once."""
        element = input.type.element_type
        wide = accumulator_type(element)
        depth, groups, columns = (
            emit.dim(input, input.type.rank - 1),
            emit.dim(scales, 1),
            shape[-1],
        )
        # What one of the two says statically holds for the other.
        if isinstance(groups, int):
            depth = groups * self.group
        elif isinstance(depth, int):
            groups = depth // self.group
        result = emit.empty(shape, element)
        loop = scf.ForOp(emit.index(0), emit.as_index(columns), emit.index(1), [result])
        with ir.InsertionPoint(loop.body):
            column, so_far = loop.induction_variable, loop.inner_iter_args[0]
            if self.transpose_weight:
                row = emit.extract_slice(weight, [column, 0], [1, depth])
                parts = emit.split_axis(row, 1, [groups, self.group])
            else:
                row = emit.extract_slice(weight, [0, column], [depth, 1])
                parts = emit.split_axis(row, 0, [groups, self.group])
            scale = emit.extract_slice(scales, [column, 0], [1, groups])
            n, g, x = emit.axes(3)
            factors = emit.generic(
                [parts, scale],
                emit.empty([1, groups, self.group], wide),
                [[n, g, x] if self.transpose_weight else [g, x, n], [n, g], [n, g, x]],
                "ppp",
                lambda integer, scale, _: arith.mulf(arith.sitofp(wide, integer), scale),
            )
            zeros = emit.fill([*shape[:-1], 1], wide, 0.0)
            total = _sums(input, emit.join_axes(factors, 1), zeros, transposed=True)
            offsets = [*[0] * (len(shape) - 1), column]
            done = emit.insert_slice(emit.convert_tensor(total, element), so_far, offsets)
            scf.YieldOp([done])
        return loop.results[0]

    def fitting_operands(self) -> tuple[ir.Value, ir.Value, ir.Value]:
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


def _sums(input: ir.Value, matrix: ir.Value, zeros: ir.Value, transposed: bool) -> ir.Value:
    """Products of floats with a matrix of floats or integers, added to ``zeros``.

    Loops are in the order of `rlx.matmul`; integers are converted where they are multiplied.
    """
    loops = emit.axes(input.type.rank + 1)
    if transposed:
        n, *rows, x = loops
        maps, iterators = [[*rows, x], [n, x], [*rows, n]], "p" * len(rows) + "pr"
    else:
        *rows, x, n = loops
        maps, iterators = [[*rows, x], [x, n], [*rows, n]], "p" * len(rows) + "rp"

    def body(a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
        flags = emit.reassoc()
        is_integer = isinstance(b.type, ir.IntegerType)
        factor = arith.sitofp(total.type, b) if is_integer else emit.convert(b, total.type)
        product = arith.mulf(emit.convert(a, total.type), factor, fastmath=flags)
        return arith.addf(total, product, fastmath=flags)

    return emit.generic([input, matrix], zeros, maps, iterators, body)


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
