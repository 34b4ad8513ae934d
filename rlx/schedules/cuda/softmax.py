"""What all kernels of `rlx.attention` have in common: scores, what hides them, and the softmax."""

import abc
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from rlx.dialects.attention import AttentionOp
from rlx.host import arith, ir
from rlx.schedules.cuda import code
from rlx.schedules.cuda.code import Index
from rlx.schedules.cuda.tiles import Lane

__all__ = ["Problem", "Row", "Softmax", "Turn"]

LOG2E = math.log2(math.e)
_FAR = 2**61  # no window at or above it hides anything


@dataclass(frozen=True)
class Turn:
    """How queries are turned first.

    Attributes:
        columns: of a head that are turned.
        table: element type of the tables, as text.
        interleaved: whether neighbours form pairs, else columns half of those away.
        positions: type of the positions in memory, as text; None where rows count from 0.
    """

    columns: int
    table: str
    interleaved: bool = False
    positions: str | None = None


@dataclass(frozen=True)
class Problem:
    """What of an attention op is known when its kernel is made.

    Attributes:
        element: storage type, as text.
        groups, repeat: heads of key and value, and heads of query for each.
        dims, v_dims: of heads.
        causal, left, right, scale, softcap, q_offset: as of the op; -1 for no window.
        mask: type of the mask in memory, as text; None without.
        lengths: type of the lengths, as text; None without.
        turn: how queries are turned; None where they are not.
    """

    element: str
    groups: int
    repeat: int
    dims: int
    v_dims: int
    causal: bool = False
    left: int = -1
    right: int = -1
    scale: float = 1.0
    softcap: float = 0.0
    q_offset: int | None = None
    mask: str | None = None
    lengths: str | None = None
    turn: Turn | None = None

    @property
    def padded(self) -> int:
        return -(-self.dims // 16) * 16

    @classmethod
    def of(cls, op: AttentionOp) -> "Problem":
        mask = None if op.mask is None else str(_mask_type(op.mask.type))
        lengths = None if op.kv_lengths is None else str(op.kv_lengths.type.element_type)
        return cls(
            str(op.query.type.element_type),
            op.num_kv_heads,
            op.num_heads // op.num_kv_heads,
            op.head_dim,
            op.v_head_dim,
            op.causal,
            op.left_window if op.left_window < 2 * _FAR else -1,
            op.right_window if op.right_window < 2 * _FAR else -1,
            op.scale,
            op.softcap,
            op.q_offset,
            mask,
            lengths,
        )

    def extras(self) -> list[ir.Type]:
        """Types of further buffers: cosines, sines and positions, the mask, the lengths."""
        types: list[ir.Type] = []
        if self.turn is not None:
            types += [code.matrix(ir.Type.parse(self.turn.table))] * 2
            if self.turn.positions is not None:
                types.append(ir.Type.parse(self.turn.positions))
        if self.mask is not None:
            types.append(ir.Type.parse(self.mask))
        if self.lengths is not None:
            types.append(code.matrix(ir.Type.parse(self.lengths), 1))
        return types

    @property
    def heads(self) -> int:
        return self.groups * self.repeat


class Softmax(abc.ABC):
    """An online softmax over tiles of keys; a lane has two neighbouring scores of each eight.

    Attributes:
        problem: what is computed.
        tile: keys of a tile.
        tables: of cosines and sines, where queries are turned.
        positions: that they are turned by, or None.
        mask: the buffer of the mask, or None.
        lengths: that of the lengths, or None.
        lane: of the thread.
        batch, group: of the block.
        queries, keys: how many there are.
        used: keys that may be seen.
        offset: position of the first query.
        all_low, all_high: keys that all rows of the block see.
        roomy: whether registers are left for code of its own for tiles with all their keys.
    """

    roomy = False

    tables: tuple[ir.Value, ir.Value]
    positions: ir.Value | None = None
    mask: ir.Value | None = None
    lengths: ir.Value | None = None
    lane: Lane
    batch: Index
    group: Index
    queries: Index
    keys: Index
    used: Index
    offset: Index
    all_low: Index
    all_high: Index

    def __init__(self, problem: Problem, tile: int):
        self.problem, self.tile = problem, tile
        # Scores whose order is that of the products need no work of their own.
        self.raw = problem.scale > 0 and not problem.softcap and problem.mask is None

    @property
    def unit(self) -> float:
        """What a step of a score, or of a product, is as an exponent of two."""
        return self.problem.scale * LOG2E if self.raw else LOG2E

    @abc.abstractmethod
    def query_of(self, row: "Row") -> tuple[Index, Index]:
        """Query and head that a row stands for."""

    def take(self, extras: list[ir.Value]) -> list[ir.Value]:
        """Takes the buffers of :meth:`Problem.extras`; returns what is left."""
        rest = list(extras)
        if self.problem.turn is not None:
            self.tables = rest.pop(0), rest.pop(0)
            if self.problem.turn.positions is not None:
                self.positions = rest.pop(0)
        if self.problem.mask is not None:
            self.mask = rest.pop(0)
        if self.problem.lengths is not None:
            self.lengths = rest.pop(0)
        return rest

    def angle(self, query: Index) -> Index:
        """The row of the tables that a query is turned by; for those past the last, any."""
        query = code.minimum(query, code.subtract(self.queries, 1))
        if self.positions is None:
            return query
        at = [self.batch, query][2 - self.positions.type.rank :]
        found = arith.index_cast(ir.IndexType.get(), code.load_raw(self.positions, at))
        # One that is out of range is an error that another kernel finds.
        last = code.subtract(code.dim(self.tables[0], 0), 1)
        return code.maximum(code.minimum(found, last), 0)

    def reach(self) -> None:
        """How many keys there are, and where the first query stands."""
        if self.lengths is not None:
            length = code.load_raw(self.lengths, [self.batch])
            # A check tells of lengths that cannot be, but only later.
            used = arith.index_cast(ir.IndexType.get(), length)
            self.used = code.maximum(code.minimum(used, self.keys), 0)
            self.offset = code.subtract(self.used, self.queries)
            return
        self.used = self.keys
        self.offset = (
            code.subtract(self.keys, self.queries)
            if self.problem.q_offset is None
            else self.problem.q_offset
        )

    def range_of(self, low_position: Index, high_position: Index) -> tuple[Index, Index]:
        """Keys that are seen from a position in the given range, whatever it is."""
        problem = self.problem
        low: Index = 0
        if problem.left >= 0:
            low = code.maximum(code.subtract(low_position, problem.left), 0)
        high = self.used
        if problem.causal:
            high = code.minimum(high, code.add(high_position, 1))
        if problem.right >= 0:
            high = code.minimum(high, code.add(high_position, problem.right + 1))
        return low, high

    def see(self, first: Index, last: Index) -> tuple[Index, Index]:
        """The tiles that queries ``first`` to ``last`` see: the first one, and the one after."""
        top, bottom = code.add(self.offset, first), code.add(self.offset, last)
        low, high = self.range_of(top, bottom)
        # What every row sees.
        self.all_low, self.all_high = self.range_of(bottom, top)
        begin = code.divide(low, self.tile)
        # Where nothing at all is seen, an empty range.
        return begin, code.maximum(code.ceil_div(code.maximum(high, 0), self.tile), begin)

    def hide(self, rows: list["Row"], number: ir.Value) -> list["Row"]:
        """Products to scores; -inf where a key of tile ``number`` is hidden."""
        if not self.raw:
            rows = [Row(r.tile, r.half, [self.score(x) for x in r.values]) for r in rows]
        first = code.multiply(number, self.tile)
        end = code.add(first, self.tile)
        edge = arith.ori(code.less(self.all_high, end), code.less(first, self.all_low))
        values = [x for row in rows for x in row.values]

        def hidden(whole: bool) -> list[ir.Value]:
            return [x for row in rows for x in self.hide_row(row, first, whole)]

        types = [code.f32()] * len(values)
        if self.mask is None:
            values = code.if_(edge, lambda: hidden(True), lambda: values, types)
        elif self.roomy:
            # Most tiles have all their keys: those of the mask need no tests of their own.
            whole = code.at_most(end, self.keys)
            values = code.if_(whole, lambda: hidden(True), lambda: hidden(False), types)
        else:
            values = hidden(False)
        width = self.tile // 4
        return [
            Row(r.tile, r.half, values[n * width : (n + 1) * width]) for n, r in enumerate(rows)
        ]

    def score(self, product: ir.Value) -> ir.Value:
        problem = self.problem
        if problem.softcap:
            return code.bounded(product, problem.scale / problem.softcap, problem.softcap)
        return arith.mulf(product, code.scalar(problem.scale))

    def hide_row(self, row: "Row", first: Index, whole: bool) -> list[ir.Value]:
        query, head = self.query_of(row)
        position = code.add(self.offset, query)
        low, high = self.range_of(position, position)
        here = code.add(first, self.lane.column)
        width = self.tile
        lowest = code.scalar(-math.inf)

        def bound(value: Index) -> ir.Value:
            """Relative to the lane's first key, cut to what matters, as i32."""
            inside = code.maximum(code.minimum(code.subtract(value, here), width), -1)
            return arith.index_cast(ir.IntegerType.get_signless(32), code.index(inside))

        end = bound(high)
        start = bound(low) if self.problem.left >= 0 else None
        out = []
        for n, value in enumerate(row.values):
            offset = n // 2 * 8 + n % 2
            number = code.i32(offset)
            seen = arith.cmpi(arith.CmpIPredicate.slt, number, end)
            if start is not None:
                seen = arith.andi(seen, arith.cmpi(arith.CmpIPredicate.sge, number, start))
            if self.mask is not None:
                key = code.add(here, offset)
                key = key if whole else code.minimum(key, code.subtract(self.keys, 1))
                added = self.load_mask([self.batch, head, query, key])
                shows = arith.cmpf(arith.CmpFPredicate.UNE, added, lowest)
                seen = arith.andi(seen, shows)
                value = arith.addf(value, added)
            out.append(arith.select(seen, value, lowest))
        return out

    def load_mask(self, at: list[Index]) -> ir.Value:
        """An element of the mask; of the last query for those past the end."""
        assert self.mask is not None
        at = [*at[:2], code.minimum(at[2], code.subtract(self.queries, 1)), at[3]]
        shape = self.mask.type.shape
        place = at[4 - len(shape) :]
        place = [0 if size == 1 else i for size, i in zip(shape, place, strict=True)]
        return code.load_raw(self.mask, place)

    def softmax(
        self, rows: list["Row"], tops: list[ir.Value], totals: list[ir.Value]
    ) -> tuple[list[list[ir.Value]], list[ir.Value], list[ir.Value], list[ir.Value]]:
        """Weights by row, factors for what was summed up before, new largest scores and totals."""
        tops, totals = list(tops), list(totals)
        lowest, zero = code.scalar(-math.inf), code.scalar(0.0)
        weights, factors = [], []
        for n, row in enumerate(rows):
            top = _merge(row.values, code.larger)
            top = code.larger(tops[n], code.over_quad(top, code.larger))
            # Nothing seen so far: any number will do.
            none = arith.cmpf(arith.CmpFPredicate.OEQ, top, lowest)
            power = self.power(arith.select(none, zero, top))
            factor = power(tops[n])
            values = [power(value) for value in row.values]
            totals[n] = code.fma(totals[n], factor, _merge(values, arith.addf))
            tops[n] = top
            weights.append(values)
            factors.append(factor)
        return weights, factors, tops, totals

    def power(self, base: ir.Value) -> Callable[[ir.Value], ir.Value]:
        """x to 2^(unit (x - base))."""
        unit = code.scalar(self.unit)
        if self.problem.mask is not None:
            # The difference first: a mask may hold the lowest number there is.
            return lambda x: code.exp2(arith.mulf(arith.subf(x, base), unit))
        shift = arith.mulf(base, code.scalar(-self.unit))
        return lambda x: code.exp2(code.fma(x, unit, shift))

    def inverse(self, total: ir.Value) -> ir.Value:
        """1 / the sum of a row's totals; zero for a row that sees nothing."""
        total, zero = code.over_quad(total, arith.addf), code.scalar(0.0)
        empty = arith.cmpf(arith.CmpFPredicate.OEQ, total, zero)
        return arith.select(empty, zero, code.reciprocal(total))


@dataclass(frozen=True)
class Row:
    """Scores of a lane in one row: of 16, in the upper or lower half."""

    tile: int
    half: int
    values: list[ir.Value]

    def number(self, lane: Lane) -> Index:
        """Which row of the warp it is."""
        return code.add(lane.row, 16 * self.tile + 8 * self.half)


def _merge(values: list[ir.Value], combine: Callable[..., ir.Value]) -> ir.Value:
    """Combines values in four chains: in a single one each step waits for the one before."""
    chains = [functools.reduce(combine, values[n::4]) for n in range(min(4, len(values)))]
    return functools.reduce(combine, chains)


def _mask_type(type_: ir.RankedTensorType) -> ir.MemRefType:
    """Axes of size 1, which are repeated, and others."""
    plain = code.matrix(type_.element_type, type_.rank)
    shape = [1 if size == 1 else code.DYNAMIC for size in type_.shape]
    return ir.MemRefType.get(shape, type_.element_type, plain.layout)
