"""Math in kernels after `rlx-cuda-intrinsics`, with instructions that round correctly.

The manual allows `ex2.approx` and `div.full` 2 ulp, by which a GPU may be further off.
"""

import math

import numpy as np
import pytest

from rlx.host import ir
from rlx.pipeline import run_pipeline
from rlx.testing.gpu_interpreter import run

OPS = {
    "exp": (np.exp, 3e-7),
    "tanh": (np.tanh, 3e-7),
    "erf": (np.vectorize(math.erf, otypes=[float]), 4e-7),
    "exp2": (np.exp2, 3e-7),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 3e-7),
    "sqrt": (np.sqrt, 1e-7),
    "floor": (np.floor, 0),
    "roundeven": (np.rint, 0),
}


def inputs():
    rng = np.random.default_rng(0)
    spread = rng.standard_normal(2000) * 10.0 ** rng.uniform(-30, 2, 2000)
    edges = [0.0, -0.0, 0.625, 1.0, -1.0, 4.0, 88.0, 88.7, 88.73, 89.0, -87.0, -103.0, -104.0, 3e38]
    special = [np.inf, -np.inf, np.nan]
    return np.array([*spread, *rng.uniform(-100, 100, 2000), *edges, *special], np.float32)


def on_gpu(body, x):
    text = f"""
    gpu.module @kernels {{
      gpu.func @f(%x: memref<?xf32>, %y: memref<?xf32>) kernel {{
        %t = gpu.thread_id x
        %b = gpu.block_id x
        %c128 = arith.constant 128 : index
        %base = arith.muli %b, %c128 : index
        %i = arith.addi %base, %t : index
        %c0 = arith.constant 0 : index
        %n = memref.dim %x, %c0 : memref<?xf32>
        %inside = arith.cmpi ult, %i, %n : index
        scf.if %inside {{
          %a = memref.load %x[%i] : memref<?xf32>
          {body}
          memref.store %r, %y[%i] : memref<?xf32>
        }}
        gpu.return
      }}
    }}"""
    with ir.Context(), ir.Location.unknown():
        module = ir.Module.parse(text)
        run_pipeline(module, "gpu.module(rlx-cuda-intrinsics)")
        assert "math." not in str(module)
        y = np.empty_like(x)
        run(module, "f", (-(-len(x) // 128),), (128,), [x, y])
    return y


@pytest.mark.parametrize("name", OPS)
def test_errors(name):
    x, (function, tolerance) = inputs(), OPS[name]
    with np.errstate(all="ignore"):
        expected = function(x.astype(np.float64)).astype(np.float32).astype(np.float64)
    found = on_gpu(f"%r = math.{name} %a : f32", x).astype(np.float64)
    assert (np.isnan(found) == np.isnan(expected)).all()
    infinite = np.isinf(expected)
    assert (found[infinite] == expected[infinite]).all()
    finite = np.isfinite(expected)
    error = np.abs(found[finite] - expected[finite])
    # Below the smallest normal number the spacing is what it is.
    assert (error <= tolerance * np.abs(expected[finite]) + 3e-45).all(), error.max()


def test_divisions():
    x = inputs()
    body = """
    %c3 = arith.constant 3.0 : f32
    %q = arith.divf %c3, %a : f32
    %r = arith.divf %q, %c3 : f32"""
    found = on_gpu(body, x)
    with np.errstate(all="ignore"):
        expected = 1 / x.astype(np.float64)
    finite = np.isfinite(expected) & (np.abs(expected) < 1e38)
    found, expected = found[finite], expected[finite]
    assert (np.abs(found - expected) <= 3e-7 * np.abs(expected)).all()
