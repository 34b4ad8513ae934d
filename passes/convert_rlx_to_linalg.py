"""`convert-rlx-to-linalg`: the portable path."""

from dataclasses import dataclass

from rlx.dialects import emit
from rlx.dialects.base import RlxOp
from rlx.host import ir
from rlx.passes.base import Pass, walk

__all__ = ["KERNEL", "ConvertRlxToLinalg"]

KERNEL = "rlx.kernel"
"""Attribute of an op that a target has a kernel for."""


@dataclass(frozen=True)
class ConvertRlxToLinalg(Pass):
    """Replaces every rlx op by linalg on tensors, through the op's own plain lowering.

    Correct for every attribute combination and for static and dynamic shapes; it is the portable
    path and the oracle that fast paths are compared with. Ops with the attribute `rlx.kernel` are
    left to the target that has set it.
    """

    name = "convert-rlx-to-linalg"

    def run(self, op: ir.Operation) -> None:
        for target in walk(op):
            if isinstance(target, RlxOp) and KERNEL not in target.attributes:
                with ir.InsertionPoint(target), target.location:
                    value = emit.cast(target.lower(), target.results[0].type)
                target.results[0].replace_all_uses_with(value)
                target.operation.erase()
