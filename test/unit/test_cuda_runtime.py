"""Programs on a GPU, as far as the host is concerned: on a simulated one, and without any."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "numerics"))
from cuda_programs import program

from rlx.runtime import ArgumentError, ExecutionError, LoadError, Program
from rlx.runtime.cuda import CudaExecutable, DeviceArray, OutOfMemoryError, load, save
from rlx.runtime.cuda.arrays import Memory, foreign, is_on_device
from rlx.runtime.cuda.expressions import OPERATIONS, evaluate
from rlx.runtime.cuda.parameters import Packed, number
from rlx.runtime.cuda.plan import Buffer, Plan, arrange
from rlx.testing.simulated_gpu import SimulatedGpu

ADD = """
func.func @main(%x: tensor<?x8xf32> {rlx.name = "x"}, %y: tensor<?x8xf32> {rlx.name = "y"})
    -> (tensor<?x8xf32> {rlx.name = "sum"}) {
  %0 = arith.addf %x, %y : tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}"""
IN_PLACE = """
func.func @main(%c: tensor<1x4x8xf32> {rlx.name = "c", bufferization.writable = true},
                %u: tensor<1x?x8xf32>, %n: tensor<1xi64>) -> tensor<1x4x8xf32> {
  %0 = "rlx.kv_append"(%c, %u, %n)
      : (tensor<1x4x8xf32>, tensor<1x?x8xf32>, tensor<1xi64>) -> tensor<1x4x8xf32>
  return %0 : tensor<1x4x8xf32>
}"""
MODEL = """
func.func @main(%x: tensor<?x8xf32>, %w: tensor<8x8xf32> {rlx.name = "w", rlx.param},
                %ids: tensor<?xi64>, %s: f32) -> tensor<?x8xf32> {
  %0 = "rlx.embedding"(%w, %ids) : (tensor<8x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %1 = "rlx.matmul"(%x, %w) : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %2 = arith.addf %0, %1 : tensor<?x8xf32>
  %c0 = arith.constant 0 : index
  %n = tensor.dim %2, %c0 : tensor<?x8xf32>
  %3 = tensor.splat %s[%n] : tensor<?x8xf32>
  %4 = arith.mulf %2, %3 : tensor<?x8xf32>
  return %4 : tensor<?x8xf32>
}"""


def random(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def on(gpu, array, dtype="f32"):
    """A copy of an array in simulated memory."""
    memory = Memory(gpu, array.nbytes, 0)
    gpu.copy_in(memory.address, array.ctypes.data, array.nbytes, 0)
    return DeviceArray(memory, dtype, array.shape)


# -- calls -----------------------------------------------------------------------------------------


def test_numpy_in_and_out():
    executable, _ = program(ADD)
    x, y = random(3, 8), random(3, 8) + 1
    result = executable(x, y=y)
    assert isinstance(result, np.ndarray) and (result == x + y).all()
    assert (executable.run({"x": x, "y": y})["sum"] == x + y).all()
    assert executable(x[:0], y[:0]).shape == (0, 8)


def test_numbers_come_back():
    executable, gpu = program("""
func.func @main(%x: tensor<4xf32>, %n: i64) -> (tensor<4xf32>, i64, f32, i1) {
  %c2 = arith.constant 2 : i64
  %c1 = arith.constant 1 : index
  %0 = arith.addi %n, %c2 : i64
  %1 = tensor.extract %x[%c1] : tensor<4xf32>
  %2 = arith.cmpi sgt, %n, %c2 : i64
  return %x, %0, %1, %2 : tensor<4xf32>, i64, f32, i1
}""")
    x = random(4)
    same, number, element, larger = executable(x, 5)
    assert (same == x).all() and number == 7 and element == x[1] and larger
    assert isinstance(number, np.int64) and isinstance(element, np.float32)
    _, number, element, larger = executable(on(gpu, x), -3)
    assert isinstance(number, DeviceArray) and number.shape == ()
    assert (number.numpy(), element.numpy(), larger.numpy()) == (-1, x[1], False)


def test_arrays_on_the_gpu_stay_there():
    executable, gpu = program(ADD)
    x, y = random(3, 8), random(3, 8) + 1
    before = gpu.in_use
    mine = on(gpu, x)
    result = executable(mine, on(gpu, y))
    assert isinstance(result, DeviceArray) and result.shape == (3, 8)
    assert (np.asarray(result) == x + y).all()
    del result
    executable.synchronize()
    assert gpu.in_use <= before + 2 * x.nbytes + 64


def test_a_result_can_be_written_to_an_array_of_the_caller():
    executable, gpu = program(ADD)
    x = on(gpu, random(2, 8))
    out = on(gpu, np.zeros((2, 8), np.float32))
    assert executable.on(7, out={"sum": out})(x, x) is out
    assert (out.numpy() == 2 * random(2, 8)).all()
    with pytest.raises(ArgumentError, match="no result 'total'"):
        executable.on(7, out={"total": out})(x, x)
    with pytest.raises(ArgumentError, match="'sum': expected tensor<2x8xf32>, but found"):
        executable.on(7, out={"sum": on(gpu, random(3, 8))})(x, x)
    with pytest.raises(ArgumentError, match="result 'sum' shares memory with 'y'"):
        executable.on(7, out={"sum": out})(x, out)
    with pytest.raises(ArgumentError, match="'sum': expected an array on an NVIDIA GPU, but found"):
        executable.on(7, out={"sum": random(2, 8)})(x, x)


def test_updates_in_place():
    executable, gpu = program(IN_PLACE)
    cache, update = random(1, 4, 8), random(1, 2, 8) + 5
    expected = cache.copy()
    expected[:, 1:3] = update
    length = np.array([1])
    theirs = cache.copy()
    assert executable(theirs, update, length) is theirs and (theirs == expected).all()
    mine = on(gpu, cache)
    arguments = mine, on(gpu, update), on(gpu, length, "i64")
    assert executable(*arguments) is mine and (mine.numpy() == expected).all()
    with pytest.raises(ArgumentError, match="updated in place, but shares memory"):
        executable(mine, mine, arguments[2])

    class ReadOnly:
        __cuda_array_interface__ = mine.__cuda_array_interface__ | {"data": (mine.address, True)}

    with pytest.raises(ArgumentError, match="'c' is updated in place, but the array is read-only"):
        executable(ReadOnly(), *arguments[1:])


def test_parameters_are_bound_once():
    executable, gpu = program(MODEL)
    w, x = random(8, 8), random(3, 8) + 2
    ids = np.array([1, 0, 7])
    with pytest.raises(ArgumentError, match="missing parameters: w"):
        executable.bind({})
    executable.bind({"w": w, "other": w})
    assert [spec.name for spec in executable.inputs] == ["arg0", "arg2", "arg3"]
    expected = (w[ids] + x @ w) * 2
    assert np.abs(executable(x, ids, 2.0) - expected).max() < 1e-5
    assert np.abs(executable(x, ids, np.float32(2)) - expected).max() < 1e-5
    executable.bind({"w": on(gpu, w * 2)})
    assert np.abs(executable(x, ids, 1.0) - expected).max() < 1e-5


def test_a_failed_check_is_told_when_the_gpu_is_waited_for():
    executable, gpu = program(MODEL)
    executable.bind({"w": random(8, 8)})
    x, ids = on(gpu, random(2, 8)), on(gpu, np.array([3, 8]), "i64")
    executable(x, ids, 1.0)  # does not wait
    executable(x, on(gpu, np.array([3, 4]), "i64"), 1.0)
    with pytest.raises(ExecutionError, match="ids must be in"):
        executable.synchronize()
    executable.synchronize()  # told once
    with pytest.raises(ExecutionError, match="ids must be in"):
        executable(random(2, 8), np.array([-1, 0]), 1.0)
    assert executable(random(2, 8), np.array([1, 0]), 1.0).shape == (2, 8)


LOOP = """
func.func @main(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>, %n: index)
    -> (tensor<?x8xf32>, tensor<?x8xf32>, index) {{
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %end = arith.constant {steps} : index
  %z:3 = scf.for %i = %c0 to %end step %c1 iter_args(%a = %x, %b = %x, %k = %n)
      -> (tensor<?x8xf32>, tensor<?x8xf32>, index) {{
    %y = "rlx.matmul"(%a, %w) : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
    %t = math.tanh %y : tensor<?x8xf32>
    %m = arith.addi %k, %i : index
    scf.yield %t, %a, %m : tensor<?x8xf32>, tensor<?x8xf32>, index
  }}
  return %z#0, %z#1, %z#2 : tensor<?x8xf32>, tensor<?x8xf32>, index
}}
"""


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_loop_hands_on_what_it_makes(steps):
    executable, gpu = program(LOOP.format(steps=steps))
    x, w = random(3, 8), random(8, 8) / 4
    last, before, count = executable(x, w, 7)
    expected, earlier = x, x
    for _ in range(steps):
        expected, earlier = np.tanh(expected @ w), expected
    np.testing.assert_allclose(last, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(before, earlier, rtol=1e-5, atol=1e-6)
    assert count == 7 + sum(range(steps))
    assert sum("matmul" in name or "reduce" in name for name in gpu.launched) == steps


TWO_CACHES = """
func.func @main(%k: tensor<2x?x4xf32> {bufferization.writable = true, rlx.name = "k"},
                %v: tensor<2x?x4xf32> {bufferization.writable = true, rlx.name = "v"},
                %x: tensor<2x1x4xf32> {rlx.name = "x"}, %at: tensor<2xi32> {rlx.name = "at"})
    -> (tensor<2x?x4xf32>, tensor<2x?x4xf32>) {
  %0 = "rlx.kv_append"(%k, %x, %at)
    : (tensor<2x?x4xf32>, tensor<2x1x4xf32>, tensor<2xi32>) -> tensor<2x?x4xf32>
  %1 = "rlx.kv_append"(%v, %x, %at)
    : (tensor<2x?x4xf32>, tensor<2x1x4xf32>, tensor<2xi32>) -> tensor<2x?x4xf32>
  return %0, %1 : tensor<2x?x4xf32>, tensor<2x?x4xf32>
}
"""


def test_checks_that_find_the_same_are_made_once():
    executable, gpu = program(TWO_CACHES)
    x, at = random(2, 1, 4), np.array([0, 4], np.int32)

    def caches(*rows):
        return [np.zeros((2, n, 4), np.float32) for n in rows]

    def checks():
        found = [name for name in gpu.launched if name.startswith("check")]
        del gpu.launched[:]
        return len(found)

    for k, v in (caches(5, 5), caches(5, 5), caches(5, 6)):
        executable(k, v, x, at)
        np.testing.assert_array_equal(k[[0, 1], at], x[:, 0])
        np.testing.assert_array_equal(v[[0, 1], at], x[:, 0])
        assert checks() == (1 if k.shape == v.shape else 2)
    for rows in ((4, 4), (5, 4)):
        with pytest.raises(ExecutionError, match="leave room"):
            executable(*caches(*rows), x, at)
    assert checks() == 3


def test_checks_of_sizes_fail_before_anything_runs():
    executable, gpu = program(ADD)
    with pytest.raises(ExecutionError, match="sizes do not agree"):
        executable(random(2, 8), random(3, 8))
    assert not gpu.launched


def test_arguments_that_do_not_fit():
    executable, gpu = program(ADD)
    x = random(2, 8)
    for bad, message in (
        (random(2, 9), r"'x': expected tensor<\?x8xf32>, but found tensor<2x9xf32>"),
        (on(gpu, random(2, 9)), r"'x': expected tensor<\?x8xf32>, but found tensor<2x9xf32>"),
        (on(gpu, x, "i32"), "but found tensor<2x8xi32>"),
        (x.astype(np.float64), "but found tensor<2x8xf64>"),
    ):
        with pytest.raises(ArgumentError, match=message):
            executable(bad, x)
    crooked = on(gpu, random(3, 8))
    crooked.address += 4
    crooked.shape = (2, 8)
    with pytest.raises(ArgumentError, match="aligned to 16 bytes"):
        executable(crooked, crooked)
    far = on(gpu, x)
    far.device = 1
    with pytest.raises(ArgumentError, match="on cuda:0, but found one on cuda:1"):
        executable(far, far)
    scalar, _ = program(MODEL)
    scalar.bind({"w": random(8, 8)})
    for wrong in ("2", [[1], [2, 3]], x):
        with pytest.raises(ArgumentError, match="'arg3': expected f32"):
            scalar(x, np.array([1, 2]), wrong)


def test_the_gpu_runs_out_of_memory():
    executable, gpu = program(ADD)
    gpu.limit = 300
    with pytest.raises(OutOfMemoryError, match="out of memory"):
        executable(random(9, 8), random(9, 8))
    assert issubclass(OutOfMemoryError, MemoryError) and gpu.in_use < 300
    assert executable(random(1, 8), random(1, 8)).shape == (1, 8)


def test_a_launch_that_fails_names_the_kernel():
    executable, gpu = program(ADD)

    def refuse(*_):
        raise ExecutionError("cannot launch a kernel: CUDA_ERROR_INVALID_VALUE")

    gpu.launch = refuse
    message = (
        r"INVALID_VALUE: 'elementwise_0' with grid \(1, 1, 1\), block \(256, 1, 1\) and 0 bytes"
    )
    with pytest.raises(ExecutionError, match=message):
        executable(random(1, 8), random(1, 8))


def test_graphs_are_captured_after_a_call_with_the_same_sizes():
    executable, gpu = program(MODEL)
    executable.bind({"w": random(8, 8)})
    out = on(gpu, np.zeros((2, 8), np.float32))
    arguments = on(gpu, random(2, 8)), on(gpu, np.array([3, 1]), "i64"), 1.0
    stream = executable.on(5, out={"result0": out})
    gpu.capturing = True
    with pytest.raises(ExecutionError, match="only after a call with the same sizes"):
        stream(*arguments)
    gpu.capturing = False
    stream(*arguments)
    gpu.capturing, in_use = True, gpu.in_use
    launched = len(gpu.launched)
    stream(*arguments)
    assert gpu.in_use == in_use and len(gpu.launched) > launched
    with pytest.raises(ArgumentError, match="expected an array in 'out'"):
        executable.on(5)(*arguments)
    with pytest.raises(ArgumentError, match="expected an array on the GPU while a graph"):
        executable.on(5)(random(2, 8), *arguments[1:])


def test_the_workspace_grows_and_stays():
    executable, gpu = program(MODEL)
    executable.bind({"w": random(8, 8)})
    sizes = []
    for rows in (2, 200, 3, 200):
        executable(random(rows, 8), np.zeros(rows, np.int64), 1.0)
        sizes.append(gpu.in_use)
    assert sizes[1] > sizes[0] and sizes[3] == sizes[1] == sizes[2]


def test_a_stream_waits_for_what_another_one_makes():
    executable, gpu = program(ADD)
    x = on(gpu, random(2, 8))
    executable.on(5)(x, x)
    assert set(gpu.orders) == {(5, 0)}
    y = executable.on(5)(x, x)
    del gpu.orders[:]
    z = executable.on(5)(y, y)
    assert gpu.orders == []
    executable.on(6, out={"sum": z})(y, y)
    assert z.stream == 6 and set(gpu.orders) == {(6, 5)}
    del gpu.orders[:]
    z.__dlpack__(stream=6)
    z.__dlpack__(stream=-1)
    assert gpu.orders == []
    z.__dlpack__(stream=9)
    z.__dlpack__()
    assert gpu.orders == [(9, 6), (1, 6)]
    freed = []
    gpu.free = lambda *arguments: freed.append(arguments)
    address = y.address
    y.__dlpack__(stream=9)
    del y
    assert freed == [(address, 5, {6})]
    y = executable.on(5)(x, x)
    address = y.address
    y.__dlpack__(stream=1)  # who takes it reads it in the default stream
    del y
    assert freed[1:] == [(address, 5, {1})]
    assert not gpu.entered


def test_the_workspace_of_a_graph_stays():
    executable, gpu = program(MODEL)
    executable.bind({"w": random(8, 8)})

    def call(rows):
        out = on(gpu, np.zeros((rows, 8), np.float32))
        arguments = on(gpu, random(rows, 8)), on(gpu, np.zeros(rows, np.int64), "i64"), 1.0
        executable.on(5, out={"result0": out})(*arguments)

    freed = []
    gpu.free = lambda address, *_: freed.append(address)
    call(2)
    workspace = executable._workspaces[5].address
    gpu.capturing = True
    call(2)
    gpu.capturing = False
    call(200)
    larger = executable._workspaces[5].address
    call(2000)
    assert larger in freed and workspace not in freed


def test_streams():
    class Torch:
        cuda_stream = 11

    class Cupy:
        ptr = 12

    class Protocol:
        def __cuda_stream__(self):
            return (0, 13)

    executable, gpu = program(ADD)
    seen = []
    launch = gpu.launch
    gpu.launch = lambda *args: (seen.append(args[5]), launch(*args))
    x = on(gpu, random(1, 8))
    for stream in (Torch(), Cupy(), Protocol(), 14, None):
        executable.on(stream)(x, x)
    assert seen == [11, 12, 13, 14, 0]
    with pytest.raises(ArgumentError, match="expected a stream or the number of one, but found"):
        executable.on("main")


# -- loading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "capability", "fits"),
    [
        ("sm_80", (8, 0), True),
        ("sm_80", (9, 0), True),
        ("sm_86", (8, 0), False),
        ("sm_90a", (9, 0), True),
        ("sm_90a", (10, 0), False),
        ("sm_80", (7, 5), False),
    ],
)
def test_architectures(arch, capability, fits):
    executable, gpu = program(ADD, arch)
    gpu.capability = capability
    if fits:
        assert executable(random(1, 8), random(1, 8)).shape == (1, 8)
    else:
        with pytest.raises(LoadError, match=f"the code is for {arch}.*but a simulated GPU is sm_"):
            executable(random(1, 8), random(1, 8))


def test_no_gpu():
    executable, _ = program(ADD)
    text = """
import sys
sys.modules["cuda.bindings"] = None
from rlx.runtime.cuda import available, why_not
assert not available()
assert why_not() == "the package cuda-bindings is not installed", why_not()
"""
    subprocess.run([sys.executable, "-c", text], check=True)
    from rlx.runtime.cuda import available

    if not available():
        with pytest.raises(LoadError, match="cannot use a GPU: "):
            CudaExecutable(executable.program)(random(1, 8), random(1, 8))


def test_a_folder_is_loaded_without_the_compiler(tmp_path):
    executable, _ = program(MODEL)
    files = save(executable.program, tmp_path / "out", b"machine code")
    assert [f.name for f in files] == ["manifest.json", "kernels.ptx", "kernels.cubin"]
    text = f"""
import sys
from rlx.runtime.cuda import load
print(load({str(tmp_path / "out")!r}))
heavy = {{"mlir", "torch_mlir", "llvmlite", "ml_dtypes", "torch"}}
assert not heavy & {{name.partition(".")[0] for name in sys.modules}}
"""
    done = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("<rlx executable 'main' for sm_80: (arg0: tensor<?x8xf32>")
    loaded = load(tmp_path / "out")
    assert loaded.program.plan == executable.program.plan
    with pytest.raises(LoadError, match=r"manifest\.json"):
        load(tmp_path / "nowhere")
    (tmp_path / "out" / "manifest.json").write_text("{")
    with pytest.raises(LoadError, match=r"manifest\.json is damaged"):
        load(tmp_path / "out")


def test_machine_code_for_another_gpu_is_left_alone():
    executable, gpu = program(ADD)
    loaded = []

    def take(code):
        loaded.append(code)
        if code == b"other":
            raise LoadError("no binary for this GPU")
        return code

    gpu.load = take
    CudaExecutable(executable.program, gpu=gpu, cubin=b"other").load()
    CudaExecutable(executable.program, gpu=gpu, cubin=b"fitting").load()
    assert loaded == [b"other", b"", b"fitting"]


def test_what_a_plan_says_survives_json():
    executable, gpu = program(MODEL)
    text = executable.program.manifest()
    again = Program.from_manifest(text, b"")
    assert again.plan == executable.program.plan and again.manifest() == text
    again = CudaExecutable(again, gpu=gpu).bind({"w": random(8, 8)})
    assert again(random(2, 8), np.array([0, 1]), 1.0).shape == (2, 8)


# -- parts -----------------------------------------------------------------------------------------


def test_foreign_arrays():
    class Interface:
        def __init__(self, **changes):
            self.__cuda_array_interface__ = {
                "shape": (2, 3),
                "typestr": "<f4",
                "data": (4096, False),
                "strides": None,
                "version": 3,
            } | changes

    found = foreign(Interface(), 0)
    assert (found.address, found.dtype, found.shape) == (4096, "f32", (2, 3))
    assert (found.device, found.after, found.read_only) == (None, None, False)
    found = foreign(Interface(stream=7, data=(4096, True)), 0)
    assert found.after == 7 and found.read_only
    assert foreign(Interface(strides=(12, 4)), 0).shape == (2, 3)
    with pytest.raises(ArgumentError, match="contiguous"):
        foreign(Interface(strides=(4, 8)), 0)
    with pytest.raises(ArgumentError, match="unsupported element type <c8"):
        foreign(Interface(typestr="<c8"), 0)
    assert is_on_device(Interface()) and not is_on_device(np.zeros(2)) and not is_on_device(2.0)


def test_arrays_with_nothing_but_the_interface():
    class Numba:
        def __init__(self, array, **changes):
            self.__cuda_array_interface__ = array.__cuda_array_interface__ | changes

    executable, gpu = program(ADD)
    x = on(gpu, random(2, 8))
    result = executable.on(5)(Numba(x), Numba(x, stream=9))
    assert (result.numpy() == 2 * random(2, 8)).all()
    assert gpu.orders == [(5, 1), (5, 9)]
    empty = Numba(x, shape=(0, 8), data=(0, False), stream=None)
    assert executable(empty, empty).shape == (0, 8)


def test_dlpack_of_results():
    gpu = SimulatedGpu(None)
    array = on(gpu, random(2, 3))
    interface = array.__cuda_array_interface__
    assert interface["shape"] == (2, 3) and interface["data"] == (array.address, False)
    assert array.__dlpack_device__() == (2, 0)

    class Other:
        """Someone else's array: only what DLPack has."""

        def __init__(self, array):
            self.__dlpack__ = array.__dlpack__
            self.__dlpack_device__ = array.__dlpack_device__

    for _ in range(3):
        found = foreign(Other(array), 0)
        assert (found.address, found.dtype, found.shape) == (array.address, "f32", (2, 3))
    assert not hasattr(on(gpu, np.zeros(4, np.int16), "bf16"), "__cuda_array_interface__")
    with pytest.raises(BufferError, match="without a copy"):
        array.__dlpack__(copy=True)
    with pytest.raises(BufferError, match="without a copy"):
        array.__dlpack__(dl_device=(1, 0))
    in_use = gpu.in_use
    capsule = array.__dlpack__(dl_device=(2, 0), max_version=(1, 0))
    del array, found
    assert gpu.in_use == in_use == 24  # the capsule keeps it
    del capsule
    assert gpu.in_use == 0


def test_packed_parameters_lie_behind_their_pointers():
    import ctypes

    values = [number("i64", -2), number("f32", 1.5), bytes(range(128)), number("i32", 7)]
    packed = Packed(values)
    pointers = (ctypes.c_void_p * 4).from_address(packed.address)
    assert [ctypes.string_at(p, len(v)) for p, v in zip(pointers, values, strict=True)] == values
    assert pointers[2] % 64 == 0
    assert number("bf16", 1.0) == b"\x80\x3f" and number("i1", 1) == b"\x01"
    assert number("bf16", 1.01171875) == b"\x82\x3f"  # a tie, to even


@pytest.mark.parametrize(
    ("op", "arguments", "expected"),
    [
        ("divsi", (-7, 2), -3),
        ("divui", (7, 0), 0),
        ("remsi", (-7, 2), -1),
        ("floordivsi", (-7, 2), -4),
        ("ceildivsi", (7, 2), 4),
        ("ceildivui", (0, 4), 0),
        ("maxui", (-1, 3), -1),
        ("minui", (-1, 3), 3),
        ("ult", (2, -1), True),
        ("slt", (2, -1), False),
        ("select", (0, 1, 2), 2),
    ],
)
def test_operations_on_sizes(op, arguments, expected):
    assert OPERATIONS[op](*arguments) == expected


def test_expressions_are_as_wide_as_their_types():
    table = [
        ["size", "index", 0, 1],
        ["constant", "i32", 2**31 - 1],
        ["addi", "i32", 1, 1],
        ["scalar", "f32", 1],
        ["mulf", "f32", 3, 3],
    ]
    values = evaluate(table, {0: (4, 5)}, {1: 0.1})
    assert values[0] == 5 and values[2] == -2
    assert values[4] == float(np.float32(np.float32(0.1)) * np.float32(0.1))


def test_buffers_that_are_in_use_together_do_not_overlap():
    rng = np.random.default_rng(0)
    for _ in range(50):
        count = int(rng.integers(1, 12))
        sizes = rng.integers(0, 5000, count).tolist()
        spans = [sorted(rng.integers(0, 10, 2).tolist()) for _ in range(count)]
        table = tuple(["constant", "index", size] for size in sizes)
        buffers = tuple(Buffer(n, *span) for n, span in enumerate(spans))
        layout = arrange(Plan("sm_80", table, (), buffers, (), (), ()), {}, {})
        for a in range(count):
            for b in range(a):
                together = spans[a][0] <= spans[b][1] and spans[b][0] <= spans[a][1]
                apart = (
                    layout.offsets[a] + sizes[a] <= layout.offsets[b]
                    or layout.offsets[b] + sizes[b] <= layout.offsets[a]
                )
                assert apart or not together
        assert layout.workspace >= max(o + s for o, s in zip(layout.offsets, sizes, strict=True))
        assert all(offset % 256 == 0 for offset in layout.offsets)
