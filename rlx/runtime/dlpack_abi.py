"""The memory layout of DLPack tensors, after dlpack.h."""

import ctypes

__all__ = ["DEVICES", "DTYPES", "HOST_DEVICES", "Tensor", "pointer_of"]

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


pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
pointer_of.restype = ctypes.c_void_p
pointer_of.argtypes = [ctypes.py_object, ctypes.c_char_p]
