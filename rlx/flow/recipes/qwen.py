"""Qwen 2 and 3."""

from rlx.flow.recipes.common import (
    FULL,
    SLIDING,
    Defaults,
    read_decoder,
    read_layer_types,
    with_windows,
)
from rlx.flow.recipes.decoder import DecoderConfig
from rlx.flow.recipes.hf_config import HfConfig

__all__ = ["read_qwen2", "read_qwen3"]

_QWEN2 = Defaults(
    151936, 4096, 22016, layers=32, heads=32, positions=32768, kv_heads=32, head_dim=None
)
_QWEN3 = Defaults(
    151936, 4096, 22016, layers=32, heads=32, positions=32768, kv_heads=32, head_dim=128
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
