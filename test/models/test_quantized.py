"""Models with quantized weights: exactly the numbers of the integers, and near those of floats."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from test_parity import FAST

import rlx
from rlx import compiler
from rlx.flow import CastWeights, DictWeights, ModelFlow, SafetensorsWeights
from rlx.flow.recipes import HfConfig, decoder_flow, read_config
from rlx.runtime.quantize import quantize

TINY = Path(__file__).resolve().parents[2] / "examples" / "tiny-gemma3"
IDS = np.random.default_rng(0).integers(0, 256, (2, 24))

# Largest difference of logits from those of float weights, relative to the largest logit: a weight
# is off by at most 1/254 of the largest one that shares its scale. Measured: 0.023 and 0.019.
BOUND = {0: 0.04, 16: 0.035}


def flow(*, tied: bool = True) -> ModelFlow:
    config = HfConfig.load(TINY / "config.json")
    return decoder_flow(
        read_config(HfConfig(config.fields | {"tie_word_embeddings": tied}, "config"))
    )


@cache
def unquantized() -> np.ndarray:
    return rlx.compile(flow(), FAST, weights=TINY)(IDS)


def rounded(group: int) -> DictWeights:
    """The weights of the checkpoint with every projection replaced by what its integers say.

    So is the head, which is no longer the table.
    """
    source = SafetensorsWeights(TINY)
    found = {key: source.get(key) for key in source.keys()}  # noqa: SIM118 -- no mapping
    found["lm_head.weight"] = found["model.embed_tokens.weight"]
    for key, array in found.items():
        if key.endswith(("proj.weight", "lm_head.weight")):
            values, scales = quantize([array], 0, group)
            each = np.repeat(scales, group, 1) if group else scales[:, None]
            found[key] = values * each
    return DictWeights(found)


def how(group: int) -> str:
    return f"int8{{group={group}}}" if group else "int8"


@pytest.mark.parametrize("group", [0, 16])
def test_logits(group: int) -> None:
    floats = unquantized()
    integers = rlx.compile(flow(), FAST, weights=TINY, quantize=how(group))
    made = [spec for spec in integers.parameters if spec.quantized == "int8"]
    assert sum(len(spec.parts) for spec in made) == 4 * 7 + 1
    exact = rlx.compile(flow(tied=False), FAST, weights=rounded(group))(IDS)
    logits = integers(IDS)
    scale = np.abs(floats).max()
    assert np.abs(logits - exact).max() < 1e-5 * scale
    assert 1e-4 * scale < np.abs(logits - floats).max() < BOUND[group] * scale


def test_bf16() -> None:
    source = SafetensorsWeights(TINY)
    half = CastWeights(source, np.dtype("bfloat16"))
    floats = unquantized()
    logits = rlx.compile(flow(), FAST, weights=half, quantize="int8")(IDS)
    assert logits.dtype == np.dtype("bfloat16")
    error = np.abs(logits.astype(np.float32) - floats).max()
    assert error < (BOUND[0] + 2e-2) * np.abs(floats).max()


@pytest.mark.parametrize("group", [0, 16])
def test_no_matrix_of_floats_is_made(group: int) -> None:
    """In the IR on buffers, nothing is allocated that has the size of a weight."""
    built = flow().build(TINY)
    text = str(compiler.lower(built, "bufferized", quantize=how(group)))
    matrices = set(re.findall(r"memref<(\d+x\d+)xi8", text))
    assert {"48x64", "48x96"} <= matrices
    allocated = re.findall(r"memref\.alloc.* : memref<(\S+)x(\w+)>", text)
    assert allocated, "the test looks at nothing"
    assert not {shape for shape, _ in allocated} & matrices


def test_the_table_stays() -> None:
    """The head is tied to the table that is looked up in, and has integers of its own."""
    lowered = str(compiler.lower(flow().build(TINY), "fused", quantize="int8"))
    name = "model.embed_tokens.weight"
    assert f'tensor<256x48xf32> {{rlx.name = "{name}", rlx.param}}' in lowered
    assert f'tensor<256x48xi8> {{rlx.name = "{name}.int8", rlx.param, rlx.parts' in lowered
    assert '"rlx.matmul"' not in lowered
