"""Weights into panels, by the call that multiplies with them."""

from functools import partial

from rlx.host import arith, ir
from rlx.schedules.cpu import code
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.isa import Isa
from rlx.schedules.cpu.layout import PANEL
from rlx.schedules.cpu.micro import panels_type

__all__ = ["pack_kernel"]


def pack_kernel(
    kernels: Kernels, name: str, element: ir.Type, transposed: bool, isa: Isa
) -> Kernel:
    """Columns of a weight [N, K] or [K, N] as panels [P, K, PANEL] of f32.

    The kernel takes the weight, the panels, the first column and how many there are. What fills
    the last panel is of no account.
    """
    index = ir.IndexType.get()
    build = _pack_transposed if transposed else _pack
    return kernels.define(
        f"{name}_pack",
        [code.matrix(element), panels_type(code.f32()), index, index],
        lambda *arguments: build(isa, *arguments),
    )


def _pack(isa: Isa, weight: ir.Value, panels: ir.Value, first: ir.Value, count: ir.Value) -> None:
    """Panels of a weight [K, N]; columns past the last are zero."""
    at_a_time = 4  # streams that are written; more lines of a row are read together, too

    def some(at: ir.Value, width: int, inside: Index | None) -> None:
        panel = arith.divui(at, code.index(PANEL))

        def row(k: ir.Value) -> None:
            for n in range(0, width, isa.lanes):
                here = None if inside is None else code.subtract(inside, n)
                column = code.add(code.add(first, at), n)
                value = code.load(weight, [k, column], isa.lanes, here)
                code.store(value, panels, [code.add(panel, n // PANEL), k, n % PANEL])

        code.loop(0, code.dim(weight, 0), 1, row)

    wide = at_a_time * PANEL
    whole = arith.subi(count, arith.remui(count, code.index(wide)))
    code.loop(0, whole, wide, lambda at: some(at, wide, None))
    code.loop(whole, count, PANEL, lambda at: some(at, PANEL, code.subtract(count, at)))


def _pack_transposed(
    isa: Isa, weight: ir.Value, panels: ir.Value, first: ir.Value, count: ir.Value
) -> None:
    """Panels of a weight [N, K]; columns past the last repeat it."""
    last = code.subtract(code.add(first, count), 1)

    def panel(n: ir.Value) -> None:
        # One strip of rows after the other, so that few streams are read at a time.
        for v in range(0, PANEL, isa.lanes):
            start = code.add(code.add(first, code.multiply(n, PANEL)), v)
            rows = [code.minimum(code.add(start, r), last) for r in range(isa.lanes)]
            _strip(isa, weight, panels, n, v, rows)

    code.loop(0, code.ceil_div(count, PANEL), 1, panel)


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
