"""`rlx.matmul` on tensor cores, in the interpreter."""

import numpy as np
import pytest
from cuda_harness import check, kernels_of, names_of
from cuda_programs import program
from harness import assert_close, random

import rlx
from rlx.dialects.matmul import MatmulOp
from rlx.host import ir
from rlx.testing.gpu_interpreter import run_function


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


@pytest.mark.parametrize("dynamic", [(), True])
def test_a_vector(dynamic):
    a, b = random((40,), "f16", 1), random((24, 40), "f16", 2)
    check(MatmulOp, a, b, kernel="rlx_matmul", transpose_weight=True, dynamic=dynamic)


@pytest.mark.parametrize("shape", [((0, 16), (16, 8)), ((3, 0), (0, 8)), ((3, 16), (16, 0))])
def test_empty(shape):
    a, b = (np.zeros(s, np.float16) for s in shape)
    check(MatmulOp, a, b)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("rows", "columns", "inner"), [(70, 72, 40), (9, 65, 33), (64, 8, 1)])
def test_f32_is_not_rounded(rows, columns, inner, transposed):
    a = random((rows, inner), "f32", 1)
    b = random((columns, inner) if transposed else (inner, columns), "f32", 2)
    run_as = {"kernel": "rlx_matmul_fma", "tolerance": 1e-5, "dynamic": {(0, 0)}}
    check(MatmulOp, a, b, transpose_weight=transposed, **run_as)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_few_rows_take_the_plain_path(dtype):
    a, b = random((3, 33), dtype, 1), random((33, 10), dtype, 2)
    check(MatmulOp, a, b, tolerance=1e-5)


def test_what_follows_a_product_in_f32():
    text = RESIDUAL.replace("bf16", "f32")
    arrays = [random(s, "f32", n) for n, s in enumerate([(20, 72), (136, 72), 136, (20, 136)])]
    actual, names = run_text(text, "sm_80", *arrays)
    x, w, b, r = arrays
    assert_close(actual, np.tanh(x @ w.T + b) + r, 1e-5)
    assert names == ["rlx_matmul_fma_nk_fused_0"]


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


# -- what follows a product ------------------------------------------------------------------------

PART = """
func.func @main(%x: tensor<2x50x80xbf16>, %w: tensor<128x64xbf16>) -> tensor<100x128xbf16> {{
  %p = tensor.extract_slice %x[0, 0, {start}] [2, 50, 64] [1, 1, 1]
    : tensor<2x50x80xbf16> to tensor<2x50x64xbf16>
  %r = tensor.collapse_shape %p [[0, 1], [2]] : tensor<2x50x64xbf16> into tensor<100x64xbf16>
  %y = "rlx.matmul"(%r, %w) {{transpose_weight = true}}
    : (tensor<100x64xbf16>, tensor<128x64xbf16>) -> tensor<100x128xbf16>
  return %y : tensor<100x128xbf16>
}}
"""

HEADS = """
func.func @main(%x: tensor<100x3x12xbf16>, %w: tensor<128x24xbf16>) -> tensor<100x128xbf16> {
  %p = tensor.extract_slice %x[0, 1, 0] [100, 2, 12] [1, 1, 1]
    : tensor<100x3x12xbf16> to tensor<100x2x12xbf16>
  %r = tensor.collapse_shape %p [[0], [1, 2]] : tensor<100x2x12xbf16> into tensor<100x24xbf16>
  %y = "rlx.matmul"(%r, %w) {transpose_weight = true}
    : (tensor<100x24xbf16>, tensor<128x24xbf16>) -> tensor<100x128xbf16>
  return %y : tensor<100x128xbf16>
}
"""


@pytest.mark.parametrize("start", [8, 4])
def test_part_of_rows_on_hopper(start):
    x, w = random((2, 50, 80), "bf16", 1), random((128, 64), "bf16", 2)
    executable, gpu = program(PART.format(start=start), "sm_90a")
    wide_x, wide_w = wide(x[:, :, start : start + 64].reshape(100, 64), w)
    assert_close(executable(x, w), wide_x @ wide_w.T, 2e-2)
    # TMA wants rows that begin at multiples of 16 bytes.
    assert ["wgmma" in name for name in gpu.launched] == [start % 8 == 0]


def test_joined_axes_that_are_not_aligned_on_hopper():
    x, w = random((100, 3, 12), "bf16", 1), random((128, 24), "bf16", 2)
    executable, gpu = program(HEADS, "sm_90a")
    wide_x, wide_w = wide(x[:, 1:].reshape(100, 24), w)
    assert_close(executable(x, w), wide_x @ wide_w.T, 2e-2)
    assert not any("wgmma" in name for name in gpu.launched)


RESIDUAL = """
func.func @main(%x: tensor<?x72xbf16>, %w: tensor<136x72xbf16>, %b: tensor<136xbf16>,
                %r: tensor<?x136xbf16>) -> tensor<?x136xbf16> {
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x72xbf16>
  %y = "rlx.matmul"(%x, %w) {transpose_weight = true}
    : (tensor<?x72xbf16>, tensor<136x72xbf16>) -> tensor<?x136xbf16>
  %e = tensor.empty(%n) : tensor<?x136xbf16>
  %z = linalg.generic {
    indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>,
                     affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>],
    iterator_types = ["parallel", "parallel"]}
    ins(%y, %b, %r : tensor<?x136xbf16>, tensor<136xbf16>, tensor<?x136xbf16>)
    outs(%e : tensor<?x136xbf16>) {
  ^bb0(%p: bf16, %q: bf16, %s: bf16, %o: bf16):
    %0 = arith.addf %p, %q : bf16
    %1 = math.tanh %0 : bf16
    %2 = arith.addf %1, %s : bf16
    linalg.yield %2 : bf16
  } -> tensor<?x136xbf16>
  return %z : tensor<?x136xbf16>
}
"""

GATED = """
func.func @main(%x: tensor<?x40xbf16>, %w: tensor<{shape}xbf16>) -> tensor<?x128xbf16> {{
  %y = "rlx.matmul"(%x, %w) {{transpose_weight = {transposed}}}
    : (tensor<?x40xbf16>, tensor<{shape}xbf16>) -> tensor<?x256xbf16>
  %g = "rlx.narrow"(%y) {{axis = 1 : i64, start = 0 : i64, length = 128 : i64}}
    : (tensor<?x256xbf16>) -> tensor<?x128xbf16>
  %u = "rlx.narrow"(%y) {{axis = 1 : i64, start = 128 : i64, length = 128 : i64}}
    : (tensor<?x256xbf16>) -> tensor<?x128xbf16>
  %z = "rlx.glu"(%g, %u) {{activation = "silu"}}
    : (tensor<?x128xbf16>, tensor<?x128xbf16>) -> tensor<?x128xbf16>
  return %z : tensor<?x128xbf16>
}}
"""


def run_text(text, arch, *arrays):
    with ir.Context() as context, ir.Location.unknown():
        rlx.load_dialects(context)
        module = kernels_of(text, arch)
        (actual,) = run_function(module, "main", arrays)
        return np.asarray(actual), names_of(module)


def wide(*arrays):
    return [array.astype(np.float32) for array in arrays]


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
@pytest.mark.parametrize("rows", [3, 130, 260])
def test_bias_activation_and_residual(arch, rows):
    arrays = [random(s, "bf16", n) for n, s in enumerate([(rows, 72), (136, 72), 136, (rows, 136)])]
    actual, names = run_text(RESIDUAL, arch, *arrays)
    x, w, b, r = wide(*arrays)
    assert_close(actual, np.tanh(x @ w.T + b) + r, 2e-2)
    # For few, some and many rows.
    assert len(names) == 3 and all("fused" in name for name in names)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
@pytest.mark.parametrize(
    ("transposed", "rows"), [(False, 70), (True, 260), (True, 70), (True, 30), (True, 3)]
)
def test_gated_units(arch, transposed, rows):
    shape = (256, 40) if transposed else (40, 256)
    arrays = random((rows, 40), "bf16", 1), random(shape, "bf16", 2)
    text = GATED.format(
        shape="x".join(map(str, shape)), transposed="true" if transposed else "false"
    )
    actual, names = run_text(text, arch, *arrays)
    x, w = wide(*arrays)
    y = x @ (w.T if transposed else w)
    gate, up = y[:, :128], y[:, 128:]
    assert_close(actual, gate / (1 + np.exp(-gate)) * up, 2e-2)
    # Pieces of rows are what the portable kernels can read.
    portable = [name for name in names if "wgmma" not in name]
    assert all("fused" in name for name in portable) == transposed or arch == "sm_90a"
    if transposed:
        assert len(names) == 3 and len(portable) == (3 if arch == "sm_80" else 2)
    elif arch == "sm_90a":
        assert len(names) == 1 and not portable and "fused" in names[0]
