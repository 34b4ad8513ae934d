"""The memory layout of DLPack tensors, after dlpack.h."""

import ctypes
from typing import Any

from rlx.runtime.errors import ArgumentError

__all__ = ["DEVICES", "DTYPES", "HOST_DEVICES", "Tensor", "opened"]

HOST_DEVICES = (1, 3, 11)  # CPU; host memory pinned by CUDA and by ROCm
DEVICES = {2: "cuda", 4: "opencl", 7: "vulkan", 8: "metal", 10: "rocm", 13: "cuda_managed"}
"""Names of other devices."""
DTYPES = {
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
"""Element types by DLPack's code and how many bits they have."""


class Tensor(ctypes.Structure):
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


class _Versioned(ctypes.Structure):
    """`DLManagedTensorVersioned` of dlpack.h."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    ]


_VERSION = (1, 0)
_READ_ONLY = 1

_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def opened(value: Any, **options: Any) -> tuple[Any, Tensor, bool]:
    """What an array shows of itself: a capsule that keeps it alive, its tensor, and whether that is
    read-only, which arrays of before DLPack 1.0 do not say.

    Args:
        value: has ``__dlpack__``.
        options: what that is called with.

    Raises:
        ArgumentError: the array does not show itself.
    """
    try:
        try:
            capsule = value.__dlpack__(**options, max_version=_VERSION)
        except TypeError:  # it knows no versions
            capsule = value.__dlpack__(**options)
    except (BufferError, RuntimeError) as error:
        raise ArgumentError(f"cannot be read: {error}") from None
    if _is_valid(capsule, b"dltensor_versioned"):
        managed = _Versioned.from_address(_pointer(capsule, b"dltensor_versioned"))
        return capsule, managed.tensor, bool(managed.flags & _READ_ONLY)
    return capsule, Tensor.from_address(_pointer(capsule, b"dltensor")), False
