"""What the fusion passes share: putting the fused op in, and taking out what it replaces."""

from collections.abc import Sequence

from rlx.dialects import emit
from rlx.host import ir, linalg
from rlx.passes.match import Source, as_columns, elements, origins
from rlx.passes.views import VIEWS, kind, producer

__all__ = ["as_rows", "erase_dead", "like", "replace", "skip_views"]

_REMOVABLE = ("rlx.", "linalg.", "tensor.", "arith.", "math.", "affine.")


def _transpose(value: ir.Value, permutation: Sequence[int]) -> ir.Value:
    if list(permutation) == list(range(len(permutation))):
        return value
    shape = emit.sizes(value)
    init = emit.empty([shape[axis] for axis in permutation], value.type.element_type)
    return linalg.transpose(value, outs=[init], permutation=list(permutation)).results[0]


def as_rows(source: Source, free: int) -> ir.Value:
    """The tensor of a source with its free axes in front and its columns as last axis.

    Args:
        source: axes that are free come as they are; if it lacks one, that one has size 1.
        free: how many free axes there are.
    """
    value = source.value
    spare = [
        axis
        for axis, number in enumerate(source.layout)
        if number is None and value.type.shape[axis] == 1
    ]
    front: list[int | None] = []
    for number in range(free):
        if number in source.layout:
            front.append(source.layout.index(number))
        else:
            front.append(spare.pop(0) if spare else None)
    kept = [axis for axis in front if axis is not None]
    last = [axis for axis in range(value.type.rank) if axis not in kept]
    value = _transpose(value, kept + last)
    if not last:
        value = emit.split_axis(value, len(kept) - 1, [emit.dim(value, len(kept) - 1), 1])
    for _ in last[1:]:
        value = emit.join_axes(value, len(kept))
    for number, axis in enumerate(front):
        if axis is None:
            value = emit.split_axis(value, number, [1, emit.dim(value, number)])
    return value


def like(rows: ir.Value, model: ir.Value, free: Sequence[int]) -> ir.Value:
    """``rows`` ([free..., columns]) in the shape of ``model``, whose axes ``free`` are the free."""
    shape = list(model.type.shape)
    counted = [axis for axis in range(len(shape)) if axis not in free]
    value = rows
    for axis in reversed(counted[1:]):
        last = value.type.shape[len(free)] // shape[axis]
        value = emit.split_axis(value, len(free), [last, shape[axis]])
    order = [*free, *counted]
    value = _transpose(value, [order.index(axis) for axis in range(len(shape))])
    return emit.cast(value, model.type)


def skip_views(value: ir.Value, rows: ir.Value) -> None:
    """Where views that lead away from ``value`` only restore ``rows``, uses ``rows`` instead."""
    for use in list(value.uses):
        user = use.owner.opview
        if kind(user) not in VIEWS or len(user.results) != 1:
            continue
        result = user.results[0]
        if result.type == rows.type and _is_identity(result, rows):
            result.replace_all_uses_with(rows)
        else:
            skip_views(result, rows)


def _is_identity(result: ir.Value, rows: ir.Value) -> bool:
    node = elements(result, range(result.type.rank - 1))
    found = origins(node).get(rows) if node is not None else None
    source = as_columns(rows, found) if found else None
    return (
        source is not None
        and len(source.columns) == source.width
        and [a for a in source.layout if a is not None]
        == sorted(a for a in source.layout if a is not None)
        and (source.columns == source.lanes).all()
    )


def replace(root: ir.Value, rows: ir.Value, free: Sequence[int]) -> set[int]:
    """Uses ``rows`` in place of ``root``, and erases what made ``root``.

    Args:
        root: the tensor to replace.
        rows: the same elements as [free..., columns].
        free: the axes of ``root`` that are free.

    Returns:
        The hashes of the ops that are erased.
    """
    shaped = like(rows, root, free)
    root.replace_all_uses_with(shaped)
    if shaped != rows:
        skip_views(shaped, rows)
    return erase_dead(root, *_ends(shaped))


def _ends(value: ir.Value) -> list[ir.Value]:
    """What views make of ``value``, as far as they lead."""
    users = [use.owner.opview for use in value.uses]
    following = [user.results[0] for user in users if kind(user) in VIEWS]
    return [end for result in following for end in _ends(result)] or [value]


def erase_dead(*values: ir.Value) -> set[int]:
    """Erases the ops that make ``values``, if nothing uses them, and then what only they used.

    Returns:
        The hashes of the ops that are erased.
    """
    dead: list[ir.Operation] = []
    pending = list(values)
    while pending:
        op = producer(pending.pop())
        if op is None or op.operation in dead or not kind(op).startswith(_REMOVABLE):
            continue
        if all(_is_within(use.owner, dead) for result in op.results for use in result.uses):
            dead.append(op.operation)
            pending += op.operands
            pending += _captured(op)
    erased = {hash(operation) for operation in dead}
    for operation in dead:
        operation.erase()
    return erased


def _is_within(op: ir.OpView | ir.Operation, dead: Sequence[ir.Operation]) -> bool:
    operation: ir.Operation | None = op.operation
    while operation is not None:
        if operation in dead:
            return True
        parent = operation.parent
        operation = None if parent is None else parent.operation
    return False


def _captured(op: ir.OpView) -> list[ir.Value]:
    """What the bodies of ``op`` use from outside."""
    return [
        operand
        for region in op.regions
        for block in region.blocks
        for inner in block.operations
        for operand in inner.operands
        if not isinstance(operand, ir.BlockArgument)
        and operand.owner.parent.operation != op.operation
    ]
