"""The kernel of an attention op: heads of keys and blocks of queries."""

from typing import Any

from rlx.dialects import emit
from rlx.dialects.attention import AttentionOp
from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.attention.blocks import Block, Steps
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.attention.rotation import before, marked
from rlx.schedules.cpu.code import Index, Kernels
from rlx.schedules.cpu.isa import Isa

__all__ = ["Attention", "build"]


def build(op: AttentionOp, kernels: Kernels, isa: Isa) -> ir.Value:
    """Emits buffers and the call for an op in the form for kernels; returns the result."""
    problem = Problem.of(op, isa)
    query, key = before(op.query), before(op.key)
    shape = emit.sizes(query)
    shape[2] = op.num_heads * op.v_head_dim
    result = code.alloc(shape, problem.element)
    buffers: list[ir.Value] = [query, key, op.value]
    for value in (op.mask, op.kv_lengths):
        buffers += [] if value is None else [value]
    for turned in (marked(op.query), marked(op.key)):
        if turned is not None:
            tables = [turned.cos, turned.sin]
            buffers += tables if turned.positions is None else [*tables, turned.positions]
    whole = Attention(problem, kernels)
    name = kernels.name("rlx_attention", problem.key)
    run = kernels.define(name, whole.types, whole.body)
    run(*map(code.to_buffer, buffers), result)
    return code.to_tensor(result)


class Attention:
    """The kernel of a problem: its arguments, and what it does with them."""

    def __init__(self, a: Problem, kernels: Kernels):
        self.a, self.kernels = a, kernels

    @property
    def types(self) -> list[ir.Type]:
        a = self.a
        types: list[ir.Type] = [a.storage] * 3
        types += [type_ for type_ in (a.mask, a.lengths) if type_ is not None]
        for rotation in (a.query_rotation, a.key_rotation):
            types += [] if rotation is None else rotation.types
        return [*types, a.storage]

    def named(self, buffers: list[ir.Value]) -> dict[str, Any]:
        """The arguments of the kernel by name."""
        a, left = self.a, list(buffers)
        given: dict[str, Any] = {name: left.pop(0) for name in ("query", "key", "value")}
        for name, type_ in (("mask", a.mask), ("lengths", a.lengths)):
            given[name] = None if type_ is None else left.pop(0)
        for name, rotation in (("query", a.query_rotation), ("key", a.key_rotation)):
            count = 0 if rotation is None else len(rotation.types)
            given[f"{name}_tables"], left = left[:count], left[count:]
        return given | {"out": left.pop(), "keys": code.dim(given["key"], 1)}

    def body(self, *buffers: ir.Value) -> None:
        a = self.a
        given = self.named(list(buffers))
        size, rows_of = code.dim(given["query"], 0), code.dim(given["query"], 1)
        rows = code.multiply(rows_of, a.repeat)
        tiles = code.ceil_div(given["keys"], a.p.keys)
        one_block = code.at_most(rows, a.p.queries)
        slots = arith.select(one_block, code.index(1), code.index(tiles))
        packed = tuple(
            code.alloc([slots, *type_.shape[1:]], code.f32())
            for type_ in (a.key_tiles, a.value_tiles, a.flags)
        )
        steps = Steps(a, self.kernels)
        block = Block(steps, given, packed)

        def pack(batch: ir.Value, group: ir.Value, used: Index, tile: Index, slot: Index) -> None:
            start = code.multiply(tile, a.p.keys)
            where = [batch, group, start, used, slot]
            steps.pack_keys(given["key"], packed[0], *where, *given["key_tables"])
            steps.pack_values(given["value"], packed[1], packed[2], *where)

        def head(batch: ir.Value, group: ir.Value) -> None:
            used, offset = self.extent(given, batch, rows_of)

            def pack_all() -> None:
                end = code.ceil_div(used, a.p.keys)
                code.loop(0, end, 1, lambda tile: pack(batch, group, used, tile, tile))

            def fetch(tile: ir.Value) -> ir.Value:
                slot = arith.select(one_block, code.index(0), tile)
                code.if_(one_block, lambda: pack(batch, group, used, tile, slot))
                return slot

            def one(row: ir.Value) -> None:
                height = code.minimum(code.subtract(rows, row), a.p.queries)
                block.run(batch, group, used, offset, row, height, fetch)

            code.if_(one_block, lambda: None, pack_all)
            code.loop(0, rows, a.p.queries, one)

        def heads(batch: ir.Value) -> None:
            code.loop(0, a.groups, 1, lambda group: head(batch, group))

        code.loop(0, size, 1, heads)

    def extent(self, given: dict[str, Any], batch: ir.Value, rows_of: Index) -> tuple[Index, Index]:
        """How many keys there are for a batch, and the position of its first query."""
        keys = given["keys"]
        if given["lengths"] is not None:
            length = arith.index_cast(ir.IndexType.get(), code.load_raw(given["lengths"], [batch]))
            # What follows a failed check must stay in bounds.
            used = code.maximum(code.minimum(length, keys), 0)
            return used, code.subtract(used, rows_of)
        if self.a.q_offset is not None:
            return keys, code.index(self.a.q_offset)
        return keys, code.subtract(keys, rows_of)
