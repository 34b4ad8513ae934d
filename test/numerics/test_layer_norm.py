"""`rlx.layer_norm`: compiled against the reference, the reference against torch."""

import numpy as np
import pytest
import torch
from harness import assert_close, check, dtype_names, dynamic_sizes, few, many, random, run
from hypothesis import given
from hypothesis import strategies as st

from rlx.dialects.layer_norm import LayerNormOp
from rlx.runtime import ExecutionError


@st.composite
def cases(draw):
    shape = draw(st.lists(st.sampled_from([1, 2, 7]), min_size=0, max_size=3))
    width = draw(st.sampled_from([1, 5, 16, 48]))
    dtype = draw(dtype_names())
    kinds = draw(st.sampled_from([dtype, "f32"])), draw(st.sampled_from([dtype, "f32"]))
    weight, bias = (random(width, kind, seed=n + 1) for n, kind in enumerate(kinds))
    epsilon = draw(st.sampled_from([1e-12, 1e-5, 0.1]))
    dynamic = draw(dynamic_sizes(len(shape) + 1, 1, 1))
    return random((*shape, width), dtype), weight, bias, epsilon, dynamic


def compare(case):
    x, weight, bias, epsilon, dynamic = case
    check(LayerNormOp, x, weight, bias, epsilon=epsilon, dynamic=dynamic)


@few
@given(cases())
def test_lowering(case):
    compare(case)


@pytest.mark.slow
@many
@given(cases())
def test_lowering_widely(case):
    compare(case)


def test_large_mean():
    # The variance is lost to rounding if it is computed as mean(x^2) - mean(x)^2.
    x = random((2, 64)) + np.float32(1e3)
    one, zero = np.ones(64, np.float32), np.zeros(64, np.float32)
    check(LayerNormOp, x, one, zero, epsilon=1e-5, tolerance=1e-3)


@pytest.mark.parametrize(("sizes", "name"), [((8, 9), "weight"), ((9, 8), "bias")])
def test_sizes_must_agree_at_run_time(sizes, name):
    weight, bias = map(random, sizes)
    with pytest.raises(ExecutionError, match=f"{name} must have the size of the last axis"):
        run(LayerNormOp, random((2, 9)), weight, bias, epsilon=1e-5, dynamic=True)


def test_reference_is_torch():
    x, w, b = random((2, 3, 24), "f64"), random(24, "f64", 1), random(24, "f64", 2)
    expected = torch.nn.functional.layer_norm(
        *map(torch.from_numpy, (x,)), (24,), *map(torch.from_numpy, (w, b)), 1e-5
    )
    assert_close(LayerNormOp.reference(x, w, b, epsilon=1e-5), expected.numpy())
