"""GPT-2, GPT-Neo and GPT-BigCode, such as StarCoder 1: positions are rows of a table."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rlx.flow.layout import Drop, Rename, Rule, Split
from rlx.flow.recipes.common import FULL, SLIDING, Defaults, read_decoder, with_windows
from rlx.flow.recipes.decoder_config import PLAIN_ACTIVATIONS, DecoderConfig
from rlx.flow.recipes.hf_config import HfConfig

__all__ = ["read_gpt2", "read_gpt_bigcode", "read_gpt_neo"]

_GPT2 = Defaults(
    50257,
    768,
    4 * 768,
    layers=12,
    heads=12,
    positions=1024,
    epsilon=1e-5,
    activation="gelu_new",
    tied=True,
)
_NAMES = {
    "n_positions": "max_position_embeddings",
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
}


def read_gpt2(hf: HfConfig) -> DecoderConfig:
    """Reads a ``GPT2Config``: packed projections, and matrices stored as [in, out]."""
    hf.rename(_NAMES)
    hf.refuse("add_cross_attention", False, "there is no encoder")
    hf.ignore("n_ctx", "reorder_and_upcast_attn", *_SUMMARIES)
    config = _read(hf, _GPT2)
    hf.refuse("num_key_value_heads", config.layers[0].num_heads, "heads are not shared")
    scaled = hf.get("scale_attn_weights", bool, True)
    by_layer = hf.get("scale_attn_by_inverse_layer_idx", bool, False)
    scale = config.layers[0].head_dim ** -0.5 if scaled else 1.0
    config = config.each_layer(
        lambda index, layer: replace(layer, score_scale=scale / (index + 1 if by_layer else 1))
    )
    parts = _qkv([config.hidden_size] * 3)
    return replace(config, layout=_layout(parts, groups=1, transpose=True))


_SUMMARIES = (
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
)


def read_gpt_bigcode(hf: HfConfig) -> DecoderConfig:
    """Reads a ``GPTBigCodeConfig``: GPT-2 with one key and value head, or as many as of queries."""
    hf.rename(_NAMES)
    hf.refuse("add_cross_attention", False, "there is no encoder")
    hf.ignore("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32", *_SUMMARIES)
    multi_query = hf.get("multi_query", bool, True)
    kv_heads = 1 if multi_query else hf.size("num_attention_heads", 12)
    hf.refuse("num_key_value_heads", kv_heads, "multi_query says how many there are")
    hf.fields["num_key_value_heads"] = kv_heads
    config = _read(hf, replace(_GPT2, activation="gelu_pytorch_tanh"))
    layer = config.layers[0]
    scaled = hf.get("scale_attn_weights", bool, True)
    parts = _qkv([layer.num_heads // kv_heads * layer.head_dim, layer.head_dim, layer.head_dim])
    return replace(
        config.all_layers(score_scale=layer.head_dim**-0.5 if scaled else 1.0),
        layout=_layout(parts, groups=kv_heads, transpose=False),
    )


def read_gpt_neo(hf: HfConfig) -> DecoderConfig:
    """Reads a ``GPTNeoConfig``: scores without a factor, and windows in every other layer."""
    hf.rename({"num_layers": "num_hidden_layers", "num_heads": "num_attention_heads"})
    hf.ignore("attention_layers", "resid_dropout", "embed_dropout", *_SUMMARIES)
    defaults = replace(_GPT2, hidden_size=2048, layers=24, heads=16, positions=2048)
    config = _read(hf, defaults)
    hf.refuse("num_key_value_heads", config.layers[0].num_heads, "heads are not shared")
    kinds = _kinds(hf, hf.get("attention_types", list, [[["global", "local"], 12]]))
    if len(kinds) != len(config.layers):
        raise hf.error(f"expected attention_types of {len(config.layers)} layers, got {len(kinds)}")
    config = with_windows(hf, config, kinds, hf.size("window_size", 256))
    names = {f"attn.attention.{x}_proj": f"self_attn.{x}_proj" for x in "qkv"}
    names["attn.attention.out_proj"] = "self_attn.o_proj"
    rules = (
        *_modules({**names, "mlp.c_fc": "mlp.up_proj", "mlp.c_proj": "mlp.down_proj"}, False),
        *_COMMON,
        *(Drop(f"{own}.attn.attention.{x}") for own in _LAYERS for x in ("bias", "masked_bias")),
    )
    return replace(config.all_layers(score_scale=1.0, qkv_bias=False), layout=rules)


def _kinds(hf: HfConfig, types: list[Any]) -> list[str]:
    """``[[["global", "local"], 12]]`` is 12 times a full and a sliding layer."""
    known, kinds = {"global": FULL, "local": SLIDING}, []
    for item in types:
        fits = isinstance(item, list) and [type(part) for part in item] == [list, int]
        if not fits:
            raise hf.error(f"expected [kinds, count] in attention_types, got {item!r}")
        for name in item[0]:
            if name not in known:
                raise hf.error(f"unsupported attention type {name!r}; supported: 'global', 'local'")
        kinds += [known[name] for name in item[0]] * item[1]
    return kinds


def _read(hf: HfConfig, defaults: Defaults) -> DecoderConfig:
    if hf.fields.get("intermediate_size") is None:
        hf.fields["intermediate_size"] = 4 * hf.size("hidden_size", defaults.hidden_size)
    config = read_decoder(
        hf,
        defaults,
        epsilon="layer_norm_epsilon",
        activation="activation_function",
        activations=PLAIN_ACTIVATIONS,
        reads_head_dim=False,
    )
    return replace(
        config.all_layers(rope=None, qkv_bias=True, o_bias=True, mlp_bias=True, mlp="plain"),
        ropes=(),
        learned_positions=True,
        norm="layer",
        norm_bias=True,
    )


# Checkpoints of the bare model have no prefix.
_PREFIXES = ("transformer.", "")
_LAYERS = tuple(f"{prefix}h.{{}}" for prefix in _PREFIXES)


def _modules(names: dict[str, str], transpose: bool) -> list[Rule]:
    """Renames of the modules of a layer."""
    return [
        Rename(f"{own}.{theirs}.{{}}", f"model.layers.{{}}.{ours}.{{}}", transpose)
        for own in _LAYERS
        for theirs, ours in names.items()
    ]


_COMMON: tuple[Rule, ...] = (
    *_modules({"ln_1": "input_layernorm", "ln_2": "post_attention_layernorm"}, False),
    *(
        Rename(f"{prefix}{theirs}.{{}}", f"model.{ours}.{{}}")
        for prefix in _PREFIXES
        for theirs, ours in {
            "wte": "embed_tokens",
            "wpe": "embed_positions",
            "ln_f": "norm",
        }.items()
    ),
)


def _qkv(sizes: Sequence[int]) -> tuple[tuple[str, int], ...]:
    return tuple(
        (f"model.layers.{{}}.self_attn.{name}_proj.{{}}", size)
        for name, size in zip("qkv", sizes, strict=True)
    )


def _layout(
    parts: tuple[tuple[str, int], ...], *, groups: int, transpose: bool
) -> tuple[Rule, ...]:
    names = {
        "attn.c_proj": "self_attn.o_proj",
        "mlp.c_fc": "mlp.up_proj",
        "mlp.c_proj": "mlp.down_proj",
    }
    return (
        *(Split(f"{own}.attn.c_attn.{{}}", parts, groups, transpose) for own in _LAYERS),
        *_modules(names, transpose),
        *_COMMON,
        *(Drop(f"{own}.attn.{name}") for own in _LAYERS for name in ("bias", "masked_bias")),
    )
