"""What stages compute, against NumPy written from the definition."""

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from test_parity import FAST

import rlx
from rlx.flow import MaskKind, ModelFlow
from rlx.flow.stages import (
    GemmaKvTapStage,
    HeadNorm,
    LinearStage,
    LogitSoftcapStage,
    ScaleStage,
    SelfAttnPrefillSpec,
)

B, S, HIDDEN, HEADS, KV_HEADS, DIM = 2, 7, 20, 6, 2, 8
PREFIX = "model.layers.0"
SPEC = SelfAttnPrefillSpec.hf_layer(PREFIX, HEADS, DIM, KV_HEADS)
RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


WEIGHTS = {
    SPEC.q_key: normal(HEADS * DIM, HIDDEN),
    SPEC.k_key: normal(KV_HEADS * DIM, HIDDEN),
    SPEC.v_key: normal(KV_HEADS * DIM, HIDDEN),
    SPEC.q_key.replace("weight", "bias"): normal(HEADS * DIM),
    SPEC.k_key.replace("weight", "bias"): normal(KV_HEADS * DIM),
    SPEC.v_key.replace("weight", "bias"): normal(KV_HEADS * DIM),
    "q_norm": normal(DIM),
    "k_norm": normal(DIM),
    "linear": normal(5, HIDDEN),
    "bias": normal(5),
}
X = normal(B, S, HIDDEN)
ANGLES = RANDOM.uniform(0, 6, (S + 3, DIM // 2))
COS, SIN = np.cos(ANGLES).astype(np.float32), np.sin(ANGLES).astype(np.float32)


def run(flow: ModelFlow, *arrays: np.ndarray) -> Any:
    return rlx.compile(flow, FAST, weights=WEIGHTS)(*arrays)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    """1e-5 of the largest magnitude: everything is f32."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


# -- the definition, in f64 ----------------------------------------------------------------------


def heads(x: np.ndarray) -> np.ndarray:
    return x.reshape(B, S, -1, DIM).transpose(0, 2, 1, 3)


def flat(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, 2, 1, 3).reshape(B, S, -1)


def head_norm(x: np.ndarray, norm: HeadNorm | None) -> np.ndarray:
    if norm is None:
        return x
    scaled = x / np.sqrt((x**2).mean(-1, keepdims=True) + norm.epsilon)
    return scaled if norm.key is None else scaled * (WEIGHTS[norm.key] + norm.weight_offset)


def turn(x: np.ndarray, n_rot: int, positions: np.ndarray) -> np.ndarray:
    half = n_rot // 2
    cos, sin = (np.float64(t)[positions][:, None, :, :half] for t in (COS, SIN))
    a, b, rest = x[..., :half], x[..., half:n_rot], x[..., n_rot:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], -1)


def keys_and_values(
    spec: SelfAttnPrefillSpec, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    raw = project(spec.k_key, spec.k_bias)
    value = raw if spec.k_eq_v else project(spec.v_key, spec.v_bias)
    key = turn(head_norm(raw, spec.k_norm), spec.rotated, positions)
    return key, head_norm(value, spec.v_norm)


def project(key: str, bias: str | None) -> np.ndarray:
    return heads(np.float64(X) @ np.float64(WEIGHTS[key]).T + (WEIGHTS[bias] if bias else 0))


def attend(
    spec: SelfAttnPrefillSpec,
    visible: np.ndarray,
    bias: np.ndarray | float = 0.0,
    positions: np.ndarray | None = None,
) -> np.ndarray:
    positions = np.broadcast_to(np.arange(S), (B, S)) if positions is None else positions
    key, value = (np.repeat(x, HEADS // KV_HEADS, 1) for x in keys_and_values(spec, positions))
    query = head_norm(project(spec.q_key, spec.q_bias), spec.q_norm)
    query = turn(query, spec.rotated, positions)
    scale = DIM**-0.5 if spec.score_scale is None else spec.score_scale
    scores = query @ key.swapaxes(-1, -2) * scale
    if spec.attn_logit_softcap:
        scores = np.tanh(scores / spec.attn_logit_softcap) * spec.attn_logit_softcap
    scores = np.where(visible, scores + bias, -np.inf)
    with np.errstate(invalid="ignore"):  # rows that see nothing
        weight = np.exp(scores - scores.max(-1, keepdims=True))
    return flat(weight / weight.sum(-1, keepdims=True) @ value)


ROW, COLUMN = np.arange(S)[:, None], np.arange(S)[None, :]
CAUSAL = COLUMN <= ROW

SPECS = {
    "plain": SPEC,
    "partial rotary, biases": SPEC.with_n_rot(4).with_hf_bias(),
    "keys as values, all norms, softcap": SPEC.with_k_eq_v()
    .with_norms(HeadNorm("q_norm", 1e-6, 1.0), HeadNorm("k_norm", 1e-6), HeadNorm(None, 1e-6))
    .with_score_scale(0.7)
    .with_attn_logit_softcap(1.5),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_attention_and_tap(spec: SelfAttnPrefillSpec) -> None:
    flow = ModelFlow("f").input("x", ["B", "S", HIDDEN]).rope_tables(COS, SIN)
    found, key, value = run(flow.stage(GemmaKvTapStage(spec)).self_attn_prefill(spec), X)
    close(found, attend(spec, CAUSAL))
    positions = np.broadcast_to(np.arange(S), (B, S))
    for tap, expected in zip((key, value), keys_and_values(spec, positions), strict=True):
        close(tap, flat(expected))


def test_masks_and_positions() -> None:
    """Four attention blocks of one model, each with a mask of its own."""
    padding = np.ones((B, S), np.int64)
    padding[1, :3] = 0
    bias = normal(B, HEADS, S, S)
    bias[:, :, :, 5] = -np.inf
    full = RANDOM.integers(0, 2, (B, 1, S, S)).astype(bool) | np.eye(S, dtype=bool)
    positions = RANDOM.integers(0, S + 3, (B, S))
    kept = padding[:, None, None, :].astype(bool)
    masks = {
        "none": (MaskKind.none(), np.ones((S, S), bool), 0.0),
        "window": (MaskKind.sliding_window(3), CAUSAL & (COLUMN > ROW - 3), 0.0),
        "padding": (MaskKind.custom("padding"), CAUSAL & kept, 0.0),
        "padding in a window": (
            MaskKind.custom("padding") & MaskKind.sliding_window(2),
            CAUSAL & (COLUMN > ROW - 2) & kept,
            0.0,
        ),
        "any": (replace(MaskKind.custom("full"), is_causal=False), full, 0.0),
        "bias": (MaskKind.bias("bias"), np.ones((S, S), bool), bias),
        "causal bias": (MaskKind.bias("bias") & MaskKind.causal(), CAUSAL, bias),
    }
    flow = ModelFlow("f").input("x", ["B", "S", HIDDEN])
    flow.input("padding", ["B", "S"], "i64").input("bias", ["B", HEADS, "S", "S"])
    flow.input("full", ["B", 1, "S", "S"], "i1").input("positions", ["B", "S"], "i64")
    flow.rope_tables(COS, SIN).positions("positions")
    for name, (mask, _, _) in masks.items():
        flow.custom(lambda ctx, value: ctx.inputs["x"])
        flow.self_attn_prefill(SPEC.with_mask(mask)).output(name)
    results = run(flow, X, padding, bias, full, positions)
    for found, (name, (_, visible, added)) in zip(results, masks.items(), strict=True):
        expected = attend(SPEC, visible, added, positions)
        if name.startswith("padding"):
            # Queries that see nothing: zeros, by definition of the op.
            seen = np.broadcast_to(visible, (B, 1, S, S)).any(-1)[:, 0]
            assert not seen.all() and not found[~seen].any()
            found, expected = found[seen], expected[seen]
        close(found, expected)


def test_elementwise_stages() -> None:
    flow = ModelFlow("f").input("x", ["B", "S", HIDDEN]).residual_save()
    flow.stage(ScaleStage(3.0)).residual_add().output("sum").linear("linear", "bias")
    flow.output("linear").stage(LogitSoftcapStage(2.5)).output("capped")
    total, linear, capped = run(flow, X)
    np.testing.assert_array_equal(total, X + X * np.float32(3.0))
    expected = np.float64(total) @ np.float64(WEIGHTS["linear"]).T + WEIGHTS["bias"]
    close(linear, expected)
    close(capped, 2.5 * np.tanh(np.float64(linear) / 2.5))


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_a_scale_is_rounded_to_the_element_type(dtype: str) -> None:
    kind = {"bf16": ml_dtypes.bfloat16, "f16": np.float16}[dtype]
    factor = 3072**0.5  # 55.4256; 55.5 in bf16
    x = normal(3, 5).astype(kind)
    flow = ModelFlow("f").input("x", [None, 5], dtype).stage(ScaleStage(factor))
    found = run(flow, x)
    assert found.dtype == kind
    np.testing.assert_array_equal(found, x * kind(factor))


def test_weights_stored_the_other_way_round() -> None:
    flow = ModelFlow("f").input("x", ["B", 5]).stage(LinearStage("linear", transpose=False))
    x = normal(3, 5)
    close(run(flow, x), np.float64(x) @ np.float64(WEIGHTS["linear"]))


def test_the_example_runs(capsys: pytest.CaptureFixture) -> None:
    path = Path(__file__).resolve().parents[2] / "examples" / "stages.py"
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    before, after = printed.split("// after rlx-fuse")
    assert "rlx.concat" in before and "num_kv_heads" not in before
    assert "rlx.concat" not in after and "num_kv_heads = 2" in after
    assert "present.0.key: float32[2, 10, 32]" in after
