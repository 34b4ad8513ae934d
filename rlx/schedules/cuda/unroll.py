"""Loops around kernels, which become rows of launches."""

from rlx.diagnostics import PassFailure
from rlx.host import arith, func, ir
from rlx.passes.clone import clone

__all__ = ["Guards", "unroll"]

_MOST_STEPS = 4096
_LOOP = "scf.for"
_CASTS = ("arith.index_castui", "arith.extui")

Guards = dict[ir.Operation, list[ir.Operation]]
"""For ops that may have nothing to do: casts of the conditions, of which all must hold."""


def unroll(function: func.FuncOp) -> Guards:
    """Replaces loops of a known number of steps by these steps, and those that run once or never.

    The number of steps of the latter is a boolean, as an integer; their ops stay, with a guard.

    Raises:
        PassFailure: a loop that runs once or never carries values, or another has too many steps.
    """
    guards: Guards = {}
    (block,) = function.operation.regions[0].blocks
    pending = [op.operation for op in block.operations]
    while pending:
        op = pending.pop(0)
        if op.name != _LOOP:
            continue
        steps = _steps(op)
        if steps is None and not _is_condition(op.operands[1]):
            continue
        outer = guards.pop(op, [])
        if op.results and steps is None:
            raise PassFailure(op, "a loop around kernels must update buffers in place")
        if steps is None:
            steps = [0]
            outer = [*outer, op.operands[1].owner.operation]
        made, carried = [], list(op.operands)[3:]
        for step in steps:
            copies, carried = _step(op, step, carried)
            made += copies
        for result, value in zip(op.results, carried, strict=True):
            result.replace_all_uses_with(value)
        guards |= {copy: outer for copy in made if outer}
        pending = made + pending
        op.erase()
    return guards


def _step(
    loop: ir.Operation, number: int, carried: list[ir.Value]
) -> tuple[list[ir.Operation], list[ir.Value]]:
    """The ops of one step, before the loop, and what it hands on."""
    body = loop.regions[0].blocks[0]
    *ops, end = (op.operation for op in body.operations)
    with ir.InsertionPoint(loop), loop.location:
        index = arith.constant(ir.IndexType.get(), number)
        mapping = dict(zip(body.arguments, [index, *carried], strict=True))
        copies = [clone(op, mapping) for op in ops]
    return copies, [mapping.get(value, value) for value in end.operands]


def _steps(loop: ir.Operation) -> list[int] | None:
    """The values of the counter; None if they are not known."""
    known = [_constant(value) for value in loop.operands[:3]]
    if any(value is None for value in known):
        return None
    low, high, step = known
    found = range(low or 0, high or 0, step or 1)
    if len(found) > _MOST_STEPS:
        raise PassFailure(loop, f"expected at most {_MOST_STEPS} steps, got {len(found)}")
    return list(found)


def _constant(value: ir.Value) -> int | None:
    if isinstance(value.owner, ir.Block) or value.owner.name != "arith.constant":
        return None
    return ir.IntegerAttr(value.owner.attributes["value"]).value


def _is_condition(count: ir.Value) -> bool:
    """Whether a number of steps is a boolean."""
    if isinstance(count.owner, ir.Block) or count.owner.operation.name not in _CASTS:
        return False
    return str(count.owner.operation.operands[0].type) == "i1"
