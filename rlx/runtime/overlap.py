"""Whether arguments share memory."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence, Set
from typing import Any

from rlx.runtime.memory import address_of

__all__ = ["Span", "find_overlap", "find_within", "spans_of", "union"]

Span = tuple[int, int, int]
"""First byte, end, and number of an argument."""


def spans_of(arrays: Mapping[int, Any], addresses: Mapping[int, int] | None = None) -> list[Span]:
    """Where contiguous NumPy arrays lie, by number; those without elements lie nowhere.

    Args:
        arrays: the arrays.
        addresses: of their first elements, where they are known.
    """
    found = []
    for number, array in arrays.items():
        if length := array.nbytes:
            start = address_of(array) if addresses is None else addresses[number]
            found.append((start, start + length, number))
    return found


def find_overlap(spans: list[Span], written: Set[int]) -> tuple[int, int] | None:
    """One of the ``written`` arguments, and another that shares memory with it; None for none."""
    reach = -1, -1  # where those so far end, and the one that ends last
    written_reach = -1, -1
    for start, end, number in sorted(spans):
        if number in written and start < reach[0]:
            return number, reach[1]
        if start < written_reach[0]:
            return written_reach[1], number
        reach = max(reach, (end, number))
        if number in written:
            written_reach = max(written_reach, (end, number))
    return None


def union(spans: Sequence[Span]) -> list[Span]:
    """The same memory in order and without overlaps; the number is that of one argument there."""
    found: list[Span] = []
    for start, end, number in sorted(spans):
        if found and start < found[-1][1]:
            first, last, one = found[-1]
            found[-1] = first, max(last, end), one
        else:
            found.append((start, end, number))
    return found


def find_within(
    spans: Sequence[Span], written: Set[int], others: Sequence[Span]
) -> tuple[int, int] | None:
    """One of the ``written`` arguments, and one of a :func:`union` that it shares memory with."""
    for start, end, number in spans:
        if number in written:
            at = bisect_left(others, (end,)) - 1  # the last that begins before the end
            if at >= 0 and start < others[at][1]:
                return number, others[at][2]
    return None
