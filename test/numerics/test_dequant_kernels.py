"""Kernels of `rlx.dequant_matmul` against the reference, with what this machine has."""

import numpy as np
import pytest
from harness import assert_close, random
from test_dequant_matmul import operands

import rlx
from rlx.compiler import lower
from rlx.dialects.dequant_matmul import DequantMatmulOp
from rlx.schedules.cpu.isa import ISAS
from rlx.targets.cpu import host_features

PLAIN = [name for name in ("avx512", "avx2") if ISAS[name].features <= host_features()]
ROWS = [0, 1, 2, 3, 4, 5, 7, 16, 17, 50]


def text(shape, inner, columns, dtype, transposed, group):
    w = f"{columns}x{inner}" if transposed else f"{inner}x{columns}"
    s = f"{columns}x{inner // group}" if group else str(columns)
    x, y = (f"tensor<{shape}{size}x{dtype}>" for size in (inner, columns))
    w, s = f"tensor<{w}xi8>", f"tensor<{s}xf32>"
    attributes = f"transpose_weight = {str(transposed).lower()}, group = {group} : i64"
    return f"""
      func.func @main(%x: {x}, %w: {w}, %s: {s}) -> {y} {{
        %y = "rlx.dequant_matmul"(%x, %w, %s) {{{attributes}}} : ({x}, {w}, {s}) -> {y}
        return %y : {y}
      }}
    """


def check(target, inner, columns, transposed, group, dtype="f32", rows=ROWS):
    source = text("?x", inner, columns, dtype, transposed, group)
    assert "rlx.kernel" in str(lower(source, "linalg", target))
    function = rlx.compile(source, target, cache=False)
    _, w, s = operands((1,), inner, columns, transpose=transposed, group=group)
    for count in rows:
        x = random((count, inner), dtype, seed=count)
        wide = x.astype(np.float64), w, s.astype(np.float64)
        expected = DequantMatmulOp.reference(*wide, transpose_weight=transposed, group=group)
        result = function(x, w, s)
        assert result.dtype == x.dtype
        assert_close(result, expected)


@pytest.fixture(params=PLAIN)
def target(request):
    return f"cpu{{kernels={request.param}}}"


@pytest.mark.parametrize("transposed", [False, True], ids=["kn", "nk"])
@pytest.mark.parametrize("group", [0, 16, 48, 512])
def test_groups(target, group, transposed):
    """Numbers of groups that are no multiple of what is computed at a time."""
    check(target, 3 * group or 131, 83, transposed, group)


@pytest.mark.parametrize("group", [0, 32])
def test_known_rows(target, group):
    """Only the tile that these rows need; all tiles where several products need one each."""
    inner, columns, counts = 96, 83, (0, 1, 2, 3, 4, 9, 17)
    scales = f"{columns}x{inner // group}" if group else str(columns)
    w, s = f"tensor<{columns}x{inner}xi8>", f"tensor<{scales}xf32>"
    x, y = ([f"tensor<{count}x{size}xf32>" for count in counts] for size in (inner, columns))
    numbers = range(len(counts))
    lines = "".join(
        f"""
          %y{n} = "rlx.dequant_matmul"(%x{n}, %w, %s) {{transpose_weight = true,
            group = {group} : i64}} : ({x[n]}, {w}, {s}) -> {y[n]}"""
        for n in numbers
    )
    function = rlx.compile(
        f"""
        func.func @main(%w: {w}, %s: {s}, {", ".join(f"%x{n}: {x[n]}" for n in numbers)})
            -> ({", ".join(y)}) {{{lines}
          return {", ".join(f"%y{n}" for n in numbers)} : {", ".join(y)}
        }}""",
        target,
        cache=False,
    )
    _, weight, factors = operands((1,), inner, columns, transpose=True, group=group)
    inputs = [random((count, inner), seed=count) for count in counts]
    for a, result in zip(inputs, function(weight, factors, *inputs), strict=True):
        wide = a.astype(np.float64), weight, factors.astype(np.float64)
        expected = DequantMatmulOp.reference(*wide, transpose_weight=True, group=group)
        assert_close(result, expected)


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
@pytest.mark.parametrize("group", [0, 32])
def test_narrow_storage(group, dtype):
    check("cpu", 96, 70, True, group, dtype)


def test_several_parts():
    """More columns than become floats at a time."""
    check("cpu", 8192, 200, True, 64, rows=[20])


@pytest.mark.parametrize("shape", ["", "2x3x", "1x1x", "2x20x"])
def test_leading_dimensions(shape):
    sizes = [int(size) for size in shape.split("x")[:-1]]
    x, w, s = operands(sizes, 64, 40, group=32)
    function = rlx.compile(text(shape, 64, 40, "f32", True, 32), cache=False)
    expected = DequantMatmulOp.reference(x, w, s, transpose_weight=True, group=32)
    assert_close(function(x, w, s), expected)


def test_nan_and_infinity_stay_where_they_are():
    x, w, s = operands((3,), 45, 40)
    x[1, 44], s[39] = np.nan, np.inf
    result = rlx.compile(text("3x", 45, 40, "f32", True, 0), cache=False)(x, w, s)
    assert np.isfinite(result).sum() == 2 * 39
    assert np.isnan(result[1]).all()
