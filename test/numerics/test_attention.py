"""`rlx.attention`: the lowering against the reference, both against torch and transformers."""

import numpy as np
import pytest
import torch
from harness import FLOATS, assert_close, check, module_text, random, run
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

import rlx
from rlx.dialects.attention import AttentionOp
from rlx.runtime.errors import ExecutionError


def qkv(batch, queries, keys, num_heads, num_kv_heads, head_dim, v_head_dim=None, dtype="f32"):
    shapes = [
        (batch, queries, num_heads * head_dim),
        (batch, keys, num_kv_heads * head_dim),
        (batch, keys, num_kv_heads * (v_head_dim or head_dim)),
    ]
    return [random(shape, dtype, seed) for seed, shape in enumerate(shapes)]


@st.composite
def masks(draw, shape, dtype):
    """A mask that broadcasts to ``shape``: any rank, any axes of size 1."""
    rank = draw(st.integers(0, 4))
    shape = [draw(st.sampled_from([1, size])) for size in shape[4 - rank :]]
    numbers = np.random.default_rng(draw(st.integers(0, 99)))
    allowed = numbers.random(shape) < 0.7
    if draw(st.booleans()):
        return allowed
    mask_dtype = draw(st.sampled_from([dtype, "f32"]))
    # Values that all formats hold, and keys that are hidden.
    values = numbers.integers(-8, 8, shape) / 4
    return np.where(allowed, values, -np.inf).astype(FLOATS[mask_dtype])


@st.composite
def cases(draw):
    """Operands, attributes and dynamic dims of one op."""
    dtype = draw(st.sampled_from(list(FLOATS)))
    batch, queries, keys = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 6)),
        draw(st.integers(1, 9)),
    )
    group, kv_heads = draw(st.sampled_from([1, 2, 5])), draw(st.integers(1, 3))
    head_dim = draw(st.integers(1, 9))
    v_head_dim = draw(st.sampled_from([None, 1, 6]))
    heads = group * kv_heads
    operands = qkv(batch, queries, keys, heads, kv_heads, head_dim, v_head_dim, dtype)
    mask = draw(st.none() | masks((batch, heads, queries, keys), dtype))
    lengths = draw(st.none() | st.lists(st.integers(0, keys), min_size=batch, max_size=batch))
    if lengths is not None:
        lengths = np.array(lengths, draw(st.sampled_from([np.int32, np.int64])))
    free = [(n, axis) for n in range(3) for axis in (0, 1)]
    extra = [array for array in (mask, lengths) if array is not None]
    free += [(3 + n, axis) for n, array in enumerate(extra) for axis in range(array.ndim)]
    dynamic = draw(st.sampled_from([set(), set(free), None]))
    if dynamic is None:
        dynamic = draw(st.sets(st.sampled_from(free)))
    windows = st.sampled_from([-1, -1, 0, 1, 4, 100])
    return (*operands, mask, lengths), {
        "dynamic": dynamic,
        "num_heads": heads,
        "num_kv_heads": kv_heads,
        "head_dim": head_dim,
        "v_head_dim": v_head_dim,
        "causal": draw(st.booleans()),
        "left_window": draw(windows),
        "right_window": draw(windows),
        "scale": draw(st.sampled_from([None, 0.3, 1.0, -0.5])),
        "softcap": draw(st.sampled_from([0.0, 0.0, 0.7, 5.0])),
        "q_offset": draw(st.none() | st.integers(-4, 8)),
    }


@settings(max_examples=25, deadline=None, derandomize=True)
@given(cases())
def test_lowering(case):
    operands, attributes = case
    check(AttentionOp, *operands, **attributes)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(cases())
def test_lowering_at_length(case):
    operands, attributes = case
    check(AttentionOp, *operands, **attributes)


def by_hand(query, key, value, mask, lengths, *, num_heads, num_kv_heads, head_dim, **attributes):
    """The definition, key by key and element by element."""
    batch, queries, keys = query.shape[0], query.shape[1], key.shape[1]
    v_head_dim = value.shape[2] // num_kv_heads
    out = np.zeros((batch, queries, num_heads * v_head_dim))
    full = (batch, num_heads, queries, keys)
    mask = np.ones(full, bool) if mask is None else np.broadcast_to(mask, full)
    cap, offset = attributes["softcap"], attributes["q_offset"]
    scale = head_dim**-0.5 if attributes["scale"] is None else attributes["scale"]
    for b, h, i in np.ndindex(batch, num_heads, queries):
        g = h // (num_heads // num_kv_heads)
        p = i + (keys - queries if offset is None else offset)
        p = p if lengths is None else i + int(lengths[b]) - queries
        scores = {}
        for j in range(keys):
            q = query[b, i, h * head_dim : (h + 1) * head_dim]
            s = np.dot(q, key[b, j, g * head_dim : (g + 1) * head_dim]) * scale
            s = cap * np.tanh(s / cap) if cap else s
            seen = lengths is None or j < lengths[b]
            seen &= not attributes["causal"] or j <= p
            seen &= attributes["left_window"] < 0 or j >= p - attributes["left_window"]
            seen &= attributes["right_window"] < 0 or j <= p + attributes["right_window"]
            if mask.dtype == bool:
                seen &= mask[b, h, i, j]
            else:
                s += mask[b, h, i, j].astype(np.float64)
            if seen and s > -np.inf:
                scores[j] = s
        total = sum(np.exp(s) for s in scores.values())
        for j, s in scores.items():
            v = value[b, j, g * v_head_dim : (g + 1) * v_head_dim]
            out[b, i, h * v_head_dim : (h + 1) * v_head_dim] += np.exp(s) / total * v
    return out


@settings(max_examples=100, deadline=None, derandomize=True)
@given(cases())
def test_reference_is_the_definition(case):
    operands, attributes = case
    del attributes["dynamic"]
    floats = [array.astype(np.float64) for array in operands[:3]]
    actual = AttentionOp.reference(*floats, *operands[3:], **attributes)
    attributes.pop("v_head_dim")
    assert_close(actual, by_hand(*floats, *operands[3:], **attributes))


ALL_DYNAMIC = {(n, axis) for n in range(3) for axis in (0, 1)}


@pytest.mark.parametrize("dynamic", [set(), ALL_DYNAMIC], ids=["static", "dynamic"])
@pytest.mark.parametrize("kv_heads", [1, 2, 8])
def test_groups_of_heads(kv_heads, dynamic):
    operands = qkv(2, 5, 5, 8, kv_heads, 6)
    attributes = {"num_heads": 8, "num_kv_heads": kv_heads, "head_dim": 6}
    check(AttentionOp, *operands, **attributes, dynamic=dynamic)


@pytest.mark.parametrize("dtype", FLOATS)
def test_prefill(dtype):
    """Sizes past a vector register, none of them round."""
    operands = qkv(1, 37, 37, 4, 2, 33, 65, dtype)
    attributes = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 33, "v_head_dim": 65}
    check(AttentionOp, *operands, causal=True, **attributes)


def test_decode():
    operands = qkv(3, 1, 70, 4, 1, 16)
    lengths = np.array([1, 70, 33], np.int32)
    check(AttentionOp, *operands, None, lengths, num_heads=4, num_kv_heads=1, head_dim=16)


@pytest.mark.parametrize("left", [0, 1, 2, 2**61, 2**63 - 1])
def test_left_window(left):
    """A window of w sees w + 1 keys; huge ones see all, without wrapping around."""
    q, k, _ = qkv(1, 6, 6, 1, 1, 4)
    eye = np.eye(6, dtype=np.float32)[None]
    shape = {"num_heads": 1, "head_dim": 4, "v_head_dim": 6}
    out = check(AttentionOp, q, k, eye, causal=True, left_window=left, **shape)
    assert np.array_equal((out[0] > 0).sum(axis=1), np.minimum(np.arange(6), left) + 1)


@pytest.mark.parametrize("right", [0, 2, 2**61, 2**63 - 1])
def test_right_window(right):
    operands = qkv(1, 6, 6, 1, 1, 4)
    check(AttentionOp, *operands, num_heads=1, head_dim=4, right_window=right)


@pytest.mark.parametrize("offset", [None, -2, 0, 3, 2**61 - 1, 1 - 2**61])
def test_offset(offset):
    """Also with fewer keys than queries."""
    operands = qkv(2, 4, 3, 2, 2, 4)
    attributes = {"num_heads": 2, "head_dim": 4, "causal": True, "left_window": 2}
    check(AttentionOp, *operands, q_offset=offset, **attributes)


@pytest.mark.parametrize("keys", [3, 6])
def test_default_offset_follows_dynamic_lengths(keys):
    operands = qkv(2, 4, keys, 2, 2, 4)
    check(AttentionOp, *operands, num_heads=2, head_dim=4, causal=True, dynamic=ALL_DYNAMIC)


def test_lengths_win_over_offset():
    operands = qkv(1, 2, 5, 1, 1, 4)
    attributes = {"num_heads": 1, "head_dim": 4, "causal": True}
    lengths = np.array([4], np.int64)
    given = run(AttentionOp, *operands, None, lengths, q_offset=0, **attributes)
    assert_close(given, run(AttentionOp, *operands, q_offset=2, **attributes))


class TestHiddenKeys:
    """Keys that a row does not see contribute nothing, whatever their rows hold."""

    attributes = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 4}

    @pytest.mark.parametrize("hide", ["lengths", "bool", "float", "window", "causal"])
    def test_garbage(self, hide):
        q, k, v = qkv(2, 3, 7, 4, 2, 4)
        mask = np.arange(7) < 5
        operands, attributes = {
            "lengths": ((None, np.full(2, 5)), {}),
            "bool": ((mask,), {}),
            "float": ((np.where(mask, 0, -np.inf).astype(np.float32),), {}),
            "window": ((), {"right_window": 0, "q_offset": 2}),
            "causal": ((), {"causal": True, "q_offset": 2}),
        }[hide]
        attributes |= self.attributes
        text, _ = module_text(AttentionOp, [q, k, v, *operands], **attributes)
        compiled = rlx.compile(text, cache=False)
        arrays = [array for array in operands if array is not None]
        expected = compiled(q, k, v, *arrays)
        for garbage in (np.nan, np.inf, -np.inf, 3e38):
            k[:, 5:], v[:, 5:] = garbage, garbage
            assert np.array_equal(compiled(q, k, v, *arrays), expected)
            assert_close(AttentionOp.reference(q, k, v, *operands, **attributes), expected, 1e-5)

    def test_garbage_that_is_seen(self):
        """NaN is not swept under the carpet: it shows in the rows that see it, only there."""
        q, k, v = qkv(1, 5, 5, 4, 2, 4)
        v[0, 3, 1] = np.nan
        for function in (lambda *a, **b: run(AttentionOp, *a, **b), AttentionOp.reference):
            out = function(q, k, v, causal=True, **self.attributes).reshape(5, 4, 4)
            seen = np.zeros((5, 4, 4), bool)
            seen[3:, :2, 1] = True
            assert np.array_equal(np.isnan(out), seen)

    @pytest.mark.parametrize("form", ["bool", "float", "lengths", "window", "cap"])
    def test_row_without_keys(self, form):
        q, k, v = qkv(2, 3, 5, 4, 2, 4)
        row = np.arange(3)[:, None] != 1
        float_row = np.where(row, 0, -np.inf).astype(np.float32)
        operands, attributes, empty = {
            "bool": ((row,), {}, np.s_[:, 1]),
            "float": ((float_row,), {}, np.s_[:, 1]),
            "lengths": ((None, np.array([0, 5])), {}, np.s_[0]),
            "window": ((), {"right_window": 0, "q_offset": -2}, np.s_[:, :2]),
            "cap": ((float_row,), {"softcap": 2.0}, np.s_[:, 1]),
        }[form]
        actual = check(AttentionOp, q, k, v, *operands, **attributes, **self.attributes)
        zeros = np.zeros_like(actual)
        zeros[empty] = 1
        assert not actual[zeros == 1].any()
        assert actual[zeros == 0].all()

    def test_large_scores(self):
        """The greatest score is subtracted before exp."""
        q, k, v = qkv(1, 3, 5, 4, 2, 4)
        check(AttentionOp, q * 1e3, k * 1e3, v, **self.attributes)
        check(AttentionOp, q, k, v, np.float32(-1e30).reshape(1), **self.attributes)

    def test_softcap_comes_before_the_mask(self):
        """The other way round a hidden key would weigh exp(-softcap)."""
        q, k, v = qkv(1, 2, 5, 4, 2, 4)
        mask = np.where(np.arange(5) == 2, 0, -1e9).astype(np.float32)
        out = run(AttentionOp, q, k, v, mask, softcap=0.5, **self.attributes)
        expected = np.repeat(v[:, 2].reshape(1, 1, 2, 4), 2, axis=2).reshape(1, 1, 16)
        assert_close(out, np.broadcast_to(expected, out.shape))


def test_empty():
    attributes = {"num_heads": 2, "head_dim": 4}
    for batch, queries, keys in ((2, 3, 0), (2, 0, 3), (0, 2, 3)):
        q, k, v = qkv(batch, queries, keys, 2, 2, 4)
        out = run(AttentionOp, q, k, v, dynamic=ALL_DYNAMIC, **attributes)
        assert out.shape == q.shape
        assert not out.any()
        assert_close(out, AttentionOp.reference(q, k, v, **attributes))


class TestChecks:
    """What the types do not tell is checked at run time."""

    attributes = "num_heads = 2 : i64, head_dim = 4 : i64"

    def compiled(self, *types, segments):
        names = ["%q", "%k", "%v", "%a", "%b"][: len(types)]
        arguments = ", ".join(f"{n}: {t}" for n, t in zip(names, types, strict=True))
        return rlx.compile(
            f"""func.func @main({arguments}) -> {types[0]} {{
              %0 = "rlx.attention"({", ".join(names)}) {{{self.attributes},
                operandSegmentSizes = array<i32: 1, 1, 1, {segments}>}}
                : ({", ".join(types)}) -> {types[0]}
              return %0 : {types[0]}
            }}"""
        )

    def test_shapes(self):
        f = self.compiled(*["tensor<?x?x8xf32>"] * 3, segments="0, 0")
        q, k, v = qkv(2, 3, 5, 2, 2, 4)
        expected = AttentionOp.reference(q, k, v, num_heads=2, head_dim=4)
        assert_close(f(q, k, v), expected)
        with pytest.raises(ExecutionError, match="query and key must have the same batch"):
            f(q[:1], k, v)
        with pytest.raises(ExecutionError, match="same batch and length"):
            f(q, k, v[:, :4])
        with pytest.raises(ExecutionError, match="same batch and length"):
            f(q, k[:, :4], v)
        assert_close(f(q, k, v), expected)

    @pytest.mark.parametrize("integers", [np.int32, np.int64])
    def test_lengths(self, integers):
        bits = np.dtype(integers).itemsize * 8
        types = ["tensor<2x3x8xf32>", "tensor<2x5x8xf32>", "tensor<2x5x8xf32>"]
        f = self.compiled(*types, f"tensor<?xi{bits}>", segments="0, 1")
        operands = qkv(2, 3, 5, 2, 2, 4)
        good = np.array([5, 0], integers)
        expected = AttentionOp.reference(*operands, None, good, num_heads=2, head_dim=4)
        assert_close(f(*operands, good), expected)
        for bad in (6, -1, np.iinfo(integers).max, np.iinfo(integers).min):
            with pytest.raises(ExecutionError, match=r"kv_lengths must be in \[0, K\]"):
                f(*operands, np.array([1, bad], integers))
        with pytest.raises(ExecutionError, match="one entry per batch"):
            f(*operands, np.array([1], integers))

    def test_mask(self):
        types = ["tensor<2x3x8xf32>", "tensor<2x5x8xf32>", "tensor<2x5x8xf32>"]
        f = self.compiled(*types, "tensor<?x?x?x?xi1>", segments="1, 0")
        operands = qkv(2, 3, 5, 2, 2, 4)
        whole = np.random.default_rng(0).random((2, 2, 3, 5)) < 0.6
        for shape in np.ndindex(2, 2, 2, 2):
            mask = whole[tuple(slice(None) if keep else slice(1) for keep in shape)]
            expected = AttentionOp.reference(*operands, mask, num_heads=2, head_dim=4)
            assert_close(f(*operands, mask), expected)
        for bad in ((2, 2, 3, 4), (2, 2, 2, 5), (2, 3, 3, 5), (3, 2, 3, 5), (2, 2, 3, 0)):
            with pytest.raises(ExecutionError, match="mask must broadcast"):
                f(*operands, np.ones(bad, bool))


class TestTorch:
    """Independent witnesses; their layout is [B, H, S, D]."""

    heads, kv_heads, head_dim = 6, 2, 8
    attributes = {"num_heads": heads, "num_kv_heads": kv_heads, "head_dim": head_dim}

    def torch_operands(self, operands):
        counts = (self.heads, self.kv_heads, self.kv_heads)
        for array, count in zip(operands, counts, strict=True):
            yield torch.from_numpy(array).unflatten(2, (count, self.head_dim)).transpose(1, 2)

    @pytest.mark.parametrize("queries", [1, 7])
    @pytest.mark.parametrize("form", ["plain", "causal", "bool", "float", "scale"])
    def test_scaled_dot_product_attention(self, form, queries):
        operands = qkv(2, queries, 7, self.heads, self.kv_heads, self.head_dim)
        numbers = np.random.default_rng(1)
        allowed = numbers.random((2, 1, queries, 7)) < 0.7
        allowed[..., 0] = True  # torch leaves rows without keys undefined
        bias = numbers.standard_normal((self.heads, queries, 7)).astype(np.float32)
        mask, ours, theirs = {
            "plain": (None, {}, {}),
            "causal": (None, {"causal": True, "q_offset": 0}, {"is_causal": True}),
            "bool": (allowed, {}, {}),
            "float": (bias, {}, {}),
            "scale": (None, {"scale": 0.25}, {"scale": 0.25}),
        }[form]
        q, k, v = self.torch_operands(operands)
        if mask is not None:
            theirs["attn_mask"] = torch.from_numpy(mask)
        expected = scaled_dot_product_attention(q, k, v, enable_gqa=True, **theirs)
        expected = expected.transpose(1, 2).flatten(2).numpy()
        assert_close(run(AttentionOp, *operands, mask, **ours, **self.attributes), expected)

    def test_gemma2(self):
        """Softcap, a scale of its own, and a sliding window of 3 as an additive mask."""
        operands = qkv(2, 6, 6, self.heads, self.kv_heads, self.head_dim)
        distance = np.arange(6)[:, None] - np.arange(6)
        outside = (distance < 0) | (distance >= 3)
        lowest = torch.finfo(torch.float32).min
        mask = torch.zeros(1, 1, 6, 6).masked_fill(torch.from_numpy(outside), lowest)
        module = torch.nn.Module().eval()
        module.num_key_value_groups = self.heads // self.kv_heads
        q, k, v = self.torch_operands(operands)
        expected, _ = eager_attention_forward(module, q, k, v, mask, scaling=0.4, softcap=1.5)
        actual = run(
            AttentionOp,
            *operands,
            causal=True,
            left_window=2,
            scale=0.4,
            softcap=1.5,
            **self.attributes,
        )
        assert_close(actual, expected.flatten(2).numpy())
