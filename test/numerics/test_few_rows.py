"""Products with few rows: numbers of rows around tiles, sizes that are multiples of nothing."""

import numpy as np
import pytest
from harness import assert_close, random

import rlx
from rlx.compiler import lower
from rlx.dialects.matmul import MatmulOp
from rlx.schedules.cpu.isa import ISAS
from rlx.targets.cpu import host_features

PLAIN = [name for name in ("avx512", "avx2") if ISAS[name].features <= host_features()]
ROWS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 18]


def text(inner, columns, transposed, dtype, attributes=""):
    w = "x".join(map(str, (columns, inner) if transposed else (inner, columns)))
    x, w, y = f"?x{inner}", w, f"?x{columns}"
    x, w, y = (f"tensor<{shape}x{dtype}>" for shape in (x, w, y))
    return f"""
      func.func @main(%x: {x}, %w: {w} {attributes}) -> {y} {{
        %y = "rlx.matmul"(%x, %w) {{transpose_weight = {str(transposed).lower()}}}
          : ({x}, {w}) -> {y}
        return %y : {y}
      }}
    """


def check(function, w, rows, transposed, dtype):
    inner = w.shape[1 if transposed else 0]
    for count in rows:
        x = random((count, inner), dtype, seed=count)
        wide = [a.astype(np.float64) for a in (x, w)]
        result = function(x)
        assert result.dtype == x.dtype
        assert_close(result, MatmulOp.reference(*wide, transpose_weight=transposed))


@pytest.fixture(params=PLAIN)
def target(request):
    return f"cpu{{kernels={request.param}}}"


@pytest.mark.parametrize("transposed", [False, True], ids=["kn", "nk"])
class TestParameters:
    """Weights that the run time lays out in panels."""

    @pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
    def test_rows(self, target, transposed, dtype):
        source = text(131, 83, transposed, dtype, '{rlx.param, rlx.name = "w"}')
        assert "rlx.tiling" in str(lower(source, "linalg", target))
        w = random((83, 131) if transposed else (131, 83), dtype, seed=1)
        function = rlx.compile(source, target, cache=False).bind({"w": w})
        check(function, w, ROWS, transposed, dtype)

    @pytest.mark.parametrize("inner, columns", [(33, 48), (1030, 200)])
    def test_sizes(self, target, transposed, inner, columns):
        source = text(inner, columns, transposed, "f32", '{rlx.param, rlx.name = "w"}')
        w = random((columns, inner) if transposed else (inner, columns), seed=1)
        function = rlx.compile(source, target, cache=False).bind({"w": w})
        check(function, w, [1, 2, 7, 8], transposed, "f32")


@pytest.mark.parametrize("transposed", [False, True], ids=["kn", "nk"])
class TestArguments:
    """Weights that lie as they are."""

    @pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
    def test_rows(self, target, transposed, dtype):
        w = random((83, 131) if transposed else (131, 83), dtype, seed=1)
        function = rlx.compile(text(131, 83, transposed, dtype), target, cache=False)
        check(lambda x: function(x, w), w, ROWS, transposed, dtype)

    @pytest.mark.parametrize("inner, columns", [(33, 48), (47, 9000)])
    def test_sizes(self, target, transposed, inner, columns):
        w = random((columns, inner) if transposed else (inner, columns), seed=1)
        function = rlx.compile(text(inner, columns, transposed, "f32"), target, cache=False)
        check(lambda x: function(x, w), w, [1, 2, 6, 16], transposed, "f32")

    def test_result_is_the_same_for_any_number_of_threads(self, transposed):
        w = random((700, 800) if transposed else (800, 700), seed=1)
        source = text(800, 700, transposed, "f32").replace("?", "5")
        results = [
            rlx.compile(source, f"cpu{{threads={threads}}}", cache=False)(random((5, 800)), w)
            for threads in (1, 3)
        ]
        np.testing.assert_array_equal(*results)
