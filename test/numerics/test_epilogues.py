"""Products with weights that are packed at load, and what kernels do to them before they write."""

import numpy as np
import pytest
from harness import FLOATS, assert_close, random

import rlx
from rlx.compiler import lower
from rlx.schedules.cpu.isa import ISAS
from rlx.targets.cpu import host_features

HERE = [name for name in ("avx512", "avx2") if ISAS[name].features <= host_features()]
INNER = 45


def source(columns, body, result, dtype="f32", arguments="", transposed=True):
    """A module with a product %y [?, columns] of %x and the parameter %w, and what follows it."""
    shape = f"{columns}x{INNER}" if transposed else f"{INNER}x{columns}"
    x, w, y = (
        f"tensor<?x{INNER}x{dtype}>",
        f"tensor<{shape}x{dtype}>",
        f"tensor<?x{columns}x{dtype}>",
    )
    return f"""
      #all = affine_map<(i, j) -> (i, j)>
      #row = affine_map<(i, j) -> (i)>
      #column = affine_map<(i, j) -> (j)>
      #turned = affine_map<(i, j) -> (j, i)>
      func.func @main(%x: {x}, %w: {w} {{rlx.param, rlx.name = "w"}}{arguments}) -> {result} {{
        %zero = arith.constant 0 : index
        %m = tensor.dim %x, %zero : {x}
        %y = "rlx.matmul"(%x, %w) {{transpose_weight = {str(transposed).lower()}}}
          : ({x}, {w}) -> {y}
        {body}
      }}"""


def is_absorbed(text, isa):
    """Whether no loop nest is left beside the kernels."""
    return "linalg.generic {" not in str(lower(text, "bufferized", f"cpu{{kernels={isa}}}"))


def weight(columns, dtype="f32", transposed=True):
    return random((columns, INNER) if transposed else (INNER, columns), dtype, seed=1)


def wide(*arrays):
    return [array.astype(np.float64) for array in arrays]


ROWS = [0, 1, 5, 17, 23, 127, 383, 384, 397]


@pytest.mark.parametrize(
    ("isa", "transposed", "dtype"),
    [
        *((isa, True, dtype) for isa in HERE for dtype in ("f32", "bf16")),
        (HERE[0], False, "f32"),
        (HERE[0], True, "f16"),
    ],
)
def test_packed_weight(isa, transposed, dtype):
    """Few rows, some, and many; the last panel and the last tiles are not full."""
    columns = 131
    text = source(
        columns,
        f"return %y : tensor<?x{columns}x{dtype}>",
        f"tensor<?x{columns}x{dtype}>",
        dtype,
        transposed=transposed,
    )
    assert is_absorbed(text, isa)  # rounding, that is
    assert "rlx.tiling" in str(lower(text, "linalg", f"cpu{{kernels={isa}}}"))
    w = weight(columns, dtype, transposed)
    function = rlx.compile(text, f"cpu{{kernels={isa}}}", cache=False).bind({"w": w})
    for rows in ROWS:
        x = random((rows, INNER), dtype, seed=rows)
        a, b = wide(x, w)
        assert_close(function(x), a @ (b.T if transposed else b))


@pytest.mark.parametrize("rows", [18, 23, 64, 130, 133, 250, 383, 384, 393, 407])
def test_known_rows(rows):
    """Only the tiles that these rows need; blocks of them are full, or nearly."""
    columns = 80
    x, w = random((rows, 2100)), random((columns, 2100), seed=1)
    text = f"""
      func.func @main(%x: tensor<{rows}x2100xf32>,
        %w: tensor<{columns}x2100xf32> {{rlx.param}})
        -> tensor<{rows}x{columns}xf32> {{
        %y = "rlx.matmul"(%x, %w) {{transpose_weight = true}}
          : (tensor<{rows}x2100xf32>, tensor<{columns}x2100xf32>) -> tensor<{rows}x{columns}xf32>
        return %y : tensor<{rows}x{columns}xf32>
      }}"""
    assert_close(rlx.compile(text, cache=False)(x, w), np.matmul(*wide(x, w.T)))


@pytest.mark.parametrize("inner", [1041, 2080, 2081, 4163])
def test_blocks_of_the_inner_dimension(inner):
    """Full, with little left over, and several; the second half of the columns is a piece."""
    x, w = f"tensor<?x{inner}xf32>", f"tensor<64x{inner}xf32>"
    text = f"""
      func.func @main(%x: {x}, %w: {w} {{rlx.name = "w", rlx.param}})
          -> tensor<?x32xf32> {{
        %zero = arith.constant 0 : index
        %rows = tensor.dim %x, %zero : {x}
        %y = "rlx.matmul"(%x, %w) {{transpose_weight = true}} : ({x}, {w}) -> tensor<?x64xf32>
        %a = tensor.extract_slice %y[0, 0] [%rows, 32] [1, 1]
          : tensor<?x64xf32> to tensor<?x32xf32>
        %b = tensor.extract_slice %y[0, 32] [%rows, 32] [1, 1]
          : tensor<?x64xf32> to tensor<?x32xf32>
        %r = arith.subf %a, %b : tensor<?x32xf32>
        return %r : tensor<?x32xf32>
      }}"""
    assert is_absorbed(text, HERE[0])
    w = random((64, inner), seed=1)
    function = rlx.compile(text, cache=False).bind({"w": w})
    for rows in (20, 170, 401):
        x = random((rows, inner), seed=rows)
        a, b = wide(x, w[:32] - w[32:])
        assert_close(function(x), a @ b.T)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("isa", HERE)
def test_many_known_rows_and_a_residual(isa, threads):
    """The last tile has a row and a panel less than it could."""
    x, w, r = random((405, 1100)), random((1070, 1100), seed=1), random((405, 1070), seed=2)
    function = rlx.compile(
        """
        func.func @main(%x: tensor<405x1100xf32>, %w: tensor<1070x1100xf32> {rlx.param},
          %r: tensor<405x1070xf32>) -> tensor<405x1070xf32> {
          %y = "rlx.matmul"(%x, %w) {transpose_weight = true}
            : (tensor<405x1100xf32>, tensor<1070x1100xf32>) -> tensor<405x1070xf32>
          %e = tensor.empty() : tensor<405x1070xf32>
          %s = linalg.add ins(%y, %r : tensor<405x1070xf32>, tensor<405x1070xf32>)
            outs(%e : tensor<405x1070xf32>) -> tensor<405x1070xf32>
          return %s : tensor<405x1070xf32>
        }""",
        f"cpu{{kernels={isa}}}",
        threads=threads,
        cache=False,
    )
    a, b, c = wide(x, w, r)
    assert_close(function(x, w, r), a @ b.T + c)


@pytest.mark.parametrize("columns", [32, 48, 65, 1030])
def test_known_columns(columns):
    text = source(columns, f"return %y : tensor<?x{columns}xf32>", f"tensor<?x{columns}xf32>")
    w = weight(columns)
    function = rlx.compile(text, cache=False).bind({"w": w})
    for rows in (7, 131, 400):
        x = random((rows, INNER))
        assert_close(function(x), np.matmul(*wide(x, w.T)))


def test_kernels_of_several_products():
    """Products that need other tiles, some with epilogues: each gets a kernel of its own."""
    ops = {"a": "arith.negf", "b": "math.absf", "c": "math.exp", "d": None}
    columns = {"a": 48, "b": 48, "c": 48, "d": 80}
    weights = {name: weight(size) for name, size in columns.items()}
    arguments, body, results = [], "", []
    for name, op in ops.items():
        x, w = f"tensor<?x{INNER}xf32>", f"tensor<{columns[name]}x{INNER}xf32>"
        y = f"tensor<?x{columns[name]}xf32>"
        arguments += [f"%x{name}: {x}", f'%{name}: {w} {{rlx.param, rlx.name = "{name}"}}']
        body += f"""
            %y{name} = "rlx.matmul"(%x{name}, %{name}) {{transpose_weight = true}}
              : ({x}, {w}) -> {y}"""
        if op:
            body += f"\n            %z{name} = {op} %y{name} : {y}"
        results.append((f"%{'z' if op else 'y'}{name}", y))
    values, types = (", ".join(column) for column in zip(*results, strict=True))
    text = f"""
      func.func @main({", ".join(arguments)}) -> ({types}) {{{body}
        return {values} : {types}
      }}"""
    assert is_absorbed(text, HERE[0])
    function = rlx.compile(text, cache=False).bind(weights)
    inputs = [random((37, INNER), seed=n) / 8 for n in range(4)]
    products = [np.matmul(*wide(x, w.T)) for x, w in zip(inputs, weights.values(), strict=True)]
    a, b, c, d = products
    for found, wanted in zip(function(*inputs), (-a, np.abs(b), np.exp(c), d), strict=True):
        assert_close(found, wanted)


def generic(inputs, outputs, body, element="f32"):
    """An elementwise op; ``inputs`` are (name, map, type)."""
    maps = ", ".join(["#" + m for _, m, _ in inputs] + ["#all"])
    names = ", ".join(name for name, _, _ in inputs)
    types = ", ".join(type_ for _, _, type_ in inputs)
    scalars = ", ".join(f"%a{n}: {t.split('x')[-1][:-1]}" for n, (_, _, t) in enumerate(inputs))
    return f"""
        %e = tensor.empty(%m) : {outputs}
        %z = linalg.generic {{indexing_maps = [{maps}],
          iterator_types = ["parallel", "parallel"]}}
          ins({names} : {types}) outs(%e : {outputs}) {{
        ^bb0({scalars}, %out: {element}):
          {body}
        }} -> {outputs}
        return %z : {outputs}"""


@pytest.mark.parametrize(("isa", "dtype"), [*((isa, "f32") for isa in HERE), (HERE[0], "bf16")])
def test_operands_of_all_kinds(isa, dtype):
    """A residual, a bias and a scale per row, in one op."""
    columns = 70
    y = f"tensor<?x{columns}x{dtype}>"
    narrow = dtype != "f32"
    cast = f"%f = arith.extf %a0 : {dtype} to f32" if narrow else "%f = arith.addf %a0, %a1 : f32"
    first = "%f" if narrow else "%a0"
    rounded = "%t = arith.truncf %s : f32 to " + dtype if narrow else "%t = arith.negf %s : f32"
    body = f"""
          {cast}
          %p = arith.mulf {first}, %a1 : f32
          %q = arith.addf %p, %a2 : f32
          %s = arith.subf %q, %a3 : f32
          {rounded}
          linalg.yield {"%t" if narrow else "%s"} : {dtype}"""
    inputs = [
        ("%y", "all", y),
        ("%scale", "row", "tensor<?xf32>"),
        ("%bias", "column", f"tensor<{columns}xf32>"),
        ("%residual", "all", f"tensor<?x{columns}xf32>"),
    ]
    arguments = "".join(f", {name}: {type_}" for name, _, type_ in inputs[1:])
    text = source(columns, generic(inputs, y, body, dtype), y, dtype, arguments)
    assert is_absorbed(text, isa)
    w, bias = weight(columns, dtype), random((columns,), seed=2)
    function = rlx.compile(text, f"cpu{{kernels={isa}}}", cache=False).bind({"w": w})
    for rows in ROWS:
        x, scale, residual = (
            random((rows, INNER), dtype),
            random((rows,)),
            random((rows, columns), seed=3),
        )
        a, b = wide(x, w)
        assert_close(function(x, scale, bias, residual), a @ b.T * scale[:, None] + bias - residual)


def silu(x):
    return x / (1 + np.exp(-x))


UNIT = """
          %n = arith.negf %a0 : f32
          %e0 = math.exp %n : f32
          %one = arith.constant 1.0 : f32
          %d = arith.addf %e0, %one : f32
          %g = arith.divf %a0, %d : f32
          %p = arith.mulf %g, %a1 : f32
          linalg.yield %p : f32"""


def halves(width, second):
    """Slices of the product."""
    wide_, half = f"tensor<?x{2 * width}xf32>", f"tensor<?x{width}xf32>"
    return f"""
        %gate = tensor.extract_slice %y[0, 0] [%m, {width}] [1, 1] : {wide_} to {half}
        %up = tensor.extract_slice %y[0, {second}] [%m, {width}] [1, 1] : {wide_} to {half}
        """


@pytest.mark.parametrize("isa", HERE)
def test_gated_unit(isa):
    """Two halves of a product, of more than a block of columns."""
    width = 528
    half = f"tensor<?x{width}xf32>"
    inputs = [("%gate", "all", half), ("%up", "all", half)]
    text = source(2 * width, halves(width, width) + generic(inputs, half, UNIT), half)
    assert is_absorbed(text, isa)
    w = weight(2 * width)
    function = rlx.compile(text, f"cpu{{kernels={isa}}}", cache=False).bind({"w": w})
    for rows in (3, 40, 130):
        x = random((rows, INNER))
        a, b = wide(x, w)
        y = a @ b.T
        assert_close(function(x), silu(y[:, :width]) * y[:, width:])


def near_miss(body, result, arguments="", columns=64):
    """The result of something that is not an epilogue, by name of the argument."""
    text = source(columns, body, result, arguments=arguments)
    return text, rlx.compile(text, "cpu{opt-level=0}", cache=False).bind({"w": weight(columns)})


def product(x, columns=64):
    a, b = wide(x, weight(columns))
    return a @ b.T


X = random((37, INNER))
Y = "tensor<?x64xf32>"
DOUBLE = "%s = arith.addf %a0, %a0 : f32\n linalg.yield %s : f32"


class TestNearMisses:
    def test_the_product_is_returned_as_well(self):
        text, function = near_miss(
            generic([("%y", "all", Y)], Y, DOUBLE)
            .replace("return %z", "return %y, %z")
            .replace(f": {Y}", f": {Y}", 1)
            .rsplit(":", 1)[0]
            + f": {Y}, {Y}",
            f"({Y}, {Y})",
        )
        assert not is_absorbed(text, HERE[0])
        first, second = function(X)
        assert_close(first, product(X))
        assert_close(second, 2 * product(X))

    def test_it_is_read_transposed(self):
        body = generic([("%y", "turned", Y)], "tensor<64x?xf32>", DOUBLE).replace(
            "(%m) : tensor<64x?xf32>", "(%m) : tensor<64x?xf32>"
        )
        text, function = near_miss(body, "tensor<64x?xf32>")
        assert not is_absorbed(text, HERE[0])
        assert_close(function(X), 2 * product(X).T)

    def test_a_position_is_read(self):
        body = """
          %i = linalg.index 1 : index
          %n = arith.index_cast %i : index to i32
          %f = arith.sitofp %n : i32 to f32
          %s = arith.addf %a0, %f : f32
          linalg.yield %s : f32"""
        text, function = near_miss(generic([("%y", "all", Y)], Y, body), Y)
        assert not is_absorbed(text, HERE[0])
        assert_close(function(X), product(X) + np.arange(64))

    def test_a_function_without_a_vector_form(self):
        body = "%s = math.sin %a0 : f32\n linalg.yield %s : f32"
        text, function = near_miss(generic([("%y", "all", Y)], Y, body), Y)
        assert not is_absorbed(text, HERE[0])
        assert_close(function(X), np.sin(product(X)), 1e-4)

    def test_a_number_that_is_no_constant(self):
        body = "%s = arith.mulf %a0, %f : f32\n linalg.yield %s : f32"
        text, function = near_miss(generic([("%y", "all", Y)], Y, body), Y, ", %f: f32")
        assert not is_absorbed(text, HERE[0])
        assert_close(function(X, 3.0), 3 * product(X))

    def test_integers(self):
        body = """
          %s = arith.sitofp %a1 : i32 to f32
          %t = arith.addf %a0, %s : f32
          linalg.yield %t : f32"""
        inputs = [("%y", "all", Y), ("%k", "column", "tensor<64xi32>")]
        text, function = near_miss(generic(inputs, Y, body), Y, ", %k: tensor<64xi32>")
        assert not is_absorbed(text, HERE[0])
        k = np.arange(64, dtype=np.int32)
        assert_close(function(X, k), product(X) + k)

    @pytest.mark.parametrize("second", [24, 32])
    def test_slices(self, second):
        """A start in the middle of a panel stays; slices that overlap are fine."""
        half = "tensor<?x32xf32>"
        inputs = [("%gate", "all", half), ("%up", "all", half)]
        text, function = near_miss(halves(32, second) + generic(inputs, half, UNIT), half)
        assert is_absorbed(text, HERE[0]) == (second % 16 == 0)
        y = product(X)
        assert_close(function(X), silu(y[:, :32]) * y[:, second : second + 32])

    def test_a_slice_of_rows(self):
        body = f"""
        %one = arith.constant 1 : index
        %k = arith.subi %m, %one : index
        %s = tensor.extract_slice %y[1, 0] [%k, 64] [1, 1] : {Y} to {Y}
        """ + generic([("%s", "all", Y)], Y, DOUBLE.replace("%s", "%t")).replace(
            "empty(%m)", "empty(%k)"
        )
        text, function = near_miss(body, Y)
        assert not is_absorbed(text, HERE[0])
        assert_close(function(X), 2 * product(X)[1:])

    def test_in_a_loop(self):
        """The product is computed once."""
        body = f"""
        %one = arith.constant 1 : index
        %n = arith.constant 3 : index
        %e = tensor.empty(%m) : {Y}
        %c = arith.constant 0.0 : f32
        %f = linalg.fill ins(%c : f32) outs(%e : {Y}) -> {Y}
        %z = scf.for %i = %zero to %n step %one iter_args(%s = %f) -> {Y} {{
          %t = linalg.generic {{indexing_maps = [#all, #all, #all],
            iterator_types = ["parallel", "parallel"]}}
            ins(%y, %s : {Y}, {Y}) outs(%e : {Y}) {{
          ^bb0(%a0: f32, %a1: f32, %out: f32):
            %p = arith.addf %a0, %a1 : f32
            linalg.yield %p : f32
          }} -> {Y}
          scf.yield %t : {Y}
        }}
        return %z : {Y}"""
        text, function = near_miss(body, Y)
        assert not is_absorbed(text, HERE[0])
        assert_close(function(X), 3 * product(X))

    def test_output_that_is_read(self):
        """What an op writes to is an operand if it looks at it."""
        body = f"""
        %z = linalg.generic {{indexing_maps = [#all, #all],
          iterator_types = ["parallel", "parallel"]}}
          ins(%y : {Y}) outs(%r : {Y}) {{
        ^bb0(%a0: f32, %out: f32):
          %p = arith.subf %a0, %out : f32
          linalg.yield %p : f32
        }} -> {Y}
        return %z : {Y}"""
        text, function = near_miss(body, Y, f", %r: {Y}")
        assert is_absorbed(text, HERE[0])
        r = random((37, 64), seed=5)
        assert_close(function(X, r), product(X) - r)


def test_a_result_that_is_turned_is_no_epilogue():
    matrix = f"tensor<64x{INNER}xf32>"
    text = f"""
      #all = affine_map<(i, j) -> (i, j)>
      #turned = affine_map<(i, j) -> (j, i)>
      func.func @main(%x: {matrix}, %w: {matrix} {{rlx.param, rlx.name = "w"}})
        -> tensor<64x64xf32> {{
        %y = "rlx.matmul"(%x, %w) {{transpose_weight = true}}
          : ({matrix}, {matrix}) -> tensor<64x64xf32>
        %e = tensor.empty() : tensor<64x64xf32>
        %z = linalg.generic {{indexing_maps = [#all, #turned],
          iterator_types = ["parallel", "parallel"]}}
          ins(%y : tensor<64x64xf32>) outs(%e : tensor<64x64xf32>) {{
        ^bb0(%a: f32, %out: f32):
          %n = arith.negf %a : f32
          linalg.yield %n : f32
        }} -> tensor<64x64xf32>
        return %z : tensor<64x64xf32>
      }}"""
    x, w = random((64, INNER)), weight(64)
    function = rlx.compile(text, "cpu{threads=1}", cache=False).bind({"w": w})
    assert_close(function(x), -np.matmul(*wide(x, w.T)).T)


def test_residual_with_leading_dimensions():
    """Rows of several axes; sizes that are checked at run time."""
    text = f"""
      func.func @main(%x: tensor<?x?x{INNER}xf32>, %r: tensor<?x?x64xf32>, %b: tensor<64xf32>,
        %w: tensor<64x{INNER}xf32> {{rlx.param, rlx.name = "w"}})
        -> tensor<?x?x64xf32> {{
        %y = "rlx.matmul"(%x, %w) {{transpose_weight = true}}
          : (tensor<?x?x{INNER}xf32>, tensor<64x{INNER}xf32>) -> tensor<?x?x64xf32>
        %z = arith.addf %r, %y : tensor<?x?x64xf32>
        return %z : tensor<?x?x64xf32>
      }}"""
    assert is_absorbed(text, HERE[0])
    w, b = weight(64), random((64,))
    function = rlx.compile(text, cache=False).bind({"w": w})
    for shape in ((2, 3), (1, 40), (3, 9)):
        x, r = random((*shape, INNER)), random((*shape, 64), seed=4)
        assert_close(function(x, r, b), x.astype(np.float64) @ w.T.astype(np.float64) + r)
    with pytest.raises(rlx.runtime.ExecutionError, match="sizes do not agree"):
        function(random((2, 3, INNER)), random((3, 2, 64)), b)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", list(FLOATS)[:3])
@pytest.mark.parametrize("isa", HERE)
def test_sizes(isa, dtype):
    """Random sizes of gated units, with two threads."""
    numbers = np.random.default_rng(0)
    for _ in range(6):
        width = 16 * int(numbers.integers(2, 80))
        inner = int(numbers.integers(32, 1200))
        x_, w_ = f"tensor<?x{inner}x{dtype}>", f"tensor<{2 * width}x{inner}x{dtype}>"
        y_, h_ = f"tensor<?x{2 * width}x{dtype}>", f"tensor<?x{width}x{dtype}>"
        text = f"""
          func.func @main(%x: {x_}, %w: {w_} {{rlx.param, rlx.name = "w"}}) -> {h_} {{
            %y = "rlx.matmul"(%x, %w) {{transpose_weight = true}} : ({x_}, {w_}) -> {y_}
            %g = "rlx.narrow"(%y) {{axis = 1 : i64, start = 0 : i64, length = {width} : i64}}
              : ({y_}) -> {h_}
            %u = "rlx.narrow"(%y) {{axis = 1 : i64, start = {width} : i64, length = {width} : i64}}
              : ({y_}) -> {h_}
            %z = "rlx.glu"(%g, %u) {{activation = "gelu_tanh"}} : ({h_}, {h_}) -> {h_}
            return %z : {h_}
          }}"""
        w = (random((2 * width, inner), dtype, seed=1) / inner**0.5).astype(FLOATS[dtype])
        function = rlx.compile(text, f"cpu{{kernels={isa} threads=2}}", cache=False).bind({"w": w})
        for rows in numbers.integers(0, 400, 4):
            x = random((int(rows), inner), dtype)
            a, b = wide(x, w)
            y = a @ b.T
            gate = y[:, :width]
            turned = np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)
            assert_close(function(x), gate * (1 + np.tanh(turned)) / 2 * y[:, width:])
