"""`rlx.rope` as a part of attention: queries and keys turn where attention reads them.

A rope op that feeds the query or the key of one attention op, and nothing else, is marked like the
attention op. It stays in the IR until that op becomes a kernel, which reads what the rope op reads.
"""

from typing import Any

from rlx.diagnostics import PassFailure
from rlx.dialects.attention import AttentionOp
from rlx.dialects.base import RlxOp
from rlx.dialects.rope import RopeOp
from rlx.host import ir
from rlx.schedules.cpu.attention import select
from rlx.schedules.cpu.code import Kernels
from rlx.schedules.cpu.isa import Isa

__all__ = ["build", "prepare", "refusal"]


def refusal(op: RopeOp) -> str | None:
    """Why ``op`` does not become part of an attention op; None when it does."""
    uses = list(op.results[0].uses)
    user = uses[0].owner.operation if len(uses) == 1 else None
    if user is None or user.name != AttentionOp.OPERATION_NAME or uses[0].operand_number > 1:
        return "it does not feed one attention op alone"
    attention: Any = user.opview
    if user.block != op.operation.block:
        return "attention is in another block"
    if attention.head_dim != op.head_dim:
        return f"heads of {op.head_dim} dims are not those of attention"
    return "attention takes the plain path" if select.refusal(attention) else None


def prepare(op: RopeOp) -> tuple[RlxOp, ir.Value]:
    """Checks sizes and positions and makes an op that needs no checks; returns it twice."""
    result = RopeOp.create(op.input, *op.fitting_operands(), **op.attrs)
    return result.owner.opview, result


def build(op: RopeOp, kernels: Kernels, isa: Isa) -> ir.Value:
    """Attention has taken over all that is right; what is left has come about otherwise."""
    raise PassFailure(op, "is marked for attention, but its result is used otherwise")
