"""Parity of every architecture with Transformers, as in `test_parity`: logits, keys and values.

Each configuration is tiny and uses all that the architecture has: several layers of each kind, a
window shorter than the sequence, heads that share keys and values, biases, odd sizes.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_parity import LLAMA3, Case, Loaded, check, load
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from rlx.flow import ConfigError
from rlx.flow.recipes import MODEL_TYPES, HfConfig, read_config

MULTIMODAL = ("gemma3", "gemma4")
SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 48,
    "pad_token_id": 0,
}
KINDS = {"s": "sliding_attention", "f": "full_attention"}


def layers(kinds: str) -> dict[str, Any]:
    return {"layer_types": [KINDS[kind] for kind in kinds], "num_hidden_layers": len(kinds)}


def longrope(dim: int) -> dict[str, Any]:
    return {
        "rope_type": "longrope",
        "short_factor": [1.0 + 0.25 * i for i in range(dim // 2)],
        "long_factor": [2.0 + i for i in range(dim // 2)],
    }


PART = {"rope_theta": 100.0, "partial_rotary_factor": 0.5}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 12}
NEOX = {
    "num_key_value_heads": None,
    "rope_parameters": PART,
}

FAST: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 5, "head_dim": 12},
    "qwen2": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    "qwen3": {
        "head_dim": 12,
        "attention_bias": True,
        "use_sliding_window": True,
        "sliding_window": 4,
        **layers("sf"),
    },
    "qwen3_moe": {
        "head_dim": 12,
        "num_hidden_layers": 3,
        "num_experts": 5,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "mlp_only_layers": [1],
        "norm_topk_prob": True,
    },
    "gemma": {"head_dim": 12, "num_key_value_heads": 1},
    "gemma2": {
        "head_dim": 12,
        "sliding_window": 5,
        "query_pre_attn_scalar": 20,
        "attn_logit_softcapping": 0.9,
        "final_logit_softcapping": 1.5,
        "attention_bias": True,
    },
    "gemma4_text": {
        **layers("sfsfsf"),
        "head_dim": 12,
        "global_head_dim": 16,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "sliding_window": 5,
        "num_kv_shared_layers": 2,
        "use_double_wide_mlp": True,
        "hidden_size_per_layer_input": 6,
        "vocab_size_per_layer_input": 61,
        "enable_moe_block": True,
        "num_experts": 4,
        "top_k_experts": 2,
        "moe_intermediate_size": 12,
        "attention_bias": True,
        "final_logit_softcapping": 2.0,
    },
    "phi3": {
        "sliding_window": 6,
        "original_max_position_embeddings": 44,
        "rope_parameters": {**longrope(6), "rope_theta": 100.0, "partial_rotary_factor": 0.75},
    },
    "gpt_neox": NEOX,
    "glm": {"head_dim": 12},
    "glm4": {"head_dim": 12},
    "phi": {},
    "gptj": {
        "num_key_value_heads": None,
        "intermediate_size": None,
        "n_positions": 48,
        "n_inner": 40,
        "rotary_dim": 6,
    },
}
NEAR_ALL = {"attention_bias": True, "mlp_bias": True}
SLOW: dict[str, dict[str, Any]] = {
    "arcee": NEAR_ALL,
    "cohere": {"use_qk_norm": True, "logit_scale": 0.3, "attention_bias": True},
    "cohere2": {**layers("sfs"), "sliding_window": 5, "logit_scale": 0.3},
    "ernie4_5": {"head_dim": 12, "use_bias": True},
    "exaone4": {**layers("sfs"), "sliding_window": 5},
    "falcon": {"num_key_value_heads": None, "intermediate_size": None, "bias": True},
    "granite": {
        **NEAR_ALL,
        "embedding_multiplier": 3.0,
        "logits_scaling": 0.7,
        "residual_multiplier": 0.6,
        "attention_multiplier": 0.4,
    },
    "helium": {"head_dim": 8, **NEAR_ALL},
    "hunyuan_v1_dense": {
        "head_dim": 12,
        "attention_bias": True,
        "rope_parameters": {
            "rope_type": "dynamic",
            "alpha": 3.0,
            "factor": 1.0,
            "rope_theta": 100.0,
        },
    },
    "internlm3": {**NEAR_ALL, "head_dim": 12},
    "iquestcoder": {**NEAR_ALL, "head_dim": 12},
    "jais2": {"rms_norm_eps": None},
    "ministral": {**layers("sfs"), "sliding_window": 5, "head_dim": 12},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 5},
    "nemotron": {**NEAR_ALL, "head_dim": 12},
    "olmo": {"attention_bias": True, "clip_qkv": 0.4},
    "olmo2": {"attention_bias": True},
    "olmo3": {**layers("sfs"), "sliding_window": 5},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2, "clip_qkv": 0.9},
    "qwen2_moe": {
        "num_hidden_layers": 3,
        "num_experts": 4,
        "num_experts_per_tok": 3,
        "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 20,
        "decoder_sparse_step": 2,
        "use_sliding_window": True,
        "sliding_window": 5,
        "max_window_layers": 2,
    },
    "seed_oss": {"head_dim": 12, "attention_out_bias": True, "mlp_bias": True},
    "smollm3": {
        **NEAR_ALL,
        "num_hidden_layers": 3,
        "no_rope_layers": [1, 0, 1],
        "use_sliding_window": True,
        "sliding_window": 5,
    },
    "stablelm": {"use_qkv_bias": True, "qk_layernorm": True},
    "starcoder2": {"sliding_window": 5},
    "vaultgemma": {"head_dim": 12, "sliding_window": 5, "attn_logit_softcapping": 0.9},
}


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "cohere-plain": ("cohere", {"use_qk_norm": False}),
    "falcon-heads": ("falcon", {"multi_query": False, "alibi": False}),
    "falcon-in-turn": ("falcon", {"parallel_attn": False}),
    "falcon-one-norm": (
        "falcon",
        {"new_decoder_architecture": True, "num_ln_in_parallel_attn": 1, "num_kv_heads": 4},
    ),
    "falcon-two-norms": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 4}),
    "gemma2-no-softcaps": (
        "gemma2",
        {"attn_logit_softcapping": None, "final_logit_softcapping": None},
    ),
    "gemma4-plain": (
        "gemma4_text",
        {
            "attention_k_eq_v": False,
            "num_kv_shared_layers": 0,
            "hidden_size_per_layer_input": 0,
            "enable_moe_block": False,
            "attention_bias": False,
        },
    ),
    "glm-linear": ("glm", {"rope_parameters": {**PART, "rope_type": "linear", "factor": 3.0}}),
    "glm4-yarn": ("glm4", {"rope_parameters": {**PART, **YARN}}),
    "gpt_neox-in-turn": ("gpt_neox", {"use_parallel_residual": False}),
    "gpt_neox-llama3": ("gpt_neox", {"rope_parameters": {**PART, **LLAMA3}}),
    "mistral-no-window": ("mistral", {"sliding_window": None, "tie_word_embeddings": True}),
    "nemotron-gelu": ("nemotron", {"hidden_act": "gelu"}),
    "phi-norms": ("phi", {"qk_layernorm": True}),
    "phi3-plain": ("phi3", {"sliding_window": None, "rope_parameters": None}),
    "qwen2-yarn": ("qwen2", {"rope_parameters": {**YARN, "rope_theta": 100.0}}),
    "qwen3_moe-shares": ("qwen3_moe", {"norm_topk_prob": False, "decoder_sparse_step": 2}),
    "smollm3-interval": ("smollm3", {"no_rope_layers": None, "no_rope_layer_interval": 2}),
    "stablelm-parallel": ("stablelm", {"use_parallel_residual": True, "qk_layernorm": False}),
}


def make(kind: str, changes: dict[str, Any], dtype: str = "float32") -> Case:
    fields = {key: value for key, value in {**SIZES, **changes}.items() if value is not None}
    config = AutoConfig.for_model(kind, **fields)
    return Case(WithBuffers(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]), config, dtype)


class WithBuffers:
    """A model class whose models have random buffers, too."""

    def __init__(self, model: type):
        self.model = model

    def _from_config(self, config: Any, **options: Any) -> Any:
        model = self.model._from_config(config, **options)
        for name, buffer in model.named_buffers():
            if name.endswith("layer_scalar"):
                buffer.uniform_(0.5, 1.5)
        return model


PROMPTS = np.random.default_rng(2).integers(0, SIZES["vocab_size"], (3, 11))
KEPT = np.ones_like(PROMPTS)
KEPT[1, :7] = 0  # more padding than a window
KEPT[2, :1] = 0


def check_greedy(loaded: Loaded) -> None:
    """The tokens that Transformers decodes, from prompts with padding on the left."""
    with torch.no_grad():
        wanted = loaded.reference.generate(
            torch.from_numpy(PROMPTS),
            attention_mask=torch.from_numpy(KEPT),
            max_new_tokens=32,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    found = loaded.model.generate(PROMPTS, 32, KEPT, eos_token_id=())
    np.testing.assert_array_equal(found, wanted.numpy())


@pytest.mark.parametrize("kind", FAST)
def test_architecture(kind: str, tmp_path: Path) -> None:
    loaded = load(make(kind, FAST[kind]), tmp_path)
    check(loaded)
    check_greedy(loaded)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SLOW)
def test_more_architectures(kind: str, tmp_path: Path) -> None:
    loaded = load(make(kind, SLOW[kind]), tmp_path)
    check(loaded)
    check_greedy(loaded)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_variants(name: str, tmp_path: Path) -> None:
    kind, changes = VARIANTS[name]
    loaded = load(make(kind, {**FAST.get(kind, {}), **SLOW.get(kind, {}), **changes}), tmp_path)
    check(loaded)
    check_greedy(loaded)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*FAST, *SLOW])
def test_bf16(kind: str, tmp_path: Path) -> None:
    changes = {**FAST, **SLOW}[kind]
    check(load(make(kind, changes, "bfloat16"), tmp_path))


def empty(kind: str) -> dict[str, Any]:
    return {"model_type": kind, **({"text_config": {}} if kind in MULTIMODAL else {})}


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_defaults_are_those_of_transformers(kind: str) -> None:
    """A configuration that leaves everything out is the one that Transformers makes of it."""
    config = AutoConfig.for_model(kind)
    whole = json.loads(config.to_json_string(use_diff=False))
    found = read_config(HfConfig(empty(kind), "empty"))
    assert found == read_config(HfConfig(whole, "whole"))
    assert found == read_config(HfConfig(json.loads(config.to_json_string()), "differences"))


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_fields_that_nobody_knows(kind: str) -> None:
    fields = empty(kind)
    with pytest.raises(ConfigError, match="config: field 'attention_sinks' is not known"):
        read_config(HfConfig({**fields, "attention_sinks": 4}, "config"))
    if kind in MULTIMODAL:
        fields["text_config"] = {"attention_sinks": 4}
        with pytest.raises(ConfigError, match="text_config: field 'attention_sinks' is not known"):
            read_config(HfConfig(fields, "config"))
