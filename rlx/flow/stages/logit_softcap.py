"""Bounded logits."""

from dataclasses import dataclass

from rlx.flow.context import FlowContext, FlowValue
from rlx.flow.elementwise import soft_cap

__all__ = ["LogitSoftcapStage"]


@dataclass(frozen=True)
class LogitSoftcapStage:
    """``cap * tanh(x / cap)``.

    Attributes:
        cap: the bound, above 0.
    """

    cap: float

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        value = ctx.need(value)
        if not self.cap > 0:
            raise ctx.error(f"expects cap above 0, but got {self.cap}")
        return FlowValue(soft_cap(value.value, self.cap))
