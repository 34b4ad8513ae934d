"""`rlx.attention` on tensor cores, in the interpreter."""

import ml_dtypes
import numpy as np
import pytest
from cuda_harness import check, kernels_of, names_of, run
from cuda_programs import program
from harness import assert_close, module_text, random, reference

import rlx
from rlx.dialects.attention import AttentionOp
from rlx.dialects.rope import RopeOp
from rlx.host import ir
from rlx.testing.gpu_interpreter import KernelError, run_function

KERNEL = "rlx_attention"


def operands(batch, queries, keys, heads, groups, dims, v_dims=None, dtype="bf16"):
    return (
        random((batch, queries, heads * dims), dtype, 1),
        random((batch, keys, groups * dims), dtype, 2),
        random((batch, keys, groups * (v_dims or dims)), dtype, 3),
    )


def attend(
    *sizes, dtype="bf16", mask=None, lengths=None, dynamic=(), arch="sm_80", kernel=KERNEL, **attrs
):
    heads, groups, dims, *v_dims = sizes[3:]
    attrs |= {"num_heads": heads, "num_kv_heads": groups, "head_dim": dims}
    if v_dims:
        attrs["v_head_dim"] = v_dims[0]
    q, k, v = operands(*sizes, dtype=dtype)
    if lengths is not None:
        lengths = np.array(lengths, np.int32)
        for row, length in enumerate(lengths):
            k[row, length:] = np.nan
            v[row, length:] = np.nan
    run_as = {"kernel": kernel, "dynamic": dynamic, "arch": arch}
    check(AttentionOp, q, k, v, mask, lengths, **run_as, **attrs)


@pytest.mark.parametrize("dims", [16, 64, 128, 256])
def test_causal(dims):
    attend(1, 70, 70, 2, 1, dims, causal=True)


def test_widest_heads():
    attend(1, 33, 40, 2, 2, 512, causal=True)


@pytest.mark.parametrize(("arch", "capability"), [("sm_80", (8, 6)), ("sm_90", (12, 0))])
@pytest.mark.parametrize("queries", [33, 2])
def test_portable_code_needs_the_shared_memory_that_all_have(arch, capability, queries):
    attrs = {"num_heads": 1, "num_kv_heads": 1, "head_dim": 512}
    text, arrays = module_text(AttentionOp, operands(1, queries, 33, 1, 1, 512), **attrs)
    executable, gpu = program(text, arch)
    gpu.capability = capability
    assert_close(executable(*arrays), reference(AttentionOp, *arrays, **attrs))
    assert gpu.launched[0].startswith(KERNEL)


@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"causal": True, "left_window": 10},
        {"left_window": 3, "right_window": 2},
        {"causal": True, "q_offset": 0},
        {"causal": True, "q_offset": -20},
        {"q_offset": 100, "left_window": 20},
        {"softcap": 3.0, "causal": True},
        {"scale": -0.5},
        {"scale": 0.0, "causal": True},
    ],
    ids=str,
)
def test_attributes(attrs):
    attend(2, 35, 50, 4, 2, 64, dtype="f16", **attrs)


@pytest.mark.parametrize("sizes", [(1, 40, 40, 2, 1, 72, 40), (1, 33, 20, 3, 3, 20, 50)])
def test_uncommon_heads(sizes):
    attend(*sizes, causal=True)


def test_dynamic_sizes():
    sizes = {(n, axis) for n in range(3) for axis in range(2)}
    attend(2, 37, 45, 4, 2, 64, causal=True, dynamic=sizes)


@pytest.mark.parametrize("causal", [False, True])
def test_decoding(causal):
    attend(2, 1, 200, 8, 2, 64, causal=causal, lengths=[0, 170])


def test_decoding_some_rows_in_windows():
    attend(1, 3, 300, 6, 1, 128, causal=True, left_window=100, lengths=[257])


@pytest.mark.parametrize(
    "sizes", [(1, 2, 700, 2, 1, 16, 7), (2, 1, 330, 2, 2, 20, 50), (1, 1, 270, 1, 1, 512)]
)
def test_decoding_uncommon_heads(sizes):
    attend(*sizes, causal=True)


def test_lengths_with_many_queries():
    attend(2, 40, 64, 4, 2, 64, causal=True, lengths=[40, 61])


@pytest.mark.parametrize("shape", [(2, 4, 20, 30), (1, 1, 20, 30), (2, 1, 1, 30), (30,), (20, 1)])
def test_masks(shape):
    floats = random(shape, "f32", 4)
    floats[..., :2] = -np.inf
    attend(2, 20, 30, 4, 2, 64, mask=floats)
    attend(2, 20, 30, 4, 2, 64, mask=floats < 0.5, causal=True)


def test_masks_on_hopper():
    floats = random((2, 4, 70, 150), "f32", 4)
    floats[..., :2] = -np.inf
    floats[1, 2, 5] = -np.inf
    run_as = {"arch": "sm_90a", "kernel": "rlx_attention_wgmma"}
    attend(2, 70, 150, 4, 2, 64, mask=floats, lengths=[150, 140], **run_as)
    attend(1, 70, 150, 4, 2, 64, mask=floats[0, :1] < 0.5, causal=True, softcap=2.0, **run_as)


def test_a_row_of_the_lowest_numbers_is_not_hidden():
    mask = np.zeros((40, 30), np.float32)
    mask[3] = np.finfo(np.float32).min
    attend(1, 40, 30, 4, 2, 64, mask=mask)


def test_mask_while_decoding():
    attend(2, 1, 70, 8, 2, 64, mask=random((2, 1, 1, 70), "bf16", 4))


@pytest.mark.parametrize(("batch", "queries"), [(1, 0), (0, 3)])
def test_nothing_to_do(batch, queries):
    attrs = {"num_heads": 2, "num_kv_heads": 1, "head_dim": 64}
    q, k, v = operands(batch, queries, 4, 2, 1, 64)
    sizes = {(n, axis) for n in range(3) for axis in range(2)}
    assert run(AttentionOp, q, k, v, dynamic=sizes, **attrs).shape == q.shape


@pytest.mark.parametrize("queries", [3, 70])
def test_no_keys(queries):
    attend(1, queries, 4, 2, 1, 64, lengths=[0])


@pytest.mark.parametrize(
    ("sizes", "attrs"),
    [
        ((1, 130, 130, 1, 1, 64), {"causal": True}),
        ((2, 70, 200, 2, 1, 128), {"softcap": 3.0}),
        ((1, 80, 90, 1, 1, 256), {"causal": True, "left_window": 20, "dtype": "f16"}),
        ((1, 30, 140, 7, 1, 64), {"causal": True, "q_offset": 100}),
        ((1, 70, 40, 1, 1, 64), {"causal": True, "q_offset": -60}),
        ((1, 70, 500, 1, 1, 64), {}),  # more tiles than stages
        ((2, 70, 300, 2, 1, 64), {"causal": True, "lengths": [300, 145]}),
        ((3, 33, 200, 4, 2, 64), {"lengths": [0, 128, 7]}),
        ((1, 70, 150, 2, 1, 256), {"lengths": [140]}),
        ((1, 70, 150, 1, 1, 96), {"causal": True}),
        ((1, 66, 140, 2, 1, 72, 24), {"causal": True, "lengths": [130]}),
        ((1, 66, 100, 2, 1, 192, 128), {"causal": True}),
        ((1, 66, 100, 1, 1, 40, 200), {}),
    ],
    ids=str,
)
def test_hopper(sizes, attrs):
    kernel = "rlx_attention_wgmma"
    attend(*sizes, arch="sm_90a", kernel=kernel, dynamic={(0, 0), (0, 1), (2, 1)}, **attrs)


@pytest.mark.parametrize(
    ("sizes", "attrs"),
    [
        ((1, 4, 40, 2, 1, 64), {}),  # few rows
        ((1, 70, 70, 1, 1, 68), {}),  # heads that are not aligned
        ((1, 70, 70, 1, 1, 64, 264), {}),
    ],
    ids=str,
)
def test_hopper_leaves_the_rest_to_the_portable_kernel(sizes, attrs):
    attend(*sizes, arch="sm_90a", kernel="rlx_attention_bf16", **attrs)


def test_bfloat16_is_what_it_says():
    assert operands(1, 1, 1, 1, 1, 1)[0].dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize(
    ("queries", "arch"), [(70, "sm_80"), (70, "sm_90a"), (2, "sm_80")], ids=str
)
def test_what_is_not_seen_may_hold_anything(queries, arch):
    q, k, v = operands(1, queries, 90, 2, 1, 64)
    attrs = {"num_heads": 2, "num_kv_heads": 1, "head_dim": 64, "causal": True}
    first = 90 - queries  # position of the first query
    k[:, first + 1 :: 3], v[:, first + 1 :: 3] = np.nan, np.inf
    v[0, first + 1, 3] = np.nan
    with np.errstate(all="ignore"):
        actual = run(AttentionOp, q, k, v, arch=arch, kernel=KERNEL, **attrs)
        expected = reference(AttentionOp, q, k, v, **attrs)
    assert_equal(actual, expected)
    k[:] = 0
    v[:, :, :8] = 1
    v[0, first, 2], v[0, first, 3] = np.inf, -np.inf
    with np.errstate(all="ignore"):
        actual = run(AttentionOp, q, k, v, arch=arch, kernel=KERNEL, **attrs)
        expected = reference(AttentionOp, q, k, v, **attrs)
    assert np.isinf(expected).any()
    assert_equal(actual, expected)


def assert_equal(actual, expected):
    finite = np.isfinite(expected)
    assert not finite.all() and finite.any()
    kind = np.where(finite, 0, expected)
    np.testing.assert_array_equal(np.where(np.isfinite(actual), 0, actual.astype(float)), kind)
    actual, expected = (np.where(finite, x, 0) for x in (actual, expected))
    np.testing.assert_allclose(actual.astype(float), expected, atol=2e-2, rtol=0)


def test_lengths_are_checked():
    q, k, v = operands(1, 3, 8, 2, 1, 64)
    attrs = {"num_heads": 2, "num_kv_heads": 1, "head_dim": 64}
    with pytest.raises(KernelError, match="kv_lengths must be in"):
        run(AttentionOp, q, k, v, None, np.array([9], np.int32), **attrs)


# -- queries that are turned inside of the kernel --------------------------------------------------

TURNED = """
func.func @main(%q: tensor<?x?x{width}xbf16>, %k: tensor<?x?x{dims}xbf16>,
                %v: tensor<?x?x{dims}xbf16>, %c: tensor<{rows}x{half}x{table}>,
                %s: tensor<{rows}x{half}x{table}>{given}) -> tensor<?x?x{width}xbf16> {{
  %t = "rlx.rope"(%q, %c, %s{by}) {{head_dim = {dims} : i64, n_rot = {n_rot} : i64{more}}}
    : (tensor<?x?x{width}xbf16>, tensor<{rows}x{half}x{table}>, tensor<{rows}x{half}x{table}>{type})
    -> tensor<?x?x{width}xbf16>
  %o = "rlx.attention"(%t, %k, %v) {{num_heads = {heads} : i64, num_kv_heads = 1 : i64,
      head_dim = {dims} : i64, causal = true, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}}
    : (tensor<?x?x{width}xbf16>, tensor<?x?x{dims}xbf16>, tensor<?x?x{dims}xbf16>)
    -> tensor<?x?x{width}xbf16>
  return %o : tensor<?x?x{width}xbf16>
}}
"""


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
@pytest.mark.parametrize(
    ("dims", "n_rot", "heads", "table", "pairing", "positions"),
    [
        (64, 64, 2, "bf16", "half", ""),
        (128, 32, 1, "f32", "half", "?x?xi64"),
        (64, 64, 3, "f32", "interleaved", ""),
        (64, 24, 2, "bf16", "interleaved", "?xi32"),
        (64, 64, 1, "bf16", "proportional", ""),  # is left alone
    ],
)
def test_turned_queries(arch, dims, n_rot, heads, table, pairing, positions):
    half = n_rot // 2
    text = TURNED.format(
        dims=dims,
        n_rot=n_rot,
        heads=heads,
        table=table,
        more=f', pairing = "{pairing}"',
        half=half,
        width=heads * dims,
        rows="75" if positions else "?",
        given=f", %p: tensor<{positions}>" if positions else "",
        by=", %p" if positions else "",
        type=f", tensor<{positions}>" if positions else "",
    )
    q, k, v = operands(2, 70, 90, heads, 1, dims)
    angles = np.arange(75)[:, None] * 0.7 ** np.arange(half)
    cos, sin = (f(angles).astype(q.dtype if table == "bf16" else "f4") for f in (np.cos, np.sin))
    shape = (2, 70) if positions.startswith("?x?") else (70,)
    where = np.random.default_rng(5).integers(0, 75, shape)
    where = where.astype("i4" if positions.endswith("i32") else "i8") if positions else None
    given = [q, k, v, cos, sin] + ([where] if positions else [])
    with ir.Context() as context, ir.Location.unknown():
        rlx.load_dialects(context)
        module = kernels_of(text, arch)
        names = names_of(module)
        (actual,) = run_function(module, "main", given)
    attrs = {"head_dim": dims, "n_rot": n_rot, "pairing": pairing}
    turned = RopeOp.reference(q, cos, sin, where, **attrs)
    attrs = {"num_heads": heads, "num_kv_heads": 1, "head_dim": dims, "causal": True}
    assert_close(np.asarray(actual), reference(AttentionOp, turned, k, v, **attrs), 2e-2)
    left = any(name.startswith("rlx_rope") for name in names)
    assert left == (pairing == "proportional")
