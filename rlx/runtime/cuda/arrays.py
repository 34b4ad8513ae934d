"""Arrays in the memory of a GPU: of others, without a copy, and ours."""

import ctypes
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlx.runtime.cuda.driver import LEGACY_STREAM
from rlx.runtime.dlpack_abi import DEVICES, DTYPES, Tensor, opened
from rlx.runtime.errors import ArgumentError

__all__ = ["DeviceArray", "Foreign", "Memory", "foreign", "is_on_device", "itemsize"]

_CUDA = 2
_MANAGED = 13
_TYPESTRINGS = {
    "f64": "<f8",
    "f32": "<f4",
    "f16": "<f2",
    "i64": "<i8",
    "i32": "<i4",
    "i16": "<i2",
    "i8": "|i1",
    "i1": "|b1",
}
_NAMES = {text: name for name, text in _TYPESTRINGS.items()}
_CODES = {name: code for code, name in DTYPES.items()}
_NO_WAIT = -1  # to DLPack: as a stream


def itemsize(dtype: str) -> int:
    """Bytes of an element."""
    if dtype == "index":
        return 8
    return max(1, _CODES[dtype][1] // 8)


@dataclass(frozen=True)
class Foreign:
    """An array of someone else.

    Attributes:
        address: of its first element.
        dtype: in MLIR's spelling.
        shape: its sizes.
        device: the GPU that it is on; None if it does not say.
        owner: what keeps it alive.
        read_only: whether its elements must not be changed.
        after: a stream in which it may still be made, and whose work nothing waits for yet.
    """

    address: int
    dtype: str
    shape: tuple[int, ...]
    device: int | None
    owner: Any
    read_only: bool = False
    after: int | None = None


def is_on_device(value: Any) -> bool:
    """Whether ``value`` is an array in the memory of some device."""
    if isinstance(value, np.ndarray | np.generic):
        return False
    if hasattr(value, "__dlpack_device__"):
        return int(value.__dlpack_device__()[0]) in DEVICES
    return hasattr(value, "__cuda_array_interface__")


def foreign(value: Any, stream: int | None) -> Foreign:
    """What ``value`` says about itself, through DLPack or ``__cuda_array_interface__``.

    Args:
        value: an array on a GPU.
        stream: where it will be used, so that what it is still waiting for is waited for there;
            None if nothing must be waited for.

    Raises:
        ArgumentError: it is on no NVIDIA GPU, not contiguous, or of an unsupported type.
    """
    if isinstance(value, DeviceArray):
        found, after = value, value.stream
        return Foreign(found.address, found.dtype, found.shape, found.device, value, after=after)
    if not is_on_device(value):
        raise ArgumentError(f"expected an array on an NVIDIA GPU, but found {type(value).__name__}")
    if hasattr(value, "__dlpack__"):
        return _from_dlpack(value, _NO_WAIT if stream is None else stream or LEGACY_STREAM)
    return _from_interface(value)


def _from_dlpack(value: Any, stream: int) -> Foreign:
    kind, number = value.__dlpack_device__()
    if int(kind) not in (_CUDA, _MANAGED):
        raise ArgumentError(f"expected an array on an NVIDIA GPU, but found {DEVICES[int(kind)]}")
    capsule, tensor, read_only = opened(value, stream=stream)
    dtype = DTYPES.get((tensor.code, tensor.bits))
    if dtype is None or tensor.lanes != 1:
        raise ArgumentError(
            f"unsupported element type (DLPack code {tensor.code}, {tensor.bits} bits)"
        )
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    if tensor.strides:
        _expect_contiguous(shape, [tensor.strides[axis] for axis in range(tensor.ndim)])
    address = (tensor.data or 0) + tensor.byte_offset
    return Foreign(address, dtype, shape, int(number), capsule, read_only)


def _from_interface(value: Any) -> Foreign:
    interface = value.__cuda_array_interface__
    dtype = _NAMES.get(interface["typestr"])
    if dtype is None:
        raise ArgumentError(f"unsupported element type {interface['typestr']}")
    shape = tuple(interface["shape"])
    if strides := interface.get("strides"):
        size = itemsize(dtype)
        _expect_contiguous(shape, [stride // size for stride in strides])
    address, read_only = interface["data"]
    return Foreign(address or 0, dtype, shape, None, value, read_only, interface.get("stream"))


def _expect_contiguous(shape: Sequence[int], strides: Sequence[int]) -> None:
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != step and 0 not in shape:
            raise ArgumentError(
                f"expected a contiguous array, but found strides {tuple(strides)} "
                f"for shape {tuple(shape)}"
            )
        step *= size


class Memory:
    """Memory of a GPU, given back with the last array that looks at it.

    Attributes:
        size: in bytes.
        stream: that it was allocated for, and is given back in.
        address: of its first byte.
    """

    def __init__(self, driver: Any, size: int, stream: int):
        self.driver, self.size, self.stream = driver, size, stream
        self._others: set[int] = set()
        self.address: int = driver.allocate(size, stream)

    def used_on(self, stream: int) -> None:
        """It is not given back before another stream is done with what it has now."""
        if stream != self.stream:
            self._others.add(stream)

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self.driver.free(self.address, self.stream, self._others)


class DeviceArray:
    """A contiguous array in the memory of a GPU.

    ``torch.from_dlpack``, ``cupy.from_dlpack`` and ``jax.numpy.from_dlpack`` take it as it is, and
    ``numpy.asarray`` copies it to the host when everything that makes it is done.

    Attributes:
        shape: its sizes.
        dtype: in MLIR's spelling, such as ``"bf16"``.
        address: of its first element.
        device: the number of the GPU.
        stream: where it was written last.
        memory: holds the elements.
    """

    def __init__(
        self,
        memory: Memory,
        dtype: str,
        shape: Sequence[int],
        check: Callable[[int], None] | None = None,
    ):
        """Args:
        memory: holds the elements.
        dtype, shape: of the array.
        check: called with the stream when the elements are read on the host; raises if they have no
            meaning.
        """
        self.memory, self._check = memory, check
        self.dtype, self.shape = dtype, tuple(shape)
        self.address, self.stream = memory.address, memory.stream
        self.device: int = memory.driver.device

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * itemsize(self.dtype)

    def __repr__(self) -> str:
        return f"<rlx array {self.dtype}{list(self.shape)} on cuda:{self.device}>"

    def __getattr__(self, name: str) -> Any:
        if name == "__cuda_array_interface__" and self.dtype in _TYPESTRINGS:
            return {
                "version": 3,
                "shape": self.shape,
                "typestr": _TYPESTRINGS[self.dtype],
                "data": (self.address, False),
                "strides": None,
                "stream": self.stream or LEGACY_STREAM,
            }
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def numpy(self) -> np.ndarray:
        """A copy on the host.

        Raises:
            ExecutionError: a check inside of the call that made it has failed.
        """
        from rlx import dtypes

        if self.dtype not in dtypes.NAMES:
            raise TypeError(f"NumPy has no {self.dtype} without the package ml_dtypes")
        host = np.empty(self.shape, dtypes.NAMES[self.dtype])
        driver = self.memory.driver
        with driver.current():
            driver.copy_out(host.ctypes.data, self.address, host.nbytes, self.stream)
            driver.synchronize(self.stream)
        if self._check is not None:
            self._check(self.stream)
        return host

    def write(self, values: np.ndarray) -> None:
        """Replaces the elements by those of an array of the same shape and dtype.

        Raises:
            ValueError: it has another size.
        """
        host = np.ascontiguousarray(values)
        if host.shape != self.shape or host.nbytes != self.nbytes:
            raise ValueError(f"expected an array like {self!r}, got {host.dtype}{list(host.shape)}")
        driver = self.memory.driver
        with driver.current():
            driver.copy_in(self.address, host.ctypes.data, host.nbytes, self.stream)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("an array on a GPU cannot be a NumPy array without a copy")
        found = self.numpy()
        return found if dtype is None else found.astype(dtype, copy=False)

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA, self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("an array on a GPU is given away as it is, without a copy")
        if stream != _NO_WAIT:
            driver = self.memory.driver
            reader = stream or LEGACY_STREAM
            with driver.current():
                driver.order(reader, self.stream)
            if reader == LEGACY_STREAM:
                # It is always there; other streams of readers may be gone before the memory is.
                self.memory.used_on(reader)
        return _export(self)


# -- DLPack ----------------------------------------------------------------------------------------


class _Managed(ctypes.Structure):
    """`DLManagedTensor` of dlpack.h."""

    _fields_ = [
        ("tensor", Tensor),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    ]


_exported: dict[int, Any] = {}
_tickets = itertools.count(1)


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _delete(address: int) -> None:
    _exported.pop(_Managed.from_address(address).context, None)


@ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
def _destroy(capsule: int) -> None:
    # Whoever took the tensor has renamed the capsule, and calls the deleter.
    if _is_valid(capsule, b"dltensor"):
        _delete(_pointer(capsule, b"dltensor"))


# By address, since they are asked of capsules that are going away.
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)


def _export(array: DeviceArray) -> Any:
    """A capsule that keeps ``array`` alive until whoever takes it has let go of it."""
    rank = array.ndim
    shape = (ctypes.c_int64 * max(rank, 1))(*array.shape)
    strides = (ctypes.c_int64 * max(rank, 1))(
        *(math.prod(array.shape[axis + 1 :]) for axis in range(rank))
    )
    managed = _Managed()
    tensor = managed.tensor
    tensor.data, tensor.device_type, tensor.device_id = array.address, _CUDA, array.device
    tensor.ndim, tensor.lanes, tensor.byte_offset = rank, 1, 0
    tensor.code, tensor.bits = _CODES[array.dtype]
    tensor.shape, tensor.strides = shape, strides
    managed.context = ticket = next(_tickets)
    managed.deleter = ctypes.cast(_delete, ctypes.c_void_p)
    _exported[ticket] = (array, managed, shape, strides)
    return _new(ctypes.addressof(managed), b"dltensor", ctypes.cast(_destroy, ctypes.c_void_p))
