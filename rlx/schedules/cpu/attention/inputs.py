"""What the kernels of attention are given."""

from collections.abc import Sequence
from typing import Any

from rlx.dialects.attention import AttentionOp
from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.attention.rotation import before, marked
from rlx.schedules.cpu.code import Index, Kernels

__all__ = ["Attention", "operands"]


def operands(op: AttentionOp) -> list[ir.Value]:
    """What a kernel for an op in the form for kernels reads, in the kernel's order."""
    values: list[ir.Value] = [before(op.query), before(op.key), op.value]
    values += [value for value in (op.mask, op.kv_lengths) if value is not None]
    for turned in (marked(op.query), marked(op.key)):
        if turned is not None:
            tables = [turned.cos, turned.sin]
            values += tables if turned.positions is None else [*tables, turned.positions]
    return values


class Attention:
    """The kernel of a problem: its arguments, and what it does with them.

    A head, where one is a number, is one of keys and values, of one batch.
    """

    def __init__(self, a: Problem, kernels: Kernels):
        self.a, self.kernels = a, kernels

    @property
    def inputs(self) -> list[ir.Type]:
        """Types of the buffers of :func:`operands`."""
        a = self.a
        types: list[ir.Type] = [a.storage] * 3
        types += [type_ for type_ in (a.mask, a.lengths) if type_ is not None]
        for rotation in (a.query_rotation, a.key_rotation):
            types += [] if rotation is None else rotation.types
        return types

    @property
    def types(self) -> list[ir.Type]:
        """Types of the buffers of an op: inputs and the result."""
        return [*self.inputs, self.a.storage]

    def named(self, buffers: Sequence[ir.Value]) -> dict[str, Any]:
        """The inputs, and the result if it is among the buffers, by name.

        None stands for what the op does not have. "keys" is how many keys there are.
        """
        a, left = self.a, list(buffers)
        given: dict[str, Any] = {name: left.pop(0) for name in ("query", "key", "value")}
        for name, type_ in (("mask", a.mask), ("lengths", a.lengths)):
            given[name] = None if type_ is None else left.pop(0)
        for name, rotation in (("query", a.query_rotation), ("key", a.key_rotation)):
            count = 0 if rotation is None else len(rotation.types)
            given[f"{name}_tables"], left = left[:count], left[count:]
        if left:
            given["out"] = left.pop()
        return given | {"keys": code.dim(given["key"], 1)}

    def extent(self, given: dict[str, Any], batch: ir.Value, queries: Index) -> tuple[Index, Index]:
        """How many keys there are for a batch, and the position of its first query."""
        keys = given["keys"]
        if given["lengths"] is not None:
            length = arith.index_cast(ir.IndexType.get(), code.load_raw(given["lengths"], [batch]))
            # What follows a failed check must stay in bounds.
            used = code.maximum(code.minimum(length, keys), 0)
            return used, code.subtract(used, queries)
        if self.a.q_offset is not None:
            return keys, code.index(self.a.q_offset)
        return keys, code.subtract(keys, queries)

    def place(self, head: Index) -> tuple[ir.Value, ir.Value]:
        """The batch and the group of a head."""
        groups = code.index(self.a.groups)
        return arith.divui(code.index(head), groups), arith.remui(code.index(head), groups)
