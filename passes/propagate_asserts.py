"""`rlx-propagate-asserts`: what a check has established holds from there on."""

from dataclasses import dataclass

from rlx.host import arith, ir
from rlx.passes.base import Pass, walk

__all__ = ["PropagateAsserts"]


@dataclass(frozen=True)
class PropagateAsserts(Pass):
    """Replaces the condition of a `cf.assert` by true in all that follows the check.

    Selections between a guarded value and a safe one fold then, and with them goes most of what
    keeps later checks from being proved.
    """

    name = "rlx-propagate-asserts"

    def run(self, op: ir.Operation) -> None:
        for check in walk(op, "cf.assert"):
            _propagate(check.operation)


def _propagate(check: ir.Operation) -> None:
    after = []
    for use in check.operands[0].uses:
        ancestor = _ancestor(use.owner.operation, check.block)
        if ancestor is not None and check.is_before_in_block(ancestor):
            after.append(use)
    if not after:
        return
    with ir.InsertionPoint(check), check.location:
        true = arith.constant(ir.IntegerType.get_signless(1), 1)
    for use in after:
        use.owner.operation.operands[use.operand_number] = true


def _ancestor(op: ir.Operation, block: ir.Block) -> ir.Operation | None:
    """``op``, or the op around it, that stands in ``block``."""
    while op.block != block:
        parent = op.parent
        if parent is None or parent.operation.name == "builtin.module":
            return None
        op = parent.operation
    return op
