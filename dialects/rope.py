"""`rlx.rope`: rotary position embedding."""

from typing import Any

from rlx.dialects.base import Attr, Invalid, Operand, OptionalOperand, Result, RlxOp
from rlx.dialects.types import (
    accumulator_type,
    compatible,
    expect_rank,
    expect_type,
    is_float,
    is_id,
    is_static,
)
from rlx.host import ir

__all__ = ["PAIRINGS", "RopeOp", "rope"]

PAIRINGS = ("half", "proportional", "interleaved")


class RopeOp(RlxOp, name="rope"):
    """Rotates pairs of dims of every head by an angle that depends on the row's position.

    `input` is [B, S, heads * head_dim] or [S, heads * head_dim]. `cos` and `sin` are [P, C]: row p
    holds the angles of position p, C is n_rot / 2 or head_dim / 2, and columns past n_rot / 2 are
    not read. Their element type is that of `input`, or the one the arithmetic is done in: f32 (f64
    for f64). The position of a row is its index along S, or `positions` ([S] or [B, S], i32 or
    i64). The result has the type of `input`.

    Column i turns a pair of dims (a, b) of each head, where i < n_rot / 2::

        a' = a * cos[p, i] - b * sin[p, i]
        b' = b * cos[p, i] + a * sin[p, i]

    | pairing | (a, b) | |
    |---|---|---|
    | `"half"` | (i, i + n_rot / 2) | NeoX, Llama |
    | `"proportional"` | (i, i + head_dim / 2) | full attention of Gemma 4 |
    | `"interleaved"` | (2i, 2i + 1) | GPT-J, GLM |

    All other dims pass through bit for bit. A position outside [0, P) is an error: of the verifier
    where the types tell, at run time otherwise.
    """

    input: Operand
    cos: Operand
    sin: Operand
    result: Result
    positions: OptionalOperand = None

    head_dim = Attr(int, "dims per head, at least 1")
    n_rot = Attr(int, "how many dims of a head rotate, even", default=lambda op: op.head_dim)
    pairing = Attr(str, "which dims form a pair", default="half", choices=PAIRINGS)

    def verify_op(self) -> None:
        input = self.input
        expect_rank("input", input, 2, 3)
        if not is_float(input.type.element_type):
            raise Invalid(f"expects float input, but got {input.type}")
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
        allowed = {str(element), str(accumulator_type(element))}
        if str(table.type.element_type) not in allowed:
            raise Invalid(
                f"expects {name} with element type {' or '.join(sorted(allowed))}, but got "
                f"{table.type}"
            )
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
        if not is_id(positions.type.element_type):
            raise Invalid(f"expects i32 or i64 positions, but got {positions.type}")
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
