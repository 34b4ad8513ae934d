"""Plain kernels of every op, on a simulated GPU, against references."""

import ml_dtypes
import numpy as np
import pytest
from cuda_programs import check, program
from harness import assert_close, random

from rlx import dtypes
from rlx.dialects.attention import AttentionOp
from rlx.dialects.concat import ConcatOp
from rlx.dialects.dequant_matmul import DequantMatmulOp
from rlx.dialects.embedding import EmbeddingOp
from rlx.dialects.glu import ACTIVATIONS, GluOp
from rlx.dialects.kv_append import KvAppendOp
from rlx.dialects.layer_norm import LayerNormOp
from rlx.dialects.matmul import MatmulOp
from rlx.dialects.narrow import NarrowOp
from rlx.dialects.rms_norm import RmsNormOp
from rlx.dialects.rope import RopeOp
from rlx.runtime import ExecutionError

DTYPES = ("f32", "bf16", "f16")


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize(("dtype", "dynamic"), [("f32", ()), ("f32", True), ("f64", True)])
def test_matmul(dtype, transpose, dynamic):
    weight = random((24, 40) if transpose else (40, 24), dtype, 1)
    check(MatmulOp, random((2, 3, 40), dtype), weight, transpose_weight=transpose, dynamic=dynamic)


@pytest.mark.parametrize("dtype", [*DTYPES, "f64"])
@pytest.mark.parametrize(("shape", "group"), [((3, 64), None), ((2, 5, 72), 24), ((1, 7), None)])
def test_rms_norm(dtype, shape, group):
    weight = random((group or shape[-1],), dtype, 1)
    attrs = {"epsilon": 1e-5, "weight_offset": 1.0} | ({"group": group} if group else {})
    used = check(RmsNormOp, random(shape, dtype), weight, **attrs)
    assert used == [f"rlx_rms_norm_{dtype}_0"]


@pytest.mark.parametrize("shape", [(4, 128), (2, 3, 33)])
@pytest.mark.parametrize("dynamic", [(), True])
def test_rms_norm_without_weight(shape, dynamic):
    check(RmsNormOp, random(shape), None, epsilon=1e-6, dynamic=dynamic)


@pytest.mark.parametrize(("size", "kernel"), [(9000, True), (40000, False)])
def test_rms_norm_of_long_rows(size, kernel):
    used = check(RmsNormOp, random((2, size)), random((size,), seed=1), epsilon=1e-6)
    assert (used == ["rlx_rms_norm_f32_0"]) == kernel


def test_rms_norm_of_a_part_that_is_not_aligned():
    text = """
    func.func @main(%x: tensor<3x70xbf16>) -> tensor<3x64xbf16> {
      %0 = tensor.extract_slice %x[0, 3] [3, 64] [1, 1] : tensor<3x70xbf16> to tensor<3x64xbf16>
      %1 = "rlx.rms_norm"(%0) {epsilon = 1.0e-06 : f64} : (tensor<3x64xbf16>) -> tensor<3x64xbf16>
      return %1 : tensor<3x64xbf16>
    }"""
    executable, gpu = program(text)
    x = random((3, 70), "bf16")
    assert_close(executable(x), RmsNormOp.reference(x[:, 3:67].astype(np.float64), epsilon=1e-6))
    assert gpu.launched == ["rlx_rms_norm_bf16_0"]


def test_rms_norm_with_a_weight_in_f32():
    check(RmsNormOp, random((3, 256), "bf16"), random((256,), seed=1), epsilon=1e-6)


@pytest.mark.parametrize("dtype", [*DTYPES, "f64"])
@pytest.mark.parametrize("width", [64, 50])
@pytest.mark.parametrize("dynamic", [(), True])
def test_layer_norm(dtype, width, dynamic):
    weight, bias = random((width,), dtype, 1), random((width,), dtype, 2)
    # A mean that is large beside the deviation.
    x = (random((2, 3, width), dtype) + np.array(3, random((), dtype).dtype)).astype(weight.dtype)
    check(LayerNormOp, x, weight, bias, epsilon=1e-5, dynamic=dynamic)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_glu(dtype, activation):
    gate, up = random((3, 40), dtype) * 3, random((3, 40), dtype, 1)
    check(GluOp, gate.astype(up.dtype), up, activation=activation)


ROPES = [
    ("half", 32, 32),
    ("half", 32, 8),
    ("proportional", 32, 16),
    ("interleaved", 32, 32),
    ("interleaved", 16, 6),
]


@pytest.mark.parametrize(("pairing", "head_dim", "n_rot"), ROPES)
@pytest.mark.parametrize(("dtype", "positions"), [("f32", False), ("bf16", True), ("f16", False)])
def test_rope(dtype, pairing, head_dim, n_rot, positions):
    x = random((2, 5, 3 * head_dim), dtype)
    tables = random((9, n_rot // 2), "f32", 1), random((9, n_rot // 2), "f32", 2)
    where = np.array([[0, 1, 8, 3, 3], [4, 2, 1, 0, 7]]) if positions else None
    used = check(RopeOp, x, *tables, where, head_dim=head_dim, n_rot=n_rot, pairing=pairing)
    assert used[-1] == f"rlx_rope_{dtype}_0"


def test_rope_with_dynamic_sizes_and_wide_tables():
    x, tables = random((1, 4, 64)), (random((4, 16), seed=1), random((4, 16), seed=2))
    check(RopeOp, x, *tables, None, head_dim=32, n_rot=16, dynamic={(0, 1), (1, 0), (2, 0)})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [40, 7])
def test_embedding(dtype, width):
    ids = np.array([[0, 5, 10], [3, 3, 1]])
    check(EmbeddingOp, random((11, width), dtype), ids)


@pytest.mark.parametrize("dynamic", [(), True])
def test_concat_and_narrow(dynamic):
    parts = [random((2, n, 8), seed=n) for n in (1, 3, 2)]
    check(ConcatOp, parts, axis=1, dynamic=dynamic)
    check(NarrowOp, random((4, 12), "bf16"), axis=1, start=3, length=5)


@pytest.mark.parametrize("start", [0, 8, 3])
@pytest.mark.parametrize("columns", [64, 61])
def test_rows_that_only_the_run_time_knows(columns, start):
    text = """
    func.func @main(%x: tensor<?x?xbf16>, %n: index) -> tensor<?x?xbf16> {
      %c0 = arith.constant 0 : index
      %r = tensor.dim %x, %c0 : tensor<?x?xbf16>
      %s = tensor.extract_slice %x[0, START] [%r, %n] [1, 1] : tensor<?x?xbf16> to tensor<?x?xbf16>
      %e = tensor.empty(%r, %n) : tensor<?x?xbf16>
      %0 = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>,
          affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
          ins(%s : tensor<?x?xbf16>) outs(%e : tensor<?x?xbf16>) {
      ^bb0(%a: bf16, %b: bf16):
        %y = arith.negf %a : bf16
        linalg.yield %y : bf16
      } -> tensor<?x?xbf16>
      return %0 : tensor<?x?xbf16>
    }""".replace("START", str(start))
    x = random((5, 72), "bf16")
    executable, _ = program(text)
    assert (executable(x, columns) == -x[:, start : start + columns]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("width", "dynamic"), [(48, ()), (48, True), (5, ())])
def test_kv_append(dtype, width, dynamic):
    cache, update = random((3, 7, width), dtype), random((3, 2, width), dtype, 1)
    check(KvAppendOp, cache, update, np.array([0, 5, 2]), dynamic=dynamic)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("group", [0, 16])
@pytest.mark.parametrize("dynamic", [(), True])
def test_dequant_matmul(transpose, group, dynamic):
    weight = np.random.default_rng(0).integers(-127, 128, (24, 64) if transpose else (64, 24))
    scales = np.abs(random((24, 4) if group else (24,)))
    attrs = {"transpose_weight": transpose, "group": group}
    x = random((2, 3, 64), seed=1)
    check(DequantMatmulOp, x, weight.astype(np.int8), scales, dynamic=dynamic, **attrs)


# -- attention -------------------------------------------------------------------------------------

SHAPES = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 24}


def operands(queries, keys, dtype="f32", v_head_dim=24, batch=2):
    q = random((batch, queries, 96), dtype)
    k = random((batch, keys, 48), dtype, 1)
    return q, k, random((batch, keys, 2 * v_head_dim), dtype, 2)


CASES = {
    "plain": {},
    "causal": {"causal": True},
    "window": {"causal": True, "left_window": 3},
    "both windows": {"left_window": 2, "right_window": 1},
    "softcap": {"softcap": 3.0, "scale": 0.7},
    "offset": {"causal": True, "q_offset": 4},
    "far offset": {"causal": True, "q_offset": -3},
    "wide values": {"v_head_dim": 40},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("queries", "keys"), [(3, 40), (6, 4)])
def test_attention(case, queries, keys):
    attrs = {**SHAPES, **CASES[case]}
    used = check(
        AttentionOp, *operands(queries, keys, v_head_dim=attrs.get("v_head_dim", 24)), **attrs
    )
    assert any("plain_attention" in name for name in used)


@pytest.mark.parametrize("shape", [(5, 9), (2, 1, 5, 9), (4, 5, 9), (1, 1, 1, 1)])
@pytest.mark.parametrize("boolean", [False, True])
def test_attention_with_a_mask(shape, boolean):
    mask = random(shape, seed=3) * 2
    mask = mask > 0 if boolean else np.where(mask > 2, -np.inf, mask).astype(np.float32)
    check(AttentionOp, *operands(5, 9), mask, causal=True, **SHAPES)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_a_kernel_is_found_for_a_mask_in_bf16(arch):
    q, k, v = (random((1, rows, 64), "bf16", n) for n, rows in enumerate((5, 9, 9)))
    mask = random((1, 1, 5, 9), "bf16", 3)
    check(AttentionOp, q, k, v, mask, num_heads=1, head_dim=64, arch=arch, tolerance=2e-2)


DYNAMIC = {(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)}


@pytest.mark.parametrize("ids", [np.int32, np.int64])
@pytest.mark.parametrize("dynamic", [(), DYNAMIC], ids=["static", "dynamic"])
def test_attention_with_lengths(ids, dynamic):
    q, k, v = operands(3, 40, batch=4)
    k[0, 20:], v[0, 20:] = np.nan, np.nan
    lengths = np.array([20, 0, 40, 3], ids)
    check(AttentionOp, q, k, v, None, lengths, causal=True, dynamic=dynamic, **SHAPES)


def test_attention_in_f64():
    check(AttentionOp, *operands(4, 6, "f64"), causal=True, softcap=5.0, **SHAPES)


def test_attention_of_odd_heads():
    q, k, v = random((1, 3, 15)), random((1, 4, 5), seed=1), random((1, 4, 7), seed=2)
    check(AttentionOp, q, k, v, num_heads=3, num_kv_heads=1, head_dim=5, v_head_dim=7)


# -- elementwise -----------------------------------------------------------------------------------


def test_elementwise_ops_in_between():
    text = """
    func.func @main(%x: tensor<?x24xbf16>, %y: tensor<?x24xbf16>) -> tensor<24x?xf32> {
      %c0 = arith.constant 0 : index
      %0 = arith.addf %x, %y : tensor<?x24xbf16>
      %1 = arith.extf %0 : tensor<?x24xbf16> to tensor<?x24xf32>
      %2 = math.tanh %1 : tensor<?x24xf32>
      %n = tensor.dim %x, %c0 : tensor<?x24xbf16>
      %e = tensor.empty(%n) : tensor<24x?xf32>
      %3 = linalg.transpose ins(%2 : tensor<?x24xf32>) outs(%e : tensor<24x?xf32>)
          permutation = [1, 0]
      return %3 : tensor<24x?xf32>
    }"""
    executable, _ = program(text)
    x, y = random((7, 24), "bf16"), random((7, 24), "bf16", 1)
    expected = np.tanh((x + y).astype(np.float32)).T
    assert np.abs(executable(x, y) - expected).max() < 1e-6
    assert executable(x[:0], y[:0]).shape == (24, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_reductions_of_each_kind(dtype):
    name = {"float32": "f32", "float64": "f64", "int32": "i32", "int64": "i64"}[
        np.dtype(dtype).name
    ]
    add = "arith.addf" if name.startswith("f") else "arith.addi"
    flags = " fastmath<reassoc>" if name.startswith("f") else ""
    zero = "0.0" if name.startswith("f") else "0"
    text = f"""
    func.func @main(%x: tensor<?x?xIN>) -> (tensor<?xIN>, tensor<?xIN>) {{
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %z = arith.constant {zero} : IN
      %m = tensor.dim %x, %c0 : tensor<?x?xIN>
      %n = tensor.dim %x, %c1 : tensor<?x?xIN>
      %e = tensor.empty(%m) : tensor<?xIN>
      %f = linalg.fill ins(%z : IN) outs(%e : tensor<?xIN>) -> tensor<?xIN>
      %0 = linalg.generic {{
          indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>],
          iterator_types = ["parallel", "reduction"]}}
          ins(%x : tensor<?x?xIN>) outs(%f : tensor<?xIN>) {{
      ^bb0(%a: IN, %b: IN):
        %s = {add} %a, %b{flags} : IN
        linalg.yield %s : IN
      }} -> tensor<?xIN>
      %g = tensor.empty(%n) : tensor<?xIN>
      %h = linalg.fill ins(%z : IN) outs(%g : tensor<?xIN>) -> tensor<?xIN>
      %1 = linalg.generic {{
          indexing_maps = [affine_map<(i, j) -> (j, i)>, affine_map<(i, j) -> (i)>],
          iterator_types = ["parallel", "reduction"]}}
          ins(%x : tensor<?x?xIN>) outs(%h : tensor<?xIN>) {{
      ^bb0(%a: IN, %b: IN):
        %s = {add} %a, %b{flags} : IN
        linalg.yield %s : IN
      }} -> tensor<?xIN>
      return %0, %1 : tensor<?xIN>, tensor<?xIN>
    }}""".replace("IN", name)
    executable, _ = program(text)
    x = np.random.default_rng(0).integers(-9, 9, (5, 70)).astype(dtype)
    rows, columns = executable(x)
    assert (rows == x.sum(1)).all() and (columns == x.sum(0)).all()


# -- checks ----------------------------------------------------------------------------------------


def test_checks_of_data_read_nothing_out_of_bounds():
    table, ids = random((4, 8)), np.array([1, 4])
    with pytest.raises(ExecutionError, match="ids must be in"):
        check(EmbeddingOp, table, ids)
    with pytest.raises(ExecutionError, match="ids must be in"):
        check(EmbeddingOp, table, -ids)
    cache = random((1, 3, 8))
    with pytest.raises(ExecutionError, match="leave room"):
        check(KvAppendOp, cache, random((1, 2, 8)), np.array([2]))
    q = random((1, 2, 8))
    with pytest.raises(ExecutionError, match="kv_lengths must be in"):
        lengths = np.array([3])
        check(AttentionOp, q, q, q, None, lengths, num_heads=1, head_dim=8)


def test_a_computed_index_is_checked_before_it_is_used():
    text = """
    func.func @main(%x: tensor<?xf32>, %i: tensor<i64>) -> tensor<1xf32> {
      %0 = tensor.extract %i[] : tensor<i64>
      %1 = arith.index_cast %0 : i64 to index
      %2 = tensor.extract %x[%1] : tensor<?xf32>
      %3 = tensor.from_elements %2 : tensor<1xf32>
      return %3 : tensor<1xf32>
    }"""
    executable, _ = program(text)
    x = random((5,))
    assert executable(x, np.int64(3)) == x[3:4]
    with pytest.raises(ExecutionError, match="index out of bounds"):
        executable(x, np.int64(5))
    assert executable(x, np.int64(0)) == x[:1]


def test_bf16_is_rounded_to_nearest_even():
    x = np.array([1.00390625, 1.01171875, -1.00390625], np.float32)
    text = """func.func @main(%x: tensor<3xf32>) -> tensor<3xbf16> {
      %0 = arith.truncf %x : tensor<3xf32> to tensor<3xbf16>
      return %0 : tensor<3xbf16>
    }"""
    executable, _ = program(text)
    assert (executable(x) == x.astype(ml_dtypes.bfloat16)).all()


@pytest.mark.parametrize(
    ("element", "values"),
    [
        ("f32", "[1.5, -2.0, 3.0]"),
        ("bf16", "[1.5, -2.0, 3.0]"),
        ("f16", "[1.5, -2.0, 3.0]"),
        ("f64", "[1.5, -2.0, 3.0]"),
        ("i64", "[1, -2, 3]"),
        ("i32", "[1, -2, 3]"),
        ("i8", "[1, -2, 3]"),
        ("i1", "[true, false, true]"),
        ("bf16", "[0x7F80, -0.0, 1.0e-3]"),
        ("f32", "7.5"),
        ("bf16", "7.5"),
        ("i1", "true"),
    ],
)
def test_constants(element, values):
    text = f"""
    func.func @main(%n: tensor<2x3x{element}>) -> tensor<2x3x{element}> {{
      %c = arith.constant dense<{values}> : tensor<3x{element}>
      %e = tensor.empty() : tensor<2x3x{element}>
      %0 = linalg.broadcast ins(%c : tensor<3x{element}>) outs(%e : tensor<2x3x{element}>)
          dimensions = [0]
      return %0 : tensor<2x3x{element}>
    }}"""
    executable, _ = program(text)
    dtype = dtypes.NAMES[element]
    known = {"true": "True", "false": "False", "0x7F80": "float('inf')"}
    for word, python in known.items():
        values = values.replace(word, python)
    listed = eval(values)
    expected = np.broadcast_to(np.array(listed, dtype), (2, 3))
    assert (executable(np.zeros((2, 3), dtype)) == expected).all()


def test_a_long_constant():
    values = random((300,), "bf16")
    text = f"""
    func.func @main() -> tensor<300xbf16> {{
      %c = arith.constant dense<"0x{values.tobytes().hex().upper()}"> : tensor<300xbf16>
      return %c : tensor<300xbf16>
    }}"""
    executable, _ = program(text)
    assert (executable() == values).all()


def test_buffers_of_indices():
    text = """
    func.func @main(%x: tensor<?xi64>) -> tensor<?xi64> {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %n = tensor.dim %x, %c0 : tensor<?xi64>
      %e = tensor.empty(%n) : tensor<?xindex>
      %0 = linalg.generic {
          indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
          iterator_types = ["parallel"]}
          ins(%x : tensor<?xi64>) outs(%e : tensor<?xindex>) {
      ^bb0(%a: i64, %b: index):
        %i = linalg.index 0 : index
        %j = arith.index_cast %a : i64 to index
        %k = arith.addi %i, %j : index
        linalg.yield %k : index
      } -> tensor<?xindex>
      %m = arith.subi %n, %c1 : index
      %s = tensor.extract_slice %0[1] [%m] [1] : tensor<?xindex> to tensor<?xindex>
      %o = tensor.empty(%m) : tensor<?xi64>
      %1 = linalg.generic {
          indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>],
          iterator_types = ["parallel"]}
          ins(%s : tensor<?xindex>) outs(%o : tensor<?xi64>) {
      ^bb0(%a: index, %b: i64):
        %j = arith.index_cast %a : index to i64
        linalg.yield %j : i64
      } -> tensor<?xi64>
      return %1 : tensor<?xi64>
    }"""
    executable, _ = program(text)
    x = np.array([5, -3, 10, 7])
    assert (executable(x) == (x + np.arange(4))[1:]).all()
