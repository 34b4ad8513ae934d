"""What callers pass besides arrays on a GPU."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlx.runtime.cuda.arrays import Foreign, itemsize
from rlx.runtime.errors import ArgumentError
from rlx.runtime.overlap import Span
from rlx.runtime.program import Spec

__all__ = ["Stream", "handle_of", "scalar", "spans"]


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


def spans(arrays: Mapping[int, Foreign]) -> list[Span]:
    """Where arrays lie, by number; those without elements lie nowhere."""
    found = []
    for number, array in arrays.items():
        if size := math.prod(array.shape) * itemsize(array.dtype):
            found.append((array.address, array.address + size, number))
    return found
