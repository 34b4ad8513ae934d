"""Decoder-only language models: one assembly for whatever a :class:`DecoderConfig` describes.

A new architecture is a new adapter that fills such a description in; where it needs something new,
a field there and the few lines here that read it.
"""

from dataclasses import replace

from rlx.flow.mask import MaskKind
from rlx.flow.model_flow import ModelFlow, StageList
from rlx.flow.recipes.decoder_config import DecoderConfig, LayerConfig, MoeConfig
from rlx.flow.rope import rope_tables
from rlx.flow.stage import Stage
from rlx.flow.stages import (
    CacheLengthsStage,
    EmbedStage,
    Experts,
    GatedMlpStage,
    GemmaKvTapStage,
    GemmaMoeStage,
    HeadNorm,
    LayerNormStage,
    LayerScalarStage,
    LearnedPositionsStage,
    LinearStage,
    LmHeadStage,
    LogitSoftcapStage,
    MlpStage,
    MoeStage,
    PerLayerInputsStage,
    PerLayerInputStage,
    ResidualRecallStage,
    RmsNormStage,
    ScaleStage,
    SelectRowsStage,
    SelfAttnCachedStage,
    SelfAttnPrefillSpec,
    SelfAttnPrefillStage,
)

__all__ = ["cached_decoder_flow", "decoder_flow", "window_lengths"]


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
        taps: whether it also returns the keys and values of each layer that has its own.

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
        spec = _attention_spec(config, config.layers[index], own, masked=masked)
        stages: list[Stage] = [GemmaKvTapStage(spec)] if taps and not spec.shares_kv else []
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
    each layer with keys and values of its own ``cache.{i}.key`` and ``cache.{i}.value``
    [B, C, num_kv_heads * head_dim], which are updated in place. The cache of a layer with a window
    W may have forgotten all but the last W - 1 tokens.

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
    for index, layer in config.cached_layers():
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
            _attention_spec(config, layer, own), f"cache.{index}", lengths
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
        flow.stage(ScaleStage(config.embed_scale, config.embed_scale_rounded))
    if config.learned_positions:
        shape = config.max_positions, config.hidden_size
        flow.stage(LearnedPositionsStage(f"{prefix}embed_positions.weight", shape))
    if config.per_layer is not None:
        layers = tuple(f"{prefix}layers.{index}" for index in range(len(config.layers)))
        flow.stage(
            PerLayerInputsStage(
                f"{prefix}embed_tokens_per_layer.weight",
                f"{prefix}per_layer_model_projection.weight",
                f"{prefix}per_layer_projection_norm.weight",
                layers,
                config.per_layer.vocab_size,
                config.per_layer.size,
                config.norm_epsilon,
            )
        )


def _end(flow: ModelFlow, config: DecoderConfig, prefix: str, head_prefix: str) -> ModelFlow:
    """What comes after the layers."""
    flow.stage(_norm_stage(config, f"{prefix}norm"))
    head_bias = f"{head_prefix}lm_head.bias" if config.head_bias else None
    flow.stage(LmHeadStage(config.head_key(prefix, head_prefix), config.vocab_size, head_bias))
    if config.logit_scale is not None:
        flow.stage(ScaleStage(config.logit_scale, rounded=False))
    if config.final_softcap is not None:
        flow.stage(LogitSoftcapStage(config.final_softcap))
    return flow.output("logits")


def _layer(
    config: DecoderConfig, layer: LayerConfig, prefix: str, attention: list[Stage]
) -> StageList:
    """The stages of a layer around those of its attention."""
    line = StageList().residual_save()
    if layer.parallel and layer.norms.before_mlp:
        line.residual_save("mlp")
    _norm(line, config, prefix, layer.norms.before_attention)
    if layer.parallel and not layer.norms.before_mlp:
        line.residual_save("mlp")
    o_key = f"{prefix}.self_attn.o_proj"
    o_bias = f"{o_key}.bias" if layer.o_bias else None
    line.stages(attention).stage(LinearStage(f"{o_key}.weight", o_bias, config.hidden_size))
    _norm(line, config, prefix, layer.norms.after_attention)
    _add(line, layer)

    line.residual_save()
    beside = layer.moe if layer.moe is not None and layer.moe.beside else None
    if beside is not None:
        line.residual_save("moe")
    if layer.parallel:
        line.stage(ResidualRecallStage("mlp"))
    _norm(line, config, prefix, layer.norms.before_mlp)
    line.stage(_mlp(layer, f"{prefix}.mlp"))
    if beside is not None:
        _experts_beside(line, config, layer, beside, prefix)
    _norm(line, config, prefix, layer.norms.after_mlp)
    _add(line, layer)
    if config.per_layer is not None:
        gate, projection = (f"{prefix}.per_layer_{x}.weight" for x in ("input_gate", "projection"))
        line.residual_save()
        line.stage(PerLayerInputStage(prefix, gate, projection, layer.activation))
        _norm(line, config, prefix, "post_per_layer_input_norm")
        line.residual_add()
    if layer.scalar:
        line.stage(LayerScalarStage(f"{prefix}.layer_scalar"))
    return line


def _experts_beside(
    line: StageList, config: DecoderConfig, layer: LayerConfig, moe: MoeConfig, prefix: str
) -> None:
    """Adds what experts make of the residual to what the feed-forward block makes of it."""
    gate_up, down = f"{prefix}.experts.gate_up_proj", f"{prefix}.experts.down_proj"
    experts = Experts(gate_up, gate_up, down, moe.experts, moe.intermediate_size, layer.activation)
    norm = f"{prefix}.pre_feedforward_layernorm_2.weight"
    _norm(line, config, prefix, "post_feedforward_layernorm_1")
    line.residual_save("mlp").stage(ResidualRecallStage("moe"))
    line.stage(GemmaMoeStage(f"{prefix}.router", norm, experts, moe.top_k, config.norm_epsilon))
    _norm(line, config, prefix, "post_feedforward_layernorm_2")
    line.residual_add("mlp")


def _mlp(layer: LayerConfig, prefix: str) -> Stage:
    up, down = f"{prefix}.up_proj.weight", f"{prefix}.down_proj.weight"
    options = layer.activation, layer.mlp_bias, layer.intermediate_size
    if layer.moe is not None and not layer.moe.beside:
        moe, own = layer.moe, f"{prefix}.experts"
        gate, up, down = (f"{own}.{name}_proj.weight" for name in ("gate", "up", "down"))
        experts = Experts(gate, up, down, moe.experts, moe.intermediate_size, layer.activation)
        shared = f"{prefix}.shared_expert" if moe.shared_size else None
        return MoeStage(
            f"{prefix}.gate.weight", experts, moe.top_k, moe.normalize, shared, moe.shared_size
        )
    if layer.mlp == "plain":
        return MlpStage(up, down, *options)
    return GatedMlpStage(f"{prefix}.gate_proj.weight", up, down, *options)


def _norm(line: StageList, config: DecoderConfig, prefix: str, name: str | None) -> None:
    if name is not None:
        line.stage(_norm_stage(config, f"{prefix}.{name}"))


def _add(line: StageList, layer: LayerConfig) -> StageList:
    if layer.residual_scale is not None:
        line.stage(ScaleStage(layer.residual_scale, rounded=False))
    return line.residual_add()


def _norm_stage(config: DecoderConfig, key: str) -> Stage:
    """The norm of hidden states whose weight is ``{key}.weight``."""
    if config.norm == "rms":
        return RmsNormStage(f"{key}.weight", config.norm_epsilon, config.norm_offset)
    return LayerNormStage(
        f"{key}.weight" if config.norm_weight else None,
        f"{key}.bias" if config.norm_bias else None,
        config.norm_epsilon,
        config.norm_offset,
    )


def _attention_spec(
    config: DecoderConfig, layer: LayerConfig, prefix: str, *, masked: bool = False
) -> SelfAttnPrefillSpec:
    """The attention block of the layer ``prefix``."""
    spec = SelfAttnPrefillSpec.hf_layer(prefix, layer.num_heads, layer.head_dim, layer.num_kv_heads)
    mask = MaskKind.causal()
    if layer.sliding_window is not None:
        mask = mask & MaskKind.sliding_window(layer.sliding_window)
    if masked:
        mask = mask & MaskKind.custom("attention_mask")
    spec = replace(
        spec,
        mask=mask,
        n_rot=0 if layer.rope is None else dict(config.ropes)[layer.rope].dim,
        rope_table=layer.rope or None,
        pairing=layer.pairing,
        score_scale=layer.score_scale,
        attn_logit_softcap=layer.attn_softcap,
        k_eq_v=layer.k_eq_v,
        norm_last=layer.qk_norm_last,
        clip=layer.qkv_clip,
    )
    if layer.qkv_bias:
        spec = spec.with_hf_bias()
    if layer.kv_layer is not None:
        source = f"{prefix.rpartition('.')[0]}.{layer.kv_layer}.self_attn"
        k_key, v_key = f"{source}.k_proj.weight", f"{source}.v_proj.weight"
        spec = replace(spec, k_key=k_key, v_key=v_key, shares_kv=True)

    def norm(name: str) -> HeadNorm | None:
        key = f"{prefix}.self_attn.{name}_norm"
        if layer.qk_norm is None:
            return None
        layered = layer.qk_norm.startswith("layer")
        return HeadNorm(
            f"{key}.weight",
            config.norm_epsilon,
            0.0 if layered else config.norm_offset,
            kind="layer" if layered else "rms",
            whole=layer.qk_norm == "width",
            own_weights=layer.qk_norm == "layer_per_head",
            bias_key=f"{key}.bias" if layer.qk_norm == "layer" else None,
        )

    v_norm = HeadNorm(None, config.norm_epsilon) if layer.v_norm else None
    return spec.with_norms(norm("q"), norm("k"), v_norm)
