"""A block of a product in bf16 with AMX."""

from dataclasses import dataclass

from rlx.host import arith, ir
from rlx.schedules.cpu import amx, bf16, code
from rlx.schedules.cpu.amx import DEPTH, SIDE
from rlx.schedules.cpu.bf16 import PAIRS
from rlx.schedules.cpu.bf16_pack import panels_type
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.epilogue import Epilogue

__all__ = ["STEP", "Parameters", "copying", "matrix_type", "nest", "sums_type", "tiles_type"]

STEP = 2 * DEPTH  # of the inner dimension: two tiles at a time


@dataclass(frozen=True)
class Parameters:
    """Sizes of blocks.

    Attributes:
        rows, columns, inner: a block of the result is rows x columns, and is computed from
            ``inner`` steps of the inner dimension at a time; multiples of 32, 32 and 64.
    """

    rows: int = 256
    columns: int = 256
    inner: int = 256


def matrix_type() -> ir.MemRefType:
    return code.matrix(bf16.bf16())


def tiles_type() -> ir.MemRefType:
    """Rows in tiles: [SIDE rows, DEPTH steps, row, step]."""
    return ir.MemRefType.get([code.DYNAMIC, code.DYNAMIC, SIDE, DEPTH], bf16.bf16())


def sums_type(p: Parameters) -> ir.MemRefType:
    return ir.MemRefType.get([p.rows // SIDE, p.columns // SIDE, SIDE, SIDE], code.f32())


def copying(kernels: Kernels) -> Kernel:
    """Copies rows of the input to tiles, with zeros below them and behind them.

    Takes the input, the tiles, the first row and how many, the first step and the end.
    """
    index = ir.IndexType.get()

    def body(
        a: ir.Value,
        tiles: ir.Value,
        row: ir.Value,
        height: ir.Value,
        start: ir.Value,
        end: ir.Value,
    ) -> None:
        depth = code.multiply(code.dim(tiles, 1), DEPTH)
        count = code.subtract(end, start)

        def one(i: ir.Value) -> None:
            tile, within = arith.divui(i, code.index(SIDE)), arith.remui(i, code.index(SIDE))

            def put(value: ir.Value, k: Index) -> None:
                bf16.store(value, tiles, [tile, arith.divui(k, code.index(DEPTH)), within, 0])

            def copy(k: ir.Value, inside: Index | None) -> None:
                put(bf16.load(a, [code.add(row, i), code.add(start, k)], inside), k)

            def copy_row() -> None:
                code.vectors(count, DEPTH, copy)
                code.loop(code.round_up(count, DEPTH), depth, DEPTH, lambda k: put(bf16.zero(), k))

            def clear_row() -> None:
                code.loop(0, depth, DEPTH, lambda k: put(bf16.zero(), k))

            code.if_(code.less(i, height), copy_row, clear_row)

        code.loop(0, code.round_up(height, 2 * SIDE), 1, one)

    types = [matrix_type(), tiles_type(), *[index] * 4]
    return kernels.define("rlx_matmul_amx_copy", types, body)


def nest(
    kernels: Kernels, p: Parameters, source: ir.MemRefType, first: bool, epilogue: Epilogue | None
) -> Kernel:
    """A block of a product from a block of the inner dimension.

    Takes rows of the input, as they are or in tiles; panels; sums; with an epilogue the sums of the
    pieces before this one, the epilogue's other operands and the result; and

    * the first row of the source, the step at which it starts, that at which the panels start, and
      how many there are;
    * whether these are the last ones: then the epilogue is applied, and sums are not kept;
    * the first row of the block that is computed, and how many;
    * the first panel, how many columns, and the column of the result that stands for the first;
    * the row of the result that stands for the first row.
    """
    index, i1 = ir.IndexType.get(), ir.IntegerType.get_signless(1)
    kind = "rows" if source == matrix_type() else "tiles"
    name = f"rlx_matmul_amx_{kind}_{'first' if first else 'next'}"
    outputs: list[ir.Type] = []
    if epilogue is not None:
        name = epilogue.name(kernels, name)
        outputs = [sums_type(p)] * (len(epilogue.offsets) - 1) + epilogue.types()
        write = writing(kernels, p, epilogue)
    types = [source, panels_type(), sums_type(p), *outputs, *[index] * 4, i1, *[index] * 6]

    def body(a: ir.Value, panels: ir.Value, sums: ir.Value, *others: ir.Value) -> None:
        buffers, numbers = others[: len(outputs)], others[len(outputs) :]
        row, a_step, b_step, steps, last, top, height, *place = numbers
        first_panel, width, column, to_row = place
        last_panel = code.subtract(code.add(first_panel, code.ceil_div(width, SIDE)), 1)
        first_pair = arith.divui(b_step, code.index(2))
        first_tile = arith.divui(a_step, code.index(DEPTH))
        depth = arith.divui(steps, code.index(DEPTH))
        last_pair = code.add(first_pair, code.multiply(code.subtract(depth, 1), PAIRS))
        cells = [(x, y) for x in range(2) for y in range(2)]

        def columns(n: ir.Value) -> None:
            panel = code.add(first_panel, n)
            # One tile stands in for another that is not there: its sums are not looked at.
            places = [panel, code.minimum(code.add(panel, 1), last_panel)]
            code.loop(0, height, 2 * SIDE, lambda i: tiles(n, places, i))

        def tiles(n: ir.Value, places: list[Index], i: ir.Value) -> None:
            own = arith.divui(code.add(top, i), code.index(SIDE))

            def load_a(x: int, t: Index) -> ir.Value:
                if source == matrix_type():
                    here = code.add(row, code.add(i, x * SIDE))
                    return amx.load(a, [here, code.add(a_step, code.multiply(t, DEPTH))])
                here = arith.divui(code.add(row, i), code.index(SIDE))
                return amx.load(a, [code.add(here, x), code.add(first_tile, t), 0, 0])

            def load_b(y: int, t: Index) -> ir.Value:
                pair = code.add(first_pair, code.multiply(t, PAIRS))
                return amx.load(panels, [places[y], pair, 0])

            if first:
                inits = [amx.zero() for _ in cells]
            else:
                inits = [
                    amx.load_sums(sums, [code.add(own, x), code.add(n, y), 0, 0]) for x, y in cells
                ]
            ahead = arith.divui(i, code.index(2 * SIDE))
            pair = code.minimum(code.add(first_pair, code.multiply(ahead, PAIRS)), last_pair)
            for y in range(2):
                following = code.add(places[0], 2 + y)
                for r in range(PAIRS):
                    amx.prefetch(panels, [following, code.add(pair, r), 0])

            def step(t: ir.Value, *carried: ir.Value) -> list[ir.Value]:
                total = dict(zip(cells, carried, strict=True))
                for u in range(2):
                    here = code.add(t, u)
                    x0, y0 = load_a(0, here), load_b(0, here)
                    total[0, 0] = amx.multiply(x0, y0, total[0, 0])
                    y1 = load_b(1, here)
                    total[0, 1] = amx.multiply(x0, y1, total[0, 1])
                    x1 = load_a(1, here)
                    total[1, 0] = amx.multiply(x1, y0, total[1, 0])
                    total[1, 1] = amx.multiply(x1, y1, total[1, 1])
                return list(total.values())

            totals = code.loop(0, depth, 2, step, inits)
            down, across = own, n
            if epilogue is not None:
                # What is complete only passes through memory.
                down, across = (arith.select(last, code.index(0), at) for at in (own, n))
            for (x, y), total in zip(cells, totals, strict=True):
                amx.store(total, sums, [code.add(down, x), code.add(across, y), 0, 0])
            if epilogue is None:
                return
            left = code.subtract(height, i), code.subtract(width, code.multiply(n, SIDE))
            to = code.add(to_row, i), code.add(column, code.multiply(n, SIDE))
            code.if_(last, lambda: write(sums, *buffers, own, n, *left, *to))

        code.loop(0, code.ceil_div(width, SIDE), 2, columns)

    return kernels.define(name, types, body)


def writing(kernels: Kernels, p: Parameters, epilogue: Epilogue) -> Kernel:
    """Applies an epilogue to what lies in the first tiles of sums, two by two, and writes it.

    Takes the sums, those of the pieces before, the epilogue's other operands, the result; the tile
    of the pieces before; how many rows and columns there are; and where in the result.
    """
    index = ir.IndexType.get()
    pieces = len(epilogue.offsets)

    def body(*arguments: ir.Value) -> None:
        buffers, (down, across, rows, columns, row, column) = arguments[:-6], arguments[-6:]
        sums, *before = buffers[:pieces]
        *operands, result = buffers[pieces:]

        def some(x: int, count: Index | None) -> None:
            def one(r: ir.Value) -> None:
                to_row = code.add(code.add(row, x * SIDE), r)
                halves = [half(x, y, r, to_row, count) for y in range(2)]
                if result.type.element_type == bf16.bf16():
                    value = bf16.narrow(bf16.join(*halves))
                    bf16.store(value, result, [to_row, column], count)
                    return
                for y, value in enumerate(halves):
                    inside = None if count is None else code.subtract(count, y * SIDE)
                    code.store(value, result, [to_row, code.add(column, y * SIDE)], inside)

            left = code.subtract(rows, x * SIDE)
            code.loop(0, code.maximum(code.minimum(left, SIDE), 0), 1, one)

        def half(x: int, y: int, r: ir.Value, to_row: Index, count: Index | None) -> ir.Value:
            at = [code.add(down, x), code.add(across, y), r, 0]
            values = [code.load(piece, at, SIDE) for piece in before]
            values.append(code.load(sums, [x, y, r, 0], SIDE))
            inside = None if count is None else code.subtract(count, y * SIDE)
            to_column = code.add(column, y * SIDE)
            for operand, kind in zip(operands, epilogue.kinds, strict=True):
                if kind == "row":
                    values.append(code.broadcast(code.load_scalar(operand, [to_row]), SIDE))
                else:
                    place = [to_row, to_column] if kind == "all" else [to_column]
                    values.append(code.load(operand, place, SIDE, inside))
            return epilogue.apply(values)

        def all_rows(count: Index | None) -> None:
            for x in range(2):
                some(x, count)

        is_part = code.less(columns, 2 * SIDE)
        code.if_(is_part, lambda: all_rows(columns), lambda: all_rows(None))

    if epilogue.key[0] == "round":
        return body
    types = [sums_type(p)] * pieces + epilogue.types() + [index] * 6
    return kernels.define(epilogue.name(kernels, "rlx_matmul_amx_write"), types, body)
