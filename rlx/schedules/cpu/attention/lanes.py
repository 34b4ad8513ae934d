"""Reductions across the lanes of registers."""

from collections.abc import Callable, Sequence

from rlx.host import ir, vector

__all__ = ["across"]


def across(
    values: Sequence[ir.Value], combine: Callable[[ir.Value, ir.Value], ir.Value]
) -> ir.Value:
    """All lanes of each of as many vectors as one has lanes, combined: one vector of results."""
    lanes = len(values)
    quarters = range(0, lanes, 4)  # of 128 bits: what shuffles well

    def fold(low: list[int], high: list[int]) -> list[ir.Value]:
        pairs = zip(values[::2], values[1::2], strict=True)
        return [combine(vector.shuffle(x, y, low), vector.shuffle(x, y, high)) for x, y in pairs]

    # Lanes 0 and 2, then 1 and 3, of x and y; then four vectors side by side in every quarter.
    values = fold(
        [q + n for q in quarters for n in (0, lanes, 1, lanes + 1)],
        [q + n for q in quarters for n in (2, lanes + 2, 3, lanes + 3)],
    )
    values = fold(
        [q + n for q in quarters for n in (0, 1, lanes, lanes + 1)],
        [q + n for q in quarters for n in (2, 3, lanes + 2, lanes + 3)],
    )
    while len(values) > 1:
        values = fold(
            [q + n for q in range(0, 2 * lanes, 8) for n in range(4)],
            [q + n for q in range(4, 2 * lanes, 8) for n in range(4)],
        )
    return values[0]
