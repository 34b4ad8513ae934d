"""Ops that get a kernel of their own."""

from collections.abc import Callable

from rlx.dialects import emit
from rlx.dialects.base import RlxOp
from rlx.host import ir
from rlx.passes.convert_rlx_to_linalg import KERNEL

__all__ = ["select"]


def select(op: RlxOp, kernel: str, prepare: Callable[[RlxOp], tuple[RlxOp, ir.Value]]) -> RlxOp:
    """Puts the form of ``op`` that a kernel takes in its place, marks it, and returns it.

    Args:
        op: an op that the kernel does not refuse.
        kernel: its name.
        prepare: makes that form, and what is equal to the result of ``op``.
    """
    with ir.InsertionPoint(op), op.location:
        made, value = prepare(op)
        made.attributes[KERNEL] = ir.StringAttr.get(kernel)
        value = emit.cast(value, op.results[0].type)
    op.results[0].replace_all_uses_with(value)
    op.operation.erase()
    return made
