"""Products of few rows with a weight [N, K]: dot products along the rows of the weight.

The weight is read once, from front to back, and fetched ahead of its use: its rows are too short
for the hardware to foresee the next ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlx.dialects.types import is_static
from rlx.host import arith, ir, memref
from rlx.schedules.cpu import code
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.isa import Isa

__all__ = ["Tile", "dots", "nanoseconds", "prefetch"]

_LINE = 64  # bytes that come at once
_UNROLL = 64  # elements of the inner dimension per iteration, for one row of the input
_LEAST_SUMS = 8  # that many fused multiply-adds are under way at a time


@dataclass(frozen=True)
class Tile:
    """What is computed at a time: rows of the input, and rows of the weight or panels."""

    rows: int
    columns: int


def _best_height(count: int, heights: Sequence[int]) -> int:
    """The one of ``heights``, smallest first, that suits so many rows.

    It needs the fewest passes, and is the smallest that needs as few.
    """
    passes = -(-count // heights[-1])
    return next(height for height in heights if height * passes >= count)


def _by_height(rows: ir.Value, heights: Sequence[int], run: Callable[[int], None]) -> None:
    """``run`` for the one of ``heights`` that suits so many rows."""
    # From there on it is the largest: what is computed in vain is little.
    choices = [_best_height(count, heights) for count in range(1, 2 * heights[-1] + 2)]
    ends = [count for count in range(1, len(choices)) if choices[count] != choices[count - 1]]
    heights = [choices[end - 1] for end in [*ends, len(choices)]]
    code.up_to(rows, ends, lambda n: run(heights[n]))


def nanoseconds(rows: Index, columns: Index, inner: Index) -> Index:
    """About how long a product takes on one thread."""
    work = code.multiply(code.multiply(columns, inner), code.add(rows, 4))
    return arith.divui(code.index(work), code.index(32))


def prefetch(buffer: ir.Value, indices: Sequence[Index], locality: int) -> None:
    """Brings what lies there to the L1 cache, or with a ``locality`` of 2 to the L2 cache."""
    memref.prefetch(buffer, [code.index(i) for i in indices], False, locality, True)


def dots(
    kernels: Kernels,
    name: str,
    types: Sequence[ir.Type],
    isa: Isa,
    tiles: Sequence[Tile],
    group: int | None = None,
    count: int = code.DYNAMIC,
) -> Kernel:
    """A kernel that takes input [M, K] of f32, weight [N, K] and the result [M, N] of f32.

    With a ``group`` the weight is of integers and the kernel takes their scales before the result:
    [N], or [N, K / group] if ``group`` is not 0, which must be a multiple of the lanes. Where M is
    known as ``count``, there is only the tile that so many rows need.
    """
    if is_static(count):
        height = _best_height(count, [tile.rows for tile in tiles])
        tiles = [tile for tile in tiles if tile.rows == height]
        name += f"_up_to_{height}"
    runs = {}
    for tile in tiles:
        strip = _Strip(isa, tile, group)
        runs[tile.rows] = kernels.parallel(f"{name}_dots_{tile.rows}", types, strip.body)
    widths = {tile.rows: tile.columns for tile in tiles}

    def emit(*buffers: ir.Value) -> None:
        a, b = buffers[:2]
        rows, inner, columns = code.dim(a, 0), code.dim(a, 1), code.dim(b, 0)

        def run(height: int) -> None:
            strips = code.ceil_div(columns, widths[height])
            parts = kernels.parts(strips, nanoseconds(rows, columns, inner))
            runs[height](parts, strips, *buffers)

        some = code.less(0, rows)
        code.if_(some, lambda: _by_height(rows, [tile.rows for tile in tiles], run))

    return kernels.define(f"{name}_dots", types, emit)


class _Strip:
    """The kernel for some rows of the weight, and all rows of the input."""

    def __init__(self, isa: Isa, tile: Tile, group: int | None):
        self.isa, self.tile, self.group = isa, tile, group
        self.lanes = isa.lanes
        self.unroll = _UNROLL if tile.rows == 1 else _UNROLL // 2
        count = tile.rows * tile.columns
        # Sums of a group are added up one after the other, and the next group does not wait.
        self.chains = 1 if group else max(1, min(_LEAST_SUMS // count, self.unroll // isa.lanes))
        self.cells = [
            (u, i, j)
            for u in range(self.chains)
            for i in range(tile.rows)
            for j in range(tile.columns)
        ]

    def body(
        self,
        _: ir.Value,
        low: ir.Value,
        high: ir.Value,
        a: ir.Value,
        b: ir.Value,
        *others: ir.Value,
    ) -> None:
        *scales, c = others
        rows, columns, tile = code.dim(a, 0), code.dim(b, 0), self.tile
        last_row, last = code.subtract(rows, 1), code.subtract(columns, 1)

        def strip(number: ir.Value) -> None:
            start = code.multiply(number, tile.columns)
            # Rows of the weight past the end repeat the last one.
            each = [code.minimum(code.add(start, j), last) for j in range(2 * tile.columns)]
            here, ahead = each[: tile.columns], each[tile.columns :]

            def some(m: ir.Value) -> None:
                # So do rows of the input.
                at = [code.minimum(code.add(m, i), last_row) for i in range(tile.rows)]
                totals = self.sums(a, b, scales, at, here, ahead)
                for (i, j), total in totals.items():
                    code.store_scalar(total, c, [at[i], here[j]])

            code.loop(0, rows, tile.rows, some)

        code.loop(low, high, 1, strip)

    def sums(
        self,
        a: ir.Value,
        b: ir.Value,
        scales: list[ir.Value],
        rows: list[ir.Value],
        columns: list[ir.Value],
        ahead: list[ir.Value],
    ) -> dict[tuple[int, int], ir.Value]:
        """The dot products of rows of ``a`` and of ``b``, as scalars."""
        zero = code.splat(0.0, self.lanes)

        def step(
            k: Index, sums: dict, u: int, start: int = 0, inside: ir.Value | None = None
        ) -> None:
            """One vector of each row; where ``start`` is 1, sums begin with it."""

            def vector(buffer: ir.Value, row: ir.Value) -> ir.Value:
                value = code.load(buffer, [row, k], self.lanes)
                return value if inside is None else arith.select(inside, value, zero)

            xs = [vector(a, row) for row in rows]
            for j, column in enumerate(columns):
                w = vector(b, column)
                for i, x in enumerate(xs):
                    product = arith.mulf(x, w) if start else code.fma(x, w, sums[u, i, j])
                    sums[u, i, j] = product

        size = ir.ShapedType(b.type).element_type
        lanes_of_line = _LINE * 8 // size.width

        def fetch(k: Index, from_: int, count: int) -> None:
            for at in range(from_, from_ + count, lanes_of_line):
                for column in ahead:
                    prefetch(b, [column, code.add(k, at)], 2)

        carried = [zero] * len(self.cells)
        if self.group:
            carried = self._by_groups(scales[0], columns, code.dim(a, 1), step, fetch, carried)
        else:
            carried = self._plain(code.dim(a, 1), step, fetch, carried)
        sums = dict(zip(self.cells, carried, strict=True))
        totals = {}
        for i in range(len(rows)):
            for j, column in enumerate(columns):
                total = sums[0, i, j]
                for u in range(1, self.chains):
                    total = arith.addf(total, sums[u, i, j])
                totals[i, j] = code.sum_of(total)
                if scales and not self.group:
                    scale = code.load_scalar(scales[0], [column])
                    totals[i, j] = arith.mulf(totals[i, j], scale)
        return totals

    def _plain(
        self,
        inner: ir.Value,
        step: Callable[..., None],
        fetch: Callable[[Index, int, int], None],
        carried: list[ir.Value],
    ) -> list[ir.Value]:
        lanes = self.lanes

        def several(k: ir.Value, *carried: ir.Value) -> list[ir.Value]:
            sums = dict(zip(self.cells, carried, strict=True))
            fetch(k, 0, self.unroll)
            for u in range(self.unroll // lanes):
                step(code.add(k, u * lanes), sums, u % self.chains)
            return list(sums.values())

        def one(k: Index, *carried: ir.Value, inside: ir.Value | None = None) -> list[ir.Value]:
            sums = dict(zip(self.cells, carried, strict=True))
            step(k, sums, 0, inside=inside)
            return list(sums.values())

        left = arith.remui(inner, code.index(lanes))
        whole = arith.subi(inner, arith.remui(inner, code.index(self.unroll)))
        carried = code.loop(0, whole, self.unroll, several, carried)
        carried = code.loop(whole, code.subtract(inner, left), lanes, one, carried)

        def rest() -> list[ir.Value]:
            # A whole vector up to the end, of which the lanes that are new count.
            inside = code.between(code.subtract(lanes, left), lanes, lanes)
            return one(code.subtract(inner, lanes), *carried, inside=inside)

        types = [value.type for value in carried]
        return code.if_(code.less(0, left), rest, lambda: carried, types)

    def _by_groups(
        self,
        scales: ir.Value,
        columns: list[ir.Value],
        inner: ir.Value,
        step: Callable[..., None],
        fetch: Callable[[Index, int, int], None],
        carried: list[ir.Value],
    ) -> list[ir.Value]:
        group, lanes = self.group or 1, self.lanes
        span = max(self.unroll // group, 1)  # groups per iteration

        def one(g: Index, sums: dict) -> None:
            k = code.multiply(g, group)
            parts = dict.fromkeys(self.cells)
            step(k, parts, 0, start=1)
            if group <= 4 * self.unroll:
                for at in range(lanes, group, lanes):
                    step(code.add(k, at), parts, 0)
            else:

                def more(at: ir.Value, *carried: ir.Value) -> list[ir.Value]:
                    parts = dict(zip(self.cells, carried, strict=True))
                    fetch(code.add(k, at), 0, lanes)
                    step(code.add(k, at), parts, 0)
                    return list(parts.values())

                found = code.loop(lanes, group, lanes, more, list(parts.values()))
                parts = dict(zip(self.cells, found, strict=True))
            for j, column in enumerate(columns):
                scale = code.broadcast(code.load_scalar(scales, [column, g]), lanes)
                for i in range(self.tile.rows):
                    sums[0, i, j] = code.fma(parts[0, i, j], scale, sums[0, i, j])

        def several(count: int) -> Callable[..., list[ir.Value]]:
            def body(g: ir.Value, *carried: ir.Value) -> list[ir.Value]:
                sums = dict(zip(self.cells, carried, strict=True))
                if group <= 4 * self.unroll:
                    fetch(code.multiply(g, group), 0, count * group)
                for u in range(count):
                    one(code.add(g, u), sums)
                return list(sums.values())

            return body

        groups = arith.divui(inner, code.index(group))
        whole = arith.subi(groups, arith.remui(groups, code.index(span)))
        carried = code.loop(0, whole, span, several(span), carried)
        return code.loop(whole, groups, 1, several(1), carried)
