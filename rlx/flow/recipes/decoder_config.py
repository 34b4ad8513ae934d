"""Decoder-only language models as data.

An adapter per model type (:mod:`rlx.flow.recipes.llama` and its neighbours) turns a Hugging Face
configuration into a :class:`DecoderConfig`, and :mod:`rlx.flow.recipes.decoder` builds what that
describes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rlx.flow.layout import Rule
from rlx.flow.rope import RopeSpec

__all__ = [
    "ACTIVATIONS",
    "DecoderConfig",
    "LayerConfig",
    "MoeConfig",
    "NormNames",
    "PLAIN_ACTIVATIONS",
    "PerLayerInputs",
]

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""Hugging Face's names of activations, and ours."""

PLAIN_ACTIVATIONS = {**ACTIVATIONS, "relu2": "relu2"}
"""Those of feed-forward blocks without gates."""


@dataclass(frozen=True)
class NormNames:
    """Which norms a layer has, as names of its weights; None for none.

    Attributes:
        before_attention: of what attention reads.
        after_attention: of what the output projection gives, before the residual is added.
        before_mlp: of what the feed-forward block reads. In a parallel layer without it, the block
            reads what attention reads.
        after_mlp: of what it gives, before the residual is added.
    """

    before_attention: str | None = "input_layernorm"
    after_attention: str | None = None
    before_mlp: str | None = "post_attention_layernorm"
    after_mlp: str | None = None


@dataclass(frozen=True)
class MoeConfig:
    """A feed-forward block of experts.

    Attributes:
        experts: how many there are.
        top_k: how many of them a token uses.
        intermediate_size: width of each.
        normalize: whether the shares of a token's experts add up to 1.
        shared_size: width of one more that every token uses, times a gate; None for none.
        beside: whether they stand beside the feed-forward block, and not in its place: Gemma 4.
    """

    experts: int
    top_k: int
    intermediate_size: int
    normalize: bool = True
    shared_size: int | None = None
    beside: bool = False


@dataclass(frozen=True)
class PerLayerInputs:
    """Inputs that each layer has of its own, made of the token ids: Gemma 4.

    Attributes:
        vocab_size: rows of their table.
        size: width of each.
    """

    vocab_size: int
    size: int


@dataclass(frozen=True)
class LayerConfig:
    """One layer.

    Attributes:
        num_heads: query heads.
        num_kv_heads: key and value heads.
        head_dim: dims per head.
        intermediate_size: width of the feed-forward block.
        rope: which of :attr:`DecoderConfig.ropes` turns queries and keys; "" for the only one, None
            for a layer without RoPE.
        pairing: which dims RoPE pairs, as in `rlx.rope`.
        sliding_window: how many keys a query sees, itself included; None for all.
        score_scale: factor of the attention scores; None for ``head_dim ** -0.5``.
        attn_softcap: bound of the attention scores; None for none.
        qkv_bias, o_bias, mlp_bias: whether those projections have biases.
        qk_norm: how queries and keys are normed: ``"head"`` is an RMS norm of each head with one
            weight [head_dim], ``"width"`` one of all heads at once with a weight of the whole
            width, ``"layer"`` a layer norm of each head with weight and bias [head_dim],
            ``"layer_per_head"`` one without bias and with weights of each head's own; None for
            none.
        qk_norm_last: whether that is after RoPE, not before it.
        qkv_clip: bound of the magnitude of queries, keys and values, before RoPE; None for none.
        v_norm: whether values are normed per head, without a weight.
        k_eq_v: whether values are the key projection, before its norm and RoPE.
        kv_layer: index of the layer whose keys and values this one reads; None for its own.
        mlp: the feed-forward block: ``"gated"`` is ``down(activation(gate(x)) * up(x))``,
            ``"plain"`` is ``down(activation(up(x)))``.
        moe: the experts that the feed-forward block is made of; None for none.
        activation: of the feed-forward block, as in `rlx.glu`; or ``"relu2"``, if it is plain.
        norms: the norms around attention and feed-forward block.
        parallel: whether the feed-forward block reads what the layer reads, not what attention
            leaves; both are added to the residual.
        residual_scale: factor of what attention and feed-forward block add; None for none.
        scalar: whether the result is multiplied with a weight of one element.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    rope: str | None = ""
    pairing: str = "half"
    sliding_window: int | None = None
    score_scale: float | None = None
    attn_softcap: float | None = None
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: str | None = None
    qk_norm_last: bool = False
    qkv_clip: float | None = None
    v_norm: bool = False
    k_eq_v: bool = False
    kv_layer: int | None = None
    mlp: str = "gated"
    moe: MoeConfig | None = None
    activation: str = "silu"
    norms: NormNames = NormNames()
    parallel: bool = False
    residual_scale: float | None = None
    scalar: bool = False


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder-only language model.

    Attributes:
        model_type: Hugging Face's name of the architecture.
        vocab_size: tokens.
        hidden_size: width of the hidden states.
        layers: the layers, in order.
        ropes: name and parameterisation of each RoPE table; the name "" is the default table.
        norm: kind of the norms of hidden states, ``"rms"`` or ``"layer"``.
        norm_epsilon: added to the mean square or the variance by every norm.
        norm_offset: added to the weight by every norm.
        norm_weight, norm_bias: whether layer norms have those.
        embed_scale: factor of the embeddings; None for none.
        embed_scale_rounded: whether that factor is rounded to the element type first.
        learned_positions: whether a row of a table is added to each embedding, by position.
        per_layer: inputs that each layer has of its own; None for none.
        final_softcap: bound of the logits; None for none.
        logit_scale: factor of the logits; None for none.
        tied: whether the head shares the embedding table.
        head_bias: whether the head has a bias.
        max_positions: longest sequence that the RoPE tables are made for.
        layout: how checkpoints name and pack the weights, where that is not as in Llama.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    layers: tuple[LayerConfig, ...]
    ropes: tuple[tuple[str, RopeSpec], ...]
    norm_epsilon: float
    norm: str = "rms"
    norm_offset: float = 0.0
    norm_weight: bool = True
    norm_bias: bool = False
    embed_scale: float | None = None
    embed_scale_rounded: bool = True
    learned_positions: bool = False
    per_layer: PerLayerInputs | None = None
    final_softcap: float | None = None
    logit_scale: float | None = None
    tied: bool = False
    head_bias: bool = False
    max_positions: int = 2048
    layout: tuple[Rule, ...] = ()

    def each_layer(self, change: Callable[[int, LayerConfig], LayerConfig]) -> "DecoderConfig":
        """This model with ``change(index, layer)`` for each of its layers."""
        layers = tuple(change(index, layer) for index, layer in enumerate(self.layers))
        return replace(self, layers=layers)

    def all_layers(self, **changes: Any) -> "DecoderConfig":
        """This model with the fields changed in all its layers."""
        return self.each_layer(lambda _, layer: replace(layer, **changes))

    def cached_layers(self) -> list[tuple[int, LayerConfig]]:
        """Index and description of the layers with keys and values of their own."""
        return [(i, layer) for i, layer in enumerate(self.layers) if layer.kv_layer is None]

    def head_key(self, prefix: str, head_prefix: str = "") -> str:
        """The weight of the language model head."""
        return f"{prefix}embed_tokens.weight" if self.tied else f"{head_prefix}lm_head.weight"
