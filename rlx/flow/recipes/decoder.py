"""Decoder-only language models: a description as data, and one assembly that reads it.

An adapter per model type (:mod:`rlx.flow.recipes.llama` and its neighbours) turns a Hugging Face
configuration into a :class:`DecoderConfig`. A new architecture is a new adapter; where it needs
something new, a field here and the few lines in :func:`decoder_flow` that read it.
"""

from dataclasses import dataclass

from rlx.flow.mask import MaskKind
from rlx.flow.model_flow import ModelFlow, StageList
from rlx.flow.rope import RopeSpec, rope_tables
from rlx.flow.stage import Stage
from rlx.flow.stages import (
    CacheLengthsStage,
    EmbedStage,
    GatedMlpStage,
    GemmaKvTapStage,
    HeadNorm,
    LinearStage,
    LmHeadStage,
    LogitSoftcapStage,
    RmsNormStage,
    ScaleStage,
    SelectRowsStage,
    SelfAttnCachedStage,
    SelfAttnPrefillSpec,
    SelfAttnPrefillStage,
)

__all__ = [
    "ACTIVATIONS",
    "DecoderConfig",
    "LayerConfig",
    "NormNames",
    "cached_decoder_flow",
    "decoder_flow",
    "window_lengths",
]

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""Hugging Face's names of activations, and ours."""


@dataclass(frozen=True)
class NormNames:
    """Which norms a layer has, as names of its weights; None for none.

    Attributes:
        before_attention: of what attention reads.
        after_attention: of what the output projection gives, before the residual is added.
        before_mlp: of what the feed-forward block reads.
        after_mlp: of what it gives, before the residual is added.
    """

    before_attention: str | None = "input_layernorm"
    after_attention: str | None = None
    before_mlp: str | None = "post_attention_layernorm"
    after_mlp: str | None = None


@dataclass(frozen=True)
class LayerConfig:
    """One layer.

    Attributes:
        num_heads: query heads.
        num_kv_heads: key and value heads.
        head_dim: dims per head.
        intermediate_size: width of the feed-forward block.
        rope: which of :attr:`DecoderConfig.ropes` turns queries and keys; "" for the only one.
        sliding_window: how many keys a query sees, itself included; None for all.
        score_scale: factor of the attention scores; None for ``head_dim ** -0.5``.
        attn_softcap: bound of the attention scores; None for none.
        qkv_bias, o_bias, mlp_bias: whether those projections have biases.
        qk_norm: whether queries and keys are normed per head.
        activation: of the feed-forward block, as in `rlx.glu`.
        norms: the norms around attention and feed-forward block.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    rope: str = ""
    sliding_window: int | None = None
    score_scale: float | None = None
    attn_softcap: float | None = None
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    activation: str = "silu"
    norms: NormNames = NormNames()


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder-only language model.

    Attributes:
        model_type: Hugging Face's name of the architecture.
        vocab_size: tokens.
        hidden_size: width of the hidden states.
        layers: the layers, in order.
        ropes: name and parameterisation of each RoPE table; the name "" is the default table.
        norm_epsilon: added to the mean square by every norm.
        norm_offset: added to the weight by every norm.
        embed_scale: factor of the embeddings, rounded to the element type; None for none.
        final_softcap: bound of the logits; None for none.
        tied: whether the head shares the embedding table.
        max_positions: longest sequence that the RoPE tables are made for.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    layers: tuple[LayerConfig, ...]
    ropes: tuple[tuple[str, RopeSpec], ...]
    norm_epsilon: float
    norm_offset: float = 0.0
    embed_scale: float | None = None
    final_softcap: float | None = None
    tied: bool = False
    max_positions: int = 2048

    def head_key(self, prefix: str, head_prefix: str = "") -> str:
        """The weight of the language model head."""
        return f"{prefix}embed_tokens.weight" if self.tied else f"{head_prefix}lm_head.weight"


def decoder_flow(
    config: DecoderConfig,
    *,
    prefix: str = "model.",
    head_prefix: str = "",
    max_positions: int | None = None,
    masked: bool = False,
    taps: bool = False,
) -> ModelFlow:
    """The flow that turns token ids into logits.

    See :func:`cached_decoder_flow` for the one that decodes with a cache.

    Args:
        config: the model.
        prefix: what the names of its weights start with.
        head_prefix: what the name of the head's weight starts with.
        max_positions: rows of the RoPE tables; ``config.max_positions`` by default.
        masked: whether the model has the inputs ``attention_mask`` (i64 [B, S], zero hides a
            token) and ``position_ids`` (i64 [B, S]) beside ``input_ids`` (i64 [B, S]).
        taps: whether it also returns the keys and values of each layer.

    Returns:
        A flow with the output ``logits`` [B, S, vocab_size], and with ``taps`` the side outputs
        ``present.{i}.key`` and ``present.{i}.value`` [B, S, num_kv_heads * head_dim].
    """
    flow = ModelFlow(config.model_type).input("input_ids", ["B", "S"], "i64")
    if masked:
        flow.input("attention_mask", ["B", "S"], "i64").input("position_ids", ["B", "S"], "i64")
        flow.positions()
    _begin(flow, config, prefix, max_positions)

    def layer(index: int) -> StageList:
        own = f"{prefix}layers.{index}"
        spec = attention_spec(config, config.layers[index], own, masked=masked)
        stages: list[Stage] = [GemmaKvTapStage(spec)] if taps else []
        return _layer(config, config.layers[index], own, [*stages, SelfAttnPrefillStage(spec)])

    flow.repeat_layers(len(config.layers), layer)
    return _end(flow, config, prefix, head_prefix)


def cached_decoder_flow(
    config: DecoderConfig,
    *,
    prefix: str = "model.",
    head_prefix: str = "",
    max_positions: int | None = None,
    cache_dtype: str = "f32",
) -> ModelFlow:
    """The flow that turns new token ids and a cache into logits: of a prompt, or parts of it.

    Its inputs are ``input_ids`` (i64 [B, S]), ``logit_rows`` (i64 [B, R]: the rows of each sequence
    whose logits are wanted), ``lengths`` (i64 [B]: how many tokens of each sequence came before),
    for each window W ``lengths.W`` (i64 [B]: how many rows the caches of such layers hold), and for
    each layer ``cache.{i}.key`` and ``cache.{i}.value`` [B, C, num_kv_heads * head_dim], which are
    updated in place. The cache of a layer with a window W may have forgotten all but the last
    W - 1 tokens.

    Args:
        config, prefix, head_prefix, max_positions: see :func:`decoder_flow`.
        cache_dtype: element type of keys and values, which is that of the weights.

    Returns:
        A flow with the output ``logits`` [B, R, vocab_size], and the caches as side outputs.
    """
    flow = ModelFlow(config.model_type).input("input_ids", ["B", "S"], "i64")
    flow.input("logit_rows", ["B", "R"], "i64").input("lengths", ["B"], "i64")
    windows = sorted({layer.sliding_window for layer in config.layers if layer.sliding_window})
    for window in windows:
        flow.input(window_lengths(window), ["B"], "i64")
    for index, layer in enumerate(config.layers):
        width = layer.num_kv_heads * layer.head_dim
        for part in ("key", "value"):
            name = f"cache.{index}.{part}"
            flow.input(name, ["B", f"C{index}", width], cache_dtype, donated=True)
    flow.stage(CacheLengthsStage("lengths"))
    for window in windows:
        flow.stage(CacheLengthsStage(window_lengths(window), positions=False))
    _begin(flow, config, prefix, max_positions)

    def stages(index: int) -> StageList:
        layer, own = config.layers[index], f"{prefix}layers.{index}"
        lengths = window_lengths(layer.sliding_window) if layer.sliding_window else "lengths"
        attention = SelfAttnCachedStage(
            attention_spec(config, layer, own), f"cache.{index}", lengths
        )
        return _layer(config, layer, own, [attention])

    flow.repeat_layers(len(config.layers), stages)
    flow.stage(SelectRowsStage("logit_rows"))
    return _end(flow, config, prefix, head_prefix)


def window_lengths(window: int) -> str:
    """The input of :func:`cached_decoder_flow` for layers with that window."""
    return f"lengths.{window}"


def _begin(flow: ModelFlow, config: DecoderConfig, prefix: str, max_positions: int | None) -> None:
    """What comes before the layers."""
    for name, spec in config.ropes:
        flow.rope_tables(*rope_tables(spec, max_positions or config.max_positions), name or None)
    flow.stage(EmbedStage(f"{prefix}embed_tokens.weight", (config.vocab_size, config.hidden_size)))
    if config.embed_scale is not None:
        flow.stage(ScaleStage(config.embed_scale))


def _end(flow: ModelFlow, config: DecoderConfig, prefix: str, head_prefix: str) -> ModelFlow:
    """What comes after the layers."""
    flow.rms_norm(f"{prefix}norm.weight", config.norm_epsilon, config.norm_offset)
    flow.stage(LmHeadStage(config.head_key(prefix, head_prefix), config.vocab_size))
    if config.final_softcap is not None:
        flow.stage(LogitSoftcapStage(config.final_softcap))
    return flow.output("logits")


def _layer(
    config: DecoderConfig, layer: LayerConfig, prefix: str, attention: list[Stage]
) -> StageList:
    """The stages of a layer around those of its attention."""
    o_key = f"{prefix}.self_attn.o_proj"
    mlp = [f"{prefix}.mlp.{name}_proj.weight" for name in ("gate", "up", "down")]
    line = StageList()

    def norm(name: str | None) -> None:
        if name is not None:
            key = f"{prefix}.{name}.weight"
            line.stage(RmsNormStage(key, config.norm_epsilon, config.norm_offset))

    line.residual_save()
    norm(layer.norms.before_attention)
    line.stages(attention)
    line.stage(
        LinearStage(
            f"{o_key}.weight", f"{o_key}.bias" if layer.o_bias else None, config.hidden_size
        )
    )
    norm(layer.norms.after_attention)
    line.residual_add()

    line.residual_save()
    norm(layer.norms.before_mlp)
    line.stage(
        GatedMlpStage(
            mlp[0], mlp[1], mlp[2], layer.activation, layer.mlp_bias, layer.intermediate_size
        )
    )
    norm(layer.norms.after_mlp)
    return line.residual_add()


def attention_spec(
    config: DecoderConfig, layer: LayerConfig, prefix: str, *, masked: bool = False
) -> SelfAttnPrefillSpec:
    """The attention block of the layer ``prefix``."""
    spec = SelfAttnPrefillSpec.hf_layer(prefix, layer.num_heads, layer.head_dim, layer.num_kv_heads)
    mask = MaskKind.causal()
    if layer.sliding_window is not None:
        mask = mask & MaskKind.sliding_window(layer.sliding_window)
    if masked:
        mask = mask & MaskKind.custom("attention_mask")
    spec = (
        spec.with_mask(mask)
        .with_rope_table(layer.rope or None)
        .with_n_rot(dict(config.ropes)[layer.rope].dim)
        .with_score_scale(layer.score_scale)
        .with_attn_logit_softcap(layer.attn_softcap)
    )
    if layer.qkv_bias:
        spec = spec.with_hf_bias()
    if layer.qk_norm:
        q, k = (
            HeadNorm(f"{prefix}.self_attn.{x}_norm.weight", config.norm_epsilon, config.norm_offset)
            for x in "qk"
        )
        spec = spec.with_norms(q, k)
    return spec
