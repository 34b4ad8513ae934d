"""Copies of queries, keys and values in the layout of the products."""

import math

from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.attention.rotation import Rotation
from rlx.schedules.cpu.code import Index

__all__ = ["load_queries", "pack_keys", "pack_values"]


def load_queries(
    a: Problem,
    query: ir.Value,
    block: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    row: ir.Value,
    height: ir.Value,
    *tables: ir.Value,
) -> None:
    """Scaled queries of a block; rows to the end of the last strip are zero."""
    # What tanh takes, or powers of two.
    factor = a.scale * (1 / a.softcap if a.softcap else math.log2(math.e))

    def one(i: ir.Value) -> None:
        number, head = a.pair(group, code.add(row, i))
        start = code.multiply(head, a.dims)

        def read(d: Index, count: Index | None) -> ir.Value:
            return code.load(query, [batch, number, code.add(start, d)], a.lanes, count)

        def write(d: Index, value: ir.Value, count: Index | None) -> None:
            value = arith.mulf(value, code.splat(factor, a.lanes))
            code.store(value, block, [i, d], count)

        if a.query_rotation is None:
            code.vectors(a.dims, a.lanes, lambda d, n: write(d, read(d, n), n))
        else:
            at = a.query_rotation.row(tables, batch, number)
            a.query_rotation.emit(tables, at, a.lanes, read, write)

    def zero(i: ir.Value) -> None:
        nothing = code.splat(0.0, a.lanes)
        code.vectors(a.dims, a.lanes, lambda d, n: code.store(nothing, block, [i, d], n))

    code.loop(0, height, 1, one)
    code.loop(height, code.round_up(height, a.p.rows), 1, zero)


def pack_keys(
    a: Problem,
    key: ir.Value,
    tiles: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    start: ir.Value,
    used: ir.Value,
    slot: ir.Value,
    *tables: ir.Value,
) -> None:
    """Transposes a tile of keys. The last key stands in for those past ``used``."""
    last = code.subtract(used, 1)
    column = code.multiply(group, a.dims)
    rotation = a.key_rotation
    if rotation is not None:
        padded = -(-a.dims // a.lanes) * a.lanes
        source = code.alloca([a.lanes, padded], code.f32())

    def strip(n: ir.Value) -> None:
        first = code.add(start, code.multiply(n, a.lanes))
        panel = arith.divui(n, code.index(a.p.vectors))
        at = code.multiply(arith.remui(n, code.index(a.p.vectors)), a.lanes)
        if rotation is not None:
            code.loop(0, a.lanes, 1, lambda i: turn(rotation, first, i))
        keys = [code.minimum(code.add(first, i), last) for i in range(a.lanes)]

        def square(d: Index, count: int | None) -> None:
            if rotation is not None:
                rows = [code.load(source, [i, d], a.lanes) for i in range(a.lanes)]
            else:
                here = code.add(column, d)
                rows = [code.load(key, [batch, k, here], a.lanes, count) for k in keys]
            for i, row in enumerate(code.transpose(rows)[:count]):
                code.store(row, tiles, [slot, panel, code.add(d, i), at])

        whole = a.dims - a.dims % a.lanes
        code.loop(0, whole, a.lanes, lambda d: square(d, None))
        if whole < a.dims:
            square(whole, a.dims - whole)

    def turn(turning: Rotation, first: Index, i: ir.Value) -> None:
        k = code.minimum(code.add(first, i), last)

        def read(d: Index, count: Index | None) -> ir.Value:
            return code.load(key, [batch, k, code.add(column, d)], a.lanes, count)

        def write(d: Index, value: ir.Value, count: Index | None) -> None:
            code.store(value, source, [i, d], count)

        turning.emit(tables, turning.row(tables, batch, k), a.lanes, read, write)

    count = code.minimum(code.subtract(used, start), a.p.keys)
    code.loop(0, code.ceil_div(count, a.lanes), 1, strip)


def pack_values(
    a: Problem,
    value: ir.Value,
    tiles: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    start: ir.Value,
    used: ir.Value,
    slot: ir.Value,
) -> None:
    """Copies a tile of values, zeros past ``used``."""
    column = code.multiply(group, a.v_dims)
    count = code.minimum(code.subtract(used, start), a.p.keys)
    zero = code.splat(0.0, a.lanes)

    def copy(k: ir.Value) -> None:
        for e in range(0, a.v_padded, a.lanes):
            left = a.v_dims - e
            vector = zero
            if left > 0:
                at = [batch, code.add(start, k), code.add(column, e)]
                vector = code.load(value, at, a.lanes, left if left < a.lanes else None)
            code.store(vector, tiles, [slot, e // a.width, k, e % a.width])

    def clear(k: ir.Value) -> None:
        for e in range(0, a.v_padded, a.lanes):
            code.store(zero, tiles, [slot, e // a.width, k, e % a.width])

    code.loop(0, count, 1, copy)
    code.loop(count, code.round_up(count, a.lanes), 1, clear)
