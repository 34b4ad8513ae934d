"""Queries, keys and values in the layout of tiles."""

from rlx.host import arith, ir
from rlx.schedules.cpu import bf16, code
from rlx.schedules.cpu.amx import DEPTH, SIDE
from rlx.schedules.cpu.amx_attention.shapes import ROWS, Shapes, within
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.attention.rotation import Rotation
from rlx.schedules.cpu.code import Index

__all__ = ["load_queries", "pack_keys", "pack_values"]


def _padded(a: Problem, rows: int) -> ir.Value:
    """Memory for rows of queries or keys in bf16, zero at the end."""
    columns = -(-a.dims // DEPTH) * DEPTH
    result = code.alloca([rows, columns], bf16.bf16())
    for i in range(rows):
        bf16.store(bf16.zero(), result, [i, columns - DEPTH])
    return result


def _turn(
    turning: Rotation,
    tables: tuple[ir.Value, ...],
    source: ir.Value,
    at: list[Index],
    column: Index,
    into: ir.Value,
    row: Index,
) -> None:
    """Turns the row ``at`` of ``source``, a head that begins at ``column``."""

    def read(d: Index, count: Index | None) -> ir.Value:
        return code.load(source, [*at, code.add(column, d)], SIDE, count)

    def write(d: Index, value: ir.Value, count: Index | None) -> None:
        code.store(value, into, [row, d], count)

    turning.emit(tables, turning.row(tables, at[0], at[1]), SIDE, read, write)


def load_queries(
    s: Shapes,
    query: ir.Value,
    block: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    row: ir.Value,
    height: ir.Value,
    *tables: ir.Value,
) -> None:
    """Queries of a block; rows and dims that are not there are zero."""
    a = s.a
    turned = None if a.query_rotation is None else _padded(a, 1)

    def one(i: ir.Value) -> None:
        tile, place = within(i)
        number, head = a.pair(group, code.add(row, i))
        column = code.multiply(head, a.dims)
        if a.query_rotation is not None:
            _turn(a.query_rotation, tables, query, [batch, number], column, turned, 0)
        for d in range(0, a.dims, DEPTH):
            if turned is not None:
                value = bf16.load(turned, [0, d])
            else:
                count = a.dims - d if d + DEPTH > a.dims else None
                value = bf16.load(query, [batch, number, code.add(column, d)], count)
            bf16.store(value, block, [tile, d // DEPTH, place, 0])

    def clear(i: ir.Value) -> None:
        tile, place = within(i)
        for d in range(s.depth):
            bf16.store(bf16.zero(), block, [tile, d, place, 0])

    code.loop(0, height, 1, one)
    code.loop(height, ROWS, 1, clear)


def pack_keys(
    s: Shapes,
    key: ir.Value,
    tiles: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    start: ir.Value,
    end: ir.Value,
    used: ir.Value,
    to: ir.Value,
    *tables: ir.Value,
) -> None:
    """Transposes keys from ``start`` to ``end``; the last one stands in for those past ``used``.

    Args:
        to: the first tile to write.
    """
    a = s.a
    last = code.subtract(used, 1)
    column = code.multiply(group, a.dims)
    turning = a.key_rotation
    turned = None if turning is None else _padded(a, SIDE)

    def panel(first: ir.Value) -> None:
        keys = [code.minimum(code.add(first, i), last) for i in range(SIDE)]
        tile = code.add(to, within(code.subtract(first, start))[0])

        def turn(i: ir.Value, turning: Rotation) -> None:
            k = code.minimum(code.add(first, i), last)
            _turn(turning, tables, key, [batch, k], column, turned, i)

        if turning is not None:
            code.loop(0, SIDE, 1, lambda i: turn(i, turning))

        def square(d: Index, count: int | None) -> None:
            if turned is not None:
                rows = [bf16.load(turned, [i, d]) for i in range(SIDE)]
            else:
                rows = [bf16.load(key, [batch, k, code.add(column, d)], count) for k in keys]
            group = arith.divui(code.index(d), code.index(DEPTH))
            for i, pairs in enumerate(bf16.transpose_pairs(rows)):
                bf16.store(pairs, tiles, [tile, group, i, 0])

        last_dims = a.dims % DEPTH
        code.loop(0, a.dims - last_dims, DEPTH, lambda d: square(d, None))
        if last_dims:
            square(a.dims - last_dims, last_dims)

    code.loop(start, end, SIDE, panel)


def pack_values(
    s: Shapes,
    value: ir.Value,
    tiles: ir.Value,
    flags: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    start: ir.Value,
    end: ir.Value,
    used: ir.Value,
    to: ir.Value,
) -> None:
    """Copies values from ``start`` to ``end``, zeros past ``used``."""
    a = s.a
    column = code.multiply(group, a.v_dims)
    zero = bf16.zero()
    # Lanes of this are NaN once there was an infinity or NaN.
    nothing = code.splat(0.0, SIDE)

    def chunk(first: ir.Value) -> None:
        tile = code.add(to, arith.divui(code.subtract(first, start), code.index(DEPTH)))
        left = code.minimum(code.subtract(used, first), DEPTH)
        whole = arith.divui(left, code.index(2))

        def pair(p: ir.Value, flag: ir.Value, count: int) -> list[ir.Value]:
            k = code.add(first, code.multiply(p, 2))
            for e in range(0, s.width * SIDE, DEPTH):
                rows = [zero] * 2
                if e < a.v_dims:
                    inside = a.v_dims - e if e + DEPTH > a.v_dims else None
                    for i in range(count):
                        at = [batch, code.add(k, i), code.add(column, e)]
                        rows[i] = bf16.load(value, at, inside)
                        flag = bf16.dot(flag, rows[i], zero)
                for i, mixed in enumerate(bf16.interleave(*rows)):
                    bf16.store(mixed, tiles, [tile, e // SIDE + i, p, 0])
            return [flag]

        odd = code.ceil_div(left, 2)
        (flag,) = code.loop(0, whole, 1, lambda p, flag: pair(p, flag, 2), [nothing])
        (flag,) = code.loop(whole, odd, 1, lambda p, flag: pair(p, flag, 1), [flag])
        code.loop(odd, SIDE, 1, lambda p, flag: pair(p, flag, 0), [flag])
        code.store_scalar(code.sum_of(flag), flags, [tile])

    code.loop(start, end, DEPTH, chunk)
