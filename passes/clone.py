"""Copies of ops with other operands."""

from rlx.host import ir
from rlx.passes.base import walk

__all__ = ["all_ops", "clone"]


def all_ops(op: ir.Operation) -> list[ir.Operation]:
    """``op`` and everything inside it, innermost first."""
    return [inner.operation for inner in walk(op)]


def clone(op: ir.Operation, mapping: dict[ir.Value, ir.Value]) -> ir.Operation:
    """A copy of ``op`` at the insertion point, which uses what ``mapping`` says instead.

    The results of ``op`` are added to ``mapping``.
    """
    copy = op.clone().operation
    for user in all_ops(copy):
        for at, value in enumerate(user.operands):
            if value in mapping:
                user.operands[at] = mapping[value]
    for before, after in zip(op.results, copy.results, strict=True):
        mapping[before] = after
    return copy
