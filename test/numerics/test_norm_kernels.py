"""Kernels of norms, on sizes at edges of vectors."""

import numpy as np
import pytest
from harness import assert_close, module_text, random, reference

import rlx
from rlx.compiler import lower
from rlx.dialects.layer_norm import LayerNormOp
from rlx.dialects.rms_norm import RmsNormOp
from rlx.schedules.cpu.isa import ISAS
from rlx.targets.cpu import host_features

# One of each size of registers.
HERE = [name for name in ("avx512", "avx2") if ISAS[name].features <= host_features()]


@pytest.fixture(params=HERE)
def target(request):
    return f"cpu{{kernels={request.param}}}"


def check(op, operands, target, dynamic=(), **attrs):
    text, arrays = module_text(op, operands, dynamic, **attrs)
    actual = rlx.compile(text, target, threads=3, cache=False)(*arrays)
    assert actual.dtype == operands[0].dtype
    assert_close(actual, reference(op, *operands, **attrs))


@pytest.mark.parametrize("width", [16, 31, 64, 129, 1000])
def test_rms_widths(target, width):
    check(RmsNormOp, [random((5, width)), random([width], seed=1)], target, epsilon=1e-5)


@pytest.mark.parametrize("width", [16, 23, 1000])
def test_layer_widths(target, width):
    factors = random([width], seed=1), random([width], seed=2)
    check(LayerNormOp, [random((5, width)), *factors], target, epsilon=1e-5)


@pytest.mark.parametrize("shape", [(40,), (2, 3, 40), (2, 2, 1, 3, 40)])
@pytest.mark.parametrize("dynamic", [False, True])
def test_ranks(target, shape, dynamic):
    sizes = {(0, axis) for axis in range(len(shape) - 1)} if dynamic else ()
    check(RmsNormOp, [random(shape), random([40], seed=1)], target, sizes, epsilon=1e-5)


@pytest.mark.parametrize(("dtype", "width"), [("bf16", 57), ("f16", 48)])
def test_storage(target, dtype, width):
    x, w, b = random((7, width), dtype), random([width], dtype, 1), random([width], dtype, 2)
    wide = w.astype(np.float32)
    check(RmsNormOp, [x, w], target, epsilon=1e-6, weight_offset=1.0)
    check(LayerNormOp, [x, w, b], target, epsilon=1e-6)
    check(LayerNormOp, [x, wide, b], target, epsilon=1e-6)


@pytest.mark.parametrize(("group", "shared"), [(16, True), (20, True), (20, False)])
def test_groups(target, group, shared):
    x = random((2, 5, 3 * group))
    weight = random([group if shared else 3 * group], seed=1)
    check(RmsNormOp, [x, weight], target, epsilon=1e-5, group=group, weight_offset=1.0)


def test_weight_of_unknown_size(target):
    text, _ = module_text(RmsNormOp, [random((3, 32)), random([32])], {(1, 0)}, epsilon=1e-5)
    executable = rlx.compile(text, target, cache=False)
    x, weight = random((3, 32)), random([32], seed=1)
    expected = RmsNormOp.reference(x, weight, epsilon=1e-5)
    np.testing.assert_allclose(executable(x, weight), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(rlx.runtime.ExecutionError, match="weight must have the size"):
        executable(x, weight[:31].copy())


def test_far_from_zero(target):
    """The variance comes from differences with the mean: that of 1000 + x is that of x."""
    x = random((4, 512)) + 1000
    one, zero = np.ones(512, np.float32), np.zeros(512, np.float32)
    text, _ = module_text(LayerNormOp, [x, one, zero], epsilon=0.0)
    actual = rlx.compile(text, target, cache=False)(x, one, zero)
    expected = LayerNormOp.reference(x.astype(np.float64), one, zero, epsilon=0.0)
    np.testing.assert_allclose(actual, expected, atol=3e-4)


def test_rows_do_not_mix(target):
    x = random((6, 37))
    x[1, 36], x[3, 0], x[4, 20] = np.nan, np.inf, -np.inf
    weight = random([37], seed=1)
    text, _ = module_text(RmsNormOp, [x, weight], epsilon=1e-5)
    actual = rlx.compile(text, target, cache=False)(x, weight)
    good = [0, 2, 5]
    expected = RmsNormOp.reference(x[good], weight, epsilon=1e-5)
    np.testing.assert_allclose(actual[good], expected, rtol=1e-5, atol=1e-6)
    assert np.isnan(actual[1]).all()
    assert np.isnan(actual[3, 0]) and (actual[3, 1:] == 0).all()


def test_no_rows(target):
    for shape in [(0, 40), (2, 0, 40)]:
        check(RmsNormOp, [random(shape), random([40])], target, epsilon=1e-5)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_part_of_a_matrix(target, dtype):
    """Queries are a part of what one matmul gives, and are not copied for their norm."""
    text = f"""
    func.func @main(%x: tensor<?x?x96x{dtype}>, %w: tensor<16x{dtype}>) -> tensor<?x?x64x{dtype}> {{
      %0 = "rlx.narrow"(%x) {{axis = 2 : i64, start = 16 : i64, length = 64 : i64}}
        : (tensor<?x?x96x{dtype}>) -> tensor<?x?x64x{dtype}>
      %1 = "rlx.rms_norm"(%0, %w) {{epsilon = 1.0e-5, group = 16 : i64}}
        : (tensor<?x?x64x{dtype}>, tensor<16x{dtype}>) -> tensor<?x?x64x{dtype}>
      return %1 : tensor<?x?x64x{dtype}>
    }}
    """
    buffers = str(lower(text, "bufferized", target))
    assert buffers.count("memref.alloc(") == 1 and "copy" not in buffers
    x, w = random((2, 3, 96), dtype), random([16], dtype, 1)
    expected = reference(RmsNormOp, x[..., 16:80], w, epsilon=1e-5, group=16)
    assert_close(rlx.compile(text, target, cache=False)(x, w), expected)


def test_norm_without_weight(target):
    check(RmsNormOp, [random((3, 48)), None], target, epsilon=1e-5, group=24)


def test_plain_path_is_taken_where_the_kernel_is_not():
    for operands, dynamic, attrs in [
        ([random((3, 15)), random([15])], (), {}),
        ([random((3, 32), "f64"), random([32], "f64")], (), {}),
        ([random((3, 32)), random([32])], {(0, 1)}, {}),
        ([random((3, 32)), random([8])], (), {"group": 8}),
    ]:
        text, _ = module_text(RmsNormOp, operands, dynamic, epsilon=1e-5, **attrs)
        assert "_norm_0" not in str(lower(text, "bufferized"))
