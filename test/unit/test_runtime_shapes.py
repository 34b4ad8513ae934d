"""Sizes and indices that only the run can tell: errors, never wild reads or writes."""

import numpy as np
import pytest

import rlx
from rlx.runtime import ExecutionError

ONES = np.ones((4, 6), np.float32)
BIG = 10**15

# Name: body over %x and %y (tensor<?x?xf32>), %i and %j (index); the result's type and text; calls
# that are fine; calls that are not.
CASES = {
    "arith.addf": (
        "%r = arith.addf %x, %y : tensor<?x?xf32>",
        [(ONES, ONES, 0, 0)],
        [(ONES, ONES[:3], 0, 0), (ONES[:, :5], ONES, 0, 0), (ONES[:1], ONES, 0, 0)],
    ),
    "linalg.add": (
        "%r = linalg.add ins(%x, %y : tensor<?x?xf32>, tensor<?x?xf32>)"
        " outs(%x : tensor<?x?xf32>) -> tensor<?x?xf32>",
        [(ONES, ONES, 0, 0)],
        [(ONES, ONES[:3], 0, 0)],
    ),
    "linalg.matmul": (
        "%z = arith.constant 0.0 : f32\n"
        "%d0 = tensor.dim %x, %c0 : tensor<?x?xf32>\n%d1 = tensor.dim %y, %c1 : tensor<?x?xf32>\n"
        "%e = tensor.empty(%d0, %d1) : tensor<?x?xf32>\n"
        "%f = linalg.fill ins(%z : f32) outs(%e : tensor<?x?xf32>) -> tensor<?x?xf32>\n"
        "%r = linalg.matmul ins(%x, %y : tensor<?x?xf32>, tensor<?x?xf32>)"
        " outs(%f : tensor<?x?xf32>) -> tensor<?x?xf32>",
        [(ONES, ONES.T.copy(), 0, 0), (ONES[:0], ONES.T.copy(), 0, 0)],
        [(ONES, ONES, 0, 0), (ONES, ONES[:5], 0, 0)],
    ),
    "linalg.transpose": (
        "%e = tensor.empty(%i, %j) : tensor<?x?xf32>\n"
        "%r = linalg.transpose ins(%x : tensor<?x?xf32>) outs(%e : tensor<?x?xf32>)"
        " permutation = [1, 0]",
        [(ONES, ONES, 6, 4)],
        [(ONES, ONES, 4, 6), (ONES, ONES, 6, 3), (ONES, ONES, 7, 4)],
    ),
    "linalg.generic": (
        "%r = linalg.generic {indexing_maps = [affine_map<(a, b) -> (a, b)>,"
        " affine_map<(a, b) -> (b, a)>], iterator_types = ['parallel', 'parallel']}"
        " ins(%x : tensor<?x?xf32>) outs(%y : tensor<?x?xf32>) {\n"
        "^bb0(%p: f32, %q: f32):\n%s = arith.addf %p, %q : f32\nlinalg.yield %s : f32\n"
        "} -> tensor<?x?xf32>",
        [(ONES, ONES.T.copy(), 0, 0)],
        [(ONES, ONES, 0, 0)],
    ),
    "tensor.concat": (
        "%r = tensor.concat dim(1) %x, %y : (tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32>",
        [(ONES, ONES, 0, 0), (ONES, ONES[:, :2], 0, 0)],
        [(ONES, ONES[:3], 0, 0), (ONES[:3], ONES, 0, 0)],
    ),
    "tensor.dim": (
        "%s = arith.constant 1.0 : f32\n%d = tensor.dim %x, %i : tensor<?x?xf32>\n"
        "%r = tensor.splat %s[%d, %d] : tensor<?x?xf32>",
        [(ONES, ONES, 0, 0), (ONES, ONES, 1, 0)],
        [(ONES, ONES, 2, 0), (ONES, ONES, -1, 0)],
    ),
    "tensor.empty": (
        "%e = tensor.empty(%i, %j) : tensor<?x?xf32>\n%s = arith.constant 1.0 : f32\n"
        "%r = tensor.insert %s into %e[%c0, %c0] : tensor<?x?xf32>",
        [(ONES, ONES, 1, 2)],
        [(ONES, ONES, -1, 2), (ONES, ONES, 1, -(2**62)), (ONES, ONES, -4, -4)],
    ),
    "tensor.generate": (
        "%s = arith.constant 1.0 : f32\n%r = tensor.generate %i, %j {\n"
        "^bb0(%a: index, %b: index):\ntensor.yield %s : f32\n} : tensor<?x?xf32>",
        [(ONES, ONES, 2, 3), (ONES, ONES, 0, 3)],
        [(ONES, ONES, -1, 3), (ONES, ONES, 3, -1)],
    ),
    "tensor.pad": (
        "%s = arith.constant 1.0 : f32\n%r = tensor.pad %x low[%i, 1] high[0, %j] {\n"
        "^bb0(%a: index, %b: index):\ntensor.yield %s : f32\n"
        "} : tensor<?x?xf32> to tensor<?x?xf32>",
        [(ONES, ONES, 2, 3), (ONES, ONES, 0, 0)],
        [(ONES, ONES, -1, 3), (ONES, ONES, 3, -1)],
    ),
    "tensor.reshape": (
        "%s = tensor.from_elements %i, %j : tensor<2xindex>\n"
        "%r = tensor.reshape %x(%s) : (tensor<?x?xf32>, tensor<2xindex>) -> tensor<?x?xf32>",
        [(ONES, ONES, 8, 3), (ONES, ONES, 24, 1), (ONES[:0], ONES, 0, 7)],
        [(ONES, ONES, 8, 4), (ONES, ONES, 8, 2), (ONES, ONES, -8, -3)],
    ),
    "tensor.splat": (
        "%s = arith.constant 1.0 : f32\n%r = tensor.splat %s[%i, %j] : tensor<?x?xf32>",
        [(ONES, ONES, 2, 3), (ONES, ONES, 0, 3)],
        [(ONES, ONES, -1, 3), (ONES, ONES, 3, -1)],
    ),
    "tensor.cast": (
        "%s = tensor.cast %x : tensor<?x?xf32> to tensor<4x6xf32>\n"
        "%t = arith.addf %s, %s : tensor<4x6xf32>\n"
        "%r = tensor.cast %t : tensor<4x6xf32> to tensor<?x?xf32>",
        [(ONES, ONES, 0, 0)],
        [(ONES[:3], ONES, 0, 0), (ONES[:, :5], ONES, 0, 0)],
    ),
    "tensor.extract": (
        "%s = tensor.extract %x[%i, %j] : tensor<?x?xf32>\n"
        "%r = linalg.fill ins(%s : f32) outs(%y : tensor<?x?xf32>) -> tensor<?x?xf32>",
        [(ONES, ONES, 0, 0), (ONES, ONES, 3, 5)],
        [(ONES, ONES, *at) for at in ((4, 0), (0, 6), (-1, 0), (0, BIG), (-BIG, 0))],
    ),
    "tensor.insert": (
        "%s = arith.constant 2.0 : f32\n%r = tensor.insert %s into %x[%i, %j] : tensor<?x?xf32>",
        [(ONES, ONES, 0, 0), (ONES, ONES, 3, 5)],
        [(ONES, ONES, *at) for at in ((4, 0), (0, 6), (-1, 0), (0, BIG), (-BIG, 0))],
    ),
    "tensor.extract_slice": (
        "%r = tensor.extract_slice %x[%i, 1] [2, %j] [1, 2] : tensor<?x?xf32> to tensor<2x?xf32>",
        [(ONES, ONES, 0, 3), (ONES, ONES, 2, 0), (ONES, ONES, 2, 1)],
        [(ONES, ONES, *at) for at in ((3, 1), (-1, 1), (0, 4), (0, -1), (BIG, 1), (0, BIG))],
    ),
    "tensor.insert_slice": (
        "%d = tensor.dim %x, %c1 : tensor<?x?xf32>\n"
        "%r = tensor.insert_slice %y into %x[%i, 0] [%j, %d] [1, 1]"
        " : tensor<?x?xf32> into tensor<?x?xf32>",
        [(ONES, ONES, 0, 4), (ONES, ONES[:2], 2, 2), (ONES, ONES[:0], 4, 0)],
        [
            (ONES, ONES[:2], 3, 2),
            (ONES, ONES[:2], 0, 3),
            (ONES, ONES[:3], 0, 2),
            (ONES, ONES[:, :5], 0, 4),
            (ONES, ONES[:2], -1, 2),
            (ONES, ONES[:2], BIG, 2),
        ],
    ),
    "tensor.expand_shape": (
        "%s = tensor.expand_shape %x [[0, 1], [2]] output_shape [%i, 2, %j]"
        " : tensor<?x?xf32> into tensor<?x2x?xf32>\n"
        "%t = arith.addf %s, %s : tensor<?x2x?xf32>\n"
        "%r = tensor.collapse_shape %t [[0, 1], [2]] : tensor<?x2x?xf32> into tensor<?x?xf32>",
        [(ONES, ONES, 2, 6)],
        [(ONES, ONES, *sizes) for sizes in ((3, 6), (1, 6), (2, 5), (-2, 6), (BIG, 6))],
    ),
}


@pytest.fixture(scope="module")
def compiled():
    made = {}

    def get(name):
        if name not in made:
            body = CASES[name][0].replace("'", '"')
            type_ = "tensor<2x?xf32>" if name == "tensor.extract_slice" else "tensor<?x?xf32>"
            made[name] = rlx.compile(
                "func.func @main(%x: tensor<?x?xf32>, %y: tensor<?x?xf32>, %i: index, %j: index)"
                f" -> {type_} {{\n%c0 = arith.constant 0 : index\n%c1 = arith.constant 1 : index\n"
                f"{body}\nreturn %r : {type_} }}",
                cache=False,
            )
        return made[name]

    return get


@pytest.mark.parametrize(("name", "call"), [(n, c) for n in CASES for c in range(len(CASES[n][1]))])
def test_fine(compiled, name, call):
    compiled(name)(*CASES[name][1][call])


@pytest.mark.parametrize(("name", "call"), [(n, c) for n in CASES for c in range(len(CASES[n][2]))])
def test_not_fine(compiled, name, call):
    with pytest.raises(ExecutionError, match=f"^{name}: "):
        compiled(name)(*CASES[name][2][call])


def test_values():
    """Checks change nothing about what is computed."""
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    text = """
    func.func @main(%x: tensor<?x?xf32>, %i: index, %n: index) -> tensor<?x3xf32> {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %d = tensor.dim %x, %c0 : tensor<?x?xf32>
      %e = tensor.empty(%d) : tensor<?x3xf32>
      %r = scf.for %k = %c0 to %d step %c1 iter_args(%t = %e) -> (tensor<?x3xf32>) {
        %s = tensor.extract_slice %x[%k, %i] [1, %n] [1, 1] : tensor<?x?xf32> to tensor<1x?xf32>
        %f = tensor.cast %s : tensor<1x?xf32> to tensor<1x3xf32>
        %u = tensor.insert_slice %f into %t[%k, 0] [1, 3] [1, 1]
          : tensor<1x3xf32> into tensor<?x3xf32>
        scf.yield %u : tensor<?x3xf32>
      }
      return %r : tensor<?x3xf32>
    }"""
    compiled = rlx.compile(text, cache=False)
    np.testing.assert_array_equal(compiled(x, 2, 3), x[:, 2:5])
    for i, n, message in ((4, 3, "extract_slice"), (-1, 3, "extract_slice")):
        with pytest.raises(ExecutionError, match=message):
            compiled(x, i, n)


@pytest.mark.parametrize(
    ("index", "size", "expected"),
    [
        ("d0 + 3", 7, lambda x: x[3:]),
        ("d0 * 2", 5, lambda x: x[::2]),
        ("9 - d0", 10, lambda x: x[::-1]),
        ("d0 * 3 + 1", 3, lambda x: x[1:8:3]),
        ("d0 - 1", 0, lambda x: x[:0]),
    ],
)
def test_maps_of_linalg_ops(index, size, expected):
    compiled = rlx.compile(
        f"""#in = affine_map<(d0) -> ({index})>
            #out = affine_map<(d0) -> (d0)>
            func.func @main(%x: tensor<?xf32>, %y: tensor<?xf32>) -> tensor<?xf32> {{
              %r = linalg.generic {{indexing_maps = [#in, #out], iterator_types = ["parallel"]}}
                  ins(%x : tensor<?xf32>) outs(%y : tensor<?xf32>) {{
              ^bb0(%a: f32, %b: f32):
                linalg.yield %a : f32
              }} -> tensor<?xf32>
              return %r : tensor<?xf32>
            }}""",
        cache=False,
    )
    x = np.arange(10, dtype=np.float32)
    np.testing.assert_array_equal(compiled(x, np.zeros(size, np.float32)), expected(x))
    assert compiled(x[:0], np.zeros(0, np.float32)).shape == (0,)
    with pytest.raises(ExecutionError, match="sizes do not agree"):
        compiled(x, np.zeros(size + 1, np.float32))


def test_convolution():
    compiled = rlx.compile(
        """func.func @main(%x: tensor<?xf32>, %k: tensor<?xf32>, %y: tensor<?xf32>)
               -> tensor<?xf32> {
             %r = linalg.conv_1d ins(%x, %k : tensor<?xf32>, tensor<?xf32>)
                 outs(%y : tensor<?xf32>) -> tensor<?xf32>
             return %r : tensor<?xf32>
           }""",
        cache=False,
    )
    x, k = np.arange(10, dtype=np.float32), np.arange(1, 5, dtype=np.float32)
    zeros = np.zeros(20, np.float32)
    for size in (7, 3, 0):
        expected = np.correlate(x, k, "valid")[:size]
        np.testing.assert_array_equal(compiled(x, k, zeros[:size]), expected)
    assert not compiled(x[:2], k[:0], zeros[:5]).any()
    with pytest.raises(ExecutionError, match="sizes do not agree"):
        compiled(x, k, zeros[:8])


def divided(name: str, a: int, b: int) -> int:
    """What the op makes of integers that are not negative, or of any where it is signed."""
    if name.startswith("ceildiv"):
        return -(-a // b)
    if name.startswith("floordiv"):
        return a // b
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return quotient if name.startswith("div") else a - quotient * b


@pytest.mark.parametrize("type_", ["i8", "i64", "index"])
@pytest.mark.parametrize(
    "name", ["divsi", "divui", "remsi", "remui", "ceildivsi", "ceildivui", "floordivsi"]
)
def test_division(name, type_):
    """By zero it would end the process, as would the least number by -1."""
    compiled = rlx.compile(
        f"""func.func @main(%a: {type_}, %b: {type_}) -> {type_} {{
              %0 = arith.{name} %a, %b : {type_}
              return %0 : {type_}
            }}""",
        cache=False,
    )
    least = -(2**7) if type_ == "i8" else -(2**63)
    signed = name.endswith("si")
    pairs = [(7, 2), (0, 5), (6, 3)]
    pairs += [(-7, 2), (7, -2), (-7, -1), (least, 1)] if signed else []
    for a, b in pairs:
        assert compiled(a, b) == divided(name, a, b), (a, b)
    for a, b in [(7, 0), (0, 0), *([(least, -1)] if signed else [])]:
        with pytest.raises(ExecutionError, match=f"arith.{name}: division by zero, or overflow"):
            compiled(a, b)


@pytest.mark.parametrize("threads", [1, 2])
def test_division_of_tensors(threads):
    compiled = rlx.compile(
        """func.func @main(%x: tensor<?x3xi32>, %y: tensor<?x3xi32>, %n: index)
               -> tensor<?x3xi32> {
             %c0 = arith.constant 0 : index
             %c1 = arith.constant 1 : index
             %r = scf.for %i = %c0 to %n step %c1 iter_args(%a = %x) -> (tensor<?x3xi32>) {
               %b = arith.floordivsi %a, %y : tensor<?x3xi32>
               scf.yield %b : tensor<?x3xi32>
             }
             return %r : tensor<?x3xi32>
           }""",
        threads=threads,
        cache=False,
    )
    random = np.random.default_rng(0)
    x = random.integers(-(10**6), 10**6, (1000, 3), np.int32)
    y = random.integers(1, 9, (1000, 3), np.int32) * random.choice([-1, 1], (1000, 3))
    y = y.astype(np.int32)
    np.testing.assert_array_equal(compiled(x, y, 2), x // y // y)
    assert compiled(x[:0], y[:0], 2).shape == (0, 3)
    y[-1, -1] = 0
    assert (compiled(x, y, 0) == x).all()
    with pytest.raises(ExecutionError, match="division by zero"):
        compiled(x, y, 1)
    with pytest.raises(ExecutionError, match="sizes do not agree"):
        compiled(x, y[:-1], 1)
