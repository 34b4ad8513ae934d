"""Decoding with a cache, against Transformers and against whole sequences.

Greedy tokens are those of Transformers. Logits are those of the same tokens in one piece: within
1e-5 of the largest magnitude in f32, and 2e-2 in bf16.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_parity import FAST, Case, gemma, llama
from test_parity import load as load_case
from transformers import Gemma3ForCausalLM, LlamaForCausalLM

import rlx
from rlx.flow import ConfigError, FlowError
from rlx.models import Model
from rlx.runtime.decoder import Decoder
from rlx.runtime.kv_cache import LayerSpec
from rlx.runtime.sampling import Sampler

TINY = Path(__file__).resolve().parents[2] / "examples" / "tiny-gemma3"

IDS = np.random.default_rng(2).integers(3, 61, (3, 11))
MASK = np.ones_like(IDS)
MASK[1, :7] = 0  # more padding than the window
MASK[2, :1] = 0


@pytest.fixture(scope="module")
def model() -> Model:
    return rlx.load_model(TINY)


def longest(model: Model) -> np.ndarray:
    return np.random.default_rng(3).integers(0, model.config.vocab_size, (2, 60))


def close(found: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-5) -> None:
    assert found.shape == wanted.shape
    difference = found.astype(np.float32) - wanted.astype(np.float32)
    assert np.abs(difference).max() <= tolerance * np.abs(wanted.astype(np.float32)).max()


@pytest.mark.parametrize(
    "case",
    [
        Case(Gemma3ForCausalLM, gemma("sfs", max_position_embeddings=64)),
        Case(LlamaForCausalLM, llama(num_key_value_heads=2, max_position_embeddings=64)),
    ],
    ids=["gemma3", "llama"],
)
def test_greedy_tokens_of_transformers(case: Case, tmp_path: Path) -> None:
    loaded = load_case(case, tmp_path)
    for mask in (None, MASK):
        kwargs = {} if mask is None else {"attention_mask": torch.from_numpy(mask)}
        with torch.no_grad():
            wanted = loaded.reference.generate(
                torch.from_numpy(IDS), max_new_tokens=32, do_sample=False, **kwargs
            )
        found = loaded.model.generate(IDS, 32, mask)
        np.testing.assert_array_equal(found, wanted.numpy())
        assert found.shape[1] > IDS.shape[1] + 1


@pytest.mark.parametrize("chunk", [1, 3, 8, 100])
def test_parts_of_a_sequence(model: Model, chunk: int) -> None:
    """Prompts in chunks, then several tokens at a time and one: the window is 8."""
    ids = longest(model)
    wanted = model.logits(ids)
    cache = model.new_cache(2, 60, chunk=chunk)
    steps = [(0, 21), (21, 26), (26, 27), (27, 28), (28, 60)]
    parts = [model.decode(ids[:, begin:end], cache) for begin, end in steps]
    close(np.concatenate(parts, axis=1), wanted)
    assert cache.lengths.tolist() == [60, 60]
    # Layers with a window hold no more than it takes.
    rows = {array.shape[1] for array in cache.arrays.values()}
    assert rows == {60, min(60, 7 + max(8, chunk))}


@pytest.mark.parametrize("chunk", [3, 100])
def test_padding_on_either_side(model: Model, chunk: int) -> None:
    ids = longest(model)
    mask = np.ones_like(ids[:, :25])
    mask[0, :12] = 0
    mask[1, 19:] = 0
    cache = model.new_cache(2, 60, chunk=chunk)
    logits = model.prefill(ids[:, :25], cache, mask)
    assert cache.lengths.tolist() == [13, 19]
    alone = [model.logits(ids[:1, 12:25]), model.logits(ids[1:, :19])]
    close(logits[:1, 12:], alone[0])
    close(logits[1:, :19], alone[1])
    # What follows stands right behind the tokens of each sequence.
    more = model.decode(ids[:, 25:35], cache)
    close(more[:1], model.logits(ids[:1, 12:35])[:, 13:])
    whole = np.concatenate([ids[1:, :19], ids[1:, 25:35]], axis=1)
    close(more[1:], model.logits(whole)[:, 19:])

    again = model.new_cache(2, 60, chunk=chunk)
    last = model.prefill(ids[:, :25], again, mask, last_only=True)
    close(last, np.stack([logits[0, 24:], logits[1, 18:19]]))


def test_rejected_guesses_are_forgotten(model: Model) -> None:
    ids = longest(model)
    cache = model.new_cache(2, 60, chunk=4)
    model.prefill(ids[:, :30], cache)
    model.decode(np.full((2, 4), 7), cache)
    cache.drop([4, 3])
    assert cache.lengths.tolist() == [30, 31]
    more = model.decode(ids[:, 30:34], cache)
    close(more[:1], model.logits(ids[:1, :34])[:, 30:])
    with pytest.raises(ValueError, match="layers with a window of 8 have forgotten"):
        cache.drop(20)
    with pytest.raises(ValueError, match=r"between 0 and \[34, 35\] tokens, got \[35, 35\]"):
        cache.drop(35)
    cache.clear()
    close(model.prefill(ids[:, :9], cache), model.logits(ids[:, :9]))


def test_bf16(model: Model) -> None:
    half = rlx.load_model(TINY, FAST, dtype="bf16")
    ids = longest(model)[:, :24]
    cache = half.new_cache(2, chunk=5)
    assert {array.dtype.name for array in cache.arrays.values()} == {"bfloat16"}
    found = np.concatenate([half.prefill(ids[:, :20], cache), half.decode(ids[:, 20:], cache)], 1)
    close(found, half.logits(ids), 2e-2)


# -- generation ----------------------------------------------------------------------------------


def test_ends_of_sequences(model: Model) -> None:
    prompt = longest(model)[:, :5]
    options = {"temperature": 5.0, "seed": 2}  # greedy tokens repeat themselves
    free = model.generate(prompt, 12, eos_token_id=(), **options)
    assert free.shape == (2, 17)
    np.testing.assert_array_equal(free[:, :5], prompt)
    end = int(free[0, 9])
    assert end not in free[1, 5:] and end not in free[0, 5:9]  # or this test shows nothing
    # The first sequence ends; the second goes on.
    ended = model.generate(prompt, 12, eos_token_id=end, pad_token_id=7, **options)
    np.testing.assert_array_equal(ended[1], free[1])
    assert ended[0].tolist() == [*free[0, :10].tolist(), *[7] * 7]
    # All have ended.
    ends = [end, int(free[1, 7])]
    assert model.generate(prompt, 12, eos_token_id=ends, **options).shape == (2, 10)


def test_callback_and_stream(model: Model) -> None:
    prompt = longest(model)[:, :5]
    free = model.generate(prompt, 6, eos_token_id=())
    streamed = list(model.stream(prompt, 6, eos_token_id=()))
    np.testing.assert_array_equal(np.stack(streamed, 1), free[:, 5:])
    seen: list[Any] = []

    def stop_at_three(tokens: np.ndarray) -> bool:
        seen.append(tokens)
        return len(seen) == 3

    stopped = model.generate(prompt, 6, eos_token_id=(), callback=stop_at_three)
    np.testing.assert_array_equal(stopped, free[:, :8])


def test_sampling(model: Model) -> None:
    prompt = longest(model)[:, :5]
    drawn = [model.generate(prompt, 8, temperature=5.0, seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    greedy = model.generate(prompt, 8)
    np.testing.assert_array_equal(model.generate(prompt, 8, temperature=5.0, top_k=1), greedy)
    np.testing.assert_array_equal(model.generate(prompt, 8, temperature=1.0, top_p=1e-9), greedy)


def test_probabilities() -> None:
    logits = np.log(np.array([[0.5, 0.3, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4]], np.float32))

    def probabilities(**options: Any) -> np.ndarray:
        return Sampler(**{"temperature": 1.0, **options}).probabilities(logits)

    np.testing.assert_allclose(probabilities(), np.exp(logits), rtol=1e-6)
    np.testing.assert_allclose(probabilities(top_k=2)[0], [0.625, 0.375, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(probabilities(top_p=0.75)[0], [0.625, 0.375, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(probabilities(top_p=0.75)[1], [0, 2 / 9, 3 / 9, 4 / 9], rtol=1e-6)
    both = probabilities(top_k=3, top_p=0.5)
    np.testing.assert_allclose(both[0], [1, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(
        probabilities(temperature=0.5)[0], np.array([0.25, 0.09, 0.0225, 0.0025]) / 0.365, rtol=1e-6
    )
    # Draws follow the probabilities.
    sampler = Sampler(temperature=1.0, top_k=3, seed=0)
    drawn = sampler(np.repeat(logits[:1], 20000, axis=0))
    shares = np.bincount(drawn, minlength=4) / 20000
    np.testing.assert_allclose(shares, probabilities(top_k=3)[0], atol=0.015)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "expected a temperature of at least 0, got -1.0"),
        ({"temperature": float("nan")}, "expected a temperature of at least 0, got nan"),
        ({"top_k": -1}, "expected a top_k of at least 0, got -1"),
        ({"top_p": 0.0}, "expected a top_p above 0 and at most 1, got 0.0"),
        ({"max_new_tokens": 0}, "expected max_new_tokens of at least 1, got 0"),
        (
            {"max_new_tokens": 511},
            "new tokens of at most 513, one more than the positions of the model, got 3 and 511",
        ),
        ({"pad_token_id": 256}, r"expected pad_token_id in \[0, 256\), got 256"),
        ({"input_ids": [[1, 256, 2]]}, r"expected input_ids in \[0, 256\), got 256"),
        ({"input_ids": [1, 2]}, r"expected input_ids \[B, S\], not empty, got shape \[2\]"),
        ({"input_ids": [[0.5]]}, "expected input_ids of integers, got dtype float64"),
        ({"attention_mask": [[1, 1]]}, r"expected attention_mask \[1, 3\] like input_ids"),
        ({"attention_mask": [[1, 0, 1]]}, "but sequence 0 has a hole"),
        ({"attention_mask": [[0, 0, 0]]}, "at least one token per sequence, got none in sequence"),
    ],
)
def test_bad_arguments_of_generate(model: Model, options: dict, message: str) -> None:
    arguments = {"input_ids": [[1, 2, 3]], "max_new_tokens": 4, **options}
    with pytest.raises(ValueError, match=message):
        model.generate(**arguments)


def test_a_function_that_does_not_update_its_cache(model: Model) -> None:
    decoder = model.decoder
    message = "expected a function that updates 'cache.9.key' in place"
    with pytest.raises(ValueError, match=message):
        Decoder(
            decoder.executable,
            [*decoder.layers, LayerSpec("cache.9.key", "cache.9.value", 1, 1)],
            decoder.dtype,
            decoder.vocab_size,
            decoder.max_positions,
            str,
        )


def test_capacity_of_a_model() -> None:
    small = rlx.load_model(TINY, FAST, capacity=20)
    assert small.capacity == 20 and small.new_cache(1).capacity == 20
    assert rlx.load_model(TINY).capacity == 512  # all positions
    prompt = np.full((1, 18), 7)
    assert small.generate(prompt, 3).shape == (1, 21)  # the last token is not read
    with pytest.raises(ValueError, match="tokens that the cache holds, got 18 and 4"):
        small.generate(prompt, 4)
    for bad in (0, 513):
        with pytest.raises(FlowError, match=f"capacity of at least 1 and at most 512, .*got {bad}"):
            rlx.load_model(TINY, capacity=bad)


def test_special_tokens(tmp_path: Path) -> None:
    """Where Transformers looks for them: the generation configuration goes first."""

    def ends(fields: dict, generation: dict | None = None) -> tuple:
        config = json.loads((TINY / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**config, **fields}))
        path = tmp_path / "generation_config.json"
        path.unlink(missing_ok=True)
        if generation is not None:
            path.write_text(json.dumps(generation))
        special = rlx.load_model(tmp_path)._special_tokens
        return special["eos_token_ids"], special["pad_token_id"]

    shutil.copy(TINY / "model.safetensors", tmp_path)
    none = {"eos_token_id": None, "pad_token_id": None}
    assert ends(none) == ((), None)
    assert ends({"eos_token_id": 5, "pad_token_id": 0}) == ((5,), 0)
    assert ends({"eos_token_id": [5, 6]}, {"eos_token_id": [7, 8], "pad_token_id": 9}) == (
        (7, 8),
        9,
    )
    for bad in ({"eos_token_id": "x"}, {"eos_token_id": [1, "x"]}, {"pad_token_id": "x"}):
        with pytest.raises(ConfigError, match="expected an integer"):
            ends({**none, **bad})


def test_bad_caches(model: Model) -> None:
    with pytest.raises(ValueError, match="capacity of at most 512, the number of positions of"):
        model.new_cache(1, 513)
    for bad in ({"batch": 0}, {"batch": 1, "capacity": 0}, {"batch": 1, "chunk": 0}):
        with pytest.raises(ValueError, match="of at least 1, got 0"):
            model.new_cache(**bad)
    cache = model.new_cache(1, 10)
    with pytest.raises(ValueError, match="expected input_ids of 1 sequences, the batch of the"):
        model.decode([[1], [2]], cache)
    message = "expected at most 10 tokens per sequence, the capacity of the cache, got 11"
    with pytest.raises(ValueError, match=message):
        model.prefill(np.ones((1, 11), int), cache)
    model.prefill(np.ones((1, 9), int), cache)
    with pytest.raises(ValueError, match=message):
        model.decode([[1, 2]], cache)
    # What is refused changes nothing.
    assert cache.lengths.tolist() == [9]
    model.decode([[1]], cache)
