"""Attention over a cache of keys and values, and what comes with it."""

from dataclasses import dataclass

from rlx.dialects import emit
from rlx.dialects.attention import attention
from rlx.dialects.embedding import embedding
from rlx.dialects.kv_append import kv_append
from rlx.dialects.types import is_id
from rlx.flow.context import FlowContext, FlowValue
from rlx.flow.stages.self_attn_prefill import SelfAttnPrefillSpec, keep_kv, project_all
from rlx.host import arith, ir, linalg

__all__ = ["CacheLengthsStage", "SelectRowsStage", "SelfAttnCachedStage"]


@dataclass(frozen=True)
class CacheLengthsStage:
    """Says how many rows of a cache are in use. What flows passes through.

    For the ids [B, S] that flow here and the lengths [B] of the model input, it leaves how many
    keys attention may see after the new rows are appended, lengths[b] + S, for the attention stages
    that name the same input. With ``positions``, it also makes lengths[b] + i the position that
    RoPE turns row i by.

    Attributes:
        input: an i32 or i64 input [B].
        positions: whether the lengths count from the start of the sequence.
    """

    input: str = "lengths"
    positions: bool = True

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        ids = ctx.need(value)
        lengths = _lengths(ctx, self.input)
        rows = emit.dim(ids.value, 1)
        element = lengths.type.element_type
        b, s = emit.axes(2)

        def total(length: ir.Value, _: ir.Value) -> ir.Value:
            return arith.addi(length, _integer(rows, element))

        batch = emit.dim(lengths, 0)
        grown = emit.generic([lengths], emit.empty([batch], element), [[b], [b]], "p", total)
        ctx.state.named[_grown(self.input)] = FlowValue(grown)
        if self.positions:

            def position(length: ir.Value, _: ir.Value) -> ir.Value:
                return arith.addi(length, arith.index_cast(element, linalg.IndexOp(1).result))

            init = emit.empty([batch, rows], element)
            positions = emit.generic([lengths], init, [[b], [b, s]], "pp", position)
            ctx.state.positions = positions
        return ids

    def place(self) -> str:
        return self.input


@dataclass(frozen=True)
class SelfAttnCachedStage:
    """Projects hidden states [B, S, hidden], appends to the cache and attends over all of it.

    The model inputs ``{cache}.key`` and ``{cache}.value`` [B, C, num_kv_heads * head_dim] hold
    earlier rows: keys are normed and turned by RoPE. With the new rows they leave as side outputs
    of the same names. A query sees what the mask of the spec allows among the rows in use, by their
    order in the cache. A :class:`CacheLengthsStage` must come first. The result is
    [B, S, num_heads * head_dim].

    Attributes:
        spec: the attention block.
        cache: prefix of the inputs, such as ``"cache.3"``; not read where the spec shares keys and
            values with an earlier block.
        lengths: the input that says how many rows of the cache are in use.
    """

    spec: SelfAttnPrefillSpec
    cache: str
    lengths: str = "lengths"

    def place(self) -> str:
        return self.spec.q_key

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        spec = self.spec
        query, key, values = project_all(ctx, spec, value)
        lengths = _lengths(ctx, self.lengths)
        grown = ctx.state.named.get(_grown(self.lengths))
        if grown is None:
            raise ctx.error(
                f"requires the lengths of '{self.lengths}', but they are not set; "
                "emit a CacheLengthsStage first"
            )
        if spec.mask.keep or spec.mask.add:
            raise ctx.error(f"expects a mask without inputs, but got {spec.mask}")
        if not spec.shares_kv:
            key = self._append(ctx, "key", key, lengths)
            values = self._append(ctx, "value", values, lengths)
            keep_kv(ctx, spec, key, values)
        attended = attention(
            query,
            key,
            values,
            None,
            grown.value,
            num_heads=spec.num_heads,
            num_kv_heads=spec.num_kv_heads,
            head_dim=spec.head_dim,
            causal=spec.mask.is_causal,
            left_window=spec.mask.left_window,
            scale=spec.score_scale,
            softcap=spec.attn_logit_softcap or 0.0,
        )
        return FlowValue(attended)

    def _append(self, ctx: FlowContext, part: str, rows: ir.Value, lengths: ir.Value) -> ir.Value:
        name = f"{self.cache}.{part}"
        cache = ctx.input(name, "a cache")
        wanted = rows.type
        if len(cache.shape) != 3 or cache.shape[2] != wanted.shape[2]:
            raise ctx.error(
                f"expects the input '{name}' to be a tensor [B, C, {wanted.shape[2]}], "
                f"but got {cache.type}"
            )
        grown = FlowValue(kv_append(cache.value, rows, lengths))
        ctx.side_output(name, grown)
        return grown.value


@dataclass(frozen=True)
class SelectRowsStage:
    """Picks rows of hidden states [B, S, hidden], such as those whose logits are wanted.

    Attributes:
        input: an i64 input [B, R] of row numbers; the result is [B, R, hidden].
    """

    input: str = "logit_rows"

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        hidden = ctx.need(value)
        if len(hidden.shape) != 3:
            raise ctx.error(f"expects hidden states [B, S, hidden], but got {hidden.type}")
        rows = ctx.input(self.input)
        if not is_id(rows.element_type) or len(rows.shape) != 2:
            raise ctx.error(
                f"expects the input '{self.input}' to be an i32 or i64 tensor [B, R], "
                f"but got {rows.type}"
            )
        length = emit.dim(hidden.value, 1)
        b, r = emit.axes(2)

        def flat(row: ir.Value, _: ir.Value) -> ir.Value:
            sequence = arith.index_cast(rows.element_type, linalg.IndexOp(0).result)
            first = arith.muli(sequence, _integer(length, rows.element_type))
            return arith.addi(first, row)

        init = emit.empty(emit.sizes(rows.value), rows.element_type)
        ids = emit.generic([rows.value], init, [[b, r], [b, r]], "pp", flat)
        return FlowValue(embedding(emit.join_axes(hidden.value, 0), ids))

    def place(self) -> str:
        return self.input


def _lengths(ctx: FlowContext, name: str) -> ir.Value:
    lengths = ctx.input(name, "rows of the cache in use")
    if not is_id(lengths.element_type) or len(lengths.shape) != 1:
        raise ctx.error(
            f"expects the input '{name}' to be an i32 or i64 tensor [B], but got {lengths.type}"
        )
    return lengths.value


def _grown(input: str) -> str:
    return f"kv_lengths.{input}"


def _integer(size: emit.Size, type_: ir.Type) -> ir.Value:
    return arith.index_cast(type_, emit.as_index(size))
