"""Matrices cut into tiles, so that compiled code reads them from front to back."""

import contextlib
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from rlx.runtime.lazy import forget_pages

__all__ = ["Tiling"]

_CHUNK = 1 << 20  # elements that are moved at a time
_LARGE = 1 << 20  # bytes


def _empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Like ``numpy.empty``, in pages of its own, and huge ones, if it is large.

    Arrays that live long and those that do not would else leave holes between each other. The pages
    are private, since Linux by default gives no huge ones to memory that could be shared.
    """
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size < _LARGE:
        return np.empty(shape, dtype)
    pages = mmap.mmap(-1, size, access=mmap.ACCESS_COPY)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # as NumPy does
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, dtype).reshape(shape)


@dataclass(frozen=True)
class Tiling:
    """How an array lies in memory, in the terms of `linalg.pack`.

    Each axis of ``inner_dims_pos`` is cut into tiles of the size that ``inner_tiles`` has for it;
    zeros fill the last one. The axes of the result are the old ones in the order of
    ``outer_dims_perm``, with numbers of tiles in place of sizes, and then those of a tile.

    A weight [N, K] in panels of 16 columns, [N / 16, K, 16], has ``inner_dims_pos=(0,)``,
    ``inner_tiles=(16,)`` and ``outer_dims_perm=(0, 1)``; a weight [K, N] the same with
    ``inner_dims_pos=(1,)`` and ``outer_dims_perm=(1, 0)``.
    """

    inner_dims_pos: tuple[int, ...]
    inner_tiles: tuple[int, ...]
    outer_dims_perm: tuple[int, ...]

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of what :meth:`apply` makes of an array of this shape."""
        outer = list(shape)
        for axis, tile in zip(self.inner_dims_pos, self.inner_tiles, strict=True):
            outer[axis] = ceil(outer[axis] / tile)
        return (*(outer[axis] for axis in self.outer_dims_perm), *self.inner_tiles)

    def apply(self, array: np.ndarray) -> np.ndarray:
        """A new array, laid out like this."""
        # Elements only move: integers do that fast, whatever the dtype.
        source = array.view(f"u{array.itemsize}")
        result = _empty(self.shape(array.shape), source.dtype)
        axis = self.outer_dims_perm[0]
        tile = dict(zip(self.inner_dims_pos, self.inner_tiles, strict=True)).get(axis, 1)
        step = max(1, _CHUNK // max(1, result[:1].size))
        for start in range(0, len(result), step):
            at: list[Any] = [slice(None)] * source.ndim
            at[axis] = slice(start * tile, (start + step) * tile)
            self._fill(result[start : start + step], source[tuple(at)])
        forget_pages(array)
        return result.view(array.dtype)

    def _fill(self, result: np.ndarray, part: np.ndarray) -> None:
        tiles = dict(zip(self.inner_dims_pos, self.inner_tiles, strict=True))
        missing = [-size % tiles.get(axis, 1) for axis, size in enumerate(part.shape)]
        if any(missing):
            part = np.pad(part, [(0, count) for count in missing])
        split: list[int] = []
        outer, inner = [], {}
        for axis, size in enumerate(part.shape):
            outer.append(len(split))
            split.append(size // tiles.get(axis, 1))
            if axis in tiles:
                inner[axis] = len(split)
                split.append(tiles[axis])
        order = [outer[a] for a in self.outer_dims_perm] + [inner[a] for a in self.inner_dims_pos]
        result[...] = part.reshape(split).transpose(order)
