"""Which attention ops get a kernel, and in what form."""

import math

from rlx.dialects import emit
from rlx.dialects.attention import AttentionOp
from rlx.dialects.base import RlxOp
from rlx.host import arith, ir, tensor
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
        mask = _as_f32(mask)
    bare.owner.erase()
    rotated = op.key if fitting == key else after(op.key, fitting)
    result = AttentionOp.create(op.query, rotated, value, mask, lengths, **op.attrs)
    return result.owner.opview, result


def _as_f32(mask: ir.Value) -> ir.Value:
    """A mask of floats; what an i1 mask hides is -inf, the rest 0."""
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
