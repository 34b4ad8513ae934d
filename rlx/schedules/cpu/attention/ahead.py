"""What the memory is asked for while a product keeps the core busy.

Queries and results are large, and each is touched once: read and written without that, they would
have the core wait for the memory.
"""

from collections.abc import Callable

from rlx.host import arith, ir, memref
from rlx.schedules.cpu import code
from rlx.schedules.cpu.attention.problem import Problem
from rlx.schedules.cpu.code import Index

__all__ = ["asks", "types"]


def types(a: Problem) -> list[ir.Type]:
    """Types of what :func:`asks` takes between ``a`` and ``panel``."""
    return [a.storage, a.storage, *[ir.IndexType.get()] * 5]


def asks(
    a: Problem,
    query: ir.Value,
    result: ir.Value,
    batch: ir.Value,
    group: ir.Value,
    next_row: Index,
    own_row: Index,
    follow: ir.Value,
    panel: ir.Value,
) -> Callable[[Index], None]:
    """What asks, from a dim on, for a line of queries of the next block and of results of this one.

    Panels and tiles take turns with the rows of a strip.

    Args:
        query, result: the buffers of the op.
        batch, group: which head of keys.
        next_row, own_row: the first of a strip of the next block, and of the strip at hand.
        follow: how many tiles do, in this block.
        panel: of the tile.
    """
    panels = a.p.keys // a.width
    number = code.add(code.multiply(follow, panels), panel)
    turn = arith.remui(code.index(number), code.index(a.p.rows))
    last = code.subtract(code.multiply(code.dim(query, 1), a.repeat), 1)
    places = []
    for buffer, row, dims in ((query, next_row, a.dims), (result, own_row, a.v_dims)):
        position, head = a.pair(group, code.minimum(code.add(row, turn), last))
        places.append((buffer, [batch, position], code.multiply(head, dims)))

    def ask(d: Index) -> None:
        def both() -> None:
            for buffer, at, start in places:
                place = [*at, code.index(code.add(start, d))]
                memref.prefetch(buffer, place, buffer is result, 2, True)

        # Before the last tiles of a block it is too early: it would leave the cache again. A tile
        # more than there are rows for, since strips do not see every panel.
        code.if_(code.less(follow, -(-a.p.rows // panels) + 1), both)

    return ask
