"""`rlx.rms_norm`: compiled against the reference, the reference against torch and transformers."""

import numpy as np
import pytest
import torch
from harness import (
    TOLERANCE,
    assert_close,
    check,
    dtype_names,
    dynamic_sizes,
    few,
    many,
    random,
    run,
)
from hypothesis import given
from hypothesis import strategies as st

from rlx.dialects.rms_norm import RmsNormOp
from rlx.runtime import ExecutionError


@st.composite
def cases(draw):
    group = draw(st.sampled_from([1, 2, 5, 16]))
    width = group * draw(st.sampled_from([1, 2, 3]))
    rows = draw(st.lists(st.sampled_from([1, 2, 7]), min_size=0, max_size=3))
    attrs = {"epsilon": draw(st.sampled_from([1e-6, 1e-5, 0.1]))}
    if draw(st.booleans()) or group != width:
        attrs["group"] = group
    dtype = draw(dtype_names())
    weight = None
    if draw(st.booleans()):
        size = draw(st.sampled_from([width, group]))
        weight = random(size, draw(st.sampled_from([dtype, "f32"])), seed=1)
        attrs["weight_offset"] = draw(st.sampled_from([0.0, 1.0]))
    dynamic = draw(dynamic_sizes(len(rows) + 1))
    return random((*rows, width), dtype), weight, attrs, dynamic


def compare(case):
    x, weight, attrs, dynamic = case
    if dynamic is True:
        dynamic = {(0, axis) for axis in range(x.ndim)}
    check(RmsNormOp, x, weight, dynamic=dynamic, **attrs)


@few
@given(cases())
def test_lowering(case):
    compare(case)


@pytest.mark.slow
@many
@given(cases())
def test_lowering_widely(case):
    compare(case)


@pytest.mark.parametrize("size", [16, 48])
@pytest.mark.parametrize("dynamic", [(), True])
def test_weight_per_group_or_for_all(size, dynamic):
    attrs = {"epsilon": 1e-6, "group": 16, "weight_offset": 1.0}
    compare((random((2, 5, 48)), random(size, seed=1), attrs, dynamic))


def test_f32_weight_on_bf16():
    compare((random((2, 3, 64), "bf16"), random(64, "f32", 1), {"epsilon": 1e-6}, ()))


def test_dynamic_weight():
    check(RmsNormOp, random((2, 24)), random(24, seed=1), epsilon=1e-6, dynamic=True)


def test_large_numbers_do_not_overflow_f16():
    x = np.full((1, 8), 6e4, np.float16)
    assert np.array_equal(run(RmsNormOp, x, None, epsilon=0.0), np.ones_like(x))


def test_group_must_divide_at_run_time():
    with pytest.raises(ExecutionError, match="group must divide the last axis"):
        run(RmsNormOp, random((2, 10)), None, epsilon=1e-6, group=4, dynamic=True)


@pytest.mark.parametrize("attrs", [{}, {"group": 4}])
def test_weight_must_have_the_size_at_run_time(attrs):
    x, weight = random((2, 12)), random(8)
    with pytest.raises(ExecutionError, match="weight must have the size of the last axis"):
        run(RmsNormOp, x, weight, epsilon=1e-6, dynamic={(0, 1)}, **attrs)


def test_reference_is_torch():
    x, w = random((2, 3, 24), "f64"), random(24, "f64", 1)
    t, u = torch.from_numpy(x), torch.from_numpy(w)
    whole = torch.nn.functional.rms_norm(t, (24,), u, eps=1e-5)
    assert_close(RmsNormOp.reference(x, w, epsilon=1e-5), whole.numpy())
    heads = torch.nn.functional.rms_norm(t.reshape(2, 3, 3, 8), (8,), u[:8], eps=1e-5)
    actual = RmsNormOp.reference(x, w[:8], epsilon=1e-5, group=8)
    assert_close(actual, heads.reshape(2, 3, 24).numpy())
    split = torch.nn.functional.rms_norm(t.reshape(2, 3, 3, 8), (8,), eps=1e-5).reshape(2, 3, 24)
    assert_close(RmsNormOp.reference(x, w, epsilon=1e-5, group=8), (split * u).numpy())


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_like_transformers(family, dtype):
    if family == "llama":
        from transformers.models.llama.modeling_llama import LlamaRMSNorm as Norm
    else:
        from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm as Norm
    x, w = random((2, 5, 64), dtype), random(64, dtype, 1)
    norm = Norm(64, 1e-6).to(torch.float32 if dtype == "f32" else torch.bfloat16)
    with torch.no_grad():
        norm.weight.copy_(torch.from_numpy(w.astype(np.float32)))
        expected = norm(torch.from_numpy(x.astype(np.float32)).to(norm.weight.dtype))
    offset = 1.0 if family == "gemma3" else 0.0
    actual = run(RmsNormOp, x, w, epsilon=1e-6, weight_offset=offset)
    assert_close(actual, expected.float().numpy(), 2 * TOLERANCE[x.dtype])
