"""`rlx.narrow`: compiled against the reference, the reference against torch."""

import numpy as np
import pytest
import torch
from harness import check, dtype_names, dynamic_sizes, few, many, random, run
from hypothesis import given
from hypothesis import strategies as st

from rlx.dialects.narrow import NarrowOp
from rlx.runtime import ExecutionError


@st.composite
def cases(draw):
    shape = draw(st.lists(st.sampled_from([1, 2, 5, 8]), min_size=1, max_size=4))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    start = draw(st.integers(0, shape[axis] - 1))
    length = draw(st.integers(1, shape[axis] - start))
    attrs = {"axis": axis, "start": start, "length": length}
    return random(shape, draw(dtype_names())), attrs, draw(dynamic_sizes(len(shape)))


def compare(case):
    x, attrs, dynamic = case
    check(NarrowOp, x, dynamic=dynamic, tolerance=0, **attrs)


@few
@given(cases())
def test_lowering(case):
    compare(case)


@pytest.mark.slow
@many
@given(cases())
def test_lowering_widely(case):
    compare(case)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.bool_])
def test_integers(dtype):
    x = np.arange(6).reshape(2, 3).astype(dtype)
    result = run(NarrowOp, x, axis=1, start=1, length=2)
    assert result.dtype == dtype and np.array_equal(result, x[:, 1:])


def test_end_is_checked_at_run_time():
    with pytest.raises(ExecutionError, match=r"start \+ length must be within axis 1"):
        run(NarrowOp, random((2, 5)), dynamic=True, axis=-1, start=2, length=4)


def test_reference_is_torch():
    x = random((3, 4, 5))
    expected = torch.from_numpy(x).narrow(1, 1, 2).numpy()
    assert np.array_equal(NarrowOp.reference(x, axis=-2, start=1, length=2), expected)
