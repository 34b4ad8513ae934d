"""Pipeline text: grammar, resolution, nesting, errors; and what happens while it runs."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlx import load_dialects, registry
from rlx.diagnostics import CompileError, remark
from rlx.host import ir
from rlx.options import option
from rlx.passes.base import Pass, PassFailure, Pipeline
from rlx.pipeline import (
    Instrumentation,
    PipelineError,
    parse_pipeline,
    pipeline_text,
    run_pipeline,
)

MODULE = """
func.func @f(%x: tensor<4xf32>) -> tensor<4xf32> {
  %a = arith.constant 1 : i32
  %b = arith.constant 1 : i32
  return %x : tensor<4xf32>
}
func.func @g() { return }
memref.global @data : memref<2xf32>
module @inner { func.func @h() { return } }
"""


@dataclass(frozen=True)
class Mark(Pass):
    """Leaves a trace on every op it runs on."""

    name = "test-mark"
    label: str = option("here", "the trace")

    def run(self, op):
        with op.context:
            op.attributes["rlx.mark"] = ir.StringAttr.get(self.label)


@dataclass(frozen=True)
class MarkFunction(Mark):
    """The same, on functions."""

    name = "test-mark-function"
    anchor = "func.func"


@dataclass(frozen=True)
class Fail(Pass):
    """Fails in one of the ways there are."""

    name = "test-fail"
    how: str = option("failure", "the way")

    def run(self, op):
        if self.how == "failure":
            raise PassFailure(op, "expected 1, but got 2")
        if self.how == "notes":
            raise PassFailure(op, "does not fit", [(op, "this is why")])
        if self.how == "exception":
            raise KeyError("missing")
        if self.how == "emit":
            op.location.emit_error("reported, but not raised")
        if self.how == "invalid":
            function = op.regions[0].blocks[0].operations[1]
            function.regions[0].blocks[0].operations[0].operation.erase()
        if self.how == "remark":
            remark(op, "not done", [(op, "because")])


@dataclass(frozen=True)
class Both(Pipeline):
    """A mark here and one on functions."""

    name = "test-both"
    label: str = option("pipe", "the trace")

    def text(self):
        return f'test-mark{{label="{self.label}"}},func.func(test-mark-function,cse)'


@dataclass(frozen=True)
class Endless(Pipeline):
    """Contains itself."""

    name = "test-endless"

    def text(self):
        return "cse,test-endless"


@dataclass(frozen=True)
class Wrong(Pipeline):
    """Has a typo inside."""

    name = "test-wrong"

    def text(self):
        return "cse,canonicalise"


@dataclass(frozen=True)
class Modules(Pipeline):
    """Runs on modules."""

    name = "test-modules"

    def text(self):
        return "symbol-dce,sparsifier"


@pytest.fixture(autouse=True)
def names(monkeypatch):
    for cls in (Mark, MarkFunction, Fail):
        monkeypatch.setitem(registry._PASSES, cls.name, f"{__name__}:{cls.__name__}")
    for cls in (Both, Endless, Wrong, Modules):
        monkeypatch.setitem(registry._PIPELINES, cls.name, f"{__name__}:{cls.__name__}")


@pytest.fixture
def module():
    with ir.Context() as context, ir.Location.unknown():
        load_dialects(context)
        yield ir.Module.parse(MODULE)


def marked(module):
    """Names of the ops that carry a mark, in order, with the mark."""
    found = []

    def visit(op):
        if "rlx.mark" in op.attributes:
            name = op.attributes["sym_name"].value if "sym_name" in op.attributes else op.name
            found.append((name, op.attributes["rlx.mark"].value))
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit, ir.WalkOrder.PRE_ORDER)
    return found


# -- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", "builtin.module()"),
        ("builtin.module()", "builtin.module()"),
        ("any(cse)", "builtin.module(cse)"),
        ("cse,canonicalize", "builtin.module(cse,canonicalize)"),
        (" builtin.module\n( cse ,\tcanonicalize ) ", "builtin.module(cse,canonicalize)"),
        ("func.func(cse,canonicalize)", "builtin.module(func.func(cse,canonicalize))"),
        (
            "builtin.module(func.func(cse),func.func(cse),cse)",
            "builtin.module(func.func(cse,cse),cse)",
        ),
        ("builtin.module(builtin.module(cse))", "builtin.module(builtin.module(cse))"),
        ("any(cse,any(cse))", "builtin.module(cse,any(cse))"),
        ("cse{}", "builtin.module(cse)"),
        (
            "canonicalize{ top-down=false  max-iterations=3 }",
            "builtin.module(canonicalize{top-down=false  max-iterations=3})",
        ),
        (
            "inline{op-pipelines={func.func(cse,canonicalize{top-down=0})}}",
            "builtin.module(inline{op-pipelines={func.func(cse,canonicalize{top-down=0})}})",
        ),
        ("test-mark{label=here}", "builtin.module(test-mark)"),
        ("test-mark{label='a {b,c)'}", 'builtin.module(test-mark{label="a {b,c)"})'),
        (
            "test-both",
            "builtin.module(test-mark{label=pipe},func.func(test-mark-function,cse))",
        ),
        (
            "func.func(test-mark-function),sparsifier",
            "builtin.module(func.func(test-mark-function),sparsifier)",
        ),
    ],
)
def test_text_means_passes(text, canonical):
    assert pipeline_text(parse_pipeline(text)) == canonical
    assert pipeline_text(parse_pipeline(canonical)) == canonical


@pytest.mark.parametrize(
    ("text", "message", "offset"),
    [
        ("canonicalise", "unknown pass 'canonicalise'; did you mean 'canonicalize'?", 0),
        ("cse,\n  canonicalise", "unknown pass 'canonicalise'", 7),
        ("builtin.module(rlx-fuse-gq)", "unknown pass 'rlx-fuse-gq'; did you mean 'rlx-fus", 15),
        ("test-bothe", "unknown pass 'test-bothe'; did you mean 'test-both'?", 0),
        ("zzzzzzzzzzz", "unknown pass 'zzzzzzzzzzz'", 0),
        ("func.func", "unknown pass 'func.func'; an op encloses passes, 'func.func(...)'", 0),
        ("cse(canonicalize)", "'cse' is a pass, not an op: its options go into braces", 0),
        ("func.fun(cse)", "unknown op 'func.fun'; did you mean 'func.func'?", 0),
        ("fun.func(cse)", "unknown op 'fun.func'; did you mean 'func.func'?", 0),
        ("canonicalize{max-iteration=2}", "did you mean 'max-iterations'?", 13),
        ("canonicalize{  bottom-up}", "'canonicalize' has no option 'bottom-up'", 15),
        ("canonicalize{max-iterations=few}", "option 'max-iterations' of 'canonicalize'", 13),
        ("canonicalize{region-simplify=x}", "option 'region-simplify' of 'canonicalize'", 13),
        ("inline{op-pipelines={func.func(csex)}}", "'csex' does not refer to a registered", 7),
        ('canonicalize{enable-patterns="}"}', "unbalanced braces", 13),
        ("cse{a=1}", "'cse' has no option 'a'", 4),
        ("cse,test-mark{lable=x}", "'test-mark' has no option 'lable'; did you mean 'label'?", 14),
        ("test-fail{how=a how=b", "'{' is never closed", 9),
        ("func.func(cse", "'(' is never closed", 9),
        ("cse)", "expected ',' in pipeline, but got ')'", 3),
        ("cse canonicalize", "expected ',' in pipeline, but got 'c'", 4),
        ("func.func(cse canonicalize)", "expected ',' or ')' in pipeline, but got 'c'", 14),
        ("cse,,cse", "expected the name of a pass or op", 4),
        ("cse,", "expected the name of a pass or op", 4),
        ("(cse)", "expected the name of a pass or op", 0),
        ("cse{}{}", "expected ',' in pipeline, but got '{'", 5),
        ("}", "expected the name of a pass or op", 0),
        ("func.func(" * 101, "nests deeper than 100 levels", 1009),
        ("builtin.module(cse),cse", "'builtin.module(...)' must enclose the whole pipeline", 0),
        # Each of these would end the process inside the host.
        (
            "llvm-request-c-wrappers",
            "pass 'llvm-request-c-wrappers' runs on 'func.func', but is nested in "
            "'builtin.module'; write 'func.func(llvm-request-c-wrappers)'",
            0,
        ),
        ("func.func(cse,symbol-dce,sparsifier)", "runs on 'builtin.module', but is", 25),
        ("gpu.module(tosa-to-linalg-pipeline)", "runs on 'builtin.module', but is", 11),
        ("test-mark-function", "pass 'test-mark-function' runs on 'func.func', but is nested", 0),
        ("affine-loop-unroll", "pass 'affine-loop-unroll' runs on 'func.func'", 0),
        # Inside of named pipelines the place is that of the name.
        ("cse,test-wrong", "in pipeline 'test-wrong' (cse,canonicalise): unknown pass", 4),
        ("func.func(test-modules)", "in pipeline 'test-modules' (symbol-dce,sparsifier): ", 10),
        ("test-endless", "pipeline 'test-endless' contains itself", 0),
    ],
)
def test_errors_say_where_and_what(text, message, offset):
    with pytest.raises(PipelineError) as caught:
        parse_pipeline(text)
    assert message in caught.value.message
    assert caught.value.offset == offset
    shown = str(caught.value).splitlines()
    assert shown[-1].endswith("^")


def test_the_caret_points_at_the_place():
    with pytest.raises(PipelineError) as caught:
        parse_pipeline("cse,\n\tcse,canonicalise,cse")
    assert str(caught.value).splitlines()[1:] == ["  \tcse,canonicalise,cse", "  \t    ^"]


def test_passes_given_as_flags_are_nested():
    leaves = parse_pipeline(
        "llvm-request-c-wrappers,cse,test-mark-function,convert-gpu-to-nvvm", implicit=True
    )
    assert pipeline_text(leaves) == (
        "builtin.module(func.func(llvm-request-c-wrappers),cse,"
        "func.func(test-mark-function),gpu.module(convert-gpu-to-nvvm))"
    )


def test_other_roots():
    assert parse_pipeline("func.func(cse)", "func.func")[0].anchors == ("func.func",)
    assert parse_pipeline("any(cse)", "func.func")[0].anchors == ("func.func",)
    with pytest.raises(PipelineError, match=r"is for 'builtin.module', but runs on 'func.func'"):
        parse_pipeline("builtin.module(cse)", "func.func")


@given(st.text(alphabet="ab-(){}=,.\"' \n", max_size=30))
def test_any_text_parses_or_fails_with_a_pipeline_error(text):
    try:
        parse_pipeline(text)
    except PipelineError as error:
        assert 0 <= error.offset <= len(text)


pipelines = st.recursive(
    st.sampled_from(["cse", "canonicalize{top-down=false}", "test-mark{label='x y'}", "any()"]),
    lambda inner: st.builds(
        "{}({})".format,
        st.sampled_from(["func.func", "builtin.module", "any"]),
        st.lists(inner, max_size=3).map(" , ".join),
    ),
    max_leaves=8,
)


@given(st.lists(pipelines, max_size=3))
def test_canonical_text_means_the_same(elements):
    leaves = parse_pipeline(f"builtin.module({','.join(elements)})")
    assert parse_pipeline(pipeline_text(leaves)) == leaves


# -- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("test-mark", ["builtin.module"]),
        ("func.func(test-mark)", ["f", "g"]),
        ("func.func(test-mark-function)", ["f", "g"]),
        # `any`: what is isolated from above; never the global.
        ("any(test-mark)", ["builtin.module"]),
        ("builtin.module(any(test-mark))", ["f", "g", "inner"]),
        ("builtin.module(any(test-mark-function))", ["f", "g"]),
        ("builtin.module(builtin.module(func.func(test-mark)))", ["h"]),
        ("builtin.module(any(any(test-mark)))", ["h"]),
        ("gpu.module(test-mark)", []),
    ],
)
def test_passes_run_where_the_nesting_says(module, text, expected):
    run_pipeline(module, text)
    assert [name for name, _ in marked(module)] == expected


def test_upstream_passes_run_where_the_nesting_says(module):
    def wrapped():
        return [line for line in str(module).splitlines() if "llvm.emit_c_interface" in line]

    run_pipeline(module, "builtin.module(builtin.module(func.func(llvm-request-c-wrappers)))")
    assert ["@h" in line for line in wrapped()] == [True]
    run_pipeline(module, "builtin.module(any(llvm-request-c-wrappers))")
    assert len(wrapped()) == 3
    assert str(module).count("arith.constant") == 2
    run_pipeline(module, "builtin.module(func.func(cse))")
    assert str(module).count("arith.constant") == 0


def test_options_reach_the_pass(module):
    run_pipeline(module, "test-mark{label='two words'},test-both{label=\"it's\"}")
    assert ("builtin.module", "it's") in marked(module)
    assert ("f", "here") in marked(module)


def test_the_pipeline_runs_on_one_function(module):
    function = module.body.operations[0]
    run_pipeline(function, "func.func(cse,test-mark)")
    assert [name for name, _ in marked(module)] == ["f"]
    assert "arith.constant" not in str(module)


def test_nothing_runs_when_the_text_is_wrong(module):
    with pytest.raises(PipelineError):
        run_pipeline(module, "test-mark,canonicalise")
    assert not marked(module)


def test_instrumentation_sees_every_run(module):
    seen = []
    hooks = Instrumentation()
    hooks.before.append(lambda leaf, op: seen.append(("before", leaf.name, op.name)))
    hooks.after.append(lambda leaf, op: seen.append(("after", leaf.name, op.name)))
    run_pipeline(module, "cse,func.func(test-mark)", hooks)
    assert seen == [
        ("before", "cse", "builtin.module"),
        ("after", "cse", "builtin.module"),
        *[(when, "test-mark", "func.func") for _ in range(2) for when in ("before", "after")],
    ]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("failure", "error: expected 1, but got 2"),
        ("notes", "note: this is why"),
        ("exception", "error: pass 'test-fail' raised KeyError: 'missing'"),
        ("emit", "error: reported, but not raised"),
        ("invalid", "error: empty block: expect at least a terminator"),
    ],
)
def test_a_pass_that_fails(module, how, message):
    seen = []
    hooks = Instrumentation(failed=[lambda leaf, op: seen.append(leaf.name)])
    with pytest.raises(CompileError, match="pass 'test-fail' failed") as caught:
        run_pipeline(module, f"test-fail{{how={how}}},test-mark", hooks)
    assert message in str(caught.value)
    assert seen == ["test-fail"]
    assert not marked(module)
    assert isinstance(caught.value.__cause__, KeyError) == (how == "exception")


def test_invalid_ir_passes_when_nobody_verifies(module):
    run_pipeline(module, "test-fail{how=invalid}", Instrumentation(verify_each=False))
    assert not module.operation.regions[0].blocks[0].operations[1].regions[0].blocks[0].operations


def test_an_upstream_pass_that_fails(module):
    with pytest.raises(CompileError, match="pass 'transform-interpreter' failed") as caught:
        run_pipeline(module, "transform-interpreter,func.func(test-mark)")
    assert "could not find a nested named sequence" in caught.value.diagnostics[0].message
    assert not marked(module)


def test_remarks_are_collected_unless_unwanted(module):
    found = run_pipeline(module, "test-fail{how=remark}")
    (entry,) = found.entries
    assert (entry.severity, entry.message) == ("remark", "not done")
    assert [note.message for note in entry.notes] == ["because"]
    quiet = run_pipeline(module, "test-fail{how=remark}", Instrumentation(remarks=False))
    assert not quiet.entries


def test_a_listener_hears_everything_as_it_comes(module):
    heard = []
    with pytest.raises(CompileError):
        run_pipeline(
            module,
            "test-fail{how=remark},test-fail{how=emit}",
            Instrumentation(listener=lambda d: heard.append(d.severity)),
        )
    assert heard == ["remark", "error"]


def test_every_listed_upstream_pass_is_known(module):
    """The committed table agrees with the host that runs here."""
    from rlx import upstream

    for name in upstream.names():
        found = upstream.resolve(name)
        assert upstream.class_name(name)
        listed = upstream._table()[name]
        assert found.anchor == listed["anchor"]
        for key in upstream.option_names(name):
            with pytest.raises(Exception, match=f"has no option '{key}x'"):
                upstream.resolve(name, f"{key}x=1")
