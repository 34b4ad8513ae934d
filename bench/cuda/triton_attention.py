"""Attention forward in Triton's language, as a peer: blocks of rows, online softmax, causal.

Uses tensor cores through ``tl.dot``; tries a few block sizes and keeps the fastest.
"""

from typing import Any

import triton
import triton.language as tl

__all__ = ["attention"]

_CONFIGS = [
    triton.Config({"ROWS": rows, "KEYS": keys}, num_warps=warps, num_stages=stages)
    for rows, keys, warps, stages in (
        (128, 128, 8, 2),
        (128, 64, 8, 3),
        (128, 64, 4, 3),
        (128, 32, 4, 4),
        (64, 64, 4, 3),
        (64, 32, 4, 3),
    )
]


@triton.jit
def _visit(
    acc, top, total, q, k_at, v_at, begin, end, step, last, row, keys,
    KEYS: tl.constexpr, DIMS: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Online softmax over the keys from ``begin`` to ``end``; with a mask where some are unseen."""
    column = tl.arange(0, KEYS)
    dim = tl.arange(0, DIMS)
    for start in range(begin, end, KEYS):
        at = start + column
        offset = at.to(tl.int64) * step
        if MASKED:
            k = tl.load(k_at + offset[None] + dim[:, None], at[None] < keys, other=0.0)
        else:
            k = tl.load(k_at + offset[None] + dim[:, None])
        scores = tl.dot(q, k)  # in units of log2
        if MASKED:
            scores = tl.where((at[None] <= row[:, None] + last) & (at[None] < keys), scores, -1e30)
        new_top = tl.maximum(top, tl.max(scores, 1))
        weights = tl.exp2(scores - new_top[:, None])
        shrink = tl.exp2(top - new_top)
        total = total * shrink + tl.sum(weights, 1)
        if MASKED:
            v = tl.load(v_at + offset[:, None] + dim[None], at[:, None] < keys, other=0.0)
        else:
            v = tl.load(v_at + offset[:, None] + dim[None])
        acc = tl.dot(weights.to(v.dtype), v, acc * shrink[:, None])
        top = new_top
    return acc, top, total


@triton.autotune(configs=_CONFIGS, key=["rows", "keys", "DIMS"])
@triton.jit
def _forward(
    q_at, k_at, v_at, out_at, scale, rows, keys, heads, groups,
    DIMS: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    # The blocks that see most come first.
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    batch = (tl.program_id(1) // heads).to(tl.int64)
    head = tl.program_id(1) % heads
    group = head // (heads // groups)
    row = block * ROWS + tl.arange(0, ROWS)
    dim = tl.arange(0, DIMS)
    offset = (batch * rows + row[:, None]) * (heads * DIMS) + head * DIMS + dim[None]
    q = tl.load(q_at + offset, row[:, None] < rows, other=0.0)
    q = (q * (scale * 1.4426950408889634)).to(q.dtype)
    step = groups * DIMS
    start = batch * keys * step + group * DIMS
    last = keys - rows  # how far a row sees beyond its own number
    acc = tl.zeros([ROWS, DIMS], tl.float32)
    top = tl.full([ROWS], -1e30, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    # Keys that all rows of the block see, and then the others.
    common = tl.maximum(tl.minimum(block * ROWS + last + 1, keys) // KEYS * KEYS, 0)
    acc, top, total = _visit(
        acc, top, total, q, k_at + start, v_at + start, 0, common, step, last, row, keys,
        KEYS, DIMS, False,
    )  # fmt: skip
    end = tl.minimum((block + 1) * ROWS + last, keys)
    acc, top, total = _visit(
        acc, top, total, q, k_at + start, v_at + start, common, end, step, last, row, keys,
        KEYS, DIMS, True,
    )  # fmt: skip
    tl.store(out_at + offset, (acc / total[:, None]).to(q.dtype), row[:, None] < rows)


def attention(q: Any, k: Any, v: Any, heads: int, groups: int) -> Any:
    """Causal attention of contiguous ``[B, S, heads * D]`` and ``[B, K, groups * D]`` tensors."""
    out = q.new_empty(q.shape)
    batch, rows, width = q.shape
    keys, dims = k.shape[1], width // heads

    def grid(meta: dict[str, int]) -> tuple[int, int]:
        return triton.cdiv(rows, meta["ROWS"]), batch * heads

    _forward[grid](q, k, v, out, dims**-0.5, rows, keys, heads, groups, DIMS=dims)
    return out
