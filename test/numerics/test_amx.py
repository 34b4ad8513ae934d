"""Kernels made of AMX and AVX512-BF16, with these instructions simulated, against the references.

No machine that the tests are known to have run on has these instructions; `simulate=true` computes
what they do step by step, see `rlx-simulate-x86`.
"""

import signal
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from harness import assert_close, module_text, random

import rlx
from rlx.compiler import lower
from rlx.dialects.attention import AttentionOp
from rlx.dialects.matmul import MatmulOp

BF16 = ml_dtypes.bfloat16


def target(threads=1, isa="amx"):
    return f"cpu{{kernels={isa} simulate=true threads={threads} opt-level=0}}"


def compiled(text, threads=1, isa="amx"):
    """With the kernel of ``isa`` itself, and not of what it builds on."""
    assert f'rlx.kernel = "{isa}"' in str(lower(text, "linalg", target(threads, isa)))
    return rlx.compile(text, target(threads, isa), cache=False)


# -- the simulation --------------------------------------------------------------------------------

PRODUCT = """
func.func @main(%a: tensor<{r}x{k}xbf16>, %b: tensor<{p}x{m}xbf16>, %c: tensor<{r}x{n}xf32>)
    -> tensor<16x16xf32> {{
  %zero = arith.constant 0 : index
  %ma = bufferization.to_buffer %a read_only : tensor<{r}x{k}xbf16> to memref<{r}x{k}xbf16>
  %mb = bufferization.to_buffer %b read_only : tensor<{p}x{m}xbf16> to memref<{p}x{m}xbf16>
  %mc = bufferization.to_buffer %c read_only : tensor<{r}x{n}xf32> to memref<{r}x{n}xf32>
  %out = memref.alloc() : memref<16x16xf32>
  %x = x86.amx.tile_load %ma[%zero, %zero] : memref<{r}x{k}xbf16> into !x86.amx.tile<16x32xbf16>
  %y = x86.amx.tile_load %mb[%zero, %zero] : memref<{p}x{m}xbf16> into !x86.amx.tile<16x32xbf16>
  %z = x86.amx.tile_load %mc[%zero, %zero] : memref<{r}x{n}xf32> into !x86.amx.tile<16x16xf32>
  %s = x86.amx.tile_mulf %x, %y, %z
      : !x86.amx.tile<16x32xbf16>, !x86.amx.tile<16x32xbf16>, !x86.amx.tile<16x16xf32>
  x86.amx.tile_store %out[%zero, %zero], %s : memref<16x16xf32>, !x86.amx.tile<16x16xf32>
  %result = bufferization.to_tensor %out restrict writable : memref<16x16xf32> to tensor<16x16xf32>
  return %result : tensor<16x16xf32>
}}
"""

DOT = """
func.func @main(%a: tensor<32xbf16>, %b: tensor<32xbf16>, %c: tensor<16xf32>) -> tensor<16xf32> {
  %zero = arith.constant 0 : index
  %fill = arith.constant 0.0 : f32
  %none = arith.constant 0.0 : bf16
  %x = vector.transfer_read %a[%zero], %none {in_bounds = [true]} : tensor<32xbf16>, vector<32xbf16>
  %y = vector.transfer_read %b[%zero], %none {in_bounds = [true]} : tensor<32xbf16>, vector<32xbf16>
  %z = vector.transfer_read %c[%zero], %fill {in_bounds = [true]} : tensor<16xf32>, vector<16xf32>
  %d = x86.avx512.dot %z, %x, %y : vector<32xbf16> -> vector<16xf32>
  %r = vector.transfer_write %d, %c[%zero] {in_bounds = [true]} : vector<16xf32>, tensor<16xf32>
  return %r : tensor<16xf32>
}
"""


def flushed(x):
    x = np.asarray(x, np.float32)
    return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), x), x)


def fma(a, b, c):
    """In f32; exact before it is rounded if exponents are not far apart."""
    wide = flushed(a).astype(np.float64) * flushed(b).astype(np.float64)
    return flushed((wide + flushed(c).astype(np.float64)).astype(np.float32))


def tile_product(a, b, c):
    """TDPBF16PS of [16, 32], pairs [16, 32] and [16, 16]."""
    a, b = a.astype(np.float32), b.astype(np.float32)
    even = odd = np.zeros((16, 16), np.float32)
    for p in range(16):
        even = fma(a[:, 2 * p, None], b[None, p, 0::2], even)
        odd = fma(a[:, 2 * p + 1, None], b[None, p, 1::2], odd)
    return flushed(flushed(c) + flushed(even + odd))


def dot_product(a, b, c):
    """VDPBF16PS."""
    a, b = a.astype(np.float32), b.astype(np.float32)
    return fma(a[0::2], b[0::2], fma(a[1::2], b[1::2], c))


def bits(x):
    return np.asarray(x).view(np.uint32)


class TestSimulation:
    def test_product(self):
        a, b, c = random((16, 32), "bf16"), random((16, 32), "bf16", 1), random((16, 16), "f32", 2)
        function = rlx.compile(PRODUCT.format(r=16, k=32, p=16, m=32, n=16), target(), cache=False)
        expected = tile_product(a, b, c)
        assert (bits(function(a, b, c)) == bits(expected)).all()
        # Additions in another order give other bits.
        wide = a.astype(np.float32) @ b.reshape(16, 16, 2).transpose(0, 2, 1).reshape(
            32, 16
        ).astype(np.float32)
        assert (bits(wide + c) != bits(expected)).any()
        # Denormal numbers count as zero, on the way in and on the way out.
        tiny = np.full((16, 32), 2.0**-130, BF16)
        large = np.full((16, 32), 2.0**120, BF16)
        assert not np.any(function(tiny, large, np.zeros_like(c)))
        small = np.full((16, 32), 2.0**-70, BF16)
        assert not np.any(function(small, small, np.full_like(c, 2.0**-130)))

    def test_dot(self):
        a, b, c = random(32, "bf16"), random(32, "bf16", 1), random(16, "f32", 2)
        function = rlx.compile(DOT, target(), cache=False)
        assert (bits(function(a, b, c)) == bits(dot_product(a, b, c))).all()
        swapped = fma(
            *(x.astype(np.float32)[1::2] for x in (a, b)),
            fma(*(x.astype(np.float32)[0::2] for x in (a, b)), c),
        )
        assert (bits(swapped) != bits(dot_product(a, b, c))).any()

    @pytest.mark.parametrize("sizes", [(9, 32, 16), (16, 31, 16)])
    def test_outside_of_buffers(self, sizes):
        """Nothing is computed from what lies there."""
        rows, depth, columns = sizes
        source = PRODUCT.format(r=rows, k=depth, p=16, m=32, n=columns)
        script = f"""
import ml_dtypes, numpy as np, rlx
a, b = (np.ones(shape, ml_dtypes.bfloat16) for shape in (({rows}, {depth}), (16, 32)))
rlx.compile({source!r}, {target()!r}, cache=False)(a, b, np.ones(({rows}, {columns}), np.float32))
"""
        done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
        assert -done.returncode in (signal.SIGILL, signal.SIGTRAP), done.stderr.decode()


# -- matmul ----------------------------------------------------------------------------------------


def product_text(inner, columns, transposed, param):
    shape = f"{columns}x{inner}" if transposed else f"{inner}x{columns}"
    attributes = '{rlx.param, rlx.name = "w"}' if param else ""
    flag = "true" if transposed else "false"
    return f"""
    func.func @main(%x: tensor<?x{inner}xbf16>, %w: tensor<{shape}xbf16> {attributes})
        -> tensor<?x{columns}xbf16> {{
      %y = "rlx.matmul"(%x, %w) {{transpose_weight = {flag}}}
          : (tensor<?x{inner}xbf16>, tensor<{shape}xbf16>) -> tensor<?x{columns}xbf16>
      return %y : tensor<?x{columns}xbf16>
    }}"""


# Around tiles, pairs of tiles and blocks.
ROWS = (0, 1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 41, 65, 257)


class TestMatmul:
    # Several blocks of columns and of the inner dimension, and a rest of each, of an odd length.
    @pytest.mark.parametrize(
        ("isa", "inner", "columns", "transposed", "param"),
        [
            ("amx", 579, 303, False, False),
            ("amx", 579, 303, True, True),
            ("avx512_bf16", 579, 535, True, True),
            pytest.param("amx", 579, 303, True, False, marks=pytest.mark.slow),
            pytest.param("amx", 579, 303, False, True, marks=pytest.mark.slow),
            pytest.param("avx512_bf16", 579, 535, False, False, marks=pytest.mark.slow),
        ],
    )
    def test_rows(self, isa, inner, columns, transposed, param):
        w = random((columns, inner) if transposed else (inner, columns), "bf16", seed=1)
        function = compiled(product_text(inner, columns, transposed, param), 2, isa)
        if param:
            function = function.bind({"w": w})
        for rows in ROWS:
            x = random((rows, inner), "bf16", seed=rows)
            result = function(x) if param else function(x, w)
            wide = [a.astype(np.float64) for a in (x, w)]
            assert_close(result, MatmulOp.reference(*wide, transpose_weight=transposed))

    def test_other_types_take_the_kernel_below(self):
        for dtype in ("f32", "f16"):
            operands = [random((20, 40), dtype), random((33, 40), dtype, 1)]
            text, _ = module_text(MatmulOp, operands, transpose_weight=True)
            assert 'rlx.kernel = "avx512"' in str(lower(text, "linalg", target()))

    def test_infinities_stay_where_they_are(self):
        x, w = random((70, 100), "bf16"), random((40, 100), "bf16", 1)
        x[3, 99], w[7, 0], w[39, 64] = np.inf, np.nan, -np.inf
        function = compiled(product_text(100, 40, True, False))
        finite = np.isfinite(function(x, w).astype(np.float32))
        expected = np.ones((70, 40), bool)
        expected[3], expected[:, [7, 39]] = False, False
        assert (finite == expected).all()


MLP = """
#all = affine_map<(b, i, j) -> (b, i, j)>
#column = affine_map<(b, i, j) -> (j)>
func.func @main(%x: tensor<1x?x{k}xbf16>, %gate_up: tensor<{two}x{k}xbf16> {param0},
                %down: tensor<{k}x{f}xbf16> {param1}, %bias: tensor<{k}xbf16>)
    -> tensor<1x?x{k}xbf16> {{
  %one = arith.constant 1 : index
  %m = tensor.dim %x, %one : tensor<1x?x{k}xbf16>
  %y = "rlx.matmul"(%x, %gate_up) {{transpose_weight = true}}
      : (tensor<1x?x{k}xbf16>, tensor<{two}x{k}xbf16>) -> tensor<1x?x{two}xbf16>
  %gate = "rlx.narrow"(%y) {{axis = 2 : i64, start = 0 : i64, length = {f} : i64}}
      : (tensor<1x?x{two}xbf16>) -> tensor<1x?x{f}xbf16>
  %up = "rlx.narrow"(%y) {{axis = 2 : i64, start = {f} : i64, length = {f} : i64}}
      : (tensor<1x?x{two}xbf16>) -> tensor<1x?x{f}xbf16>
  %h = "rlx.glu"(%gate, %up) {{activation = "silu"}}
      : (tensor<1x?x{f}xbf16>, tensor<1x?x{f}xbf16>) -> tensor<1x?x{f}xbf16>
  %z = "rlx.matmul"(%h, %down) {{transpose_weight = true}}
      : (tensor<1x?x{f}xbf16>, tensor<{k}x{f}xbf16>) -> tensor<1x?x{k}xbf16>
  %empty = tensor.empty(%m) : tensor<1x?x{k}xbf16>
  %r = linalg.generic {{indexing_maps = [#all, #column, #all, #all],
      iterator_types = ["parallel", "parallel", "parallel"]}}
      ins(%z, %bias, %x : tensor<1x?x{k}xbf16>, tensor<{k}xbf16>, tensor<1x?x{k}xbf16>)
      outs(%empty : tensor<1x?x{k}xbf16>) {{
  ^bb0(%z0: bf16, %b0: bf16, %x0: bf16, %o: bf16):
    %s0 = arith.addf %z0, %b0 : bf16
    %s1 = arith.addf %s0, %x0 : bf16
    linalg.yield %s1 : bf16
  }} -> tensor<1x?x{k}xbf16>
  return %r : tensor<1x?x{k}xbf16>
}}
"""


class TestEpilogues:
    @pytest.mark.parametrize(
        ("isa", "param"),
        [
            ("amx", True),
            ("avx512_bf16", False),
            pytest.param("amx", False, marks=pytest.mark.slow),
        ],
    )
    def test_gated_unit_bias_and_residual(self, isa, param):
        """As parts of the products; more than a block of columns of each piece."""
        k, f = 110, 304
        text = MLP.format(
            k=k,
            f=f,
            two=2 * f,
            param0='{rlx.param, rlx.name = "gate_up"}' if param else "",
            param1='{rlx.param, rlx.name = "down"}' if param else "",
        )
        assert "linalg.generic {" not in str(lower(text, "bufferized", target(isa=isa)))
        weights = {"gate_up": random((2 * f, k), "bf16", 1), "down": random((k, f), "bf16", 2)}
        bias = random(k, "bf16", 3)
        function = compiled(text, 2, isa)
        if param:
            function = function.bind(weights)
        for rows in (1, 3, 33, 70, 290):
            x = random((1, rows, k), "bf16", rows)
            result = function(x, bias) if param else function(x, *weights.values(), bias)
            a, b, d, c = (v.astype(np.float64) for v in (x, *weights.values(), bias))
            y = a @ b.T
            gate, up = y[..., :f], y[..., f:]
            assert_close(result, gate / (1 + np.exp(-gate)) * up @ d.T + c + a)


# -- attention -------------------------------------------------------------------------------------


def attention(q, k, v, mask=None, lengths=None, threads=2, known=False, **attrs):
    """The result, with the sizes of sequences open or ``known``, and what is expected."""
    operands = [q, k, v, mask, lengths]
    text, _ = module_text(AttentionOp, operands, () if known else {(0, 1), (1, 1), (2, 1)}, **attrs)
    function = compiled(text, threads)
    given = [x for x in operands if x is not None]

    def wide(x):
        return x.astype(np.float64) if x is not None and x.dtype == BF16 else x

    with np.errstate(all="ignore"):
        expected = AttentionOp.reference(*map(wide, operands), **attrs)
    return function(*given), expected


def heads(num_heads, num_kv_heads, dim, v_dim=None, **more):
    given = {"num_heads": num_heads, "num_kv_heads": num_kv_heads, "head_dim": dim}
    if v_dim is not None:
        given["v_head_dim"] = v_dim
    return {**given, "scale": dim**-0.5, **more}


def qkv(batch, queries, keys, num_heads, num_kv_heads, head_dim, v_head_dim=None, **_):
    widths = (num_heads * head_dim, num_kv_heads * head_dim)
    sizes = (queries, keys, keys)
    widths = (*widths, num_kv_heads * (v_head_dim or head_dim))
    return [
        random((batch, size, width), "bf16", seed)
        for seed, (size, width) in enumerate(zip(sizes, widths, strict=True))
    ]


def some_keys(shape):
    return np.random.default_rng(0).random(shape) < 0.6


def biases(shape):
    values = random(shape, "f32", 9)
    return np.where(some_keys(shape), values, np.float32(-np.inf))


# Queries, keys and attributes. More than a block of keys, of queries and of both; edges of tiles.
CASES = {
    "causal": (2, 129, 129, heads(4, 2, 80, causal=True)),
    "one": (1, 1, 1, heads(2, 1, 64, causal=True)),
    "seven": (1, 7, 7, heads(1, 1, 16, causal=True)),
    "two blocks of keys": (1, 40, 700, heads(2, 2, 128)),
    "decode": (2, 1, 600, heads(8, 1, 64, causal=True)),
    "decode, odd": (1, 3, 77, heads(5, 1, 96, 48, causal=True, softcap=2.0)),
    "decode, window": (1, 1, 1300, heads(3, 1, 32, 200, causal=True, left_window=700)),
    "decode, parts of keys": (1, 2, 2100, heads(4, 2, 64, causal=True)),
    "decode, one key": (2, 1, 1, heads(2, 2, 64, causal=True)),
    "many causal": (1, 600, 1000, heads(1, 1, 32, causal=True)),
    "window of a key": (1, 70, 70, heads(2, 1, 48, causal=True, left_window=0)),
    "window": (1, 300, 300, heads(2, 1, 64, causal=True, left_window=100)),
    "both windows": (1, 100, 90, heads(2, 1, 64, left_window=20, right_window=3)),
    "softcap": (1, 40, 90, heads(5, 1, 96, 48, causal=True, softcap=2.0)),
    "wide": (1, 20, 40, heads(2, 1, 512, causal=True)),
    "wide values": (1, 33, 50, heads(2, 1, 40, 200)),
    "negative scale": (1, 40, 90, heads(2, 1, 64, causal=True) | {"scale": -0.2}),
    "offset": (1, 40, 90, heads(2, 1, 64, causal=True, q_offset=13)),
}


QUICK = (
    "causal",
    "two blocks of keys",
    "decode, odd",
    "decode, parts of keys",
    "window",
    "softcap",
)


def quick(case):
    """The others take a little longer together than all tests should."""
    return case if case in QUICK else pytest.param(case, marks=pytest.mark.slow)


class TestAttention:
    @pytest.mark.parametrize("case", [quick(case) for case in CASES])
    def test_cases(self, case):
        batch, queries, keys, attrs = CASES[case]
        result, expected = attention(*qkv(batch, queries, keys, **attrs), **attrs)
        assert_close(result, expected)

    @pytest.mark.parametrize(
        ("make", "shape"),
        [
            (some_keys, (40, 530)),
            (biases, (1, 4, 40, 1)),
            pytest.param(biases, (40, 530), marks=pytest.mark.slow),
            pytest.param(some_keys, (2, 1, 1, 530), marks=pytest.mark.slow),
        ],
    )
    def test_masks(self, make, shape):
        attrs = heads(4, 2, 64, causal=True)
        result, expected = attention(*qkv(2, 40, 530, **attrs), make(shape), **attrs)
        assert_close(result, expected)

    def test_lengths(self):
        attrs = heads(4, 2, 64, causal=True, softcap=30.0)
        lengths = np.array([0, 530, 77, 31], np.int32)
        for queries in (1, 20):
            given = qkv(4, queries, 530, **attrs)
            result, expected = attention(*given, lengths=lengths, **attrs)
            assert_close(result, expected)

    @pytest.mark.parametrize(("queries", "dim"), [(1, 64), (12, 48), (70, 64)])
    def test_known_sizes(self, queries, dim):
        """One kernel each."""
        attrs = heads(4, 2, dim, causal=True)
        result, expected = attention(*qkv(2, queries, 90, **attrs), known=True, **attrs)
        assert_close(result, expected)

    @pytest.mark.parametrize("queries", [1, 100])
    def test_what_is_not_seen_does_not_matter(self, queries):
        """Infinities and NaN in keys and values that are hidden, and beside each other."""
        attrs = heads(2, 1, 64, causal=True)
        q, k, v = qkv(1, queries, 600, **attrs)
        mask = np.ones((queries, 600), bool)
        mask[: queries // 2 + 1, 5] = False
        k[0, 5, 3], v[0, 5, 7] = np.nan, np.inf
        v[0, 580, 1] = np.nan
        result, expected = attention(q, k, v, mask, **attrs)
        assert (np.isnan(result.astype(np.float32)) == np.isnan(expected)).all()
        both = ~np.isnan(expected) & np.isfinite(expected)
        assert both.any()
        assert_close(result[both], expected[both])
        assert (result[~both & ~np.isnan(expected)] == expected[~both & ~np.isnan(expected)]).all()

    def test_values_without_weight_do_not_matter(self):
        attrs = heads(2, 1, 64)
        text, _ = module_text(
            AttentionOp, [*qkv(1, 4, 4, **attrs), None, None], {(0, 1), (1, 1), (2, 1)}, **attrs
        )
        function = compiled(text)
        for queries in (1, 20, 40):
            q, k, v = qkv(1, queries, 600, **attrs)
            q[...] = 1
            # Scores so small that their weight is zero.
            k[0, 5], v[0, 5, 7] = -2000, np.inf
            k[0, 530], v[0, 530] = -2000, np.nan
            wide = [x.astype(np.float64) for x in (q, k, v)]
            with np.errstate(all="ignore"):
                expected = AttentionOp.reference(*wide, None, None, **attrs)
            assert np.isfinite(expected).all()
            assert_close(function(q, k, v), expected)

    def test_nothing(self):
        attrs = heads(2, 1, 64, causal=True)
        given = [*qkv(1, 4, 4, **attrs), None, None]
        text, _ = module_text(AttentionOp, given, {(0, 1), (1, 1), (2, 1)}, **attrs)
        function = compiled(text)
        for queries, keys in ((0, 5), (1, 0), (20, 0), (70, 0)):
            result = function(*qkv(1, queries, keys, **attrs))
            assert result.shape == (1, queries, 128)
            assert not result.any()
