"""Llama 2 and 3, and architectures that change little about it."""

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

__all__ = ["read_llama", "read_ministral", "read_mistral"]

_LLAMA = Defaults(32000, 4096, 11008, layers=32, heads=32, positions=2048)
_MISTRAL = Defaults(32000, 4096, 14336, layers=32, heads=32, positions=131072, kv_heads=8)


def read_llama(hf: HfConfig) -> DecoderConfig:
    """Reads a ``LlamaConfig``; absent fields have its defaults."""
    bias, mlp_bias = hf.flags("attention_bias", "mlp_bias")
    return read_decoder(hf, _LLAMA).all_layers(qkv_bias=bias, o_bias=bias, mlp_bias=mlp_bias)


def read_mistral(hf: HfConfig) -> DecoderConfig:
    """Reads a ``MistralConfig``: a window in all layers, or in none."""
    config = read_decoder(hf, _MISTRAL)
    window = hf.nullable("sliding_window", int, 4096)
    kinds = [FULL if window is None else SLIDING] * len(config.layers)
    return with_windows(hf, config, kinds, window)


def read_ministral(hf: HfConfig) -> DecoderConfig:
    """Reads a ``MinistralConfig``: Mistral with a window in some layers."""
    config = read_mistral(hf)
    window = hf.nullable("sliding_window", int, 4096)
    kinds = [FULL if window is None else SLIDING] * len(config.layers)
    return with_windows(hf, config, read_layer_types(hf, kinds), window)
