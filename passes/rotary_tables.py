"""Tables of angles: where a rotary embedding that is written out reads its cosines and sines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlx.dialects import emit
from rlx.dialects.narrow import narrow
from rlx.dialects.types import DYNAMIC, accumulator_type, with_shape
from rlx.host import arith, ir, linalg, tensor
from rlx.passes.match import Node, sources
from rlx.passes.rotary_parts import WIDEN, Refused

__all__ = ["Table", "find_table", "fit_table", "row_numbers"]


@dataclass(frozen=True)
class Table:
    """Columns of a tensor that hold the angles in order.

    Attributes:
        value: the tensor; its last axis holds the columns, its others are rows.
        start: the first of the columns.
        step: how far apart they are.
        length: how many columns.
        rows: the free axes that number the rows.
    """

    value: ir.Value
    start: int
    step: int
    length: int
    rows: tuple[int, ...]

    def emit(self) -> ir.Value:
        """The table as [P, length]."""
        value = self.value
        if self.step != 1:
            value = self._strided()
        elif self.length != value.type.shape[-1]:
            axis = value.type.rank - 1
            value = narrow(value, axis=axis, start=self.start, length=self.length)
        if value.type.rank == 1:
            return emit.split_axis(value, 0, [1, self.length])
        for _ in range(value.type.rank - 2):
            value = emit.join_axes(value, 0)
        return value

    def _strided(self) -> ir.Value:
        rank = self.value.type.rank
        sizes = [*emit.sizes(self.value)[:-1], self.length]
        dynamic = [size for size in sizes if not isinstance(size, int)]
        static = [size if isinstance(size, int) else DYNAMIC for size in sizes]
        offsets, strides = [0] * rank, [1] * rank
        offsets[-1], strides[-1] = self.start, self.step
        type = with_shape(self.value.type, static)
        return tensor.extract_slice(type, self.value, [], dynamic, [], offsets, static, strides)


def find_table(nodes: Sequence[Node], angles: np.ndarray, input: ir.Value) -> Table:
    """The table that ``nodes`` read; ``angles`` are lanes that read its columns in order."""
    few = [node.select(np.isin(node.lanes, angles)) for node in nodes]
    few = [node for node in few if len(node.lanes)]
    element = input.type.element_type
    found: Table | None = None
    for source in sources(few, WIDEN):
        steps = np.unique(np.diff(source.columns))
        rows = tuple(number for number in source.layout[:-1] if number is not None)
        if (
            source.layout[-1] is None
            and source.width == source.value.type.shape[-1]
            and (len(steps) == 0 or (len(steps) == 1 and steps[0] > 0))
            and rows == tuple(sorted(rows))
            and source.value.type.element_type in (element, accumulator_type(element))
        ):
            step = int(steps[0]) if len(steps) else 1
            table = Table(source.value, int(source.columns[0]), step, len(angles), rows)
            if source.width == len(angles):
                return table
            found = found or table
    if found is None:
        raise Refused("its tables do not hold the angles in columns that a slice can take", 4)
    return found


def row_numbers(input: ir.Value, rows: Sequence[int]) -> ir.Value:
    """For each row of ``input`` its number among the rows ``rows``."""
    shape = emit.sizes(input)[:-1]
    index = ir.IntegerType.get_signless(64)

    def body(_: ir.Value) -> ir.Value:
        total = emit.index(0)
        for axis in rows:
            total = arith.muli(total, emit.as_index(shape[axis]))
            total = arith.addi(total, linalg.IndexOp(axis).result)
        return arith.index_cast(index, total)

    axes = emit.axes(len(shape))
    return emit.generic([], emit.empty(shape, index), [axes], "p" * len(shape), body)


def fit_table(table: ir.Value, head_dim: int, n_rot: int) -> ir.Value:
    """``table`` with a width that the rope accepts."""
    if table.type.shape[1] in (n_rot // 2, head_dim / 2):
        return table
    return narrow(table, axis=1, start=0, length=n_rot // 2)
