"""`rlx.matmul`: compiled against the reference, the reference against torch."""

import numpy as np
import pytest
import torch
from harness import assert_close, check, dtype_names, dynamic_sizes, few, many, random, run
from hypothesis import given
from hypothesis import strategies as st

from rlx.dialects.matmul import MatmulOp
from rlx.runtime import ExecutionError


@st.composite
def cases(draw):
    rank = draw(st.integers(1, 4))
    rows = draw(st.lists(st.sampled_from([1, 2, 3, 7]), min_size=rank - 1, max_size=rank - 1))
    inner, columns = draw(st.sampled_from([1, 5, 16, 33])), draw(st.sampled_from([1, 4, 19, 32]))
    transpose = draw(st.booleans())
    dtype = draw(dtype_names())
    x = random((*rows, inner), dtype)
    w = random((columns, inner) if transpose else (inner, columns), dtype, seed=1)
    return x, w, transpose, draw(dynamic_sizes(rank, 2))


def compare(case):
    x, w, transpose, dynamic = case
    check(MatmulOp, x, w, transpose_weight=transpose, dynamic=dynamic)


@few
@given(cases())
def test_lowering(case):
    compare(case)


@pytest.mark.slow
@many
@given(cases())
def test_lowering_widely(case):
    compare(case)


@pytest.mark.parametrize("transpose", [False, True])
def test_all_dynamic(transpose):
    w = random((7, 33) if transpose else (33, 7), seed=1)
    compare((random((2, 3, 33)), w, transpose, True))


def test_without_rows():
    compare((random((0, 5)), random((5, 3)), False, {(0, 0)}))


def test_without_inner_axis_gives_zeros():
    assert not run(MatmulOp, random((2, 0)), random((0, 3))).any()


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_accumulates_in_f32(dtype):
    # 4096 + 1 needs more digits than either type has: a narrow sum would stop at 256 or 2048.
    ones = np.ones((1, 4100), random(1, dtype).dtype)
    assert run(MatmulOp, ones, ones.T.copy()).item() == ones.dtype.type(4100)


@pytest.mark.parametrize("dynamic", [{(0, 1)}, {(1, 0)}, True])
def test_inner_sizes_must_agree_at_run_time(dynamic):
    with pytest.raises(ExecutionError, match="inner sizes of input and weight must agree"):
        run(MatmulOp, random((2, 5)), random((6, 3)), dynamic=dynamic)


def test_reference_is_torch():
    x, w = random((2, 3, 5), "f64"), random((5, 4), "f64", 1)
    expected = torch.from_numpy(x) @ torch.from_numpy(w)
    assert_close(MatmulOp.reference(x, w), expected.numpy())
    transposed = MatmulOp.reference(x, np.ascontiguousarray(w.T), transpose_weight=True)
    assert_close(transposed, expected.numpy())
