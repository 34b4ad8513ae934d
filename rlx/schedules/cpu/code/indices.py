"""Indices, which may be given as ``int``, and loops and branches over them."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from rlx.host import arith, ir, scf

__all__ = [
    "Index",
    "add",
    "at_most",
    "ceil_div",
    "if_",
    "index",
    "less",
    "loop",
    "maximum",
    "minimum",
    "multiply",
    "round_up",
    "subtract",
    "true",
    "up_to",
    "vectors",
]

Index: TypeAlias = int | ir.Value


def index(value: Index) -> ir.Value:
    return arith.constant(ir.IndexType.get(), value) if isinstance(value, int) else value


def add(a: Index, b: Index) -> Index:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    if a == 0 or b == 0:
        return b if isinstance(a, int) and a == 0 else a
    return arith.addi(index(a), index(b))


def subtract(a: Index, b: Index) -> Index:
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    return arith.subi(index(a), index(b))


def multiply(a: Index, b: Index) -> Index:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    return arith.muli(index(a), index(b))


def minimum(a: Index, b: Index) -> Index:
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    return arith.minsi(index(a), index(b))


def maximum(a: Index, b: Index) -> Index:
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    return arith.maxsi(index(a), index(b))


def ceil_div(a: Index, b: int) -> Index:
    if isinstance(a, int):
        return -(-a // b)
    return arith.divui(arith.addi(a, index(b - 1)), index(b))


def round_up(a: Index, b: int) -> Index:
    return multiply(ceil_div(a, b), b)


def less(a: Index, b: Index) -> ir.Value:
    return arith.cmpi(arith.CmpIPredicate.slt, index(a), index(b))


# -- control ---------------------------------------------------------------------------------------


def loop(
    low: Index,
    high: Index,
    step: Index,
    body: Callable[..., Sequence[ir.Value] | None],
    inits: Sequence[ir.Value] = (),
) -> list[ir.Value]:
    """``for i in range(low, high, step)``; ``body`` takes and returns the carried values."""
    op = scf.ForOp(index(low), index(high), index(step), list(inits))
    with ir.InsertionPoint(op.body):
        scf.yield_(body(op.induction_variable, *op.inner_iter_args) or [])
    return list(op.results)


def if_(
    condition: ir.Value,
    then: Callable[[], Sequence[ir.Value] | None],
    otherwise: Callable[[], Sequence[ir.Value] | None] | None = None,
    types: Sequence[ir.Type] = (),
) -> list[ir.Value]:
    op = scf.IfOp(condition, list(types), has_else=otherwise is not None)
    with ir.InsertionPoint(op.then_block):
        scf.yield_(then() or [])
    if otherwise is not None:
        with ir.InsertionPoint(op.else_block):
            scf.yield_(otherwise() or [])
    return list(op.results)


def up_to(value: Index, limits: Sequence[int], body: Callable[[int], None]) -> None:
    """``body`` with how many of the ``limits``, which ascend, ``value`` is above."""

    def choose(number: int) -> None:
        if number == len(limits):
            body(number)
            return
        fits = at_most(value, limits[number])
        if_(fits, lambda: body(number), lambda: choose(number + 1))

    choose(0)


def vectors(count: Index, lanes: int, body: Callable[[ir.Value, Index | None], None]) -> None:
    """Calls ``body`` with the start of every vector, and how much of it there is if not all."""
    whole = arith.subi(index(count), arith.remui(index(count), index(lanes)))
    loop(0, whole, lanes, lambda at: body(at, None))
    loop(whole, count, lanes, lambda at: body(at, subtract(count, at)))


def at_most(a: Index, b: Index) -> ir.Value:
    return arith.cmpi(arith.CmpIPredicate.sle, index(a), index(b))


def true() -> ir.Value:
    return arith.constant(ir.IntegerType.get_signless(1), 1)
