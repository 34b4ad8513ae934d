"""Parity of every architecture with Transformers, as in `test_parity`: logits, keys and values.

Each configuration is tiny and uses all that the architecture has: several layers of each kind, a
window shorter than the sequence, heads that share keys and values, biases, odd sizes.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from test_parity import IDS, LLAMA3, MASK, Case, Loaded, check, load
from transformers import AutoConfig, DynamicCache
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

import rlx
from rlx import dtypes
from rlx.flow import ConfigError, DictWeights, WeightError
from rlx.flow.layout import LayoutWeights
from rlx.flow.recipes import MODEL_TYPES, HfConfig, read_config
from rlx.models import Model

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

GPT2 = {
    **dict.fromkeys(SIZES),
    "vocab_size": 61,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 48,
    "n_inner": 40,
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
        **layers("sfsf"),
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
    "gpt2": {**GPT2, "scale_attn_by_inverse_layer_idx": True},
    "gpt_bigcode": GPT2,
    "gpt_neo": {
        "num_hidden_layers": None,
        "num_layers": 3,
        "num_attention_heads": None,
        "num_heads": 4,
        "num_key_value_heads": None,
        "attention_types": [[["local"], 1], [["global", "local"], 1]],
        "window_size": 5,
    },
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
    "gpt_bigcode-heads": ("gpt_bigcode", {"multi_query": False, "scale_attn_weights": False}),
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
    """As close to f32 with the same weights as 2e-2, or as Transformers in bf16 is.

    Both are for the median of the rows' relative errors: where two experts are nearly equal,
    rounding decides which of them a row uses. Without experts they hold for all rows together.
    """
    loaded = load(make(kind, {**FAST, **SLOW}[kind], "bfloat16"), tmp_path)
    # PyTorch's fast experts take sizes that are multiples of 16 bytes only.
    loaded.reference.config._experts_implementation = "eager"
    logits, taps = loaded.model.taps(IDS, MASK)
    found = [logits, *(array for pair in taps for array in pair)]
    assert {array.dtype for array in found} == {dtypes.NAMES["bf16"]}
    experts = any(layer.moe for layer in loaded.model.config.layers)
    live = MASK.astype(bool)
    for ours, theirs, exact in zip(
        found, reference(loaded.reference), reference(loaded.exact), strict=True
    ):
        assert ours.shape == exact.shape
        own, limit = (
            distance(array[live].astype(np.float32), exact[live], by_row=experts)
            for array in (ours, theirs)
        )
        assert own <= max(2e-2, 1.1 * limit)


def distance(found: np.ndarray, wanted: np.ndarray, *, by_row: bool) -> float:
    if by_row:
        return np.median(np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1))
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


def reference(model: Any) -> list[np.ndarray]:
    """Logits, then keys and values of each layer as [B, S, heads * head_dim]."""
    cache = DynamicCache()
    with torch.no_grad():
        output = model(
            torch.from_numpy(IDS), attention_mask=torch.from_numpy(MASK), past_key_values=cache
        )
    kept = [x for layer in cache.layers for x in (layer.keys, layer.values)]
    flat = [x.transpose(1, 2).flatten(2) for x in kept]
    return [x.float().numpy() for x in (output.logits, *flat)]


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


def save(kind: str, folder: Path, **changes: Any) -> dict[str, np.ndarray]:
    """A random model in a folder; returns its weights."""
    case = make(kind, {**{**FAST, **SLOW}[kind], **changes})
    case.model._from_config(case.config).save_pretrained(folder)
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("kind", "key", "shape", "message"),
    [
        (
            "phi3",
            "model.layers.1.self_attn.qkv_proj.weight",
            (65, 32),
            r"'model\.layers\.1\.self_attn\.qkv_proj\.weight' in .*model\.safetensors to have 64 "
            r"outputs, .*but its shape is \[65, 32\]",
        ),
        ("phi3", "model.layers.0.mlp.gate_up_proj.weight", None, "missing weight 'KEY'"),
        (
            "gpt_neox",
            "gpt_neox.layers.0.attention.query_key_value.bias",
            (48,),
            "expected 'KEY' in .* to have 96 outputs",
        ),
        ("gpt_neox", "gpt_neox.embed_in.weight", None, "missing weight 'KEY'"),
        ("qwen3_moe", "model.layers.0.mlp.experts.3.up_proj.weight", None, "missing weight 'KEY'"),
        (
            "qwen3_moe",
            "model.layers.0.mlp.experts.3.up_proj.weight",
            (25, 32),
            r"expected 'KEY' in .* to be float32\[24, 32\] like .*, but it is float32\[25, 32\]",
        ),
        (
            "qwen3_moe",
            "model.layers.0.mlp.experts.5.up_proj.weight",
            (24, 32),
            "holds 'KEY', which the configuration has no place for",
        ),
        (
            "gemma4_text",
            "model.layers.1.layer_scalar",
            (2,),
            r"expects weight 'KEY' of shape \[1\], but it is \[2\]",
        ),
        ("gemma4_text", "model.embed_tokens_per_layer.weight", None, "missing weight 'KEY'"),
    ],
)
def test_weights_that_do_not_fit(
    kind: str, key: str, shape: tuple[int, ...] | None, message: str, tmp_path: Path
) -> None:
    weights = save(kind, tmp_path)
    weights.pop(key, None)
    if shape is not None:
        weights[key] = np.zeros(shape, np.float32)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(WeightError, match=message.replace("KEY", re.escape(key))):
        _ = rlx.load_model(tmp_path, dtype="f32").built


def test_text_part_of_gemma4(tmp_path: Path) -> None:
    weights = save("gemma4_text", tmp_path)
    alone = rlx.load_model(tmp_path)
    prefix = "model.language_model."
    moved = {prefix + key.removeprefix("model."): array for key, array in weights.items()}
    moved["model.vision_tower.patch.weight"] = np.zeros(3, np.float32)
    save_file(moved, tmp_path / "model.safetensors")
    path = tmp_path / "config.json"
    text = json.loads(path.read_text())
    whole = {"model_type": "gemma4", "text_config": text, "vision_config": {}, "image_token_id": 9}
    path.write_text(json.dumps(whole))
    model = rlx.load_model(tmp_path)
    assert model.config == alone.config
    assert str(model.module).replace(prefix, "model.") == str(alone.module)


def test_learned_positions_end(tmp_path: Path) -> None:
    save("gpt2", tmp_path)
    assert rlx.load_model(tmp_path, max_positions=20).max_positions == 20
    with pytest.raises(ConfigError, match="at most 48, the positions that the model has"):
        rlx.load_model(tmp_path, max_positions=49)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("mistral", {"sliding_window": 0}, "expected sliding_window of at least 1"),
        ("qwen2", {"layer_types": ["sliding_attention"] * 32}, "expected sliding_window of at"),
        ("gemma2", {"query_pre_attn_scalar": -1}, "expected query_pre_attn_scalar above 0, got -1"),
        ("gemma", {"use_bidirectional_attention": True}, "'use_bidirectional_attention': True"),
        ("phi3", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "unsupported rope_type"),
        ("phi3", {"partial_rotary_factor": 1.5}, "expected partial_rotary_factor above 0 and"),
        ("phi3", {"head_dim": 16}, "field 'head_dim' is not known"),
        ("gpt_neox", {"rotary_pct": 0.1}, "expected an even number of rotated dims, got 9"),
        ("gpt_neox", {"num_key_value_heads": 2}, "'num_key_value_heads': 2 is not supported"),
        ("gptj", {"rotary_dim": 7}, "expected rotary_dim even and at most 256, got 7"),
        ("glm", {"partial_rotary_factor": "half"}, "expected a number as 'partial_rotary_factor'"),
        ("qwen3", {"partial_rotary_factor": 0.5}, "this architecture rotates whole heads"),
        ("qwen3_moe", {"num_experts": 0}, "expected 'num_experts' of at least 1, got 0"),
        ("mixtral", {"sliding_window": "5"}, "expected an integer as 'sliding_window', got '5'"),
        ("falcon", {"alibi": True}, "'alibi': True is not supported: positions are turned by RoPE"),
        ("falcon", {"num_ln_in_parallel_attn": 2}, "unsupported combination of parallel_attn"),
        ("falcon", {"multi_query": False, "num_kv_heads": 2}, "expected num_kv_heads 71 without"),
        ("gpt2", {"add_cross_attention": True}, "'add_cross_attention': True is not supported"),
        ("gpt2", {"n_ctx": 5, "n_head": 5}, "hidden_size 768 to be a multiple of num_attention_h"),
        (
            "gpt_neo",
            {"attention_types": ["local"]},
            r"expected \[kinds, count\] in attention",
        ),
        ("gpt_neo", {"attention_types": [[["far"], 24]]}, "unsupported attention type 'far'"),
        ("gpt_neo", {"num_layers": 3}, "expected attention_types of 3 layers, got 24"),
        ("granite", {"logits_scaling": 0}, "expected logits_scaling above 0, got 0"),
        ("smollm3", {"no_rope_layers": [1]}, "expected 36 no_rope_layers .*, got 1"),
        (
            "exaone4",
            {"sliding_window_pattern": "LLLG"},
            "expected layer_types or a number as",
        ),
        ("olmo", {"rms_norm_eps": 1e-6}, "'rms_norm_eps': 1e-06 is not supported: norms are layer"),
        ("cohere", {"use_gated_activation": False}, "'use_gated_activation': False is not"),
        (
            "hunyuan_v1_dense",
            {"rope_scaling": {"type": "dynamic", "alpha": -1}},
            "above 0 as 'al",
        ),
        ("starcoder2", {"mlp_type": "gated"}, "'mlp_type': 'gated' is not supported"),
        ("gemma4_text", {"use_bidirectional_attention": "all"}, "only causal attention is"),
        (
            "gemma4_text",
            {"num_kv_shared_layers": 30},
            "num_kv_shared_layers below num_hidden",
        ),
        (
            "gemma4_text",
            {"num_kv_shared_layers": 26},
            "layer 5 shares keys and values, but no",
        ),
        ("gemma4_text", {"enable_moe_block": True}, "field 'num_experts' is missing"),
        (
            "gemma4_text",
            {"vocab_size_per_layer_input": 9},
            "vocab_size_per_layer_input of at least",
        ),
        (
            "gemma4_text",
            {"per_layer_config": {"5": {"head_dim": 32}}},
            r"expected one head_dim for all 'full_attention' layers, got \[32, 256\]",
        ),
        (
            "gemma4_text",
            {"per_layer_config": {"5": {"intermediate_size": 32}}},
            "per_layer_config: 5: field 'intermediate_size' is not known",
        ),
        ("gemma4_text", {"per_layer_config": {"30": {}}}, "expected an object per layer number"),
        (
            "gemma4_text",
            {
                "layer_types": ["full_attention"] * 30,
                "rope_parameters": {"full_attention": {"partial_rotary_factor": 0.5}},
            },
            "'partial_rotary_factor' is supported for 'proportional' RoPE only",
        ),
    ],
)
def test_configurations_that_are_refused(kind: str, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(HfConfig({"model_type": kind, **changes}, "config.json"))
    assert str(caught.value).startswith("config.json")


def test_example_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "Architectures.md").read_text()
    names: dict[str, Any] = {}
    exec(text.split("```python")[1].split("```")[0], names)
    monkeypatch.setitem(MODEL_TYPES, "breeze", names["read_breeze"])
    fields = {key: value for key, value in SIZES.items() if key != "pad_token_id"}
    config = read_config(HfConfig({"model_type": "breeze", "sliding_window": 5, **fields}, "here"))
    shapes = {
        "model.embed_tokens.weight": (61, 32),
        "model.norm.weight": (32,),
        "lm_head.weight": (61, 32),
    }
    for index in range(2):
        shapes |= {
            f"model.layers.{index}.{name}.weight": shape
            for name, shape in {
                "input_layernorm": (32,),
                "post_attention_layernorm": (32,),
                "self_attn.W_pack": (64, 32),
                "self_attn.q_norm": (8,),
                "self_attn.k_norm": (8,),
                "self_attn.o_proj": (32, 32),
                "mlp.up_proj": (40, 32),
                "mlp.down_proj": (32, 40),
            }.items()
        }
    random = np.random.default_rng(0)
    arrays = {key: random.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    model = Model(config, LayoutWeights(DictWeights(arrays), config.layout))
    text = str(model.module)
    # The first of the two layers has a window.
    assert text.count("left_window = 4") == 1 and text.count("weight_offset") == 0
    assert "model.layers.1.self_attn.k_proj.weight" in model.built.parameters
