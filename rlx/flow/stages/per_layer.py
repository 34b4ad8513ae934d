"""Inputs that each layer has of its own, made of the token ids, and scalars of layers."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlx.dialects.embedding import embedding
from rlx.dialects.glu import glu
from rlx.dialects.narrow import narrow
from rlx.dialects.rms_norm import rms_norm
from rlx.flow.context import FlowContext, FlowValue
from rlx.flow.elementwise import add, multiply_scalar, scale
from rlx.flow.stages.linear import linear

__all__ = ["LayerScalarStage", "PerLayerInputStage", "PerLayerInputsStage"]


@dataclass(frozen=True)
class PerLayerInputsStage:
    """Makes an input [B, S, size] for each layer, as Gemma 4 does. What flows passes through.

    It is the sum of a row of a table of its own and of a projection of the embeddings [B, S,
    hidden] that flow here, normed.

    Attributes:
        table_key: table [vocabulary, layers * size].
        projection_key: weight [layers * size, hidden].
        norm_key: weight [size].
        layers: names of the layers, for :class:`PerLayerInputStage`.
        vocab_size: rows of the table.
        size: width of an input.
        epsilon: of the norm.
        ids: model input with the token ids.
    """

    table_key: str
    projection_key: str
    norm_key: str
    layers: Sequence[str]
    vocab_size: int
    size: int
    epsilon: float
    ids: str = "input_ids"

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        hidden = ctx.need(value)
        width = len(self.layers) * self.size
        table = ctx.param(self.table_key, [self.vocab_size, width], "layers * size")
        rows = scale(embedding(table, ctx.input(self.ids).value), self.size**0.5)
        projected = linear(ctx, hidden.value, self.projection_key, out_features=width)
        projected = scale(projected, hidden.value.type.shape[-1] ** -0.5, rounded=False)
        weight = ctx.param(self.norm_key, [self.size])
        normed = rms_norm(projected, weight, epsilon=self.epsilon, group=self.size)
        inputs = scale(add(normed, rows), 2**-0.5, rounded=False)
        for index, name in enumerate(self.layers):
            own = narrow(
                inputs, axis=inputs.type.rank - 1, start=index * self.size, length=self.size
            )
            ctx.state.named[_name(name)] = FlowValue(own)
        return hidden

    def place(self) -> str:
        return self.table_key


@dataclass(frozen=True)
class PerLayerInputStage:
    """``projection(activation(gate(x)) * own)`` with the layer's own input.

    Attributes:
        layer: name of the layer, as in :class:`PerLayerInputsStage`.
        gate_key: weight [size, hidden].
        projection_key: weight [hidden, size].
        activation: as in `rlx.glu`.
    """

    layer: str
    gate_key: str
    projection_key: str
    activation: str

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        hidden = ctx.need(value)
        own = ctx.state.named.get(_name(self.layer))
        if own is None:
            raise ctx.error(
                f"requires an input of '{self.layer}': emit a PerLayerInputsStage first"
            )
        gate = linear(ctx, hidden.value, self.gate_key, out_features=own.shape[-1])
        product = glu(gate, own.value, activation=self.activation)
        width = hidden.shape[-1]
        return FlowValue(linear(ctx, product, self.projection_key, out_features=width))

    def place(self) -> str:
        return self.gate_key


@dataclass(frozen=True)
class LayerScalarStage:
    """Multiplies with a weight of one element.

    Attributes:
        key: the weight [1].
    """

    key: str

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        return FlowValue(multiply_scalar(ctx.need(value).value, ctx.param(self.key, [1])))

    def place(self) -> str:
        return self.key


def _name(layer: str) -> str:
    return f"per_layer_input.{layer}"
