"""Layer norm of hidden states."""

from dataclasses import dataclass

from rlx.dialects.layer_norm import layer_norm
from rlx.flow.context import FlowContext, FlowValue
from rlx.flow.elementwise import add, splat
from rlx.host import ir

__all__ = ["LayerNormStage"]


@dataclass(frozen=True)
class LayerNormStage:
    """Normalises the last axis to mean 0 and variance 1, scales and shifts it.

    Attributes:
        weight_key: the scale [hidden]; None for ones.
        bias_key: the shift [hidden]; None for zeros.
        epsilon: added to the variance.
        weight_offset: added to the scale, which is rounded after that; 1.0 in Nemotron.
    """

    weight_key: str | None
    bias_key: str | None
    epsilon: float = 1e-5
    weight_offset: float = 0.0

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        x = ctx.need(value)
        if not x.shape or x.shape[-1] is None:
            raise ctx.error(f"expects a last axis of static size, but got {x.type}")
        weight = self._vector(ctx, x, self.weight_key, 1.0)
        if self.weight_offset:
            weight = add(weight, splat(x.type.shape[-1], x.element_type, self.weight_offset))
        bias = self._vector(ctx, x, self.bias_key, 0.0)
        return FlowValue(layer_norm(x.value, weight, bias, epsilon=self.epsilon))

    def _vector(self, ctx: FlowContext, x: FlowValue, key: str | None, fill: float) -> ir.Value:
        if key is not None:
            return ctx.param(key, x.shape[-1:], "hidden size")
        return splat(x.type.shape[-1], x.element_type, fill)

    def place(self) -> str:
        return self.weight_key or ""
