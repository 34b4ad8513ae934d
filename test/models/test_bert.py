"""BERT against Transformers, and what its loader and its arguments refuse."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from test_parity import FAST
from transformers import BertConfig, BertForMaskedLM, BertModel

import rlx
from rlx.flow import ConfigError, MissingWeightError, WeightError

CONFIG = {
    "vocab_size": 97,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
}
RANDOM = np.random.default_rng(0)
IDS = RANDOM.integers(0, 97, (3, 17))
TYPES = RANDOM.integers(0, 2, IDS.shape)
MASK = np.ones_like(IDS)
MASK[1, 9:] = 0  # padding after the sequence
MASK[2, :5] = 0  # and before it


@cache
def reference() -> BertModel:
    """Weights of such sizes that every part of the model matters."""
    torch.manual_seed(0)
    model = BertModel(BertConfig(**CONFIG, attn_implementation="eager")).eval()
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        is_norm = "LayerNorm.weight" in name
        size = 0.2 if parameter.ndim == 1 else parameter.shape[1] ** -0.5
        parameter.data = noise * size + (1.0 if is_norm else 0.0)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bert")
    reference().save_pretrained(path)
    return path


@cache
def expected() -> np.ndarray:
    with torch.no_grad():
        output = reference()(
            torch.from_numpy(IDS),
            attention_mask=torch.from_numpy(MASK),
            token_type_ids=torch.from_numpy(TYPES),
        )
    return output.last_hidden_state.numpy()


def pooled(hidden: np.ndarray, pooling: str | None) -> np.ndarray:
    if pooling is None:
        return np.where(MASK[..., None], hidden, 0)
    if pooling == "cls":
        return hidden[:, 0]
    return (hidden * MASK[..., None]).sum(1) / MASK.sum(1, keepdims=True)


def error(actual: np.ndarray, wanted: np.ndarray) -> float:
    assert actual.shape == wanted.shape
    return np.abs(actual.astype(np.float64) - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize(
    ("dtype", "tolerance", "pooling"),
    [
        ("f32", 1e-4, None),
        ("f32", 1e-4, "mean"),
        ("f32", 1e-4, "cls"),
        ("bf16", 2e-2, None),
        ("bf16", 2e-2, "mean"),
    ],
)
def test_parity(folder: Path, dtype: str, tolerance: float, pooling: str | None) -> None:
    model = rlx.load_model(folder, "cpu" if pooling is None else FAST, dtype)
    actual = model.encode(IDS, MASK, TYPES, pooling=pooling)
    if pooling is None:
        actual = np.where(MASK[..., None], actual, 0)
    assert error(actual, pooled(expected(), pooling)) < tolerance


def test_defaults(folder: Path) -> None:
    model = rlx.load_model(folder)
    ones, zeros = np.ones_like(IDS), np.zeros_like(IDS)
    expected = model.encode(IDS, ones, zeros, pooling="mean")
    np.testing.assert_array_equal(model.encode(IDS), expected)
    np.testing.assert_array_equal(model.encode(IDS, ones.astype(bool)), expected)
    one = model.encode(IDS[:1, :1])
    assert one.shape == (1, 48) and error(one, model.encode(IDS[:1, :1], pooling=None)[:, 0]) == 0


def test_a_sequence_without_tokens_has_no_mean(folder: Path) -> None:
    mask = np.array([[1] * 17, [0] * 17, [1] * 17])
    assert not rlx.load_model(folder).encode(IDS, mask)[1].any()


def test_quantized(folder: Path) -> None:
    floats = pooled(expected(), "mean")
    assert (
        1e-4
        < error(rlx.load_model(folder, FAST, quantize="int8").encode(IDS, MASK, TYPES), floats)
        < 0.05
    )


def change(folder: Path, to: Path, rename: Any = None, **config: Any) -> Path:
    fields = json.loads((folder / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**fields, **config}))
    weights = load_file(folder / "model.safetensors")
    rename = rename or (lambda key: key)
    renamed = {rename(key): array for key, array in weights.items()}
    save_file({k: a for k, a in renamed.items() if k}, to / "model.safetensors")
    return to


def test_older_names(folder: Path, tmp_path: Path) -> None:
    def old(key: str) -> str:
        for new, before in (("LayerNorm.weight", "gamma"), ("LayerNorm.bias", "beta")):
            if key.endswith(new):
                return "bert." + key.removesuffix(new) + f"LayerNorm.{before}"
        return f"bert.{key}"

    model = rlx.load_model(change(folder, tmp_path, old), FAST)
    assert error(model.encode(IDS, MASK, TYPES), pooled(expected(), "mean")) < 1e-4


def test_with_a_head(tmp_path: Path) -> None:
    """A checkpoint of a task holds more than the encoder."""
    config = BertConfig(**CONFIG, attn_implementation="eager")
    task = BertForMaskedLM(config).eval()
    task.save_pretrained(tmp_path)
    with torch.no_grad():
        hidden = task.bert(torch.from_numpy(IDS)).last_hidden_state.numpy()
    assert error(rlx.load_model(tmp_path, FAST).encode(IDS, pooling=None), hidden) < 1e-4


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"position_embedding_type": "relative_key"}, "only absolute positions are"),
        ({"is_decoder": True}, "only encoders are"),
        ({"num_attention_heads": 5}, "expected hidden_size 48 to be a multiple of"),
        ({"rope_theta": 3.0}, "field 'rope_theta' is not known for this model type"),
        ({"hidden_act": "tanh"}, "unsupported hidden_act 'tanh'"),
    ],
)
def test_configurations_that_are_refused(
    folder: Path, tmp_path: Path, config: dict, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        rlx.load_model(change(folder, tmp_path, **config))


def test_weights_that_do_not_fit(folder: Path, tmp_path: Path) -> None:
    change(folder, tmp_path, num_hidden_layers=1)
    with pytest.raises(WeightError, match=r"encoder\.layer\.1.*the configuration has no place for"):
        rlx.load_model(tmp_path).encode(IDS)
    gone = "encoder.layer.1.output.LayerNorm.bias"
    change(folder, tmp_path, lambda key: "" if key == gone else key)
    with pytest.raises(MissingWeightError, match=r"encoder\.layer\.1\.output\.LayerNorm\.bias"):
        rlx.load_model(tmp_path).encode(IDS)
    change(folder, tmp_path, max_position_embeddings=33)
    with pytest.raises(WeightError, match=r"position_embeddings\.weight' of shape \[33, 48\]"):
        rlx.load_model(tmp_path).encode(IDS)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ([[[97]]], {}, r"expected input_ids in \[0, 97\), got 97"),
        ([[[-1]]], {}, r"expected input_ids in \[0, 97\), got -1"),
        ([[1, 2]], {}, r"expected input_ids \[B, S\], not empty, got shape \[2\]"),
        ([[[1.5]]], {}, "expected input_ids of integers"),
        ([np.zeros((1, 33), int)], {}, "expected at most 32 tokens per sequence, got 33"),
        ([[[1, 2]], [[1]]], {}, r"expected attention_mask \[1, 2\] like input_ids"),
        ([[[1, 2]], None, [[0, 2]]], {}, r"expected token_type_ids in \[0, 2\), got 2"),
        ([[[1, 2]]], {"pooling": "max"}, "expected pooling 'mean', 'cls' or None, got 'max'"),
    ],
)
def test_bad_arguments(folder: Path, arguments: list, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rlx.load_model(folder).encode(*arguments, **options)


def test_arguments_of_language_models(folder: Path) -> None:
    with pytest.raises(ValueError, match="takes neither max_positions nor capacity"):
        rlx.load_model(folder, capacity=8)
