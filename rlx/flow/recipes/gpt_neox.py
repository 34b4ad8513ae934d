"""GPT-NeoX, such as Pythia, and GPT-J."""

from dataclasses import replace

from rlx.flow.layout import Drop, Rename, Split, rename_all
from rlx.flow.recipes.common import Defaults, read_decoder
from rlx.flow.recipes.decoder_config import DecoderConfig, NormNames
from rlx.flow.recipes.hf_config import HfConfig

__all__ = ["read_gpt_neox", "read_gptj"]

_NEOX = Defaults(
    50432,
    6144,
    24576,
    layers=44,
    heads=64,
    positions=2048,
    epsilon=1e-5,
    activation="gelu",
    rotated=0.25,
)


def read_gpt_neox(hf: HfConfig) -> DecoderConfig:
    """Reads a ``GPTNeoXConfig``: layer norms, biases, attention beside the feed-forward block.

    Query, key and value of a head lie together in one weight.
    """
    hf.rename({"rotary_emb_base": "rope_theta", "rotary_pct": "partial_rotary_factor"})
    config = read_decoder(hf, _NEOX, epsilon="layer_norm_eps", reads_head_dim=False)
    hf.refuse("num_key_value_heads", config.layers[0].num_heads, "heads are not shared")
    bias = hf.get("attention_bias", bool, True)
    layer = "layers.{}"
    heads, head_dim = config.layers[0].num_heads, config.layers[0].head_dim
    parts = tuple((f"model.{layer}.self_attn.{name}_proj.{{}}", head_dim) for name in "qkv")
    renames = rename_all(
        "gpt_neox.",
        [
            ("embed_in", "embed_tokens"),
            (f"{layer}.input_layernorm", f"{layer}.input_layernorm"),
            (f"{layer}.post_attention_layernorm", f"{layer}.post_attention_layernorm"),
            (f"{layer}.attention.dense", f"{layer}.self_attn.o_proj"),
            (f"{layer}.mlp.dense_h_to_4h", f"{layer}.mlp.up_proj"),
            (f"{layer}.mlp.dense_4h_to_h", f"{layer}.mlp.down_proj"),
            ("final_layer_norm", "norm"),
        ],
    )
    return replace(
        config.all_layers(
            qkv_bias=bias,
            o_bias=bias,
            mlp_bias=True,
            mlp="plain",
            parallel=hf.get("use_parallel_residual", bool, True),
        ),
        norm="layer",
        norm_bias=True,
        layout=(
            Split(f"gpt_neox.{layer}.attention.query_key_value.{{}}", parts, groups=heads),
            *renames,
            Rename("embed_out.weight", "lm_head.weight"),
            Drop(f"gpt_neox.{layer}.attention.bias"),
            Drop(f"gpt_neox.{layer}.attention.masked_bias"),
            Drop(f"gpt_neox.{layer}.attention.rotary_emb.inv_freq"),
        ),
    )


_GPTJ = Defaults(
    50400,
    4096,
    16384,
    layers=28,
    heads=16,
    positions=2048,
    epsilon=1e-5,
    activation="gelu_new",
)


def read_gptj(hf: HfConfig) -> DecoderConfig:
    """Reads a ``GPTJConfig``: one layer norm per layer, and RoPE turns neighbouring dims."""
    hf.rename(
        {
            "n_positions": "max_position_embeddings",
            "n_embd": "hidden_size",
            "n_layer": "num_hidden_layers",
            "n_head": "num_attention_heads",
            "n_inner": "intermediate_size",
        }
    )
    if hf.fields.get("intermediate_size") is None:
        hf.fields["intermediate_size"] = 4 * hf.size("hidden_size", 4096)
    config = read_decoder(
        hf,
        _GPTJ,
        epsilon="layer_norm_epsilon",
        activation="activation_function",
        reads_head_dim=False,
    )
    hf.refuse("num_key_value_heads", config.layers[0].num_heads, "heads are not shared")
    rope = replace(config.ropes[0][1], dim=hf.size("rotary_dim", 64))
    if rope.dim % 2 or rope.dim > config.layers[0].head_dim:
        raise hf.error(
            f"expected rotary_dim even and at most {config.layers[0].head_dim}, got {rope.dim}"
        )
    layer = "h.{}"
    names = [
        ("wte", "embed_tokens"),
        (f"{layer}.ln_1", "layers.{}.input_layernorm"),
        (f"{layer}.attn.out_proj", "layers.{}.self_attn.o_proj"),
        (f"{layer}.mlp.fc_in", "layers.{}.mlp.up_proj"),
        (f"{layer}.mlp.fc_out", "layers.{}.mlp.down_proj"),
        ("ln_f", "norm"),
        *((f"{layer}.attn.{x}_proj", f"layers.{{}}.self_attn.{x}_proj") for x in "qkv"),
    ]
    return replace(
        config.all_layers(
            pairing="interleaved",
            mlp_bias=True,
            mlp="plain",
            norms=NormNames(before_mlp=None),
            parallel=True,
        ),
        ropes=(("", rope),),
        norm="layer",
        norm_bias=True,
        head_bias=True,
        layout=(
            Drop(f"transformer.{layer}.attn.bias"),
            Drop(f"transformer.{layer}.attn.masked_bias"),
            *rename_all("transformer.", names),
        ),
    )
