"""OLMo 1 to 3, OLMoE, and EXAONE 4, which norms like OLMo 2."""

from dataclasses import replace

from rlx.flow.recipes.common import (
    FULL,
    SLIDING,
    Defaults,
    read_decoder,
    read_layer_types,
    read_ropes,
    with_windows,
)
from rlx.flow.recipes.decoder_config import DecoderConfig, MoeConfig, NormNames
from rlx.flow.recipes.hf_config import HfConfig
from rlx.flow.recipes.qwen import stacked_experts

__all__ = ["read_exaone4", "read_olmo", "read_olmo2", "read_olmo3", "read_olmoe"]

_OLMO = Defaults(50304, 4096, 11008, layers=32, heads=32, positions=2048, epsilon=1e-5)

AFTER = NormNames(
    before_attention=None,
    after_attention="post_attention_layernorm",
    before_mlp=None,
    after_mlp="post_feedforward_layernorm",
)
"""Norms of what is added to the residual only."""


def read_olmo(hf: HfConfig) -> DecoderConfig:
    """Reads an ``OlmoConfig``: layer norms without weights."""
    bias, clip = hf.get("attention_bias", bool, False), hf.get("clip_qkv", float, None)
    config = read_decoder(hf, _OLMO)
    hf.refuse("rms_norm_eps", None, "norms are layer norms")
    return replace(
        config.all_layers(qkv_bias=bias, o_bias=bias, qkv_clip=clip),
        norm="layer",
        norm_epsilon=1e-5,
        norm_weight=False,
    )


def read_olmo2(hf: HfConfig) -> DecoderConfig:
    """Reads an ``Olmo2Config``: norms of what is added to the residual and of all heads at once."""
    bias = hf.get("attention_bias", bool, False)
    return read_decoder(hf, _OLMO).all_layers(
        qkv_bias=bias, o_bias=bias, qk_norm="width", norms=AFTER
    )


def read_olmo3(hf: HfConfig) -> DecoderConfig:
    """Reads an ``Olmo3Config``: OLMo 2 with windows, and RoPE per kind of layer."""
    thetas = {FULL: hf.get("rope_theta", float, 500000.0), SLIDING: 500000.0}
    head_dim = hf.size("hidden_size", 4096) // hf.size("num_attention_heads", 32)
    head_dim = hf.size("head_dim", head_dim)
    ropes = read_ropes(hf, head_dim, hf.size("max_position_embeddings", 2048), thetas)
    own = HfConfig({**hf.fields, "rope_parameters": None, "rope_scaling": None}, hf.where)
    config = read_olmo2(own)
    hf.ignore(*own.read)
    kinds = [SLIDING if (index + 1) % 4 else FULL for index in range(len(config.layers))]
    kinds = read_layer_types(hf, kinds)
    config = with_windows(hf, config, kinds, hf.nullable("sliding_window", int, 4096))
    return replace(
        config.each_layer(lambda index, layer: replace(layer, rope=kinds[index])),
        ropes=tuple((kind, ropes[kind]) for kind in dict.fromkeys(kinds)),
    )


def read_olmoe(hf: HfConfig) -> DecoderConfig:
    """Reads an ``OlmoeConfig``: experts, and norms of all heads at once."""
    hf.rename({"num_local_experts": "num_experts"})
    bias, clip = hf.get("attention_bias", bool, False), hf.get("clip_qkv", float, None)
    defaults = Defaults(50304, 2048, 2048, layers=16, heads=16, positions=4096, epsilon=1e-5)
    config = read_decoder(hf, defaults)
    experts = hf.size("num_experts", 64)
    moe = MoeConfig(
        experts=experts,
        top_k=hf.size("num_experts_per_tok", 8),
        intermediate_size=config.layers[0].intermediate_size,
        normalize=hf.get("norm_topk_prob", bool, False),
    )
    return replace(
        config.all_layers(qkv_bias=bias, o_bias=bias, qkv_clip=clip, qk_norm="width", moe=moe),
        layout=stacked_experts(experts),
    )


def read_exaone4(hf: HfConfig) -> DecoderConfig:
    """Reads an ``Exaone4Config``: where some layers have windows, the others have no RoPE."""
    defaults = Defaults(
        102400, 4096, 16384, layers=32, heads=32, positions=2048, kv_heads=32, epsilon=1e-5
    )
    config = read_decoder(hf, defaults)
    window = hf.nullable("sliding_window", int, 4096)
    count, pattern = len(config.layers), hf.fields.get("sliding_window_pattern", 4)
    hf.ignore("sliding_window_pattern")
    kinds = [FULL] * count
    if window is not None and hf.fields.get("layer_types") is None:
        if isinstance(pattern, bool) or not isinstance(pattern, int) or pattern < 1:
            raise hf.error(
                f"expected layer_types or a number as sliding_window_pattern, got {pattern!r}"
            )
        kinds = [SLIDING if (index + 1) % pattern else FULL for index in range(count)]
    kinds = read_layer_types(hf, kinds)
    config = with_windows(hf, config.all_layers(qk_norm="head", norms=AFTER), kinds, window)
    if window is None:
        return config
    return config.each_layer(
        lambda index, layer: replace(layer, rope="" if kinds[index] == SLIDING else None)
    )
