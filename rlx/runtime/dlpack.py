"""DLPack tensors as NumPy arrays, without a copy.

NumPy's own import lacks bfloat16, says less about what is wrong, and in some versions gives nothing
that can be written to, hence this one.
"""

import math
from typing import Any

import numpy as np

from rlx import dtypes
from rlx.runtime.dlpack_abi import DEVICES, DTYPES, HOST_DEVICES, opened
from rlx.runtime.errors import ArgumentError

__all__ = ["from_dlpack"]


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
    try:
        device, number = value.__dlpack_device__()
    except (BufferError, RuntimeError, ValueError) as error:
        raise ArgumentError(f"cannot be read: {error}") from None
    if int(device) not in HOST_DEVICES:
        name = DEVICES.get(int(device), f"device type {int(device)}")
        raise ArgumentError(f"expected an array in host memory, but found one on {name}:{number}")
    capsule, tensor, read_only = opened(value)
    shape = tuple(tensor.shape[: tensor.ndim])
    dtype_name = DTYPES.get((tensor.code, tensor.bits))
    if dtype_name is None or tensor.lanes != 1:
        raise ArgumentError(
            f"unsupported element type (DLPack code {tensor.code}, {tensor.bits} bits)"
        )
    dtype = dtypes.NAMES[dtype_name]
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    strides = None
    if tensor.strides:
        strides = tuple(stride * dtype.itemsize for stride in tensor.strides[: tensor.ndim])
    interface = {
        "version": 3,
        "shape": shape,
        "typestr": dtype.str,
        "data": (tensor.data + tensor.byte_offset, read_only),
        "strides": strides,
    }
    return np.asarray(_View(capsule, interface)).view(dtype)
