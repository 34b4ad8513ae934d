"""The memory that passes arguments to compiled code and brings results back.

Compiled code is called with one pointer, to a list of slots. Slot i leads to argument i: to the
value of a scalar, or to a pointer to the descriptor of a buffer. A descriptor holds the address to
free, the address of the data, an offset, the sizes and the strides, each in 64 bits. With run-time
checks there is one more argument, a buffer that holds the status. A single scalar result comes back
through one more slot at the end; all other results come back as one C structure, through one more
slot at the start.
"""

import ctypes
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from rlx import dtypes
from rlx.runtime.memory import Allocation, address_of
from rlx.runtime.program import Program, Spec

__all__ = ["Frame"]


class Block:
    """The memory of one call.

    Attributes:
        words: what it holds, 64 bits each.
        address: where it lies.
        shapes: of the arrays that it describes, by number.
    """

    __slots__ = ("address", "shapes", "words")

    def __init__(self, words: np.ndarray, shapes: Mapping[int, tuple[int, ...]]):
        self.shapes = dict(shapes)
        self.words: memoryview = words.data  # faster than the array, one word at a time
        self.address = address_of(words)


class Frame:
    """Where everything lies in the memory of a call.

    A call at a time uses a block of memory; blocks are kept for later calls.
    """

    def __init__(self, program: Program, bound: Mapping[int, np.ndarray]):
        self._bound = dict(bound)  # alive as long as calls use this frame
        words = 0

        def take(count: int) -> int:
            nonlocal words
            words += count
            return words - count

        results = [spec for spec in program.results if spec.alias is None]
        slots = len(program.arguments) + bool(program.messages) + bool(results)
        self._slots = take(slots)
        pointers: list[tuple[int, int]] = []  # (word, word it points to)

        at = self._slots
        returned_in_slot = len(results) == 1 and results[0].scalar
        if results and not returned_in_slot:
            pointers.append((at, cell := take(1)))
            offsets, size = _structure(results)
            pointers.append((cell, start := take(size)))
            self._results = [8 * start + offset for offset in offsets]
            at += 1
        self._arguments: list[int] = []
        for spec in program.arguments:
            if spec.scalar:
                place = take(1)
                pointers.append((at, place))
            else:
                pointers.append((at, cell := take(1)))
                pointers.append((cell, place := take(3 + 2 * spec.rank)))
            self._arguments.append(place)
            at += 1
        self._status = None
        if program.messages:
            self._status = take(1)
            pointers.append((at, cell := take(1)))
            pointers.append((cell, place := take(5)))
            pointers += [(place, self._status), (place + 1, self._status)]
            at += 1
        if returned_in_slot:
            place = take(1)
            pointers.append((at, place))
            self._results = [8 * place]
        if not results:
            self._results = []

        self._specs = program.arguments
        self._template = np.zeros(words, np.int64)
        self._pointers = np.array([word for word, _ in pointers], np.intp)
        self._template[self._pointers] = [8 * target for _, target in pointers]
        if self._status is not None:
            self._template[place + 3 : place + 5] = 1
        self._packers = [
            struct.Struct(f"{dtypes.NAMES[spec.dtype].itemsize}s" if spec.scalar else _words(spec))
            for spec in program.arguments
        ]
        first = Block(self._template, {})
        for number, array in bound.items():
            self._put(first, number, array, address_of(array))
        self._shapes = first.shapes
        self._readers = [
            (spec, dtypes.NAMES[spec.dtype], offset, struct.Struct(_words(spec)))
            for spec, offset in zip(results, self._results, strict=True)
        ]
        self._spare: list[Block] = []

    def _put(self, block: Block, number: int, array: np.ndarray, address: int) -> None:
        at, words, shape = self._arguments[number], block.words, array.shape
        if self._specs[number].scalar:
            self._packers[number].pack_into(words, 8 * at, array.tobytes())
            return
        if block.shapes.get(number) == shape:  # arrays are contiguous
            words[at] = words[at + 1] = address
            return
        size = array.itemsize
        strides = [stride // size for stride in array.strides]
        self._packers[number].pack_into(words, 8 * at, address, address, 0, *shape, *strides)
        block.shapes[number] = shape

    def fill(self, arrays: Mapping[int, np.ndarray], addresses: Mapping[int, int]) -> Block:
        """The memory for one call with these arguments by number, added to the bound ones.

        Args:
            arrays: contiguous arrays of the right types.
            addresses: of their first elements.
        """
        try:
            block = self._spare.pop()
        except IndexError:
            words = self._template.copy()
            block = Block(words, self._shapes)
            words[self._pointers] += block.address
        for number, array in arrays.items():
            self._put(block, number, array, addresses[number])
        return block

    def finish(self, block: Block) -> tuple[list[Any], int]:
        """The results of a call, which own their memory, and the check that failed; 0 for none.

        To be called exactly once after each call; the block is not to be used any more.
        """
        owners: dict[int, Allocation] = {}
        found = []
        for spec, dtype, offset, reader in self._readers:
            if spec.scalar:
                value = ctypes.string_at(block.address + offset, dtype.itemsize)
                found.append(np.frombuffer(value, dtype)[0])
            else:
                found.append(_array(spec, dtype, reader.unpack_from(block.words, offset), owners))
        status = 0
        if self._status is not None and (status := block.words[self._status]):
            block.words[self._status] = 0
        self._spare.append(block)
        return found, status


def _words(spec: Spec) -> str:
    """The descriptor of a buffer, as :mod:`struct` has it."""
    return f"{3 + 2 * spec.rank}q"


def _structure(results: list[Spec]) -> tuple[list[int], int]:
    """Offsets in bytes of the members of a C structure, and its size in words."""
    offsets = []
    end = 0
    for spec in results:
        size = dtypes.NAMES[spec.dtype].itemsize
        align = size if spec.scalar else 8
        start = -(-end // align) * align
        offsets.append(start)
        end = start + (size if spec.scalar else 8 * (3 + 2 * spec.rank))
    return offsets, -(-end // 8)


def _array(
    spec: Spec, dtype: np.dtype, words: tuple[int, ...], owners: dict[int, Allocation]
) -> np.ndarray:
    rank = len(spec.shape)
    allocated, aligned, offset = words[:3]
    shape, strides = words[3 : 3 + rank], words[3 + rank :]
    owner = owners.get(allocated)  # two results may be one buffer
    if owner is None:
        owner = owners[allocated] = Allocation.from_address(allocated)
    if 0 in shape:
        return np.empty(shape, dtype)
    size = dtype.itemsize
    start = aligned - allocated + offset * size
    return np.ndarray(shape, dtype, owner, start, [stride * size for stride in strides])
