"""Kernels of the CPU target against the references, with every instruction set of this machine."""

import numpy as np
import pytest
from harness import FLOATS, assert_close, module_text, random

import rlx
from rlx import targets
from rlx.compiler import lower
from rlx.dialects.matmul import MatmulOp
from rlx.runtime import ExecutionError
from rlx.schedules.cpu.isa import ISAS
from rlx.targets.cpu import host_features

HERE = [isa.name for isa in ISAS.values() if isa.features <= host_features()]


def compiled(op, operands, isa, dynamic=(), **attrs):
    """The op with kernels; it is an error if it takes the plain path."""
    text, _ = module_text(op, operands, dynamic, **attrs)
    target = f"cpu{{kernels={isa}}}"
    assert "rlx.kernel" in str(lower(text, "linalg", target))
    return rlx.compile(text, target, cache=False)


def test_this_machine_has_kernels():
    assert HERE


def test_missing_instructions(monkeypatch):
    monkeypatch.setattr("rlx.targets.cpu.host_features", lambda: frozenset({"avx2", "fma"}))
    targets.get("cpu").stages()
    with pytest.raises(targets.TargetError, match="kernels=avx2: this machine has no f16c"):
        rlx.compile("func.func @main() { return }", "cpu{kernels=avx2}", cache=False)


class TestMatmul:
    @staticmethod
    def weight(inner, columns, transposed, dtype="f32"):
        return random((columns, inner) if transposed else (inner, columns), dtype, seed=1)

    def over_rows(self, isa, rows, inner, columns, transposed, dtype="f32"):
        """One kernel for any number of rows."""
        w = self.weight(inner, columns, transposed, dtype)
        function = compiled(
            MatmulOp, [random((2, inner), dtype), w], isa, {(0, 0)}, transpose_weight=transposed
        )
        for count in rows:
            x = random((count, inner), dtype, seed=count)
            wide = [a.astype(np.float64) for a in (x, w)]
            expected = MatmulOp.reference(*wide, transpose_weight=transposed)
            result = function(x, w)
            assert result.dtype == x.dtype
            assert_close(result, expected)

    @pytest.mark.parametrize("transposed", [False, True], ids=["kn", "nk"])
    @pytest.mark.parametrize("isa", HERE)
    def test_rows(self, isa, transposed):
        """Around tiles, the limit of the form without packing, and a block of rows.

        More than one block of the inner dimension; nothing is a multiple of anything.
        """
        rows = [0, 1, 2, 5, 6, 7, 13, 16, 17, 40, 41, 43, 129, 251, 252, 253, 517]
        self.over_rows(isa, rows, 523, 131, transposed)

    @pytest.mark.parametrize("transposed", [False, True], ids=["kn", "nk"])
    @pytest.mark.parametrize("isa", HERE)
    def test_more_than_a_block_of_columns(self, isa, transposed):
        self.over_rows(isa, [1, 45], 33, 2048 + 65, transposed)

    @pytest.mark.parametrize("dtype", ["bf16", "f16"])
    @pytest.mark.parametrize("transposed", [False, True], ids=["kn", "nk"])
    @pytest.mark.parametrize("isa", HERE)
    def test_narrow_storage(self, isa, transposed, dtype):
        self.over_rows(isa, [1, 7, 50], 77, 67, transposed, dtype)

    @pytest.mark.slow
    @pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
    @pytest.mark.parametrize("transposed", [False, True], ids=["kn", "nk"])
    @pytest.mark.parametrize("isa", HERE)
    def test_sizes(self, isa, transposed, dtype):
        numbers = np.random.default_rng(0)
        for _ in range(12):
            inner, columns = numbers.integers(32, 1200, 2)
            self.over_rows(isa, numbers.integers(0, 400, 6), inner, columns, transposed, dtype)

    @pytest.mark.parametrize("shape", [(64,), (2, 3, 64), (2, 1, 25, 64), (3, 0, 64)])
    def test_leading_dimensions(self, shape):
        x, w = random(shape), self.weight(64, 96, True)
        for dynamic in (set(), {(0, axis) for axis in range(len(shape) - 1)}):
            function = compiled(MatmulOp, [x, w], HERE[0], dynamic, transpose_weight=True)
            assert_close(function(x, w), MatmulOp.reference(x, w, transpose_weight=True))

    @pytest.mark.parametrize("rows", [3, 50])
    @pytest.mark.parametrize("transposed", [False, True], ids=["kn", "nk"])
    def test_nan_stays_where_it_is(self, transposed, rows):
        """Padding is not multiplied with what it stands next to."""
        x, w = random((rows, 45)), self.weight(45, 70, transposed)
        x[1, 44] = np.nan
        (w if transposed else w.T)[69, 3] = np.inf
        result = compiled(MatmulOp, [x, w], HERE[0], transpose_weight=transposed)(x, w)
        expected = MatmulOp.reference(x, w, transpose_weight=transposed)
        finite = np.isfinite(expected)
        assert finite.sum() == (rows - 1) * 69
        assert np.array_equal(np.isfinite(result), finite)
        assert_close(result[finite], expected[finite])

    def test_inner_sizes_must_agree_at_run_time(self):
        x, w = random((5, 64)), self.weight(64, 64, True)
        function = compiled(MatmulOp, [x, w], HERE[0], {(0, 0), (0, 1)}, transpose_weight=True)
        assert_close(function(x, w), MatmulOp.reference(x, w, transpose_weight=True))
        with pytest.raises(ExecutionError, match="inner sizes of input and weight must agree"):
            function(random((5, 65)), w)

    def test_operands_may_be_parts(self):
        """Buffers that are not contiguous are read where they are."""
        text = """
          func.func @main(%x: tensor<50x192xf32>, %w: tensor<100x128xf32>) -> tensor<50x70xf32> {
            %a = "rlx.narrow"(%x) {axis = 1 : i64, start = 7 : i64, length = 64 : i64}
              : (tensor<50x192xf32>) -> tensor<50x64xf32>
            %b = "rlx.narrow"(%w) {axis = 1 : i64, start = 3 : i64, length = 64 : i64}
              : (tensor<100x128xf32>) -> tensor<100x64xf32>
            %c = "rlx.narrow"(%b) {axis = 0 : i64, start = 5 : i64, length = 70 : i64}
              : (tensor<100x64xf32>) -> tensor<70x64xf32>
            %y = "rlx.matmul"(%a, %c) {transpose_weight = true}
              : (tensor<50x64xf32>, tensor<70x64xf32>) -> tensor<50x70xf32>
            return %y : tensor<50x70xf32>
          }
        """
        x, w = random((50, 192)), random((100, 128), seed=1)
        assert "memref.copy" not in str(lower(text, "bufferized"))
        assert_close(rlx.compile(text, cache=False)(x, w), x[:, 7:71] @ w[5:75, 3:67].T)

    def test_update_in_place_after_a_kernel_has_read(self):
        """What a kernel reads twice must not be overwritten in between."""
        text = """
          func.func @main(%x: tensor<40x64xf32>, %w: tensor<64x64xf32>)
              -> (tensor<40x64xf32>, tensor<40x64xf32>) {
            %t = arith.addf %x, %x : tensor<40x64xf32>
            %a = "rlx.matmul"(%t, %w) : (tensor<40x64xf32>, tensor<64x64xf32>) -> tensor<40x64xf32>
            %u = arith.mulf %t, %a : tensor<40x64xf32>
            %b = "rlx.matmul"(%u, %w) : (tensor<40x64xf32>, tensor<64x64xf32>) -> tensor<40x64xf32>
            %c = "rlx.matmul"(%t, %w) {transpose_weight = true}
              : (tensor<40x64xf32>, tensor<64x64xf32>) -> tensor<40x64xf32>
            return %b, %c : tensor<40x64xf32>, tensor<40x64xf32>
          }
        """
        x, w = random((40, 64), "f64"), random((64, 64), "f64", seed=1)
        b, c = rlx.compile(text, cache=False)(x.astype(np.float32), w.astype(np.float32))
        x, w = (a.astype(np.float32).astype(np.float64) for a in (x, w))
        t = x + x
        assert_close(b, (t * (t @ w)) @ w)
        assert_close(c, t @ w.T)


@pytest.mark.parametrize("dtype", FLOATS)
def test_plain_path_can_be_forced(dtype):
    x, w = random((3, 64), dtype), random((64, 64), dtype, seed=1)
    text, _ = module_text(MatmulOp, [x, w])
    target = "cpu{kernels=none}"
    assert "rlx" not in str(lower(text, "linalg", target).body)
    wide = [a.astype(np.float64) for a in (x, w)]
    assert_close(rlx.compile(text, target, cache=False)(x, w), MatmulOp.reference(*wide))
