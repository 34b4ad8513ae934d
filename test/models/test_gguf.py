"""GGUF files: the numbers of the checkpoint they were made from, and what is refused."""

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file
from test_parity import FAST

import rlx
from rlx.flow import ConfigError, WeightError
from rlx.flow.gguf import _ARCHS, GgufWeights

KIND = gguf.GGMLQuantizationType
IDS = np.random.default_rng(0).integers(0, 96, (2, 20))
SIZES = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,  # of two kinds
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 6}
FULL, SLIDING = "full_attention", "sliding_attention"

# Per llama.cpp architecture: Hugging Face's class and what its configuration says beyond the sizes.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"rope_theta": 5e5}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
    "gemma": ("Gemma", {"head_dim": 16}),
    "gemma2": ("Gemma2", {**GEMMA, "attn_logit_softcapping": 20.0, "final_logit_softcapping": 9.0}),
    "gemma3": (
        "Gemma3Text",
        {
            **GEMMA,
            "layer_types": [SLIDING, SLIDING, FULL],
            "rope_parameters": {
                FULL: {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6},
                SLIDING: {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
}


def make_checkpoint(folder: Path, arch: str, **changes: Any) -> dict[str, np.ndarray]:
    """A checkpoint in Hugging Face layout; returns its weights."""
    name, own = MODELS[arch]
    module = name.removesuffix("Text")
    config = getattr(transformers, f"{name}Config")(**{**SIZES, **own, **changes})
    torch.manual_seed(0)
    model = getattr(transformers, f"{module}ForCausalLM")(config)
    for parameter in model.parameters():
        size = 0.2 if parameter.ndim == 1 else parameter.shape[1] ** -0.5
        parameter.data += torch.randn_like(parameter) * size
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def pairs(rows: np.ndarray, heads: int) -> np.ndarray:
    """The order in which llama.cpp wants the rows of Llama's queries and keys."""
    split = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return split.swapaxes(1, 2).reshape(rows.shape)


def converted(arch: str, key: str, array: np.ndarray) -> np.ndarray:
    """What the converter of llama.cpp makes of a weight."""
    if arch == "llama" and ".q_proj." in key:
        return pairs(array, SIZES["num_attention_heads"])
    if arch == "llama" and ".k_proj." in key:
        return pairs(array, SIZES["num_key_value_heads"])
    if arch.startswith("gemma") and key.endswith("norm.weight"):
        return array + 1
    return array


def write(
    path: Path,
    arch: str,
    weights: dict[str, np.ndarray],
    kind: KIND = KIND.F32,
    metadata: dict[str, Any] | None = None,
    extra: dict[str, np.ndarray] | None = None,
    **changes: Any,
) -> dict[str, np.ndarray]:
    """Writes a GGUF file, matrices as ``kind``; returns the weights as the file has them."""
    writer = gguf.GGUFWriter(str(path), arch)
    sizes = {**SIZES, **changes}
    own = {"head_dim": sizes["hidden_size"] // sizes["num_attention_heads"], **MODELS[arch][1]}
    writer.add_context_length(sizes["max_position_embeddings"])
    writer.add_embedding_length(sizes["hidden_size"])
    writer.add_block_count(sizes["num_hidden_layers"])
    writer.add_feed_forward_length(sizes["intermediate_size"])
    writer.add_head_count(sizes["num_attention_heads"])
    writer.add_head_count_kv(sizes["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(sizes["rms_norm_eps"])
    writer.add_eos_token_id(sizes["eos_token_id"])
    writer.add_pad_token_id(sizes["pad_token_id"])
    writer.add_key_length(own["head_dim"])
    writer.add_value_length(own["head_dim"])
    if arch == "llama":
        writer.add_rope_dimension_count(own["head_dim"])
        writer.add_rope_freq_base(own["rope_theta"])
    if arch in ("gemma2", "gemma3"):
        writer.add_sliding_window(own["sliding_window"])
    if arch == "gemma2":
        writer.add_attn_logit_softcapping(own["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(own["final_logit_softcapping"])
    if arch == "gemma3":
        writer.add_rope_freq_base(1e6)
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(4.0)
        # The pattern of real files, every sixth layer, is implied.
        writer.add_sliding_window_pattern([kind == SLIDING for kind in own["layer_types"]])
    for key, value in (metadata or {}).items():
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    names = gguf.get_tensor_name_map(writer_arch(arch), sizes["num_hidden_layers"])
    kept = {}
    for key, array in weights.items():
        array = converted(arch, key, array)
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        kept[key] = array
        if array.ndim == 2 and kind != KIND.F32:
            data = pack(array, kind)
            kept[key] = gguf.quants.dequantize(data, kind).reshape(array.shape)
            raw = np.float16 if kind == KIND.F16 else None
            writer.add_tensor(name, data if raw is None else data.view(raw), raw_dtype=kind)
        else:
            writer.add_tensor(name, np.ascontiguousarray(array, np.float32))
    for name, array in (extra or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kept


def writer_arch(name: str) -> Any:
    return next(arch for arch, text in gguf.MODEL_ARCH_NAMES.items() if text == name)


def pack(array: np.ndarray, kind: KIND) -> np.ndarray:
    if kind != KIND.Q4_K:
        return gguf.quants.quantize(array, kind)
    # The package only unpacks these: any bytes do, with scales of a sensible size.
    blocks, size = array.size // 256, 144
    data = np.random.default_rng(array.size).integers(0, 256, (blocks, size), np.uint8)
    data[:, :4] = np.array([5e-4, 4e-3], np.float16).view(np.uint8)
    return data.reshape(array.shape[0], -1)


def relative(actual: np.ndarray, wanted: np.ndarray) -> float:
    assert actual.shape == wanted.shape
    return np.abs(actual.astype(np.float64) - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize("arch", list(MODELS))
def test_round_trip(arch: str, tmp_path: Path) -> None:
    weights = make_checkpoint(tmp_path, arch)
    write(tmp_path / "model.gguf", arch, weights)
    expected = rlx.load_model(tmp_path, FAST)
    model = rlx.load_model(tmp_path / "model.gguf", FAST)
    for field in ("vocab_size", "layers", "ropes", "norm_epsilon", "embed_scale", "tied"):
        assert getattr(model.config, field) == getattr(expected.config, field), field
    assert model.max_positions == 64
    wanted = expected.logits(IDS)
    assert relative(model.logits(IDS), wanted) < (1e-5 if arch.startswith("gemma") else 1e-6)


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        (KIND.F16, np.float16),
        (KIND.BF16, ml_dtypes.bfloat16),
        (KIND.Q8_0, np.float32),
        (KIND.Q4_K, np.float32),
        (KIND.Q4_0, np.float32),
    ],
)
def test_kinds(kind: KIND, stored: Any, tmp_path: Path) -> None:
    sizes = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1}
    weights = make_checkpoint(tmp_path, "qwen2", **sizes)
    path = tmp_path / "model.gguf"
    kept = write(path, "qwen2", weights, kind, **sizes)
    source = GgufWeights(path)
    assert set(source.keys()) == set(weights)
    for key, array in kept.items():
        found = source.get(key)
        assert found.shape == array.shape
        assert found.dtype == (stored if array.ndim == 2 else np.float32), key
        np.testing.assert_array_equal(np.asarray(found).astype(np.float32), array)
    # The same numbers as the unpacked weights in a checkpoint.
    save_file(kept, tmp_path / "model.safetensors")
    model = rlx.load_model(path)
    assert model.weights.get("model.embed_tokens.weight").dtype == stored
    actual = rlx.load_model(path, FAST, dtype="f32").logits(IDS[:, :5])
    assert relative(actual, rlx.load_model(tmp_path, FAST, dtype="f32").logits(IDS[:, :5])) < 1e-6


def test_floats_are_used_where_they_lie(tmp_path: Path) -> None:
    weights = make_checkpoint(tmp_path, "qwen2")
    write(tmp_path / "model.gguf", "qwen2", weights, KIND.BF16)
    source = GgufWeights(tmp_path / "model.gguf")
    array = source.get("model.layers.1.mlp.up_proj.weight")
    assert isinstance(array, np.ndarray) and array.dtype == ml_dtypes.bfloat16
    assert not array.flags.owndata and not array.flags.writeable
    assert source.get("model.layers.1.mlp.up_proj.weight") is array


def test_llama3_factors(tmp_path: Path) -> None:
    """llama.cpp divides frequencies by factors that lie beside the weights."""
    llama3 = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
        "rope_theta": 5e5,
    }
    weights = make_checkpoint(tmp_path, "llama", rope_parameters=llama3)
    expected = rlx.load_model(tmp_path, FAST)
    ((_, spec),) = expected.config.ropes
    plain = spec.theta ** -(np.arange(0, 16, 2) / 16)
    factors = (plain / spec.frequencies()[0]).astype(np.float32)
    assert factors.max() > 7 and factors.min() == 1
    write(tmp_path / "m.gguf", "llama", weights, extra={"rope_freqs.weight": factors})
    assert (
        relative(rlx.load_model(tmp_path / "m.gguf", FAST).logits(IDS), expected.logits(IDS)) < 1e-5
    )


@pytest.mark.parametrize("arch", list(MODELS))
def test_names_are_those_of_the_converter(arch: str) -> None:
    names = gguf.get_tensor_name_map(writer_arch(arch), 3)
    found = {}
    for theirs, ours in _ARCHS[arch].names.items():
        layer = not ours.startswith(("model.", "lm_head"))
        found[f"blk.2.{theirs}" if layer else theirs] = names.get_name(
            f"model.layers.2.{ours}" if layer else ours
        )
    # Norms of queries and keys, and a head, are not part of every architecture.
    known = {key: name for key, name in found.items() if name is not None}
    assert known == {key: key for key in known} and len(known) >= 11


# -- refusals ------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    return tmp_path / "model.gguf", make_checkpoint(tmp_path, "llama")


@pytest.mark.parametrize(
    ("metadata", "extra", "error", "message"),
    [
        ({"llama.expert_count": 8}, {}, ConfigError, "metadata 'llama.expert_count' is not known"),
        ({"split.count": 3}, {}, WeightError, "is one of several files; merge them first"),
        (
            {"llama.rope.scaling.type": "su"},
            {},
            ConfigError,
            "unknown llama.rope.scaling.type 'su'",
        ),
        ({}, {"blk.0.ffn_gate_inp.weight": np.ones(3)}, WeightError, "holds 'blk.0.ffn_gate_inp.w"),
        ({}, {"blk.0.output.weight": np.ones(3)}, WeightError, "holds 'blk.0.output.weight'"),
        ({}, {"rope_freqs.weight": np.ones(3)}, ConfigError, "'rope_freqs.weight' does not fit"),
        ({}, {"blk.9.ffn_norm.weight": np.ones(3)}, WeightError, "layers.9.post_attention_layer"),
    ],
)
def test_what_is_not_supported(
    made: tuple, metadata: dict, extra: dict, error: type, message: str
) -> None:
    path, weights = made
    write(path, "llama", weights, metadata=metadata, extra=extra)
    with pytest.raises(error) as caught:
        rlx.load_model(path).logits(IDS)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_missing_weights(made: tuple) -> None:
    path, weights = made
    del weights["model.layers.1.mlp.up_proj.weight"]
    write(path, "llama", weights)
    message = r"missing weight 'model\.layers\.1\.mlp\.up_proj\.weight' in .*model\.gguf"
    with pytest.raises(WeightError, match=message):
        rlx.load_model(path).logits(IDS)


def test_damaged_files(made: tuple) -> None:
    path, weights = made
    write(path, "llama", weights)
    content = path.read_bytes()
    for damaged in (content[:3], content[:40], content[: len(content) // 2], b"", b"x" * 100):
        path.write_bytes(damaged)
        with pytest.raises(WeightError, match=r"cannot read weight file .*model\.gguf"):
            rlx.load_model(path)
    with pytest.raises(WeightError, match=r"no such weight file: .*nowhere\.gguf"):
        rlx.load_model(path.parent / "nowhere.gguf")


def test_unknown_architecture(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(WeightError, match=r"unknown architecture 'mamba'; known: llama, qwen2"):
        rlx.load_model(tmp_path / "m.gguf")


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(WeightError, match=r"needs the package gguf: install rlx with the extra"):
        rlx.load_model(tmp_path / "m.gguf")


def test_special_tokens(made: tuple) -> None:
    path, weights = made
    write(path, "llama", weights)
    fields = GgufWeights(path).config().fields
    assert (fields["eos_token_id"], fields["pad_token_id"]) == (2, 0)
    json.dumps(fields)  # nothing but plain Python objects
