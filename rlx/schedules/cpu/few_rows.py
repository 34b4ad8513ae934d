"""`rlx.matmul` with few rows: the weight is streamed once, as it lies in memory.

Packing would cost more than it saves: reading the weight is most of the work.
"""

from dataclasses import dataclass

from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.isa import Isa

__all__ = ["Parameters", "kernel", "most"]


@dataclass(frozen=True)
class Parameters:
    """Sizes of blocks.

    Attributes:
        most, most_transposed: up to this many rows are few for a weight [K, N], [N, K].
        rows, columns: what is computed at a time; the largest number of rows that there are enough
            of, down to 1.
    """

    most: int = 16
    most_transposed: int = 40
    rows: tuple[int, ...] = (6, 4, 2, 1)
    columns: int = 4


_PARAMETERS = {"avx512": Parameters(), "avx2": Parameters(rows=(2, 1))}


def most(transposed: bool, isa: Isa) -> int:
    """Up to this many rows are few."""
    p = _PARAMETERS[isa.name]
    return p.most_transposed if transposed else p.most


def kernel(kernels: Kernels, name: str, types: list[ir.Type], transposed: bool, isa: Isa) -> Kernel:
    """input [M, K], weight [N, K] or [K, N], f32 result [M, N], which is overwritten.

    ``types`` are those of the three buffers; ``name`` is the start of the kernels' names.
    """
    build = _few_transposed if transposed else _few
    return build(kernels, name, types, isa, _PARAMETERS[isa.name])


def _few_transposed(
    kernels: Kernels, name: str, types: list[ir.Type], isa: Isa, p: Parameters
) -> Kernel:
    """Few rows times a weight [N, K]: dot products along the rows of the weight."""
    index = ir.IndexType.get()

    def dots(height: int, unroll: int) -> Kernel:
        return kernels.define(
            f"{name}_dots_{height}",
            [*types, index, index],
            lambda *arguments: _dots(isa, height, p.columns, unroll, *arguments),
        )

    runs = {height: dots(height, 2 if height == 1 else 1) for height in p.rows}

    def body(a: ir.Value, b: ir.Value, c: ir.Value) -> None:
        rows, columns = code.dim(a, 0), code.dim(c, 1)

        def over_rows(height: int) -> None:
            # The last rows are computed twice where there is no whole number of steps.
            last, run = code.subtract(rows, height), runs[height]

            def column(n: ir.Value) -> None:
                code.loop(0, rows, height, lambda m: run(a, b, c, code.minimum(m, last), n))

            code.loop(0, columns, p.columns, column)

        def largest_of(height: int, *smaller: int) -> None:
            if smaller:
                fits = code.at_most(height, rows)
                code.if_(fits, lambda: over_rows(height), lambda: largest_of(*smaller))
            else:
                over_rows(height)

        largest_of(*p.rows)

    return kernels.define(f"{name}_few", types, body)


def _dots(
    isa: Isa,
    height: int,
    width: int,
    unroll: int,
    a: ir.Value,
    b: ir.Value,
    c: ir.Value,
    row: ir.Value,
    column: ir.Value,
) -> None:
    """``height`` x ``width`` dot products; columns past the end repeat the last one."""
    inner = code.dim(a, 1)
    last = code.subtract(code.dim(b, 0), 1)
    rows = [code.add(row, i) for i in range(height)]
    columns = [code.minimum(code.add(column, j), last) for j in range(width)]
    cells = [(u, i, j) for u in range(unroll) for i in range(height) for j in range(width)]
    wide = isa.lanes * unroll

    def step(k: ir.Value, sums: dict, u: int, inside: ir.Value | None) -> None:
        xs = [code.load(a, [i, k], isa.lanes, inside) for i in rows]
        for j, n in enumerate(columns):
            weights = code.load(b, [n, k], isa.lanes, inside)
            for i, x in enumerate(xs):
                sums[u, i, j] = code.fma(x, weights, sums[u, i, j])

    def body(k: ir.Value, *carried: ir.Value) -> list[ir.Value]:
        sums = dict(zip(cells, carried, strict=True))
        for u in range(unroll):
            step(code.add(k, u * isa.lanes), sums, u, None)
        return list(sums.values())

    def rest(k: ir.Value, *carried: ir.Value) -> list[ir.Value]:
        sums = dict(zip(cells, carried, strict=True))
        step(k, sums, 0, code.subtract(inner, k))
        return list(sums.values())

    whole = arith.subi(inner, arith.remui(inner, code.index(wide)))
    carried = code.loop(0, whole, wide, body, [code.splat(0.0, isa.lanes) for _ in cells])
    carried = code.loop(whole, inner, isa.lanes, rest, carried)
    sums = dict(zip(cells, carried, strict=True))
    for i in range(height):
        for j in range(width):
            total = sums[0, i, j]
            for u in range(1, unroll):
                total = arith.addf(total, sums[u, i, j])
            code.store_scalar(code.sum_of(total), c, [rows[i], columns[j]])


def _few(kernels: Kernels, name: str, types: list[ir.Type], isa: Isa, p: Parameters) -> Kernel:
    """Few rows times a weight [K, N]: its rows are added up, several at a time."""
    index = ir.IndexType.get()
    depth = 4

    def sums(height: int) -> Kernel:
        return kernels.define(
            f"{name}_sums_{height}",
            [*types, index, index],
            lambda *arguments: _row_sums(isa, height, depth, *arguments),
        )

    most = p.rows[0]
    several, one = sums(most), sums(1)

    def body(a: ir.Value, b: ir.Value, c: ir.Value) -> None:
        rows, inner, columns = code.dim(a, 0), code.dim(a, 1), code.dim(c, 1)
        whole = arith.subi(rows, arith.remui(rows, code.index(most)))

        def clear(i: ir.Value) -> None:
            zero = code.splat(0.0, isa.lanes)
            code.vectors(columns, isa.lanes, lambda n, part: code.store(zero, c, [i, n], part))

        code.loop(0, rows, 1, clear)

        def step(k: ir.Value) -> None:
            code.loop(0, whole, most, lambda m: several(a, b, c, m, k))
            code.loop(whole, rows, 1, lambda m: one(a, b, c, m, k))

        code.loop(0, inner, depth, step)

    return kernels.define(f"{name}_few", types, body)


def _row_sums(
    isa: Isa,
    height: int,
    depth: int,
    a: ir.Value,
    b: ir.Value,
    c: ir.Value,
    row: ir.Value,
    k: ir.Value,
) -> None:
    """Adds ``depth`` rows of the weight, or what is left of them, to ``height`` of the result."""
    inner, columns = code.dim(a, 1), code.dim(c, 1)
    rows = [code.add(row, i) for i in range(height)]

    def all_columns(depth: int, first: Index) -> None:
        steps = [code.add(first, u) for u in range(depth)]
        factors = [
            [code.broadcast(code.load_scalar(a, [i, step]), isa.lanes) for step in steps]
            for i in rows
        ]

        def some(n: ir.Value, inside: ir.Value | None) -> None:
            weights = [code.load(b, [step, n], isa.lanes, inside) for step in steps]
            for i, own in zip(rows, factors, strict=True):
                total = code.load(c, [i, n], isa.lanes, inside)
                for factor, weight in zip(own, weights, strict=True):
                    total = code.fma(factor, weight, total)
                code.store(total, c, [i, n], inside)

        code.vectors(columns, isa.lanes, some)

    code.if_(
        code.less(inner, code.add(k, depth)),
        lambda: code.loop(k, inner, 1, lambda step: all_columns(1, step)),
        lambda: all_columns(depth, k),
    )
