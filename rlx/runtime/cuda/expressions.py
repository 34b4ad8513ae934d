"""Arithmetic on sizes, which is all that a GPU program computes on the host.

An expression is a list: the op, its type, and what it works on: numbers of earlier expressions of
the same table, or for a leaf the value itself, an argument and an axis, or a scalar argument.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["OPERATIONS", "PREDICATES", "Expression", "evaluate"]

Expression = list[Any]

PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")
"""Comparisons of integers, in MLIR's order."""

_WIDTHS = {"index": 64, "i64": 64, "i32": 32, "i16": 16, "i8": 8, "i1": 1}
_FLOATS: dict[str, Any] = {"f64": np.float64, "f32": np.float32, "f16": np.float16}


def _unsigned(value: int) -> int:
    return value & (2**64 - 1)


def _quotient(a: int, b: int) -> int:
    """Rounded towards zero; 0 where there is none, behind a check that fails."""
    if b == 0:
        return 0
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _ceil(a: int, b: int) -> int:
    return -(-a // b) if b else 0


OPERATIONS: dict[str, Callable[..., Any]] = {
    "addi": lambda a, b: a + b,
    "subi": lambda a, b: a - b,
    "muli": lambda a, b: a * b,
    "divsi": _quotient,
    "divui": lambda a, b: _quotient(_unsigned(a), _unsigned(b)),
    "remsi": lambda a, b: a - b * _quotient(a, b),
    "remui": lambda a, b: _unsigned(a) % _unsigned(b) if b else 0,
    "ceildivsi": _ceil,
    "ceildivui": lambda a, b: _ceil(_unsigned(a), _unsigned(b)),
    "floordivsi": lambda a, b: a // b if b else 0,
    "minsi": min,
    "maxsi": max,
    "minui": lambda a, b: min(a, b, key=_unsigned),
    "maxui": lambda a, b: max(a, b, key=_unsigned),
    "andi": lambda a, b: a & b,
    "ori": lambda a, b: a | b,
    "xori": lambda a, b: a ^ b,
    "shli": lambda a, b: a << min(b, 64),
    "shrsi": lambda a, b: a >> min(b, 64),
    "select": lambda condition, a, b: a if condition else b,
    "index_cast": lambda a: a,
    "index_castui": lambda a: a,
    "extsi": lambda a: a,
    "trunci": lambda a: a,
    "sitofp": float,
    "uitofp": lambda a: float(_unsigned(a)),
    "extf": lambda a: a,
    "truncf": lambda a: a,
    "addf": lambda a, b: a + b,
    "subf": lambda a, b: a - b,
    "mulf": lambda a, b: a * b,
    "divf": lambda a, b: a / b if b else math.nan if a == 0 else math.copysign(math.inf, a),
    "negf": lambda a: -a,
    "sqrt": lambda a: math.sqrt(a) if a >= 0 else math.nan,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "slt": lambda a, b: a < b,
    "sle": lambda a, b: a <= b,
    "sgt": lambda a, b: a > b,
    "sge": lambda a, b: a >= b,
    "ult": lambda a, b: _unsigned(a) < _unsigned(b),
    "ule": lambda a, b: _unsigned(a) <= _unsigned(b),
    "ugt": lambda a, b: _unsigned(a) > _unsigned(b),
    "uge": lambda a, b: _unsigned(a) >= _unsigned(b),
}
"""What the ops of MLIR's arith dialect do, by their names there."""


def evaluate(
    table: Sequence[Expression], shapes: Mapping[int, Sequence[int]], scalars: Mapping[int, Any]
) -> list[Any]:
    """The values of all expressions of a table.

    Args:
        table: the expressions.
        shapes: of arguments, by their numbers.
        scalars: arguments that are numbers, by theirs.
    """
    values: list[Any] = []
    for op, type_, *operands in table:
        if op == "constant":
            value = operands[0]
        elif op == "size":
            value = shapes[operands[0]][operands[1]]
        elif op == "scalar":
            value = scalars[operands[0]]
        else:
            value = OPERATIONS[op](*(values[number] for number in operands))
        values.append(_fit(value, type_))
    return values


def _fit(value: Any, type_: str) -> Any:
    """A value as its type holds it."""
    if type_ in _FLOATS:
        with np.errstate(over="ignore"):
            return float(_FLOATS[type_](value))
    width = _WIDTHS.get(type_)
    if width is None:
        return value
    if width == 1:
        return int(value) & 1
    half = 1 << (width - 1)
    return (int(value) + half) % (2 * half) - half
