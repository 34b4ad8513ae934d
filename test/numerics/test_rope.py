"""`rlx.rope`: the lowering against the reference, and the reference against transformers."""

import ml_dtypes
import numpy as np
import pytest
import torch
from harness import FLOATS, assert_close, check, random, run
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.gemma4 import modeling_gemma4
from transformers.models.glm import modeling_glm
from transformers.models.gptj import modeling_gptj
from transformers.models.llama import modeling_llama

import rlx
from rlx.dialects.rope import PAIRINGS, RopeOp
from rlx.runtime.errors import ExecutionError

BF16 = np.dtype(ml_dtypes.bfloat16)


def table(rows, columns, dtype="f32", theta=10000.0):
    """`cos` and `sin` of the usual frequencies."""
    angles = np.outer(np.arange(rows), theta ** (-np.arange(columns) / max(columns, 1)))
    return [f(angles).astype(FLOATS[dtype]) for f in (np.cos, np.sin)]


@st.composite
def cases(draw):
    """Operands, attributes and dynamic dims of one op."""
    dtype = draw(st.sampled_from(list(FLOATS)))
    table_dtype = draw(st.sampled_from(["f64"] if dtype == "f64" else [dtype, "f32"]))
    pairing = draw(st.sampled_from(PAIRINGS))
    head_dim = draw(st.sampled_from([2, 4, 6, 10, 16] + [3, 5] * (pairing != "proportional")))
    n_rot = 2 * draw(st.integers(1, head_dim // 2))
    lead = (*draw(st.sampled_from([(), (1,), (3,)])), draw(st.integers(1, 6)))
    x = random((*lead, draw(st.integers(1, 3)) * head_dim), dtype, draw(st.integers(0, 99)))
    columns = {n_rot // 2} | ({head_dim // 2} if head_dim % 2 == 0 else set())
    kind = draw(st.sampled_from([None, "row", "each"]))
    rows = lead[-1] + draw(st.integers(0, 3)) if kind is None else draw(st.integers(1, 9))
    cos, sin = table(rows, draw(st.sampled_from(sorted(columns))), table_dtype)
    positions = None
    if kind is not None:
        shape = lead[-1:] if kind == "row" else lead
        integers = np.int32 if draw(st.booleans()) else np.int64
        seed = draw(st.integers(0, 99))
        positions = np.random.default_rng(seed).integers(0, rows, shape).astype(integers)
    # Of the arrays in order, all axes but those of static width.
    free = [(0, axis) for axis in range(len(lead))] + [(1, 0), (2, 0)]
    free += [(3, axis) for axis in range(0 if positions is None else positions.ndim)]
    dynamic = draw(st.sampled_from([set(), set(free), None]))
    if dynamic is None:
        dynamic = draw(st.sets(st.sampled_from(free)))
    return (x, cos, sin, positions), {
        "dynamic": dynamic,
        "head_dim": head_dim,
        "n_rot": n_rot,
        "pairing": pairing,
    }


@settings(max_examples=20, deadline=None, derandomize=True)
@given(cases())
def test_lowering(case):
    operands, attributes = case
    check(RopeOp, *operands, **attributes)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(cases())
def test_lowering_at_length(case):
    operands, attributes = case
    check(RopeOp, *operands, **attributes)


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_reference_rotates_complex_numbers(pairing):
    x = random((2, 5, 24), "f64")
    cos, sin = table(5, 2, "f64")
    out = RopeOp.reference(x, cos, sin, head_dim=8, n_rot=4, pairing=pairing).reshape(2, 5, 3, 8)
    x = x.reshape(2, 5, 3, 8)
    pairs = {
        "half": [(0, 2), (1, 3)],
        "proportional": [(0, 4), (1, 5)],
        "interleaved": [(0, 1), (2, 3)],
    }[pairing]
    expected = x.copy()
    for i, (a, b) in enumerate(pairs):
        turned = (x[..., a] + 1j * x[..., b]) * (cos + 1j * sin)[None, :, None, i]
        expected[..., a], expected[..., b] = turned.real, turned.imag
    assert_close(out, expected)


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_other_dims_pass_bit_for_bit(pairing, dtype):
    bits = {2: np.uint16, 4: np.uint32, 8: np.uint64}[np.dtype(FLOATS[dtype]).itemsize]
    # Random bits: among them NaNs with payload, infinities, subnormals and negative zero.
    pattern = np.random.default_rng(0).integers(0, np.iinfo(bits).max, (2, 16, 3, 8), bits, True)
    kept = np.arange(8) >= 4
    if pairing == "proportional":
        kept = np.array([0, 0, 1, 1, 0, 0, 1, 1], bool)
    pattern[..., ~kept] = 0
    x = pattern.view(FLOATS[dtype]).reshape(2, 16, 24)
    wide = "f64" if dtype == "f64" else "f32"
    out = run(RopeOp, x, *table(16, 2, wide), head_dim=8, n_rot=4, pairing=pairing)
    assert np.array_equal(out.view(bits).reshape(pattern.shape)[..., kept], pattern[..., kept])
    # What rotates is zero here and stays zero.
    assert not out.reshape(pattern.shape)[..., ~kept].any()


def test_columns_past_n_rot_are_not_read():
    x = random((1, 5, 16))
    cos, sin = table(5, 4)
    expected = RopeOp.reference(x, cos[:, :2], sin[:, :2], head_dim=8, n_rot=4)
    cos[:, 2:], sin[:, 2:] = np.nan, np.inf
    assert_close(run(RopeOp, x, cos, sin, head_dim=8, n_rot=4), expected)


def test_arithmetic_is_in_f32():
    """A bf16 input is rounded once, at the end, and a table of f32 not at all."""
    x = random((1, 64, 64), "bf16")
    cos, sin = table(64, 32)
    exact = RopeOp.reference(x.astype(np.float64), cos, sin, head_dim=64)
    out = run(RopeOp, x, cos, sin, head_dim=64)
    # Half a unit in the last place of 8 bits, and f32's own error where the terms cancel.
    bound = 2.0**-8 * np.abs(exact) + 1e-6
    assert (np.abs(out.astype(np.float64) - exact) <= bound).all()


@pytest.mark.parametrize("dynamic", [(), True])
@pytest.mark.parametrize("shape", [(1, 1, 8), (2, 1, 8), (1, 8), (1, 129, 8)])
def test_short_and_long_sequences(shape, dynamic):
    open_dims = {(0, a) for a in range(len(shape) - 1)} | {(1, 0), (2, 0)} if dynamic else ()
    check(RopeOp, random(shape), *table(shape[-2], 4), head_dim=8, dynamic=open_dims)


def test_empty_sequence():
    cos, sin = table(3, 4)
    out = run(RopeOp, random((2, 0, 8)), cos, sin, head_dim=8, dynamic={(0, 1)})
    assert out.shape == (2, 0, 8)


class TestChecks:
    """Reads past the table are errors at run time where the types do not tell."""

    def compiled(self, dims, table_type="tensor<?x4xf32>", positions=""):
        tail = f", {positions}" if positions else ""
        extra = ", %p" if positions else ""
        argument = f", %p: {positions}" if positions else ""
        return rlx.compile(
            f"""
            func.func @main(%x: {dims}, %c: {table_type}, %s: {table_type}{argument}) -> {dims} {{
              %0 = "rlx.rope"(%x, %c, %s{extra}) {{head_dim = 8 : i64}}
                : ({dims}, {table_type}, {table_type}{tail}) -> {dims}
              return %0 : {dims}
            }}"""
        )

    def test_more_rows_than_positions(self):
        f = self.compiled("tensor<1x?x8xf32>")
        x = random((1, 5, 8))
        assert f(x, *table(5, 4)).shape == x.shape
        with pytest.raises(ExecutionError, match="must have a row for every position"):
            f(x, *table(4, 4))
        with pytest.raises(ExecutionError, match="must have a row for every position"):
            f(x, *table(0, 4))

    @pytest.mark.parametrize("integers", [np.int32, np.int64])
    @pytest.mark.parametrize("rows", ["?", "6"])
    def test_positions_out_of_range(self, integers, rows):
        bits = np.dtype(integers).itemsize * 8
        f = self.compiled("tensor<?x5x8xf32>", f"tensor<{rows}x4xf32>", f"tensor<5xi{bits}>")
        x = random((2, 5, 8))
        good = np.array([0, 5, 2, 2, 1], integers)
        cos, sin = table(6, 4)
        assert_close(f(x, cos, sin, good), RopeOp.reference(x, cos, sin, good, head_dim=8))
        for bad in (6, -1, np.iinfo(integers).max, np.iinfo(integers).min):
            positions = good.copy()
            positions[3] = bad
            with pytest.raises(ExecutionError, match=r"positions must be in \[0, P\)"):
                f(x, cos, sin, positions)

    def test_tables_of_different_length(self):
        f = self.compiled("tensor<1x4x8xf32>")
        with pytest.raises(ExecutionError, match="cos and sin must be of one shape"):
            f(random((1, 4, 8)), table(5, 4)[0], table(6, 4)[1])

    def test_positions_of_other_shape(self):
        f = self.compiled("tensor<?x?x8xf32>", "tensor<9x4xf32>", "tensor<?x?xi64>")
        x = random((2, 5, 8))
        for shape in ((1, 5), (2, 4), (2, 1)):
            with pytest.raises(ExecutionError, match="positions must be of shape"):
                f(x, *table(9, 4), np.zeros(shape, np.int64))


class TestTransformers:
    """Against the functions that models of Hugging Face use; their layout is [B, H, S, D]."""

    x = random((2, 7, 3 * 16))
    angles = np.outer(np.arange(7), 10000.0 ** (-np.arange(8) / 8)).astype(np.float32)

    def expected(self, function, angles):
        x = torch.from_numpy(self.x).reshape(2, 7, 3, 16).transpose(1, 2)
        cos, sin = (torch.from_numpy(f(angles))[None] for f in (np.cos, np.sin))
        rotated, again = function(x, x, cos, sin)
        assert torch.equal(rotated, again)
        return rotated.transpose(1, 2).reshape(2, 7, 48).numpy()

    def actual(self, columns, **attributes):
        angles = self.angles[:, :columns]
        return run(RopeOp, self.x, np.cos(angles), np.sin(angles), head_dim=16, **attributes)

    def test_llama(self):
        angles = np.concatenate([self.angles, self.angles], axis=1)
        expected = self.expected(modeling_llama.apply_rotary_pos_emb, angles)
        assert_close(self.actual(8), expected)

    def test_glm(self):
        """Interleaved pairs of the leading half of a head."""
        angles = np.concatenate([self.angles[:, :4]] * 2, axis=1)
        expected = self.expected(modeling_glm.apply_rotary_pos_emb, angles)
        assert_close(self.actual(4, n_rot=8, pairing="interleaved"), expected)

    def test_gptj(self):
        x = torch.from_numpy(self.x).reshape(2, 7, 3, 16)
        sin, cos = (torch.from_numpy(f(self.angles))[None] for f in (np.sin, np.cos))
        expected = modeling_gptj.apply_rotary_pos_emb(x, sin, cos).reshape(2, 7, 48).numpy()
        assert_close(self.actual(8, pairing="interleaved"), expected)

    def test_gemma4(self):
        """Proportional: angles past the rotated share are zero, which leaves their pairs alone."""
        angles = self.angles.copy()
        angles[:, 2:] = 0
        angles = np.concatenate([angles, angles], axis=1)
        x = torch.from_numpy(self.x).reshape(2, 7, 3, 16)
        cos, sin = (torch.from_numpy(f(angles))[None] for f in (np.cos, np.sin))
        expected = modeling_gemma4.apply_rotary_pos_emb(x, cos, sin, unsqueeze_dim=2)
        expected = expected.reshape(2, 7, 48).numpy()
        assert_close(self.actual(8, n_rot=4, pairing="proportional"), expected)
