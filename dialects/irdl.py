"""The dialect as IRDL text, which a stock ``mlir-opt --irdl-file=`` can load."""

from rlx.dialects import op_classes
from rlx.dialects.base import Rlx
from rlx.host import ir, passmanager

__all__ = ["irdl_text"]


def irdl_text() -> str:
    """Declares every registered op: counts of operands and results, and required attributes.

    What only the verifiers know (types, sizes, ranges, optional attributes) does not travel.
    """
    op_classes()  # Registers the ops.
    with ir.Context() as context, ir.Location.unknown():
        context.enable_multithreading(False)
        module = Rlx._emit_module()
        passmanager.PassManager.parse("builtin.module(canonicalize,cse)").run(module.operation)
        return f"{module}\n"
