"""`rlx.glu`: compiled against the reference, the reference against torch."""

import numpy as np
import pytest
import torch
from harness import assert_close, check, dtype_names, dynamic_sizes, few, many, random, run
from hypothesis import given
from hypothesis import strategies as st

from rlx.dialects.glu import ACTIVATIONS, GluOp
from rlx.runtime import ExecutionError


@st.composite
def cases(draw):
    shape = draw(st.lists(st.sampled_from([1, 2, 7, 16]), min_size=0, max_size=3))
    activation, dtype = draw(st.sampled_from(ACTIVATIONS)), draw(dtype_names())
    dynamic = draw(dynamic_sizes(len(shape), len(shape)))
    return random(shape, dtype), random(shape, dtype, 1), activation, dynamic


def compare(case):
    gate, up, activation, dynamic = case
    check(GluOp, gate, up, activation=activation, dynamic=dynamic)


@few
@given(cases())
def test_lowering(case):
    compare(case)


@pytest.mark.slow
@many
@given(cases())
def test_lowering_widely(case):
    compare(case)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_whole_range(activation):
    gate = np.linspace(-30, 30, 241, dtype=np.float32)
    actual = run(GluOp, gate, np.ones_like(gate), activation=activation)
    expected = GluOp.reference(gate.astype(np.float64), np.ones(241), activation=activation)
    # Relative to each value where it matters, and to the largest slope (about 1) elsewhere.
    assert np.all(np.abs(actual - expected) <= 1e-5 * np.abs(expected) + 1e-6)


@pytest.mark.parametrize("dynamic", [{(0, 0)}, True])
def test_sizes_must_agree_at_run_time(dynamic):
    with pytest.raises(ExecutionError, match="gate and up must have the same sizes"):
        run(GluOp, random(3), random(4), activation="silu", dynamic=dynamic)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_reference_is_torch(activation):
    gate, up = random((3, 40), "f64") * 3, random((3, 40), "f64", 1)
    functions = {
        "silu": torch.nn.functional.silu,
        "gelu": torch.nn.functional.gelu,
        "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        "relu": torch.nn.functional.relu,
    }
    expected = functions[activation](torch.from_numpy(gate)) * torch.from_numpy(up)
    assert_close(GluOp.reference(gate, up, activation=activation), expected.numpy())
