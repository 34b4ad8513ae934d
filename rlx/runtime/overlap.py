"""Whether arguments share memory."""

from collections.abc import Mapping, Set
from typing import Any

__all__ = ["Span", "find_overlap", "spans_of"]

Span = tuple[int, int, int]
"""First byte, end, and number of an argument."""


def spans_of(arrays: Mapping[int, Any]) -> list[Span]:
    """Where contiguous NumPy arrays lie, by number; those without elements lie nowhere."""
    found = []
    for number, array in arrays.items():
        if array.size:
            start = array.__array_interface__["data"][0]
            found.append((start, start + array.nbytes, number))
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
