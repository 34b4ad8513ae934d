"""How much memory a model takes: its weights are in memory once, whatever is made of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

TINY = Path(__file__).resolve().parents[2] / "examples" / "tiny-gemma3"
HIDDEN, WIDTH, LAYERS = 1024, 2816, 4

# The compiler's own memory is none of the model's, and differs from run to run: what is measured
# has been compiled before, and a tiny model comes first, so that all is imported. Counted are
# anonymous pages and pages of files alike.
_SCRIPT = """
import re, sys
import numpy as np
import rlx

def peak():
    text = open("/proc/self/status").read()
    return int(re.search(r"VmHWM:\\s*(\\d+)", text)[1]) * 1024

tiny, folder, dtype, quantize = sys.argv[1:]
ids = np.array([[1, 2, 3]])
target = "cpu{opt-level=0}"
rlx.load_model(tiny, target).generate(ids, 2)
before = peak()
model = rlx.load_model(folder, target, dtype, quantize=quantize or None)
assert model.generate(ids, 2).shape == (1, 5)
if dtype == "f32" and not quantize:
    assert np.isfinite(model.logits(ids)).all()  # a second executable
parts = [spec.parts for spec in model.decoder.executable.parameters if len(spec.parts) > 1]
assert parts, "nothing was packed"
assert len(str(model.module)) < 200_000, "the IR holds weights"
print(peak() - before)
"""


def checkpoint(folder: Path, dtype: type, vocabulary: int) -> int:
    """Writes a model in two shards; returns how many elements it has."""
    draw = np.random.default_rng(0).standard_normal(1 << 16, np.float32) * np.float32(0.02)

    def weight(*shape: int) -> np.ndarray:
        return np.resize(draw, shape).astype(dtype)

    weights = {
        "model.embed_tokens.weight": weight(vocabulary, HIDDEN),
        "lm_head.weight": weight(vocabulary, HIDDEN),
        "model.norm.weight": weight(HIDDEN),
    }
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        weights |= {
            f"{prefix}.input_layernorm.weight": weight(HIDDEN),
            f"{prefix}.post_attention_layernorm.weight": weight(HIDDEN),
            f"{prefix}.self_attn.q_proj.weight": weight(HIDDEN, HIDDEN),
            f"{prefix}.self_attn.k_proj.weight": weight(HIDDEN // 2, HIDDEN),
            f"{prefix}.self_attn.v_proj.weight": weight(HIDDEN // 2, HIDDEN),
            f"{prefix}.self_attn.o_proj.weight": weight(HIDDEN, HIDDEN),
            f"{prefix}.mlp.gate_proj.weight": weight(WIDTH, HIDDEN),
            f"{prefix}.mlp.up_proj.weight": weight(WIDTH, HIDDEN),
            f"{prefix}.mlp.down_proj.weight": weight(HIDDEN, WIDTH),
        }
    config = {
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "vocab_size": vocabulary,
        "max_position_embeddings": 64,
    }
    (folder / "config.json").write_text(json.dumps(config))
    names = sorted(weights)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, keys in shards.items():
        save_file({key: weights[key] for key in keys}, folder / file)
    index = {"weight_map": {key: file for file, keys in shards.items() for key in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return sum(array.size for array in weights.values())


# Largest peak, as a fraction of the weights in the type they are computed in. Of the model that is
# quantized, a seventh is the embedding table, which stays as it is.
@pytest.mark.parametrize(
    ("stored", "computed", "vocabulary", "quantize", "most"),
    [
        pytest.param(ml_dtypes.bfloat16, "bf16", 32768, "", 1.25, id="as stored"),
        pytest.param(ml_dtypes.bfloat16, "f32", 8192, "", 1.25, id="converted"),
        pytest.param(np.float32, "f32", 8192, "int8", 0.6, id="quantized"),
    ],
)
def test_weights_are_in_memory_once(
    tmp_path: Path, stored: type, computed: str, vocabulary: int, quantize: str, most: float
) -> None:
    elements = checkpoint(tmp_path, stored, vocabulary)
    command = [sys.executable, "-c", _SCRIPT, str(TINY), str(tmp_path), computed, quantize]
    environment = {**os.environ, "RLX_CACHE_DIR": str(tmp_path / "cache")}
    for _ in ("compile", "measure"):
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
    weights = elements * (4 if computed == "f32" else 2)
    assert 200e6 < weights < 300e6
    found = int(done.stdout) / weights
    assert found < most, f"{found:.2f} of the weights"
