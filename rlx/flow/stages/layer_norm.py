"""Layer norm of hidden states."""

from dataclasses import dataclass

from rlx.dialects.layer_norm import layer_norm
from rlx.flow.context import FlowContext, FlowValue
from rlx.host import arith, ir

__all__ = ["LayerNormStage"]


@dataclass(frozen=True)
class LayerNormStage:
    """Normalises the last axis to mean 0 and variance 1, scales and shifts it.

    Attributes:
        weight_key: the scale [hidden]; None for ones.
        bias_key: the shift [hidden]; None for zeros.
        epsilon: added to the variance.
    """

    weight_key: str | None
    bias_key: str | None
    epsilon: float = 1e-5

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        x = ctx.need(value)
        if not x.shape or x.shape[-1] is None:
            raise ctx.error(f"expects a last axis of static size, but got {x.type}")
        weight = self._vector(ctx, x, self.weight_key, 1.0)
        bias = self._vector(ctx, x, self.bias_key, 0.0)
        return FlowValue(layer_norm(x.value, weight, bias, epsilon=self.epsilon))

    def _vector(self, ctx: FlowContext, x: FlowValue, key: str | None, fill: float) -> ir.Value:
        if key is not None:
            return ctx.param(key, x.shape[-1:], "hidden size")
        type = ir.RankedTensorType.get([x.shape[-1]], x.element_type)
        splat = ir.DenseElementsAttr.get_splat(type, ir.FloatAttr.get(x.element_type, fill))
        return arith.constant(type, splat)

    def place(self) -> str:
        return self.weight_key or ""
