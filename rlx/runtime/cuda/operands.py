"""What callers pass besides arrays on a GPU."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlx.runtime.cuda.arrays import Foreign, foreign, itemsize
from rlx.runtime.errors import ArgumentError
from rlx.runtime.overlap import Span
from rlx.runtime.program import Spec

__all__ = ["Stream", "handle_of", "operand", "scalar", "spans"]

_POINTER_ALIGNMENT = 16


@dataclass(frozen=True)
class Stream:
    """Where a call runs.

    Attributes:
        handle: its number; 0 for the default stream.
        capturing: whether it records a graph.
    """

    handle: int = 0
    capturing: bool = False


def handle_of(stream: Any) -> int:
    """The number of a stream.

    Raises:
        ArgumentError: it is no stream.
    """
    if stream is None:
        return 0
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    for name in ("cuda_stream", "ptr"):
        if hasattr(stream, name):
            return int(getattr(stream, name))
    try:
        return int(stream)
    except (TypeError, ValueError):
        raise ArgumentError(
            f"expected a stream or the number of one, but found {stream!r}"
        ) from None


def scalar(spec: Spec, value: Any) -> int | float:
    """A number, as the expressions take it.

    Raises:
        ArgumentError: it is none, or does not fit the type.
    """
    try:
        found = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # on a GPU, or of lists that do not match
        found = np.asarray(None)
    if found.ndim or found.dtype.kind not in "biuf":
        raise ArgumentError(f"argument '{spec.name}': expected {spec.type}, but found {value!r}")
    whole = found.dtype.kind in "biu"
    if spec.dtype.startswith("i"):
        bits = 1 if spec.dtype == "i1" else int(spec.dtype[1:])
        low, high = (0, 1) if bits == 1 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        if not whole or not low <= int(found) <= high:
            raise ArgumentError(
                f"argument '{spec.name}': expected {spec.type}, but found {value!r}"
            )
        return int(found)
    return float(found)


def operand(gpu: Any, spec: Spec, value: Any, stream: Stream) -> Foreign:
    """An array on the GPU, as it is, which the stream then waits for.

    Args:
        gpu: a driver.
        spec: what it is for.
        value: the array.
        stream: where it is used.

    Raises:
        ArgumentError: it does not fit, or is on another GPU.
    """
    try:
        # What a graph takes must be there before.
        found = foreign(value, None if stream.capturing else stream.handle)
    except ArgumentError as error:
        raise ArgumentError(f"argument '{spec.name}': {error}") from None
    fits = found.dtype == spec.dtype and len(found.shape) == len(spec.shape)
    if not fits or any(
        want is not None and want != got for want, got in zip(spec.shape, found.shape, strict=True)
    ):
        dims = "".join(f"{size}x" for size in found.shape)
        raise ArgumentError(
            f"argument '{spec.name}': expected {spec.type}, but found tensor<{dims}{found.dtype}>"
        )
    device = found.device
    if device is None:  # nothing is nowhere
        device = gpu.device_of(found.address) if found.address else gpu.device
    if device != gpu.device:
        raise ArgumentError(
            f"argument '{spec.name}': expected an array on cuda:{gpu.device}, but found "
            f"one on cuda:{device}"
        )
    if found.read_only and spec.writable:
        raise ArgumentError(
            f"argument '{spec.name}' is updated in place, but the array is read-only"
        )
    if found.address % _POINTER_ALIGNMENT:
        raise ArgumentError(
            f"argument '{spec.name}': expected memory that is aligned to "
            f"{_POINTER_ALIGNMENT} bytes, but found address {found.address:#x}"
        )
    if found.after is not None and not stream.capturing:
        gpu.order(stream.handle, found.after)
    return found


def spans(arrays: Mapping[int, Foreign]) -> list[Span]:
    """Where arrays lie, by number; those without elements lie nowhere."""
    found = []
    for number, array in arrays.items():
        if size := math.prod(array.shape) * itemsize(array.dtype):
            found.append((array.address, array.address + size, number))
    return found
