"""Decoding with keys and values of earlier tokens as plain inputs and outputs.

The function takes ``past_k_{i}`` and ``past_v_{i}`` [B, P, num_kv_heads * head_dim] of each layer
and returns ``k_{i}`` and ``v_{i}`` [B, P + S, ...]. Every call copies what came before; where that
matters, :mod:`rlx.flow.stages.kv_cache` updates a cache in place.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from rlx.dialects.concat import concat
from rlx.flow.context import FlowContext, FlowValue
from rlx.flow.stage import Stage
from rlx.flow.stages.gemma_kv_tap import SideOutputs
from rlx.flow.stages.linear import LinearStage
from rlx.flow.stages.mlp import GeGluStage, SwiGluStage
from rlx.flow.stages.residual import ResidualAddStage, ResidualSaveStage
from rlx.flow.stages.rms_norm import RmsNormStage
from rlx.flow.stages.self_attn_prefill import (
    SelfAttnPrefillSpec,
    attend,
    keep_kv,
    project_all,
)
from rlx.host import ir

__all__ = [
    "BindDecodeInputsStage",
    "GemmaDecodeLayerStage",
    "LlamaDecodeLayerStage",
    "SelfAttnDecodeStage",
    "TapStage",
]


@dataclass(frozen=True)
class BindDecodeInputsStage:
    """Checks that the inputs of decoding are there. What flows passes through.

    RoPE tables may come as the inputs ``rope_cos`` and ``rope_sin`` [S, angles], which hold one row
    for each new token; where the flow declares them, they become the default tables.

    Attributes:
        num_layers: layers whose ``past_k_{i}`` and ``past_v_{i}`` are inputs.
        mask: input [B, P + S] or [B, H, S, P + S] that says which keys are there, for layers whose
            mask names it; None for none.
    """

    num_layers: int
    mask: str | None = None

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue | None:
        for layer in range(self.num_layers):
            for part in "kv":
                ctx.input(f"past_{part}_{layer}", "decoding")
        if self.mask is not None:
            ctx.input(self.mask, "a mask of one's own")
        if "rope_cos" in ctx.inputs or "rope_sin" in ctx.inputs:
            cos, sin = ctx.input("rope_cos", "RoPE"), ctx.input("rope_sin", "RoPE")
            if cos.type != sin.type or len(cos.shape) != 2:
                raise ctx.error(
                    "expects the inputs 'rope_cos' and 'rope_sin' to be of one type [S, angles], "
                    f"but got {cos.type} and {sin.type}"
                )
            ctx.state.rope["rope_cos"], ctx.state.rope["rope_sin"] = cos.value, sin.value
        return value


@dataclass(frozen=True)
class SelfAttnDecodeStage:
    """Projects new hidden states [B, S, hidden] and attends over them and what came before.

    Queries stand at the end of the keys. All masks of :class:`rlx.flow.MaskKind` apply, also
    together, and scale and softcap as ever. The result is [B, S, num_heads * head_dim]; all keys
    and values leave as the side outputs ``k_{layer}`` and ``v_{layer}``.

    Attributes:
        spec: the attention block.
        layer: number of the layer.
        past: False for the first call of a sequence, which has no past.
        sink: collects the names of the side outputs, the key's before the value's.
    """

    spec: SelfAttnPrefillSpec
    layer: int
    past: bool = True
    sink: SideOutputs | None = field(default=None, compare=False)

    def place(self) -> str:
        return self.spec.q_key

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        query, key, values = project_all(ctx, self.spec, value)
        if not self.spec.shares_kv:
            key = self._extend(ctx, "k", key)
            values = self._extend(ctx, "v", values)
        keep_kv(ctx, self.spec, key, values)
        return FlowValue(attend(ctx, self.spec, query, key, values))

    def _extend(self, ctx: FlowContext, part: str, rows: ir.Value) -> ir.Value:
        if self.past:
            name = f"past_{part}_{self.layer}"
            before = ctx.input(name, "decoding")
            if len(before.shape) != 3 or before.shape[2] != rows.type.shape[2]:
                raise ctx.error(
                    f"expects the input '{name}' to be a tensor [B, P, {rows.type.shape[2]}], "
                    f"but got {before.type}"
                )
            rows = concat([before.value, rows], axis=1)
        name = f"{part}_{self.layer}"
        if self.sink is None:
            ctx.side_output(name, FlowValue(rows))
        else:
            self.sink.push(ctx, name, FlowValue(rows))
        return rows


@dataclass(frozen=True)
class TapStage:
    """Makes what flows here a side output, such as the hidden states between two layers.

    Attributes:
        name: of the side output.
    """

    name: str

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        value = ctx.need(value)
        ctx.side_output(self.name, value)
        return value

    def place(self) -> str:
        return self.name


@dataclass(frozen=True)
class LlamaDecodeLayerStage:
    """A whole layer of Llama, from hidden states to hidden states.

    Attributes:
        prefix: of its weights, such as ``"model.layers.3"``.
        layer: number of the layer.
        attention: its attention block.
        epsilon: added to the mean square by the norms.
        past, sink: see :class:`SelfAttnDecodeStage`.
    """

    prefix: str
    layer: int
    attention: SelfAttnPrefillSpec
    epsilon: float = 1e-5
    past: bool = True
    sink: SideOutputs | None = field(default=None, compare=False)

    @classmethod
    def hf_layer(
        cls, layer: int, num_heads: int, head_dim: int, num_kv_heads: int, prefix: str = "model."
    ):
        """The layer of that number, with Hugging Face's names of weights."""
        own = f"{prefix}layers.{layer}"
        return cls(own, layer, SelfAttnPrefillSpec.hf_layer(own, num_heads, head_dim, num_kv_heads))

    def stages(self) -> list[Stage]:
        """What the layer is made of."""
        return [
            ResidualSaveStage(),
            self._norm("input_layernorm"),
            *self._attention(),
            ResidualAddStage(),
            ResidualSaveStage(),
            self._norm("post_attention_layernorm"),
            SwiGluStage.hf_layer(self.prefix),
            ResidualAddStage(),
        ]

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue | None:
        for stage in self.stages():
            value = ctx.run(stage, value)
        return value

    def place(self) -> str:
        return self.prefix

    def _norm(self, name: str, weight_offset: float = 0.0) -> Stage:
        return RmsNormStage(f"{self.prefix}.{name}.weight", self.epsilon, weight_offset)

    def _attention(self) -> list[Stage]:
        return [
            SelfAttnDecodeStage(self.attention, self.layer, self.past, self.sink),
            LinearStage(f"{self.prefix}.self_attn.o_proj.weight"),
        ]


@dataclass(frozen=True)
class GemmaDecodeLayerStage(LlamaDecodeLayerStage):
    """A whole layer of Gemma: norms add 1 to their weights, and the gate is a GELU.

    Attributes:
        style: ``"gemma"`` for the two norms of Gemma 1, ``"gemma2"`` or ``"gemma3"`` for the four
            of the later ones. Head norms, scale, softcap and window are those of ``attention``.
    """

    STYLES: ClassVar[tuple[str, ...]] = ("gemma", "gemma2", "gemma3")

    epsilon: float = 1e-6
    style: str = "gemma3"

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue | None:
        if self.style not in self.STYLES:
            raise ctx.error(f"expects a style of {', '.join(self.STYLES)}, but got {self.style!r}")
        return super().emit(ctx, value)

    def stages(self) -> list[Stage]:
        sandwich = self.style != "gemma"
        before_mlp = "pre_feedforward_layernorm" if sandwich else "post_attention_layernorm"
        return [
            ResidualSaveStage(),
            self._norm("input_layernorm", 1.0),
            *self._attention(),
            *([self._norm("post_attention_layernorm", 1.0)] if sandwich else []),
            ResidualAddStage(),
            ResidualSaveStage(),
            self._norm(before_mlp, 1.0),
            GeGluStage.hf_layer(self.prefix),
            *([self._norm("post_feedforward_layernorm", 1.0)] if sandwich else []),
            ResidualAddStage(),
        ]
