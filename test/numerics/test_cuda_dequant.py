"""`rlx.dequant_matmul` on tensor cores, in the interpreter."""

import numpy as np
import pytest
from cuda_harness import check, kernels_of, names_of
from harness import assert_close, random

import rlx
from rlx.dialects.dequant_matmul import DequantMatmulOp
from rlx.host import ir
from rlx.testing.gpu_interpreter import run_function

KERNEL = "rlx_dequant_matmul"


def operands(rows, columns, inner, transposed, group, dtype="bf16"):
    shape = (columns, inner) if transposed else (inner, columns)
    weight = np.random.default_rng(3).integers(-128, 128, shape).astype(np.int8)
    scales = np.abs(random((columns, inner // group) if group else (columns,), "f32", 4)) / 64
    return random((rows, inner), dtype, 1), weight, scales + np.float32(1e-3)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("group", [0, 32])
@pytest.mark.parametrize(
    ("rows", "columns", "inner", "dtype"),
    [
        (1, 48, 288, "bf16"),  # few rows
        (9, 70, 64, "f16"),
        (33, 144, 96, "bf16"),  # some
        (258, 136, 224, "f16"),  # many; more slices than stages
    ],
)
def test_sizes(rows, columns, inner, dtype, transposed, group):
    x, weight, scales = operands(rows, columns, inner, transposed, group, dtype)
    attrs = {"transpose_weight": transposed, "group": group}
    check(DequantMatmulOp, x, weight, scales, kernel=KERNEL, **attrs)


@pytest.mark.parametrize("transposed", [False, True])
def test_rows_that_are_not_aligned(transposed):
    x, weight, scales = operands(20, 35, 39, transposed, 0)
    check(DequantMatmulOp, x, weight, scales, kernel=KERNEL, transpose_weight=transposed)


@pytest.mark.parametrize("group", [0, 16])
def test_dynamic_sizes_and_leading_axes(group):
    x, weight, scales = operands(6, 40, 48, True, group)
    attrs = {"transpose_weight": True, "group": group}
    x = x.reshape(2, 3, 48)
    check(DequantMatmulOp, x, weight, scales, kernel=KERNEL, dynamic=True, **attrs)


def test_sums_of_integers_may_be_above_the_largest_number():
    x = np.full((3, 512), 16, np.float16)
    weight = np.full((8, 512), 127, np.int8)  # a sum of 16 * 127 * 512
    scales = np.full(8, 2**-10, np.float32)
    check(DequantMatmulOp, x, weight, scales, kernel=KERNEL, transpose_weight=True)


@pytest.mark.parametrize(("dtype", "group"), [("f32", 0), ("bf16", 8)])
def test_what_goes_through_linalg(dtype, group):
    x, weight, scales = operands(3, 16, 32, True, group, dtype)
    check(DequantMatmulOp, x, weight, scales, transpose_weight=True, group=group)


@pytest.mark.parametrize("rows", [1, 70])
def test_what_follows(rows):
    text = """
func.func @main(%x: tensor<?x64xbf16>, %w: tensor<40x64xi8>, %s: tensor<40xf32>,
                %r: tensor<?x40xbf16>) -> tensor<?x40xbf16> {
  %y = "rlx.dequant_matmul"(%x, %w, %s) {transpose_weight = true}
    : (tensor<?x64xbf16>, tensor<40x64xi8>, tensor<40xf32>) -> tensor<?x40xbf16>
  %z = linalg.generic {
    indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>,
                     affine_map<(i, j) -> (i, j)>],
    iterator_types = ["parallel", "parallel"]}
    ins(%y, %r : tensor<?x40xbf16>, tensor<?x40xbf16>) outs(%r : tensor<?x40xbf16>) {
  ^bb0(%p: bf16, %q: bf16, %o: bf16):
    %0 = arith.addf %p, %q : bf16
    linalg.yield %0 : bf16
  } -> tensor<?x40xbf16>
  return %z : tensor<?x40xbf16>
}
"""
    x, weight, scales = operands(rows, 40, 64, True, 0)
    residual = random((rows, 40), "bf16", 9)
    with ir.Context() as context, ir.Location.unknown():
        rlx.load_dialects(context)
        module = kernels_of(text, "sm_80")
        (actual,) = run_function(module, "main", [x, weight, scales, residual])
        names = names_of(module)
    product = DequantMatmulOp.reference(x, weight, scales, transpose_weight=True)
    expected = product.astype(np.float32) + residual.astype(np.float32)
    assert_close(np.asarray(actual), expected, 2e-2)
    assert any(name.startswith(f"{KERNEL}_nk_bf16_fused") for name in names)


@pytest.mark.parametrize("group", [0, 16])
@pytest.mark.parametrize("rows", [2, 70, 260])
def test_gated_units(rows, group):
    scales = "192x3xf32" if group else "192xf32"
    types = f"tensor<?x48xbf16>, tensor<192x48xi8>, tensor<{scales}>"
    text = f"""
func.func @main(%x: tensor<?x48xbf16>, %w: tensor<192x48xi8>, %s: tensor<{scales}>)
    -> tensor<?x96xbf16> {{
  %y = "rlx.dequant_matmul"(%x, %w, %s) {{transpose_weight = true, group = {group} : i64}}
    : ({types}) -> tensor<?x192xbf16>
  %g = "rlx.narrow"(%y) {{axis = 1 : i64, start = 0 : i64, length = 96 : i64}}
    : (tensor<?x192xbf16>) -> tensor<?x96xbf16>
  %u = "rlx.narrow"(%y) {{axis = 1 : i64, start = 96 : i64, length = 96 : i64}}
    : (tensor<?x192xbf16>) -> tensor<?x96xbf16>
  %z = "rlx.glu"(%g, %u) {{activation = "silu"}}
    : (tensor<?x96xbf16>, tensor<?x96xbf16>) -> tensor<?x96xbf16>
  return %z : tensor<?x96xbf16>
}}
"""
    x, weight, factors = operands(rows, 192, 48, True, group)
    factors /= 16
    with ir.Context() as context, ir.Location.unknown():
        rlx.load_dialects(context)
        module = kernels_of(text, "sm_80")
        (actual,) = run_function(module, "main", [x, weight, factors])
        names = names_of(module)
    attrs = {"transpose_weight": True, "group": group}
    y = DequantMatmulOp.reference(x, weight, factors, **attrs).astype(np.float32)
    gate, up = y[:, :96], y[:, 96:]
    assert_close(np.asarray(actual), gate / (1 + np.exp(-gate)) * up, 2e-2)
    # For few, some and many rows.
    assert len(names) == 3 and all("fused" in name for name in names)
