"""Gemma 3, text: ``model_type`` ``gemma3_text``, and the text part of ``gemma3``."""

import math

from rlx.flow.recipes.common import FULL, SLIDING, read_layer_types, read_ropes
from rlx.flow.recipes.decoder_config import ACTIVATIONS, DecoderConfig, LayerConfig
from rlx.flow.recipes.gemma import SANDWICH
from rlx.flow.recipes.hf_config import HfConfig

__all__ = ["read_gemma3", "read_gemma3_text"]


def read_gemma3(hf: HfConfig) -> DecoderConfig:
    """Reads the ``text_config`` of a ``Gemma3Config``; images are not supported.

    Raises:
        ConfigError: a field is malformed or asks for something that is not supported.
    """
    text = hf.section("text_config")
    if text is None:
        raise hf.error("field 'text_config' is missing")
    hf.ignore(
        "vision_config",
        "mm_tokens_per_image",
        "boi_token_index",
        "eoi_token_index",
        "image_token_index",
        "boi_token_id",
        "eoi_token_id",
        "image_token_id",
        "model_type",
    )
    tied = hf.get("tie_word_embeddings", bool, True)
    hf.finish()
    text.fields["tie_word_embeddings"] = tied
    return read_gemma3_text(text)


def read_gemma3_text(hf: HfConfig) -> DecoderConfig:
    """Reads a ``Gemma3TextConfig``; absent fields have its defaults.

    ``attn_logit_softcapping`` is part of that configuration, but the attention of Gemma 3 in
    Transformers does not read it, and neither do we.

    Raises:
        ConfigError: a field is malformed or asks for something that is not supported.
    """
    hf.ignore("model_type", "attn_logit_softcapping")
    hf.refuse("use_bidirectional_attention", False, "only causal attention is")
    hidden_size = hf.size("hidden_size", 2304)
    head_dim = hf.size("head_dim", 256)
    max_positions = hf.size("max_position_embeddings", 131072)
    window = hf.size("sliding_window", 4096)
    kinds = _layer_types(hf, hf.size("num_hidden_layers", 26))
    scalar = hf.get("query_pre_attn_scalar", float, 256.0)
    if not scalar > 0:
        raise hf.error(f"expected query_pre_attn_scalar above 0, got {scalar}")
    bias = hf.get("attention_bias", bool, False)
    heads = hf.size("num_attention_heads", 8), hf.size("num_key_value_heads", 4)
    width = hf.size("intermediate_size", 9216)
    activation = hf.choice("hidden_activation", ACTIVATIONS, "gelu_pytorch_tanh")
    layers = tuple(
        LayerConfig(
            num_heads=heads[0],
            num_kv_heads=heads[1],
            head_dim=head_dim,
            intermediate_size=width,
            rope=kind,
            sliding_window=window if kind == SLIDING else None,
            score_scale=scalar**-0.5,
            qkv_bias=bias,
            o_bias=bias,
            qk_norm="head",
            activation=activation,
            norms=SANDWICH,
        )
        for kind in kinds
    )
    thetas = {
        FULL: hf.get("rope_theta", float, 1_000_000.0),
        SLIDING: hf.get("rope_local_base_freq", float, 10_000.0),
    }
    ropes = read_ropes(hf, head_dim, max_positions, thetas)
    config = DecoderConfig(
        model_type="gemma3_text",
        vocab_size=hf.size("vocab_size", 262208),
        hidden_size=hidden_size,
        layers=layers,
        ropes=tuple((kind, ropes[kind]) for kind in dict.fromkeys(kinds)),
        norm_epsilon=hf.get("rms_norm_eps", float, 1e-6),
        norm_offset=1.0,
        embed_scale=math.sqrt(hidden_size),
        final_softcap=hf.get("final_logit_softcapping", float, None),
        tied=hf.get("tie_word_embeddings", bool, True),
        max_positions=max_positions,
    )
    hf.finish()
    return config


def _layer_types(hf: HfConfig, count: int) -> list[str]:
    """``layer_types``, or the older ``sliding_window_pattern``: every n-th layer is full."""
    pattern = hf.size("sliding_window_pattern", 6)
    return read_layer_types(
        hf, [SLIDING if (index + 1) % pattern else FULL for index in range(count)]
    )
