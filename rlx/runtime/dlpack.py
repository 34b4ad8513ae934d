"""DLPack tensors as NumPy arrays, without a copy.

NumPy's own import lacks bfloat16, hence this one.
"""

import ctypes
import math
from typing import Any

import numpy as np

from rlx import dtypes
from rlx.runtime.errors import ArgumentError

__all__ = ["from_dlpack"]

_HOST_DEVICES = (1, 3, 11)  # CPU; host memory pinned by CUDA and by ROCm
_DEVICES = {2: "cuda", 4: "opencl", 7: "vulkan", 8: "metal", 10: "rocm", 13: "cuda_managed"}
_DTYPES = {
    (2, 64): "f64",
    (2, 32): "f32",
    (2, 16): "f16",
    (4, 16): "bf16",
    (0, 64): "i64",
    (0, 32): "i32",
    (0, 16): "i16",
    (0, 8): "i8",
    (6, 8): "i1",
}


class _Tensor(ctypes.Structure):
    """`DLTensor` of dlpack.h, which is also the head of `DLManagedTensor`."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype = ctypes.c_void_p
_pointer_of.argtypes = [ctypes.py_object, ctypes.c_char_p]


class _View:
    """Memory of a tensor; keeps the tensor alive."""

    def __init__(self, capsule: Any, interface: dict[str, Any]):
        self.capsule = capsule
        self.__array_interface__ = interface


def from_dlpack(value: Any) -> np.ndarray:
    """A view of ``value``, an object with ``__dlpack__``.

    Raises:
        ArgumentError: it lives on another device, or its element type is not supported.
    """
    device, number = value.__dlpack_device__()
    if int(device) not in _HOST_DEVICES:
        name = _DEVICES.get(int(device), f"device type {int(device)}")
        raise ArgumentError(f"expected an array in host memory, but found one on {name}:{number}")
    try:
        capsule = value.__dlpack__()
    except (BufferError, RuntimeError) as error:
        raise ArgumentError(f"cannot be read: {error}") from None
    tensor = _Tensor.from_address(_pointer_of(capsule, b"dltensor"))
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    dtype_name = _DTYPES.get((tensor.code, tensor.bits))
    if dtype_name is None or tensor.lanes != 1:
        raise ArgumentError(
            f"unsupported element type (DLPack code {tensor.code}, {tensor.bits} bits)"
        )
    dtype = dtypes.NAMES[dtype_name]
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    strides = None
    if tensor.strides:
        strides = tuple(tensor.strides[axis] * dtype.itemsize for axis in range(tensor.ndim))
    interface = {
        "version": 3,
        "shape": shape,
        "typestr": dtype.str,
        "data": (tensor.data + tensor.byte_offset, False),
        "strides": strides,
    }
    return np.asarray(_View(capsule, interface)).view(dtype)
