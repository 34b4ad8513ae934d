"""Qwen 2 and 3, dense and with experts, and Mixtral."""

from dataclasses import replace

from rlx.flow.layout import Rename, Stack
from rlx.flow.recipes.common import (
    FULL,
    SLIDING,
    Defaults,
    read_decoder,
    read_layer_types,
    with_windows,
)
from rlx.flow.recipes.decoder_config import DecoderConfig, MoeConfig
from rlx.flow.recipes.hf_config import HfConfig

__all__ = [
    "read_mixtral",
    "read_qwen2_moe",
    "read_qwen2",
    "read_qwen3",
    "read_qwen3_moe",
    "stacked_experts",
]

_QWEN2 = Defaults(
    151936, 4096, 22016, layers=32, heads=32, positions=32768, kv_heads=32, head_dim=None
)
_QWEN3 = Defaults(
    151936, 4096, 22016, layers=32, heads=32, positions=32768, kv_heads=32, head_dim=128
)


_QWEN3_MOE = Defaults(
    151936, 2048, 6144, layers=24, heads=32, positions=32768, kv_heads=4, head_dim=None
)


_QWEN2_MOE = Defaults(
    151936, 2048, 5632, layers=24, heads=16, positions=32768, kv_heads=16, head_dim=None
)
_MIXTRAL = Defaults(
    32000, 4096, 14336, layers=32, heads=32, positions=131072, kv_heads=8, epsilon=1e-5, theta=1e6
)


def read_qwen2(hf: HfConfig) -> DecoderConfig:
    """Reads a ``Qwen2Config``: biases of queries, keys and values; windows in the last layers."""
    config = read_decoder(hf, _QWEN2).all_layers(qkv_bias=True)
    return _windows(hf, config)


def read_qwen3(hf: HfConfig) -> DecoderConfig:
    """Reads a ``Qwen3Config``: queries and keys are normed."""
    bias = hf.get("attention_bias", bool, False)
    config = read_decoder(hf, _QWEN3).all_layers(qk_norm="head", qkv_bias=bias, o_bias=bias)
    return _windows(hf, config)


def read_qwen3_moe(hf: HfConfig) -> DecoderConfig:
    """Reads a ``Qwen3MoeConfig``: experts in some layers; a window in all layers, or in none."""
    hf.rename({"num_local_experts": "num_experts"})
    config = read_decoder(hf, _QWEN3_MOE)
    bias = hf.get("attention_bias", bool, False)
    experts, step = hf.size("num_experts", 128), hf.size("decoder_sparse_step", 1)
    dense = hf.get("mlp_only_layers", list, [])
    moe = MoeConfig(
        experts=experts,
        top_k=hf.size("num_experts_per_tok", 8),
        intermediate_size=hf.size("moe_intermediate_size", 768),
        normalize=hf.get("norm_topk_prob", bool, False),
    )
    window = hf.nullable("sliding_window", int, 4096)
    # Not read by Transformers, which has a window in all layers or in none.
    hf.ignore("max_window_layers")
    if not hf.get("use_sliding_window", bool, False):
        window = None
    config = config.each_layer(
        lambda index, layer: replace(
            layer,
            qk_norm="head",
            qkv_bias=bias,
            o_bias=bias,
            moe=None if index in dense or (index + 1) % step else moe,
        )
    )
    kinds = [FULL if window is None else SLIDING] * len(config.layers)
    return replace(with_windows(hf, config, kinds, window), layout=stacked_experts(experts))


def read_qwen2_moe(hf: HfConfig) -> DecoderConfig:
    """Reads a ``Qwen2MoeConfig``: experts in some layers, and one that all tokens use."""
    config = read_decoder(hf, _QWEN2_MOE)
    bias = hf.get("qkv_bias", bool, True)
    experts, step = hf.size("num_experts", 60), hf.size("decoder_sparse_step", 1)
    dense = hf.get("mlp_only_layers", list, [])
    moe = MoeConfig(
        experts=experts,
        top_k=hf.size("num_experts_per_tok", 4),
        intermediate_size=hf.size("moe_intermediate_size", 1408),
        normalize=hf.get("norm_topk_prob", bool, False),
        shared_size=hf.size("shared_expert_intermediate_size", 5632),
    )
    window = hf.nullable("sliding_window", int, 4096)
    last = hf.get("max_window_layers", int, 28)
    if not hf.get("use_sliding_window", bool, False):
        window = None
    kinds = [
        SLIDING if window is not None and index < last and index % 2 == 0 else FULL
        for index in range(len(config.layers))
    ]
    config = config.each_layer(
        lambda index, layer: replace(
            layer, qkv_bias=bias, moe=None if index in dense or (index + 1) % step else moe
        )
    )
    config = with_windows(hf, config, read_layer_types(hf, kinds), window)
    return replace(config, layout=stacked_experts(experts))


def read_mixtral(hf: HfConfig) -> DecoderConfig:
    """Reads a ``MixtralConfig``: experts in all layers; a window in all layers, or in none."""
    hf.rename({"num_experts": "num_local_experts"})
    hf.ignore("router_jitter_noise")
    config = read_decoder(hf, _MIXTRAL)
    experts = hf.size("num_local_experts", 8)
    size = config.layers[0].intermediate_size
    moe = MoeConfig(experts, hf.size("num_experts_per_tok", 2), size)
    window = hf.get("sliding_window", int, None)
    kinds = [FULL if window is None else SLIDING] * len(config.layers)
    own, names = "model.layers.{}.block_sparse_moe", {"gate": "w1", "up": "w3", "down": "w2"}
    stacks = tuple(
        Stack(
            f"{own}.experts.[].{theirs}.weight",
            f"model.layers.{{}}.mlp.experts.{name}_proj.weight",
            experts,
        )
        for name, theirs in names.items()
    )
    return replace(
        with_windows(hf, config.all_layers(moe=moe), kinds, window),
        layout=(Rename(f"{own}.gate.weight", "model.layers.{}.mlp.gate.weight"), *stacks),
    )


def stacked_experts(count: int, module: str = "mlp") -> tuple[Stack, ...]:
    """The layout of experts that are stored one by one."""
    own = f"model.layers.{{}}.{module}.experts"
    return tuple(
        Stack(
            f"{own}.[].{name}_proj.weight",
            f"model.layers.{{}}.mlp.experts.{name}_proj.weight",
            count,
        )
        for name in ("gate", "up", "down")
    )


def _windows(hf: HfConfig, config: DecoderConfig) -> DecoderConfig:
    """With ``use_sliding_window``, the layers from ``max_window_layers`` on have a window."""
    window = hf.nullable("sliding_window", int, 4096)
    if not hf.get("use_sliding_window", bool, False):
        window = None
    first = hf.get("max_window_layers", int, 28)
    kinds = [
        SLIDING if window is not None and index >= first else FULL
        for index in range(len(config.layers))
    ]
    return with_windows(hf, config, read_layer_types(hf, kinds), window)
