"""The steps of attention with AMX: copies in the layout of tiles, products, and the softmax.

A block has `ROWS` rows, pairs of a query and a head of the group, and looks at up to `KEYS` keys at
a time. In memory:

* queries, [16 rows, 32 dims, row, dim] in bf16;
* keys in pairs, [16 keys, 32 dims, pair of dims, 2 * key]: transposed;
* values in pairs, [32 keys, 16 dims, pair of keys, 2 * dim];
* scores, [16 rows, 16 keys, row, key] in f32, and weights, [16 rows, 32 keys, row, key] in bf16;
* sums, [16 rows, 16 dims, row, dim] in f32.
"""

import math
from dataclasses import dataclass

from rlx.host import arith, ir
from rlx.schedules.cpu import amx, bf16, code
from rlx.schedules.cpu.amx import DEPTH, SIDE
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.attention.rotation import Rotation
from rlx.schedules.cpu.attention.softmax import load_mask
from rlx.schedules.cpu.code import Index

__all__ = ["KEYS", "ROWS", "Shapes"]

ROWS = 2 * SIDE
KEYS = 512

_LOG2E = math.log2(math.e)
_UNROLLED = 8  # products of tiles


@dataclass(frozen=True)
class Shapes:
    """Types of buffers, and how many tiles there are in a row."""

    a: Problem

    @property
    def depth(self) -> int:
        """Tiles of the dims of a key."""
        return -(-self.a.dims // DEPTH)

    @property
    def width(self) -> int:
        """Tiles of the dims of a value: an even number."""
        return 2 * -(-self.a.v_dims // (2 * SIDE))

    @staticmethod
    def _pairs(*shape: int) -> ir.MemRefType:
        return ir.MemRefType.get([*shape, SIDE, DEPTH], bf16.bf16())

    @staticmethod
    def _wide(*shape: int) -> ir.MemRefType:
        return ir.MemRefType.get(list(shape), code.f32())

    @property
    def queries(self) -> ir.MemRefType:
        return self._pairs(ROWS // SIDE, self.depth)

    @property
    def keys(self) -> ir.MemRefType:
        return self._pairs(code.DYNAMIC, self.depth)

    @property
    def values(self) -> ir.MemRefType:
        return self._pairs(code.DYNAMIC, self.width)

    @property
    def flags(self) -> ir.MemRefType:
        """For 32 values each: NaN where one is not finite."""
        return self._wide(code.DYNAMIC)

    @property
    def scores(self) -> ir.MemRefType:
        return self._wide(ROWS // SIDE, KEYS // SIDE, SIDE, SIDE)

    @property
    def weights(self) -> ir.MemRefType:
        return self._pairs(ROWS // SIDE, KEYS // DEPTH)

    @property
    def sums(self) -> ir.MemRefType:
        return self._wide(ROWS // SIDE, self.width, SIDE, SIDE)

    @property
    def stats(self) -> ir.MemRefType:
        """A number per row."""
        return self._wide(ROWS)

    @property
    def totals(self) -> ir.MemRefType:
        """Sums of weights, in 16 parts."""
        return self._wide(ROWS, SIDE)


def within(i: Index) -> tuple[Index, Index]:
    """The tile of a row, key or dim, and its place there."""
    if isinstance(i, int):
        return i // SIDE, i % SIDE
    return arith.divui(i, code.index(SIDE)), arith.remui(i, code.index(SIDE))


def factor(a: Problem) -> float:
    """What makes powers of two of scores, where nothing else has to be done to them; else 1."""
    return a.scale * _LOG2E if is_plain(a) else 1.0


def is_plain(a: Problem) -> bool:
    """Whether the order of scores is that of products of queries and keys."""
    return a.scale > 0 and not a.softcap and a.mask is None


# -- copies ----------------------------------------------------------------------------------------


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
    repeat = code.index(a.repeat)
    turned = None if a.query_rotation is None else _padded(a, 1)

    def one(i: ir.Value) -> None:
        tile, place = within(i)
        pair = code.add(row, i)
        number = arith.divui(pair, repeat)
        head = code.add(code.multiply(group, a.repeat), arith.remui(pair, repeat))
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
        for d in range(0, a.dims, DEPTH):
            if turned is not None:
                rows = [bf16.load(turned, [i, d]) for i in range(SIDE)]
            else:
                count = a.dims - d if d + DEPTH > a.dims else None
                rows = [bf16.load(key, [batch, k, code.add(column, d)], count) for k in keys]
            for i, pairs in enumerate(bf16.transpose_pairs(rows)):
                bf16.store(pairs, tiles, [tile, d // DEPTH, i, 0])

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


# -- products --------------------------------------------------------------------------------------

_CELLS = [(x, y) for x in range(2) for y in range(2)]


def _step(totals: dict, load_a: list, load_b: list) -> None:
    """Adds the products of two by two tiles; ``load_*`` load them."""
    x0, y0 = load_a[0](), load_b[0]()
    totals[0, 0] = amx.multiply(x0, y0, totals[0, 0])
    y1 = load_b[1]()
    totals[0, 1] = amx.multiply(x0, y1, totals[0, 1])
    x1 = load_a[1]()
    totals[1, 0] = amx.multiply(x1, y0, totals[1, 0])
    totals[1, 1] = amx.multiply(x1, y1, totals[1, 1])


def score(
    s: Shapes,
    queries: ir.Value,
    tiles: ir.Value,
    out: ir.Value,
    first: ir.Value,
    count: ir.Value,
) -> None:
    """Products of all rows with ``count`` tiles of keys from tile ``first`` on."""

    def panel(n: ir.Value) -> None:
        def step(d: Index, *carried: ir.Value) -> list[ir.Value]:
            totals = dict(zip(_CELLS, carried, strict=True))
            _step(
                totals,
                [lambda x=x: amx.load(queries, [x, d, 0, 0]) for x in range(2)],
                [
                    lambda y=y: amx.load(tiles, [code.add(code.add(first, n), y), d, 0, 0])
                    for y in range(2)
                ],
            )
            return list(totals.values())

        totals = [amx.zero() for _ in _CELLS]
        if s.depth <= _UNROLLED:
            for d in range(s.depth):
                totals = step(d, *totals)
        else:
            totals = code.loop(0, s.depth, 1, step, totals)
        for (x, y), total in zip(_CELLS, totals, strict=True):
            amx.store(total, out, [x, code.add(n, y), 0, 0])

    code.loop(0, count, 2, panel)


def add_values(
    s: Shapes,
    weights: ir.Value,
    tiles: ir.Value,
    sums: ir.Value,
    first: ir.Value,
    count: ir.Value,
) -> None:
    """Adds products of weights with ``count`` tiles of values from tile ``first`` on."""

    def panel(n: ir.Value) -> None:
        def step(k: ir.Value, *carried: ir.Value) -> list[ir.Value]:
            totals = dict(zip(_CELLS, carried, strict=True))
            _step(
                totals,
                [lambda x=x: amx.load(weights, [x, k, 0, 0]) for x in range(2)],
                [
                    lambda y=y: amx.load(tiles, [code.add(first, k), code.add(n, y), 0, 0])
                    for y in range(2)
                ],
            )
            return list(totals.values())

        totals = [amx.load_sums(sums, [x, code.add(n, y), 0, 0]) for x, y in _CELLS]
        totals = code.loop(0, count, 1, step, totals)
        for (x, y), total in zip(_CELLS, totals, strict=True):
            amx.store(total, sums, [x, code.add(n, y), 0, 0])

    code.loop(0, s.width, 2, panel)


def add_safely(
    s: Shapes,
    weights: ir.Value,
    value: ir.Value,
    sums: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    start: ir.Value,
    end: ir.Value,
    height: ir.Value,
) -> None:
    """Like :func:`add_values`, but what has no weight is not looked at. Slow."""
    column = code.multiply(group, s.a.v_dims)

    def row(i: ir.Value) -> None:
        tile, place = within(i)

        def add(k: ir.Value) -> None:
            at = code.subtract(k, start)
            depth = code.index(DEPTH)
            where = [tile, arith.divui(at, depth), place, arith.remui(at, depth)]
            weight = code.load_scalar(weights, where)
            counts = arith.cmpf(arith.CmpFPredicate.UNE, weight, code.scalar(0.0))

            def element(e: ir.Value, count: Index | None) -> None:
                here = [tile, within(e)[0], place, 0]
                values = code.load(value, [batch, k, code.add(column, e)], SIDE, count)
                before = code.load(sums, here, SIDE)
                code.store(code.fma(code.broadcast(weight, SIDE), values, before), sums, here)

            code.if_(counts, lambda: code.vectors(s.a.v_dims, SIDE, element))

        code.loop(start, end, 1, add)

    code.loop(0, height, 1, row)


# -- softmax ---------------------------------------------------------------------------------------


def clear(s: Shapes, sums: ir.Value, totals: ir.Value) -> None:
    zero = code.splat(0.0, SIDE)

    def row(i: ir.Value) -> None:
        tile, place = within(i)
        code.loop(0, s.width, 1, lambda e: code.store(zero, sums, [tile, e, place, 0]))
        code.store(zero, totals, [i, 0])

    code.loop(0, ROWS, 1, row)


def adjust(
    s: Shapes,
    scores: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    row: ir.Value,
    height: ir.Value,
    start: ir.Value,
    low_tiles: ir.Value,
    high_tiles: ir.Value,
    count: ir.Value,
    offset: ir.Value,
    used: ir.Value,
    keys: ir.Value,
    mask: ir.Value | None = None,
) -> None:
    """Scale, bound and mask, and -inf for what a row does not see.

    Where nothing but the last is to be done, tiles from ``low_tiles`` to before ``high_tiles``,
    which all rows see, are left alone.
    """
    a = s.a
    repeat = code.index(a.repeat)
    lowest = code.splat(-math.inf, SIDE)

    def one(i: ir.Value) -> None:
        tile, place = within(i)
        pair = code.add(row, i)
        query = arith.divui(pair, repeat)
        head = code.add(code.multiply(group, a.repeat), arith.remui(pair, repeat))
        low, high = a.reach(code.add(offset, query), used)

        def some(t: ir.Value) -> None:
            at = [tile, t, place, 0]
            first = code.add(start, code.multiply(t, SIDE))
            begin, end = (
                code.maximum(code.minimum(code.subtract(bound, first), SIDE), 0)
                for bound in (low, high)
            )
            value = code.load(scores, at, SIDE)
            visible = code.between(begin, end, SIDE)
            if not is_plain(a):
                value = bounded(a, value)
            if mask is not None:
                added = load_mask(a, mask, [batch, head, query, first], keys)
                seen = arith.cmpf(arith.CmpFPredicate.UNE, added, lowest)
                visible = arith.andi(visible, seen)
                value = code.fma(added, code.splat(_LOG2E, SIDE), value)
            code.store(arith.select(visible, value, lowest), scores, at)

        if is_plain(a):
            code.loop(0, low_tiles, 1, some)
            code.loop(high_tiles, count, 1, some)
        else:
            code.loop(0, count, 1, some)

    code.loop(0, height, 1, one)


def bounded(a: Problem, value: ir.Value) -> ir.Value:
    """Scores as powers of two."""
    if not a.softcap:
        return arith.mulf(value, code.splat(a.scale * _LOG2E, SIDE))
    # tanh(x) = 1 - 2 / (1 + e^2x)
    twice = arith.mulf(value, code.splat(2 * _LOG2E * a.scale / a.softcap, SIDE))
    most = code.splat(126.0, SIDE)
    twice = arith.select(arith.cmpf(arith.CmpFPredicate.OLT, most, twice), most, twice)
    bound = code.splat(a.softcap * _LOG2E, SIDE)
    below = arith.addf(bf16.exp2(twice), code.splat(1.0, SIDE))
    part = arith.divf(code.splat(-2 * a.softcap * _LOG2E, SIDE), below)
    return arith.addf(bound, part)


def softmax(
    s: Shapes,
    scores: ir.Value,
    weights: ir.Value,
    sums: ir.Value,
    tops: ir.Value,
    totals: ir.Value,
    factors: ir.Value,
    count: ir.Value,
    height: ir.Value,
) -> None:
    """Weights of ``count`` tiles of scores; what was summed up before is scaled accordingly."""
    scale = code.splat(factor(s.a), SIDE)
    lowest = code.splat(-math.inf, SIDE)
    one = code.scalar(1.0)

    def load(i: tuple[Index, Index], t: Index, n: int) -> ir.Value:
        return code.load(scores, [i[0], code.add(t, n), i[1], 0], SIDE)

    def row(i: ir.Value, least: ir.Value) -> list[ir.Value]:
        at = within(i)

        def larger(t: ir.Value, *tops: ir.Value) -> list[ir.Value]:
            return [code.larger(load(at, t, n), top) for n, top in enumerate(tops)]

        top = code.larger(*code.loop(0, count, 2, larger, [lowest] * 2))
        before = code.load_scalar(tops, [i])
        now = code.larger(code.largest_of(top), before)
        code.store_scalar(now, tops, [i])
        # Nothing seen so far: any number will do.
        none = arith.cmpf(arith.CmpFPredicate.OEQ, now, code.scalar(-math.inf))
        base = code.broadcast(arith.select(none, code.scalar(0.0), now), SIDE)
        base = arith.negf(arith.mulf(base, scale))
        first = arith.cmpf(arith.CmpFPredicate.OEQ, before, code.scalar(-math.inf))
        change = bf16.exp2(code.fma(code.broadcast(before, SIDE), scale, base))
        same = arith.ori(first, arith.cmpf(arith.CmpFPredicate.OEQ, now, before))
        change = arith.select(same, code.splat(1.0, SIDE), change)
        change_here = code.first_of(change)
        code.store_scalar(change_here, factors, [i])
        total = arith.mulf(code.load(totals, [i, 0], SIDE), change)

        def weigh(t: ir.Value, *carried: ir.Value) -> list[ir.Value]:
            parts = [bf16.exp2(code.fma(load(at, t, n), scale, base)) for n in range(2)]
            place = [at[0], arith.divui(t, code.index(2)), at[1], 0]
            bf16.store(bf16.narrow(bf16.join(*parts)), weights, place)
            return [arith.addf(c, part) for c, part in zip(carried, parts, strict=True)]

        parts = code.loop(0, count, 2, weigh, [total, code.splat(0.0, SIDE)])
        code.store(arith.addf(*parts), totals, [i, 0])
        return [arith.select(same, least, code.scalar(0.0))]

    (least,) = code.loop(0, height, 1, row, [one])
    changed = arith.cmpf(arith.CmpFPredicate.UNE, least, one)

    def rescale(i: ir.Value) -> None:
        tile, place = within(i)
        change = code.broadcast(code.load_scalar(factors, [i]), SIDE)
        for e in range(s.width):
            value = code.load(sums, [tile, e, place, 0], SIDE)
            code.store(arith.mulf(value, change), sums, [tile, e, place, 0])

    code.if_(changed, lambda: code.loop(0, height, 1, rescale))


def finish(
    s: Shapes,
    sums: ir.Value,
    totals: ir.Value,
    out: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    row: ir.Value,
    height: ir.Value,
) -> None:
    """Divides by the sums of weights; a row without any gives zeros."""
    a = s.a
    repeat = code.index(a.repeat)

    def one(i: ir.Value) -> None:
        tile, place = within(i)
        pair = code.add(row, i)
        head = code.add(code.multiply(group, a.repeat), arith.remui(pair, repeat))
        column = code.multiply(head, a.v_dims)
        total = code.sum_of(code.load(totals, [i, 0], SIDE))
        zero = code.scalar(0.0)
        empty = arith.cmpf(arith.CmpFPredicate.OEQ, total, zero)
        inverse = arith.select(empty, zero, arith.divf(code.scalar(1.0), total))
        by = code.broadcast(inverse, SIDE)
        for e in range(0, a.v_dims, DEPTH):
            halves = [
                arith.mulf(code.load(sums, [tile, e // SIDE + n, place, 0], SIDE), by)
                for n in range(2)
            ]
            at = [batch, arith.divui(pair, repeat), code.add(column, e)]
            count = a.v_dims - e if e + DEPTH > a.v_dims else None
            bf16.store(bf16.narrow(bf16.join(*halves)), out, at, count)

    code.loop(0, height, 1, one)
