"""ONNX's own node tests of Attention, RotaryEmbedding and RMSNormalization, by the compiled ops.

ONNX keeps the heads of rank 4 tensors in front of the sequence, [B, H, S, D]; rlx keeps them in the
last axis, [B, S, H * D]. Everything else is a matter of attributes.
"""

import functools
import importlib

import numpy as np
import onnx
import pytest
from harness import assert_close, module_text
from onnx.backend.test.case import node as onnx_node

import rlx
from rlx.dialects.attention import AttentionOp
from rlx.dialects.concat import ConcatOp
from rlx.dialects.rms_norm import RmsNormOp
from rlx.dialects.rope import RopeOp

# ONNX computes the expected values of 16-bit tests in 16 bits throughout.
TOLERANCE = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}

AFTER_SOFTMAX = 3
"""The `qk_matmul_output_mode` that asks for the weights; others ask for scores before softmax."""


def cases():
    for module in ("attention", "rotaryembedding", "rmsnormalization"):
        importlib.import_module(f"{onnx_node.__name__}.{module}")
    for case in onnx_node._NodeTestCases:
        # The others are the same tests with the op replaced by its definition in smaller ops.
        if len(case.model.graph.node) == 1:
            yield case


CASES = list(cases())


@functools.cache
def compiled(text):
    return rlx.compile(text, threads=1, cache=False)


def run(op, *operands, **attributes):
    text, arrays = module_text(op, operands, **attributes)
    return compiled(text)(*arrays)


def rows(x):
    """[B, H, S, D] as [B, S, H * D]; rank 3 as it is."""
    return x if x.ndim == 3 else np.ascontiguousarray(x.swapaxes(1, 2)).reshape(*x.shape[::2], -1)


def heads(x, count):
    """[B, S, H * D] as [B, H, S, D]."""
    return x.reshape(*x.shape[:2], count, -1).swapaxes(1, 2)


def attention(inputs, attributes, outputs):
    q, k, v = (inputs.pop(name) for name in ("Q", "K", "V"))
    num_heads = attributes.pop("q_num_heads", q.shape[1])
    num_kv_heads = attributes.pop("kv_num_heads", k.shape[1])
    rank = q.ndim
    q, k, v = rows(q), rows(k), rows(v)
    # Without a cache ONNX aligns the first query with the first key.
    offset = 0
    if "past_key" in inputs:
        past_key, past_value = rows(inputs.pop("past_key")), rows(inputs.pop("past_value"))
        offset = past_key.shape[1]
        k, v = run(ConcatOp, [past_key, k], axis=1), run(ConcatOp, [past_value, v], axis=1)
    lengths = inputs.pop("nonpad_kv_seqlen", None)
    mask = inputs.pop("attn_mask", None)
    if mask is not None and mask.shape[-1] < k.shape[1]:
        # Keys that a short mask does not reach are hidden.
        shape = (*mask.shape[:-1], k.shape[1] - mask.shape[-1])
        hidden = np.full(shape, False if mask.dtype == bool else -np.inf, mask.dtype)
        mask = run(ConcatOp, [mask, hidden], axis=-1)
    mode = attributes.pop("qk_matmul_output_mode", 0)
    attributes.pop("softmax_precision", None)  # f32 or more here, whatever is asked for
    converted = {
        "num_heads": num_heads,
        "num_kv_heads": num_kv_heads,
        "head_dim": q.shape[2] // num_heads,
        "causal": bool(attributes.pop("is_causal", 0)),
        "left_window": attributes.pop("left_window_size", -1),
        "right_window": attributes.pop("right_window_size", -1),
        "scale": attributes.pop("scale", None),
        "softcap": attributes.pop("softcap", 0.0),
        "q_offset": None if lengths is not None else offset,
    }
    assert not inputs and not attributes, f"not handled: {inputs.keys()} {attributes.keys()}"

    def apply(value):
        v_head_dim = value.shape[2] // num_kv_heads
        return run(AttentionOp, q, k, value, mask, lengths, v_head_dim=v_head_dim, **converted)

    y = apply(v)
    results = {
        "Y": heads(y, num_heads) if rank == 4 else y,
        "present_key": heads(k, num_kv_heads),
        "present_value": heads(v, num_kv_heads),
    }
    if "qk_matmul_output" in outputs and mode == AFTER_SOFTMAX:
        # The weights are what attention makes of a value that is the identity.
        batch, keys = k.shape[:2]
        identity = np.tile(np.eye(keys, dtype=v.dtype), (batch, 1, num_kv_heads))
        results["qk_matmul_output"] = heads(apply(identity), num_heads)
    return results


def rotary_embedding(inputs, attributes, outputs):
    x, cos, sin = (inputs.pop(name) for name in ("input", "cos_cache", "sin_cache"))
    positions = inputs.pop("position_ids", None)
    if positions is None:
        # A row of the table for each row of the batch.
        positions = np.arange(cos.shape[0] * cos.shape[1]).reshape(cos.shape[:2])
        cos, sin = (table.reshape(-1, table.shape[-1]) for table in (cos, sin))
    num_heads = attributes.pop("num_heads", x.shape[1])
    head_dim = x.shape[2] // num_heads if x.ndim == 3 else x.shape[3]
    n_rot = attributes.pop("rotary_embedding_dim", 0) or None
    pairing = "interleaved" if attributes.pop("interleaved", 0) else "half"
    assert not inputs and not attributes, f"not handled: {inputs.keys()} {attributes.keys()}"
    y = run(RopeOp, rows(x), cos, sin, positions, head_dim=head_dim, n_rot=n_rot, pairing=pairing)
    return {"output": y if x.ndim == 3 else heads(y, num_heads)}


def rms_normalization(inputs, attributes, outputs):
    x, weight = inputs.pop("X"), inputs.pop("W")
    axis = attributes.pop("axis", -1) % x.ndim
    epsilon = attributes.pop("epsilon", 1e-5)
    assert not inputs and not attributes, f"not handled: {inputs.keys()} {attributes.keys()}"
    flat = x.reshape(*x.shape[:axis], -1)
    return {"Y": run(RmsNormOp, flat, weight.reshape(-1), epsilon=epsilon).reshape(x.shape)}


ADAPTERS = {
    "Attention": attention,
    "RotaryEmbedding": rotary_embedding,
    "RMSNormalization": rms_normalization,
}

SCORES = {
    "test_attention_3d_with_past_and_present_qk_matmul",
    "test_attention_3d_with_past_and_present_qk_matmul_bias",
    "test_attention_3d_with_past_and_present_qk_matmul_softcap",
    "test_attention_4d_with_past_and_present_qk_matmul",
    "test_attention_4d_with_past_and_present_qk_matmul_bias",
    "test_attention_4d_with_past_and_present_qk_matmul_bias_3d_mask",
    "test_attention_4d_with_past_and_present_qk_matmul_bias_3d_mask_causal",
    "test_attention_4d_with_past_and_present_qk_matmul_bias_4d_mask",
    "test_attention_4d_with_past_and_present_qk_matmul_bias_4d_mask_causal",
    "test_attention_4d_with_qk_matmul",
    "test_attention_4d_with_qk_matmul_bias",
    "test_attention_4d_with_qk_matmul_softcap",
}
"""Tests whose last output, the scores before softmax, is no result of `rlx.attention`: an op that
had it could not be fused. Their other outputs are checked like any."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.removeprefix("test_"))
def test_node(case):
    (node,) = case.model.graph.node
    ((given, expected),) = case.data_sets
    inputs = dict(zip(filter(None, node.input), given, strict=True))
    outputs = dict(zip(filter(None, node.output), expected, strict=True))
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    actual = ADAPTERS[node.op_type](inputs, attributes, outputs)
    missing = {"qk_matmul_output"} if case.name in SCORES else set()
    assert outputs.keys() - actual.keys() == missing
    for name in outputs.keys() - missing:
        assert actual[name].dtype == outputs[name].dtype
        assert_close(actual[name], outputs[name], TOLERANCE[outputs[name].dtype.name])
        if outputs[name].dtype == np.float32:
            np.testing.assert_allclose(actual[name], outputs[name], case.rtol, case.atol)


def test_every_op_is_covered():
    """At least the tests of ONNX 1.23, so that none goes missing unnoticed."""
    counts = dict.fromkeys(ADAPTERS, 0)
    for case in CASES:
        counts[case.model.graph.node[0].op_type] += 1
    least = {"Attention": 93, "RotaryEmbedding": 8, "RMSNormalization": 19}
    assert all(counts[name] >= least[name] for name in least), counts
    assert {case.name for case in CASES} >= SCORES
