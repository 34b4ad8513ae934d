"""Which attention ops get a kernel, and in what form."""

import math

from rlx.dialects.attention import AttentionOp, additive_mask
from rlx.dialects.base import RlxOp
from rlx.host import ir
from rlx.schedules.cpu.attention.rotation import after, before

__all__ = ["prepare", "refusal"]

# Narrower heads leave most lanes empty; wider ones do not leave room for a tile in the cache.
_LEAST_DIM, _LARGEST_DIM = 16, 512


def refusal(op: AttentionOp) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if isinstance(op.query.type.element_type, ir.F64Type):
        return "there is no kernel for f64"
    for what, size in (("head_dim", op.head_dim), ("v_head_dim", op.v_head_dim)):
        if size > _LARGEST_DIM:
            return f"{what}, {size}, is above {_LARGEST_DIM}"
        if size < _LEAST_DIM:
            return f"{what}, {size}, is below {_LEAST_DIM}"
    if op.num_heads // op.num_kv_heads > 256:
        return "more than 256 heads share a key"
    if not math.isfinite(op.scale) or abs(op.scale) > 1e30 or op.softcap > 1e30:
        return "the scale or the bound of the scores is too large"
    return None


def prepare(op: AttentionOp) -> tuple[RlxOp, ir.Value]:
    """Checks sizes and makes attention whose mask, if it has one, is in f32; returns it twice.

    What `rlx.rope` does to the query and the key stays to be done, where it is marked.
    """
    query, key = before(op.query), before(op.key)
    bare = AttentionOp.create(query, key, op.value, op.mask, op.kv_lengths, **op.attrs)
    checked = bare.owner.opview
    fitting, value, lengths = checked.fitting_operands()
    mask = checked.fitting_mask()
    if mask is not None:
        mask = additive_mask(mask)
    bare.owner.erase()
    rotated = op.key if fitting == key else after(op.key, fitting)
    result = AttentionOp.create(op.query, rotated, value, mask, lengths, **op.attrs)
    return result.owner.opview, result
