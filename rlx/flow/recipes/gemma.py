"""Gemma 1 and 2; see :mod:`rlx.flow.recipes.gemma3` for Gemma 3."""

import math
from dataclasses import replace

from rlx.flow.recipes.common import (
    FULL,
    SLIDING,
    Defaults,
    read_decoder,
    read_layer_types,
    with_windows,
)
from rlx.flow.recipes.decoder_config import ACTIVATIONS, DecoderConfig, NormNames
from rlx.flow.recipes.hf_config import HfConfig

__all__ = ["SANDWICH", "read_gemma", "read_gemma2", "read_vaultgemma"]

_GEMMA = Defaults(
    256000,
    3072,
    24576,
    layers=28,
    heads=16,
    positions=8192,
    head_dim=256,
    activation="gelu_pytorch_tanh",
    tied=True,
)
_GEMMA2 = replace(_GEMMA, hidden_size=2304, intermediate_size=9216, layers=26, heads=8, kv_heads=4)

SANDWICH = NormNames(
    before_attention="input_layernorm",
    after_attention="post_attention_layernorm",
    before_mlp="pre_feedforward_layernorm",
    after_mlp="post_feedforward_layernorm",
)
"""Norms before and after attention and feed-forward block, as Gemma 2 and later have them."""


def read_gemma(hf: HfConfig) -> DecoderConfig:
    """Reads a ``GemmaConfig``: weights of norms count from 1, embeddings are scaled.

    The first releases say ``gelu`` and mean its tanh form, as Transformers does.
    """
    hf.refuse("use_bidirectional_attention", False, "only causal attention is")
    # An older field that Transformers no longer reads.
    hf.ignore("hidden_activation")
    bias = hf.get("attention_bias", bool, False)
    config = read_decoder(hf, _GEMMA, activations={**ACTIVATIONS, "gelu": "gelu_tanh"})
    return replace(
        config.all_layers(qkv_bias=bias, o_bias=bias),
        norm_offset=1.0,
        embed_scale=math.sqrt(config.hidden_size),
    )


def read_gemma2(hf: HfConfig) -> DecoderConfig:
    """Reads a ``Gemma2Config``: also windows in every other layer, softcaps, four norms a layer."""
    hf.refuse("use_bidirectional_attention", False, "only causal attention is")
    hf.ignore("hidden_act")
    bias = hf.get("attention_bias", bool, False)
    scalar = hf.get("query_pre_attn_scalar", float, 256.0)
    if not scalar > 0:
        raise hf.error(f"expected query_pre_attn_scalar above 0, got {scalar}")
    config = read_decoder(hf, _GEMMA2, activation="hidden_activation").all_layers(
        qkv_bias=bias,
        o_bias=bias,
        score_scale=scalar**-0.5,
        attn_softcap=hf.nullable("attn_logit_softcapping", float, 50.0),
        norms=SANDWICH,
    )
    kinds = [FULL if index % 2 else SLIDING for index in range(len(config.layers))]
    window = hf.nullable("sliding_window", int, 4096)
    return replace(
        with_windows(hf, config, read_layer_types(hf, kinds), window),
        norm_offset=1.0,
        embed_scale=math.sqrt(config.hidden_size),
        final_softcap=hf.nullable("final_logit_softcapping", float, 30.0),
    )


def read_vaultgemma(hf: HfConfig) -> DecoderConfig:
    """Reads a ``VaultGemmaConfig``: Gemma 2 without the norms of what is added to the residual."""
    norms = NormNames(before_mlp="pre_feedforward_layernorm")
    return read_gemma2(hf).all_layers(norms=norms)
