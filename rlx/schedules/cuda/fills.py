"""Buffers that are filled with a constant before a reduction, which can begin with it instead."""

from rlx.host import ir
from rlx.schedules.cuda.loops import analyse, inputs_of, maps_of
from rlx.schedules.cuda.unroll import Guards

__all__ = ["fill_directly", "fold_fills", "root_of"]


def fill_directly(block: ir.Block, guards: Guards) -> None:
    """Replaces copies of a buffer that holds nothing but a fill by fills."""
    ops = [inner.operation for inner in block.operations]
    place = {op: number for number, op in enumerate(ops)}
    for op in [found for found in ops if found.name == "linalg.generic"]:
        if _filled_with(op) is None:
            continue
        buffer = op.operands[len(op.operands) - 1]
        if root_of(buffer) != buffer:
            continue
        users = sorted((use.owner.operation for use in buffer.uses), key=lambda u: place.get(u, -1))
        if users[0] != op:
            continue
        for copy in users[1:]:
            # What comes after another kind of use may find something else there.
            if copy.name != "memref.copy" or copy.operands[0] != buffer:
                break
            with ir.InsertionPoint(copy):
                fill = op.clone().operation
            fill.operands[len(fill.operands) - 1] = copy.operands[1]
            if copy in guards:
                guards[fill] = guards.pop(copy)
            copy.erase()
        if len(list(buffer.uses)) == 1:
            op.erase()


def fold_fills(block: ir.Block) -> dict[ir.Operation, ir.Attribute]:
    """Erases fills of what a reduction uses next; returns what the reductions begin with."""
    found: dict[ir.Operation, ir.Attribute] = {}
    ops = [inner.operation for inner in block.operations]
    place = {op: number for number, op in enumerate(ops)}
    for op in ops:
        if op.name != "linalg.generic" or (constant := _filled_with(op)) is None:
            continue
        buffer = op.operands[len(op.operands) - 1]
        users = sorted((use.owner.operation for use in buffer.uses), key=lambda u: place.get(u, -1))
        # A view that was made before could be read in between.
        if root_of(buffer) != buffer or len(users) < 2 or users[0] != op:
            continue
        first = users[1]
        operands = list(first.operands)
        if (
            first.name == "linalg.generic"
            and operands.count(buffer) == 1
            and operands[-1] == buffer
            and len(operands) == inputs_of(first) + 1
            and analyse(first).reduction
        ):
            found[first] = constant
            op.erase()
    return found


def _filled_with(op: ir.Operation) -> ir.Attribute | None:
    """The constant that a generic op writes to all of its only output."""
    maps = maps_of(op)
    if inputs_of(op) + 1 != len(op.operands) or not maps[-1].is_permutation:
        return None
    block = op.regions[0].blocks[0]
    end = list(block.operations)[-1].operation
    value = end.operands[0]
    if isinstance(value.owner, ir.Block):
        arguments = list(block.arguments)
        if value not in arguments[:-1]:
            return None
        number = arguments.index(value)
        value = op.operands[number]
        if isinstance(value.owner, ir.Block):
            return None
    owner = value.owner.operation
    return owner.attributes["value"] if owner.name == "arith.constant" else None


def root_of(value: ir.Value) -> ir.Value | None:
    """The buffer that ``value`` is all of, if it was allocated here."""
    while not isinstance(value.owner, ir.Block) and value.owner.name == "memref.cast":
        value = value.owner.operation.operands[0]
    if isinstance(value.owner, ir.Block) or value.owner.name != "memref.alloc":
        return None
    return value
