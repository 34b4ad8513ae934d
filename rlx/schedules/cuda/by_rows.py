"""Kernels for numbers of rows, which may be known at run time only: then all are made, and the host
launches one."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from rlx.host import arith, ir
from rlx.schedules.cuda import code
from rlx.schedules.cuda.code import Index
from rlx.schedules.cuda.output import Launch

__all__ = ["conditions", "launch_for", "pick"]

T = TypeVar("T")


def pick(found: Sequence[tuple[int | None, T]], rows: int | None) -> T:
    """Of what is for at most so many rows each, the first that fits; the last, if none is known."""
    if rows is None:
        return found[-1][1]
    return next(value for most, value in found if most is None or rows <= most)


def conditions(rows: Index, limits: Sequence[int | None]) -> list[ir.Value | None]:
    """For each of rising limits, whether it is the first one that ``rows`` are within.

    None: there is no other.
    """
    found: list[ir.Value | None] = []
    before: int | None = None
    for most in limits:
        above = None if before is None else code.less(before, rows)
        below = None if most is None else code.at_most(rows, most)
        both = above is not None and below is not None
        found.append(arith.andi(above, below) if both else above if below is None else below)
        before = most
    return found


def launch_for(
    rows: int | None, makes: Sequence[tuple[int | None, Callable[[], Launch]]]
) -> Launch:
    """Of kernels for at most so many rows each, what launches the one for the rows of the result.

    Args:
        rows: how many there are; None: that is known at run time only.
        makes: what defines the kernels, and returns what emits a launch.
    """
    if rows is not None:
        return pick(makes, rows)()
    limits = [most for most, _ in makes]
    launches = [make() for _, make in makes]

    def emit_launch(*buffers: ir.Value) -> None:
        chosen = conditions(code.dim(buffers[-1], 0), limits)
        for launch, when in zip(launches, chosen, strict=True):
            launch(*buffers, when=when)

    return emit_launch
