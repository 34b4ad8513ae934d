"""`rlx-target-processor`: machine code for a lesser processor than this one."""

from dataclasses import dataclass

from rlx.host import ir
from rlx.options import option
from rlx.passes.base import Pass

__all__ = ["TargetProcessor"]


@dataclass(frozen=True)
class TargetProcessor(Pass):
    """Names the processor whose instructions LLVM may use.

    Without a name they are those of the machine that compiles. Runs on the LLVM dialect.
    """

    name = "rlx-target-processor"
    anchor = "builtin.module"

    processor: str = option("", "LLVM's name of it, such as x86-64-v3")

    def run(self, op: ir.Operation) -> None:
        if not self.processor:
            return
        name = ir.StringAttr.get(self.processor)
        # What this machine has beside would be added otherwise.
        features = ir.Attribute.parse("#llvm.target_features<[]>")
        for function in op.regions[0].blocks[0].operations:
            if function.operation.name == "llvm.func" and function.regions[0].blocks:
                function.attributes["target_cpu"] = name
                function.attributes["target_features"] = features
