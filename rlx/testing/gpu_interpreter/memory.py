"""Memory: bytes, who touched them last, and what is still on its way."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["EPOCHS", "Buffer", "KernelError", "TensorMap", "View", "root_of"]

EPOCHS = 1 << 20
"""Barriers that one block may pass; epochs of different blocks differ by multiples of it."""

POISON = 0xFF
"""Every float type reads it as NaN."""


class KernelError(Exception):
    """A kernel does what must not be done."""


@dataclass
class TensorMap:
    """What a TMA descriptor says: an array, and the box that one copy moves.

    Attributes:
        array: rank 1 to 5, the last axis contiguous.
        box: elements along each axis.
    """

    array: np.ndarray
    box: Sequence[int]


class Buffer:
    """An allocation.

    Args:
        data: its bytes; their address counts as aligned to 1024.
        granule: bytes that are tracked together.
        tracked: whether accesses are looked at for races.
    """

    def __init__(self, data: np.ndarray, granule: int, tracked: bool, what: str):
        self.data, self.granule, self.tracked, self.what = data, granule, tracked, what
        self.typed: dict[Any, np.ndarray] = {}
        count = -(-len(data) // granule)
        if tracked:
            self.write_epoch = np.full(count, -1, np.int64)
            self.write_thread = np.full(count, -1, np.int32)
            self.read_epoch = np.full(count, -1, np.int64)
            self.read_thread = np.full(count, -1, np.int32)
        self.in_flight: np.ndarray | None = None

    def view(self, dtype: Any) -> np.ndarray:
        if dtype not in self.typed:
            size = np.dtype(dtype).itemsize
            self.typed[dtype] = self.data[: len(self.data) // size * size].view(dtype)
        return self.typed[dtype]

    def granules(self, address: np.ndarray, size: int) -> np.ndarray:
        """[threads] addresses as [threads, granules]."""
        first = address // self.granule
        return first[:, None] + np.arange(max(size // self.granule, 1))

    def note_read(self, address: np.ndarray, size: int, thread: np.ndarray, epoch: int) -> None:
        if self.in_flight is None and not self.tracked:
            return
        at = self.granules(address, size)
        if self.in_flight is not None and self.in_flight[at].any():
            raise KernelError(f"{self.what}: reads what a copy that nobody waited for writes")
        if not self.tracked:
            return
        mine = thread[:, None]
        written = self.write_epoch[at]
        self._conflict(written, self.write_thread[at], mine, epoch, "read after a write")
        others = (self.read_epoch[at] == epoch) & (self.read_thread[at] != mine)
        # Reads of older epochs and of the same block cannot conflict any more.
        self.read_thread[at] = np.where(others, -2, mine)
        self.read_epoch[at] = epoch
        # Several threads in this very access.
        self.read_thread[at] = np.where(self.read_thread[at] != mine, -2, self.read_thread[at])

    def note_write(self, address: np.ndarray, size: int, thread: np.ndarray, epoch: int) -> None:
        if not self.tracked:
            return
        at = self.granules(address, size)
        mine = np.broadcast_to(thread[:, None], at.shape)
        self._conflict(self.read_epoch[at], self.read_thread[at], mine, epoch, "write after a read")
        self._conflict(
            self.write_epoch[at], self.write_thread[at], mine, epoch, "write after a write"
        )
        self.write_epoch[at], self.write_thread[at] = epoch, mine
        if (self.write_thread[at] != mine).any():
            raise KernelError(f"{self.what}: race, two threads write the same place at once")

    def _conflict(
        self, epochs: np.ndarray, threads: np.ndarray, mine: np.ndarray, epoch: int, what: str
    ) -> None:
        same_block = epochs // EPOCHS == epoch // EPOCHS
        inside = (epochs == epoch) & (threads != mine)
        across = (epochs >= 0) & ~same_block
        for bad, who in ((inside, "another thread, no barrier between"), (across, "another block")):
            if bad.any():
                row = int(np.argmax(bad.any(axis=tuple(range(1, bad.ndim)))))
                raise KernelError(
                    f"{self.what}: race, thread {int(mine[row, 0])}'s {what} by {who}"
                )

    def fly(self, address: np.ndarray, size: int, flying: bool) -> None:
        """Marks bytes as being written by a copy, or as landed."""
        if self.in_flight is None:
            self.in_flight = np.zeros(-(-len(self.data) // self.granule), bool)
        self.in_flight[self.granules(address, size)] = flying


@dataclass
class View:
    """A memref.

    Attributes:
        offset: bytes from the start of the buffer, [1] or [threads].
        strides: in elements.
        origin: where its aligned pointer points, in bytes like ``offset``.
    """

    buffer: Buffer
    offset: np.ndarray
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: Any
    shared: bool = False
    origin: Any = None

    def __post_init__(self) -> None:
        if self.origin is None:
            self.origin = self.offset

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize

    def address(
        self, indices: Sequence[np.ndarray], mask: np.ndarray, elements: int = 1
    ) -> np.ndarray:
        """Byte addresses [threads] of elements that must exist where ``mask`` is set."""
        linear = np.zeros(1, np.int64)
        last = len(indices) - 1
        for axis, (index, size, stride) in enumerate(
            zip(indices, self.shape, self.strides, strict=True)
        ):
            most = size - (elements if axis == last else 1)
            bad = ((index < 0) | (index > most)) & mask
            if bad.any():
                value = np.broadcast_to(index, mask.shape)[bad][0]
                raise KernelError(
                    f"{self.buffer.what}: index {value} (+{elements} elements) is outside of axis "
                    f"{axis} of size {size}; shape {self.shape}"
                )
            linear = linear + index * stride
        address = self.offset + linear * self.itemsize
        address = np.broadcast_to(address, mask.shape)
        end = len(self.buffer.data) - elements * self.itemsize
        bad = ((address < 0) | (address > end)) & mask
        if bad.any():
            raise KernelError(
                f"{self.buffer.what}: byte {int(address[bad][0])} is outside of "
                f"{len(self.buffer.data)} bytes"
            )
        return np.where(mask, address, 0)

    def aligned(self, address: np.ndarray, mask: np.ndarray, alignment: int) -> None:
        bad = (address % alignment != 0) & mask
        if bad.any():
            raise KernelError(
                f"{self.buffer.what}: address {int(address[bad][0])} is not aligned to "
                f"{alignment} bytes"
            )

    def gather(self, address: np.ndarray, elements: int) -> np.ndarray:
        """[threads, elements]"""
        at = address[:, None] // self.itemsize + np.arange(elements)
        return self.buffer.view(self.dtype)[at]

    def scatter(self, address: np.ndarray, values: np.ndarray) -> None:
        at = address[:, None] // self.itemsize + np.arange(values.shape[1])
        self.buffer.view(self.dtype)[at] = values


@dataclass
class Counters:
    """What a launch did."""

    ops: Counter = field(default_factory=Counter)

    def banks(self, what: str, address: np.ndarray, size: int, mask: np.ndarray) -> None:
        """Counts the passes that accesses of ``size`` bytes per thread to shared memory take."""
        per_pass = max(1, min(32, 128 // max(size, 4)))
        words = max(1, size // 4)
        for start in range(0, len(address), per_pass):
            here = mask[start : start + per_pass]
            if not here.any():
                continue
            first = address[start : start + per_pass][here] // 4
            touched = np.unique(first[:, None] + np.arange(words))
            self.ops[f"{what}.passes"] += int(np.bincount(touched % 32).max())
            self.ops[f"{what}.ideal"] += 1


def root_of(array: np.ndarray) -> np.ndarray:
    """The array that owns the memory of ``array``."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def byte_view(root: np.ndarray) -> np.ndarray:
    """All bytes of a contiguous array, in place."""
    if not root.flags.c_contiguous:
        raise ValueError("expects memory that is owned by a contiguous array")
    flat = root.reshape(-1)
    return flat.view(np.uint8) if math.prod(root.shape) else np.zeros(0, np.uint8)
