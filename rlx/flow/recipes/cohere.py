"""Cohere: Command R, Command R+ and Command R7B."""

from dataclasses import replace

from rlx.flow.layout import Rename
from rlx.flow.recipes.common import (
    FULL,
    SLIDING,
    Defaults,
    read_decoder,
    read_layer_types,
    with_windows,
)
from rlx.flow.recipes.decoder_config import DecoderConfig, NormNames
from rlx.flow.recipes.hf_config import HfConfig

__all__ = ["read_cohere", "read_cohere2"]

_COHERE = Defaults(
    256000,
    8192,
    22528,
    layers=40,
    heads=64,
    positions=8192,
    epsilon=1e-5,
    tied=True,
    theta=500000.0,
)


def read_cohere(hf: HfConfig) -> DecoderConfig:
    """Reads a ``CohereConfig``: parallel layers, layer norms without biases, scaled logits."""
    return _read(hf, _COHERE, hf.get("use_qk_norm", bool, False))


def read_cohere2(hf: HfConfig) -> DecoderConfig:
    """Reads a ``Cohere2Config``: also windows, and no RoPE in layers without one."""
    config = _read(hf, replace(_COHERE, theta=10000.0), False)
    window, pattern = hf.nullable("sliding_window", int, 4096), hf.size("sliding_window_pattern", 4)
    kinds = [SLIDING if (index + 1) % pattern else FULL for index in range(len(config.layers))]
    kinds = read_layer_types(hf, kinds)
    return with_windows(hf, config, kinds, window).each_layer(
        lambda index, layer: replace(layer, rope="" if kinds[index] == SLIDING else None)
    )


def _read(hf: HfConfig, defaults: Defaults, qk_norm: bool) -> DecoderConfig:
    bias = hf.get("attention_bias", bool, False)
    # The numbers of both are those of the plain forms.
    hf.refuse("use_parallel_block", True, "layers are parallel")
    hf.refuse("use_parallel_embedding", False, "there is one embedding table")
    hf.refuse("use_gated_activation", True, "feed-forward blocks are gated")
    config = read_decoder(hf, defaults, epsilon="layer_norm_eps")
    names = [f"model.layers.{{}}.self_attn.{name}_norm.weight" for name in "qk"]
    return replace(
        config.all_layers(
            pairing="interleaved",
            qkv_bias=bias,
            o_bias=bias,
            parallel=True,
            norms=NormNames(before_mlp=None),
            qk_norm="layer_per_head" if qk_norm else None,
        ),
        norm="layer",
        logit_scale=hf.get("logit_scale", float, 0.0625),
        layout=tuple(Rename(name, name, flat=True) for name in names) if qk_norm else (),
    )
