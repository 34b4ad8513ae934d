"""GLM-4: ``model_type`` ``glm`` and ``glm4``."""

from dataclasses import replace

from rlx.flow.recipes.common import Defaults, read_decoder
from rlx.flow.recipes.decoder_config import DecoderConfig, NormNames
from rlx.flow.recipes.hf_config import HfConfig
from rlx.flow.recipes.phi import packed_gate_up

__all__ = ["read_glm", "read_glm4"]

_GLM = Defaults(
    151552,
    4096,
    13696,
    layers=40,
    heads=32,
    positions=131072,
    kv_heads=2,
    head_dim=128,
    epsilon=1.5625e-7,
    rotated=0.5,
)


def read_glm(hf: HfConfig) -> DecoderConfig:
    """Reads a ``GlmConfig``: RoPE turns neighbouring dims of half a head."""
    config = read_decoder(hf, _GLM)
    bias = hf.get("attention_bias", bool, True)
    return replace(
        config.all_layers(pairing="interleaved", qkv_bias=bias),
        layout=(packed_gate_up(config.layers[0].intermediate_size),),
    )


def read_glm4(hf: HfConfig) -> DecoderConfig:
    """Reads a ``Glm4Config``: as ``glm``, and what is added to the residual is normed, too."""
    return read_glm(hf).all_layers(
        norms=NormNames(after_attention="post_self_attn_layernorm", after_mlp="post_mlp_layernorm")
    )
