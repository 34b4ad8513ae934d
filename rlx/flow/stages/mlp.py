"""Feed-forward blocks."""

from dataclasses import dataclass

from rlx.dialects.glu import glu
from rlx.flow.context import FlowContext, FlowValue
from rlx.flow.elementwise import activation
from rlx.flow.stages.linear import linear

__all__ = ["GatedMlpStage", "GeGluStage", "MlpStage", "SwiGluStage"]


@dataclass(frozen=True)
class GatedMlpStage:
    """``down(activation(gate(x)) * up(x))``.

    Attributes:
        gate_key, up_key: weights [intermediate, hidden].
        down_key: weight [hidden, intermediate].
        activation: as in `rlx.glu`.
        bias: whether biases stand beside the weights.
        intermediate_size: the expected size; None for any.
    """

    gate_key: str
    up_key: str
    down_key: str
    activation: str = "silu"
    bias: bool = False
    intermediate_size: int | None = None

    @classmethod
    def hf_layer(cls, prefix: str) -> "GatedMlpStage":
        """The block ``mlp`` of the layer ``prefix``, such as ``"model.layers.3"``."""
        gate, up, down = (f"{prefix}.mlp.{name}_proj.weight" for name in ("gate", "up", "down"))
        return cls(gate, up, down)

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        hidden = ctx.need(value)
        x, width = hidden.value, self.intermediate_size
        gate = linear(ctx, x, self.gate_key, _bias(self, self.gate_key), out_features=width)
        up = linear(ctx, x, self.up_key, _bias(self, self.up_key), out_features=width)
        product = glu(gate, up, activation=self.activation)
        down_bias = _bias(self, self.down_key)
        return FlowValue(
            linear(ctx, product, self.down_key, down_bias, out_features=hidden.shape[-1])
        )

    def place(self) -> str:
        return self.gate_key


@dataclass(frozen=True)
class SwiGluStage(GatedMlpStage):
    """:class:`GatedMlpStage` with SiLU, as in Llama."""

    activation: str = "silu"


@dataclass(frozen=True)
class GeGluStage(GatedMlpStage):
    """:class:`GatedMlpStage` with the tanh form of GELU, as in Gemma."""

    activation: str = "gelu_tanh"


@dataclass(frozen=True)
class MlpStage:
    """``down(activation(up(x)))``.

    Attributes:
        up_key: weight [intermediate, hidden].
        down_key: weight [hidden, intermediate].
        activation: as in `rlx.glu`, or ``"relu2"``.
        bias: whether biases stand beside the weights.
        intermediate_size: the expected size; None for any.
    """

    up_key: str
    down_key: str
    activation: str = "gelu"
    bias: bool = False
    intermediate_size: int | None = None

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        hidden = ctx.need(value)
        up_bias, down_bias = _bias(self, self.up_key), _bias(self, self.down_key)
        up = linear(ctx, hidden.value, self.up_key, up_bias, out_features=self.intermediate_size)
        inner = activation(up, self.activation)
        return FlowValue(
            linear(ctx, inner, self.down_key, down_bias, out_features=hidden.shape[-1])
        )

    def place(self) -> str:
        return self.up_key


def _bias(stage: GatedMlpStage | MlpStage, weight_key: str) -> str | None:
    return weight_key.removesuffix(".weight") + ".bias" if stage.bias else None
