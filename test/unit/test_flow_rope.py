"""RoPE frequencies against Transformers."""

import numpy as np
import pytest
import torch
import transformers

from rlx.flow import ConfigError
from rlx.flow.rope import RopeSpec, rope_tables

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0 + 0.1 * i for i in range(16)],
    "long_factor": [2.0 + 0.3 * i for i in range(16)],
    "original_max_position_embeddings": 64,
}

CASES = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 3.0},
    "dynamic": {"rope_type": "dynamic", "factor": 3.0},
    "llama3": LLAMA3,
    "llama3-defaulted": {k: v for k, v in LLAMA3.items() if not k.startswith("original")},
    "yarn": YARN,
    "yarn-betas": {**YARN, "beta_fast": 16, "beta_slow": 2},
    "yarn-untruncated": {**YARN, "truncate": False},
    "yarn-mscale": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.3},
    "yarn-attention-factor": {**YARN, "attention_factor": 1.25},
    "longrope": LONG,
    "longrope-factor": {**LONG, "factor": 2.0},
    "longrope-attention-factor": {**LONG, "attention_factor": 1.5},
}


@pytest.mark.parametrize("theta", [10000.0, 500000.0])
@pytest.mark.parametrize("parameters", CASES.values(), ids=CASES)
def test_tables_match_transformers(parameters: dict, theta: float) -> None:
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = transformers.LlamaConfig(
        hidden_size=128,
        num_attention_heads=4,
        max_position_embeddings=256,
        rope_parameters={**parameters, "rope_theta": theta},
    )
    positions = 64
    with torch.no_grad():
        cos, sin = LlamaRotaryEmbedding(config)(
            torch.zeros(1, positions, 1), torch.arange(positions)[None]
        )
    spec = RopeSpec.from_hf(parameters, 32, theta, 256, "config.json")
    mine = rope_tables(spec, positions)
    for found, expected in zip(mine, (cos, sin), strict=True):
        assert found.dtype == np.float32 and found.shape == (positions, 16)
        # Frequencies differ by at most one f32 step, and positions go up to 64.
        np.testing.assert_allclose(found, expected[0, :, :16].numpy(), rtol=0, atol=2e-5)


def test_old_spelling_of_the_type() -> None:
    old = RopeSpec.from_hf({"type": "linear", "factor": 2.0}, 8, 10000.0, 64, "config.json")
    new = RopeSpec.from_hf({"rope_type": "linear", "factor": 2.0}, 8, 10000.0, 64, "config.json")
    assert old == new


def test_lengths_at_which_frequencies_switch() -> None:
    def limit(parameters: dict) -> int | None:
        return RopeSpec.from_hf(parameters, 32, 10000.0, 256, "config.json").limit

    assert limit(CASES["dynamic"]) == 256
    assert limit(LONG) == 64
    assert limit(LLAMA3) is None and limit(YARN) is None


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rope_type": "mrope"}, "unknown rope_type 'mrope'"),
        ({"rope_type": ["linear"]}, "unknown rope_type"),
        ({"rope_type": "linear"}, "'linear' requires the field 'factor'"),
        ({"rope_type": "linear", "factor": None}, "'linear' requires the field 'factor'"),
        ({"rope_type": "linear", "factor": "2"}, "expected a number as 'factor'"),
        ({"rope_type": "linear", "factor": True}, "expected a number as 'factor'"),
        ({"rope_type": "linear", "factor": 0}, "expected 'factor' above 0"),
        ({"rope_type": "linear", "factor": 2.0, "beta": 1}, "'linear' has no field 'beta'"),
        ({**LLAMA3, "high_freq_factor": 1.0}, "low_freq_factor below high_freq_factor"),
        ({**LONG, "short_factor": [1.0]}, "expected 16 numbers in 'short_factor'"),
        ({"rope_type": "default", "rope_theta": "x"}, "expected a number as 'rope_theta'"),
        ({"rope_type": "default", "rope_theta": 0}, "expected rope_theta above 1"),
    ],
)
def test_malformed_parameters(parameters: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RopeSpec.from_hf(parameters, 32, 10000.0, 256, "config.json: rope_parameters")


def test_odd_width() -> None:
    with pytest.raises(ConfigError, match="even number of rotated dims, got 15"):
        RopeSpec.from_hf({}, 15, 10000.0, 256, "config.json")
