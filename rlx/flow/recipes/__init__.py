"""Recipes: from a Hugging Face configuration to a flow."""

from collections.abc import Callable

from rlx.flow.recipes.cohere import read_cohere, read_cohere2
from rlx.flow.recipes.decoder import cached_decoder_flow, decoder_flow, window_lengths
from rlx.flow.recipes.decoder_config import DecoderConfig, LayerConfig, NormNames
from rlx.flow.recipes.gemma import read_gemma, read_gemma2, read_vaultgemma
from rlx.flow.recipes.gemma3 import read_gemma3, read_gemma3_text
from rlx.flow.recipes.gemma4 import read_gemma4, read_gemma4_text
from rlx.flow.recipes.glm import read_glm, read_glm4
from rlx.flow.recipes.gpt2 import read_gpt2, read_gpt_bigcode, read_gpt_neo
from rlx.flow.recipes.gpt_neox import read_gpt_neox, read_gptj
from rlx.flow.recipes.hf_config import HfConfig
from rlx.flow.recipes.layer_norms import (
    read_falcon,
    read_jais2,
    read_nemotron,
    read_stablelm,
    read_starcoder2,
)
from rlx.flow.recipes.llama import (
    read_arcee,
    read_ernie,
    read_granite,
    read_helium,
    read_hunyuan,
    read_internlm3,
    read_iquestcoder,
    read_llama,
    read_ministral,
    read_mistral,
    read_seed_oss,
    read_smollm3,
)
from rlx.flow.recipes.olmo import (
    read_exaone4,
    read_olmo,
    read_olmo2,
    read_olmo3,
    read_olmoe,
)
from rlx.flow.recipes.phi import read_phi, read_phi3
from rlx.flow.recipes.qwen import (
    read_mixtral,
    read_qwen2,
    read_qwen2_moe,
    read_qwen3,
    read_qwen3_moe,
)

__all__ = [
    "MODEL_TYPES",
    "DecoderConfig",
    "HfConfig",
    "LayerConfig",
    "NormNames",
    "cached_decoder_flow",
    "decoder_flow",
    "read_config",
    "window_lengths",
]

MODEL_TYPES: dict[str, Callable[[HfConfig], DecoderConfig]] = {
    "arcee": read_arcee,
    "cohere": read_cohere,
    "cohere2": read_cohere2,
    "ernie4_5": read_ernie,
    "exaone4": read_exaone4,
    "falcon": read_falcon,
    "gemma": read_gemma,
    "gemma2": read_gemma2,
    "gemma3": read_gemma3,
    "gemma3_text": read_gemma3_text,
    "gemma4": read_gemma4,
    "gemma4_text": read_gemma4_text,
    "glm": read_glm,
    "glm4": read_glm4,
    "gpt2": read_gpt2,
    "gpt_bigcode": read_gpt_bigcode,
    "gpt_neo": read_gpt_neo,
    "gpt_neox": read_gpt_neox,
    "gptj": read_gptj,
    "granite": read_granite,
    "helium": read_helium,
    "hunyuan_v1_dense": read_hunyuan,
    "internlm3": read_internlm3,
    "iquestcoder": read_iquestcoder,
    "jais2": read_jais2,
    "llama": read_llama,
    "ministral": read_ministral,
    "mistral": read_mistral,
    "mixtral": read_mixtral,
    "nemotron": read_nemotron,
    "olmo": read_olmo,
    "olmo2": read_olmo2,
    "olmo3": read_olmo3,
    "olmoe": read_olmoe,
    "phi": read_phi,
    "phi3": read_phi3,
    "qwen2": read_qwen2,
    "qwen2_moe": read_qwen2_moe,
    "qwen3": read_qwen3,
    "qwen3_moe": read_qwen3_moe,
    "seed_oss": read_seed_oss,
    "smollm3": read_smollm3,
    "stablelm": read_stablelm,
    "starcoder2": read_starcoder2,
    "vaultgemma": read_vaultgemma,
}
"""Adapters by Hugging Face's ``model_type``."""


def read_config(hf: HfConfig) -> DecoderConfig:
    """The description of the model that a configuration stands for.

    Raises:
        ConfigError: an unknown model type, or a field that is malformed or not supported.
    """
    kind = hf.get("model_type", str, None)
    if kind not in MODEL_TYPES:
        raise hf.error(f"unknown model_type {kind!r}; known: {', '.join(MODEL_TYPES)}")
    config = MODEL_TYPES[kind](hf)
    hf.finish()
    for layer in config.layers:
        if layer.num_heads % layer.num_kv_heads:
            raise hf.error(
                f"expected num_attention_heads {layer.num_heads} to be a multiple of "
                f"num_key_value_heads {layer.num_kv_heads}"
            )
    return config
