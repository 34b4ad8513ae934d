"""Attention of a few rows, which streams keys and values in chunks, against the reference."""

import numpy as np
import pytest
from harness import assert_close, module_text, random

import rlx
from rlx.compiler import lower
from rlx.dialects.attention import AttentionOp
from rlx.schedules.cpu.attention.few import TILES
from rlx.schedules.cpu.attention.problem import FEW, parameters
from rlx.schedules.cpu.isa import ISAS
from rlx.targets.cpu import host_features

HERE = [isa.name for isa in ISAS.values() if not isa.base and isa.features <= host_features()]
CHUNK = TILES * parameters(ISAS["avx512"]).keys


def check(
    batch, queries, keys, heads, groups, dim, v_dim=None, *, isa=HERE[0], dtype="f32", **options
):
    """The compiled op against its reference; returns the function and its operands."""
    mask, lengths = options.pop("mask", None), options.pop("lengths", None)
    options_of_target = options.pop("target", "")
    shapes = [(queries, heads * dim), (keys, groups * dim), (keys, groups * (v_dim or dim))]
    operands = [random((batch, *shape), dtype, seed) for seed, shape in enumerate(shapes)]
    operands += [mask, lengths]
    options |= {"num_heads": heads, "num_kv_heads": groups, "head_dim": dim, "v_head_dim": v_dim}
    text, arrays = module_text(AttentionOp, operands, **options)
    target = f"cpu{{kernels={isa}{options_of_target}}}"
    function = rlx.compile(text, target, cache=False)
    wide = [
        a if a is None or a.dtype in (bool, np.int32, np.int64) else a.astype(np.float64)
        for a in operands
    ]
    result = function(*arrays)
    assert_close(result, AttentionOp.reference(*wide, **options))
    return result


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize(
    ("queries", "heads", "groups", "dim", "v_dim"),
    [
        (1, 3, 3, 64, None),  # one row, two, three and more: how many meet a key at a time
        (1, 4, 2, 80, 40),
        (1, 10, 2, 33, 65),
        (3, 4, 1, 16, 256),
        (2, 2, 2, 512, 16),
        (8, 4, 2, 128, None),
    ],
)
def test_rows(isa, queries, heads, groups, dim, v_dim):
    check(2, queries, CHUNK + 77, heads, groups, dim, v_dim, isa=isa, causal=True)


@pytest.mark.parametrize("keys", [1, 15, 17, 129, CHUNK, CHUNK + 1])
def test_keys(keys):
    """Around vectors, tiles and chunks; fewer keys than queries as well."""
    check(2, 4, keys, 4, 2, 32, causal=True)


@pytest.mark.parametrize(("rows", "few"), [(FEW, True), (FEW + 1, False)])
def test_how_many_are_few(rows, few):
    operands = [random((1, n, 32)) for n in (rows, 150, 150)]
    text, _ = module_text(AttentionOp, operands, num_heads=1, head_dim=32)
    assert ("rlx_attention_few" in str(lower(text, "bufferized"))) == few
    check(1, rows, 150, 1, 1, 32)


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize(
    ("dtype", "heads", "dim", "v_dim"), [("bf16", 2, 40, 24), ("f16", 8, 64, 64)]
)
def test_narrow_storage(isa, dtype, heads, dim, v_dim):
    check(1, 1, 600, heads, 2, dim, v_dim, isa=isa, dtype=dtype, causal=True)


@pytest.mark.parametrize(
    ("left", "right", "offset"),
    [(0, 0, None), (5, 3, 300), (128, -1, 0), (700, 2, None), (700, 2, 2000)],
)
def test_windows(left, right, offset):
    """Most chunks are not looked at; past the end no key is seen."""
    window = {"left_window": left, "right_window": right, "q_offset": offset}
    check(1, 3, 1100, 2, 1, 32, softcap=3.0, **window)


def test_lengths():
    """None, part of a vector, a chunk and more; rows before the first key."""
    lengths = np.array([0, 1, 3, 130, CHUNK, 1100], np.int64)
    check(6, 2, 1100, 4, 2, 32, lengths=lengths, causal=True)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("bool", (1100,)), ("bool", (2, 1, 2, 1100)), ("float", (2, 1)), ("float", (1, 4, 1, 1100))],
)
def test_masks(kind, shape):
    numbers = np.random.default_rng(0)
    mask = numbers.random(shape) < 0.7
    if kind == "float":
        mask = np.where(mask, numbers.standard_normal(shape), -np.inf).astype(np.float32)
    check(2, 2, 1100, 4, 2, 32, mask=np.asarray(mask))


@pytest.mark.parametrize("threads", [2, 3])
def test_threads(threads):
    """The result is the same, bit for bit."""
    shape = (2, 1, 3000, 8, 2, 64)
    alone = check(*shape)
    assert np.array_equal(check(*shape, target=f" threads={threads}"), alone)


def run(operands, **options):
    text, arrays = module_text(AttentionOp, operands, **options)
    return rlx.compile(text, cache=False)(*arrays)


@pytest.mark.parametrize("garbage", [np.nan, np.inf])
def test_hidden_values_that_are_not_finite(garbage):
    q, k, v = (random((1, n, 32), seed=s) for s, n in enumerate((1, 1100, 1100)))
    mask = np.arange(1100) % 3 != 1
    options = {"num_heads": 2, "num_kv_heads": 2, "head_dim": 16}
    expected = run([q, k, v, mask], **options)
    k[:, ~mask], v[:, ~mask] = garbage, garbage
    assert_close(run([q, k, v, mask], **options), expected)
    v[:, 3, 20] = np.nan
    result = run([q, k, v, mask], **options)
    assert np.isnan(result[..., 20]).all()
    assert np.isfinite(np.delete(result, 20, axis=2)).all()


@pytest.mark.parametrize("place", [5, 100, 600])
def test_a_weight_that_becomes_zero_silences_a_value(place):
    """The largest score comes in a later chunk, or tile, than the infinite value."""
    q = np.ones((1, 1, 16), np.float32)
    scores = np.concatenate([np.repeat([0.0, 80.0, 160.0], 400), [300.0]])
    k = np.repeat(scores[:, None] / 16, 16, axis=1)[None].astype(np.float32)
    v = np.ones((1, len(scores), 16), np.float32)
    v[0, place] = np.inf
    result = run([q, k, v], num_heads=1, head_dim=16, scale=1.0)
    assert_close(result, np.ones((1, 1, 16)))


@pytest.mark.parametrize("score", [1e4, -1e4, 1e38])
def test_large_scores(score):
    q = np.full((1, 1, 16), score / 16, np.float32)
    k, v = np.ones((1, 600, 16), np.float32), random((1, 600, 16))
    options = {"num_heads": 1, "head_dim": 16, "scale": 1.0}
    assert_close(run([q, k, v], **options), AttentionOp.reference(q, k, v, **options))


def test_parts_of_a_cache_are_read_where_they_are():
    text = """
      func.func @main(%q: tensor<1x1x64xf32>, %c: tensor<1x900x64xf32>) -> tensor<1x1x64xf32> {
        %k = "rlx.narrow"(%c) {axis = 2 : i64, start = 0 : i64, length = 32 : i64}
          : (tensor<1x900x64xf32>) -> tensor<1x900x32xf32>
        %v = "rlx.narrow"(%c) {axis = 2 : i64, start = 32 : i64, length = 32 : i64}
          : (tensor<1x900x64xf32>) -> tensor<1x900x32xf32>
        %o = "rlx.attention"(%q, %k, %v) {num_heads = 2 : i64, num_kv_heads = 1 : i64,
          head_dim = 32 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
          : (tensor<1x1x64xf32>, tensor<1x900x32xf32>, tensor<1x900x32xf32>) -> tensor<1x1x64xf32>
        return %o : tensor<1x1x64xf32>
      }
    """
    assert "memref.copy" not in str(lower(text, "bufferized"))
    q, c = random((1, 1, 64)), random((1, 900, 64), seed=1)
    expected = AttentionOp.reference(
        *(a.astype(np.float64) for a in (q, c[..., :32], c[..., 32:])),
        num_heads=2,
        num_kv_heads=1,
        head_dim=32,
    )
    assert_close(rlx.compile(text, cache=False)(q, c), expected)


@pytest.mark.slow
@pytest.mark.parametrize("isa", HERE)
def test_any_sizes(isa):
    numbers = np.random.default_rng(0)
    for _ in range(30):
        groups = int(numbers.integers(1, 5))
        repeat = int(numbers.choice([1, 2, 3, 4, 5, 8, 16]))
        queries = int(numbers.integers(1, FEW // repeat + 1))
        dim, v_dim = (int(numbers.integers(16, 300)) for _ in range(2))
        keys = int(numbers.integers(1, 1500))
        shape = (int(numbers.integers(1, 3)), queries, keys, groups * repeat, groups, dim, v_dim)
        left = int(numbers.choice([-1, 0, 40, 300]))
        dtype = str(numbers.choice(["f32", "bf16", "f16"]))
        check(*shape, isa=isa, dtype=dtype, causal=bool(numbers.random() < 0.5), left_window=left)
