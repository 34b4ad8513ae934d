"""Llama 2 and 3: ``model_type`` ``llama``."""

from rlx.flow.recipes.decoder import ACTIVATIONS, DecoderConfig, LayerConfig
from rlx.flow.recipes.hf_config import HfConfig
from rlx.flow.rope import RopeSpec

__all__ = ["read_llama"]


def read_llama(hf: HfConfig) -> DecoderConfig:
    """Reads a ``LlamaConfig``; absent fields have its defaults.

    Raises:
        ConfigError: a field is malformed or asks for something that is not supported.
    """
    hidden_size = hf.size("hidden_size", 4096)
    num_heads = hf.size("num_attention_heads", 32)
    if hf.fields.get("head_dim") is None and hidden_size % num_heads:
        raise hf.error(
            f"expected hidden_size {hidden_size} to be a multiple of num_attention_heads "
            f"{num_heads}, or head_dim"
        )
    head_dim = hf.size("head_dim", hidden_size // num_heads)
    max_positions = hf.size("max_position_embeddings", 2048)
    bias = hf.get("attention_bias", bool, False)
    layer = LayerConfig(
        num_heads=num_heads,
        num_kv_heads=hf.size("num_key_value_heads", num_heads),
        head_dim=head_dim,
        intermediate_size=hf.size("intermediate_size", 11008),
        qkv_bias=bias,
        o_bias=bias,
        mlp_bias=hf.get("mlp_bias", bool, False),
        activation=hf.choice("hidden_act", ACTIVATIONS, "silu"),
    )
    config = DecoderConfig(
        model_type="llama",
        vocab_size=hf.size("vocab_size", 32000),
        hidden_size=hidden_size,
        layers=(layer,) * hf.size("num_hidden_layers", 32),
        ropes=(("", _rope(hf, head_dim, max_positions)),),
        norm_epsilon=hf.get("rms_norm_eps", float, 1e-6),
        tied=hf.get("tie_word_embeddings", bool, False),
        max_positions=max_positions,
    )
    hf.finish()
    return config


def _rope(hf: HfConfig, head_dim: int, max_positions: int) -> RopeSpec:
    """Reads ``rope_parameters``, or the older ``rope_theta`` and ``rope_scaling``."""
    theta = hf.get("rope_theta", float, 10000.0)
    new = hf.get("rope_parameters", dict, None)
    old = hf.get("rope_scaling", dict, None)
    where = f"{hf.where}: {'rope_scaling' if old else 'rope_parameters'}"
    parameters = old or new or {}
    hf.refuse("partial_rotary_factor", 1.0, "Llama rotates whole heads")
    if parameters.get("partial_rotary_factor") not in (None, 1.0):
        raise hf.error("'partial_rotary_factor' is not supported: Llama rotates whole heads")
    return RopeSpec.from_hf(parameters, head_dim, theta, max_positions, where)
