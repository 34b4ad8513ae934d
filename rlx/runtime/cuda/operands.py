"""What callers pass besides arrays on a GPU."""

import math
from typing import Any

import numpy as np

from rlx.runtime.cuda.arrays import Foreign, itemsize
from rlx.runtime.errors import ArgumentError
from rlx.runtime.overlap import Span
from rlx.runtime.program import Spec

__all__ = ["handle_of", "scalar", "span_of"]


def handle_of(stream: Any) -> int:
    """The number of a stream."""
    if stream is None:
        return 0
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    for name in ("cuda_stream", "ptr"):
        if hasattr(stream, name):
            return int(getattr(stream, name))
    return int(stream)


def scalar(spec: Spec, value: Any) -> int | float:
    """A number, as the expressions take it.

    Raises:
        ArgumentError: it is none, or does not fit the type.
    """
    found = np.asarray(value)
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


def span_of(at: int, operand: Foreign) -> Span:
    """Where argument ``at`` lies."""
    size = math.prod(operand.shape) * itemsize(operand.dtype)
    return operand.address, operand.address + size, at
