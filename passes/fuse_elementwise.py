"""`rlx-fuse-elementwise`: elementwise loops into the loops that read their results."""

from dataclasses import dataclass

from rlx.host import ir, linalg
from rlx.passes.base import Pass, walk
from rlx.passes.clone import clone

__all__ = ["FuseElementwise"]

_MOST_INPUTS = 12


@dataclass(frozen=True)
class FuseElementwise(Pass):
    """Moves an elementwise `linalg.generic` into the one that reads its result.

    Only where nothing is computed twice: the result has one reader, and that one reads each element
    once. In particular nothing moves into a contraction, which reads its operands over and over;
    upstream's `linalg-fuse-elementwise-ops` does not look at that.
    """

    name = "rlx-fuse-elementwise"

    def run(self, op: ir.Operation) -> None:
        for found in walk(op, "linalg.generic"):
            consumer = found
            while (fused := _fuse_one(consumer)) is not None:
                consumer = fused


def _fuse_one(consumer: linalg.GenericOp) -> linalg.GenericOp | None:
    """Fuses one producer of ``consumer``; returns what replaces it, or None."""
    for at, value in enumerate(consumer.inputs):
        owner = value.owner
        if isinstance(owner, ir.Block) or owner.name != "linalg.generic":
            continue
        producer = owner.opview
        if _can_move(producer, consumer) and (new := _fused(producer, consumer, at)) is not None:
            return new
    return None


def _maps(op: linalg.GenericOp) -> list[ir.AffineMap]:
    return [ir.AffineMapAttr(attr).value for attr in op.operation.attributes["indexing_maps"]]


def _can_move(producer: linalg.GenericOp, consumer: linalg.GenericOp) -> bool:
    """Whether ``producer`` is elementwise and read by the inputs of ``consumer`` alone."""
    if len(producer.operation.results) != 1 or producer.operation.block != consumer.operation.block:
        return False
    if any("parallel" not in str(kind) for kind in producer.operation.attributes["iterator_types"]):
        return False
    inputs = len(consumer.inputs)
    for use in producer.operation.results[0].uses:
        if use.owner.operation != consumer.operation or use.operand_number >= inputs:
            return False
    return all(
        op.name.partition(".")[0] in ("arith", "math") or op.name in _BODY
        for op in producer.regions[0].blocks[0].operations
    )


_BODY = {"linalg.index", "linalg.yield", "tensor.extract"}


def _fused(
    producer: linalg.GenericOp, consumer: linalg.GenericOp, at: int
) -> linalg.GenericOp | None:
    maps = _maps(consumer)
    inputs = list(consumer.inputs)
    outputs = list(consumer.outputs)
    result = producer.operation.results[0]
    read = maps[at]
    # Each element is read once, in some order of the consumer's loops.
    if not read.is_permutation or any(
        value == result and map_ != read for value, map_ in zip(inputs, maps, strict=False)
    ):
        return None
    producer_maps = _maps(producer)
    written = producer_maps[-1]
    if not written.is_permutation:
        return None
    loops = [0] * written.n_dims  # of the producer, as loops of the consumer
    for inner, outer in zip(written.results, read.results, strict=True):
        loops[ir.AffineDimExpr(inner).position] = ir.AffineDimExpr(outer).position

    with consumer.operation.context, consumer.location:
        into = ir.AffineMap.get(read.n_dims, 0, [ir.AffineDimExpr.get(loop) for loop in loops])
        # What the producer reads, its output included where the body looks at it.
        block = producer.regions[0].blocks[0]
        sources = [*producer.inputs, *producer.outputs]
        used = [
            number
            for number, argument in enumerate(block.arguments)
            if number < len(producer.inputs) or any(True for _ in argument.uses)
        ]
        new_inputs = [(v, m) for v, m in zip(inputs, maps, strict=False) if v != result]
        for number in used:
            exprs = [expr.compose(into) for expr in producer_maps[number].results]
            new_inputs.append((sources[number], ir.AffineMap.get(read.n_dims, 0, exprs)))
        all_maps = [map_ for _, map_ in new_inputs] + maps[len(inputs) :]
        if len(new_inputs) > _MOST_INPUTS or not _covers(all_maps, read.n_dims):
            return None
        with ir.InsertionPoint(consumer):
            fused = ir.Operation.create(
                "linalg.generic",
                results=[r.type for r in consumer.operation.results],
                operands=[value for value, _ in new_inputs] + outputs,
                attributes={
                    "indexing_maps": ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in all_maps]),
                    "iterator_types": consumer.operation.attributes["iterator_types"],
                    "operandSegmentSizes": ir.DenseI32ArrayAttr.get(
                        [len(new_inputs), len(outputs)]
                    ),
                },
                regions=1,
            )
        _fill_body(fused, producer, consumer, len(new_inputs), used, loops)
    for before, after in zip(consumer.operation.results, fused.results, strict=True):
        before.replace_all_uses_with(after)
    consumer.operation.erase()
    producer.operation.erase()
    return fused.opview


def _covers(maps: list[ir.AffineMap], loops: int) -> bool:
    """Whether the sizes of all loops can be read off the operands."""
    found = {
        ir.AffineDimExpr(expr).position
        for map_ in maps
        for expr in map_.results
        if isinstance(expr, ir.AffineDimExpr)
    }
    return len(found) == loops


def _fill_body(
    fused: ir.Operation,
    producer: linalg.GenericOp,
    consumer: linalg.GenericOp,
    inputs: int,
    used: list[int],
    loops: list[int],
) -> None:
    """The producer's body, then the consumer's."""
    elements = [getattr(v.type, "element_type", v.type) for v in fused.operands]
    block = fused.regions[0].blocks.append(*elements)
    first, second = (op.regions[0].blocks[0] for op in (producer, consumer))
    result = producer.operation.results[0]
    arguments = list(block.arguments)
    own, borrowed = arguments[: inputs - len(used)], arguments[inputs - len(used) : inputs]
    mapping = dict(zip([first.arguments[n] for n in used], borrowed, strict=True))
    with ir.InsertionPoint(block):
        value = None
        for op in first.operations:
            if op.name == "linalg.yield":
                value = mapping.get(op.operation.operands[0], op.operation.operands[0])
                continue
            copy = clone(op.operation, mapping)
            if copy.name == "linalg.index":
                loop = loops[ir.IntegerAttr(copy.attributes["dim"]).value]
                copy.attributes["dim"] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), loop)
        remaining = iter(own)
        for operand, argument in zip(consumer.inputs, second.arguments, strict=False):
            mapping[argument] = value if operand == result else next(remaining)
        outputs = list(second.arguments)[len(consumer.inputs) :]
        mapping |= dict(zip(outputs, arguments[inputs:], strict=True))
        for op in second.operations:
            clone(op.operation, mapping)
