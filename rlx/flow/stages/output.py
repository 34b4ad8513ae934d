"""Names a value as an output of the model."""

from dataclasses import dataclass

from rlx.flow.context import FlowContext, FlowValue

__all__ = ["OutputStage"]


@dataclass(frozen=True)
class OutputStage:
    """Makes the function return what flows here. It also flows on.

    Attributes:
        name: the output's name.
    """

    name: str

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        value = ctx.need(value)
        if self.name in ctx.outputs or self.name in ctx.side_outputs:
            raise ctx.error(f"there is already an output '{self.name}'")
        ctx.outputs[self.name] = value
        return value

    def place(self) -> str:
        return self.name
