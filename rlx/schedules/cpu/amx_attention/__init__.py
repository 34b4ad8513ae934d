"""`rlx.attention` in bf16 with AMX.

Like :mod:`rlx.schedules.cpu.attention`, with other blocks: all keys and values are copied to tiles
first, then blocks of 32 rows look at up to 512 keys at a time. What no row of a block sees is not
computed, in steps of 32 keys; what only some rows see is hidden from the others, in steps of 16.
Scores and sums are in f32, weights are rounded to bf16.

Where one block holds all rows of a head, keys and values are copied as they are read. For half as
many rows as that, or fewer, see `decode`.
"""

from rlx.dialects.attention import AttentionOp
from rlx.host import ir
from rlx.schedules.cpu import attention
from rlx.schedules.cpu.amx_attention.kernel import build

__all__ = ["build", "prepare", "refusal"]

prepare = attention.prepare


def refusal(op: AttentionOp) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if not isinstance(op.query.type.element_type, ir.BF16Type):
        return "the element type is not bf16"
    return attention.refusal(op)
