"""RoPE that attention's kernel applies to queries and keys itself."""

import re

import numpy as np
import pytest
from harness import assert_close, random

import rlx
from rlx.compiler import lower
from rlx.dialects.attention import AttentionOp
from rlx.dialects.rope import RopeOp
from rlx.runtime import ExecutionError
from rlx.schedules.cpu.isa import ISAS
from rlx.targets.cpu import host_features

HERE = [isa.name for isa in ISAS.values() if isa.features <= host_features()]


def tensor(shape, element, kept, dynamic):
    """A type; if ``dynamic``, only the last ``kept`` sizes are known."""
    sizes = ["?" if dynamic and len(shape) - n > kept else size for n, size in enumerate(shape)]
    return f"tensor<{'x'.join(map(str, [*sizes, element]))}>"


class Case:
    """Attention over one or two rope ops.

    Args:
        turned: the operands that turn: "q", "k" or both.
        positions: None, "s" for one per row, "bs" for one per batch and row.
        columns: of the tables; None for n_rot / 2.
    """

    def __init__(
        self,
        batch=1,
        queries=150,
        keys=150,
        heads=4,
        groups=2,
        dim=64,
        n_rot=None,
        pairing="half",
        turned="qk",
        positions=None,
        ids="i32",
        table="f32",
        columns=None,
        dtype="f32",
        dynamic=False,
        more="",
    ):
        self.turned, self.positions, self.dtype, self.table = turned, positions, dtype, table
        self.heads, self.groups, self.dim, self.pairing = heads, groups, dim, pairing
        self.n_rot = n_rot or dim
        shapes = [(batch, queries, heads * dim), *[(batch, keys, groups * dim)] * 2]
        self.arrays = [random(shape, dtype, seed) for seed, shape in enumerate(shapes)]
        angles = np.random.default_rng(9).uniform(0, 6, (200, columns or self.n_rot // 2))
        self.arrays += [f(angles).astype(random((1,), table).dtype) for f in (np.cos, np.sin)]
        types = [tensor(a.shape, dtype, 1, dynamic) for a in self.arrays[:3]]
        types += [tensor(self.arrays[3].shape, table, 1, dynamic)] * 2
        names = ["q", "k", "v", "cos", "sin"]
        numbers = np.random.default_rng(7)
        for name, length in (("q", queries), ("k", keys)):
            if positions and name in turned:
                shape = (length,) if positions == "s" else (batch, length)
                at = numbers.integers(0, 200, shape)
                self.arrays.append(at.astype(np.int32 if ids == "i32" else np.int64))
                types.append(tensor(shape, ids, 0, dynamic))
                names.append(f"p{name}")
        rope = [
            self.rope(name, dict(zip(names, types, strict=True))) for name in "qk" if name in turned
        ]
        q, k = (f"%{n}r" if n in turned else f"%{n}" for n in "qk")
        arguments = ", ".join(f"%{n}: {t}" for n, t in zip(names, types, strict=True))
        self.text = f"""
          func.func @main({arguments}) -> {types[0]} {{
            {"".join(rope)}
            %o = "rlx.attention"({q}, {k}, %v) {{num_heads = {heads} : i64,
              num_kv_heads = {groups} : i64, head_dim = {dim} : i64, causal = true {more},
              operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}}
              : ({types[0]}, {types[1]}, {types[2]}) -> {types[0]}
            return %o : {types[0]}
          }}
        """

    def rope(self, name, types):
        operands = [name, "cos", "sin", *([f"p{name}"] if self.positions else [])]
        return f"""
            %{name}r = "rlx.rope"({", ".join("%" + o for o in operands)})
              {{head_dim = {self.dim} : i64, n_rot = {self.n_rot} : i64,
               pairing = "{self.pairing}"}}
              : ({", ".join(types[o] for o in operands)}) -> {types[name]}
        """

    def expected(self, arrays=None, **options):
        wide = [
            a if a.dtype in (np.int32, np.int64) else a.astype(np.float64)
            for a in arrays or self.arrays
        ]
        qkv, (cos, sin), positions = wide[:3], wide[3:5], wide[5:]
        for n, name in enumerate("qk"):
            if name in self.turned:
                at = [positions.pop(0)] if self.positions else []
                options_here = {"head_dim": self.dim, "n_rot": self.n_rot}
                qkv[n] = RopeOp.reference(
                    qkv[n], cos, sin, *at, **options_here, pairing=self.pairing
                )
        heads = {"num_heads": self.heads, "num_kv_heads": self.groups, "head_dim": self.dim}
        return AttentionOp.reference(*qkv, **heads, causal=True, **options)

    def check(self, isa=HERE[0], **options):
        target = f"cpu{{kernels={isa}}}"
        linalg = str(lower(self.text, "linalg", target))
        assert linalg.count('"rlx.rope"') == len(self.turned)
        function = rlx.compile(self.text, target, cache=False)
        assert_close(function(*self.arrays), self.expected(**options))
        return function


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("pairing", ["half", "proportional", "interleaved"])
@pytest.mark.parametrize(("dim", "n_rot"), [(64, 64), (128, 64), (80, 2), (66, 50)])
def test_pairs(isa, pairing, dim, n_rot):
    """Whole and partial vectors, rotated and kept."""
    Case(queries=37, keys=37, dim=dim, n_rot=n_rot, pairing=pairing).check(isa)


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize(
    ("dtype", "table", "pairing"),
    [("bf16", "f32", "half"), ("bf16", "bf16", "interleaved"), ("f16", "f16", "half")],
)
def test_narrow_storage(isa, dtype, table, pairing):
    Case(dtype=dtype, table=table, dim=72, n_rot=40, pairing=pairing).check(isa)


@pytest.mark.parametrize(
    ("turned", "positions"), [("q", "bs"), ("k", "s"), ("qk", "bs"), ("q", None)]
)
@pytest.mark.parametrize(("queries", "keys"), [(1, 129), (140, 130)])
def test_positions(turned, positions, queries, keys):
    """One block of rows and many; more than a tile of keys."""
    Case(3, queries, keys, turned=turned, positions=positions, ids="i64").check()


def test_wide_tables():
    Case(dim=64, n_rot=32, columns=32).check()


@pytest.mark.parametrize("positions", [None, "s", "bs"])
def test_dynamic_sizes(positions):
    case = Case(2, 33, 33, positions=positions, dynamic=True)
    function = case.check()
    for length in (1, 70):
        arrays = [a[:, :1].repeat(length, 1) for a in case.arrays[:3]]
        arrays = [random(a.shape, seed=n) for n, a in enumerate(arrays)] + case.arrays[3:5]
        if positions:
            shape = (length,) if positions == "s" else (2, length)
            arrays += [np.full(shape, 5 + n, np.int32) for n in range(2)]
        assert_close(function(*arrays), case.expected(arrays))
    broken = list(case.arrays)
    if positions:
        broken[5] = broken[5].copy()
        broken[5].flat[3] = 200
    else:
        broken[3:5] = [table[:32] for table in broken[3:5]]
    with pytest.raises(ExecutionError, match=r"rlx\.rope: "):
        function(*broken)


def test_keys_of_another_batch():
    """The check of attention's operands comes before what is read for the rotation."""
    case = Case(2, 33, 33, dynamic=True)
    function = rlx.compile(case.text, cache=False)
    arrays = list(case.arrays)
    arrays[1] = arrays[1][:1]
    with pytest.raises(ExecutionError, match="query and key must have the same batch"):
        function(*arrays)


def test_softcap_and_windows():
    more = ", left_window = 40 : i64, softcap = 3.0 : f64"
    Case(more=more, groups=1, n_rot=32).check(left_window=40, softcap=3.0)


@pytest.mark.slow
@pytest.mark.parametrize("isa", HERE)
def test_any_sizes(isa):
    numbers = np.random.default_rng(0)
    for _ in range(20):
        dim = 2 * int(numbers.integers(8, 130))
        groups, repeat = (int(n) for n in numbers.integers(1, 4, 2))
        Case(
            batch=int(numbers.integers(1, 3)),
            queries=int(numbers.integers(1, 200)),
            keys=int(numbers.integers(1, 200)),
            heads=groups * repeat,
            groups=groups,
            dim=dim,
            n_rot=2 * int(numbers.integers(1, dim // 2 + 1)),
            pairing=str(numbers.choice(["half", "proportional", "interleaved"])),
            turned=str(numbers.choice(["q", "k", "qk"])),
            positions=numbers.choice([None, "s", "bs"]),
        ).check(isa)


PACKED = """
  func.func @main(%x: tensor<2x150x256xf32>, %cos: tensor<200x16xf32>, %sin: tensor<200x16xf32>)
      -> {results} {{
    %q = "rlx.narrow"(%x) {{axis = 2 : i64, start = 0 : i64, length = 128 : i64}}
      : (tensor<2x150x256xf32>) -> tensor<2x150x128xf32>
    %k = "rlx.narrow"(%x) {{axis = 2 : i64, start = 128 : i64, length = 64 : i64}}
      : (tensor<2x150x256xf32>) -> tensor<2x150x64xf32>
    %v = "rlx.narrow"(%x) {{axis = 2 : i64, start = 192 : i64, length = 64 : i64}}
      : (tensor<2x150x256xf32>) -> tensor<2x150x64xf32>
    %qr = "rlx.rope"(%q, %cos, %sin) {{head_dim = 32 : i64}}
      : (tensor<2x150x128xf32>, tensor<200x16xf32>, tensor<200x16xf32>) -> tensor<2x150x128xf32>
    %kr = "rlx.rope"(%k, %cos, %sin) {{head_dim = 32 : i64}}
      : (tensor<2x150x64xf32>, tensor<200x16xf32>, tensor<200x16xf32>) -> tensor<2x150x64xf32>
    %o = "rlx.attention"(%qr, %kr, %v) {{num_heads = 4 : i64, num_kv_heads = 2 : i64,
      head_dim = 32 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}}
      : (tensor<2x150x128xf32>, tensor<2x150x64xf32>, tensor<2x150x64xf32>)
      -> tensor<2x150x128xf32>
    return {values} : {types}
  }}
"""


def packed(*values):
    """Attention of the parts of one tensor; returns ``values``."""
    wide, narrow = "tensor<2x150x128xf32>", "tensor<2x150x64xf32>"
    types = ", ".join(narrow if value == "%kr" else wide for value in values)
    results = f"({types})"
    text = PACKED.format(results=results, types=types, values=", ".join(values))
    x, angles = random((2, 150, 256)), np.random.default_rng(1).uniform(0, 6, (200, 16))
    cos, sin = (f(angles).astype(np.float32) for f in (np.cos, np.sin))
    q, k, v = np.split(x.astype(np.float64), [128, 192], axis=2)
    q, k = (RopeOp.reference(a, cos, sin, head_dim=32) for a in (q, k))
    expected = AttentionOp.reference(q, k, v, num_heads=4, num_kv_heads=2, head_dim=32)
    results = rlx.compile(text, cache=False)(x, cos, sin)
    return text, results, {"%o": expected, "%kr": k, "%qr": q}


def test_parts_of_one_tensor_are_read_where_they_are():
    text, result, expected = packed("%o")
    assert str(lower(text, "linalg")).count('"rlx.rope"') == 2
    bufferized = str(lower(text, "bufferized"))
    assert "memref.copy" not in bufferized
    # Nothing but the result is made.
    assert len(re.findall(r"memref\.alloc\(.*memref<2x150x", bufferized)) == 1
    assert_close(result, expected["%o"])


@pytest.mark.parametrize("other", ["%kr", "%qr"])
def test_what_has_another_use_is_turned_once(other):
    """As where keys go to a cache."""
    text, results, expected = packed("%o", other)
    linalg = str(lower(text, "linalg"))
    assert linalg.count('"rlx.rope"') == 1
    for name, result in zip(("%o", other), results, strict=True):
        assert_close(result, expected[name])


def test_query_and_key_in_one():
    """One rope op for both operands has two uses."""
    text = """
      func.func @main(%x: tensor<1x70x32xf32>, %cos: tensor<70x16xf32>, %sin: tensor<70x16xf32>)
          -> tensor<1x70x32xf32> {
        %r = "rlx.rope"(%x, %cos, %sin) {head_dim = 32 : i64}
          : (tensor<1x70x32xf32>, tensor<70x16xf32>, tensor<70x16xf32>) -> tensor<1x70x32xf32>
        %o = "rlx.attention"(%r, %r, %x) {num_heads = 1 : i64, head_dim = 32 : i64,
          operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
          : (tensor<1x70x32xf32>, tensor<1x70x32xf32>, tensor<1x70x32xf32>)
          -> tensor<1x70x32xf32>
        return %o : tensor<1x70x32xf32>
      }
    """
    assert '"rlx.rope"' not in str(lower(text, "linalg"))
    x, angles = random((1, 70, 32)), np.random.default_rng(1).uniform(0, 6, (70, 16))
    cos, sin = (f(angles).astype(np.float32) for f in (np.cos, np.sin))
    r = RopeOp.reference(x.astype(np.float64), cos, sin, head_dim=32)
    expected = AttentionOp.reference(r, r, x.astype(np.float64), num_heads=1, head_dim=32)
    assert_close(rlx.compile(text, cache=False)(x, cos, sin), expected)


def test_turned_values():
    """Only queries and keys turn in the kernel."""
    text = PACKED.format(
        results="tensor<2x150x128xf32>", types="tensor<2x150x128xf32>", values="%o"
    )
    text = text.replace("(%qr, %kr, %v)", "(%qr, %k, %kr)")
    assert str(lower(text, "linalg")).count('"rlx.rope"') == 1
    x, angles = random((2, 150, 256)), np.random.default_rng(1).uniform(0, 6, (200, 16))
    cos, sin = (f(angles).astype(np.float32) for f in (np.cos, np.sin))
    q, k, _ = np.split(x.astype(np.float64), [128, 192], axis=2)
    qr, kr = (RopeOp.reference(a, cos, sin, head_dim=32) for a in (q, k))
    expected = AttentionOp.reference(qr, k, kr, num_heads=4, num_kv_heads=2, head_dim=32)
    assert_close(rlx.compile(text, cache=False)(x, cos, sin), expected)
