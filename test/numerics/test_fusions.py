"""The functions of the lit tests compute the same numbers before and after their fusion."""

import re
from dataclasses import dataclass
from pathlib import Path

import harness
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rlx
from rlx import dtypes
from rlx.host import func, ir
from rlx.passes.base import walk
from rlx.pipeline import run_pipeline
from rlx.targets.base import Stage
from rlx.targets.cpu import CpuTarget

PASSES = Path(__file__).parents[1] / "Passes"
SIZE = 6
"""What every dynamic size is: the static sizes in the tests that it has to agree with."""

TOLERANCE = {
    np.dtype(np.float64): 1e-12,
    np.dtype(np.float32): 1e-5,
    np.dtype(np.float16): 4e-3,
    np.dtype(ml_dtypes.bfloat16): 2e-2,
}


class Unfused(CpuTarget):
    """The CPU without the fusions of its own pipeline."""

    def stages(self):
        replaced = {"fused": "canonicalize,cse"}
        return tuple(Stage(s.name, replaced.get(s.name, s.pipeline)) for s in super().stages())


TARGET = Unfused(opt_level="1", threads=1)


@dataclass(frozen=True)
class Case:
    pipeline: str
    name: str
    text: str

    def __str__(self):
        return f"{self.pipeline}-{self.name}"


def cases(*pipelines):
    """The functions of the lit tests of these passes, without those that must stay."""
    for pipeline in pipelines:
        for text in (PASSES / f"{pipeline}.mlir").read_text().split("// -----"):
            for name in re.findall(r"func\.func @(\w+)", text)[:1]:
                yield Case(pipeline, name, text)


ALL = list(
    cases(
        "rlx-fuse-gqa",
        "rlx-fuse-partial-rotary",
        "rlx-fuse-qkv",
        "rlx-fuse-glu",
        "rlx-fuse-norm",
        "rlx-fuse",
    )
)


def fused(text, pipeline, times=1):
    with ir.Context() as context:
        rlx.load_dialects(context)
        module = ir.Module.parse(text)
        for _ in range(times):
            run_pipeline(module, pipeline)
        return str(module)


def arguments(text):
    """Random arrays for the function in ``text``: by position, and the parameters by name."""
    rng = np.random.default_rng(7)
    arrays, parameters = [], {}
    with ir.Context() as context:
        rlx.load_dialects(context)
        module = ir.Module.parse(text)
        function = next(op for op in module.body.operations)
        assert isinstance(function, func.FuncOp)
        for number, type_ in enumerate(function.type.inputs):
            shape = [SIZE if size < 0 else size for size in type_.shape]
            dtype = dtypes.from_mlir(type_.element_type)
            if np.issubdtype(dtype, np.integer):
                array = rng.integers(0, 32, shape).astype(dtype)
            else:
                array = rng.standard_normal(shape).astype(dtype)
            attributes = ir.DictAttr(function.arg_attrs[number]) if has_attributes(function) else {}
            if "rlx.param" not in attributes:
                arrays.append(array)
                continue
            parameters[attributes["rlx.name"].value] = array
            if "rlx.parts" in attributes:
                names = [part.value for part in attributes["rlx.parts"]]
                axis = attributes["rlx.parts_axis"].value
                parts = np.split(array, len(names), axis)
                parameters |= dict(zip(names, parts, strict=True))
    return arrays, parameters


def has_attributes(function):
    return "arg_attrs" in function.attributes


def results(text, arrays, parameters):
    compiled = rlx.compile(text, TARGET).bind(parameters)
    found = compiled(*arrays)
    return found if isinstance(found, tuple) else (found,)


def assert_same(text, pipeline, tolerance=None):
    arrays, parameters = arguments(text)
    after = fused(text, pipeline)
    assert after != fused(text, "")
    for actual, expected in zip(
        results(after, arrays, parameters), results(text, arrays, parameters), strict=True
    ):
        assert actual.dtype == expected.dtype
        harness.assert_close(actual, expected, tolerance or TOLERANCE[actual.dtype])


# What the pass leaves alone in the file of what it fuses.
UNTOUCHED = {"nothing_repeated", "split_and_joined"}

# The constant of the written form is off by 2e-4, and the fused one is exact.
ROUNDED = {"gelu_tanh": 3e-4}


@pytest.mark.parametrize("case", [c for c in ALL if c.name not in UNTOUCHED], ids=str)
def test_same_numbers(case):
    assert_same(case.text, case.pipeline, ROUNDED.get(case.name))


@pytest.mark.parametrize("case", ALL, ids=str)
def test_second_run_changes_nothing(case):
    assert fused(case.text, case.pipeline, 2) == fused(case.text, case.pipeline)


# Front ends compute these forms in one type throughout.
RETYPED = [
    Case(c.pipeline, f"{c.name}-{dtype}", c.text.replace("xf32>", f"x{dtype}>"))
    for c in ALL
    for dtype in ("f64", "f16", "bf16")
    if c.name in ("narrow_concat", "per_head", "interleaved_and_positions", "rows")
]


@pytest.mark.parametrize("case", RETYPED, ids=str)
def test_same_numbers_in_other_types(case):
    assert_same(case.text, case.pipeline)


def repeated(order, heads, head_dim):
    """Attention with one head per entry of ``order``, of keys and values with ``heads`` heads."""
    narrow, wide = heads * head_dim, len(order) * head_dim
    source, head, all_heads = (f"tensor<2x3x{n}xf32>" for n in (narrow, head_dim, wide))
    lines = []
    for name in "kv":
        lines += [
            f'%{name}{h} = "rlx.narrow"(%{name}) {{axis = 2 : i64, start = {h * head_dim} : i64, '
            f"length = {head_dim} : i64}} : ({source}) -> {head}"
            for h in range(heads)
        ]
        parts = ", ".join(f"%{name}{h}" for h in order)
        types = ", ".join([head] * len(order))
        lines.append(
            f'%{name}r = "rlx.concat"({parts}) {{axis = 2 : i64}} : ({types}) -> {all_heads}'
        )
    body = "\n      ".join(lines)
    return f"""
    func.func @main(%q: {all_heads}, %k: {source}, %v: {source}) -> {all_heads} {{
      {body}
      %o = "rlx.attention"(%q, %kr, %vr) {{num_heads = {len(order)} : i64,
        head_dim = {head_dim} : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}}
        : ({all_heads}, {all_heads}, {all_heads}) -> {all_heads}
      return %o : {all_heads}
    }}"""


some = settings(max_examples=60, deadline=None, derandomize=True)


@some
@given(st.integers(1, 4), st.data(), st.integers(1, 5))
def test_heads_are_fused_if_and_only_if_repeated_in_a_row(heads, data, head_dim):
    group = data.draw(st.integers(1, 3))
    ordered = [h for h in range(heads) for _ in range(group)]
    order = data.draw(
        st.just(ordered)
        | st.permutations(ordered)
        | st.lists(st.integers(0, heads - 1), min_size=1, max_size=8)
    )
    with ir.Context() as context:
        rlx.load_dialects(context)
        module = ir.Module.parse(repeated(order, heads, head_dim))
        run_pipeline(module, "rlx-fuse-gqa")
        (attention,) = walk(module.operation, "rlx.attention")
        each, rest = divmod(len(order), heads)
        in_a_row = order == sorted(order) and all(order.count(h) == each for h in order)
        grouped = rest == 0 and each > 1 and in_a_row and len(set(order)) == heads
        assert attention.num_kv_heads == (heads if grouped else len(order))
        assert bool(list(walk(module.operation, "rlx.concat"))) != grouped


def partial(heads, head_dim, n_rot, order):
    """Per-head partial rotary embedding; ``order`` are the heads that are joined."""
    full, head = (f"tensor<5x{n}xf32>" for n in (heads * head_dim, head_dim))
    rotated, passed = (f"tensor<5x{n}xf32>" for n in (n_rot, head_dim - n_rot))
    table, result = f"tensor<8x{n_rot // 2}xf32>", f"tensor<5x{len(order) * head_dim}xf32>"
    lines = []

    def cut(name, source, start, length, types):
        lines.append(
            f'%{name} = "rlx.narrow"(%{source}) {{axis = 1 : i64, start = {start} : i64, '
            f"length = {length} : i64}} : ({types[0]}) -> {types[1]}"
        )

    for h in range(heads):
        cut(f"h{h}", "x", h * head_dim, head_dim, (full, head))
        cut(f"r{h}", f"h{h}", 0, n_rot, (head, rotated))
        cut(f"p{h}", f"h{h}", n_rot, head_dim - n_rot, (head, passed))
        lines += [
            f'%t{h} = "rlx.rope"(%r{h}, %cos, %sin) {{head_dim = {n_rot} : i64}} '
            f": ({rotated}, {table}, {table}) -> {rotated}",
            f"%y{h} = tensor.concat dim(1) %t{h}, %p{h} : ({rotated}, {passed}) -> {head}",
        ]
    parts, types = ", ".join(f"%y{h}" for h in order), ", ".join([head] * len(order))
    body = "\n      ".join(lines)
    return f"""
    func.func @main(%x: {full}, %cos: {table}, %sin: {table}) -> {result} {{
      {body}
      %y = tensor.concat dim(1) {parts} : ({types}) -> {result}
      return %y : {result}
    }}"""


@some
@given(st.integers(2, 4), st.integers(1, 3), st.integers(1, 3), st.data())
def test_heads_are_rotated_as_one_if_and_only_if_all_are_in_order(heads, half, rest, data):
    n_rot, head_dim = 2 * half, 2 * half + rest
    order = data.draw(
        st.just(list(range(heads)))
        | st.permutations(range(heads))
        | st.lists(st.integers(0, heads - 1), min_size=2, max_size=4)
    )
    with ir.Context() as context:
        rlx.load_dialects(context)
        module = ir.Module.parse(partial(heads, head_dim, n_rot, order))
        run_pipeline(module, "canonicalize,rlx-fuse-partial-rotary")
        ropes = list(walk(module.operation, "rlx.rope"))
        if order == list(range(heads)):
            (rope,) = ropes
            assert (rope.head_dim, rope.n_rot, rope.pairing) == (head_dim, n_rot, "half")
            assert rope.input == module.body.operations[0].regions[0].blocks[0].arguments[0]
        else:
            assert len(ropes) == len(set(order))
            assert all(rope.n_rot == rope.head_dim == n_rot for rope in ropes)
