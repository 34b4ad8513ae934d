"""`rlx-free-results`: buffers freed after their last use."""

from collections import Counter
from dataclasses import dataclass

from rlx.host import ir, memref
from rlx.passes.base import Pass, walk

__all__ = ["FreeResults"]

_CALL, _DEALLOC, _METADATA = "func.call", "bufferization.dealloc", "memref.extract_strided_metadata"
_VIEWS = {
    _METADATA,
    "memref.cast",
    "memref.collapse_shape",
    "memref.expand_shape",
    "memref.reinterpret_cast",
    "memref.subview",
}
# Ops that read and write a buffer and are done with it.
_USES = {
    _CALL,
    "affine.load",
    "affine.store",
    "memref.copy",
    "memref.dim",
    "memref.load",
    "memref.store",
}


@dataclass(frozen=True)
class FreeResults(Pass):
    """Frees temporary buffers, and what calls return, where they are used for the last time.

    MLIR frees them at the end of the block. What calls return it also compares to everything else
    that is freed there: it does not know that a function gives away what it returns, so that nobody
    else has it. A model would keep what every layer returned until its end. Runs between
    `ownership-based-buffer-deallocation` and `bufferization-lower-deallocations`.
    """

    name = "rlx-free-results"

    def run(self, op: ir.Operation) -> None:
        for found in list(walk(op, _DEALLOC)):
            _split(found.operation)


def _split(dealloc: ir.Operation) -> None:
    """Takes out of ``dealloc`` what nothing else in it can be."""
    count, _, kept = ir.DenseI32ArrayAttr(dealloc.attributes["operandSegmentSizes"])
    operands = list(dealloc.operands)
    buffers, conditions, retained = (
        operands[:count],
        operands[count : 2 * count],
        operands[2 * count :],
    )
    origins = [_origins(value) for value in (*buffers, *retained)]
    if any(found is None for found in origins):
        return
    times = Counter(value for found in origins for value in found or ())
    left = []
    for number, (condition, found) in enumerate(zip(conditions, origins, strict=False)):
        (value, *others) = found or [None]
        if others or not _is_made_here(value) or times[value] > 1 or not _is_true(condition):
            left.append(number)
            continue
        last = _last_use(value, dealloc)
        with ir.InsertionPoint(dealloc) if last is None else ir.InsertionPoint.after(last):
            memref.DeallocOp(value, loc=dealloc.location)
    if len(left) == count:
        return
    with ir.InsertionPoint(dealloc), dealloc.location:
        new = ir.Operation.create(
            _DEALLOC,
            results=[result.type for result in dealloc.results],
            operands=[
                *(buffers[n] for n in left),
                *(conditions[n] for n in left),
                *retained,
            ],
            attributes={
                "operandSegmentSizes": ir.DenseI32ArrayAttr.get([len(left), len(left), kept])
            },
        )
    for before, after in zip(dealloc.results, new.results, strict=True):
        before.replace_all_uses_with(after)
    dealloc.erase()


def _is_fresh(value: ir.Value | None) -> bool:
    """Whether ``value`` is all that a call returned, which the caller owns from then on."""
    return (
        value is not None
        and not isinstance(value.owner, ir.Block)
        and value.owner.name == _CALL
        and sum(isinstance(result.type, ir.MemRefType) for result in value.owner.results) == 1
    )


def _is_made_here(value: ir.Value | None) -> bool:
    """Whether ``value`` is the whole of a buffer that an op of the function got."""
    return _is_fresh(value) or (
        value is not None
        and not isinstance(value.owner, ir.Block)
        and value.owner.name == "memref.alloc"
    )


def _is_true(condition: ir.Value) -> bool:
    owner = condition.owner
    return (
        not isinstance(owner, ir.Block)
        and owner.name == "arith.constant"
        and ir.IntegerAttr(owner.attributes["value"]).value != 0
    )


def _origins(value: ir.Value) -> set[ir.Value] | None:
    """The buffers that ``value`` may be: fresh ones from calls, and others; None if unknown."""
    if isinstance(value.owner, ir.Block):
        return {value} if _is_entry(value.owner) else None
    op = value.owner.operation
    if op.name in _VIEWS:
        return _origins(op.operands[0])
    if op.name in ("memref.alloc", "memref.get_global") or _is_fresh(value):
        return {value}
    if op.name != "scf.if":
        return None
    found: set[ir.Value] = set()
    for region in op.regions:
        end = list(region.blocks[0].operations)[-1].operation
        one = _origins(end.operands[ir.OpResult(value).result_number])
        if one is None:
            return None
        found |= one
    return found


def _is_entry(block: ir.Block) -> bool:
    return block.owner.operation.name == "func.func"


def _last_use(value: ir.Value, dealloc: ir.Operation) -> ir.Operation | None:
    """The op in the block of ``dealloc`` that uses ``value`` last; None if that cannot be told."""
    last = value.owner.operation
    if last.block != dealloc.block:
        return None
    pending = [value]
    while pending:
        for use in pending.pop().uses:
            user = use.owner.operation
            if user == dealloc or (user.name == _METADATA and _is_for(user, dealloc)):
                continue
            if user.name in _VIEWS:
                pending += [r for r in user.results if isinstance(r.type, ir.MemRefType)]
            elif user.name not in _USES and not user.name.startswith(("linalg.", "vector.")):
                return None
            elif user.name == "memref.store" and use.operand_number == 0:
                return None  # a buffer in a buffer
            while user.block != dealloc.block:
                user = user.parent.operation
            if last.is_before_in_block(user):
                last = user
    return last


def _is_for(metadata: ir.Operation, dealloc: ir.Operation) -> bool:
    """Whether ``metadata`` is there for ``dealloc`` only."""
    return all(use.owner.operation == dealloc for r in metadata.results for use in r.uses)
