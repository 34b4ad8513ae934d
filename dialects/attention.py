"""`rlx.attention`: scaled dot-product attention with grouped heads, windows and masks."""

from typing import Any

from rlx.dialects.base import Attr, Invalid, Operand, OptionalOperand, Result, RlxOp
from rlx.dialects.types import (
    compatible,
    expect_element_type,
    expect_rank,
    expect_type,
    is_float,
    is_id,
    with_dim,
)
from rlx.host import ir

__all__ = ["AttentionOp", "attention"]

# Offsets stay below this, and no window at or above it hides anything, so that 64-bit position
# arithmetic cannot wrap.
_FAR = 2**61


class AttentionOp(RlxOp, name="attention"):
    """Softmax attention of `query` over `key` and `value`.

    `query` is [B, S, num_heads * head_dim], `key` is [B, K, num_kv_heads * head_dim], `value` is
    [B, K, num_kv_heads * v_head_dim]; the result is [B, S, num_heads * v_head_dim]. Query head h
    reads key/value head h / (num_heads / num_kv_heads). Scores and softmax are computed in f32 (f64
    for f64).

    Query row i stands at position p = off + i, where off is `kv_lengths[b]` - S when `kv_lengths`
    is given, else `q_offset` when given, else K - S. It sees key j when all of these hold:

    * j < `kv_lengths[b]`, when given;
    * j <= p, when `causal`;
    * j >= p - `left_window`, unless `left_window` is -1;
    * j <= p + `right_window`, unless `right_window` is -1;
    * `mask` allows it.

    `mask` broadcasts from the right to [B, num_heads, S, K]. As i1, true means attend. As float, of
    the type of `query` or f32, it is added to the scores, and -inf hides the key.

    A score is (q . k) * `scale`, then, with a `softcap` c > 0, c * tanh(score / c), then the float
    mask is added. Keys that a row does not see contribute nothing, whatever their key and value
    rows hold: NaN and infinity included. The same is true of a key whose weight is exactly zero. A
    row that sees no key gives zeros.

    `kv_lengths` ([B], i32 or i64) outside [0, K] are an error at run time.
    """

    EXAMPLE = """
      %o = "rlx.attention"(%q, %k, %v)
        {num_heads = 4 : i64, num_kv_heads = 1 : i64, head_dim = 256 : i64, causal = true,
         left_window = 511 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
        : (tensor<1x512x1024xf32>, tensor<1x512x256xf32>, tensor<1x512x256xf32>)
        -> tensor<1x512x1024xf32>
    """

    query: Operand
    key: Operand
    value: Operand
    result: Result
    mask: OptionalOperand = None
    kv_lengths: OptionalOperand = None

    num_heads = Attr(int, "query heads, a multiple of num_kv_heads")
    num_kv_heads = Attr(int, "key and value heads", default=lambda op: op.num_heads)
    head_dim = Attr(int, "dims per query and key head")
    v_head_dim = Attr(int, "dims per value head", default=lambda op: op.head_dim)
    causal = Attr(bool, "whether a query sees no key past its own position", default=False)
    left_window = Attr(
        int, "how many keys before its own position a query sees; -1: all", default=-1
    )
    right_window = Attr(
        int, "how many keys after its own position a query sees; -1: all", default=-1
    )
    scale = Attr(float, "factor of the scores", default=lambda op: max(op.head_dim, 1) ** -0.5)
    softcap = Attr(float, "bound of the scores, through tanh; 0: none", default=0.0)
    q_offset = Attr(
        int, "position of the first query row; absent: K - S, or from kv_lengths", default=None
    )

    def verify_op(self) -> None:
        query, key, value = self.query, self.key, self.value
        self._verify_attributes()
        for name, operand, count, size, heads, dims in (
            ("query", query, self.num_heads, self.head_dim, "num_heads", "head_dim"),
            ("key", key, self.num_kv_heads, self.head_dim, "num_kv_heads", "head_dim"),
            ("value", value, self.num_kv_heads, self.v_head_dim, "num_kv_heads", "v_head_dim"),
        ):
            expect_rank(name, operand, 3)
            if operand.type.shape[2] != count * size:
                raise Invalid(
                    f"expects {name} with last dimension {heads} * {dims} = {count * size}, but "
                    f"got {operand.type}"
                )
        if not is_float(query.type.element_type):
            raise Invalid(f"expects float operands, but got {query.type}")
        expect_element_type("key", key, query.type.element_type)
        expect_element_type("value", value, query.type.element_type)
        if not compatible(query.type.shape[0], key.type.shape[0]):
            raise Invalid(
                f"expects query and key with the same batch, but got {query.type} and {key.type}"
            )
        if not compatible(query.type.shape[0], value.type.shape[0]) or not all(
            map(compatible, key.type.shape[:2], value.type.shape[:2])
        ):
            raise Invalid(
                f"expects key and value with the same batch and length, but got {key.type} and "
                f"{value.type}"
            )
        if self.mask is not None:
            self._verify_mask(self.mask)
        if self.kv_lengths is not None:
            expect_rank("kv_lengths", self.kv_lengths, 1)
            if not is_id(self.kv_lengths.type.element_type):
                raise Invalid(f"expects i32 or i64 kv_lengths, but got {self.kv_lengths.type}")
            if not compatible(self.kv_lengths.type.shape[0], query.type.shape[0]):
                raise Invalid(
                    f"expects kv_lengths with one entry per batch, but got "
                    f"{self.kv_lengths.type} for query {query.type}"
                )
        expect_type(
            self.operation.results[0].type,
            with_dim(query.type, 2, self.num_heads * self.v_head_dim),
        )

    def _verify_attributes(self) -> None:
        for name in ("num_heads", "num_kv_heads", "head_dim", "v_head_dim"):
            if getattr(self, name) < 1:
                raise Invalid(f"expects {name} >= 1, but got {getattr(self, name)}")
        if self.num_heads % self.num_kv_heads != 0:
            raise Invalid(
                f"expects num_heads to be a multiple of num_kv_heads, but got {self.num_heads} "
                f"and {self.num_kv_heads}"
            )
        for name in ("left_window", "right_window"):
            if getattr(self, name) < -1:
                raise Invalid(f"expects {name} >= -1, but got {getattr(self, name)}")
        if self.softcap < 0.0:
            raise Invalid(f"expects softcap >= 0, but got {self.softcap}")
        if self.q_offset is not None and not -_FAR < self.q_offset < _FAR:
            raise Invalid(f"expects q_offset between -2^61 and 2^61, but got {self.q_offset}")

    def _verify_mask(self, mask: ir.Value) -> None:
        element = mask.type.element_type
        wanted = {"i1", "f32", str(self.query.type.element_type)}
        if str(element) not in wanted:
            raise Invalid(
                f"expects mask with element type {' or '.join(sorted(wanted))}, but got {mask.type}"
            )
        scores = [
            self.query.type.shape[0],
            self.num_heads,
            self.query.type.shape[1],
            self.key.type.shape[1],
        ]
        fits = mask.type.rank <= 4 and all(
            size == 1 or compatible(size, full)
            for size, full in zip(reversed(mask.type.shape), reversed(scores), strict=False)
        )
        if not fits:
            shape = "x".join(str(d) if d >= 0 else "?" for d in scores)
            raise Invalid(
                f"expects mask that broadcasts to [B, H, S, K] = {shape}, but got {mask.type}"
            )

    @classmethod
    def result_type(
        cls,
        query: ir.Value,
        *_: Any,
        num_heads: int,
        head_dim: int,
        v_head_dim: int | None = None,
        **__: Any,
    ) -> ir.Type:
        return with_dim(query.type, 2, num_heads * (v_head_dim or head_dim))


def attention(
    query: ir.Value,
    key: ir.Value,
    value: ir.Value,
    mask: ir.Value | None = None,
    kv_lengths: ir.Value | None = None,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    head_dim: int,
    v_head_dim: int | None = None,
    causal: bool = False,
    left_window: int = -1,
    right_window: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    q_offset: int | None = None,
) -> ir.Value:
    """Builds `rlx.attention`; see :class:`AttentionOp`."""
    return AttentionOp.create(
        query,
        key,
        value,
        mask,
        kv_lengths,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        v_head_dim=v_head_dim,
        causal=causal,
        left_window=left_window,
        right_window=right_window,
        scale=scale,
        softcap=softcap,
        q_offset=q_offset,
    )
