"""`rlx.concat`: compiled against the reference, the reference against torch."""

import numpy as np
import pytest
import torch
from harness import check, dtype_names, dynamic_sizes, few, many, random, run
from hypothesis import given
from hypothesis import strategies as st

from rlx.dialects.concat import ConcatOp
from rlx.runtime import ExecutionError


@st.composite
def cases(draw):
    shape = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=3))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    dtype = draw(dtype_names())
    parts = []
    for n, size in enumerate(draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))):
        shape[axis] = size
        parts.append(random(shape, dtype, seed=n))
    return parts, axis, draw(dynamic_sizes(*[len(shape)] * len(parts)))


def compare(case):
    parts, axis, dynamic = case
    check(ConcatOp, parts, axis=axis, dynamic=dynamic, tolerance=0)


@few
@given(cases())
def test_lowering(case):
    compare(case)


@pytest.mark.slow
@many
@given(cases())
def test_lowering_widely(case):
    compare(case)


def test_sizes_of_three_kinds():
    compare(([random((2, n, 3), seed=n) for n in (1, 4, 2, 4)], 1, ()))


def test_same_input_many_times():
    x = random((2, 3))
    compare(([x, x, x[:, :1], x], -1, True))


@pytest.mark.parametrize("shapes", [[(3, 2), (2, 2)], [(2, 2), (3, 2)], [(2, 2), (2, 2), (1, 2)]])
def test_other_sizes_must_agree_at_run_time(shapes):
    with pytest.raises(ExecutionError, match="same size on axis 0"):
        run(ConcatOp, [random(shape) for shape in shapes], axis=1, dynamic=True)


def test_reference_is_torch():
    parts = [random((2, 3), seed=1), random((2, 5), seed=2)]
    expected = torch.cat([torch.from_numpy(p) for p in parts], dim=-1).numpy()
    assert np.array_equal(ConcatOp.reference(parts, axis=1), expected)
