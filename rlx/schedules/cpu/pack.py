"""Weights into panels, by the call that multiplies with them."""

from functools import partial

from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.isa import Isa
from rlx.schedules.cpu.layout import PANEL
from rlx.schedules.cpu.micro import panels_type

__all__ = ["pack_kernel"]

# Columns of a group: streams that are written; more lines of a row are read together, too.
_WIDE = 4 * PANEL


def pack_kernel(
    kernels: Kernels, name: str, element: ir.Type, transposed: bool, isa: Isa
) -> Kernel:
    """Columns of a weight [N, K] or [K, N] as panels [P, K, PANEL] of f32.

    The kernel takes the weight, the panels, the first column and how many there are. What fills
    the last panel is of no account.
    """
    index = ir.IndexType.get()
    types = [code.matrix(element), panels_type(code.f32()), index, index]
    build = partial(_pack_transposed if transposed else _pack, isa)
    run = kernels.parallel(f"{name}_pack", types, build)

    def emit(weight: ir.Value, panels: ir.Value, first: Index, count: Index) -> None:
        groups = code.ceil_div(count, _WIDE)
        elements = code.multiply(count, code.dim(panels, 1))
        parts = kernels.parts(groups, arith.divui(code.index(elements), code.index(3)))
        run(parts, groups, weight, panels, first, count)

    return emit


def _pack(
    isa: Isa,
    _: ir.Value,
    low: ir.Value,
    high: ir.Value,
    weight: ir.Value,
    panels: ir.Value,
    first: ir.Value,
    count: ir.Value,
) -> None:
    """Groups of panels of a weight [K, N]; columns past the last are zero."""

    def some(at: ir.Value, width: int, inside: Index | None) -> None:
        panel = arith.divui(at, code.index(PANEL))

        def row(k: ir.Value) -> None:
            for n in range(0, width, isa.lanes):
                here = None if inside is None else code.subtract(inside, n)
                column = code.add(code.add(first, at), n)
                value = code.load(weight, [k, column], isa.lanes, here)
                code.store(value, panels, [code.add(panel, n // PANEL), k, n % PANEL])

        code.loop(0, code.dim(weight, 0), 1, row)

    start, end = (code.minimum(code.multiply(at, _WIDE), count) for at in (low, high))
    whole = arith.subi(end, arith.remui(end, code.index(_WIDE)))
    code.loop(start, whole, _WIDE, lambda at: some(at, _WIDE, None))
    code.loop(whole, end, PANEL, lambda at: some(at, PANEL, code.subtract(count, at)))


def _pack_transposed(
    isa: Isa,
    _: ir.Value,
    low: ir.Value,
    high: ir.Value,
    weight: ir.Value,
    panels: ir.Value,
    first: ir.Value,
    count: ir.Value,
) -> None:
    """Groups of panels of a weight [N, K]; columns past the last repeat it."""
    last = code.subtract(code.add(first, count), 1)

    def panel(n: ir.Value) -> None:
        # One strip of rows after the other, so that few streams are read at a time.
        for v in range(0, PANEL, isa.lanes):
            start = code.add(code.add(first, code.multiply(n, PANEL)), v)
            rows = [code.minimum(code.add(start, r), last) for r in range(isa.lanes)]
            _strip(isa, weight, panels, n, v, rows)

    start, end = (code.multiply(at, _WIDE // PANEL) for at in (low, high))
    code.loop(start, code.minimum(end, code.ceil_div(count, PANEL)), 1, panel)


def _strip(
    isa: Isa, weight: ir.Value, panels: ir.Value, panel: ir.Value, lane: int, rows: list[ir.Value]
) -> None:
    def square(k: ir.Value, inside: ir.Value | None) -> None:
        loaded = [code.load(weight, [row, k], isa.lanes, inside) for row in rows]
        for r, vector in enumerate(code.transpose(loaded)):
            store = partial(code.store, vector, panels, [panel, code.add(k, r), lane])
            if inside is None:
                store()
            else:
                code.if_(code.less(r, inside), store)

    code.vectors(code.dim(weight, 1), isa.lanes, square)
