"""RMS norm of hidden states."""

from dataclasses import dataclass

from rlx.dialects.rms_norm import rms_norm
from rlx.flow.context import FlowContext, FlowValue

__all__ = ["RmsNormStage"]


@dataclass(frozen=True)
class RmsNormStage:
    """Normalises the last axis and scales it.

    Attributes:
        weight_key: the scale [hidden].
        epsilon: added to the mean square.
        weight_offset: added to the scale; 1.0 in Gemma 1 to 3.
    """

    weight_key: str
    epsilon: float = 1e-6
    weight_offset: float = 0.0

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        x = ctx.need(value)
        weight = ctx.param(self.weight_key, x.shape[-1:], "hidden size")
        return FlowValue(
            rms_norm(x.value, weight, epsilon=self.epsilon, weight_offset=self.weight_offset)
        )

    def place(self) -> str:
        return self.weight_key
