"""Configurations: both generations of Hugging Face's fields, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlx.flow import ConfigError
from rlx.flow.recipes import DecoderConfig, HfConfig, read_config

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "torch_dtype": "float32",
    "transformers_version": "4.44.0",
}
GEMMA: dict[str, Any] = {
    "model_type": "gemma3_text",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "sliding_window": 5,
    "query_pre_attn_scalar": 24,
    "max_position_embeddings": 64,
}


def read(base: dict[str, Any], **changes: Any) -> DecoderConfig:
    return read_config(HfConfig({**base, **changes}, "config.json"))


def test_llama_defaults() -> None:
    config = read({"model_type": "llama"})
    assert (config.vocab_size, config.hidden_size, len(config.layers)) == (32000, 4096, 32)
    layer = config.layers[0]
    assert (layer.num_heads, layer.num_kv_heads, layer.head_dim) == (32, 32, 128)
    assert layer.intermediate_size == 11008 and layer.activation == "silu"
    assert not (layer.qkv_bias or layer.o_bias or layer.mlp_bias or layer.qk_norm)
    assert config.norm_epsilon == 1e-6 and config.norm_offset == 0 and not config.tied
    assert config.max_positions == 2048 and config.embed_scale is None
    assert dict(config.ropes)[""].theta == 10000.0


def test_llama_old_and_new_rope_fields_agree() -> None:
    scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    old = read(LLAMA, rope_theta=500000.0, rope_scaling={"type": "llama3", **scaling})
    new = read(LLAMA, rope_parameters={"rope_type": "llama3", "rope_theta": 500000.0, **scaling})
    assert old == new
    spec = dict(new.ropes)[""]
    assert (spec.kind, spec.theta, spec.dim) == ("llama3", 500000.0, 8)
    # Transformers takes the longest sequence where the pretrained one is not given.
    assert dict(spec.fields)["original_max_position_embeddings"] == 64
    assert read(LLAMA, rope_theta=7.0, rope_scaling=None) == read(
        LLAMA, rope_parameters={"rope_type": "default", "rope_theta": 7.0}
    )


def test_llama_options() -> None:
    config = read(
        LLAMA,
        attention_bias=True,
        mlp_bias=True,
        head_dim=16,
        tie_word_embeddings=True,
        hidden_act="gelu",
        num_key_value_heads=None,
    )
    layer = config.layers[0]
    assert layer.qkv_bias and layer.o_bias and layer.mlp_bias and config.tied
    assert (layer.head_dim, layer.num_kv_heads, layer.activation) == (16, 4, "gelu")


def test_gemma_defaults() -> None:
    config = read({"model_type": "gemma3_text"})
    layer = config.layers[0]
    assert (config.vocab_size, config.hidden_size, len(config.layers)) == (262208, 2304, 26)
    assert (layer.num_heads, layer.num_kv_heads, layer.head_dim) == (8, 4, 256)
    assert layer.score_scale == 256**-0.5 and layer.qk_norm
    assert config.embed_scale == 48.0 and config.norm_offset == 1.0 and config.tied
    kinds = [layer.sliding_window for layer in config.layers]
    assert [index for index, window in enumerate(kinds) if window is None] == [5, 11, 17, 23]
    assert kinds[0] == 4096
    ropes = dict(config.ropes)
    assert ropes["full_attention"].theta == 1e6 and ropes["sliding_attention"].theta == 1e4


def test_gemma_old_and_new_fields_agree() -> None:
    old = read(
        GEMMA,
        rope_theta=2e6,
        rope_local_base_freq=3e4,
        rope_scaling={"rope_type": "linear", "factor": 8.0},
        sliding_window_pattern=3,
    )
    new = read(
        GEMMA,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 2e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 3e4},
        },
        layer_types=[
            "full_attention" if index in (2, 5) else "sliding_attention" for index in range(7)
        ],
    )
    assert old == new
    assert dict(new.ropes)["full_attention"].kind == "linear"
    assert dict(new.ropes)["sliding_attention"].kind == "default"


def test_gemma_needs_only_the_tables_of_its_layers() -> None:
    config = read(GEMMA, layer_types=["sliding_attention"] * 7)
    assert [name for name, _ in config.ropes] == ["sliding_attention"]
    assert {layer.rope for layer in config.layers} == {"sliding_attention"}


def test_gemma_text_part_of_a_multimodal_configuration() -> None:
    config = read(
        {
            "model_type": "gemma3",
            "text_config": GEMMA,
            "vision_config": {"hidden_size": 3},
            "mm_tokens_per_image": 4,
            "image_token_index": 60,
        }
    )
    assert config == read(GEMMA)
    with pytest.raises(ConfigError, match="'text_config' is missing"):
        read({"model_type": "gemma3"})


@pytest.mark.parametrize("base", [LLAMA, GEMMA], ids=["llama", "gemma"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "mamba"},
            r"unknown model_type 'mamba'; known: .*gemma3, .*llama, ",
        ),
        ({"model_type": None}, "unknown model_type None"),
        ({"quantization_config": {"bits": 4}}, "field 'quantization_config' is not known"),
        ({"use_rope": False}, "field 'use_rope' is not known"),
        ({"is_encoder_decoder": True}, "field 'is_encoder_decoder' is not known"),
        ({"num_experts": 8}, "field 'num_experts' is not known"),
        ({"hidden_sise": 8}, r"field 'hidden_sise' is not known .*; did you mean 'hidden_size'\?"),
        ({"hidden_size": "32"}, "expected an integer as 'hidden_size', got '32'"),
        ({"hidden_size": 0}, "expected 'hidden_size' of at least 1, got 0"),
        ({"hidden_size": True}, "expected an integer as 'hidden_size'"),
        ({"num_key_value_heads": 3}, "num_attention_heads 4 to be a multiple of .* 3"),
        ({"rms_norm_eps": "small"}, "expected a number as 'rms_norm_eps'"),
        ({"tie_word_embeddings": 1}, "expected true or false as 'tie_word_embeddings'"),
        ({"rope_parameters": [1]}, "expected a JSON dict as 'rope_parameters'"),
        ({"rope_scaling": {"type": "ntk"}}, "unknown rope_type 'ntk'"),
        ({"rope_scaling": {"partial_rotary_factor": 0.5}}, "rotates whole heads"),
    ],
)
def test_refusals(base: dict, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(base, **changes)
    assert str(caught.value).startswith("config.json")


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (LLAMA, {"hidden_act": "quick_gelu"}, "unsupported hidden_act 'quick_gelu'; supported: "),
        (LLAMA, {"hidden_size": 34}, "hidden_size 34 to be a multiple of num_attention_heads 4"),
        (LLAMA, {"sliding_window": 5}, "field 'sliding_window' is not known"),
        (LLAMA, {"partial_rotary_factor": 0.5}, "'partial_rotary_factor': 0.5 is not supported"),
        (GEMMA, {"hidden_activation": "tanh"}, "unsupported hidden_activation 'tanh'"),
        (GEMMA, {"layer_types": ["full_attention"]}, "expected 7 layer_types .*, got 1"),
        (GEMMA, {"layer_types": ["chunked_attention"] * 7}, "unsupported layer type 'chunked"),
        (GEMMA, {"use_bidirectional_attention": True}, "'use_bidirectional_attention': True"),
        (GEMMA, {"query_pre_attn_scalar": 0}, "expected query_pre_attn_scalar above 0"),
        (GEMMA, {"rope_parameters": {"rope_type": "linear"}}, "expected 'full_attention' and"),
        (GEMMA, {"rope_parameters": {"full_attention": 3}}, "expected an object as 'full_att"),
    ],
)
def test_refusals_of_one_type(base: dict, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(base, **changes)


def test_fields_that_change_nothing_are_accepted() -> None:
    extra = {
        "_name_or_path": "x",
        "use_cache": False,
        "unknown_but_null": None,
        "is_encoder_decoder": False,
        "eos_token_id": [1, 2],
        "attention_dropout": 0.1,
    }
    assert read(LLAMA, **extra) == read(LLAMA)
    assert read(GEMMA, **extra) == read(GEMMA)


def test_unreadable_configurations(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(ConfigError, match=r"no such configuration: .*config\.json"):
        HfConfig.load(path)
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"cannot read configuration .*config\.json"):
        HfConfig.load(path)
    path.write_text("[]")
    with pytest.raises(ConfigError, match=r"expected a JSON object in .*config\.json"):
        HfConfig.load(path)
    path.write_text(json.dumps(LLAMA))
    assert read_config(HfConfig.load(path)) == read(LLAMA)
