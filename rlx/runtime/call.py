"""Arguments of a call, by their numbers."""

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from rlx.runtime.errors import ArgumentError
from rlx.runtime.overlap import Span, find_overlap, find_within
from rlx.runtime.program import Program

__all__ = ["check_overlap", "free_arguments", "match"]


def free_arguments(program: Program, bound: Collection[int]) -> dict[str, int]:
    """The arguments that a call takes, in order: their names and numbers."""
    specs = enumerate(program.arguments)
    return {spec.name: number for number, spec in specs if number not in bound}


def match(
    program: Program, args: Sequence[Any], kwargs: Mapping[str, Any], free: Mapping[str, int]
) -> dict[int, Any]:
    """What a caller passes, by the numbers of the arguments.

    Args:
        program: what is called.
        args, kwargs: the values, by position and by name.
        free: the arguments that a call takes, as :func:`free_arguments` gives them.

    Raises:
        ArgumentError: there are too many or too few, or a name is unknown.
    """
    specs = program.arguments
    if len(args) > len(free):
        raise ArgumentError(
            f"'{program.entry}' expects {len(free)} arguments, but found {len(args)}"
        )
    values = dict(zip(free.values(), args, strict=False))
    for name, value in kwargs.items():
        number = free.get(name)
        if number is None:
            near = difflib.get_close_matches(name, free, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ArgumentError(f"'{program.entry}' has no argument '{name}'{hint}")
        if number in values:
            raise ArgumentError(f"argument '{name}' is given twice")
        values[number] = value
    if len(values) < len(free):
        missing = [str(specs[number]) for number in free.values() if number not in values]
        raise ArgumentError(f"'{program.entry}': missing arguments: {', '.join(missing)}")
    return values


def check_overlap(
    program: Program,
    numbers: Collection[int],
    spans: Callable[[], list[Span]],
    bound: Sequence[Span] = (),
) -> None:
    """What is updated in place must not be visible through another argument.

    Args:
        program: what is called.
        numbers: the arguments of the call.
        spans: tells where they lie in memory; asked when something is updated.
        bound: where other arguments lie, which are only read; a :func:`rlx.runtime.overlap.union`.

    Raises:
        ArgumentError: two arguments share memory, and one of them is updated in place.
    """
    written = program.writable.intersection(numbers)
    if not written:
        return
    known = spans()
    found = find_overlap(known, written) or find_within(known, written, bound)
    if found:
        name, other = (program.arguments[number].name for number in found)
        raise ArgumentError(
            f"argument '{name}' is updated in place, but shares memory with argument '{other}'"
        )
