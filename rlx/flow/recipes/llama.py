"""Llama 2 and 3, and architectures that change little about it."""

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
from rlx.flow.recipes.decoder_config import PLAIN_ACTIVATIONS, DecoderConfig
from rlx.flow.recipes.hf_config import HfConfig

__all__ = [
    "read_arcee",
    "read_ernie",
    "read_granite",
    "read_helium",
    "read_hunyuan",
    "read_internlm3",
    "read_iquestcoder",
    "read_llama",
    "read_ministral",
    "read_mistral",
    "read_seed_oss",
    "read_smollm3",
]

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


def read_internlm3(hf: HfConfig) -> DecoderConfig:
    """Reads an ``InternLM3Config``: Llama with other names for two fields."""
    hf.rename({"qkv_bias": "attention_bias", "bias": "mlp_bias"})
    defaults = Defaults(
        128512,
        4096,
        10240,
        layers=48,
        heads=32,
        positions=32768,
        kv_heads=2,
        head_dim=128,
        epsilon=1e-5,
    )
    bias, mlp_bias = hf.flags("attention_bias", "mlp_bias")
    return read_decoder(hf, defaults).all_layers(qkv_bias=bias, o_bias=bias, mlp_bias=mlp_bias)


def read_iquestcoder(hf: HfConfig) -> DecoderConfig:
    """Reads an ``IQuestCoderConfig``: Llama with other sizes."""
    hf.refuse("clip_qkv", None, "Transformers does not clip either")
    defaults = Defaults(
        76800,
        5120,
        27648,
        layers=80,
        heads=40,
        positions=131072,
        kv_heads=8,
        head_dim=128,
        epsilon=1e-5,
    )
    bias, mlp_bias = hf.flags("attention_bias", "mlp_bias")
    return read_decoder(hf, defaults).all_layers(qkv_bias=bias, o_bias=bias, mlp_bias=mlp_bias)


def read_seed_oss(hf: HfConfig) -> DecoderConfig:
    """Reads a ``SeedOssConfig``: the output projection has a bias of its own."""
    defaults = Defaults(
        155136, 4096, 27648, layers=64, heads=80, positions=524288, kv_heads=8, head_dim=128
    )
    out_bias, mlp_bias = hf.flags("attention_out_bias", "mlp_bias")
    return read_decoder(hf, defaults).all_layers(
        qkv_bias=hf.get("attention_bias", bool, True), o_bias=out_bias, mlp_bias=mlp_bias
    )


def read_arcee(hf: HfConfig) -> DecoderConfig:
    """Reads an ``ArceeConfig``: the feed-forward block has no gate."""
    defaults = Defaults(
        32000, 2560, 18432, layers=32, heads=32, positions=4096, epsilon=1e-5, activation="relu2"
    )
    bias, mlp_bias = hf.flags("attention_bias", "mlp_bias")
    return read_decoder(hf, defaults, activations=PLAIN_ACTIVATIONS).all_layers(
        mlp="plain", qkv_bias=bias, o_bias=bias, mlp_bias=mlp_bias
    )


def read_ernie(hf: HfConfig) -> DecoderConfig:
    """Reads an ``Ernie4_5Config``: RoPE turns neighbouring dims."""
    defaults = Defaults(
        103424,
        1024,
        3072,
        layers=18,
        heads=16,
        positions=131072,
        kv_heads=2,
        head_dim=128,
        epsilon=1e-5,
        tied=True,
        theta=500000.0,
    )
    bias = hf.get("use_bias", bool, False)
    return read_decoder(hf, defaults).all_layers(
        pairing="interleaved", qkv_bias=bias, o_bias=bias, mlp_bias=bias
    )


def read_helium(hf: HfConfig) -> DecoderConfig:
    """Reads a ``HeliumConfig``: RoPE turns neighbouring dims."""
    defaults = Defaults(
        48000,
        2560,
        7040,
        layers=24,
        heads=20,
        positions=4096,
        kv_heads=20,
        head_dim=128,
        epsilon=1e-8,
        theta=100000.0,
    )
    bias, mlp_bias = hf.flags("attention_bias", "mlp_bias")
    return read_decoder(hf, defaults).all_layers(
        pairing="interleaved", qkv_bias=bias, mlp_bias=mlp_bias
    )


def read_granite(hf: HfConfig) -> DecoderConfig:
    """Reads a ``GraniteConfig``: Llama with factors of embeddings, scores, residuals and logits."""
    bias, mlp_bias = hf.flags("attention_bias", "mlp_bias")
    logits = hf.get("logits_scaling", float, 1.0)
    if not logits > 0:
        raise hf.error(f"expected logits_scaling above 0, got {logits}")
    config = read_decoder(hf, _LLAMA).all_layers(
        qkv_bias=bias,
        o_bias=bias,
        mlp_bias=mlp_bias,
        score_scale=hf.get("attention_multiplier", float, 1.0),
        residual_scale=hf.get("residual_multiplier", float, 1.0),
    )
    return replace(
        config,
        embed_scale=hf.get("embedding_multiplier", float, 1.0),
        embed_scale_rounded=False,
        logit_scale=1 / logits,
    )


def read_smollm3(hf: HfConfig) -> DecoderConfig:
    """Reads a ``SmolLM3Config``: some layers have no RoPE."""
    defaults = Defaults(
        128256,
        2048,
        11008,
        layers=36,
        heads=16,
        positions=32768,
        kv_heads=4,
        tied=True,
        theta=2000000.0,
    )
    config = read_decoder(hf, defaults)
    bias, mlp_bias, use_window = hf.flags("attention_bias", "mlp_bias", "use_sliding_window")
    window = hf.get("sliding_window", int, None) if use_window else None
    hf.ignore("sliding_window")
    count, interval = len(config.layers), hf.size("no_rope_layer_interval", 4)
    turned = hf.get("no_rope_layers", list, [(index + 1) % interval for index in range(count)])
    if len(turned) != count:
        raise hf.error(f"expected {count} no_rope_layers (num_hidden_layers), got {len(turned)}")
    kinds = [SLIDING if window is not None and not turned[i] else FULL for i in range(count)]
    config = config.each_layer(
        lambda index, layer: replace(
            layer,
            rope="" if turned[index] else None,
            qkv_bias=bias,
            o_bias=bias,
            mlp_bias=mlp_bias,
        )
    )
    return with_windows(hf, config, read_layer_types(hf, kinds), window)


def read_hunyuan(hf: HfConfig) -> DecoderConfig:
    """Reads a ``HunYuanDenseV1Config``: queries and keys are normed after RoPE.

    ``alpha`` of a RoPE called dynamic changes its base, whatever the length of the sequence.
    """
    scaling = "rope_scaling" if hf.get("rope_scaling", dict, None) else "rope_parameters"
    parameters = dict(hf.get(scaling, dict, {}))
    alpha = parameters.pop("alpha", None)
    kind = parameters.get("rope_type", parameters.get("type"))
    if kind == "dynamic" and alpha:
        hf.fields[scaling] = {key: parameters[key] for key in ("rope_theta",) if key in parameters}
    config = read_decoder(hf, replace(_LLAMA, vocab_size=290943, epsilon=1e-5))
    if kind == "dynamic" and alpha:
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not alpha > 0:
            raise hf.error(f"expected a number above 0 as 'alpha', got {alpha!r}")
        rope = config.ropes[0][1]
        if rope.dim < 4:
            raise hf.error(f"expected heads of at least 4 dims for 'alpha', got {rope.dim}")
        rope = replace(rope, theta=rope.theta * alpha ** (rope.dim / (rope.dim - 2)))
        config = replace(config, ropes=(("", rope),))
    bias = hf.get("attention_bias", bool, False)
    own = "model.layers.{}.self_attn"
    return replace(
        config.all_layers(qkv_bias=bias, o_bias=bias, qk_norm="head", qk_norm_last=True),
        layout=(
            Rename(f"{own}.query_layernorm.weight", f"{own}.q_norm.weight"),
            Rename(f"{own}.key_layernorm.weight", f"{own}.k_norm.weight"),
        ),
    )
