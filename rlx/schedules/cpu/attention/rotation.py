"""Turning the rows of queries and keys where they are read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rlx.dialects.rope import RopeOp
from rlx.host import arith, ir, vector
from rlx.passes.convert_rlx_to_linalg import KERNEL
from rlx.schedules.cpu import code
from rlx.schedules.cpu.code import Index

__all__ = ["Rotation", "after", "before", "marked"]


def marked(value: ir.Value) -> RopeOp | None:
    """The marked rope op that ``value`` is the result of."""
    if isinstance(value.owner, ir.Block):
        return None
    op: Any = value.owner.opview
    return op if isinstance(op, RopeOp) and KERNEL in op.attributes else None


def before(value: ir.Value) -> ir.Value:
    """``value`` without what a marked rope op has done to it."""
    op = marked(value)
    return value if op is None else op.input


def after(value: ir.Value, input: ir.Value) -> ir.Value:
    """``input`` with done to it what a marked rope op, if one made it, did for ``value``."""
    op = marked(value)
    if op is None:
        return input
    result = RopeOp.create(input, op.cos, op.sin, op.positions, **op.attrs)
    result.owner.attributes[KERNEL] = op.attributes[KERNEL]
    return result


@dataclass(frozen=True)
class Rotation:
    """What a rope op does to a row, with buffers of any size and strides.

    Attributes:
        dims, n_rot, pairing: as in `rlx.rope`.
        table: type of the elements of the tables.
        positions: type of the buffer of positions, None without.
    """

    dims: int
    n_rot: int
    pairing: str
    table: ir.Type
    positions: ir.MemRefType | None

    @staticmethod
    def of(op: RopeOp) -> "Rotation":
        positions = None
        if op.positions is not None:
            type_ = op.positions.type
            positions = code.matrix(type_.element_type, type_.rank)
        element = op.cos.type.element_type
        return Rotation(op.head_dim, op.n_rot, op.pairing, element, positions)

    @property
    def key(self) -> tuple[Any, ...]:
        return self.dims, self.n_rot, self.pairing, str(self.table), str(self.positions)

    @property
    def types(self) -> list[ir.Type]:
        """Of the buffers: cosines, sines and, if there are any, positions."""
        return [code.matrix(self.table)] * 2 + ([self.positions] if self.positions else [])

    def row(self, buffers: Sequence[ir.Value], batch: ir.Value, index: Index) -> Index:
        """The row of the tables for row ``index`` of the input."""
        if self.positions is None:
            return index
        at = [batch, index][2 - self.positions.rank :]
        return arith.index_cast(ir.IndexType.get(), code.load_raw(buffers[2], at))

    def emit(
        self,
        buffers: Sequence[ir.Value],
        row: Index,
        lanes: int,
        read: Callable[[Index, Index | None], ir.Value],
        write: Callable[[Index, ir.Value, Index | None], None],
    ) -> None:
        """Turns one head of one row.

        Args:
            buffers: of :attr:`types`.
            row: the row of the tables.
            lanes: elements of a vector.
            read: gives the vector from a dim on, or so many elements of it.
            write: takes the vector from a dim on, or so many elements of it.
        """
        half = self.n_rot // 2

        def angle(table: ir.Value, i: Index, count: Index | None) -> ir.Value:
            return code.load(table, [row, i], lanes, count)

        def turn(a: ir.Value, b: ir.Value, i: Index, n: Index | None) -> tuple[ir.Value, ir.Value]:
            cos, sin = (angle(table, i, n) for table in buffers[:2])
            first = code.fma(arith.negf(b), sin, arith.mulf(a, cos))
            return first, code.fma(a, sin, arith.mulf(b, cos))

        def apart(i: Index, n: Index | None) -> None:
            other = code.add(i, distance)
            a, b = turn(read(i, n), read(other, n), i, n)
            write(i, a, n)
            write(other, b, n)

        def next_to(i: Index, n: Index | None) -> None:
            at = [code.multiply(i, 2), code.add(code.multiply(i, 2), lanes)]
            counts: list[Index | None] = [None, None]
            if n is not None:
                twice = code.multiply(n, 2)
                counts = [twice, code.maximum(code.subtract(twice, lanes), 0)]
            low, high = (read(d, count) for d, count in zip(at, counts, strict=True))
            even, odd = (list(range(first, 2 * lanes, 2)) for first in (0, 1))
            a, b = turn(vector.shuffle(low, high, even), vector.shuffle(low, high, odd), i, n)
            pairs = [lane + lanes * odd for lane in range(lanes) for odd in (0, 1)]
            for d, count, part in zip(at, counts, (pairs[:lanes], pairs[lanes:]), strict=True):
                write(d, vector.shuffle(a, b, part), count)

        def keep(start: int, end: int) -> None:
            def copy(i: Index, n: Index | None) -> None:
                d = code.add(start, i)
                write(d, read(d, n), n)

            if start < end:
                code.vectors(end - start, lanes, copy)

        if self.pairing == "interleaved":
            code.vectors(half, lanes, next_to)
            keep(self.n_rot, self.dims)
            return
        distance = half if self.pairing == "half" else self.dims // 2
        code.vectors(half, lanes, apart)
        keep(half, distance)
        keep(distance + half, self.dims)
