"""`load_model`: what it reads, what it refuses, and what it says."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import rlx
from rlx import dtypes
from rlx.flow import ConfigError, FlowError, MissingWeightError, WeightError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TINY = EXAMPLES / "tiny-gemma3"


def maker() -> Any:
    spec = importlib.util.spec_from_file_location("maker", EXAMPLES / "make_tiny_gemma3.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, to be damaged."""
    for name in ("config.json", "model.safetensors"):
        shutil.copy(TINY / name, tmp_path)
    return tmp_path


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_weights(folder: Path, **changes: np.ndarray | None) -> None:
    path = folder / "model.safetensors"
    weights = {**load_file(path), **changes}
    save_file({key: array for key, array in weights.items() if array is not None}, path)


def build(folder: Path) -> Any:
    return rlx.load_model(folder).built


def test_the_committed_checkpoint_is_what_its_maker_makes(tmp_path: Path) -> None:
    maker().make_checkpoint(tmp_path)
    for name in ("config.json", "tokenizer.json"):
        assert json.loads((tmp_path / name).read_text()) == json.loads((TINY / name).read_text())
    made, committed = (load_file(path / "model.safetensors") for path in (tmp_path, TINY))
    assert made.keys() == committed.keys()
    for key, array in made.items():
        np.testing.assert_array_equal(array, committed[key])


def test_what_is_built() -> None:
    model = rlx.load_model(TINY)
    built = model.built
    assert [str(spec) for spec in built.inputs] == ["input_ids: BxSxi64"]
    assert [str(spec) for spec in built.outputs] == ["logits: ?x?x256xf32"]
    assert model.module is built.module and model.flow.name == "gemma3_text"
    text = str(model.module)
    assert "rlx.attention" in text and "model.layers.3.mlp.down_proj.weight" in text
    # A tied head is one parameter.
    assert "lm_head.weight" not in built.parameters
    assert set(load_file(TINY / "model.safetensors")) < set(built.parameters)
    assert "rope.full_attention.cos" in built.parameters


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (None, np.float32),
        ("f32", np.float32),
        ("bf16", ml_dtypes.bfloat16),
        ("bfloat16", ml_dtypes.bfloat16),
        (ml_dtypes.bfloat16, ml_dtypes.bfloat16),
        ("f16", np.float16),
        (np.float16, np.float16),
    ],
)
def test_dtypes(dtype: Any, expected: Any) -> None:
    built = rlx.load_model(TINY, dtype=dtype).built
    for name, array in built.parameters.items():
        assert array.dtype == (np.float32 if name.startswith("rope.") else expected), name
    assert dtypes.NAMES[built.outputs[0].dtype] == expected


def test_dtype_comes_from_the_configuration_or_else_the_weights(folder: Path) -> None:
    change_config(folder, dtype="bfloat16")
    assert build(folder).outputs[0].dtype == "bf16"
    change_config(folder, dtype=None, torch_dtype="float16")
    assert build(folder).outputs[0].dtype == "f16"
    change_config(folder, torch_dtype=None)
    assert build(folder).outputs[0].dtype == "f32"
    change_config(folder, dtype="float64")
    with pytest.raises(ConfigError, match=r"config\.json: unsupported dtype 'float64'"):
        build(folder)
    assert rlx.load_model(folder, dtype="f32").built.outputs[0].dtype == "f32"
    for bad in ("int8", np.int8, 3, object):
        with pytest.raises(ValueError, match="expected dtype 'f32', 'bf16' or 'f16', got "):
            rlx.load_model(folder, dtype=bad)


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model.", ""])
def test_weights_of_other_layouts(folder: Path, prefix: str) -> None:
    weights = load_file(folder / "model.safetensors")
    moved = {prefix + key.removeprefix("model."): array for key, array in weights.items()}
    if prefix:
        moved["vision_tower.patch.weight"] = np.zeros(3, np.float32)
        moved["model.vision_tower.patch.weight"] = np.zeros(3, np.float32)
    save_file(moved, folder / "model.safetensors")
    built = build(folder)
    assert f"{prefix}layers.0.mlp.up_proj.weight" in built.parameters
    assert len(built.parameters) == len(rlx.load_model(TINY).built.parameters)


# -- contradictions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"num_attention_heads": 8},
            r"SelfAttnPrefillStage\(layer 0\): expects weight 'model\.layers\.0\.self_attn\.q_proj"
            r"\.weight' of shape \[128, 48\] \(num_heads 8 \* head_dim 16, hidden 48\), but it is "
            r"\[64, 48\] in .*model\.safetensors",
        ),
        ({"vocab_size": 300}, r"EmbedStage.*shape \[300, 48\].*but it is \[256, 48\]"),
        ({"hidden_size": 40}, r"EmbedStage.*shape \[256, 40\].*but it is \[256, 48\]"),
        ({"intermediate_size": 100}, r"GatedMlpStage\(layer 0\).*gate_proj.*\[100, 48\]"),
        (
            {"attention_bias": True},
            r"SelfAttnPrefillStage\(layer 0\): missing weight 'model\.layers\.0\.self_attn\.q_proj"
            r"\.bias' in .*model\.safetensors",
        ),
        (
            {"tie_word_embeddings": False},
            r"LmHeadStage\(lm_head\.weight\): missing weight 'lm_head\.weight'",
        ),
    ],
)
def test_configurations_that_do_not_fit(folder: Path, changes: dict, message: str) -> None:
    change_config(folder, **changes)
    with pytest.raises(WeightError, match=message):
        build(folder)


def test_more_layers_in_the_file_than_in_the_configuration(folder: Path) -> None:
    change_config(folder, num_hidden_layers=3, layer_types=["sliding_attention"] * 3)
    message = r"model\.safetensors holds 'model\.layers\.3\..*', which the configuration has"
    with pytest.raises(WeightError, match=message):
        build(folder)


@pytest.mark.parametrize("key", ["model.layers.1.self_attn.q_proj.bias", "lm_head.bias"])
def test_a_bias_that_the_configuration_does_not_know(folder: Path, key: str) -> None:
    change_weights(folder, **{key: np.ones(64, np.float32)})
    with pytest.raises(WeightError, match=f"holds '{key}', which the configuration has"):
        build(folder)


def test_a_tied_head_that_is_stored_as_well(folder: Path) -> None:
    table = load_file(TINY / "model.safetensors")["model.embed_tokens.weight"]
    change_weights(folder, **{"lm_head.weight": table})
    build(folder)
    change_weights(folder, **{"lm_head.weight": table + 1})
    message = r"'lm_head\.weight' and 'model\.embed_tokens\.weight' with different values"
    with pytest.raises(WeightError, match=message):
        build(folder)


def test_leftover_frequencies_are_ignored(folder: Path) -> None:
    key = "model.layers.0.self_attn.rotary_emb.inv_freq"
    change_weights(folder, **{key: np.ones(8, np.float32)})
    build(folder)


def test_missing_files_and_weights(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such configuration: .*config\.json"):
        rlx.load_model(folder / "nowhere")
    change_weights(folder, **{"model.layers.2.self_attn.k_norm.weight": None})
    message = r"^SelfAttnPrefillStage\(layer 2\): missing weight 'model\.layers\.2\.self_attn"
    with pytest.raises(MissingWeightError, match=message):
        build(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightError, match=r"expected model\.safetensors or"):
        rlx.load_model(folder)


# -- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([[[0, 256]]], r"expected input_ids in \[0, 256\), got 256"),
        ([[[-1, 0]]], r"expected input_ids in \[0, 256\), got -1"),
        ([[0, 1]], r"expected input_ids \[B, S\], not empty, got shape \[2\]"),
        ([[[]]], "got dtype float64"),
        ([np.zeros((0, 3), int)], r"not empty, got shape \[0, 3\]"),
        ([np.zeros((3, 0), int)], r"not empty, got shape \[3, 0\]"),
        ([[[0.5]]], "expected input_ids of integers, got dtype float64"),
        ([np.zeros((1, 513), int)], "at most 512 tokens per sequence, got 513"),
        ([[[1, 2]], [[1, 1, 1]]], r"expected attention_mask \[1, 2\] like input_ids"),
        ([[[1, 2]], [[0.0, 1.0]]], "expected attention_mask of integers"),
        ([[[1, 2]], None, [[0, 512]]], r"expected position_ids in \[0, 512\), got 0 to 512"),
        ([[[1, 2]], None, [-1, 0]], r"expected position_ids in \[0, 512\), got -1 to 0"),
        ([[[1, 2]], None, [1, 2, 3]], r"expected position_ids \[S\] or \[B, S\]"),
    ],
)
def test_bad_arguments(arguments: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rlx.load_model(TINY).logits(*arguments)


def test_number_of_positions(folder: Path) -> None:
    model = rlx.load_model(folder, max_positions=20)
    assert model.built.parameters["rope.full_attention.cos"].shape == (20, 8)
    with pytest.raises(ValueError, match="at most 20 tokens per sequence, got 21; load the model"):
        model.logits(np.zeros((1, 21), int))
    with pytest.raises(FlowError, match="expected max_positions of at least 1, got 0"):
        rlx.load_model(folder, max_positions=0)
    change_config(folder, rope_parameters={"full_attention": {"rope_type": "dynamic", "factor": 2}})
    assert rlx.load_model(folder).max_positions == 512
    with pytest.raises(ConfigError, match="expected max_positions of at most 512, got 513"):
        rlx.load_model(folder, max_positions=513)
