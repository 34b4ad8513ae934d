"""`rlx.rope`: rotary position embedding."""

from typing import Any

import numpy as np

from rlx.dialects import emit
from rlx.dialects.base import Attr, Invalid, Operand, OptionalOperand, Result, RlxOp
from rlx.dialects.types import (
    accumulator_type,
    compatible,
    expect_element_type,
    expect_float,
    expect_ids,
    expect_rank,
    expect_type,
    is_static,
    widen,
)
from rlx.host import arith, ir, linalg

__all__ = ["PAIRINGS", "RopeOp", "rope"]

PAIRINGS = ("half", "proportional", "interleaved")


class RopeOp(RlxOp, name="rope"):
    """Rotates pairs of dims of every head by an angle that depends on the row's position.

    `input` is [B, S, heads * head_dim] or [S, heads * head_dim]. `cos` and `sin` are [P, C]: row p
    holds the angles of position p, C is n_rot / 2 or head_dim / 2, and columns past n_rot / 2 are
    not read. Their element type is that of `input`, or the one the arithmetic is done in: f32 (f64
    for f64). The position of a row is its index along S, or `positions` ([S] or [B, S], i32 or
    i64). The result has the type of `input`. The last dimensions are static.

    Column i turns a pair of dims (a, b) of each head, where i < n_rot / 2:

    ```
    a' = a * cos[p, i] - b * sin[p, i]
    b' = b * cos[p, i] + a * sin[p, i]
    ```

    | pairing | (a, b) | used by |
    |---|---|---|
    | `"half"` | (i, i + n_rot / 2) | NeoX, Llama |
    | `"proportional"` | (i, i + head_dim / 2) | full attention of Gemma 4 |
    | `"interleaved"` | (2i, 2i + 1) | GPT-J, GLM |

    All other dims pass through bit for bit. A position outside [0, P) is an error: of the verifier
    where the types tell, at run time otherwise.
    """

    EXAMPLE = """
      %qr = "rlx.rope"(%q, %cos, %sin) {head_dim = 256 : i64, n_rot = 64 : i64}
        : (tensor<1x512x1024xf32>, tensor<4096x32xf32>, tensor<4096x32xf32>)
        -> tensor<1x512x1024xf32>
    """

    input: Operand
    cos: Operand
    sin: Operand
    result: Result
    positions: OptionalOperand = None

    head_dim = Attr(int, "dims per head, at least 1")
    n_rot = Attr(
        int,
        "how many dims of a head rotate, even",
        default=lambda op: op.head_dim,
        default_text="head_dim",
    )
    pairing = Attr(str, "which dims form a pair", default="half", choices=PAIRINGS)

    def verify_op(self) -> None:
        input = self.input
        expect_rank("input", input, 2, 3)
        expect_float("input", input)
        if self.head_dim < 1:
            raise Invalid(f"expects head_dim >= 1, but got {self.head_dim}")
        width = input.type.shape[-1]
        if not is_static(width) or width % self.head_dim != 0:
            raise Invalid(
                f"expects the last dimension of input to be a multiple of head_dim "
                f"{self.head_dim}, but got {input.type}"
            )
        if self.n_rot % 2 != 0 or not 0 < self.n_rot <= self.head_dim:
            raise Invalid(
                f"expects n_rot even, at least 2 and at most head_dim {self.head_dim}, but got "
                f"{self.n_rot}"
            )
        if self.pairing == "proportional" and self.head_dim % 2 != 0:
            raise Invalid(
                f'expects an even head_dim for pairing "proportional", but got {self.head_dim}'
            )
        self._verify_table("cos", self.cos)
        self._verify_table("sin", self.sin)
        if not all(map(compatible, self.cos.type.shape, self.sin.type.shape)):
            raise Invalid(
                f"expects cos and sin of the same shape, but got {self.cos.type} and "
                f"{self.sin.type}"
            )
        if self.positions is not None:
            self._verify_positions(self.positions)
        expect_type(self.operation.results[0].type, input.type)

    def _verify_table(self, name: str, table: ir.Value) -> None:
        expect_rank(name, table, 2)
        element = self.input.type.element_type
        expect_element_type(name, table, element, accumulator_type(element))
        rows, columns = table.type.shape
        widths = {self.n_rot // 2}
        if self.head_dim % 2 == 0:
            widths.add(self.head_dim // 2)
        if columns not in widths:
            raise Invalid(
                f"expects {name} with {' or '.join(map(str, sorted(widths)))} columns, but got "
                f"{table.type}"
            )
        if rows == 0:
            raise Invalid(f"expects {name} with at least one row, but got {table.type}")
        length = self.input.type.shape[-2]
        if self.positions is None and is_static(rows) and is_static(length) and rows < length:
            raise Invalid(
                f"expects {name} with a row for each of {length} positions, but got {table.type}"
            )

    def _verify_positions(self, positions: ir.Value) -> None:
        rows = self.input.type.shape[:-1]
        shape = positions.type.shape
        expect_ids("positions", positions)
        if not 1 <= len(shape) <= len(rows) or not all(
            map(compatible, shape, rows[len(rows) - len(shape) :])
        ):
            wanted = "[S] or [B, S]" if len(rows) == 2 else "[S]"
            raise Invalid(
                f"expects positions of shape {wanted} for input {self.input.type}, but got "
                f"{positions.type}"
            )

    @classmethod
    def result_type(cls, input: ir.Value, *_: Any, **__: Any) -> ir.Type:
        return input.type

    @staticmethod
    def reference(
        input: np.ndarray,
        cos: np.ndarray,
        sin: np.ndarray,
        positions: np.ndarray | None = None,
        *,
        head_dim: int,
        n_rot: int | None = None,
        pairing: str = "half",
    ) -> np.ndarray:
        n_rot = head_dim if n_rot is None else n_rot
        if positions is None:
            positions = np.arange(input.shape[-2])
        if positions.size and not 0 <= positions.min() <= positions.max() < len(cos):
            raise IndexError(f"positions outside [0, {len(cos)})")
        columns = np.arange(n_rot // 2)
        first, second = {
            "half": (columns, columns + n_rot // 2),
            "proportional": (columns, columns + head_dim // 2),
            "interleaved": (2 * columns, 2 * columns + 1),
        }[pairing]

        x = input.reshape(*input.shape[:-1], input.shape[-1] // head_dim, head_dim)
        a, b = widen(x[..., first]), widen(x[..., second])
        # One axis of size 1 for the heads.
        c, s = (widen(table[positions][..., None, columns]) for table in (cos, sin))
        y = x.copy()
        y[..., first] = a * c - b * s
        y[..., second] = b * c + a * s
        return y.reshape(input.shape)

    def lower(self) -> ir.Value:
        head_dim, n_rot = self.head_dim, self.n_rot
        axis = self.input.type.rank - 1
        heads = emit.split_axis(self.input, axis, [self.input.type.shape[-1] // head_dim, head_dim])
        if self.pairing == "proportional":
            pairs = emit.split_axis(heads, axis + 1, [2, head_dim // 2])
            turned = self._turn(_head(pairs, n_rot // 2), pair_axis=axis + 1)
            return emit.join_axes(emit.join_axes(_complete(turned, pairs), axis + 1), axis)
        interleaved = self.pairing == "interleaved"
        parts = [n_rot // 2, 2] if interleaved else [2, n_rot // 2]
        pairs = emit.split_axis(_head(heads, n_rot), axis + 1, parts)
        turned = self._turn(pairs, pair_axis=axis + 1 + interleaved)
        return emit.join_axes(_complete(emit.join_axes(turned, axis + 1), heads), axis)

    def _turn(self, pairs: ir.Value, pair_axis: int) -> ir.Value:
        """Rotates `pairs`: [..., heads, 2, n_rot / 2], or with the last two axes swapped."""
        rank = pairs.type.rank
        element = pairs.type.element_type
        wide = accumulator_type(element)
        cos, sin = self._angles()
        own = emit.axes(rank)
        other = list(own)
        other[pair_axis] = 1 - own[pair_axis]
        column = own[rank - 1 if pair_axis == rank - 2 else rank - 2]
        angle = [*own[rank - 2 - cos.type.rank : rank - 3], column]

        def body(a: ir.Value, b: ir.Value, c: ir.Value, s: ir.Value, _: ir.Value) -> ir.Value:
            a, b, c, s = (emit.convert(scalar, wide) for scalar in (a, b, c, s))
            first = arith.cmpi(
                arith.CmpIPredicate.eq, linalg.IndexOp(pair_axis).result, emit.index(0)
            )
            b = arith.select(first, arith.negf(b), b)
            turned = arith.addf(arith.mulf(a, c), arith.mulf(b, s))
            return emit.convert(turned, element)

        return emit.generic(
            [pairs, pairs, cos, sin],
            emit.empty(emit.sizes(pairs), element),
            [own, other, angle, angle, own],
            "p" * rank,
            body,
        )

    def fitting_operands(self) -> tuple[ir.Value, ir.Value, ir.Value | None]:
        """cos, sin and positions, whose sizes and contents are made sure to fit."""
        rows = emit.sizes(self.input)[:-1]
        sin = emit.fit(self.sin, emit.sizes(self.cos), "rlx.rope: cos and sin must be of one shape")
        limit = emit.dim(self.cos, 0)
        if self.positions is None:
            length = rows[-1]
            if not (isinstance(limit, int) and isinstance(length, int)):
                emit.require(
                    arith.cmpi(
                        arith.CmpIPredicate.ule, emit.as_index(length), emit.as_index(limit)
                    ),
                    "rlx.rope: cos and sin must have a row for every position",
                )
            return self.cos, sin, None
        positions = emit.fit(
            self.positions,
            rows[len(rows) - self.positions.type.rank :],
            "rlx.rope: positions must be of shape [S] or [B, S]",
        )
        bound = emit.as_index(limit)
        emit.require(
            emit.all_of(
                positions,
                # Unsigned, so that negative positions fail too.
                lambda p: arith.cmpi(arith.CmpIPredicate.ult, emit.to_index(p), bound),
            ),
            "rlx.rope: positions must be in [0, P), where P is the number of rows of cos and sin",
        )
        return self.cos, sin, positions

    def _angles(self) -> list[ir.Value]:
        """`cos` and `sin` of every row of `input`: [S, n_rot / 2] or [B, S, n_rot / 2]."""
        rows = emit.sizes(self.input)[:-1]
        columns = self.n_rot // 2
        cos, sin, positions = self.fitting_operands()
        if positions is None:
            shape = [rows[-1], columns]
            if isinstance(emit.dim(cos, 0), int) and isinstance(rows[-1], int):
                return [emit.extract_slice(t, [0, 0], shape) for t in (cos, sin)]
            return [_gather(t, None, shape) for t in (cos, sin)]
        shape = [*rows[len(rows) - positions.type.rank :], columns]
        return [_gather(t, positions, shape) for t in (cos, sin)]


def _gather(table: ir.Value, positions: ir.Value | None, shape: list[emit.Size]) -> ir.Value:
    """Rows of ``table`` at ``positions``, or the leading rows, cut to the columns of ``shape``."""
    rank = len(shape)
    wide = accumulator_type(table.type.element_type)
    read = emit.guarded(table, wide)

    def body(*scalars: ir.Value) -> ir.Value:
        row = linalg.IndexOp(0).result if positions is None else emit.to_index(scalars[0])
        return read(row, linalg.IndexOp(rank - 1).result)

    inputs = [] if positions is None else [positions]
    return emit.generic(
        inputs,
        emit.empty(shape, wide),
        [*([emit.axes(rank - 1)] * len(inputs)), emit.axes(rank)],
        "p" * rank,
        body,
    )


def _head(value: ir.Value, length: int) -> ir.Value:
    """The leading ``length`` elements of the last axis."""
    shape = emit.sizes(value)
    if shape[-1] == length:
        return value
    return emit.extract_slice(value, [0] * len(shape), [*shape[:-1], length])


def _complete(head: ir.Value, source: ir.Value) -> ir.Value:
    """``head`` followed by what ``source`` holds past it along the last axis."""
    shape = emit.sizes(source)
    start = head.type.shape[-1]
    if shape[-1] == start:
        return head
    zeros: list[emit.Size] = [0] * (len(shape) - 1)
    tail = emit.extract_slice(source, [*zeros, start], [*shape[:-1], shape[-1] - start])
    both = emit.insert_slice(head, emit.empty(shape, source.type.element_type), [0] * len(shape))
    return emit.insert_slice(tail, both, [*zeros, start])


def rope(
    input: ir.Value,
    cos: ir.Value,
    sin: ir.Value,
    positions: ir.Value | None = None,
    *,
    head_dim: int,
    n_rot: int | None = None,
    pairing: str = "half",
) -> ir.Value:
    """Builds `rlx.rope`; see :class:`RopeOp`."""
    return RopeOp.create(
        input, cos, sin, positions, head_dim=head_dim, n_rot=n_rot, pairing=pairing
    )
