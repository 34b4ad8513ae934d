"""What callers pass, as arrays that compiled code can read."""

from functools import lru_cache
from typing import Any

import numpy as np

from rlx import dtypes
from rlx.runtime.dlpack import from_dlpack
from rlx.runtime.errors import ArgumentError
from rlx.runtime.program import Spec

__all__ = ["as_array", "describe"]

_SPELLING = {dtype: name for name, dtype in dtypes.NAMES.items()}
_KINDS = {bool: "b", int: "iu", float: "fV"}  # bfloat16 is of kind V


def as_array(spec: Spec, value: Any) -> np.ndarray:
    """``value`` as a contiguous array of exactly the type that ``spec`` says.

    NumPy arrays, NumPy scalars, nested lists and everything with ``__dlpack__`` will do; a Python
    number will do for a scalar or a tensor without dimensions. Copies only what is not contiguous.

    Raises:
        ArgumentError: names the argument, what was expected and what was found.
    """
    expected = dtypes.NAMES[spec.dtype]
    if type(value) is np.ndarray and value.dtype is expected:
        flags = value.flags  # what most callers pass needs no more than this
        usable = flags.c_contiguous and flags.aligned and (flags.writeable or not spec.writable)
        if usable and _fits(spec.shape, value.shape):
            return value
    try:
        array = _to_numpy(spec, value, expected)
    except ArgumentError as error:
        raise ArgumentError(f"argument '{spec.name}': {error}") from None
    if array.dtype != expected or not _fits(spec.shape, array.shape):
        raise ArgumentError(
            f"argument '{spec.name}': expected {spec.type}, but found {describe(array)}"
        )
    if array.flags.c_contiguous and array.flags.aligned:
        found = array
    elif spec.writable:
        raise ArgumentError(
            f"argument '{spec.name}' is updated in place, so it must be contiguous and aligned"
        )
    else:
        found = np.array(array, order="C")
    if spec.writable and not found.flags.writeable:
        raise ArgumentError(
            f"argument '{spec.name}' is updated in place, but the array is read-only"
        )
    return found


@lru_cache(maxsize=4096)
def _fits(expected: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    if shape == expected:
        return True
    if len(shape) != len(expected):
        return False
    for want, got in zip(expected, shape, strict=True):
        if want is not None and want != got:
            return False
    return True


def _to_numpy(spec: Spec, value: Any, expected: np.dtype) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, bool | int | float):
        if spec.shape:
            raise ArgumentError(f"expected {spec.type}, but found a number")
        kinds = _KINDS.get(type(value), "")
        if expected.kind not in kinds and not (type(value) is int and expected.kind in "fV"):
            raise ArgumentError(f"expected {spec.type}, but found {value!r}")
        try:
            return np.array(value, expected)
        except OverflowError:
            raise ArgumentError(f"expected {spec.type}, but {value} does not fit") from None
    if hasattr(value, "__dlpack__") and not isinstance(value, np.generic):
        return _shown(spec, value, expected)
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"expected {spec.type}, but found {type(value).__name__}: {error}"
        ) from None


def _shown(spec: Spec, value: Any, expected: np.dtype) -> np.ndarray:
    """What ``value`` shows through DLPack."""
    if expected.kind != "V":
        try:
            array = np.from_dlpack(value)  # in a third of the time
        except Exception:  # of whatever kind the library that made the value raises
            return from_dlpack(value)
        if array.dtype == expected and (array.flags.writeable or not spec.writable):
            return array
    return from_dlpack(value)


def describe(array: np.ndarray) -> str:
    """An array's type, in MLIR's words where it has any."""
    name = _SPELLING.get(array.dtype)
    if name is None or not array.dtype.isnative:
        return f"an array of {array.dtype} with shape {array.shape}"
    return Spec("", name, array.shape).type
