"""`rlx.matmul` on tensor cores, in the interpreter."""

import numpy as np
import pytest
from cuda_harness import check
from harness import random

from rlx.dialects.matmul import MatmulOp


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("rows", "columns", "inner"),
    [
        (128, 128, 64),  # whole tiles
        (1, 40, 264),  # few rows
        (17, 72, 40),  # some
        (300, 136, 24),  # many; less than a slice
        (65, 33, 7),  # nothing is aligned
        (5, 8, 1),
        (16, 64, 640),  # more slices than stages
    ],
)
def test_sizes(rows, columns, inner, transposed):
    a = random((rows, inner), "bf16", 1)
    b = random((columns, inner) if transposed else (inner, columns), "bf16", 2)
    check(MatmulOp, a, b, kernel="rlx_matmul", transpose_weight=transposed)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_dynamic_sizes_and_leading_axes(dtype):
    a, b = random((2, 3, 40), dtype, 1), random((40, 24), dtype, 2)
    check(MatmulOp, a, b, kernel="rlx_matmul", dynamic=True)


def test_a_vector():
    a, b = random((40,), "f16", 1), random((24, 40), "f16", 2)
    check(MatmulOp, a, b, kernel="rlx_matmul", transpose_weight=True)


@pytest.mark.parametrize("shape", [((0, 16), (16, 8)), ((3, 0), (0, 8)), ((3, 16), (16, 0))])
def test_empty(shape):
    a, b = (np.zeros(s, np.float16) for s in shape)
    check(MatmulOp, a, b)


def test_f32_is_not_rounded():
    a, b = random((9, 33), "f32", 1), random((33, 10), "f32", 2)
    check(MatmulOp, a, b, tolerance=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("rows", "columns", "inner", "dtype"),
    [(130, 264, 72, "bf16"), (70, 40, 328, "f16"), (65, 128, 8, "bf16")],
)
def test_hopper(rows, columns, inner, dtype, transposed):
    a = random((1, rows, inner), dtype, 1)
    b = random((columns, inner) if transposed else (inner, columns), dtype, 2)
    run_as = {"kernel": "rlx_matmul_wgmma", "arch": "sm_90a", "dynamic": {(0, 1)}}
    check(MatmulOp, a, b, transpose_weight=transposed, **run_as)


@pytest.mark.parametrize("sizes", [(8, 64, 64), (70, 60, 64), (70, 64, 60)])
def test_hopper_leaves_the_rest_to_the_portable_kernel(sizes):
    rows, columns, inner = sizes
    a, b = random((rows, inner), "bf16", 1), random((inner, columns), "bf16", 2)
    check(MatmulOp, a, b, kernel="rlx_matmul_kn", arch="sm_90a")
