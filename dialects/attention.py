"""`rlx.attention`: scaled dot-product attention with grouped heads, windows and masks."""

import functools
import math
from typing import Any

import numpy as np

from rlx.dialects import emit
from rlx.dialects.attention_linalg import FAR, lower_attention
from rlx.dialects.base import Attr, Invalid, Operand, OptionalOperand, Result, RlxOp
from rlx.dialects.types import (
    accumulator_type,
    compatible,
    expect_element_type,
    expect_float,
    expect_ids,
    expect_rank,
    expect_type,
    is_float,
    is_static,
    widen,
    with_dim,
)
from rlx.host import arith, ir, linalg, tensor

__all__ = ["AttentionOp", "additive_mask", "attention"]


class AttentionOp(RlxOp, name="attention"):
    """Softmax attention of `query` over `key` and `value`.

    `query` is [B, S, num_heads * head_dim], `key` is [B, K, num_kv_heads * head_dim], `value` is
    [B, K, num_kv_heads * v_head_dim]; the result is [B, S, num_heads * v_head_dim]. Query head h
    reads key/value head h / (num_heads / num_kv_heads). The last dimensions are static. Scores and
    softmax are computed in f32 (f64 for f64).

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
    num_kv_heads = Attr(
        int, "key and value heads", default=lambda op: op.num_heads, default_text="num_heads"
    )
    head_dim = Attr(int, "dims per query and key head")
    v_head_dim = Attr(
        int, "dims per value head", default=lambda op: op.head_dim, default_text="head_dim"
    )
    causal = Attr(bool, "whether a query sees no key past its own position", default=False)
    left_window = Attr(
        int, "how many keys before its own position a query sees; -1: all", default=-1
    )
    right_window = Attr(
        int, "how many keys after its own position a query sees; -1: all", default=-1
    )
    scale = Attr(
        float,
        "factor of the scores",
        default=lambda op: max(op.head_dim, 1) ** -0.5,
        default_text="head_dim^-0.5",
    )
    softcap = Attr(float, "bound of the scores, through tanh; 0: none", default=0.0)
    q_offset = Attr(
        int,
        "position of the first query row",
        default=None,
        default_text="K - S, or from `kv_lengths`",
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
        expect_float("query", query)
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
            expect_ids("kv_lengths", self.kv_lengths)
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
        if self.q_offset is not None and not -FAR < self.q_offset < FAR:
            raise Invalid(f"expects q_offset between -2^61 and 2^61, but got {self.q_offset}")

    def _verify_mask(self, mask: ir.Value) -> None:
        expect_element_type(
            "mask",
            mask,
            ir.IntegerType.get_signless(1),
            self.query.type.element_type,
            ir.F32Type.get(),
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

    @staticmethod
    def reference(
        query: np.ndarray,
        key: np.ndarray,
        value: np.ndarray,
        mask: np.ndarray | None = None,
        kv_lengths: np.ndarray | None = None,
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
    ) -> np.ndarray:
        groups = num_kv_heads or num_heads
        batch, queries, keys = len(query), query.shape[1], key.shape[1]

        def heads(x: np.ndarray, count: int) -> np.ndarray:
            """[B, N, count * dims] as [B, num_heads, N, dims], heads repeated as needed."""
            x = x.reshape(batch, x.shape[1], count, x.shape[2] // count).transpose(0, 2, 1, 3)
            return np.repeat(widen(x), num_heads // count, axis=1)

        q, k, v = heads(query, num_heads), heads(key, groups), heads(value, groups)
        with np.errstate(invalid="ignore", over="ignore"):
            scores = q @ k.swapaxes(2, 3) * (head_dim**-0.5 if scale is None else scale)
            if softcap:
                scores = softcap * np.tanh(scores / softcap)

            j = np.arange(keys)
            visible = np.ones((batch, num_heads, queries, keys), bool)
            if kv_lengths is not None:
                if len(kv_lengths) and not 0 <= kv_lengths.min() <= kv_lengths.max() <= keys:
                    raise IndexError(f"kv_lengths outside [0, {keys}]")
                lengths = kv_lengths.astype(np.int64)[:, None, None, None]
                visible &= j < lengths
                offset = lengths - queries
            else:
                offset = keys - queries if q_offset is None else q_offset
            p = offset + np.arange(queries)[:, None]
            if causal:
                visible &= j <= p
            if left_window >= 0:
                visible &= p - j <= left_window
            if right_window >= 0:
                visible &= j - p <= right_window
            if mask is not None and mask.dtype == bool:
                visible &= mask
            elif mask is not None:
                scores = scores + mask.astype(scores.dtype)
                visible &= mask != -np.inf

            scores = np.where(visible, scores, -np.inf)
            top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
            weights = np.exp(scores - np.where(top == -np.inf, 0, top))
            total = weights.sum(axis=-1, keepdims=True)

            # Key by key, so that a weight of zero silences a value row that holds NaN.
            out = np.zeros((*q.shape[:3], v.shape[3]), q.dtype)
            for n in range(keys):
                w = weights[..., n, None]
                out += np.where(w == 0, 0, w * v[:, :, None, n])
            out = np.where(total == 0, 0, out / np.where(total == 0, 1, total))
            out = out.transpose(0, 2, 1, 3)
            return out.reshape(batch, queries, num_heads * v.shape[3]).astype(query.dtype)

    def lower(self) -> ir.Value:
        return lower_attention(self)

    def fitting_operands(self) -> tuple[ir.Value, ir.Value, ir.Value | None]:
        """Key, value and kv_lengths, whose sizes and contents are made sure to fit."""
        batch, keys = emit.dim(self.query, 0), emit.dim(self.key, 1)
        group = self.num_kv_heads
        key = emit.fit(
            self.key,
            [batch, keys, group * self.head_dim],
            "rlx.attention: query and key must have the same batch",
        )
        value = emit.fit(
            self.value,
            [batch, keys, group * self.v_head_dim],
            "rlx.attention: key and value must have the same batch and length",
        )
        lengths = None
        if self.kv_lengths is not None:
            lengths = self._checked_lengths(batch, keys)
        return key, value, lengths

    def fitting_mask(self) -> ir.Value | None:
        """The mask, with every axis either of static size 1 or as large as the scores."""
        if self.mask is None:
            return None
        batch, queries = emit.sizes(self.query)[:2]
        target = [batch, self.num_heads, queries, emit.dim(self.key, 1)]
        wide = accumulator_type(self.query.type.element_type)
        return _broadcast(self.mask, target[4 - self.mask.type.rank :], wide)

    def _checked_lengths(self, batch: emit.Size, keys: emit.Size) -> ir.Value:
        lengths = emit.fit(
            self.kv_lengths, [batch], "rlx.attention: kv_lengths must have one entry per batch"
        )
        most = emit.as_index(keys)
        emit.require(
            emit.all_of(
                lengths,
                # Unsigned, so that negative lengths fail too.
                lambda n: arith.cmpi(arith.CmpIPredicate.ule, emit.to_index(n), most),
            ),
            "rlx.attention: kv_lengths must be in [0, K], where K is the length of key",
        )
        return lengths


def _broadcast(mask: ir.Value, target: list[emit.Size], wide: ir.Type) -> ir.Value:
    """``mask`` with every axis either of static size 1 or of the size in ``target``.

    What a dynamic axis is shows at run time only, so a mask that has one is copied; as ``wide`` if
    it holds floats.
    """
    known = all(
        size == 1 or (is_static(size) and size == full)
        for size, full in zip(mask.type.shape, target, strict=True)
    )
    if known:
        return mask
    shape: list[emit.Size] = []
    dims: list[ir.Value] = []
    fits: list[ir.Value] = []
    eq = arith.CmpIPredicate.eq
    for axis, full in enumerate(target):
        size = emit.as_index(emit.dim(mask, axis))
        dims.append(size)
        shape.append(1 if mask.type.shape[axis] == 1 else full)
        one = arith.cmpi(eq, size, emit.index(1))
        fits.append(arith.ori(one, arith.cmpi(eq, size, emit.as_index(full))))
    emit.require(
        functools.reduce(arith.andi, fits), "rlx.attention: mask must broadcast to [B, H, S, K]"
    )
    element = wide if is_float(mask.type.element_type) else mask.type.element_type
    read = emit.guarded(mask, element)

    def body(_: ir.Value) -> ir.Value:
        indices = []
        for axis, size in enumerate(dims):
            index = linalg.IndexOp(axis).result
            inside = arith.cmpi(arith.CmpIPredicate.slt, index, size)
            indices.append(arith.select(inside, index, emit.index(0)))
        return read(*indices)

    rank = len(shape)
    init = emit.empty(shape, element)
    return emit.generic([], init, [emit.axes(rank)], "p" * rank, body)


def additive_mask(mask: ir.Value) -> ir.Value:
    """A mask of f32 to add to scores: what an i1 mask hides is -inf, the rest 0."""
    wide = ir.F32Type.get()
    if mask.type.rank == 0:
        type_ = ir.RankedTensorType.get([1], mask.type.element_type)
        mask = tensor.expand_shape(type_, mask, [], [], [1])
    if isinstance(mask.type.element_type, ir.FloatType):
        return emit.convert_tensor(mask, wide)
    axes = emit.axes(mask.type.rank)

    def body(allowed: ir.Value, _: ir.Value) -> ir.Value:
        return arith.select(allowed, emit.constant(wide, 0.0), emit.constant(wide, -math.inf))

    out = emit.empty(emit.sizes(mask), wide)
    return emit.generic([mask], out, [axes, axes], "p" * mask.type.rank, body)


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
