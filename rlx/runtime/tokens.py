"""What callers give to models: ids of tokens and what goes with them, checked."""

from typing import Any

import numpy as np

__all__ = ["expect_below", "integers", "integers_like", "token_ids"]


def integers(name: str, value: Any) -> np.ndarray:
    """``value`` as contiguous int64.

    Raises:
        ValueError: it holds neither integers nor booleans.
    """
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.integer) and array.dtype != np.bool_:
        raise ValueError(f"expected {name} of integers, got dtype {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.int64)


def integers_like(ids: np.ndarray, name: str, value: Any) -> np.ndarray:
    """``value`` as :func:`integers` gives it, with an element for each of ``ids``.

    Raises:
        ValueError: it has another shape, or holds neither integers nor booleans.
    """
    array = integers(name, value)
    if array.shape != ids.shape:
        raise ValueError(
            f"expected {name} {list(ids.shape)} like input_ids, got shape {list(array.shape)}"
        )
    return array


def token_ids(value: Any) -> np.ndarray:
    """``input_ids`` [B, S], as :func:`integers` gives them.

    Raises:
        ValueError: the shape is another or has a zero, or they are no integers.
    """
    ids = integers("input_ids", value)
    if ids.ndim != 2 or ids.size == 0:
        raise ValueError(f"expected input_ids [B, S], not empty, got shape {list(ids.shape)}")
    return ids


def expect_below(limit: int, name: str, array: np.ndarray) -> None:
    """Raises ValueError unless all elements are at least 0 and below ``limit``."""
    bad = array[(array < 0) | (array >= limit)]
    if bad.size:
        raise ValueError(f"expected {name} in [0, {limit}), got {int(bad[0])}")
