"""A compiled function as a Python callable."""

import ctypes
from typing import Any

import numpy as np

from rlx import dtypes
from rlx.runtime.errors import ArgumentError
from rlx.runtime.loader import Loaded, free
from rlx.runtime.program import Program, Spec

__all__ = ["Executable"]


class _Buffer:
    """Memory that compiled code allocated; freed with the last array that looks at it."""

    def __init__(self, address: int):
        self.address = address

    def __del__(self, free: Any = free) -> None:
        free(self.address)


class _View:
    """What NumPy needs to look at a part of a buffer."""

    def __init__(self, buffer: _Buffer, interface: dict[str, Any]):
        self.buffer = buffer
        self.__array_interface__ = interface


class Executable:
    """A compiled function: arrays in by position or by name, array or tuple of arrays out."""

    def __init__(self, program: Program):
        self.program = program
        self._loaded = Loaded(program.object_code)
        self._function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(
            self._loaded.address(program.symbol)
        )

    def __call__(self, *arrays: Any) -> Any:
        program = self.program
        if len(arrays) != len(program.arguments):
            raise ArgumentError(
                f"'{program.entry}' takes {len(program.arguments)} arguments, got {len(arrays)}"
            )
        keep = []
        descriptors = []
        for spec, value in zip(program.arguments, arrays, strict=True):
            array = np.ascontiguousarray(_check(spec, value)).reshape(np.shape(value))
            keep.append(array)
            strides = [stride // array.itemsize for stride in array.strides]
            words = [array.ctypes.data, array.ctypes.data, 0, *array.shape, *strides]
            descriptors.append((ctypes.c_int64 * len(words))(*words))
        sizes = [3 + 2 * len(spec.shape) for spec in program.results]
        out = (ctypes.c_int64 * sum(sizes))()
        pointers = [
            ctypes.c_void_p(ctypes.addressof(d)) for d in [*([out] if sizes else []), *descriptors]
        ]
        slots = (ctypes.c_void_p * len(pointers))(*[ctypes.addressof(p) for p in pointers])
        self._function(ctypes.addressof(slots))
        buffers: dict[int, _Buffer] = {}
        results = []
        at = 0
        for spec, size in zip(program.results, sizes, strict=True):
            results.append(_result(spec, out[at : at + size], buffers))
            at += size
        return results[0] if len(results) == 1 else tuple(results)


def _check(spec: Spec, value: Any) -> np.ndarray:
    array = np.asarray(value)
    expected = dtypes.NAMES[spec.dtype]
    if array.dtype != expected:
        raise ArgumentError(f"argument '{spec.name}' expects {spec.type}, but got {array.dtype}")
    if array.ndim != len(spec.shape) or any(
        want not in (None, got) for want, got in zip(spec.shape, array.shape, strict=True)
    ):
        raise ArgumentError(f"argument '{spec.name}' expects {spec.type}, but got {array.shape}")
    return array


def _result(spec: Spec, words: list[int], buffers: dict[int, _Buffer]) -> np.ndarray:
    rank = len(spec.shape)
    allocated, aligned, offset = words[:3]
    shape, strides = words[3 : 3 + rank], words[3 + rank :]
    dtype = dtypes.NAMES[spec.dtype]
    buffer = (
        buffers.setdefault(allocated, _Buffer(allocated))
        if allocated not in buffers
        else buffers[allocated]
    )
    plain = np.dtype(f"u{dtype.itemsize}")
    interface = {
        "version": 3,
        "shape": tuple(shape),
        "typestr": plain.str,
        "data": (aligned + offset * dtype.itemsize, False),
        "strides": tuple(s * dtype.itemsize for s in strides),
    }
    return np.asarray(_View(buffer, interface)).view(dtype)
