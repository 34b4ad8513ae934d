"""`rlx.compile` and `rlx.lower`: sources, entries, what is refused, what comes out."""

import io
import itertools

import ml_dtypes
import numpy as np
import pytest

import rlx
from rlx.diagnostics import CompileError
from rlx.dialects import load_dialects
from rlx.host import ir
from rlx.pipeline import Instrumentation
from rlx.targets import TargetError

ADD = """
func.func @main(%x: tensor<?xf32>, %y: tensor<?xf32>) -> tensor<?xf32> {
  %0 = arith.addf %x, %y : tensor<?xf32>
  return %0 : tensor<?xf32>
}
"""
X, Y = np.array([1, 2, 3], np.float32), np.array([10, 20, 30], np.float32)


def compile(source, **kwargs):
    return rlx.compile(source, cache=False, **kwargs)


def function(signature, body="return", name="main"):
    return f"func.func @{name}{signature} {{\n{body}\n}}\n"


# -- sources ---------------------------------------------------------------------------------------


def test_text():
    np.testing.assert_array_equal(compile(ADD)(X, Y), X + Y)


def test_text_on_one_line():
    result = compile("func.func @f(%x: f32) -> f32 { return %x : f32 }")(1.5)
    assert result == 1.5 and result.dtype == np.float32


def test_text_that_is_too_long_for_a_path():
    names = ", ".join(f"%a{number}: f32" for number in range(100))
    compiled = compile(f"func.func @f({names}) -> f32 {{ return %a99 : f32 }}")
    assert compiled(*range(100)) == 99


@pytest.mark.parametrize("as_type", [str, lambda path: path])
def test_path(tmp_path, as_type):
    path = tmp_path / "add.mlir"
    path.write_text(ADD)
    np.testing.assert_array_equal(compile(as_type(path))(X, Y), X + Y)


def test_bytecode_file(tmp_path):
    with ir.Context() as context:
        load_dialects(context)
        content = io.BytesIO()
        ir.Module.parse(ADD).operation.write_bytecode(content)
    path = tmp_path / "add.mlirbc"
    path.write_bytes(content.getvalue())
    np.testing.assert_array_equal(compile(path)(X, Y), X + Y)


def test_module_is_left_alone():
    with ir.Context() as context:
        load_dialects(context)
        module = ir.Module.parse(ADD)
        before = str(module)
        np.testing.assert_array_equal(compile(module)(X, Y), X + Y)
        assert str(module) == before
        assert module.operation.verify()


def test_module_with_rlx_ops_of_a_foreign_context():
    context = ir.Context()
    load_dialects(context)
    text = function(
        "(%x: tensor<?x4xf32>, %w: tensor<4x2xf32>) -> tensor<?x2xf32>",
        '%0 = "rlx.matmul"(%x, %w) : (tensor<?x4xf32>, tensor<4x2xf32>) -> tensor<?x2xf32>\n'
        "return %0 : tensor<?x2xf32>",
    )
    module = ir.Module.parse(text, context)
    x, w = np.ones((3, 4), np.float32), np.arange(8, dtype=np.float32).reshape(4, 2)
    np.testing.assert_array_equal(compile(module)(x, w), x @ w)


def test_module_of_other_bindings():
    """What a module of the other bindings in the same process offers."""

    class Operation:
        def get_asm(self, enable_debug_info):
            return ADD

    class Module:
        operation = Operation()
        body = None

    np.testing.assert_array_equal(compile(Module())(X, Y), X + Y)


class _Built:
    """What `rlx.flow.BuiltModel` looks like."""

    def __init__(self, module, parameters):
        self.module = module
        self.parameters = parameters


MODEL = """
func.func @main(
    %x: tensor<?xf32> {rlx.name = "x"}, %w: tensor<3xf32> {rlx.name = "a.weight", rlx.param})
    -> (tensor<?xf32> {rlx.name = "out"}) {
  %s = tensor.cast %w : tensor<3xf32> to tensor<?xf32>
  %0 = arith.addf %x, %s : tensor<?xf32>
  return %0 : tensor<?xf32>
}
"""


def test_built_model_binds_its_parameters():
    with ir.Context():
        built = _Built(ir.Module.parse(MODEL), {"a.weight": Y})
    compiled = compile(built)
    assert [spec.name for spec in compiled.inputs] == ["x"]
    np.testing.assert_array_equal(compiled(X), X + Y)
    np.testing.assert_array_equal(compiled.run({"x": X})["out"], X + Y)


def test_flow_is_built_with_weights():
    class Flow:
        def build(self, weights):
            with ir.Context():
                return _Built(ir.Module.parse(MODEL), weights)

    np.testing.assert_array_equal(compile(Flow(), weights={"a.weight": Y})(X), X + Y)
    with pytest.raises(rlx.runtime.ArgumentError, match=r"missing parameters: a\.weight"):
        compile(Flow())


def test_weights_are_for_flows():
    with pytest.raises(TypeError, match="ModelFlow"):
        compile(ADD, weights={})


@pytest.mark.parametrize("source", [3, None, b"module {}"])
def test_not_a_source(source):
    with pytest.raises(TypeError, match="expected MLIR text"):
        compile(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.mlir", "cannot read nowhere.mlir: No such file"),
        ("func.func @f() -> f32 {\n return %x : f32 }", "2:9: error: use of undeclared SSA value"),
        ('func.func @f() { "foo.bar"() : () -> ()\n return }', "unregistered"),
        ('func.func @f() { "rlx.nope"() : () -> ()\n return }', "rlx.nope"),
        ("no mlir\n", "not valid MLIR"),
    ],
)
def test_invalid_source(source, message):
    with pytest.raises(CompileError, match=message):
        compile(source)


def test_unreadable_file(tmp_path):
    path = tmp_path / "x.mlir"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CompileError, match="neither MLIR text nor bytecode"):
        compile(path)
    path.write_bytes(b"ML\xefRgarbage")
    with pytest.raises(CompileError, match="not valid MLIR"):
        compile(path)


def test_verifier_error_carries_the_diagnostic():
    text = function(
        "(%x: tensor<2x3xf32>, %w: tensor<4x5xf32>) -> tensor<2x5xf32>",
        '%0 = "rlx.matmul"(%x, %w) : (tensor<2x3xf32>, tensor<4x5xf32>) -> tensor<2x5xf32>\n'
        "return %0 : tensor<2x5xf32>",
    )
    with pytest.raises(CompileError, match="inner dimensions") as caught:
        compile(text)
    assert any("inner dimensions" in entry.message for entry in caught.value.diagnostics)


# -- entry -----------------------------------------------------------------------------------------


def two(second):
    """A function that returns 1, and one that returns 2."""
    body = "%c = arith.constant {} : i32\nreturn %c : i32"
    return function("() -> i32", body.format(1), "a") + function(
        "() -> i32", body.format(2), second
    )


def test_only_public_function():
    text = two("b").replace("@b", "private @b")
    assert compile(text)() == 1
    assert compile(text, entry="b")() == 2


def test_main_is_preferred():
    assert compile(two("main"))() == 2
    assert compile(two("main"), entry="a")() == 1


def test_names_that_need_quotes():
    assert compile(two('"x y-z"'), entry="x y-z")() == 2


@pytest.mark.parametrize(
    ("text", "entry", "message"),
    [
        (two("b"), None, "one named 'main', but found: a, b"),
        (two("b"), "c", "function 'c' does not exist; found: a, b"),
        ("module {\n}", None, "found: none"),
        ("func.func private @f()\n", None, "found: none"),
        ("func.func private @f()\n", "f", "function 'f' is declared but has no body"),
    ],
)
def test_no_entry(text, entry, message):
    with pytest.raises(CompileError, match=message):
        compile(text, entry=entry)


@pytest.mark.parametrize("name", ["exp", "expf", "malloc", "free", "memcpy", "aligned_alloc"])
def test_names_of_the_c_library_are_free(name):
    text = function(
        "(%x: tensor<4xf64>) -> (tensor<4xf64>, f64)",
        "%i = arith.constant 1 : index\n%0 = math.exp %x : tensor<4xf64>\n"
        "%1 = tensor.extract %0[%i] : tensor<4xf64>\n%2 = math.erf %1 : f64\n"
        "return %0, %2 : tensor<4xf64>, f64",
        name,
    )
    x = np.linspace(-1, 1, 4)
    tensor, scalar = compile(text)(x)
    np.testing.assert_allclose(tensor, np.exp(x), rtol=1e-14)
    assert scalar == pytest.approx(0.6889, abs=1e-3)


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "type_",
    [
        "memref<4xf32>",
        "tensor<*xf32>",
        "tensor<4xindex>",
        "tensor<4xcomplex<f32>>",
        "tensor<4xui8>",
        "tensor<4xi4>",
        "tensor<4xf8E4M3FN>",
        "vector<4xf32>",
        "complex<f32>",
        "i128",
        "!llvm.ptr",
    ],
)
def test_unsupported_argument(type_):
    text = function(f"(%a: f32, %b: {type_} {{rlx.name = 'x'}})".replace("'", '"'))
    with pytest.raises(CompileError, match="argument 'x': expected a ranked tensor or a scalar"):
        compile(text)


def test_unsupported_result():
    text = function("(%a: memref<4xf32>) -> memref<4xf32>", "return %a : memref<4xf32>")
    with pytest.raises(CompileError, match="argument 'arg0'"):
        compile(text)
    text = function(
        "() -> vector<4xf32>",
        "%0 = arith.constant dense<0.0> : vector<4xf32>\nreturn %0 : vector<4xf32>",
    )
    with pytest.raises(CompileError, match="result 'result0'"):
        compile(text)


def test_tensor_encodings_are_refused():
    with pytest.raises(CompileError, match="argument 'arg0': tensor encodings"):
        compile(function('(%a: tensor<4xf32, "packed">)'))


def test_names_must_differ():
    text = function('(%a: f32 {rlx.name = "q"}, %b: f32 {rlx.name = "q"})')
    with pytest.raises(CompileError, match="two arguments are named 'q'"):
        compile(text)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ("rlx.name = 3 : i64", "expected rlx.name to be a StringAttr, but found 3"),
        ('rlx.parts = ["a"]', "expected rlx.parts_axis to be"),
        ('rlx.parts = ["a"], rlx.parts_axis = 1 : i64', "rlx.parts_axis 1 is not an axis"),
    ],
)
def test_bad_argument_attributes(attributes, message):
    with pytest.raises(CompileError, match=message):
        compile(function(f"(%a: tensor<4xf32> {{{attributes}}})"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "func.func private @g(f32) -> f32\n"
            + function("(%x: f32) -> f32", "%0 = call @g(%x) : (f32) -> f32\nreturn %0 : f32"),
            "function 'g' is declared but has no body",
        ),
        (
            "llvm.func @printf(!llvm.ptr, ...) -> i32\n"
            + function(
                "()",
                "%0 = llvm.mlir.zero : !llvm.ptr\n"
                "%1 = llvm.call @printf(%0) vararg(!llvm.func<i32 (ptr, ...)>)"
                " : (!llvm.ptr) -> i32\nreturn",
            ),
            "function 'printf' is declared but has no body",
        ),
        (
            function(
                "(%x: tensor<4x8xf32>) -> tensor<4x8xf32>",
                "%e = tensor.empty() : tensor<4x8xf32>\n"
                "%0 = linalg.softmax dimension(1) ins(%x : tensor<4x8xf32>)"
                " outs(%e : tensor<4x8xf32>) -> tensor<4x8xf32>\n"
                "return %0 : tensor<4x8xf32>",
            ),
            "'linalg.softmax' op has no lowering",
        ),
        (
            function("()", 'llvm.inline_asm has_side_effects "nonsense", "" : () -> ()\nreturn'),
            "'llvm.inline_asm' op is not supported",
        ),
        (
            function(
                "(%x: f32) -> f32",
                "%0 = vector.broadcast %x : f32 to vector<[4]xf32>\n"
                "%1 = vector.reduction <add>, %0 : vector<[4]xf32> into f32\n"
                "return %1 : f32",
            ),
            "vectors of unknown size",
        ),
        (function("(%x: f32)", "vector.print %x : f32\nreturn"), "'printF32' is declared"),
    ],
)
def test_no_way_down(text, message):
    """LLVM would end the process at most of these."""
    with pytest.raises(CompileError, match=message):
        compile(text)


def test_unregistered_ops():
    with ir.Context() as context:
        context.allow_unregistered_dialects = True
        module = ir.Module.parse(
            function("(%x: f32) -> f32", '%0 = "a.b"(%x) : (f32) -> f32\nreturn %0 : f32')
        )
        with pytest.raises(CompileError, match=r"'a\.b'|a\.b"):
            compile(module)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("cpus", "did you mean 'cpu'"),
        ("cpu{opt-level=9}", "opt-level"),
        ("cpu{optlevel=1}", "did you mean 'opt-level'"),
        ("cpu{opt-level=1", "never closed"),
        (None, "expected the name of a target, or a target, got None"),
    ],
)
def test_bad_target(target, message):
    with pytest.raises(TargetError, match=message):
        compile(ADD, target=target)


def test_code_is_made_without_a_disk(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/proc/self")  # nobody can write there
    np.testing.assert_array_equal(compile(ADD)(X, X), X + X)


@pytest.mark.parametrize("level", range(4))
def test_opt_levels_agree(level):
    np.testing.assert_array_equal(compile(ADD, target=f"cpu{{opt-level={level}}}")(X, Y), X + Y)


# -- results ---------------------------------------------------------------------------------------


def test_a_result_that_is_an_argument_is_a_copy():
    compiled = compile(
        function("(%x: tensor<?xf32>) -> tensor<?xf32>", "return %x : tensor<?xf32>")
    )
    x = X.copy()
    result = compiled(x)
    result[:] = -1
    np.testing.assert_array_equal(x, X)


def test_a_constant_result_is_a_copy():
    compiled = compile(
        function(
            "() -> tensor<2xf32>",
            "%0 = arith.constant dense<[1.0, 2.0]> : tensor<2xf32>\nreturn %0 : tensor<2xf32>",
        )
    )
    compiled()[:] = -1
    np.testing.assert_array_equal(compiled(), [1, 2])


def test_results_may_be_one_value():
    compiled = compile(
        function(
            "(%x: tensor<?xf32>) -> (tensor<?xf32>, tensor<?xf32>, tensor<1x?xf32>)",
            "%c0 = arith.constant 0 : index\n%d = tensor.dim %x, %c0 : tensor<?xf32>\n"
            "%0 = arith.addf %x, %x : tensor<?xf32>\n"
            "%1 = tensor.expand_shape %0 [[0, 1]] output_shape [1, %d]"
            " : tensor<?xf32> into tensor<1x?xf32>\n"
            "return %0, %0, %1 : tensor<?xf32>, tensor<?xf32>, tensor<1x?xf32>",
        )
    )
    for _ in range(3):
        a, b, c = compiled(X)
        np.testing.assert_array_equal(a, 2 * X)
        np.testing.assert_array_equal(b, 2 * X)
        np.testing.assert_array_equal(c, 2 * X[None])


def test_no_results_and_no_arguments():
    assert compile(function("()"))() is None
    assert compile(function("(%x: tensor<3xf32>)"))(X) is None


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_sizes_of_zero(rows):
    compiled = compile(
        function(
            "(%x: tensor<?x3xf32>) -> (tensor<?x3xf32>, tensor<3x?xf32>)",
            "%c0 = arith.constant 0 : index\n%d = tensor.dim %x, %c0 : tensor<?x3xf32>\n"
            "%0 = arith.addf %x, %x : tensor<?x3xf32>\n%e = tensor.empty(%d) : tensor<3x?xf32>\n"
            "%1 = linalg.transpose ins(%x : tensor<?x3xf32>) outs(%e : tensor<3x?xf32>)"
            " permutation = [1, 0]\nreturn %0, %1 : tensor<?x3xf32>, tensor<3x?xf32>",
        )
    )
    x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    doubled, transposed = compiled(x)
    np.testing.assert_array_equal(doubled, 2 * x)
    np.testing.assert_array_equal(transposed, x.T)


def test_views_and_slices():
    """Results whose buffers are parts of others, and copies between strided buffers."""
    compiled = compile(
        function(
            "(%t: tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<3x2xf32>, tensor<32xf32>)",
            "%s = tensor.extract_slice %t[1, 1] [3, 2] [2, 1]"
            " : tensor<8x4xf32> to tensor<3x2xf32>\n"
            "%u = tensor.insert_slice %s into %t[0, 0] [3, 2] [1, 1]"
            " : tensor<3x2xf32> into tensor<8x4xf32>\n"
            "%c = tensor.collapse_shape %u [[0, 1]] : tensor<8x4xf32> into tensor<32xf32>\n"
            "return %u, %s, %c : tensor<8x4xf32>, tensor<3x2xf32>, tensor<32xf32>",
        )
    )
    t = np.arange(32, dtype=np.float32).reshape(8, 4)
    u = t.copy()
    u[:3, :2] = t[1:7:2, 1:3]
    for result, wanted in zip(compiled(t), (u, t[1:7:2, 1:3], u.reshape(-1)), strict=True):
        np.testing.assert_array_equal(result, wanted)


SCALARS = [
    ("f64", 1.25),
    ("f32", 1.25),
    ("f16", 1.25),
    ("bf16", 1.25),
    ("i64", -(2**40)),
    ("i32", -70000),
    ("i16", -300),
    ("i8", -3),
    ("i1", True),
]


@pytest.mark.parametrize(("dtype", "value"), SCALARS)
def test_one_scalar(dtype, value):
    result = compile(function(f"(%x: {dtype}) -> {dtype}", f"return %x : {dtype}"))(value)
    assert result == value
    assert result.dtype == rlx.dtypes.NAMES[dtype]


def test_scalars_and_tensors_mixed():
    """Small scalars lie between descriptors in one structure."""
    types = [dtype for dtype, _ in SCALARS]
    order = [*itertools.chain(*zip(types, [f"tensor<{t}>" for t in types], strict=True)), "index"]
    arguments = ", ".join(f"%a{i}: {t}" for i, t in enumerate(order))
    body = f"return {', '.join(f'%a{i}' for i in range(len(order)))} : {', '.join(order)}"
    compiled = compile(function(f"({arguments}) -> ({', '.join(order)})", body))
    values = [v for _, value in SCALARS for v in (value, value)] + [7]
    results = compiled(*values)
    assert list(results) == values
    assert [np.ndim(result) for result in results] == [0] * len(order)


# -- element types ---------------------------------------------------------------------------------

FLOATS = {"f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}


@pytest.mark.parametrize("dtype", FLOATS)
def test_float_arithmetic(dtype):
    compiled = compile(
        function(
            f"(%x: tensor<?x{dtype}>, %y: tensor<?x{dtype}>) -> tensor<?x{dtype}>",
            f"%0 = arith.mulf %x, %y : tensor<?x{dtype}>\n"
            f"%1 = arith.addf %0, %x : tensor<?x{dtype}>\nreturn %1 : tensor<?x{dtype}>",
        )
    )
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((2, 37)).astype(FLOATS[dtype])
    # One rounding per operation, as NumPy does it.
    np.testing.assert_array_equal(compiled(x, y), x * y + x)


@pytest.mark.parametrize("dtype", ["i64", "i32", "i16", "i8"])
def test_integer_arithmetic(dtype):
    compiled = compile(
        function(
            f"(%x: tensor<?x{dtype}>, %y: tensor<?x{dtype}>) -> tensor<?x{dtype}>",
            f"%0 = arith.muli %x, %y : tensor<?x{dtype}>\n"
            f"%1 = arith.subi %0, %x : tensor<?x{dtype}>\nreturn %1 : tensor<?x{dtype}>",
        )
    )
    numpy = rlx.dtypes.NAMES[dtype]
    x, y = np.random.default_rng(0).integers(-100, 100, (2, 37)).astype(numpy)
    np.testing.assert_array_equal(compiled(x, y), x * y - x)


def test_booleans():
    compiled = compile(
        function(
            "(%x: tensor<?xi1>, %y: tensor<?xi1>) -> (tensor<?xi1>, tensor<?xi32>)",
            "%0 = arith.xori %x, %y : tensor<?xi1>\n"
            "%1 = arith.extui %0 : tensor<?xi1> to tensor<?xi32>\n"
            "return %0, %1 : tensor<?xi1>, tensor<?xi32>",
        )
    )
    x, y = np.random.default_rng(0).integers(0, 2, (2, 19)).astype(bool)
    flags, numbers = compiled(x, y)
    assert flags.dtype == np.bool_
    np.testing.assert_array_equal(flags, x ^ y)
    np.testing.assert_array_equal(numbers, x ^ y)


def _cast(source, target):
    return compile(
        function(
            f"(%x: tensor<?x{source}>) -> tensor<?x{target}>",
            f"%0 = arith.truncf %x : tensor<?x{source}> to tensor<?x{target}>\n"
            f"return %0 : tensor<?x{target}>",
        )
    )


def _values(dtype):
    """All finite values of a 16-bit type, in order, and their bits."""
    bits = np.arange(2**16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(bits.view(dtype))
    bits = bits[finite & (bits != 0x8000)]  # one zero is enough
    values = bits.view(dtype).astype(np.float64)
    order = np.argsort(values)
    return values[order], bits[order]


def _rounded(values, dtype):
    """Nearest values of a 16-bit type, ties to even bits; finite arguments only."""
    grid, bits = _values(dtype)
    beyond = 2 * grid[-1] - grid[-2]  # what lies nearer to this than to the largest is infinite
    infinity = dtype(np.inf).view(np.uint16) if dtype is np.float16 else np.uint16(0x7F80)
    grid = np.concatenate([[-beyond], grid, [beyond]])
    bits = np.concatenate([[infinity | 0x8000], bits, [infinity]]).astype(np.uint16)
    above = np.clip(np.searchsorted(grid, values), 1, len(grid) - 1)
    to_above, to_below = grid[above] - values, values - grid[above - 1]
    up = (to_above < to_below) | ((to_above == to_below) & (bits[above] % 2 == 0))
    found = np.where(up, bits[above], bits[above - 1])
    return np.where((found == 0) & np.signbit(values), np.uint16(0x8000), found)


def _edge_cases(dtype):
    """All values of a 16-bit type, what lies halfway between two, and what is next to that."""
    grid, _ = _values(dtype)
    halves = (grid[1:] + grid[:-1]) / 2
    largest = grid[-1] + (grid[-1] - grid[-2]) / 2
    points = np.concatenate([grid, halves, [largest, -largest]])
    near = [np.nextafter(points, np.inf), np.nextafter(points, -np.inf)]
    return np.concatenate([points, *near, [1e300, -1e300, 5e-324, -5e-324, -0.0]])


@pytest.mark.parametrize("target", ["f16", "bf16"])
@pytest.mark.parametrize("source", ["f64", "f32"])
def test_rounding_is_exact(source, target):
    dtype = FLOATS[target]
    with np.errstate(over="ignore"):
        values = _edge_cases(dtype).astype(FLOATS[source])
    values = values[np.isfinite(values)]
    result = _cast(source, target)(values)
    wrong = result.view(np.uint16) != _rounded(values.astype(np.float64), dtype)
    assert not wrong.any(), (values[wrong][:5], result[wrong][:5])
    odd = _cast(source, target)(np.array([np.inf, -np.inf, np.nan], FLOATS[source]))
    np.testing.assert_array_equal(odd.astype(np.float64), [np.inf, -np.inf, np.nan])


def test_math_on_small_floats():
    compiled = compile(
        function(
            "(%x: tensor<?xbf16>, %y: tensor<?xf16>) -> (tensor<?xbf16>, tensor<?xf16>)",
            "%0 = math.exp %x : tensor<?xbf16>\n%1 = math.tanh %y : tensor<?xf16>\n"
            "return %0, %1 : tensor<?xbf16>, tensor<?xf16>",
        )
    )
    values = np.linspace(-3, 3, 41)
    x, y = values.astype(ml_dtypes.bfloat16), values.astype(np.float16)
    exponential, tangent = compiled(x, y)
    wanted = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(exponential.astype(np.float64), wanted, rtol=2.0**-8)
    np.testing.assert_allclose(tangent, np.tanh(y.astype(np.float64)), rtol=2.0**-10, atol=1e-7)


# -- control flow ----------------------------------------------------------------------------------


def test_recursion():
    compiled = compile(
        function(
            "(%t: tensor<?xf32>, %n: i64) -> tensor<?xf32>",
            """
            %c1 = arith.constant 1 : i64
            %last = arith.cmpi sle, %n, %c1 : i64
            %r = scf.if %last -> (tensor<?xf32>) {
              scf.yield %t : tensor<?xf32>
            } else {
              %m = arith.subi %n, %c1 : i64
              %q = func.call @main(%t, %m) : (tensor<?xf32>, i64) -> tensor<?xf32>
              %p = arith.addf %q, %t : tensor<?xf32>
              scf.yield %p : tensor<?xf32>
            }
            return %r : tensor<?xf32>""",
        )
    )
    np.testing.assert_array_equal(compiled(X, 4), 4 * X)
    np.testing.assert_array_equal(compiled(X, 1), X)


def test_private_functions_do_not_write_to_the_caller():
    text = "func.func private @negate(%t: tensor<?xf32>) -> tensor<?xf32> {\n" + (
        "%0 = linalg.negf ins(%t : tensor<?xf32>) outs(%t : tensor<?xf32>) -> tensor<?xf32>\n"
        "return %0 : tensor<?xf32> }\n"
    )
    text += function(
        "(%t: tensor<?xf32>) -> (tensor<?xf32>, tensor<?xf32>)",
        "%0 = call @negate(%t) : (tensor<?xf32>) -> tensor<?xf32>\n"
        "%1 = arith.addf %0, %t : tensor<?xf32>\n"
        "return %0, %1 : tensor<?xf32>, tensor<?xf32>",
    )
    x = X.copy()
    negative, zero = compile(text)(x)
    np.testing.assert_array_equal(negative, -X)
    np.testing.assert_array_equal(zero, 0 * X)
    np.testing.assert_array_equal(x, X)


def test_branches_between_blocks():
    compiled = compile(
        function(
            "(%n: i64, %t: tensor<2xf32>) -> (i64, tensor<2xf32>)",
            """
            %z = arith.constant 0 : i64
            %o = arith.constant 1 : i64
            cf.br ^head(%z, %z, %t : i64, i64, tensor<2xf32>)
            ^head(%i: i64, %s: i64, %u: tensor<2xf32>):
            %c = arith.cmpi slt, %i, %n : i64
            cf.cond_br %c, ^body, ^end
            ^body:
            %j = arith.addi %i, %o : i64
            %v = arith.addf %u, %t : tensor<2xf32>
            %r = arith.addi %s, %i : i64
            cf.br ^head(%j, %r, %v : i64, i64, tensor<2xf32>)
            ^end:
            return %s, %u : i64, tensor<2xf32>""",
        )
    )
    total, tensor = compiled(5, X[:2])
    assert total == 10
    np.testing.assert_array_equal(tensor, 6 * X[:2])


def test_loops_and_padding():
    compiled = compile(
        function(
            "(%t: tensor<2x3xf32>, %n: index) -> tensor<4x6xf32>",
            """
            %z = arith.constant 0.0 : f32
            %c0 = arith.constant 0 : index
            %c1 = arith.constant 1 : index
            %sum = scf.for %i = %c0 to %n step %c1 iter_args(%u = %t) -> (tensor<2x3xf32>) {
              %v = arith.addf %u, %t : tensor<2x3xf32>
              scf.yield %v : tensor<2x3xf32>
            }
            %p = tensor.pad %sum low[1, 1] high[1, 2] {
            ^bb0(%i: index, %j: index):
              tensor.yield %z : f32
            } : tensor<2x3xf32> to tensor<4x6xf32>
            return %p : tensor<4x6xf32>""",
        )
    )
    t = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(compiled(t, 3), np.pad(4 * t, ((1, 1), (1, 2))))


def test_loops_of_other_kinds():
    compiled = compile(
        function(
            "(%t: tensor<?x4xf32>, %n: index) -> (tensor<?x4xf32>, f32)",
            """
            %c0 = arith.constant 0 : index
            %c1 = arith.constant 1 : index
            %z = arith.constant 0.0 : f32
            %d = tensor.dim %t, %c0 : tensor<?x4xf32>
            %e = tensor.empty(%d) : tensor<?x4xf32>
            %r = scf.forall (%i) in (%d) shared_outs(%o = %e) -> (tensor<?x4xf32>) {
              %s = tensor.extract_slice %t[%i, 0] [1, 4] [1, 1]
                : tensor<?x4xf32> to tensor<1x4xf32>
              %x = arith.addf %s, %s : tensor<1x4xf32>
              scf.forall.in_parallel {
                tensor.parallel_insert_slice %x into %o[%i, 0] [1, 4] [1, 1]
                  : tensor<1x4xf32> into tensor<?x4xf32>
              }
            }
            %a = affine.for %i = 0 to %n iter_args(%b = %z) -> (f32) {
              %j = arith.index_cast %i : index to i32
              %f = arith.sitofp %j : i32 to f32
              %s = arith.addf %b, %f : f32
              affine.yield %s : f32
            }
            %p = scf.parallel (%i) = (%c0) to (%n) step (%c1) init (%a) -> f32 {
              scf.reduce(%a : f32) {
              ^bb0(%x: f32, %y: f32):
                %q = arith.addf %x, %y : f32
                scf.reduce.return %q : f32
              }
            }
            return %r, %p : tensor<?x4xf32>, f32""",
        )
    )
    t = np.arange(12, dtype=np.float32).reshape(3, 4)
    doubled, total = compiled(t, 4)
    np.testing.assert_array_equal(doubled, 2 * t)
    assert total == 6 + 4 * 6


def test_reshape_and_vectors():
    compiled = compile(
        function(
            "(%t: tensor<16xf32>, %s: tensor<2xi64>) -> (tensor<?x?xf32>, tensor<16xf32>, f32)",
            """
            %c0 = arith.constant 0 : index
            %z = arith.constant 0.0 : f32
            %r = tensor.reshape %t(%s) : (tensor<16xf32>, tensor<2xi64>) -> tensor<?x?xf32>
            %v = vector.transfer_read %t[%c0], %z : tensor<16xf32>, vector<16xf32>
            %w = arith.addf %v, %v : vector<16xf32>
            %e = tensor.empty() : tensor<16xf32>
            %u = vector.transfer_write %w, %e[%c0] : vector<16xf32>, tensor<16xf32>
            %m = vector.reduction <add>, %w : vector<16xf32> into f32
            return %r, %u, %m : tensor<?x?xf32>, tensor<16xf32>, f32""",
        )
    )
    t = np.arange(16, dtype=np.float32)
    shaped, doubled, total = compiled(t, [2, 8])
    np.testing.assert_array_equal(shaped, t.reshape(2, 8))
    np.testing.assert_array_equal(doubled, 2 * t)
    assert total == 240


def test_resources():
    text = function(
        "() -> tensor<2xf32>",
        "%0 = arith.constant dense_resource<r> : tensor<2xf32>\nreturn %0 : tensor<2xf32>",
    )
    text += '{-# dialect_resources: { builtin: { r: "0x040000000000803F00000040" } } #-}\n'
    np.testing.assert_array_equal(compile(text)(), [1, 2])


# -- stages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "present", "absent"),
    [
        ("rlx", "rlx.matmul", "linalg."),
        ("fused", "rlx.matmul", "linalg."),
        ("linalg", "linalg.generic", "rlx.matmul"),
        ("bufferized", "memref", "tensor<"),
        ("llvm", "llvm.func", "memref"),
    ],
)
def test_lower(stage, present, absent):
    text = function(
        "(%x: tensor<?x4xf32>, %w: tensor<4x2xf32>) -> tensor<?x2xf32>",
        '%0 = "rlx.matmul"(%x, %w) : (tensor<?x4xf32>, tensor<4x2xf32>) -> tensor<?x2xf32>\n'
        "return %0 : tensor<?x2xf32>",
    )
    lowered = str(rlx.lower(text, stage))
    assert present in lowered
    assert absent not in lowered


def test_lower_to_nowhere():
    with pytest.raises(TargetError, match="known: rlx, fused, linalg, bufferized, llvm"):
        rlx.lower(ADD, "ptx")


def test_dump_progress_and_timings(tmp_path):
    steps = []
    compiled = compile(ADD, dump=tmp_path / "ir", progress=steps.append)
    stages = ["rlx", "fused", "linalg", "bufferized", "llvm"]
    names = sorted(path.name for path in (tmp_path / "ir").iterdir())
    assert names == [f"{number}_{stage}.mlir" for number, stage in enumerate(stages)]
    assert "llvm.func" in (tmp_path / "ir" / "4_llvm.mlir").read_text()
    assert steps == ["read", "import", "parse", *stages, "object", "load"]
    assert list(compiled.timings) == steps
    assert all(seconds >= 0 for seconds in compiled.timings.values())


def test_instrumentation_sees_every_pass():
    seen = []
    hooks = Instrumentation(after=[lambda leaf, op: seen.append(leaf.name)])
    rlx.compile(ADD, instrumentation=hooks)
    assert {"convert-rlx-to-linalg", "one-shot-bufferize", "convert-to-llvm"} <= set(seen)


def test_repr_shows_the_signature():
    assert repr(compile(MODEL)) == (
        "<rlx executable 'main': (x: tensor<?xf32>, a.weight: tensor<3xf32>) -> "
        "(out: tensor<?xf32>)>"
    )
