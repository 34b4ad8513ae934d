"""The CUDA driver, as far as compiled programs need it."""

import contextlib
import ctypes
import threading
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from rlx.runtime.cuda.parameters import Packed
from rlx.runtime.errors import ExecutionError, LoadError

__all__ = ["LEGACY_STREAM", "Driver", "OutOfMemoryError", "available", "driver", "why_not"]


class OutOfMemoryError(ExecutionError, MemoryError):
    """The GPU has no memory left for what a call needs."""


_lock = threading.Lock()
_drivers: dict[int, "Driver"] = {}

LEGACY_STREAM = 1
"""Another number for the default stream, 0, which some interfaces take for none."""

_LOG_BYTES = 4096
_MAP_BYTES = 128

_EncodeTiled = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,  # where the map goes
    ctypes.c_int,  # type of the elements
    ctypes.c_uint32,  # rank
    ctypes.c_void_p,  # the array
    ctypes.POINTER(ctypes.c_uint64),  # sizes
    ctypes.POINTER(ctypes.c_uint64),  # strides in bytes, but the innermost
    ctypes.POINTER(ctypes.c_uint32),  # box
    ctypes.POINTER(ctypes.c_uint32),  # steps
    *(ctypes.c_int,) * 4,  # interleave, swizzle, promotion to L2, what is out of bounds
)
"""`cuTensorMapEncodeTiled` of cuda.h."""


def why_not() -> str | None:
    """Why compiled code cannot run on a GPU of this machine; None when it can."""
    try:
        api = _api()
        count = _checked(api, "count GPUs", api.cuDeviceGetCount())
    except LoadError as error:
        return str(error)
    return None if count else "the NVIDIA driver finds no GPU"


def available() -> bool:
    """Whether there are a GPU, its driver and the package `cuda-bindings`."""
    return why_not() is None


def driver(device: int = 0) -> "Driver":
    """The driver for a GPU.

    Raises:
        LoadError: there is no such GPU, no driver, or no `cuda-bindings`.
    """
    with _lock:
        if device not in _drivers:
            if reason := why_not():
                raise LoadError(f"cannot use a GPU: {reason}")
            _drivers[device] = Driver(_api(), device)
        return _drivers[device]


def _api() -> Any:
    try:
        from cuda.bindings import driver as api
    except ImportError:
        raise LoadError("the package cuda-bindings is not installed") from None
    try:
        (status,) = api.cuInit(0)
    except RuntimeError:
        raise LoadError("there is no NVIDIA driver: libcuda was not found") from None
    if status == api.CUresult.CUDA_ERROR_NO_DEVICE:
        raise LoadError("the NVIDIA driver finds no GPU")
    if status != api.CUresult.CUDA_SUCCESS:
        raise LoadError(f"the NVIDIA driver cannot be initialised: {status.name}")
    return api


def _checked(api: Any, what: str, returned: Sequence[Any]) -> Any:
    """What a function of the driver returns besides its status."""
    status, *values = returned
    if status == api.CUresult.CUDA_SUCCESS:
        return values[0] if len(values) == 1 else values
    if status == api.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
        raise OutOfMemoryError(f"cannot {what}: the GPU is out of memory")
    raise ExecutionError(f"cannot {what}: {status.name}")


class Driver:
    """One GPU. Addresses, streams, modules and functions are numbers."""

    def __init__(self, api: Any, device: int):
        self.api, self.device = api, device
        handle = self._do("find the GPU", api.cuDeviceGet(device))
        self._context = self._do("use the GPU", api.cuDevicePrimaryCtxRetain(handle))
        attribute = api.CUdevice_attribute
        major, minor = (
            self._do("ask the GPU", api.cuDeviceGetAttribute(wanted, handle))
            for wanted in (
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        self.capability: tuple[int, int] = (int(major), int(minor))
        raw = self._do("ask the GPU", api.cuDeviceGetName(128, handle))
        self.name: str = raw.partition(b"\0")[0].decode().strip()
        self._pool = self._make_pool()
        self._unfreed: list[tuple[int, int, Collection[int]]] = []  # what `free` could not
        self._encode_tiled: Any = None

    def _make_pool(self) -> Any:
        """Memory that is kept for the next call; that of others is left as it is."""
        api = self.api
        properties = api.CUmemPoolProps()
        properties.allocType = api.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
        location = properties.location
        location.type = api.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        location.id = self.device
        properties.location = location
        with self.current():
            pool = self._do("make a pool of memory", api.cuMemPoolCreate(properties))
            threshold = api.CUmemPool_attribute.CU_MEMPOOL_ATTR_RELEASE_THRESHOLD
            everything = api.cuuint64_t(2**64 - 1)
            self._do("keep memory", api.cuMemPoolSetAttribute(pool, threshold, everything))
        return pool

    def _do(self, what: str, returned: Sequence[Any]) -> Any:
        return _checked(self.api, what, returned)

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Calls of this thread go to this GPU; afterwards, to the one of before."""
        self._do("use the GPU", self.api.cuCtxPushCurrent(self._context))
        try:
            yield
        finally:
            self.api.cuCtxPopCurrent()

    # -- code

    def load(self, code: bytes) -> Any:
        """PTX or a cubin, ready to run."""
        option, log = self.api.CUjit_option, bytearray(_LOG_BYTES)
        options = {
            option.CU_JIT_ERROR_LOG_BUFFER: log,
            option.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES: _LOG_BYTES,
        }
        # PTX is text and must end with a zero.
        returned = self.api.cuModuleLoadDataEx(
            code + b"\0", len(options), list(options), list(options.values())
        )
        try:
            return self._do("load the code", returned)
        except OutOfMemoryError:
            raise
        except ExecutionError as error:
            said = log.partition(b"\0")[0].decode(errors="replace").strip()
            if returned[0] == self.api.CUresult.CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
                said = said or "the driver is older than CUDA 12"
            raise LoadError(f"{error}: {said}" if said else str(error)) from None

    def function(self, module: Any, name: str, shared: int) -> Any:
        """A kernel that may use so many bytes of dynamic shared memory."""
        found = self._do(
            f"find kernel '{name}'", self.api.cuModuleGetFunction(module, name.encode())
        )
        if shared:
            # More than 48 KiB, with what the kernel has besides, must be asked for.
            which = self.api.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            self._do(
                f"give kernel '{name}' {shared} bytes of shared memory",
                self.api.cuFuncSetAttribute(found, which, shared),
            )
        return found

    def launch(
        self,
        function: Any,
        grid: Sequence[int],
        block: Sequence[int],
        cluster: Sequence[int],
        shared: int,
        stream: int,
        parameters: Packed,
    ) -> None:
        """Launches a kernel."""
        if not cluster:
            returned = self.api.cuLaunchKernel(
                function, *grid, *block, shared, stream, parameters.address, 0
            )
        else:
            returned = self.api.cuLaunchKernelEx(
                self._configuration(grid, block, cluster, shared, stream),
                function,
                parameters.address,
                0,
            )
        self._do("launch a kernel", returned)

    def _configuration(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        cluster: Sequence[int],
        shared: int,
        stream: int,
    ) -> Any:
        api = self.api
        attribute = api.CUlaunchAttribute()
        attribute.id = api.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
        dimension = attribute.value.clusterDim
        dimension.x, dimension.y, dimension.z = cluster
        attribute.value.clusterDim = dimension
        config = api.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = grid
        config.blockDimX, config.blockDimY, config.blockDimZ = block
        config.sharedMemBytes, config.hStream = shared, api.CUstream(stream)
        config.attrs, config.numAttrs = [attribute], 1
        return config

    def tensor_map(
        self,
        dtype: str,
        address: int,
        sizes: Sequence[int],
        strides: Sequence[int],
        box: Sequence[int],
        swizzle: int,
    ) -> bytes:
        """A TMA descriptor: sizes and strides in elements, the innermost axis last."""
        api = self.api
        kinds = api.CUtensorMapDataType
        kind, size = {
            "bf16": (kinds.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2),
            "f16": (kinds.CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2),
            "f32": (kinds.CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4),
            "i8": (kinds.CU_TENSOR_MAP_DATA_TYPE_UINT8, 1),
        }[dtype]
        pattern = {
            0: api.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_NONE,
            32: api.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_32B,
            64: api.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_64B,
            128: api.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B,
        }[swizzle]
        rank = len(sizes)
        if 0 in sizes:
            # Nothing is ever copied from it; but sizes of zero are not allowed, nor perhaps no
            # address.
            address, strides = max(address, _MAP_BYTES), [_MAP_BYTES] * rank
        memory = ctypes.create_string_buffer(2 * _MAP_BYTES)
        target = -(-ctypes.addressof(memory) // _MAP_BYTES) * _MAP_BYTES
        status = self._encoder()(
            target,
            int(kind),
            rank,
            address,
            (ctypes.c_uint64 * rank)(*(max(n, 1) for n in reversed(sizes))),
            (ctypes.c_uint64 * rank)(*(n * size for n in reversed(strides[:-1]))),
            (ctypes.c_uint32 * rank)(*reversed(box)),
            (ctypes.c_uint32 * rank)(*[1] * rank),
            int(api.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE),
            int(pattern),
            int(api.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_128B),
            int(api.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
        )
        shape = "x".join(map(str, sizes))
        self._do(f"describe an array of {shape}x{dtype} for TMA", (api.CUresult(status),))
        return ctypes.string_at(target, _MAP_BYTES)

    def _encoder(self) -> Any:
        """The driver's function that makes TMA descriptors.

        `cuda-bindings` has one, too, but it gives the driver memory that is less aligned than the
        driver may rely on.
        """
        if self._encode_tiled is None:
            address, _ = self._do(
                "find cuTensorMapEncodeTiled: the NVIDIA driver is older than CUDA 12",
                self.api.cuGetProcAddress(b"cuTensorMapEncodeTiled", 12000, 0),
            )
            self._encode_tiled = _EncodeTiled(int(address))
        return self._encode_tiled

    # -- memory

    def allocate(self, size: int, stream: int) -> int:
        """Memory for what comes later in the stream."""
        waiting, self._unfreed = self._unfreed, []
        for entry in waiting:
            self.free(*entry)
        what = f"allocate {size} bytes on {self.name}"
        returned = self.api.cuMemAllocFromPoolAsync(max(size, 1), self._pool, stream)
        return int(self._do(what, returned))

    def free(self, address: int, stream: int, others: Collection[int] = ()) -> None:
        """Gives memory back when the stream has come this far; never fails.

        Args:
            address: the memory.
            stream: that it was allocated for.
            others: streams that use it, too.
        """
        with contextlib.suppress(Exception), self.current():  # at exit the driver may be gone
            if self.is_capturing(stream):
                # A graph can free only what it has allocated.
                self._unfreed.append((address, stream, others))
                return
            for other in others:
                self.order(stream, other)
            self.api.cuMemFreeAsync(address, stream)

    def copy_in(self, address: int, source: int, size: int, stream: int) -> None:
        """From the host, whose memory may change when this returns."""
        if size:
            self._do("copy to the GPU", self.api.cuMemcpyHtoDAsync(address, source, size, stream))
            # Where the GPU reads the host's memory by itself, nothing has been set aside.
            self.synchronize(stream)

    def copy_out(self, target: int, address: int, size: int, stream: int) -> None:
        """To the host; the memory is there when the stream has come this far."""
        if size:
            self._do("copy from the GPU", self.api.cuMemcpyDtoHAsync(target, address, size, stream))

    def clear(self, address: int, size: int, stream: int) -> None:
        """Fills memory with zeros."""
        self._do("clear memory", self.api.cuMemsetD8Async(address, 0, size, stream))

    # -- order

    def synchronize(self, stream: int) -> None:
        """Waits for everything in a stream."""
        self._do("wait for the GPU", self.api.cuStreamSynchronize(stream))

    def order(self, stream: int, after: int) -> None:
        """What comes later in a stream waits for what is in another one."""
        if (stream or LEGACY_STREAM) == (after or LEGACY_STREAM):
            return
        flag = int(self.api.CUevent_flags.CU_EVENT_DISABLE_TIMING)
        event = self._do("make an event", self.api.cuEventCreate(flag))
        try:
            self._do("record an event", self.api.cuEventRecord(event, after))
            self._do("wait for an event", self.api.cuStreamWaitEvent(stream, event, 0))
        finally:
            self.api.cuEventDestroy(event)

    def is_capturing(self, stream: int) -> bool:
        """Whether the stream records a graph, or cannot be asked since another one does."""
        returned = self.api.cuStreamIsCapturing(stream)
        if returned[0] == self.api.CUresult.CUDA_ERROR_STREAM_CAPTURE_IMPLICIT:
            return True
        status = self._do("ask the stream", returned)
        return status != self.api.CUstreamCaptureStatus.CU_STREAM_CAPTURE_STATUS_NONE

    def device_of(self, address: int) -> int:
        """The number of the GPU that memory is on."""
        which = self.api.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        what = f"find the GPU of address {address:#x}"
        return int(self._do(what, self.api.cuPointerGetAttribute(which, address)))
