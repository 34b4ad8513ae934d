"""The PTX of kernels, run as it is: what LLVM has made of them."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from harness import assert_close, module_text, random, reference

import rlx
from rlx.dialects.attention import AttentionOp
from rlx.dialects.dequant_matmul import DequantMatmulOp
from rlx.dialects.kv_append import KvAppendOp
from rlx.dialects.layer_norm import LayerNormOp
from rlx.dialects.matmul import MatmulOp
from rlx.dialects.rms_norm import RmsNormOp
from rlx.dialects.rope import RopeOp
from rlx.runtime.cuda import CudaExecutable
from rlx.testing.gpu_interpreter import KernelError
from rlx.testing.ptx import PtxGpu


@functools.cache
def compiled(text, arch="sm_80"):
    return rlx.compile(text, f"cuda:{arch}", cache=False).program


def run(program, *arrays):
    capability = int(program.plan.arch[3]), int(program.plan.arch[4])
    gpu = PtxGpu(capability)
    return CudaExecutable(program, gpu=gpu)(*arrays), gpu.launched


def check(op, *operands, arch="sm_80", dynamic=(), tolerance=None, **attrs):
    text, arrays = module_text(op, operands, dynamic, **attrs)
    actual, launched = run(compiled(text, arch), *arrays)
    assert_close(actual, reference(op, *operands, **attrs), tolerance)
    return launched


def attend(*sizes, dtype="bf16", lengths=None, arch="sm_80", **attrs):
    batch, queries, keys, heads, groups, dims = sizes
    operands = [
        random((batch, queries, heads * dims), dtype, 1),
        random((batch, keys, groups * dims), dtype, 2),
        random((batch, keys, groups * dims), dtype, 3),
        None,
        None if lengths is None else np.array(lengths, np.int32),
    ]
    attrs |= {"num_heads": heads, "num_kv_heads": groups, "head_dim": dims}
    return check(AttentionOp, *operands, arch=arch, **attrs)


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
def test_norms(dtype):
    x, w, b = random((5, 200), dtype, 1), random(200, dtype, 2), random(200, dtype, 3)
    check(RmsNormOp, x, w, epsilon=1e-6, dynamic={(0, 0)})
    check(LayerNormOp, x, w, b, epsilon=1e-5)


def test_rope():
    x, cos, sin = random((2, 3, 144), "bf16", 1), random((9, 24), "f32", 2), random((9, 24), "f32")
    at = np.array([[0, 8, 3], [5, 5, 1]], np.int32)
    check(RopeOp, x, cos, sin, at, head_dim=72, n_rot=48, dynamic={(0, 1), (3, 1)})


@pytest.mark.parametrize("dtype", ["f16", "f32"])
def test_kv_append(dtype):
    cache, update = random((2, 6, 24), dtype, 1), random((2, 2, 24), dtype, 2)
    check(KvAppendOp, cache, update, np.array([4, 1], np.int64), dynamic={(0, 1)})


@pytest.mark.parametrize(
    ("arch", "rows", "columns", "inner", "dtype", "transposed", "kernel"),
    [
        ("sm_80", 3, 40, 72, "bf16", True, "rlx_matmul_nk_bf16"),
        ("sm_80", 70, 72, 40, "f16", False, "rlx_matmul_kn_f16"),
        ("sm_80", 9, 17, 21, "bf16", True, "rlx_matmul_nk_bf16"),
        ("sm_80", 20, 40, 30, "f32", True, "rlx_matmul_fma"),
        ("sm_90a", 130, 136, 72, "bf16", True, "rlx_matmul_wgmma_nk"),
        ("sm_90a", 70, 264, 200, "f16", False, "rlx_matmul_wgmma_kn"),
    ],
)
def test_matmul(arch, rows, columns, inner, dtype, transposed, kernel):
    weight = random((columns, inner) if transposed else (inner, columns), dtype, 2)
    attrs = {"transpose_weight": transposed, "arch": arch}
    (launched,) = check(MatmulOp, random((rows, inner), dtype, 1), weight, **attrs)
    assert launched.startswith(kernel)


@pytest.mark.parametrize("group", [0, 32])
def test_dequant_matmul(group):
    rng = np.random.default_rng(0)
    weight = rng.integers(-128, 128, (40, 64)).astype(np.int8)
    scales = rng.random((40, 2) if group else 40).astype(np.float32) / 64 + np.float32(1e-3)
    attrs = {"transpose_weight": True, "group": group}
    check(DequantMatmulOp, random((5, 64), "bf16", 1), weight, scales, **attrs)


@pytest.mark.parametrize(
    ("sizes", "attrs"),
    [
        ((1, 40, 50, 2, 1, 64), {"causal": True}),
        ((2, 2, 70, 4, 2, 40), {"lengths": [70, 9], "softcap": 20.0}),  # split
        ((1, 5, 9, 2, 2, 20), {"dtype": "f32", "left_window": 3}),
    ],
    ids=str,
)
def test_attention(sizes, attrs):
    attend(*sizes, **attrs)


@pytest.mark.parametrize(
    ("sizes", "attrs"),
    [
        ((1, 66, 300, 1, 1, 128), {"causal": True}),
        ((1, 30, 150, 3, 1, 64), {"lengths": [77], "left_window": 60, "dtype": "f16"}),
        ((1, 66, 100, 1, 1, 72), {}),
        pytest.param((1, 66, 170, 1, 1, 256), {"causal": True}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_attention_on_hopper(sizes, attrs):
    launched = attend(*sizes, arch="sm_90a", **attrs)
    assert any(name.startswith("rlx_attention_wgmma") for name in launched)


ELEMENTWISE = """
func.func @main(%x: tensor<?xf32>, %y: tensor<?xbf16>, %n: i32)
    -> (tensor<?xf32>, tensor<?xbf16>, tensor<?xi32>) {
  %a = math.tanh %x : tensor<?xf32>
  %b = math.erf %a : tensor<?xf32>
  %c = math.exp %y : tensor<?xbf16>
  %d = arith.fptosi %x : tensor<?xf32> to tensor<?xi32>
  %c0 = arith.constant 0 : index
  %size = tensor.dim %x, %c0 : tensor<?xf32>
  %e = tensor.splat %n[%size] : tensor<?xi32>
  %f = arith.divsi %d, %e : tensor<?xi32>
  return %b, %c, %f : tensor<?xf32>, tensor<?xbf16>, tensor<?xi32>
}
"""


def test_elementwise():
    from math import erf

    x, y = 50 * random(37, "f32", 1), random(37, "bf16", 2)
    (a, b, c), _ = run(compiled(ELEMENTWISE), x, y, 7)
    expected = np.vectorize(erf)(np.tanh(x.astype(np.float64)))
    assert_close(a, expected, 1e-6)
    assert_close(b, np.exp(y.astype(np.float64)))
    np.testing.assert_array_equal(c, np.trunc(np.trunc(x) / 7).astype(np.int32))


# -- planted mistakes ------------------------------------------------------------------------------

PRODUCT = """
func.func @main(%x: tensor<70x72xbf16>, %w: tensor<72x72xbf16>) -> tensor<70x72xbf16> {
  %y = "rlx.matmul"(%x, %w) {transpose_weight = true}
    : (tensor<70x72xbf16>, tensor<72x72xbf16>) -> tensor<70x72xbf16>
  return %y : tensor<70x72xbf16>
}
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("add.s64", "sub.s64"),
        ("wgmma.wait_group.sync.aligned 0", "wgmma.wait_group.sync.aligned 1"),
        ("4611686293305360384", "4611686293305360385"),  # of descriptors
        (", 1, 1, 0, 0; }", ", 1, 1, 0, 1; }"),
    ],
)
def test_other_code_is_found_out(old, new):
    program = compiled(PRODUCT, "sm_90a")
    ptx = program.object_code.decode()
    assert old in ptx
    x, w = random((70, 72), "bf16", 1), random((72, 72), "bf16", 2)
    expected = x.astype(np.float32) @ w.astype(np.float32).T
    assert_close(run(program, x, w)[0], expected)
    other = replace(program, object_code=ptx.replace(old, new).encode())
    with pytest.raises((KernelError, AssertionError, ValueError, IndexError)):
        assert_close(run(other, x, w)[0], expected)
