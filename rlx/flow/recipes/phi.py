"""Phi-3 and Phi-4-mini, and the older Phi-1 and Phi-2."""

from dataclasses import replace

from rlx.flow.layout import Rule, Split, rename_all
from rlx.flow.recipes.common import FULL, SLIDING, Defaults, read_decoder, with_windows
from rlx.flow.recipes.decoder_config import DecoderConfig, NormNames
from rlx.flow.recipes.hf_config import HfConfig

__all__ = ["packed_gate_up", "read_phi", "read_phi3"]

_PHI3 = Defaults(32064, 3072, 8192, layers=32, heads=32, positions=4096, epsilon=1e-5, rotated=1.0)
_PHI = Defaults(
    51200,
    2048,
    8192,
    layers=24,
    heads=32,
    positions=2048,
    epsilon=1e-5,
    activation="gelu_new",
    rotated=0.5,
)


def read_phi3(hf: HfConfig) -> DecoderConfig:
    """Reads a ``Phi3Config``: projections are packed, and RoPE may turn part of a head."""
    scaling = "rope_scaling" if hf.get("rope_scaling", dict, None) else "rope_parameters"
    parameters = dict(hf.get(scaling, dict, {}))
    original = hf.size("original_max_position_embeddings", 4096)
    kind = parameters.pop("type", parameters.pop("rope_type", "default"))
    # The names that older configurations have for it.
    kind = "longrope" if kind in ("su", "yarn") else kind
    if kind not in ("default", "longrope"):
        raise hf.error(f"unsupported rope_type {kind!r}; supported: 'default', 'longrope'")
    if kind == "longrope":
        parameters["original_max_position_embeddings"] = original
    hf.fields[scaling] = {**parameters, "rope_type": kind}
    config = read_decoder(hf, _PHI3, reads_head_dim=False)
    window = hf.nullable("sliding_window", int, None)
    kinds = [FULL if window is None else SLIDING] * len(config.layers)
    layer, attention = config.layers[0], "model.layers.{}.self_attn"
    qkv = tuple(
        (f"{attention}.{name}_proj.{{}}", heads * layer.head_dim)
        for name, heads in zip(
            "qkv", (layer.num_heads, layer.num_kv_heads, layer.num_kv_heads), strict=True
        )
    )
    layout = (Split(f"{attention}.qkv_proj.{{}}", qkv), packed_gate_up(layer.intermediate_size))
    return replace(with_windows(hf, config, kinds, window), layout=layout)


def packed_gate_up(size: int) -> Rule:
    """The layout of a gated feed-forward block whose first two projections are one."""
    mlp = "model.layers.{}.mlp"
    parts = tuple((f"{mlp}.{name}_proj.{{}}", size) for name in ("gate", "up"))
    return Split(f"{mlp}.gate_up_proj.{{}}", parts)


def read_phi(hf: HfConfig) -> DecoderConfig:
    """Reads a ``PhiConfig``: one layer norm feeds attention and a plain feed-forward block."""
    qk_norm = hf.get("qk_layernorm", bool, False)
    config = read_decoder(hf, _PHI, epsilon="layer_norm_eps", reads_head_dim=False)
    layer = "layers.{}"
    layout = rename_all(
        "model.",
        [
            (f"{layer}.self_attn.dense", f"{layer}.self_attn.o_proj"),
            (f"{layer}.self_attn.q_layernorm", f"{layer}.self_attn.q_norm"),
            (f"{layer}.self_attn.k_layernorm", f"{layer}.self_attn.k_norm"),
            (f"{layer}.mlp.fc1", f"{layer}.mlp.up_proj"),
            (f"{layer}.mlp.fc2", f"{layer}.mlp.down_proj"),
            ("final_layernorm", "norm"),
        ],
    )
    return replace(
        config.all_layers(
            qkv_bias=True,
            o_bias=True,
            mlp_bias=True,
            mlp="plain",
            norms=NormNames(before_mlp=None),
            parallel=True,
            qk_norm="layer" if qk_norm else None,
        ),
        norm="layer",
        norm_bias=True,
        head_bias=True,
        layout=layout,
    )
