"""Weights as 8-bit integers with scales."""

from collections.abc import Sequence

import numpy as np

from rlx import dtypes
from rlx.runtime.errors import ArgumentError
from rlx.runtime.lazy import forget_pages

__all__ = ["FLOATS", "LARGEST", "quantize"]

FLOATS = tuple(dtypes.NAMES[name] for name in ("f64", "f32", "f16", "bf16") if name in dtypes.NAMES)

LARGEST = 127
"""The integers are from -LARGEST to LARGEST: as many below zero as above."""

_CHUNK = 1 << 20  # elements that are converted at a time


def quantize(
    parts: Sequence[np.ndarray], axis: int, group: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """One matrix of integers, and the scales it has to be multiplied with.

    A scale is the largest magnitude among its elements divided by 127; an element is rounded to
    the nearest multiple of its scale (ties to even). The error is at most half a scale.

    Args:
        parts: float matrices, to be put one after the other along ``axis``; memory-mapped ones are
            taken out of memory.
        axis: the axis of the output channels, each of which has scales of its own.
        group: how many elements of a channel share a scale; 0 for all.

    Returns:
        The integers, i8, and the scales, f32 (f64 for f64): [N], or with ``group`` [N, X / group].

    Raises:
        ArgumentError: an element is not finite.
    """
    rows = [part if axis == 0 else part.T for part in parts]
    count, depth = sum(map(len, rows)), rows[0].shape[1]
    groups = depth // group if group else 1
    wide = np.result_type(np.float32, *{np.float64 for row in rows if row.dtype == np.float64})
    values = np.empty((count, depth) if axis == 0 else (depth, count), np.int8)
    scales = np.empty((count, groups), wide)
    into = values if axis == 0 else values.T
    at = 0
    for row, part in zip(rows, parts, strict=True):
        step = max(1, _CHUNK // max(depth, 1))
        for start in range(0, len(row), step):
            chunk = row[start : start + step].astype(wide)
            chunk = chunk.reshape(len(chunk), groups, depth // groups if groups else 0)
            top = np.abs(chunk).max(-1, initial=0)
            if not np.isfinite(top).all():
                raise ArgumentError("holds numbers that are not finite")
            scale = top / wide.type(LARGEST)
            with np.errstate(over="ignore"):
                integers = np.rint(chunk / np.where(scale > 0, scale, 1)[..., None])
            end = at + len(chunk)
            into[at:end] = integers.clip(-LARGEST, LARGEST).reshape(len(chunk), depth)
            scales[at:end] = scale
            at = end
        forget_pages(part)
    return values, scales if group else scales[:, 0].copy()
