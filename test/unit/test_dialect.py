"""What every op must have, loading into contexts, building, attributes, documentation."""

import gc
import inspect
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import rlx
from rlx.dialects import docs, load_dialects, op_classes
from rlx.dialects.attention import AttentionOp, attention
from rlx.dialects.base import Attr, Invalid, Operand, Result, RlxOp
from rlx.dialects.concat import ConcatOp, concat
from rlx.dialects.kv_append import kv_append
from rlx.dialects.matmul import MatmulOp, matmul
from rlx.dialects.narrow import narrow
from rlx.dialects.rms_norm import RmsNormOp, rms_norm
from rlx.host import func, ir, passmanager

ROOT = Path(__file__).parents[2]
OWN = docs.own_ops()

MATMUL = """
func.func @{name}(%x: tensor<2x8xf32>, %w: tensor<8x4xf32>) -> tensor<2x4xf32> {{
  %0 = "rlx.matmul"(%x, %w) : (tensor<2x8xf32>, tensor<8x4xf32>) -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}}
"""


_modules = []
"""Keeps what :func:`build` makes alive for the rest of the test."""


@pytest.fixture
def context():
    with ir.Context() as context, ir.Location.unknown():
        load_dialects(context)
        yield context
        _modules.clear()


def build(*types, body):
    """The ops of a function with arguments of these types."""
    module = ir.Module.create()
    with ir.InsertionPoint(module.body):

        @func.FuncOp.from_py_func(*map(ir.Type.parse, types))
        def main(*arguments):
            body(*arguments)

    assert module.operation.verify()
    _modules.append(module)
    return list(module.body.operations[0].entry_block.operations)[:-1]


# -- completeness ----------------------------------------------------------------------------------


def test_contract_is_covered():
    names = {cls.OPERATION_NAME for cls in OWN}
    wanted = "matmul rope attention narrow concat rms_norm layer_norm embedding glu kv_append"
    assert names >= {f"rlx.{name}" for name in wanted.split()}


@pytest.mark.parametrize("cls", OWN, ids=lambda cls: cls.OPERATION_NAME)
def test_op_is_complete(cls):
    name = cls.OPERATION_NAME.partition(".")[2]
    assert (cls.__doc__ or "").strip()
    assert f'"rlx.{name}"(' in cls.EXAMPLE
    for attr in cls.ATTRS.values():
        assert attr.doc, attr.name
        assert not callable(attr.default) or attr.default_text, attr.name
    for method in ("reference", "lower", "result_type", "verify_op"):
        assert method in vars(cls), f"{method} is not implemented"
    for file in (
        f"test/Dialect/{name}/ops.mlir",
        f"test/Dialect/{name}/invalid.mlir",
        f"test/Conversion/{name}.mlir",
        f"test/numerics/test_{name}.py",
    ):
        assert (ROOT / file).is_file(), file


@pytest.mark.parametrize("cls", OWN, ids=lambda cls: cls.OPERATION_NAME)
def test_builder_matches_declaration(cls):
    name = cls.OPERATION_NAME.partition(".")[2]
    builder = inspect.signature(getattr(sys.modules[cls.__module__], name)).parameters.values()
    reference = inspect.signature(cls.reference).parameters.values()
    assert [p.name for p in builder] == [p.name for p in reference]
    keywords = [p for p in builder if p.kind is inspect.Parameter.KEYWORD_ONLY]
    assert [p.name for p in keywords] == list(cls.ATTRS)
    for parameter, attr in zip(keywords, cls.ATTRS.values(), strict=True):
        required = parameter.default is inspect.Parameter.empty
        assert required == attr.required, parameter.name
        if not required:
            default = None if callable(attr.default) else attr.default
            assert parameter.default == default, parameter.name
    operands = [p for p in builder if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    if cls is not ConcatOp:  # Its builder takes one list.
        assert [p.name for p in operands] == [declared.name for declared in cls.OPERANDS]


@pytest.mark.parametrize("cls", OWN, ids=lambda cls: cls.OPERATION_NAME)
def test_example_is_valid(cls, context):
    uses, types = re.search(r'"\((.*?)\).*?\n?\s*: \((.*?)\)\s*->', cls.EXAMPLE, re.S).groups()
    names = [name.strip() for name in uses.split(",")]
    # Commas separate types here only; none of the examples has one inside a type.
    arguments = ", ".join(f"{n}: {t}" for n, t in zip(names, re.split(r",\s*", types), strict=True))
    module = ir.Module.parse(f"func.func @main({arguments}) {{ {cls.EXAMPLE} return }}")
    op = module.body.operations[0].entry_block.operations[0]
    assert isinstance(op, cls)
    for name in op.attributes:
        name = name if isinstance(name, str) else name.name
        if name in cls.ATTRS and not cls.ATTRS[name].required:
            default = cls.ATTRS[name].default
            assert callable(default) or getattr(op, name) != default, f"{name} holds its default"


def test_documentation_is_current():
    text = (ROOT / "docs/Dialect.md").read_text()
    assert text == docs.markdown(OWN), "run: python -m rlx.dialects.docs > docs/Dialect.md"


def test_documentation_names_everything():
    text = docs.markdown()
    for cls in op_classes():
        assert f"## `{cls.OPERATION_NAME}`" in text
        for name in (*cls.ATTRS, *(declared.name for declared in cls.OPERANDS)):
            assert f"`{name}`" in text
        for attr in cls.ATTRS.values():
            assert all(f'`"{choice}"`' in text for choice in attr.choices)


# -- loading ---------------------------------------------------------------------------------------


def test_loading_is_idempotent(context):
    for _ in range(3):
        load_dialects(context)
        load_dialects()
    assert ir.Module.parse(MATMUL.format(name="f")).operation.verify()


def test_contexts_live_side_by_side():
    contexts = [ir.Context() for _ in range(3)]
    for context in contexts:
        load_dialects(context)
    for context in reversed(contexts):
        module = ir.Module.parse(MATMUL.format(name="f"), context)
        op = module.body.operations[0].entry_block.operations[0]
        assert isinstance(op, MatmulOp) and op.transpose_weight is False


def test_context_in_use_by_someone_else():
    with ir.Context() as context, ir.Location.unknown():
        theirs = ir.Module.parse("func.func @g() { return }")
        load_dialects(context)
        assert theirs.operation.verify()
        with pytest.raises(ir.MLIRError, match="unregistered"):
            ir.Module.parse('"other.op"() : () -> ()')


def test_without_a_context():
    with pytest.raises(ValueError, match="no context is current"):
        load_dialects()


def test_many_functions_do_not_wait_for_each_other():
    # With MLIR's threads switched on, verifiers in Python deadlock on two functions already.
    with ir.Context() as context:
        context.enable_multithreading(True)
        load_dialects(context)
        module = ir.Module.parse("".join(MATMUL.format(name=f"f{i}") for i in range(50)))
        passmanager.PassManager.parse("builtin.module(func.func(cse,canonicalize))").run(
            module.operation
        )


def test_threads_with_contexts_of_their_own():
    failures = []

    def work(number):
        try:
            for i in range(5):
                with ir.Context() as context, ir.Location.unknown():
                    load_dialects(context)
                    module = ir.Module.parse(MATMUL.format(name=f"f{number}_{i}"))
                    rlx.run_pipeline(module, "convert-rlx-to-linalg")
                    assert 'rlx.matmul"' not in str(module)
                    with pytest.raises(ir.MLIRError, match="requires attribute 'axis'"):
                        ir.Module.parse(
                            "func.func @g(%x: tensor<2xf32>) {"
                            '"rlx.narrow"(%x) : (tensor<2xf32>) -> tensor<2xf32> return }'
                        )
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )


PLUGIN = """
    import sys, types
    import numpy as np
    from rlx import registry
    from rlx.dialects import load_dialects
    from rlx.dialects.base import Operand, Result, RlxOp
    from rlx.host import ir

    def add_negate():
        module = sys.modules["negate"] = types.ModuleType("negate")
        class NegateOp(RlxOp, name="negate"):
            input: Operand
            result: Result
            def verify_op(self): pass
        registry.add_op_module("negate")
"""


def test_ops_of_plugins_come_before_the_first_load():
    done = run_python(
        PLUGIN
        + """
    add_negate()
    with ir.Context() as context:
        load_dialects()
        op = '"rlx.negate"(%x) : (tensor<f32>) -> tensor<f32>'
        ir.Module.parse(f"func.func @f(%x: tensor<f32>) {{ {op} return }}")
        print("parsed")
    """
    )
    assert done.stdout == "parsed\n", done.stderr


def test_ops_that_come_too_late_are_reported():
    done = run_python(
        PLUGIN
        + """
    with ir.Context() as old:
        load_dialects()
    add_negate()
    load_dialects(ir.Context())
    load_dialects(old)
    """
    )
    assert done.returncode == 1
    assert "holds the rlx dialect without rlx.negate: register ops before" in done.stderr


def test_contexts_are_released():
    def cycle(count):
        for _ in range(count):
            with ir.Context() as context, ir.Location.unknown():
                load_dialects(context)
                ir.Module.parse(MATMUL.format(name="f"))
        gc.collect()

    def resident():
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1))

    cycle(60)  # The allocator has to reach its steady state first.
    before = resident()
    cycle(60)
    assert resident() - before < 60 * 30, "kB"


# -- building --------------------------------------------------------------------------------------


def test_defaults_are_left_out(context):
    def body(x, q):
        matmul(q, q, transpose_weight=False)
        rms_norm(x, epsilon=1e-6, weight_offset=0.0, group=16)
        rms_norm(x, epsilon=1e-6, group=4)
        attention(*[x] * 3, num_heads=2, head_dim=8, num_kv_heads=2, v_head_dim=8, scale=8**-0.5)

    ops = build("tensor<1x4x16xf32>", "tensor<4x4xf32>", body=body)
    names = [{a if isinstance(a, str) else a.name for a in op.attributes} for op in ops]
    assert names == [
        set(),
        {"epsilon"},
        {"epsilon", "group"},
        {"num_heads", "head_dim", "operandSegmentSizes"},
    ]
    _, whole, grouped, attended = ops
    assert whole.attrs == {"epsilon": 1e-6, "weight_offset": 0.0, "group": 16}
    assert grouped.group == 4
    assert attended.num_kv_heads == 2 and attended.scale == 8**-0.5 and attended.q_offset is None


def test_optional_operands(context):
    def body(x, w, mask, lengths):
        rms_norm(x, w, epsilon=1e-6)
        rms_norm(x, epsilon=1e-6)
        attention(x, x, x, None, lengths, num_heads=1, head_dim=16)
        attention(x, x, x, mask, num_heads=1, head_dim=16)

    first, second, third, fourth = build(
        "tensor<1x4x16xf32>", "tensor<16xf32>", "tensor<4x4xi1>", "tensor<1xi64>", body=body
    )
    assert first.weight is not None and second.weight is None
    assert third.mask is None and third.kv_lengths is not None
    assert fourth.mask is not None and fourth.kv_lengths is None


def test_location_and_insertion_point_are_ambient(context):
    def body(x):
        with ir.Location.name("model.layers.3.norm"):
            rms_norm(x, epsilon=1e-6)

    (op,) = build("tensor<4xf32>", body=body)
    assert str(op.location) == 'loc("model.layers.3.norm")'


def test_concat_of_many_types(context):
    types = []

    def body(a, b, c):
        joined = concat([a, b, c, b], axis=-1)
        types.append((joined.type, [v.type for v in joined.owner.opview.inputs]))
        types.append((concat([a, b], axis=1).type, []))

    build("tensor<2x3xf32>", "tensor<2x4xf32>", "tensor<?x?xf32>", body=body)
    (joined, inputs), (two, _) = types
    assert str(joined) == "tensor<2x?xf32>" and str(two) == "tensor<2x7xf32>"
    assert [str(t) for t in inputs] == [
        "tensor<2x3xf32>",
        "tensor<2x4xf32>",
        "tensor<?x?xf32>",
        "tensor<2x4xf32>",
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda x: concat([], axis=0), "at least one input"),
        (lambda x: concat([x, x], axis=3), r"axis in \[-3, 3\)"),
        (lambda x: narrow(x, axis=5, start=0, length=1), r"axis in \[-3, 3\)"),
    ],
)
def test_builders_reject_what_has_no_type(context, body, message):
    with pytest.raises(Invalid, match=message):
        build("tensor<2x3x4xf32>", body=body)


def test_builders_leave_the_rest_to_the_verifier(context):
    with pytest.raises(ir.MLIRError, match="kv_append' op expects cache of rank 3"):
        build("tensor<2xf32>", body=lambda x: kv_append(x, x, x))


@pytest.mark.parametrize(
    "attrs",
    [{"epsilon": True}, {"epsilon": "1"}, {"epsilon": 1e-6, "group": 2.0}, {"epsilon": None}],
)
def test_builders_reject_attributes_of_another_kind(context, attrs):
    with pytest.raises((TypeError, ir.MLIRError), match=r"epsilon|group"):
        build("tensor<4xf32>", body=lambda x: rms_norm(x, **attrs))


def test_unknown_attribute_in_create(context):
    with pytest.raises(TypeError, match=r"'rlx\.rms_norm' has no attribute 'eps'"):
        build("tensor<4xf32>", body=lambda x: RmsNormOp.create(x, epsilon=1e-6, eps=1.0))


def test_integers_serve_as_floats(context):
    (op,) = build("tensor<4xf32>", body=lambda x: rms_norm(x, epsilon=0))
    assert op.epsilon == 0.0 and isinstance(op.epsilon, float)


# -- declaration -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["name", "operands", "location", "verify", "create", "attrs"])
def test_names_of_the_base_class_are_taken(name):
    before = list(op_classes())
    with pytest.raises(TypeError, match=f"the name '{name}' is taken"):
        type(
            "ClashOp",
            (RlxOp,),
            {"__annotations__": {"input": Operand, "result": Result}, name: Attr(int, "clash")},
            name="clash",
        )
    assert op_classes() == before


def test_op_names_are_unique():
    with pytest.raises(TypeError, match=r"rlx\.matmul is already defined"):
        type("Other", (RlxOp,), {"__annotations__": {"result": Result}}, name="matmul")


def test_attributes_read_on_the_class_are_declarations():
    assert isinstance(RmsNormOp.group, Attr) and RmsNormOp.epsilon.required
    assert AttentionOp.softcap.default == 0.0
