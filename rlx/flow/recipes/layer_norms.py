"""Architectures with layer norms that have biases: StarCoder 2, StableLM, Nemotron, Falcon."""

from dataclasses import replace

from rlx.flow.layout import Rule, Split, Stack, rename_all
from rlx.flow.recipes.common import FULL, SLIDING, Defaults, read_decoder, with_windows
from rlx.flow.recipes.decoder_config import PLAIN_ACTIVATIONS, DecoderConfig, NormNames
from rlx.flow.recipes.hf_config import HfConfig

__all__ = ["read_falcon", "read_jais2", "read_nemotron", "read_stablelm", "read_starcoder2"]


def read_starcoder2(hf: HfConfig) -> DecoderConfig:
    """Reads a ``Starcoder2Config``: biases throughout, and feed-forward blocks without gates."""
    hf.refuse("mlp_type", "default", "feed-forward blocks have no gates")
    hf.refuse("norm_type", "layer_norm", "norms are layer norms")
    defaults = Defaults(
        49152,
        3072,
        12288,
        layers=30,
        heads=24,
        positions=4096,
        kv_heads=2,
        epsilon=1e-5,
        activation="gelu_pytorch_tanh",
        tied=True,
    )
    config = read_decoder(hf, defaults, epsilon="norm_epsilon", activations=PLAIN_ACTIVATIONS)
    bias, window = hf.get("use_bias", bool, True), hf.get("sliding_window", int, None)
    layer = "layers.{}"
    names = [
        (f"{layer}.mlp.c_fc", f"{layer}.mlp.up_proj"),
        (f"{layer}.mlp.c_proj", f"{layer}.mlp.down_proj"),
    ]
    config = config.all_layers(qkv_bias=bias, o_bias=bias, mlp_bias=bias, mlp="plain")
    kinds = [FULL if window is None else SLIDING] * len(config.layers)
    return replace(
        with_windows(hf, config, kinds, window),
        norm="layer",
        norm_bias=True,
        layout=rename_all("model.", names),
    )


def read_stablelm(hf: HfConfig) -> DecoderConfig:
    """Reads a ``StableLmConfig``: parallel layers and norms of each head are options."""
    defaults = Defaults(
        50304,
        2560,
        6912,
        layers=32,
        heads=32,
        positions=4096,
        kv_heads=32,
        epsilon=1e-5,
        rotated=0.25,
    )
    config = read_decoder(hf, defaults, epsilon="layer_norm_eps", reads_head_dim=False)
    bias, qk_norm, parallel = hf.flags("use_qkv_bias", "qk_layernorm", "use_parallel_residual")
    layer, own = config.layers[0], "model.layers.{}.self_attn"
    heads = {"q": layer.num_heads, "k": layer.num_kv_heads}
    norms: tuple[Rule, ...] = tuple(
        Stack(f"{own}.{x}_layernorm.norms.[].weight", f"{own}.{x}_norm.weight", count, flat=True)
        for x, count in heads.items()
    )
    return replace(
        config.all_layers(
            qkv_bias=bias,
            parallel=parallel,
            norms=NormNames(before_mlp=None) if parallel else NormNames(),
            qk_norm="layer_per_head" if qk_norm else None,
        ),
        norm="layer",
        norm_bias=True,
        layout=norms if qk_norm else (),
    )


def read_nemotron(hf: HfConfig) -> DecoderConfig:
    """Reads a ``NemotronConfig``: weights of norms count from 1, squared ReLU without gates."""
    defaults = Defaults(
        256000,
        6144,
        24576,
        layers=32,
        heads=48,
        positions=4096,
        epsilon=1e-5,
        activation="relu2",
        rotated=0.5,
    )
    bias, mlp_bias = hf.flags("attention_bias", "mlp_bias")
    config = read_decoder(hf, defaults, epsilon="norm_eps", activations=PLAIN_ACTIVATIONS)
    return replace(
        config.all_layers(qkv_bias=bias, o_bias=bias, mlp_bias=mlp_bias, mlp="plain"),
        norm="layer",
        norm_bias=True,
        norm_offset=1.0,
    )


def read_jais2(hf: HfConfig) -> DecoderConfig:
    """Reads a ``Jais2Config``: Llama with layer norms and squared ReLU without gates."""
    defaults = Defaults(
        150272,
        3328,
        26624,
        layers=32,
        heads=26,
        positions=8192,
        epsilon=1e-5,
        activation="relu2",
    )
    bias, mlp_bias = hf.flags("attention_bias", "mlp_bias", default=True)
    config = read_decoder(hf, defaults, epsilon="layer_norm_eps", activations=PLAIN_ACTIVATIONS)
    return replace(
        config.all_layers(qkv_bias=bias, o_bias=bias, mlp_bias=mlp_bias, mlp="plain"),
        norm="layer",
        norm_bias=True,
    )


def read_falcon(hf: HfConfig) -> DecoderConfig:
    """Reads a ``FalconConfig``: one key and value head, or groups of heads that lie together."""
    hf.refuse("alibi", False, "positions are turned by RoPE only")
    hf.rename(
        {
            "n_embed": "hidden_size",
            "n_layer": "num_hidden_layers",
            "n_head": "num_attention_heads",
            "n_head_kv": "num_kv_heads",
            "ffn_hidden_size": "intermediate_size",
        }
    )
    if hf.fields.get("intermediate_size") is None:
        hf.fields["intermediate_size"] = 4 * hf.size("hidden_size", 4544)
    defaults = Defaults(
        65024,
        4544,
        4 * 4544,
        layers=32,
        heads=71,
        positions=2048,
        epsilon=1e-5,
        activation="gelu",
        tied=True,
    )
    grouped, bias = hf.flags("new_decoder_architecture", "bias")
    multi_query, parallel = hf.flags("multi_query", "parallel_attn", default=True)
    heads = hf.size("num_attention_heads", 71)
    kv_heads = hf.size("num_kv_heads", heads) if grouped or not multi_query else 1
    if kv_heads != heads and not grouped and not multi_query:
        raise hf.error(f"expected num_kv_heads {heads} without multi_query, got {kv_heads}")
    hf.ignore("num_kv_heads")
    hf.refuse("num_key_value_heads", kv_heads, "num_kv_heads says how many there are")
    hf.fields["num_key_value_heads"] = kv_heads
    norms = hf.size("num_ln_in_parallel_attn", 2 if grouped else 1)
    if (not parallel and grouped) or norms > 2 or (norms == 2 and not grouped):
        raise hf.error(
            "unsupported combination of parallel_attn, new_decoder_architecture and "
            "num_ln_in_parallel_attn"
        )
    config = read_decoder(
        hf,
        defaults,
        epsilon="layer_norm_epsilon",
        activation="activation",
        activations=PLAIN_ACTIVATIONS,
        reads_head_dim=False,
    )
    own, head_dim = "layers.{}", config.layers[0].head_dim
    names = [
        ("word_embeddings", "embed_tokens"),
        ("h.{}.input_layernorm", f"{own}.input_layernorm"),
        ("h.{}.post_attention_layernorm", f"{own}.post_attention_layernorm"),
        ("h.{}.ln_attn", f"{own}.input_layernorm"),
        ("h.{}.ln_mlp", f"{own}.post_attention_layernorm"),
        ("h.{}.self_attention.dense", f"{own}.self_attn.o_proj"),
        ("h.{}.mlp.dense_h_to_4h", f"{own}.mlp.up_proj"),
        ("h.{}.mlp.dense_4h_to_h", f"{own}.mlp.down_proj"),
        ("ln_f", "norm"),
    ]
    rows = (heads // kv_heads * head_dim, head_dim, head_dim)
    parts = tuple(
        (f"model.{own}.self_attn.{name}_proj.{{}}", size)
        for name, size in zip("qkv", rows, strict=True)
    )
    source = "transformer.h.{}.self_attention.query_key_value.{}"
    return replace(
        config.all_layers(
            qkv_bias=bias,
            o_bias=bias,
            mlp_bias=bias,
            mlp="plain",
            parallel=parallel,
            norms=NormNames(before_mlp=None) if parallel and norms == 1 else NormNames(),
        ),
        norm="layer",
        norm_bias=True,
        layout=(Split(source, parts, groups=kv_heads), *rename_all("transformer.", names)),
    )
