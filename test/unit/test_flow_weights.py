"""Weight sources: dtypes, shards, damage, and one load per key."""

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from rlx.flow import CastWeights, DictWeights, MissingWeightError, SafetensorsWeights, WeightError
from rlx.flow.weights import as_weights

BF16 = np.dtype(ml_dtypes.bfloat16)


def write(path: Path, entries: dict[str, tuple[str, list[int], bytes]], pad: int = 0) -> None:
    """A safetensors file by hand: the library's writer has no bfloat16."""
    header, at = {}, 0
    for key, (dtype, shape, data) in entries.items():
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode() + b" " * pad
    data = b"".join(entry[2] for entry in entries.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def entry(dtype: str, array: np.ndarray) -> tuple[str, list[int], bytes]:
    return dtype, list(array.shape), array.tobytes()


ARRAYS = {
    "F64": np.linspace(-1, 1, 6).reshape(2, 3),
    "F32": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
    "F16": np.linspace(-1, 1, 6, dtype=np.float16).reshape(2, 3),
    "BF16": np.linspace(-1, 1, 6).astype(BF16).reshape(2, 3),
    "I64": np.arange(6).reshape(2, 3),
    "I32": np.arange(6, dtype=np.int32),
    "I16": np.arange(6, dtype=np.int16),
    "I8": np.arange(6, dtype=np.int8),
    "U8": np.arange(6, dtype=np.uint8),
    "BOOL": np.array([True, False, True]),
}


@pytest.mark.parametrize("pad", range(8))
def test_every_dtype_reads_back_at_any_alignment(tmp_path: Path, pad: int) -> None:
    path = tmp_path / "w.safetensors"
    write(path, {name: entry(name, array) for name, array in ARRAYS.items()}, pad)
    weights = SafetensorsWeights(path)
    assert list(weights.keys()) == list(ARRAYS)
    for name, expected in ARRAYS.items():
        found = weights.get(name)
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()
        assert found.flags.aligned


def test_scalars_and_empty_tensors(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    scalar, empty = np.float32(2.5).reshape(()), np.zeros((0, 4), np.float32)
    write(path, {"scalar": entry("F32", scalar), "empty": entry("F32", empty)})
    weights = SafetensorsWeights(path)
    assert weights.get("scalar").shape == () and weights.get("scalar") == 2.5
    assert weights.get("empty").shape == (0, 4)


def test_arrays_are_views_of_the_file_and_loaded_once(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": np.arange(64, dtype=np.float32)}, path)
    weights = SafetensorsWeights(path)
    array = weights.get("a")
    assert not array.flags.owndata and not array.flags.writeable
    assert weights.get("a") is array


def test_unsupported_dtype_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write(path, {"q": ("F8_E4M3", [2], b"\0\0"), "a": entry("F32", ARRAYS["F32"])})
    weights = SafetensorsWeights(path)
    assert weights.get("a").shape == (2, 3)
    with pytest.raises(WeightError, match=r"'q' in .*w\.safetensors has dtype F8_E4M3"):
        weights.get("q")


def test_missing_key_names_the_file_and_the_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"model.layers.0.self_attn.q_proj.weight": np.zeros(1, np.float32)}, path)
    with pytest.raises(MissingWeightError) as caught:
        SafetensorsWeights(path).get("model.layers.0.attn.q_proj.weight")
    assert isinstance(caught.value, KeyError) and isinstance(caught.value, ValueError)
    assert str(caught.value) == (
        f"missing weight 'model.layers.0.attn.q_proj.weight' in {path}; "
        "did you mean 'model.layers.0.self_attn.q_proj.weight'?"
    )
    with pytest.raises(MissingWeightError, match=r"missing weight 'zzz' in [^;]*$"):
        SafetensorsWeights(path).get("zzz")


def sharded(folder: Path) -> dict[str, np.ndarray]:
    arrays = {f"w{i}": np.full(4, i, np.float32) for i in range(4)}
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for number, name in enumerate(names):
        part = {key: arrays[key] for key in list(arrays)[2 * number : 2 * number + 2]}
        save_file(part, folder / name)
    places = {key: names[i // 2] for i, key in enumerate(arrays)}
    index = {"metadata": {"total_size": 64}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return arrays


def test_shards(tmp_path: Path) -> None:
    arrays = sharded(tmp_path)
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        weights = SafetensorsWeights(path)
        assert list(weights.keys()) == list(arrays)
        for key, array in arrays.items():
            np.testing.assert_array_equal(weights.get(key), array)
        assert weights.origin("w3").endswith("model-00002-of-00002.safetensors")
        assert weights.origin("other").endswith("model.safetensors.index.json")


def test_index_that_names_a_missing_file(tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    message = r"index\.json names model-00002-of-00002\.safetensors, which does not exist"
    with pytest.raises(WeightError, match=message):
        SafetensorsWeights(tmp_path)


def test_index_that_places_a_key_wrongly(tmp_path: Path) -> None:
    sharded(tmp_path)
    save_file({"w2": np.zeros(4, np.float32)}, tmp_path / "model-00002-of-00002.safetensors")
    with pytest.raises(WeightError, match=r"places 'w3' in model-00002-of-.*, which lacks it"):
        SafetensorsWeights(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": "../b"}}',
    ],
)
def test_broken_index(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text)
    with pytest.raises(WeightError, match=r"index\.json"):
        SafetensorsWeights(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 8, 40, -1, -64])
def test_truncated_file(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": np.arange(64, dtype=np.float32)}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightError, match=r"cannot read weight file .*model\.safetensors"):
        SafetensorsWeights(tmp_path)


def test_garbage_and_absent_files(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(WeightError, match="cannot read weight file"):
        SafetensorsWeights(tmp_path / "w.safetensors")
    with pytest.raises(WeightError, match="no such weight file"):
        SafetensorsWeights(tmp_path / "other.safetensors")
    with pytest.raises(WeightError, match="no such weight index"):
        SafetensorsWeights(tmp_path / "other.safetensors.index.json")
    with pytest.raises(WeightError, match=r"expected model\.safetensors or .* found none"):
        SafetensorsWeights(tmp_path)


def test_cast_converts_floats_only_and_once() -> None:
    source = DictWeights({"f": np.ones(3, np.float32), "b": ARRAYS["BF16"], "i": [1, 2]})
    cast = CastWeights(source, np.dtype(np.float16))
    assert cast.get("f").dtype == np.float16 and cast.get("b").dtype == np.float16
    assert cast.get("i").dtype.kind == "i"
    assert cast.get("f") is cast.get("f")
    same = CastWeights(source, np.dtype(np.float32))
    assert np.shares_memory(same.get("f"), source.get("f"))


def test_as_weights(tmp_path: Path) -> None:
    assert list(as_weights({"a": [1.0]}).keys()) == ["a"]
    source = DictWeights({})
    assert as_weights(source) is source
    with pytest.raises(TypeError, match="expected a mapping of arrays, a path or a WeightSource"):
        as_weights(3)
