"""`rlx.dequant_matmul`: compiled against the reference, the reference against torch."""

import numpy as np
import pytest
import torch
from harness import assert_close, check, dtype_names, dynamic_sizes, few, many, random, run
from hypothesis import given
from hypothesis import strategies as st

from rlx.dialects.dequant_matmul import DequantMatmulOp
from rlx.runtime import ExecutionError


def operands(shape, inner, columns, dtype="f32", *, transpose=True, group=0):
    """Input, integers over their whole range, and scales of different sizes."""
    x = random((*shape, inner), dtype)
    generator = np.random.default_rng(1)
    size = (columns, inner) if transpose else (inner, columns)
    weight = generator.integers(-128, 128, size, np.int8)
    scales = generator.uniform(0.001, 0.1, (columns, inner // group) if group else columns)
    return x, weight, scales.astype(np.float64 if dtype == "f64" else np.float32)


@st.composite
def cases(draw):
    rank = draw(st.integers(1, 4))
    rows = draw(st.lists(st.sampled_from([1, 2, 3, 7]), min_size=rank - 1, max_size=rank - 1))
    group = draw(st.sampled_from([0, 0, 1, 3, 8]))
    inner = (group or 1) * draw(st.sampled_from([1, 2, 5]))
    columns, transpose = draw(st.sampled_from([1, 4, 19])), draw(st.booleans())
    arrays = operands(rows, inner, columns, draw(dtype_names()), transpose=transpose, group=group)
    return arrays, transpose, group, draw(dynamic_sizes(rank, 2, 2 if group else 1))


def compare(case):
    arrays, transpose, group, dynamic = case
    check(DequantMatmulOp, *arrays, transpose_weight=transpose, group=group, dynamic=dynamic)


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
@pytest.mark.parametrize("group", [0, 11])
def test_all_dynamic(transpose, group):
    arrays = operands((2, 3), 33, 7, transpose=transpose, group=group)
    compare((arrays, transpose, group, True))


@pytest.mark.parametrize("group", [0, 4])
def test_without_rows(group):
    compare((operands((0,), 8, 3, group=group), True, group, {(0, 0)}))


def test_without_inner_axis_gives_zeros():
    x, weight, scales = operands((2,), 0, 3)
    assert not run(DequantMatmulOp, x, weight, scales, transpose_weight=True).any()


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_accumulates_in_f32(dtype):
    # A narrow sum of ones would stop at 256 or 2048.
    x = np.ones((1, 4100), random(1, dtype).dtype)
    weight, scales = np.ones((1, 4100), np.int8), np.ones(1, np.float32)
    result = run(DequantMatmulOp, x, weight, scales, transpose_weight=True)
    assert result.item() == x.dtype.type(4100)


@pytest.mark.parametrize(
    ("shapes", "group", "dynamic", "message"),
    [
        (((2, 5), (3, 6), (3,)), 0, {(0, 1)}, "inner sizes of input, weight and scales must agree"),
        (((2, 5), (3, 6), (3,)), 0, True, "inner sizes of input, weight and scales must agree"),
        (((2, 6), (3, 6), (4,)), 0, {(2, 0)}, "scales must fit weight"),
        (((2, 6), (3, 6), (4, 2)), 3, True, "scales must fit weight"),
        (((2, 6), (3, 6), (3, 3)), 3, {(2, 1)}, "scales must fit weight"),
        (((2, 6), (3, 6), (3, 3)), 3, True, "inner sizes of input, weight and scales must agree"),
        (((2, 7), (3, 7), (3, 2)), 3, True, "inner sizes of input, weight and scales must agree"),
    ],
)
def test_sizes_must_agree_at_run_time(shapes, group, dynamic, message):
    x, weight, scales = (np.ones(shape, np.float32) for shape in shapes)
    with pytest.raises(ExecutionError, match=message):
        run(
            DequantMatmulOp,
            x,
            weight.astype(np.int8),
            scales,
            transpose_weight=True,
            group=group,
            dynamic=dynamic,
        )


@pytest.mark.parametrize("transpose", [False, True])
def test_reference_is_torch(transpose):
    x, weight, scales = operands((2, 3), 12, 5, "f64", transpose=transpose)
    rows = torch.from_numpy(weight if transpose else weight.T.copy()).double()
    expected = torch.from_numpy(x) @ (rows * torch.from_numpy(scales)[:, None]).T
    actual = DequantMatmulOp.reference(x, weight, scales, transpose_weight=transpose)
    assert_close(actual, expected.numpy())
    x, weight, scales = operands((2, 3), 12, 5, "f64", transpose=transpose, group=4)
    rows = torch.from_numpy(weight if transpose else weight.T.copy()).double()
    expanded = torch.from_numpy(scales).repeat_interleave(4, dim=1)
    expected = torch.from_numpy(x) @ (rows * expanded).T
    actual = DequantMatmulOp.reference(x, weight, scales, transpose_weight=transpose, group=4)
    assert_close(actual, expected.numpy())
