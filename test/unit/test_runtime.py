"""Calling compiled code: what goes in, what comes out, who owns it, what goes wrong."""

import copy
import gc
import pickle
import subprocess
import sys
import threading
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
import torch

import rlx
from rlx.runtime import ArgumentError, Executable, ExecutionError, LoadError
from rlx.runtime.cache import DiskCache
from rlx.runtime.elf import undefined_symbols


def compile(source):
    return rlx.compile(source, cache=False)


def identity(dtype, shape="?x?"):
    type_ = f"tensor<{shape}x{dtype}>"
    return compile(
        f'func.func @main(%x: {type_} {{rlx.name = "x"}}) -> {type_} {{ return %x : {type_} }}'
    )


@pytest.fixture(scope="module")
def add():
    return compile(
        """
        func.func @main(%x: tensor<?x3xf32> {rlx.name = "x"}, %y: tensor<?x3xf32> {rlx.name = "y"})
            -> tensor<?x3xf32> {
          %0 = arith.addf %x, %y : tensor<?x3xf32>
          return %0 : tensor<?x3xf32>
        }"""
    )


X = np.arange(6, dtype=np.float32).reshape(2, 3)

TORCH = {
    "f64": torch.float64,
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i64": torch.int64,
    "i32": torch.int32,
    "i16": torch.int16,
    "i8": torch.int8,
    "i1": torch.bool,
}


# -- arrays of every kind --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TORCH)
def test_numpy_and_torch(dtype):
    compiled = identity(dtype)
    numpy = np.array([[0, 1, 2], [3, 0, 1]]).astype(rlx.dtypes.NAMES[dtype])
    tensor = torch.tensor([[0, 1, 2], [3, 0, 1]]).to(TORCH[dtype])
    for value in (numpy, tensor, tensor.T.contiguous().T, numpy[::-1][::-1]):
        result = compiled(value)
        assert result.dtype == numpy.dtype
        np.testing.assert_array_equal(result, numpy)


def test_torch_tensors_are_not_copied(donating):
    tensor = torch.zeros(4, 3)
    donating(tensor, X[:1], np.array([2]))
    assert tensor[2].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[:, ::2, :],
        lambda a: a[::-1, :, ::-1],
        lambda a: a.transpose(2, 0, 1),
        lambda a: np.broadcast_to(a[:, :1], a.shape),
        lambda a: a[1:, 2:, :1],
        lambda a: np.asfortranarray(a),
    ],
)
def test_strides(view):
    compiled = identity("f32", "?x?x?")
    array = view(np.arange(60, dtype=np.float32).reshape(3, 4, 5))
    np.testing.assert_array_equal(compiled(array), array)
    if all(stride >= 0 for stride in array.strides):
        tensor = torch.as_tensor(array.base if array.base is not None else array)
        tensor = torch.as_strided(
            tensor.reshape(-1), array.shape, [s // 4 for s in array.strides], 0
        )
        np.testing.assert_array_equal(compiled(tensor), tensor.numpy())


def test_misaligned_memory():
    raw = np.zeros(25, np.uint8)
    array = raw[1:].view(np.float32).reshape(2, 3)
    array[:] = X
    assert not array.flags.aligned
    np.testing.assert_array_equal(identity("f32")(array), X)


def test_read_only_memory(add):
    x = X.copy()
    x.flags.writeable = False
    np.testing.assert_array_equal(add(x, x), 2 * X)


def test_zero_sizes_and_zero_dimensions():
    compiled = identity("bf16")
    for shape in ((0, 3), (3, 0), (0, 0)):
        array = np.zeros(shape, ml_dtypes.bfloat16)
        assert compiled(array).shape == shape
        assert compiled(torch.zeros(shape, dtype=torch.bfloat16)).shape == shape
    scalar = compile("func.func @f(%x: tensor<f32>) -> tensor<f32> { return %x : tensor<f32> }")
    for value in (2.5, np.float32(2.5), np.array(2.5, np.float32), torch.tensor(2.5)):
        assert scalar(value) == 2.5
    assert scalar(2).shape == ()


def test_lists():
    np.testing.assert_array_equal(identity("i64")([[1, 2], [3, 4]]), [[1, 2], [3, 4]])


class _Shown:
    """An array that is known by what DLPack shows of it; as before versions, or later."""

    def __init__(self, array, versions):
        self.array, self.versions = array, versions

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **options):
        if options and not self.versions:
            raise TypeError("unexpected arguments")
        return self.array.__dlpack__(**options)


def test_versions_of_dlpack():
    from rlx.runtime.dlpack import from_dlpack

    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for versions in (True, False):
        view = from_dlpack(_Shown(array, versions))
        assert np.shares_memory(view, array) and view.flags.writeable
        np.testing.assert_array_equal(view, array)
    array.flags.writeable = False
    assert not from_dlpack(_Shown(array, True)).flags.writeable
    with pytest.raises(ArgumentError, match=r"cannot be read: .*readonly"):
        from_dlpack(_Shown(array, False))


class _OnGpu:
    """What a tensor on a GPU looks like."""

    def __dlpack_device__(self):
        return (2, 1)

    def __dlpack__(self):
        raise AssertionError("must not be asked")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (X.astype(np.float64), r"'x': expected tensor<\?x3xf32>, but found tensor<2x3xf64>"),
        (X[0], r"'x': expected tensor<\?x3xf32>, but found tensor<3xf32>"),
        (X[:, :2], r"'x': expected tensor<\?x3xf32>, but found tensor<2x2xf32>"),
        (X.astype(np.complex64), r"'x': expected .* found an array of complex64 with shape"),
        (X.astype(">f4"), r"'x': expected .* found an array of >f4"),
        (X.astype(np.uint32), r"'x': expected .* found an array of uint32"),
        (np.array([["a"]]), r"'x': expected tensor<\?x3xf32>, but found an array of <U1"),
        (torch.zeros(2, 3).double(), r"'x': expected .*, but found tensor<2x3xf64>"),
        (torch.zeros(2, 3, requires_grad=True), r"'x': .*detach"),
        (torch.zeros(2, 3, dtype=torch.complex64), r"'x': unsupported element type"),
        (torch.zeros(2, 3, device="meta"), r"'x': cannot be read: .* meta"),
        (_OnGpu(), r"'x': expected an array in host memory, but found one on cuda:1"),
        (1.0, r"'x': expected tensor<\?x3xf32>, but found a number"),
        ([[1.0], [2.0, 3.0]], r"'x': expected tensor<\?x3xf32>, but found list"),
        (None, r"'x': expected tensor<\?x3xf32>, but found"),
        ("text", r"'x': expected tensor<\?x3xf32>, but found"),
    ],
)
def test_wrong_arrays(add, value, message):
    with pytest.raises(ArgumentError, match=message):
        add(value, X)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("f32", "1"),
        ("f32", np.float64(1)),
        ("i32", 1.0),
        ("i32", 2**31),
        ("i8", -129),
        ("i1", 1),
        ("i64", True),
        ("f32", True),
        ("i64", np.zeros(1, np.int64)),
        ("i64", None),
    ],
)
def test_wrong_scalars(dtype, value):
    compiled = compile(f'func.func @f(%x: {dtype} {{rlx.name = "x"}}) {{ return }}')
    with pytest.raises(ArgumentError, match=f"'x': expected {dtype}"):
        compiled(value)


# -- arguments by position and by name -------------------------------------------------------------


def test_positions_and_names(add):
    for result in (add(X, X + 1), add(X, y=X + 1), add(y=X + 1, x=X)):
        np.testing.assert_array_equal(result, 2 * X + 1)
    assert list(add.run({"x": X, "y": X})) == ["result0"]


def test_names_may_be_anything():
    compiled = compile(
        'func.func @f(%x: i64 {rlx.name = "a.b"}, %y: i64) -> (i64 {rlx.name = "c-d"}, i64) {\n'
        "return %x, %y : i64, i64 }"
    )
    assert compiled(1, arg1=2) == (1, 2)
    assert compiled.run({"a.b": 1, "arg1": 2}) == {"c-d": 1, "result1": 2}


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((X,), {}, r"missing arguments: y: tensor<\?x3xf32>"),
        ((), {}, r"missing arguments: x: .*, y: "),
        ((X, X, X), {}, "expects 2 arguments, but found 3"),
        ((X,), {"x": X}, "argument 'x' is given twice"),
        ((X,), {"yy": X}, "no argument 'yy'; did you mean 'y'"),
        ((X,), {"other": X}, "no argument 'other'$"),
    ],
)
def test_wrong_calls(add, args, kwargs, message):
    with pytest.raises(ArgumentError, match=message):
        add(*args, **kwargs)


# -- parameters ------------------------------------------------------------------------------------

PACKED = """
func.func @main(%x: tensor<?x2xf32> {rlx.name = "x"},
    %w: tensor<2x5xf32> {rlx.name = "qkv", rlx.param,
      rlx.parts = ["q", "k", "v"], rlx.parts_axis = 1 : i64},
    %b: tensor<5xf32> {rlx.name = "bias", rlx.param}) -> tensor<?x5xf32> {
  %0 = "rlx.matmul"(%x, %w) : (tensor<?x2xf32>, tensor<2x5xf32>) -> tensor<?x5xf32>
  %c0 = arith.constant 0 : index
  %d = tensor.dim %0, %c0 : tensor<?x5xf32>
  %e = tensor.empty(%d) : tensor<?x5xf32>
  %1 = linalg.broadcast ins(%b : tensor<5xf32>) outs(%e : tensor<?x5xf32>) dimensions = [0]
  %2 = arith.addf %0, %1 : tensor<?x5xf32>
  return %2 : tensor<?x5xf32>
}
"""
Q, K, V = (np.arange(2 * n, dtype=np.float32).reshape(2, n) + n for n in (2, 1, 2))
BIAS = np.arange(5, dtype=np.float32)


def test_binding():
    compiled = compile(PACKED)
    x = np.ones((3, 2), np.float32)
    weight = np.concatenate([Q, K, V], 1)
    wanted = x @ weight + BIAS
    np.testing.assert_array_equal(compiled(x, weight, BIAS), wanted)
    assert [spec.name for spec in compiled.parameters] == ["qkv", "bias"]
    bound = compiled.bind({"q": Q, "k": K, "v": V, "bias": BIAS, "unrelated": X})
    assert bound is compiled
    assert [spec.name for spec in compiled.inputs] == ["x"]
    np.testing.assert_array_equal(compiled(x), wanted)
    np.testing.assert_array_equal(compiled(x=x), wanted)
    compiled.bind({"bias": 2 * BIAS})
    np.testing.assert_array_equal(compiled(x), wanted + BIAS)
    compiled.bind({"qkv": torch.from_numpy(2 * weight)})
    np.testing.assert_array_equal(compiled(x), 2 * (x @ weight) + 2 * BIAS)
    with pytest.raises(ArgumentError, match="no argument 'bias'"):
        compiled(x, bias=BIAS)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "missing parameters: q, k, v, bias"),
        ({"q": Q, "v": V, "bias": BIAS}, "missing parameters: k$"),
        ({"q": Q, "k": K, "v": V}, "missing parameters: bias$"),
        ({"q": Q, "k": K, "v": V[0], "bias": BIAS}, "argument 'v': expected"),
        ({"q": Q, "k": K, "v": Q[:, :1], "bias": BIAS}, "'qkv': expected .* found tensor<2x4xf32>"),
        ({"q": Q, "k": K, "v": V.astype(np.float16), "bias": BIAS}, "argument 'v': expected"),
        ({"q": Q, "k": K, "v": V, "bias": BIAS[:4]}, "argument 'bias': expected tensor<5xf32>"),
    ],
)
def test_wrong_parameters(parameters, message):
    compiled = compile(PACKED)
    with pytest.raises(ArgumentError, match=message):
        compiled.bind(parameters)
    assert len(compiled.inputs) == 3


def test_bound_scalars():
    compiled = compile(
        'func.func @f(%x: i64, %y: bf16 {rlx.name = "y", rlx.param}) -> (i64, bf16) {\n'
        "return %x, %y : i64, bf16 }"
    ).bind({"y": 0.5})
    assert compiled(3) == (3, 0.5)


# -- memory ----------------------------------------------------------------------------------------


def test_results_outlive_everything():
    compiled = identity("f32")
    results = [compiled(X + i) for i in range(5)]
    parts = [result[1:, ::2] for result in results]
    del compiled, results
    gc.collect()
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(part, (X + i)[1:, ::2])
        part[:] = 0


@pytest.mark.parametrize("copied", [pickle.dumps, copy.deepcopy])
def test_compiled_code_stays_in_its_process(copied):
    with pytest.raises(TypeError, match="lives in this process; compile again"):
        copied(identity("f32"))


def _resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def _growth(call, count):
    for _ in range(count // 10):
        call()
    before = _resident()
    for _ in range(count):
        call()
    gc.collect()
    return _resident() - before


def test_ten_thousand_calls_do_not_leak():
    """Results, temporaries and a result that is one buffer twice, 24 KiB each."""
    compiled = compile(
        """
        func.func @main(%x: tensor<?x3xf32>) -> (tensor<?x3xf32>, tensor<?x3xf32>, f32) {
          %c0 = arith.constant 0 : index
          %d = tensor.dim %x, %c0 : tensor<?x3xf32>
          %e = tensor.empty(%d) : tensor<3x?xf32>
          %t = linalg.transpose ins(%x : tensor<?x3xf32>) outs(%e : tensor<3x?xf32>)
            permutation = [1, 0]
          %f = tensor.empty(%d) : tensor<?x3xf32>
          %u = linalg.transpose ins(%t : tensor<3x?xf32>) outs(%f : tensor<?x3xf32>)
            permutation = [1, 0]
          %s = tensor.extract %u[%c0, %c0] : tensor<?x3xf32>
          return %u, %u, %s : tensor<?x3xf32>, tensor<?x3xf32>, f32
        }"""
    )
    x = np.ones((2048, 3), np.float32)
    assert _growth(lambda: compiled(x), 10_000) < 4 * 2**20


def test_failing_calls_do_not_leak(checked):
    x = np.ones((2048, 3), np.float32)

    def call():
        with pytest.raises(ExecutionError):
            checked(x, 100)

    assert _growth(call, 2_000) < 4 * 2**20


def test_rejected_calls_do_not_leak(add):
    tensor = torch.ones(2048, 4)

    def call():
        with pytest.raises(ArgumentError):
            add(tensor, tensor)

    assert _growth(call, 2_000) < 4 * 2**20


def test_loops_that_make_new_buffers():
    """Values that change places from one iteration to the next; nothing leaks."""
    compiled = compile(
        """
        func.func @main(%t: tensor<?xf32>, %u: tensor<?xf32>, %n: index, %ok: i1)
            -> (tensor<?xf32>, tensor<?xf32>) {
          %c0 = arith.constant 0 : index
          %c1 = arith.constant 1 : index
          %r:2 = scf.for %i = %c0 to %n step %c1 iter_args(%a = %t, %b = %u)
              -> (tensor<?xf32>, tensor<?xf32>) {
            cf.assert %ok, "not ok"
            %s = arith.addf %a, %b : tensor<?xf32>
            scf.yield %b, %s : tensor<?xf32>, tensor<?xf32>
          }
          %w:2 = scf.while (%i = %c0, %x = %r#0) : (index, tensor<?xf32>)
              -> (index, tensor<?xf32>) {
            %c = arith.cmpi slt, %i, %n : index
            scf.condition(%c) %i, %x : index, tensor<?xf32>
          } do {
          ^bb0(%i: index, %x: tensor<?xf32>):
            %j = arith.addi %i, %c1 : index
            %s = arith.addf %x, %t : tensor<?xf32>
            scf.yield %j, %s : index, tensor<?xf32>
          }
          return %w#1, %r#1 : tensor<?xf32>, tensor<?xf32>
        }"""
    )
    t, u = np.arange(2048, dtype=np.float32), np.ones(2048, np.float32)
    a, b = t, u
    for _ in range(5):
        a, b = b, a + b
    first, second = compiled(t, u, 5, True)
    np.testing.assert_array_equal(first, a + 5 * t)
    np.testing.assert_array_equal(second, b)
    np.testing.assert_array_equal(compiled(t, u, 0, False)[0], t)
    with pytest.raises(ExecutionError, match="not ok"):
        compiled(t, u, 5, False)
    assert _growth(lambda: compiled(t, u, 5, True), 1_000) < 4 * 2**20


# -- updates in place ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def donating():
    return compile(
        """
        func.func @main(%c: tensor<?x3xf32> {rlx.name = "c", bufferization.writable = true},
            %u: tensor<1x3xf32> {rlx.name = "u"}, %i: tensor<1xi64> {rlx.name = "i"})
            -> (tensor<?x3xf32> {rlx.name = "c"}, tensor<1x3xf32>) {
          %c0 = arith.constant 0 : index
          %n = tensor.extract %i[%c0] : tensor<1xi64>
          %at = arith.index_cast %n : i64 to index
          %d = tensor.dim %c, %c0 : tensor<?x3xf32>
          %ok = arith.cmpi ult, %at, %d : index
          cf.assert %ok, "no such row"
          %0 = tensor.insert_slice %u into %c[%at, 0] [1, 3] [1, 1]
            : tensor<1x3xf32> into tensor<?x3xf32>
          %1 = tensor.extract_slice %0[%at, 0] [1, 3] [1, 1] : tensor<?x3xf32> to tensor<1x3xf32>
          return %0, %1 : tensor<?x3xf32>, tensor<1x3xf32>
        }"""
    )


def test_a_donated_array_is_the_result(donating):
    cache = np.zeros((4, 3), np.float32)
    result, row = donating(cache, X[1:], [2])
    assert result is cache
    np.testing.assert_array_equal(cache, [[0] * 3, [0] * 3, [3, 4, 5], [0] * 3])
    np.testing.assert_array_equal(row, X[1:])
    row[:] = -1
    np.testing.assert_array_equal(cache[2], X[1])


def test_a_failing_call_leaves_a_donated_array_alone(donating):
    cache = np.ones((4, 3), np.float32)
    with pytest.raises(ExecutionError, match="no such row"):
        donating(cache, X[1:], [4])
    np.testing.assert_array_equal(cache, np.ones((4, 3)))


def test_what_cannot_be_donated(donating):
    cache = np.zeros((8, 3), np.float32)
    read_only = cache.copy()
    read_only.flags.writeable = False
    for value, message in (
        (cache[::2], "'c' is updated in place, so it must be contiguous"),
        (read_only, "'c' is updated in place, but the array is read-only"),
    ):
        with pytest.raises(ArgumentError, match=message):
            donating(value, X[1:], [2])
    with pytest.raises(
        ArgumentError, match=r"'c' is updated in place, but shares memory with .*'u'"
    ):
        donating(cache, cache[1:2], [2])


def test_without_donation_arguments_stay(add):
    """The same function on a plain argument works on a copy."""
    compiled = compile(
        """
        func.func @main(%c: tensor<4x3xf32>, %u: tensor<1x3xf32>) -> tensor<4x3xf32> {
          %0 = tensor.insert_slice %u into %c[1, 0] [1, 3] [1, 1]
            : tensor<1x3xf32> into tensor<4x3xf32>
          %1 = linalg.exp ins(%0 : tensor<4x3xf32>) outs(%c : tensor<4x3xf32>) -> tensor<4x3xf32>
          return %1 : tensor<4x3xf32>
        }"""
    )
    cache = np.zeros((4, 3), np.float32)
    result = compiled(cache, cache[2:3])
    np.testing.assert_array_equal(result, np.ones((4, 3)))
    np.testing.assert_array_equal(cache, np.zeros((4, 3)))


# -- run-time checks -------------------------------------------------------------------------------

CHECKED = """
func.func private @half(%n: i64) -> i64 {
  %c2 = arith.constant 2 : i64
  %c0 = arith.constant 0 : i64
  %r = arith.remsi %n, %c2 : i64
  %even = arith.cmpi eq, %r, %c0 : i64
  cf.assert %even, "odd"
  %h = arith.divsi %n, %c2 : i64
  return %h : i64
}
func.func @main(%x: tensor<?x3xf32>, %n: i64) -> (tensor<?x3xf32>, i64) {
  %c50 = arith.constant 50 : i64
  %c0 = arith.constant 0 : i64
  %i0 = arith.constant 0 : index
  %i1 = arith.constant 1 : index
  %i8 = arith.constant 8 : index
  %y = arith.addf %x, %x : tensor<?x3xf32>
  %small = arith.cmpi slt, %n, %c50 : i64
  cf.assert %small, "too large"
  %positive = arith.cmpi sge, %n, %c0 : i64
  cf.assert %positive, "negative"
  %h = func.call @half(%n) : (i64) -> i64
  %to = arith.index_cast %h : i64 to index
  %z = scf.for %i = %i0 to %to step %i1 iter_args(%a = %y) -> (tensor<?x3xf32>) {
    %fine = arith.cmpi ult, %i, %i8 : index
    cf.assert %fine, "too many rounds"
    %b = arith.addf %a, %x : tensor<?x3xf32>
    scf.yield %b : tensor<?x3xf32>
  }
  return %z, %h : tensor<?x3xf32>, i64
}
"""


@pytest.fixture(scope="module")
def checked():
    return compile(CHECKED)


def test_checks_that_hold(checked):
    result, half = checked(X, 6)
    np.testing.assert_array_equal(result, 5 * X)
    assert half == 3


@pytest.mark.parametrize(
    ("n", "message"),
    [(100, "too large"), (-2, "negative"), (-3, "negative"), (7, "odd"), (18, "too many rounds")],
)
def test_checks_that_fail(checked, n, message):
    with pytest.raises(ExecutionError, match=f"^{message}$"):
        checked(X, n)
    assert checked(X, 2)[1] == 1


def _raises(text, *args):
    with pytest.raises(ExecutionError) as caught:
        compile(text)(*args)
    return str(caught.value)


def test_check_guards_what_follows():
    """The read past the end must not happen, whatever comes first."""
    text = """
    func.func @main(%x: tensor<?xf32>, %i: index) -> f32 {
      %c0 = arith.constant 0 : index
      %d = tensor.dim %x, %c0 : tensor<?xf32>
      %ok = arith.cmpi ult, %i, %d : index
      cf.assert %ok, "out of bounds"
      %v = tensor.extract %x[%i] : tensor<?xf32>
      %z = arith.constant 0.0 : f32
      %p = arith.cmpf oge, %v, %z : f32
      cf.assert %p, "negative"
      return %v : f32
    }"""
    compiled = compile(text)
    assert compiled(X[1], 2) == 5
    for i in (3, 10**12, -1, -(10**12)):
        assert _raises(text, X[1], i) == "out of bounds"
    assert _raises(text, -X[1], 1) == "negative"


def test_check_in_a_loop_body_of_linalg():
    """As other front ends write their gathers."""
    text = """
    func.func @main(%t: tensor<?x4xf32>, %ids: tensor<?xi64>) -> tensor<?x4xf32> {
      %c0 = arith.constant 0 : index
      %n = tensor.dim %ids, %c0 : tensor<?xi64>
      %rows = tensor.dim %t, %c0 : tensor<?x4xf32>
      %e = tensor.empty(%n) : tensor<?x4xf32>
      %r = linalg.generic {
        indexing_maps = [affine_map<(i, j) -> (i)>, affine_map<(i, j) -> (i, j)>],
        iterator_types = ["parallel", "parallel"]
      } ins(%ids : tensor<?xi64>) outs(%e : tensor<?x4xf32>) {
      ^bb0(%id: i64, %o: f32):
        %at = arith.index_cast %id : i64 to index
        %ok = arith.cmpi ult, %at, %rows : index
        cf.assert %ok, "no such row"
        %j = linalg.index 1 : index
        %v = tensor.extract %t[%at, %j] : tensor<?x4xf32>
        linalg.yield %v : f32
      } -> tensor<?x4xf32>
      return %r : tensor<?x4xf32>
    }"""
    compiled = compile(text)
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(compiled(table, [2, 0, 2]), table[[2, 0, 2]])
    assert _raises(text, table, [0, 2**40, 1]) == "no such row"
    assert _raises(text, table, [-1]) == "no such row"


def test_check_in_a_while_loop():
    text = """
    func.func @main(%n: i64) -> i64 {
      %c0 = arith.constant 0 : i64
      %c1 = arith.constant 1 : i64
      %c5 = arith.constant 5 : i64
      %r = scf.while (%i = %c0) : (i64) -> i64 {
        %c = arith.cmpi slt, %i, %n : i64
        scf.condition(%c) %i : i64
      } do {
      ^bb0(%i: i64):
        %ok = arith.cmpi slt, %i, %c5 : i64
        cf.assert %ok, "too far"
        %j = arith.addi %i, %c1 : i64
        scf.yield %j : i64
      }
      return %r : i64
    }"""
    assert compile(text)(5) == 5
    assert _raises(text, 6) == "too far"


def test_check_in_a_recursive_function():
    text = """
    func.func @main(%x: tensor<?xf32>, %n: i64) -> tensor<?xf32> {
      %c0 = arith.constant 0 : i64
      %c1 = arith.constant 1 : i64
      %ok = arith.cmpi sge, %n, %c0 : i64
      cf.assert %ok, "never zero"
      %done = arith.cmpi eq, %n, %c0 : i64
      %r = scf.if %done -> (tensor<?xf32>) {
        scf.yield %x : tensor<?xf32>
      } else {
        %c2 = arith.constant 2 : i64
        %m = arith.subi %n, %c2 : i64
        %y = arith.addf %x, %x : tensor<?xf32>
        %s = func.call @main(%y, %m) : (tensor<?xf32>, i64) -> tensor<?xf32>
        %t = arith.addf %s, %x : tensor<?xf32>
        scf.yield %t : tensor<?xf32>
      }
      return %r : tensor<?xf32>
    }"""
    np.testing.assert_array_equal(compile(text)(X[1], 4), 7 * X[1])
    assert _raises(text, X[1], 5) == "never zero"


def test_check_between_blocks():
    text = """
    func.func @main(%x: tensor<3xf32>, %a: i1, %b: i1) -> tensor<3xf32> {
      cf.cond_br %a, ^one, ^two
    ^one:
      cf.assert %b, "in one"
      return %x : tensor<3xf32>
    ^two:
      %y = arith.addf %x, %x : tensor<3xf32>
      cf.assert %b, "in two"
      return %y : tensor<3xf32>
    }"""
    compiled = compile(text)
    np.testing.assert_array_equal(compiled(X[1], True, True), X[1])
    np.testing.assert_array_equal(compiled(X[1], False, True), 2 * X[1])
    assert _raises(text, X[1], True, False) == "in one"
    assert _raises(text, X[1], False, False) == "in two"


def test_messages_of_any_text():
    text = 'func.func @f(%a: i1) { cf.assert %a, "100% \\22quoted\\22, \\E2\\82\\AC"\n return }'
    assert _raises(text, False) == '100% "quoted", €'


# -- threads ---------------------------------------------------------------------------------------


def test_sizes_that_change_from_call_to_call():
    """The memory of a call is used again, and with it what it says of earlier arrays."""
    executable = compile(
        """func.func @main(%x: tensor<?x?x3xf32>, %y: tensor<?x3x?xf32>)
               -> (tensor<?x?x3xf32>, tensor<?x3x?xf32>) {
             %a = arith.negf %x : tensor<?x?x3xf32>
             %b = arith.addf %y, %y : tensor<?x3x?xf32>
             return %a, %b : tensor<?x?x3xf32>, tensor<?x3x?xf32>
           }"""
    )
    random = np.random.default_rng(0)
    for sizes in [(2, 4), (4, 2), (2, 4), (2, 4), (1, 8), (8, 1), (0, 3), (3, 0), (2, 4)]:
        x = random.standard_normal((*sizes, 3), np.float32)
        y = random.standard_normal((sizes[1], 3, sizes[0]), np.float32)
        for given in (x, y, np.ascontiguousarray(y.T)), (x[::-1], y[..., ::-1], y.T):
            for right in (given[1], given[2].T):
                negative, double = executable(given[0], right)
                np.testing.assert_array_equal(negative, -given[0])
                np.testing.assert_array_equal(double, 2 * right)


def test_calls_in_threads(checked):
    """Every thread gets its own results and its own failures."""
    wrong = []

    def work(seed):
        x = np.full((100 + seed, 3), seed, np.float32)
        for n in (0, 2, 7, 16, 100, 4) * 20:
            try:
                result, half = checked(x, n)
                if n in (7, 100) or half != n // 2 or not (result == (2 + half) * x).all():
                    wrong.append((seed, n))
            except ExecutionError as error:
                if {7: "odd", 100: "too large"}.get(n) != str(error):
                    wrong.append((seed, n, error))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_compiling_in_threads():
    results = {}

    def work(n):
        text = (
            f"func.func @f(%x: i64) -> i64 {{ %c = arith.constant {n} : i64\n"
            "%0 = arith.addi %x, %c : i64\nreturn %0 : i64 }"
        )
        results[n] = rlx.compile(text, cache=False)(1)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: n + 1 for n in range(6)}


# -- loading ---------------------------------------------------------------------------------------


def test_runtime_needs_no_mlir(tmp_path):
    """What was compiled once runs in a process that never loads the compiler."""
    program = compile(PACKED).program
    DiskCache(tmp_path).put("key", program)
    script = f"""
import sys
import numpy as np
from rlx.runtime import Executable
from rlx.runtime.cache import DiskCache
program = DiskCache({str(tmp_path)!r}).get("key")
compiled = Executable(program)
result = compiled(np.ones((1, 2), np.float32), np.ones((2, 5), np.float32), np.zeros(5, np.float32))
assert result.tolist() == [[2.0] * 5], result
loaded = [name for name in sys.modules if name.partition(".")[0] in ("mlir", "torch_mlir", "torch")]
assert not loaded, loaded
assert "rlx.compiler" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_damaged_object_code(add):
    code = add.program.object_code
    for damaged in (b"", b"no object", code[:100], code[: len(code) // 2], b"\x7fELF\x02\x01" * 20):
        with pytest.raises(LoadError, match="cannot be loaded"):
            Executable(replace(add.program, object_code=damaged))


def test_unknown_functions(add):
    """LLVM would end the process."""
    code = add.program.object_code
    assert b"aligned_alloc\0" in code
    other = code.replace(b"aligned_alloc\0", b"aligned_allok\0")
    assert "aligned_allok" in undefined_symbols(other)
    with pytest.raises(LoadError, match="unknown functions: aligned_allok"):
        Executable(replace(add.program, object_code=other))
    with pytest.raises(LoadError, match="no function 'nope'"):
        Executable(replace(add.program, symbol="nope"))
