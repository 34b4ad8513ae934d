"""The plain lowering of `rlx.attention`: linalg on tensors, with all scores in memory."""

import math
from typing import TYPE_CHECKING

from rlx.dialects import emit
from rlx.dialects.types import accumulator_type
from rlx.host import arith, ir, linalg, tensor
from rlx.host import math as mlir_math

if TYPE_CHECKING:
    from rlx.dialects.attention import AttentionOp

__all__ = ["FAR", "lower_attention"]

FAR = 2**61
"""Offsets stay below this, and no window at or above twice it hides anything, so that 64-bit
position arithmetic cannot wrap."""


def lower_attention(op: "AttentionOp") -> ir.Value:
    """Emits what `rlx.attention` computes, with linalg on tensors."""
    # Axes: b batch, g kv head, r query head of the same kv head, s query, k key, d and e dims.
    # Grouped heads are an axis of the query, so that keys and values are read in place.
    batch, queries = emit.sizes(op.query)[:2]
    keys = emit.dim(op.key, 1)
    group = op.num_kv_heads
    repeat = op.num_heads // group
    key, value, lengths = op.fitting_operands()
    if lengths is not None and op.mask is None:
        # A cache may have far more rows than are in use: the others cost nothing.
        keys = _most(lengths, keys)
        shape = [batch, keys, group * op.head_dim]
        key = emit.extract_slice(key, [0, 0, 0], shape)
        shape = [batch, keys, group * op.v_head_dim]
        value = emit.extract_slice(value, [0, 0, 0], shape)
    q = emit.split_axis(op.query, 2, [op.num_heads, op.head_dim])
    q = emit.split_axis(q, 2, [group, repeat])
    k = emit.split_axis(key, 2, [group, op.head_dim])
    v = emit.split_axis(value, 2, [group, op.v_head_dim])

    scores = _scores(q, k, [batch, group, repeat, queries, keys])
    scores = _mask(op, scores, lengths, queries, keys)
    weights = _exponentials(scores)
    out = _mix(op, weights, v)
    return emit.join_axes(emit.join_axes(out, 2), 2)


def _scores(q: ir.Value, k: ir.Value, shape: list[emit.Size]) -> ir.Value:
    """Dot products of q [b, s, g, r, d] and k [b, k, g, d], as [b, g, r, s, k]."""
    wide = accumulator_type(q.type.element_type)
    b, g, r, s, k_, d = emit.axes(6)

    def body(x: ir.Value, y: ir.Value, total: ir.Value) -> ir.Value:
        return _multiply_add(emit.convert(x, wide), emit.convert(y, wide), total)

    return emit.generic(
        [q, k],
        emit.fill(shape, wide, 0.0),
        [[b, s, g, r, d], [b, k_, g, d], [b, g, r, s, k_]],
        "pppppr",
        body,
    )


def _mask(
    op: "AttentionOp",
    scores: ir.Value,
    lengths: ir.Value | None,
    queries: emit.Size,
    keys: emit.Size,
) -> ir.Value:
    """Scales, caps and masks in place; what a query does not see becomes -inf."""
    wide = scores.type.element_type
    b, g, r, s, k = emit.axes(5)
    repeat = op.num_heads // op.num_kv_heads
    inputs, maps = [], []
    if lengths is not None:
        inputs.append(lengths)
        maps.append([b])
    if (mask := op.fitting_mask()) is not None:
        # From the right: key, query, head, batch.
        loops = [b, g * repeat + r, s, k][4 - mask.type.rank :]
        zero = ir.AffineExpr.get_constant(0)
        inputs.append(mask)
        maps.append(
            [zero if n == 1 else loop for n, loop in zip(mask.type.shape, loops, strict=True)]
        )
    offset = emit.subtract(keys, queries) if op.q_offset is None else op.q_offset

    def body(*scalars: ir.Value) -> ir.Value:
        operands, score = list(scalars[:-1]), scalars[-1]
        key, row = linalg.IndexOp(4).result, linalg.IndexOp(3).result
        visible: list[ir.Value] = []
        if lengths is not None:
            length = emit.to_index(operands.pop(0))
            visible.append(_less(key, length))
            visible += _in_reach(op, key, emit.add(row, emit.subtract(length, queries)))
        else:
            visible += _in_reach(op, key, emit.add(row, offset))

        score = arith.mulf(score, emit.constant(wide, op.scale))
        if op.softcap:
            cap = emit.constant(wide, op.softcap)
            score = arith.mulf(cap, mlir_math.tanh(arith.divf(score, cap)))
        hidden = emit.constant(wide, -math.inf)
        if op.mask is not None:
            mask = operands.pop(0)
            if isinstance(mask.type, ir.IntegerType):
                visible.append(mask)
            else:
                mask = emit.convert(mask, wide)
                score = arith.addf(score, mask)
                visible.append(arith.cmpf(arith.CmpFPredicate.UNE, mask, hidden))
        for condition in visible:
            score = arith.select(condition, score, hidden)
        return score

    return emit.generic(inputs, scores, [*maps, [b, g, r, s, k]], "ppppp", body)


def _in_reach(op: "AttentionOp", key: ir.Value, position: emit.Size) -> list[ir.Value]:
    """What `causal` and the windows demand of a key, for a query at ``position``."""
    conditions = []
    if op.causal:
        conditions.append(_at_most(key, position))
    if 0 <= op.left_window < 2 * FAR:
        conditions.append(_at_most(position, emit.add(key, op.left_window)))
    if 0 <= op.right_window < 2 * FAR:
        conditions.append(_at_most(key, emit.add(position, op.right_window)))
    return conditions


def _mix(op: "AttentionOp", weights: ir.Value, v: ir.Value) -> ir.Value:
    """Averages of v [b, k, g, e] by weights [b, g, r, s, k], as [b, s, g, r, e]."""
    wide = weights.type.element_type
    element = v.type.element_type
    batch, group, repeat, queries, _ = emit.sizes(weights)
    b, g, r, s, k, e = emit.axes(6)

    def body(weight: ir.Value, x: ir.Value, total: ir.Value) -> ir.Value:
        # The value row of a key that is not seen may hold anything, NaN included.
        seen = arith.cmpf(arith.CmpFPredicate.UNE, weight, emit.constant(wide, 0.0))
        return arith.select(seen, _multiply_add(weight, emit.convert(x, wide), total), total)

    mixed = emit.generic(
        [weights, v],
        emit.fill([batch, queries, group, repeat, op.v_head_dim], wide, 0.0),
        [[b, g, r, s, k], [b, k, g, e], [b, s, g, r, e]],
        "pppprp",
        body,
    )
    totals = emit.generic(
        [weights],
        emit.fill([batch, group, repeat, queries], wide, 0.0),
        [[b, g, r, s, k], [b, g, r, s]],
        "ppppr",
        lambda weight, total: arith.addf(total, weight, fastmath=emit.reassoc()),
    )
    b, s, g, r, e = emit.axes(5)

    def divide(x: ir.Value, total: ir.Value, _: ir.Value) -> ir.Value:
        zero = emit.constant(wide, 0.0)
        empty = arith.cmpf(arith.CmpFPredicate.OEQ, total, zero)
        return emit.convert(arith.select(empty, zero, arith.divf(x, total)), element)

    return emit.generic(
        [mixed, totals],
        emit.empty(emit.sizes(mixed), element),
        [[b, s, g, r, e], [b, g, r, s], [b, s, g, r, e]],
        "ppppp",
        divide,
    )


def _exponentials(scores: ir.Value) -> ir.Value:
    """exp(score - max of the row), in place; all zeros for a row of -inf."""
    wide = scores.type.element_type
    lowest = emit.constant(wide, -math.inf)
    row, cell = emit.axes(4), emit.axes(5)
    top = emit.generic(
        [scores],
        emit.fill(emit.sizes(scores)[:4], wide, -math.inf),
        [cell, row],
        "ppppr",
        lambda score, best: arith.maximumf(score, best),
    )

    def body(best: ir.Value, score: ir.Value) -> ir.Value:
        nothing = arith.cmpf(arith.CmpFPredicate.OEQ, best, lowest)
        best = arith.select(nothing, emit.constant(wide, 0.0), best)
        return mlir_math.exp(arith.subf(score, best))

    return emit.generic([top], scores, [row, cell], "ppppp", body)


def _most(lengths: ir.Value, limit: emit.Size) -> ir.Value:
    """The largest of ``lengths``, as an index in [0, limit] whatever they hold."""
    index = ir.IndexType.get()
    most = emit.generic(
        [lengths],
        emit.fill([], index, 0),
        [emit.axes(1), []],
        "r",
        lambda length, best: arith.maxsi(best, emit.to_index(length)),
    )
    return emit.clamp(tensor.extract(most, []), 0, limit)


def _multiply_add(a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
    flags = emit.reassoc()
    return arith.addf(total, arith.mulf(a, b, fastmath=flags), fastmath=flags)


def _less(a: ir.Value, b: ir.Value) -> ir.Value:
    return arith.cmpi(arith.CmpIPredicate.slt, a, b)


def _at_most(a: emit.Size, b: emit.Size) -> ir.Value:
    return arith.cmpi(arith.CmpIPredicate.sle, emit.as_index(a), emit.as_index(b))
