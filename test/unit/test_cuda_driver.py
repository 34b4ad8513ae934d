"""What is asked of the CUDA driver, with the real types of `cuda-bindings` and a driver that only
takes notes: nothing here runs on a GPU."""

import ctypes
import enum

import pytest
from cuda.bindings import driver as real

from rlx.runtime import ExecutionError, LoadError
from rlx.runtime.cuda import OutOfMemoryError
from rlx.runtime.cuda.driver import Driver, _EncodeTiled
from rlx.runtime.cuda.parameters import Packed, number

OK = real.CUresult.CUDA_SUCCESS


class Notes:
    """Functions of the driver note their arguments and succeed; types are the real ones."""

    def __init__(self, **answers):
        self.calls = []
        self.maps = []
        self.encode_status = 0
        self.encode = _EncodeTiled(self._note_map)
        self.encode_address = ctypes.cast(self.encode, ctypes.c_void_p).value
        attribute = real.CUdevice_attribute
        self.capability = {
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: 9,
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: 0,
        }
        none = real.CUstreamCaptureStatus.CU_STREAM_CAPTURE_STATUS_NONE
        self.answers = {
            "cuDeviceGet": lambda n: (OK, n),
            "cuDevicePrimaryCtxRetain": lambda device: (OK, "context"),
            "cuDeviceGetAttribute": lambda which, device: (OK, self.capability[which]),
            "cuDeviceGetName": lambda length, device: (OK, b"NVIDIA Test\0   "),
            "cuMemPoolCreate": lambda properties: (OK, "pool"),
            "cuMemAllocFromPoolAsync": lambda *_: (OK, real.CUdeviceptr(4096)),
            "cuStreamIsCapturing": lambda stream: (OK, none),
            "cuModuleLoadDataEx": lambda *_: (OK, "module"),
            "cuModuleGetFunction": lambda module, name: (OK, f"function {name.decode()}"),
            "cuGetProcAddress": lambda *_: (OK, self.encode_address, None),
            "cuEventCreate": lambda flags: (OK, "event"),
            "cuPointerGetAttribute": lambda which, address: (OK, 3),
            **answers,
        }

    def __getattr__(self, name):
        found = getattr(real, name)  # misspelled ones fail here
        if isinstance(found, type | enum.EnumType):
            return found

        def call(*arguments):
            self.calls.append((name, arguments))
            return self.answers.get(name, lambda *_: (OK,))(*arguments)

        return call

    def _note_map(self, target, kind, rank, address, sizes, strides, box, steps, *rest):
        arrays = sizes[:rank], strides[: rank - 1], box[:rank], steps[:rank]
        self.maps.append((kind, rank, address, *arrays, *rest))
        assert target % 128 == 0
        ctypes.memset(target, 7, 128)
        return self.encode_status

    def names(self):
        return [name for name, _ in self.calls]

    def last(self, name):
        return next(arguments for called, arguments in reversed(self.calls) if called == name)


def failing(**statuses):
    return Notes(**{name: lambda *_, s=status: (s, None) for name, status in statuses.items()})


def test_a_gpu_is_described():
    api = Notes()
    gpu = Driver(api, 2)
    assert gpu.capability == (9, 0) and gpu.name == "NVIDIA Test" and gpu.device == 2
    (properties,) = api.last("cuMemPoolCreate")
    assert properties.location.id == 2
    pool, attribute, value = api.last("cuMemPoolSetAttribute")
    assert pool == "pool" and attribute.name.endswith("RELEASE_THRESHOLD")
    assert int(value) == 2**64 - 1


def test_memory_is_ordered_by_the_stream():
    api = Notes()
    gpu = Driver(api, 0)
    assert gpu.allocate(0, 7) == 4096
    assert api.last("cuMemAllocFromPoolAsync") == (1, "pool", 7)
    gpu.copy_in(4096, 1, 8, 7)
    gpu.copy_out(1, 4096, 8, 7)
    gpu.clear(4096, 8, 7)
    gpu.free(4096, 7)
    assert api.last("cuMemcpyHtoDAsync") == (4096, 1, 8, 7)
    assert api.last("cuStreamSynchronize") == (7,)
    assert api.last("cuMemcpyDtoHAsync") == (1, 4096, 8, 7)
    assert api.last("cuMemsetD8Async") == (4096, 0, 8, 7)
    assert api.last("cuMemFreeAsync") == (4096, 7)


def test_nothing_is_freed_in_a_stream_that_records_a_graph():
    active = real.CUstreamCaptureStatus.CU_STREAM_CAPTURE_STATUS_ACTIVE
    none = real.CUstreamCaptureStatus.CU_STREAM_CAPTURE_STATUS_NONE
    implicit = real.CUresult.CUDA_ERROR_STREAM_CAPTURE_IMPLICIT
    for state in [[OK, active]], [[implicit, None]]:
        api = Notes(cuStreamIsCapturing=lambda stream, state=state: tuple(state[0]))
        gpu = Driver(api, 0)
        gpu.free(4096, 7)
        gpu.allocate(16, 7)
        assert "cuMemFreeAsync" not in api.names()
        state[0] = [OK, none]
        gpu.allocate(16, 7)
        assert api.last("cuMemFreeAsync") == (4096, 7)
        assert api.names().count("cuMemFreeAsync") == 1


def test_streams_wait_for_each_other():
    api = Notes()
    gpu = Driver(api, 0)
    gpu.order(7, 7)
    gpu.order(0, 1)  # two numbers of the default stream
    assert "cuEventRecord" not in api.names()
    gpu.order(7, 0)
    order = ["cuEventCreate", "cuEventRecord", "cuStreamWaitEvent", "cuEventDestroy"]
    assert api.names()[-4:] == order
    assert api.last("cuEventRecord") == ("event", 0)
    assert api.last("cuStreamWaitEvent") == (7, "event", 0)
    gpu.free(4096, 7, {9})
    assert api.last("cuEventRecord") == ("event", 9) and api.last("cuMemFreeAsync") == (4096, 7)


def test_the_gpu_of_before_is_the_current_one_afterwards():
    api = Notes()
    gpu = Driver(api, 0)
    api.calls.clear()
    with pytest.raises(KeyError), gpu.current():
        assert api.calls == [("cuCtxPushCurrent", ("context",))]
        raise KeyError
    assert api.names() == ["cuCtxPushCurrent", "cuCtxPopCurrent"]


def test_memory_is_on_a_gpu():
    assert Driver(Notes(), 0).device_of(4096) == 3


def test_code_and_shared_memory():
    api = Notes()
    gpu = Driver(api, 0)
    assert gpu.load(b".version 8.0") == "module"
    image, count, options, values = api.last("cuModuleLoadDataEx")
    assert image == b".version 8.0\0" and count == len(options) == len(values) == 2
    assert gpu.function("module", "f", 0) == "function f"
    assert "cuFuncSetAttribute" not in api.names()
    gpu.function("module", "f", 100_000)
    function, attribute, size = api.last("cuFuncSetAttribute")
    assert function == "function f" and size == 100_000
    assert attribute.name.endswith("MAX_DYNAMIC_SHARED_SIZE_BYTES")


def test_launches():
    api = Notes()
    gpu = Driver(api, 0)
    packed = Packed([number("i64", 4096), number("i32", 7)])
    gpu.launch("f", (3, 1, 1), (128, 1, 1), (), 512, 7, packed)
    assert api.last("cuLaunchKernel") == ("f", 3, 1, 1, 128, 1, 1, 512, 7, packed.address, 0)
    pointers = (ctypes.c_void_p * 2).from_address(packed.address)
    assert ctypes.c_int64.from_address(pointers[0]).value == 4096
    gpu.launch("f", (4, 1, 1), (128, 1, 1), (2, 1, 1), 512, 7, packed)
    config, function, parameters, extra = api.last("cuLaunchKernelEx")
    assert (function, parameters, extra) == ("f", packed.address, 0)
    assert (config.gridDimX, config.blockDimX, config.sharedMemBytes) == (4, 128, 512)
    assert int(config.hStream) == 7 and config.numAttrs == 1
    assert config.attrs[0].value.clusterDim.x == 2


def test_what_the_driver_says_about_code():
    def refuse(image, count, options, values):
        log = values[options.index(real.CUjit_option.CU_JIT_ERROR_LOG_BUFFER)]
        log[:12] = b"line 3: oh!\0"
        return real.CUresult.CUDA_ERROR_INVALID_PTX, None

    with pytest.raises(LoadError, match=r"code: CUDA_ERROR_INVALID_PTX: line 3: oh!$"):
        Driver(Notes(cuModuleLoadDataEx=refuse), 0).load(b"")
    old = failing(cuModuleLoadDataEx=real.CUresult.CUDA_ERROR_UNSUPPORTED_PTX_VERSION)
    with pytest.raises(LoadError, match="the driver is older than CUDA 12"):
        Driver(old, 0).load(b"")


def test_tensor_maps():
    api = Notes()
    gpu = Driver(api, 0)
    for _ in range(5):
        found = gpu.tensor_map("bf16", 4096, (5, 64, 128), (8192, 128, 1), (1, 64, 32), 128)
        assert found == b"\7" * 128
    assert api.names().count("cuGetProcAddress") == 1
    kind, rank, address, sizes, strides, box, steps, *rest = api.maps[-1]
    assert kind == real.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
    assert (rank, address, sizes, strides) == (3, 4096, [128, 64, 5], [256, 16384])
    assert (box, steps) == ([32, 64, 1], [1, 1, 1])
    assert rest == [0, real.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B, 2, 0]
    gpu.tensor_map("bf16", 0, (1, 0, 128), (0, 128, 1), (1, 64, 64), 128)
    # Nothing is copied from it, yet a driver wants an address, sizes and strides.
    assert api.maps[-1][2:5] == (128, [128, 1, 1], [256, 256])
    api.encode_status = 1
    with pytest.raises(ExecutionError, match="an array of 5x64x128xbf16 for TMA: CUDA_ERROR_INVA"):
        gpu.tensor_map("bf16", 4096, (5, 64, 128), (8192, 128, 1), (1, 64, 32), 128)


@pytest.mark.parametrize(
    ("function", "status", "error", "call"),
    [
        (
            "cuMemAllocFromPoolAsync",
            "CUDA_ERROR_OUT_OF_MEMORY",
            OutOfMemoryError,
            lambda gpu: gpu.allocate(99, 0),
        ),
        ("cuModuleLoadDataEx", "CUDA_ERROR_INVALID_PTX", LoadError, lambda gpu: gpu.load(b"")),
        (
            "cuModuleLoadDataEx",
            "CUDA_ERROR_NO_BINARY_FOR_GPU",
            LoadError,
            lambda gpu: gpu.load(b""),
        ),
        (
            "cuModuleLoadDataEx",
            "CUDA_ERROR_JIT_COMPILER_NOT_FOUND",
            LoadError,
            lambda gpu: gpu.load(b""),
        ),
        (
            "cuModuleLoadDataEx",
            "CUDA_ERROR_OUT_OF_MEMORY",
            OutOfMemoryError,
            lambda gpu: gpu.load(b""),
        ),
        (
            "cuStreamSynchronize",
            "CUDA_ERROR_ILLEGAL_ADDRESS",
            ExecutionError,
            lambda gpu: gpu.synchronize(0),
        ),
    ],
)
def test_errors(function, status, error, call):
    gpu = Driver(failing(**{function: getattr(real.CUresult, status)}), 0)
    with pytest.raises(error, match=r"cannot (allocate 99 bytes|load the code|wait)"):
        call(gpu)
