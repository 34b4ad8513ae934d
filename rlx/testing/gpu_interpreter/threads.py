"""Who runs: blocks, and groups of threads in lock step."""

from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from rlx.testing.gpu_interpreter.memory import EPOCHS, POISON, Buffer, Counters, KernelError, View
from rlx.testing.gpu_interpreter.order import Order, Past

__all__ = ["Block", "Threads", "Wait"]

Wait = tuple[Callable[[], bool], str]
"""When to go on, and what is waited for."""


class Block:
    """A thread block: its shared memory and barriers."""

    def __init__(
        self,
        number: int,
        index: tuple[int, ...],
        grid: tuple[int, ...],
        size: tuple[int, ...],
        shared: int,
        granule: int,
        counters: Counters,
    ):
        self.index, self.grid, self.size, self.counters = index, grid, size, counters
        self.threads = size[0] * size[1] * size[2]
        self.first_epoch, self.epoch = number * EPOCHS, number * EPOCHS
        # Address 0 stays unused, so that it is not mistaken for an aligned one.
        self.base = 1024
        self.memory = Buffer(
            np.full(self.base + shared, POISON, np.uint8), granule, True, "shared memory"
        )
        self.dynamic, self.dynamic_end = 0, 0
        self.arrived: dict[int, int] = {}
        self.expected: dict[int, int] = {}
        self.generation: dict[int, int] = {}
        self.barriers: dict[Any, Any] = {}
        self.order: Order | None = None
        self.handed: dict[tuple[int, int], Past] = {}  # by barrier and generation
        self.registers: dict[int, int] = {}  # of warp groups that said how many they want

    def arrive(self, barrier: int, threads: "Threads", expected: int) -> int:
        """Counts threads at a barrier; returns the generation that they wait to end."""
        if not 0 <= barrier < 16 or expected % 32:
            raise KernelError(f"there is no barrier {barrier} of {expected} threads")
        now = self.generation.setdefault(barrier, 0)
        arrived = self.arrived.get(barrier, 0)
        if arrived and self.expected[barrier] != expected:
            raise KernelError(f"barrier {barrier}: of {self.expected[barrier]}, or of {expected}")
        self.arrived[barrier] = arrived + threads.count
        self.expected[barrier] = expected
        if self.order is not None:
            past = self.handed.setdefault((barrier, now), self.order.nothing())
            self.order.release(threads.group, past)
        if self.arrived[barrier] > expected:
            raise KernelError(f"barrier {barrier}: more than {expected} threads arrive")
        if self.arrived[barrier] == expected:
            self.arrived[barrier] = 0
            self.generation[barrier] += 1
            if expected == self.threads:
                self.epoch += 1
        return now


class Threads:
    """Threads that run in lock step: a block, or one of its warp groups."""

    def __init__(self, block: Block, first: int, count: int, slots: int):
        self.block, self.first, self.count = block, first, count
        self.env: list[Any] = [None] * slots
        self.ids = np.arange(first, first + count, dtype=np.int64)
        self.thread = self.ids.astype(np.int32)
        self.mask = np.ones(count, bool)
        self.full = True
        self.copies: list[Any] = []
        self.groups: list[list[Any]] = []
        self.products: list[Callable[[], None]] = []
        # Groups of a block that go their own ways each have epochs of their own.
        self.alone = count == block.threads
        self.group = first // count
        self.passed = 0

    @property
    def epoch(self) -> int:
        """Accesses of two threads are ordered if their epochs differ."""
        if self.alone:
            return self.block.epoch
        return self.block.first_epoch + self.group * 4096 + self.passed

    def activate(self, mask: np.ndarray) -> None:
        self.mask, self.full = mask, bool(mask.all())

    def spread(self, value: np.ndarray) -> np.ndarray:
        """A row per thread."""
        if len(value) == self.count:
            return value
        return np.broadcast_to(value, (self.count, *value.shape[1:]))

    def uniform(self, value: np.ndarray, what: str) -> Any:
        """The one value of all active threads."""
        if len(value) == 1:
            return value[0]
        active = value[self.mask]
        if not (active == active[0]).all():
            raise KernelError(f"{what} differs between threads")
        return active[0]

    # -- memory ------------------------------------------------------------------------------------

    def load(
        self, view: View, indices: list[np.ndarray], elements: int, alignment: int | None
    ) -> np.ndarray:
        """[threads, elements]"""
        address = view.address(indices, self.mask, elements)
        if alignment:
            view.aligned(address, self.mask, alignment)
        size = elements * view.itemsize
        active = address if self.full else address[self.mask]
        thread = self.thread if self.full else self.thread[self.mask]
        view.buffer.note_read(active, size, thread, self.epoch)
        if view.shared:
            if self.block.order is not None:
                self.block.order.read(self.group, view.buffer.granules(active, size))
            self.block.counters.banks("shared.load", address, size, self.mask)
        return view.gather(address, elements)

    def store(
        self, view: View, indices: list[np.ndarray], values: np.ndarray, alignment: int | None
    ) -> None:
        elements = values.shape[1]
        address = view.address(indices, self.mask, elements)
        if alignment:
            view.aligned(address, self.mask, alignment)
        size = elements * view.itemsize
        values = self.spread(values)[self.mask]
        view.buffer.note_write(address[self.mask], size, self.thread[self.mask], self.epoch)
        if view.shared:
            if self.block.order is not None:
                at = view.buffer.granules(address[self.mask], size)
                self.block.order.write(self.group, at)
            self.block.counters.banks("shared.store", address, size, self.mask)
        view.scatter(address[self.mask], values)

    # -- barriers ----------------------------------------------------------------------------------

    def barrier(self, number: int, expected: int) -> Generator[Wait, None, None]:
        if not self.full:
            raise KernelError("a barrier that some threads do not reach")
        block = self.block
        self.passed += 1
        before = block.arrive(number, self, expected)
        if block.generation[number] == before:
            yield (lambda: block.generation[number] != before), f"barrier {number}"
        if block.order is not None:
            block.order.acquire(self.group, block.handed[number, before])
