"""Kernels of the CPU target against the references, with every instruction set of this machine."""

import numpy as np
import pytest
from harness import FLOATS, assert_close, module_text, random

import rlx
from rlx import targets
from rlx.compiler import lower
from rlx.dialects.attention import AttentionOp
from rlx.dialects.matmul import MatmulOp
from rlx.host import func, ir
from rlx.runtime import ExecutionError
from rlx.schedules.cpu import code
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
    with pytest.warns(RuntimeWarning, match="this machine has none of them; kernels=none is used"):
        targets.get("cpu").stages()
    with pytest.raises(targets.TargetError, match="kernels=avx2: this machine has no f16c"):
        rlx.compile("func.func @main() { return }", "cpu{kernels=avx2}", cache=False)


def test_without_any_instruction_set_everything_takes_the_plain_path(monkeypatch):
    """As on a processor that is no x86."""
    monkeypatch.setattr("rlx.targets.cpu.host_features", lambda: frozenset({"neon"}))
    x, w = random((40, 64)), random((48, 64), seed=1)
    text, _ = module_text(MatmulOp, [x, w], transpose_weight=True)
    with pytest.warns(RuntimeWarning, match="kernels=none"):
        function = rlx.compile(text, cache=False)
    with pytest.warns(RuntimeWarning, match="kernels=none"):
        assert "rlx.kernel" not in str(lower(text, "linalg", "cpu"))
    assert_close(function(x, w), x.astype(np.float64) @ w.astype(np.float64).T)


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

        Nothing is a multiple of anything.
        """
        rows = [0, 1, 2, 5, 6, 7, 13, 16, 17, 40, 41, 43, 129, 251, 252, 253, 383, 384, 517]
        self.over_rows(isa, rows, 523, 131, transposed)

    @pytest.mark.parametrize("transposed", [False, True], ids=["kn", "nk"])
    @pytest.mark.parametrize("isa", HERE)
    def test_more_than_a_block_of_columns(self, isa, transposed):
        self.over_rows(isa, [1, 45], 33, 2048 + 65, transposed)

    @pytest.mark.parametrize("dtype", ["bf16", "f16"])
    @pytest.mark.parametrize("transposed", [False, True], ids=["kn", "nk"])
    @pytest.mark.parametrize("isa", HERE)
    def test_narrow_storage(self, isa, transposed, dtype):
        self.over_rows(isa, [1, 7, 50, 400], 77, 67, transposed, dtype)

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


class TestAttention:
    """Sizes that tiles end in; `test_attention.py` has what each option means."""

    @staticmethod
    def check(isa, batch, queries, keys, heads, groups, dim, v_dim=None, dtype="f32", **options):
        mask, lengths = options.pop("mask", None), options.pop("lengths", None)
        dynamic, tolerance = options.pop("dynamic", ()), options.pop("tolerance", None)
        shapes = [(queries, heads * dim), (keys, groups * dim), (keys, groups * (v_dim or dim))]
        operands = [random((batch, *shape), dtype, seed) for seed, shape in enumerate(shapes)]
        operands += [mask, lengths]
        options |= {"num_heads": heads, "num_kv_heads": groups, "head_dim": dim}
        options["v_head_dim"] = v_dim
        function = compiled(AttentionOp, operands, isa, dynamic, **options)
        arrays = [array for array in operands if array is not None]
        wide = [
            a if a is None or a.dtype in (bool, np.int32, np.int64) else a.astype(np.float64)
            for a in operands
        ]
        assert_close(function(*arrays), AttentionOp.reference(*wide, **options), tolerance)

    @pytest.mark.parametrize("isa", HERE)
    @pytest.mark.parametrize(
        ("queries", "keys", "heads", "groups", "dim", "v_dim"),
        [
            (1, 129, 5, 1, 64, None),
            (7, 130, 4, 2, 80, 96),
            (129, 129, 3, 3, 16, None),
            (65, 200, 2, 1, 33, 65),
            (9, 64, 8, 1, 128, 512),
        ],
    )
    def test_sizes(self, isa, queries, keys, heads, groups, dim, v_dim):
        self.check(isa, 2, queries, keys, heads, groups, dim, v_dim, causal=True)

    @pytest.mark.parametrize("isa", HERE)
    @pytest.mark.parametrize("dtype", ["bf16", "f16"])
    def test_narrow_storage(self, isa, dtype):
        self.check(isa, 1, 40, 90, 4, 2, 72, 40, dtype=dtype, causal=True)

    @pytest.mark.parametrize("left", [0, 5, 64, 150])
    def test_windows(self, left):
        """Shorter and longer than a tile."""
        self.check(HERE[0], 1, 150, 300, 2, 1, 32, causal=True, left_window=left, softcap=3.0)

    def test_tiles_that_are_hidden_are_not_read(self):
        q, k, v = (random((1, 300, 32), seed=n) for n in range(3))
        options = {"num_heads": 1, "head_dim": 32, "left_window": 10, "right_window": 4}
        function = compiled(AttentionOp, [q, k, v], HERE[0], {(0, 1)}, **options, q_offset=140)
        expected = function(q[:, :5], k, v)
        k[:, :64], v[:, 192:] = np.nan, np.nan
        assert np.array_equal(function(q[:, :5], k, v), expected)

    @pytest.mark.parametrize("queries", [1, 100])
    def test_lengths(self, queries):
        """One block of rows, and many; lengths in the first tile, at its end, and past it."""
        lengths = np.array([0, 3, 64, 65, 130], np.int64)
        self.check(HERE[0], 5, queries, 130, 6, 2, 32, lengths=lengths, causal=True)

    @pytest.mark.parametrize("shape", [(), (1,), (130,), (70, 1), (1, 4, 1, 130), (2, 1, 70, 130)])
    @pytest.mark.parametrize("kind", ["bool", "float"])
    def test_masks(self, shape, kind):
        numbers = np.random.default_rng(0)
        mask = numbers.random(shape) < 0.7
        if kind == "float":
            values = numbers.standard_normal(shape)
            mask = np.where(mask, values, -np.inf).astype(np.float32)
        self.check(HERE[0], 2, 70, 130, 4, 2, 32, mask=np.asarray(mask))

    @pytest.mark.parametrize("isa", HERE)
    def test_dynamic_sizes(self, isa):
        """One kernel for prompts and decoding."""
        options = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 24, "causal": True}

        def draw(queries, keys, batch=2):
            shapes = [(queries, 96), (keys, 48), (keys, 48)]
            return [random((batch, *s), seed=n) for n, s in enumerate(shapes)]

        every = {(n, axis) for n in range(3) for axis in (0, 1)}
        function = compiled(AttentionOp, draw(3, 5), isa, every, **options)
        assert function(*draw(0, 5)).shape == (2, 0, 96)
        assert not function(*draw(5, 0)).any()
        for queries, keys in [(1, 1), (1, 200), (33, 33), (32, 64), (150, 64)]:
            operands = draw(queries, keys)
            expected = AttentionOp.reference(*[a.astype(np.float64) for a in operands], **options)
            assert_close(function(*operands), expected)

    @pytest.mark.parametrize("isa", HERE)
    @pytest.mark.parametrize("left", [0, 40, 150])
    def test_what_memory_held_before(self, isa, left):
        """NaN from the call before; rows that see nothing, and strips that start in later tiles."""
        operands = [random((2, n, 40), seed=n) for n in (300, 280, 281)]
        operands[2] = operands[2][:, :280]
        options = {"num_heads": 2, "num_kv_heads": 2, "head_dim": 20, "causal": True}
        options |= {"left_window": left, "q_offset": -20}
        function = compiled(AttentionOp, operands, isa, **options)
        function(*[np.full_like(a, np.nan) for a in operands])
        result = function(*operands)
        assert_close(result, AttentionOp.reference(*operands, **options))
        assert not result[:, :20].any()

    @pytest.mark.parametrize("queries", [1, 40])
    def test_hidden_values_that_are_not_finite(self, queries):
        """In the same tile as what is seen."""
        q, k, v = (random((1, n, 32), seed=n) for n in (queries, 70, 71))
        v = v[:, :70]
        mask = np.arange(70) % 3 != 1
        function = compiled(
            AttentionOp, [q, k, v, mask], HERE[0], num_heads=2, num_kv_heads=2, head_dim=16
        )
        expected = function(q, k, v, mask)
        for garbage in (np.nan, np.inf):
            k[:, ~mask], v[:, ~mask] = garbage, garbage
            assert_close(function(q, k, v, mask), expected)
        v[:, 3, 20] = np.nan
        result = function(q, k, v, mask)
        assert np.isnan(result[..., 20]).all()
        assert np.isfinite(np.delete(result, 20, axis=2)).all()

    @pytest.mark.parametrize("queries", [1, 40])
    def test_a_weight_that_becomes_zero_silences_a_value(self, queries):
        """The largest score comes in a later tile than the infinite value, in several steps."""
        q = np.ones((1, queries, 16), np.float32)
        scores = np.repeat([0.0, 80.0, 160.0, 240.0], 64)
        k = np.repeat(scores[:, None] / 16, 16, axis=1)[None].astype(np.float32)
        v = np.ones((1, 256, 16), np.float32)
        v[0, 5] = np.inf
        options = {"num_heads": 1, "head_dim": 16, "scale": 1.0}
        result = compiled(AttentionOp, [q, k, v], HERE[0], **options)(q, k, v)
        assert_close(result, np.ones((1, queries, 16)))

    @pytest.mark.parametrize("score", [1e4, -1e4, 1e38])
    def test_large_scores(self, score):
        q = np.full((1, 2, 16), score / 16, np.float32)
        k, v = np.ones((1, 70, 16), np.float32), random((1, 70, 16))
        options = {"num_heads": 1, "head_dim": 16, "scale": 1.0}
        result = compiled(AttentionOp, [q, k, v], HERE[0], **options)(q, k, v)
        assert_close(result, AttentionOp.reference(q, k, v, **options))

    @pytest.mark.slow
    @pytest.mark.parametrize("isa", HERE)
    @pytest.mark.parametrize("group", [1, 2, 5, 8])
    @pytest.mark.parametrize("dim", [64, 80, 96, 128, 256, 512])
    @pytest.mark.parametrize("queries", [1, 7, 129, 1000])
    def test_usual_sizes(self, isa, group, dim, queries):
        options = {"causal": True, "left_window": 300 if group == 2 else -1}
        options["softcap"] = 20.0 if group == 5 else 0.0
        # A softcap multiplies the error of tanh: over millions of elements some exceed 1e-5.
        tolerance = 2e-5 if options.get("softcap") else None
        self.check(
            isa, 1, queries, max(queries, 200), 2 * group, 2, dim, tolerance=tolerance, **options
        )


def of_each(function, isa, values):
    """A function of the kernels, from vector to vector, of f32 ``values``."""
    lanes = ISAS[isa].lanes
    with ir.Context() as context, ir.Location.unknown():
        rlx.load_dialects(context)
        module = ir.Module.create()
        type_ = ir.RankedTensorType.get([len(values)], code.f32())
        kernels = code.Kernels(module.operation)
        buffer = code.matrix(code.f32(), 1)

        def every(source, target):
            def one(at):
                code.store(function(code.load(source, [at], lanes)), target, [at])

            code.loop(0, len(values), lanes, one)

        kernel = kernels.define("of_each", [buffer, buffer], every)
        with ir.InsertionPoint(module.body):

            @func.FuncOp.from_py_func(type_, name="main")
            def main(x):
                result = code.alloc([len(values)], code.f32())
                kernel(code.to_buffer(x), result)
                return code.to_tensor(result)

        return rlx.compile(module, cache=False)(values)


def ulps(result, expected):
    """The largest error, in units in the last place."""
    ulp = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
    return np.abs((result - expected) / ulp).max()


@pytest.mark.parametrize("isa", HERE)
class TestExp2:
    def test_error(self, isa):
        """At most 2.1 ulp where the result is normal, and zero below."""
        x = np.random.default_rng(0).uniform(-126, 126, 1 << 20).astype(np.float32)
        x[: 1 << 19] *= np.float32(0.01)
        assert ulps(of_each(code.exp2, isa, x), np.exp2(x.astype(np.float64))) <= 2.1

    def test_special_values(self, isa):
        x = np.zeros(16, np.float32)
        x[:6] = [-126, -126.1, -1e30, -np.inf, np.nan, -0.0]
        expected = [2.0**-126, 0, 0, 0, np.nan, 1, *[1] * 10]
        result = of_each(code.exp2, isa, x)
        assert np.array_equal(result, np.array(expected, np.float32), equal_nan=True)


@pytest.mark.parametrize("isa", HERE)
class TestTanh:
    @pytest.mark.parametrize(
        ("least", "largest", "bound"), [(1e-30, 1e-2, 2.0), (1e-2, 1, 2.7), (1, 30, 6.0)]
    )
    def test_error(self, isa, least, largest, bound):
        """In ulp; where tanh is nearly 1, that is 3.6e-7."""
        x = np.geomspace(least, largest, 1 << 19).astype(np.float32)
        x = np.concatenate([x, -x])
        result = of_each(lambda x: code.tanh(x, 1.0), isa, x)
        assert ulps(result, np.tanh(x.astype(np.float64))) <= bound

    @pytest.mark.parametrize("factor", [0.5, 72.0, 1e30])
    def test_factor(self, isa, factor):
        x = np.linspace(-10, 10, 1 << 16).astype(np.float32)
        result = of_each(lambda x: code.tanh(x, factor), isa, x)
        assert ulps(result, factor * np.tanh(x.astype(np.float64))) <= 7
        assert np.abs(result).max() <= np.float32(factor) * (1 + 4e-7)

    def test_special_values(self, isa):
        x = np.zeros(16, np.float32)
        x[:7] = [1e30, -1e30, np.inf, -np.inf, np.nan, -0.0, 1e-40]
        expected = np.array([1, -1, 1, -1, np.nan, *[0] * 11], np.float32)
        result = of_each(lambda x: code.tanh(x, 1.0), isa, x)
        np.testing.assert_allclose(result, expected, rtol=2e-7, atol=2e-40)


@pytest.mark.parametrize("dtype", FLOATS)
def test_plain_path_can_be_forced(dtype):
    x, w = random((3, 64), dtype), random((64, 64), dtype, seed=1)
    text, _ = module_text(MatmulOp, [x, w])
    target = "cpu{kernels=none}"
    assert "rlx" not in str(lower(text, "linalg", target).body)
    wide = [a.astype(np.float64) for a in (x, w)]
    assert_close(rlx.compile(text, target, cache=False)(x, w), MatmulOp.reference(*wide))


VIEWS = {
    "every-other": (
        "%v = tensor.extract_slice %x[0, 0] [20, 32] [1, 2] : tensor<20x96xf32> to {V}",
        lambda x: x[:, :64:2],
    ),
    "one-of-three": (
        """%g = tensor.expand_shape %x [[0], [1, 2]] output_shape [20, 32, 3]
          : tensor<20x96xf32> into tensor<20x32x3xf32>
        %v = tensor.extract_slice %g[0, 0, 1] [20, 32, 1] [1, 1, 1]
          : tensor<20x32x3xf32> to {V}""",
        lambda x: x[:, 1::3],
    ),
    "one-of-three-collapsed": (
        """%g = tensor.expand_shape %x [[0], [1, 2]] output_shape [20, 32, 3]
          : tensor<20x96xf32> into tensor<20x32x3xf32>
        %s = tensor.extract_slice %g[0, 0, 1] [20, 32, 1] [1, 1, 1]
          : tensor<20x32x3xf32> to tensor<20x32x1xf32>
        %v = tensor.collapse_shape %s [[0], [1, 2]] : tensor<20x32x1xf32> into {V}""",
        lambda x: x[:, 1::3],
    ),
    "one-of-two": (
        """%n = arith.constant 0 : index
        %e = tensor.extract %x[%n, %n] : tensor<20x96xf32>
        %c = arith.cmpf oeq, %e, %e : f32
        %v = scf.if %c -> {V} {{
          %a = tensor.extract_slice %x[0, 0] [20, 32] [1, 3] : tensor<20x96xf32> to {V}
          scf.yield %a : {V}
        }} else {{
          %b = tensor.extract_slice %x[0, 0] [20, 32] [1, 1] : tensor<20x96xf32> to {V}
          scf.yield %b : {V}
        }}""",
        lambda x: x[:, ::3],
    ),
    "written-into": (
        """%o = arith.constant 0.0 : f32
        %e = tensor.empty() : tensor<20x96xf32>
        %f = linalg.fill ins(%o : f32) outs(%e : tensor<20x96xf32>) -> tensor<20x96xf32>
        %s = tensor.extract_slice %f[0, 1] [20, 32] [1, 2] : tensor<20x96xf32> to {V}
        %a = tensor.extract_slice %x[0, 8] [20, 32] [1, 1] : tensor<20x96xf32> to {V}
        %v = linalg.exp ins(%a : {V}) outs(%s : {V}) -> {V}""",
        lambda x: np.exp(x[:, 8:40]),
    ),
}


@pytest.mark.parametrize("name", VIEWS)
def test_rows_that_are_not_contiguous(name):
    """Kernels read rows without gaps: others are copied."""
    body, view = VIEWS[name]
    text = f"""
      func.func @main(%x: tensor<20x96xf32>, %w: tensor<32x33xf32>) -> tensor<20x33xf32> {{
        {body.format(V="tensor<20x32xf32>")}
        %y = "rlx.matmul"(%v, %w) : (tensor<20x32xf32>, tensor<32x33xf32>) -> tensor<20x33xf32>
        return %y : tensor<20x33xf32>
      }}"""
    x, w = random((20, 96)), random((32, 33), seed=1)
    expected = view(x.astype(np.float64)) @ w.astype(np.float64)
    assert_close(rlx.compile(text, "cpu{opt-level=1 threads=1}", cache=False)(x, w), expected)


def test_rows_of_larger_matrices_are_read_in_place():
    text = """
      func.func @main(%x: tensor<20x96xf32>, %w: tensor<32x33xf32>) -> tensor<20x33xf32> {
        %v = tensor.extract_slice %x[0, 8] [20, 32] [1, 1] : tensor<20x96xf32> to tensor<20x32xf32>
        %y = "rlx.matmul"(%v, %w) : (tensor<20x32xf32>, tensor<32x33xf32>) -> tensor<20x33xf32>
        return %y : tensor<20x33xf32>
      }"""
    assert "memref.copy" not in str(lower(text, "bufferized"))
