"""Gemma 4, text: ``model_type`` ``gemma4_text``, and the text part of ``gemma4``."""

import math
from dataclasses import replace

from rlx.flow.recipes.common import FULL, SLIDING, read_layer_types
from rlx.flow.recipes.decoder_config import (
    ACTIVATIONS,
    DecoderConfig,
    LayerConfig,
    MoeConfig,
    PerLayerInputs,
)
from rlx.flow.recipes.gemma import SANDWICH
from rlx.flow.recipes.hf_config import HfConfig
from rlx.flow.rope import RopeSpec

__all__ = ["read_gemma4", "read_gemma4_text"]

_IMAGES_AND_SOUND = (
    "audio_config",
    "audio_token_id",
    "boa_token_id",
    "boi_token_id",
    "eoa_token_id",
    "eoa_token_index",
    "eoi_token_id",
    "image_token_id",
    "video_token_id",
    "vision_config",
    "vision_soft_tokens_per_image",
)

_ROPES = {
    FULL: {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0},
    SLIDING: {"rope_type": "default", "rope_theta": 10_000.0},
}


def read_gemma4(hf: HfConfig) -> DecoderConfig:
    """Reads the ``text_config`` of a ``Gemma4Config``; images and sound are not supported."""
    text = hf.section("text_config")
    if text is None:
        raise hf.error("field 'text_config' is missing")
    hf.ignore("model_type", *_IMAGES_AND_SOUND)
    text.fields["tie_word_embeddings"] = hf.get("tie_word_embeddings", bool, True)
    config = read_gemma4_text(text)
    text.finish()
    return config


def read_gemma4_text(hf: HfConfig) -> DecoderConfig:
    """Reads a ``Gemma4TextConfig``; absent fields have its defaults."""
    hf.ignore("model_type")
    if hf.get("use_bidirectional_attention", str, None) not in (None, "vision"):
        raise hf.error("'use_bidirectional_attention': only causal attention is supported")
    count = hf.size("num_hidden_layers", 30)
    pattern = [SLIDING if (index + 1) % 6 else FULL for index in range(count)]
    # As Transformers has it, the last layer sees everything, whatever the configuration says.
    kinds = [*read_layer_types(hf, pattern)[:-1], FULL]
    layers = _shared(hf, kinds, _attention(hf, kinds))
    ropes = _ropes(hf, kinds, layers)
    layers = [
        replace(layer, rope=kind, pairing=ropes[kind][0])
        if kind in ropes
        else replace(layer, rope=None)
        for layer, kind in zip(layers, kinds, strict=True)
    ]
    hidden_size, vocab_size = hf.size("hidden_size", 2304), hf.size("vocab_size", 262144)
    per_layer = hf.get("hidden_size_per_layer_input", int, 256)
    per_layer_vocab = hf.size("vocab_size_per_layer_input", 262144)
    if per_layer and per_layer_vocab < vocab_size:
        raise hf.error(
            f"expected vocab_size_per_layer_input of at least vocab_size {vocab_size}, got "
            f"{per_layer_vocab}"
        )
    return DecoderConfig(
        model_type="gemma4_text",
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        layers=tuple(layers),
        ropes=tuple((kind, spec) for kind, (_, spec) in ropes.items()),
        norm_epsilon=hf.get("rms_norm_eps", float, 1e-6),
        embed_scale=math.sqrt(hidden_size),
        per_layer=PerLayerInputs(per_layer_vocab, per_layer) if per_layer else None,
        final_softcap=hf.get("final_logit_softcapping", float, None),
        tied=hf.get("tie_word_embeddings", bool, True),
        max_positions=hf.size("max_position_embeddings", 131072),
    )


def _attention(hf: HfConfig, kinds: list[str]) -> list[LayerConfig]:
    """The layers, without what they share. Those that see everything have heads of their own."""
    k_eq_v, bias, moe = hf.flags("attention_k_eq_v", "attention_bias", "enable_moe_block")
    window = hf.size("sliding_window", 512)
    experts = [hf.get(name, int, None) for name in _MOE_FIELDS]
    if moe and None in experts:
        raise hf.error(f"field '{_MOE_FIELDS[experts.index(None)]}' is missing")
    base = LayerConfig(
        num_heads=hf.size("num_attention_heads", 8),
        num_kv_heads=hf.size("num_key_value_heads", 4),
        head_dim=hf.size("head_dim", 256),
        intermediate_size=hf.size("intermediate_size", 9216),
        score_scale=1.0,
        qkv_bias=bias,
        o_bias=bias,
        qk_norm="head",
        v_norm=True,
        activation=hf.choice("hidden_activation", ACTIVATIONS, "gelu_pytorch_tanh"),
        moe=MoeConfig(experts[0], experts[1], experts[2], beside=True) if moe else None,
        norms=SANDWICH,
        scalar=True,
    )
    own = _heads(hf, kinds, k_eq_v)
    return [
        replace(
            base,
            sliding_window=window if kind == SLIDING else None,
            k_eq_v=k_eq_v and kind == FULL,
            num_kv_heads=heads.get("num_key_value_heads", base.num_kv_heads),
            head_dim=heads.get("head_dim", base.head_dim),
        )
        for kind, heads in zip(kinds, own, strict=True)
    ]


_MOE_FIELDS = ("num_experts", "top_k_experts", "moe_intermediate_size")


def _heads(hf: HfConfig, kinds: list[str], k_eq_v: bool) -> list[dict[str, int]]:
    """What ``per_layer_config`` or the older fields change about the heads of each layer."""
    full = {"head_dim": hf.size("global_head_dim", 512)}
    kv_heads = hf.get("num_global_key_value_heads", int, None)
    if k_eq_v and kv_heads is not None:
        full["num_key_value_heads"] = kv_heads
    layers = hf.get("per_layer_config", dict, None)
    if layers is None:
        return [full if kind == FULL else {} for kind in kinds]
    found: list[dict[str, int]] = [{} for _ in kinds]
    for name, fields in layers.items():
        if not name.isdigit() or int(name) >= len(kinds) or not isinstance(fields, dict):
            raise hf.error(f"per_layer_config: expected an object per layer number, got '{name}'")
        own = HfConfig(fields, f"{hf.where}: per_layer_config: {name}")
        for field in ("head_dim", "num_key_value_heads"):
            if own.get(field, int, None) is not None:
                found[int(name)][field] = own.size(field, None)
        own.finish()
    return found


def _shared(hf: HfConfig, kinds: list[str], layers: list[LayerConfig]) -> list[LayerConfig]:
    """The last ``num_kv_shared_layers`` read keys and values of the last one of their kind."""
    shared = hf.get("num_kv_shared_layers", int, 0)
    double = hf.get("use_double_wide_mlp", bool, False)
    if not 0 <= shared < len(layers):
        raise hf.error(
            f"expected num_kv_shared_layers below num_hidden_layers {len(layers)}, got {shared}"
        )
    first = len(layers) - shared
    last = {kind: index for index, kind in enumerate(kinds[:first])}
    for index in range(first, len(layers)):
        source = last.get(kinds[index])
        if source is None:
            raise hf.error(
                f"layer {index} shares keys and values, but no '{kinds[index]}' layer before the "
                f"last {shared} has any"
            )
        layer = layers[index]
        layers[index] = replace(
            layer,
            kv_layer=source,
            intermediate_size=layer.intermediate_size * (2 if double else 1),
        )
    return layers


def _ropes(
    hf: HfConfig, kinds: list[str], layers: list[LayerConfig]
) -> dict[str, tuple[str, RopeSpec]]:
    """Per kind of layer, which dims RoPE pairs, and by which angles it turns them."""
    given = hf.get("rope_parameters", dict, _ROPES)
    positions = hf.size("max_position_embeddings", 131072)
    for name in given:
        if name not in _ROPES:
            raise hf.error(f"rope_parameters: expected '{FULL}' and '{SLIDING}', got '{name}'")
    ropes = {}
    for kind in dict.fromkeys(kinds):
        dims = {layer.head_dim for layer, own in zip(layers, kinds, strict=True) if own == kind}
        if len(dims) != 1:
            raise hf.error(f"expected one head_dim for all '{kind}' layers, got {sorted(dims)}")
        head_dim, where = dims.pop(), f"{hf.where}: rope_parameters of {kind}"
        parameters = given.get(kind)
        if not isinstance(parameters, dict):
            raise hf.error(f"rope_parameters: expected an object as '{kind}', got {parameters!r}")
        part = parameters.get("partial_rotary_factor", 1.0)
        if isinstance(part, bool) or not isinstance(part, int | float) or not 0 <= part <= 1:
            raise hf.error(f"expected partial_rotary_factor from 0 to 1, got {part!r}")
        if parameters.get("rope_type") != "proportional":
            if part != 1:
                raise hf.error("'partial_rotary_factor' is supported for 'proportional' RoPE only")
            spec = RopeSpec.from_hf(parameters, head_dim, 10000.0, positions, where)
            ropes[kind] = "half", spec
        elif rotated := int(part * head_dim // 2):
            spec = RopeSpec.from_hf(
                parameters, 2 * rotated, 10000.0, positions, where, span=head_dim
            )
            ropes[kind] = "proportional", spec
    return ropes
