"""Logits, keys and values against Transformers with eager attention, on random tiny models.

In f32 the largest difference is at most 1e-4 of the largest magnitude. In bf16 and f16 Transformers
itself rounds more often than rlx, so two bounds hold, both of 2e-2: the relative Frobenius norm of
the difference from what it computes in the same type, and the largest difference, over the largest
magnitude, from what it computes in f32 with the same weights.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import (
    DynamicCache,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
)

import rlx
from rlx.models import Model

# To compile: optimisation in LLVM is most of the time, and code that may be split over threads
# takes as long again. The tiny checkpoint has both.
FAST = "cpu{opt-level=0 threads=1}"
TINY = Path(__file__).resolve().parents[2] / "examples" / "tiny-gemma3"

SIZES = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_attention_heads": 4}
GEMMA = {
    **SIZES,
    "num_key_value_heads": 2,
    "head_dim": 12,  # 4 * 12 != 32
    "sliding_window": 5,
    "query_pre_attn_scalar": 24,
    "max_position_embeddings": 48,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


@dataclass(frozen=True)
class Case:
    model: type
    config: Any
    dtype: str = "float32"
    shard_size: str = "5GB"


def gemma(layers: str = "sf", **changes: Any) -> Gemma3TextConfig:
    kinds = {"s": "sliding_attention", "f": "full_attention"}
    fields = {
        **GEMMA,
        "num_hidden_layers": len(layers),
        "layer_types": [kinds[kind] for kind in layers],
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
        **changes,
    }
    return Gemma3TextConfig(**fields)


def llama(**changes: Any) -> LlamaConfig:
    fields = {**SIZES, "num_hidden_layers": 2, "max_position_embeddings": 48, **changes}
    return LlamaConfig(**fields)


CASES = {
    "gemma3": Case(Gemma3ForCausalLM, gemma(final_logit_softcapping=3.0)),
    "gemma3-bias-sharded-bf16": Case(
        Gemma3ForCausalLM, gemma(attention_bias=True), "bfloat16", "10KB"
    ),
    "llama3-bias": Case(
        LlamaForCausalLM,
        llama(num_key_value_heads=1, rope_parameters=LLAMA3, attention_bias=True, mlp_bias=True),
    ),
    "llama-wide-heads-tied-bf16": Case(
        LlamaForCausalLM, llama(head_dim=12, tie_word_embeddings=True), "bfloat16"
    ),
}
IMAGES = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
MULTIMODAL = {
    "vision_config": IMAGES,
    "image_token_index": 64,
    "boi_token_index": 65,
    "eoi_token_index": 66,
    "mm_tokens_per_image": 4,
}
SLOW = {
    "gemma3-multimodal": Case(
        Gemma3ForConditionalGeneration,
        Gemma3Config(text_config=gemma(vocab_size=70).to_dict(), **MULTIMODAL),
    ),
    "gemma3-f16": Case(Gemma3ForCausalLM, gemma(), "float16"),
    "gemma3-bf16": Case(Gemma3ForCausalLM, gemma("ssf"), "bfloat16"),
    "gemma3-six-layers": Case(Gemma3ForCausalLM, gemma("sssssf")),
    "gemma3-one-kv-head-untied": Case(
        Gemma3ForCausalLM, gemma(num_key_value_heads=1, tie_word_embeddings=False)
    ),
    "gemma3-full-only": Case(Gemma3ForCausalLM, gemma("ff", head_dim=8)),
    "gemma3-window-of-one": Case(Gemma3ForCausalLM, gemma("sf", sliding_window=1)),
    "gemma3-unused-softcap": Case(Gemma3ForCausalLM, gemma(attn_logit_softcapping=0.5)),
    "llama-f16": Case(LlamaForCausalLM, llama(num_key_value_heads=2), "float16"),
    "llama-gelu": Case(LlamaForCausalLM, llama(hidden_act="gelu")),
    "llama-yarn": Case(
        LlamaForCausalLM,
        llama(
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 1000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 12,
            }
        ),
    ),
}


@dataclass
class Loaded:
    reference: Any
    exact: Any
    model: Model

    def expected(
        self, ids: np.ndarray, mask: np.ndarray | None = None, **extra: Any
    ) -> tuple["Expected", list[tuple["Expected", "Expected"]]]:
        """Logits, and keys and values per layer as [B, S, heads * head_dim]."""
        runs = [_run(model, ids, mask, extra) for model in (self.reference, self.exact)]
        found = [Expected(*pair) for pair in zip(*runs, strict=True)]
        return found[0], list(zip(found[1::2], found[2::2], strict=True))


def _run(model: Any, ids: np.ndarray, mask: np.ndarray | None, extra: Any) -> list[np.ndarray]:
    # Without a configuration the cache keeps all keys of layers with a window, too.
    cache = DynamicCache()
    with torch.no_grad():
        output = model(
            torch.from_numpy(ids),
            attention_mask=None if mask is None else torch.from_numpy(mask),
            past_key_values=cache,
            **extra,
        )
    taps = [
        x.transpose(1, 2).flatten(2) for layer in cache.layers for x in (layer.keys, layer.values)
    ]
    return [x.float().numpy() for x in (output.logits, *taps)]


@dataclass
class Expected:
    """What Transformers computes, in the type of the model and in f32."""

    same_type: np.ndarray
    exact: np.ndarray

    def __getitem__(self, rows: Any) -> "Expected":
        return Expected(self.same_type[rows], self.exact[rows])

    def check(self, found: np.ndarray) -> None:
        assert found.shape == self.exact.shape
        is_f32 = found.dtype == np.float32
        wide = found.astype(np.float32)
        largest = np.abs(wide - self.exact).max() / np.abs(self.exact).max()
        assert largest <= (1e-4 if is_f32 else 2e-2)
        norm = np.linalg.norm(wide - self.same_type) / np.linalg.norm(self.same_type)
        assert norm <= (1e-4 if is_f32 else 2e-2)


def load(case: Case, folder: Path) -> Loaded:
    torch.manual_seed(0)
    reference = case.model._from_config(case.config, attn_implementation="eager")
    with torch.no_grad():
        # Everything is random: fresh biases and norms are constant, which would hide mistakes.
        for parameter in reference.parameters():
            scale = 0.2 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5
            noise = torch.randn_like(parameter) * scale
            parameter.copy_(parameter + noise if parameter.dim() == 1 else noise)
    reference = reference.to(getattr(torch, case.dtype)).eval()
    reference.save_pretrained(folder, max_shard_size=case.shard_size)
    model = rlx.load_model(folder, FAST)
    return Loaded(reference, copy.deepcopy(reference).float(), model)


IDS = np.random.default_rng(1).integers(0, SIZES["vocab_size"], (3, 13))
MASK = np.ones_like(IDS)
MASK[1, :6] = 0  # padding on the left, more than the window
MASK[2, 4] = MASK[2, 11:] = 0  # a hole, and padding on the right


def check(loaded: Loaded) -> None:
    for mask in (np.ones_like(IDS), MASK):
        logits, taps = loaded.model.taps(IDS, mask)
        expected, expected_taps = loaded.expected(IDS, mask)
        live = mask.astype(bool)
        expected[live].check(logits[live])
        assert len(taps) == len(expected_taps)
        for found, wanted in zip(taps, expected_taps, strict=True):
            for a, b in zip(found, wanted, strict=True):
                b[live].check(a[live])
    # Positions that skip padding, as `generate` counts them.
    positions = np.maximum(MASK.cumsum(1) - 1, 0)
    live = MASK.astype(bool)
    padded, _ = loaded.model.taps(IDS, MASK, positions)
    expected, _ = loaded.expected(IDS, MASK, position_ids=torch.from_numpy(positions))
    expected[live].check(padded[live])
    # One row of any length runs through the same code, and padding changes nothing.
    expected, _ = loaded.expected(IDS[1:2, 6:])
    expected[0].check(padded[1, 6:])
    alone, _ = loaded.model.taps(IDS[1:2, 6:], np.ones((1, 7), np.int32))
    expected.check(alone)


@pytest.mark.parametrize("name", CASES)
def test_model(name: str, tmp_path: Path) -> None:
    loaded = load(CASES[name], tmp_path)
    sharded = (tmp_path / "model.safetensors.index.json").exists()
    assert sharded == ("sharded" in name)
    check(loaded)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_more_models(name: str, tmp_path: Path) -> None:
    loaded = load(SLOW[name], tmp_path)
    check(loaded)
    # Without inputs for a mask, and with all of LLVM's optimisations.
    loaded.expected(IDS)[0].check(rlx.load_model(tmp_path).logits(IDS))


def test_recorded_reference() -> None:
    reference = load_file(TINY / "reference.safetensors")
    model = rlx.load_model(TINY)
    logits = model.logits(reference["input_ids"])
    expected = reference["logits"]
    assert logits.dtype == np.float32 and logits.shape == expected.shape
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()
    # Any batch size and length, and ids of another integer type.
    row = model.logits(reference["input_ids"][1:, :9].astype(np.int32))
    np.testing.assert_allclose(row, logits[1:, :9], rtol=0, atol=2e-5)
