"""Tiles in shared memory, and copies to them from global memory."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlx.host import arith, gpu, ir, memref, nvgpu, nvvm
from rlx.schedules.cuda.code import (
    DYNAMIC,
    Index,
    add,
    both,
    divide,
    if_,
    index,
    less,
    load_raw,
    loop,
    maximum,
    minimum,
    multiply,
    pairs,
    remainder,
    select,
    subtract,
    xor,
)

__all__ = ["Lane", "Memory", "Tile", "commit", "copy_tile", "wait"]


def _workgroup() -> ir.Attribute:
    return ir.Attribute.parse("#gpu.address_space<workgroup>")


class Memory:
    """Dynamic shared memory, handed out piece by piece."""

    def __init__(self) -> None:
        i8 = ir.IntegerType.get_signless(8)
        type_ = ir.MemRefType.get([DYNAMIC], i8, memory_space=_workgroup())
        self._all = gpu.dynamic_shared_memory(type_)
        self.used = 0

    def take(self, shape: Sequence[int], element: ir.Type, at: int | None = None) -> ir.Value:
        """Memory of its own, or at byte ``at`` of what was handed out already."""
        type_ = ir.MemRefType.get(list(shape), element, memory_space=_workgroup())
        start = self.used if at is None else at
        value = memref.view(type_, self._all, index(start), [])
        end = start + math.prod(shape) * element.width // 8
        self.used = max(self.used, -(-end // 1024) * 1024)
        return value

    def tile(self, rows: int, columns: int, element: ir.Type, at: int | None = None) -> "Tile":
        pitch = Tile.pitch(columns, element.width)
        return Tile(self.take([rows, pitch], element, at), columns)


@dataclass(frozen=True)
class Tile:
    """Rows of elements of 8 or 16 bits in shared memory.

    Chunks of 16 bytes are permuted within rows, so that neither reading the same chunk of eight
    rows nor writing a row meets a bank twice.
    """

    memory: ir.Value
    columns: int

    @staticmethod
    def pitch(columns: int, width: int = 16) -> int:
        half = 512 // width  # in 64 bytes
        return half if columns <= half else -(-columns // (2 * half)) * 2 * half

    @staticmethod
    def bytes_of(rows: int, columns: int, width: int = 16) -> int:
        return -(-rows * Tile.pitch(columns, width) * width // 8 // 1024) * 1024

    @property
    def element(self) -> ir.Type:
        return self.memory.type.element_type

    @property
    def each(self) -> int:
        """Elements of a chunk."""
        return 128 // self.element.width

    def column(self, row: Index, chunk: Index, more: int = 0) -> Index:
        """Where in its row chunk ``chunk + more`` begins; the two have no bits in common.

        What is the same for many chunks is computed once that way.
        """
        wide = self.memory.type.shape[1] > 4 * self.each
        by = remainder(row, 8) if wide else remainder(divide(row, 2), 4)
        inside = multiply(xor(xor(chunk, by), more % 8), self.each)
        return add(inside, more // 8 * 8 * self.each)

    def load(
        self, row: Index, chunk: Index, more: int, swizzle_row: Index, transpose: bool
    ) -> ir.Value:
        """Four 8 x 8 matrices; each lane names a row of one, and the chunk as :meth:`column`.

        ``swizzle_row`` is any row that is the same modulo 8.
        """
        at = [index(row), index(self.column(swizzle_row, chunk, more))]
        return nvgpu.ldmatrix(pairs(4, self.element), self.memory, at, transpose, 4)


class Lane:
    """Which part of matrices a lane handles.

    Attributes:
        lane: its number.
        low, half: row and chunk of its row of four 8 x 8 matrices that form a square.
        across, chunk: the same when two chunks of eight rows each come first.
        row, column: the first of the sums that it holds; more are to the right and eight below.
    """

    def __init__(self, lane: Index):
        self.lane = lane
        self.low, self.half = remainder(lane, 16), divide(lane, 16)
        self.across = add(multiply(self.half, 8), remainder(lane, 8))
        self.chunk = remainder(divide(lane, 8), 2)
        self.row, self.column = divide(lane, 4), multiply(remainder(lane, 4), 2)


# -- copies ----------------------------------------------------------------------------------------


def copy_async(
    source: ir.Value,
    at: Sequence[Index],
    target: ir.Value,
    to: Sequence[Index],
    size: int,
    count: Index | None,
) -> None:
    """``size`` elements, 16 bytes, to shared memory; those past ``count`` are zero."""
    nvgpu.device_async_copy(
        target,
        [index(i) for i in to],
        source,
        [index(i) for i in at],
        size,
        src_elements=None if count is None else index(count),
        bypass_l1=True,
    )


def commit() -> None:
    """Closes a group of copies. (The ops of nvgpu want a token, which branches hide.)"""
    nvvm.cp_async_commit_group()


def wait(left: int) -> None:
    """Waits until only ``left`` groups of the thread are under way."""
    nvvm.cp_async_wait_group(left)


def copy_tile(
    thread: ir.Value,
    threads: int,
    fast: ir.Value | None,
    source: ir.Value,
    place: Callable[[Index], tuple[list[Index], Index, ir.Value | None]],
    limit: Index | None,
    tile: Tile,
    first: Index,
    rows: int,
) -> None:
    """Starts to copy rows to a tile; what is not there becomes zero.

    Args:
        thread, threads: who does it.
        fast: i1: rows are aligned to 16 bytes; None: known not to be.
        source: the buffer.
        place: maps a row of the tile to leading indices in ``source``, to where the row begins
            along the last axis, and to an i1 that tells whether it exists; None when all do.
        limit: elements that there are along rows; None: as many as the tile has columns.
        tile, first, rows: ``rows`` rows of the tile from row ``first`` on, a multiple of 8.
    """
    each = tile.each
    chunks = tile.columns // each

    def by_chunks() -> None:
        for i in range(-(-rows * chunks // threads)):
            number = add(thread, i * threads)
            if threads % chunks == 0:
                row = add(divide(thread, chunks), i * (threads // chunks))
                chunk = remainder(thread, chunks)
            else:
                row, chunk = divide(number, chunks), remainder(number, chunks)
            # The swizzle repeats every 8 rows.
            same = divide(thread, chunks) if threads % (8 * chunks) == 0 else row

            def one(row: Index = row, chunk: Index = chunk, same: Index = same) -> None:
                at, column, exists = place(row)
                start = multiply(chunk, each)
                count: Index | None = None
                if limit is not None:
                    count = maximum(minimum(subtract(limit, start), each), 0)
                if exists is not None:
                    count = select(exists, each if count is None else count, 0)
                to = [add(first, row), tile.column(same, chunk)]
                copy_async(source, [*at, add(column, start)], tile.memory, to, each, count)

            if (i + 1) * threads <= rows * chunks:
                one()
            else:
                if_(less(number, rows * chunks), one)

    def by_elements() -> None:
        zero = arith.constant(tile.element, 0 if tile.element.width == 8 else 0.0)

        def one(number: ir.Value) -> None:
            row, inside = divide(number, tile.columns), remainder(number, tile.columns)
            at, column, exists = place(row)
            conditions = [c for c in (exists,) if c is not None]
            if limit is not None:
                conditions.append(less(inside, limit))

            def read() -> list[ir.Value]:
                return [load_raw(source, [*at, add(column, inside)])]

            if conditions:
                condition = functools.reduce(both, conditions)
                (value,) = if_(condition, read, lambda: [zero], [tile.element])
            else:
                (value,) = read()
            to_row = add(first, row)
            at_column = tile.column(row, divide(inside, each))
            to = [index(to_row), index(add(at_column, remainder(inside, each)))]
            memref.store(value, tile.memory, to)

        loop(thread, rows * tile.columns, threads, one)

    if fast is None:
        by_elements()
    else:
        if_(fast, by_chunks, by_elements)
