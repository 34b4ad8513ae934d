"""`rlx-check-shapes`: sizes and indices that only the run can tell, checked where they matter."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from rlx.dialects import emit
from rlx.dialects.emit import Size
from rlx.host import arith, cf, ir, linalg
from rlx.passes.base import Pass, walk
from rlx.passes.lower_asserts import STRUCTURED

__all__ = ["CheckShapes"]

_DYNAMIC = ir.ShapedType.get_dynamic_size()


@dataclass(frozen=True)
class CheckShapes(Pass):
    """Makes reads and writes out of bounds errors at run time.

    MLIR leaves it to whoever writes the IR that operands with dynamic sizes fit together and that
    indices are in range; where they do not, compiled code touches memory that is not its own. This
    pass puts a `cf.assert` in front of elementwise arithmetic, linalg ops, `tensor.cast`,
    `tensor.extract`, `tensor.insert`, `tensor.extract_slice`, `tensor.insert_slice` and
    `tensor.expand_shape` on tensors with dynamic sizes. Most are proved and vanish. Bodies of
    linalg ops are left alone: they are for whoever writes them to guard. Our own ops bring their
    checks with them, so this runs before they are lowered.
    """

    name = "rlx-check-shapes"

    def run(self, op: ir.Operation) -> None:
        for found in walk(op):
            check = _CHECKS.get(found.operation.name)
            if found.operation.name.startswith("linalg."):
                check = _linalg
            elif found.operation.name.startswith(("arith.", "math.")):
                check = _elementwise
            if check is None or not _can_hold_checks(found.operation):
                continue
            with ir.InsertionPoint(found), found.location:
                conditions = list(check(found))
                if conditions:
                    holds = conditions[0]
                    for condition in conditions[1:]:
                        holds = arith.andi(holds, condition)
                    cf.assert_(holds, _message(found))


def _message(op: ir.OpView) -> str:
    # Without a location: code from the cache may have been compiled from another file.
    name = op.operation.name
    return f"{name}: {_MEANING.get(name, 'sizes do not agree')}"


_MEANING = {
    "tensor.cast": "a size is not the one that the type says",
    "tensor.expand_shape": "sizes do not multiply to the size that is expanded",
    "tensor.extract": "index out of bounds",
    "tensor.extract_slice": "slice out of bounds",
    "tensor.insert": "index out of bounds",
    "tensor.insert_slice": "slice out of bounds, or of another size than what is inserted",
}


def _can_hold_checks(op: ir.Operation) -> bool:
    """Whether `rlx-lower-asserts` can deal with a check in front of ``op``."""
    parent = op.parent
    while parent is not None and parent.operation.name != "func.func":
        if parent.operation.name not in STRUCTURED or parent.operation.name.startswith("linalg."):
            return False
        parent = parent.operation.parent
    return parent is not None


def _equal(a: Size, b: Size) -> Iterator[ir.Value]:
    if not isinstance(a, int) or not isinstance(b, int):
        yield arith.cmpi(arith.CmpIPredicate.eq, emit.as_index(a), emit.as_index(b))


def _below(index: ir.Value, size: Size) -> ir.Value:
    """Unsigned, so that what is negative is too large as well."""
    return arith.cmpi(arith.CmpIPredicate.ult, index, emit.as_index(size))


def _is_tensor(value: ir.Value) -> bool:
    return isinstance(value.type, ir.RankedTensorType)


def _elementwise(op: ir.OpView) -> Iterator[ir.Value]:
    tensors = [value for value in op.operation.operands if _is_tensor(value)]
    for other in tensors[1:]:
        if other != tensors[0] and not (
            other.type.has_static_shape and tensors[0].type.has_static_shape
        ):
            for axis in range(tensors[0].type.rank):
                yield from _equal(emit.dim(tensors[0], axis), emit.dim(other, axis))


def _linalg(op: ir.OpView) -> Iterator[ir.Value]:
    operands = list(op.operation.operands)
    if all(not _is_tensor(v) or v.type.has_static_shape for v in operands):
        return
    sizes: dict[int, tuple[ir.Value, int]] = {}
    for value, map_ in zip(operands, linalg.get_indexing_maps(op.operation) or (), strict=False):
        if not _is_tensor(value):
            continue
        for axis, expr in enumerate(_map(map_).results):
            if not isinstance(expr, ir.AffineDimExpr):
                continue
            other, other_axis = sizes.setdefault(expr.position, (value, axis))
            if (other, other_axis) != (value, axis):
                yield from _equal(emit.dim(other, other_axis), emit.dim(value, axis))


def _map(map_: ir.AffineMapAttr | ir.AffineMap) -> ir.AffineMap:
    return map_.value if isinstance(map_, ir.AffineMapAttr) else map_


def _cast(op: ir.OpView) -> Iterator[ir.Value]:
    (source,) = op.operation.operands
    if not _is_tensor(source) or not _is_tensor(op.operation.results[0]):
        return
    for axis, size in enumerate(op.operation.results[0].type.shape):
        if size != _DYNAMIC:
            yield from _equal(emit.dim(source, axis), size)


def _extract(op: ir.OpView) -> Iterator[ir.Value]:
    tensor, *indices = op.operation.operands
    yield from _in_bounds(tensor, indices)


def _insert(op: ir.OpView) -> Iterator[ir.Value]:
    _, tensor, *indices = op.operation.operands
    yield from _in_bounds(tensor, indices)


def _in_bounds(tensor: ir.Value, indices: Sequence[ir.Value]) -> Iterator[ir.Value]:
    for axis, index in enumerate(indices):
        yield _below(index, emit.dim(tensor, axis))


def _extract_slice(op: ir.OpView) -> Iterator[ir.Value]:
    yield from _slice(op, op.operation.operands[0])


def _insert_slice(op: ir.OpView) -> Iterator[ir.Value]:
    source, target = list(op.operation.operands)[:2]
    sizes = yield from _slice(op, target)
    # The source may lack axes of size 1; then only static sizes could tell which.
    if source.type.rank == len(sizes):
        for axis, size in enumerate(sizes):
            yield from _equal(emit.dim(source, axis), size)


def _slice(op: ir.OpView, tensor: ir.Value) -> Generator[ir.Value, None, list[Size]]:
    """Checks that a slice lies inside of ``tensor``; returns its sizes."""
    offsets = _mixed(op.static_offsets, op.offsets)
    sizes = _mixed(op.static_sizes, op.sizes)
    strides = _mixed(op.static_strides, op.strides)
    for axis, (offset, size, stride) in enumerate(zip(offsets, sizes, strides, strict=True)):
        bound = emit.dim(tensor, axis)
        if all(isinstance(number, int) for number in (offset, size, stride, bound)):
            continue  # the verifier's
        zero = emit.index(0)
        signed = arith.CmpIPredicate.sge
        count = emit.as_index(size)
        if not isinstance(size, int):
            yield arith.cmpi(signed, count, zero)
        if not isinstance(offset, int):
            yield arith.cmpi(signed, emit.as_index(offset), zero)
        if isinstance(stride, int) and stride == 1:
            # Where offset and size are not negative this cannot overflow.
            room = arith.subi(emit.as_index(bound), emit.as_index(offset))
            yield arith.cmpi(arith.CmpIPredicate.sle, count, room)
        else:
            last = arith.addi(
                emit.as_index(offset),
                arith.muli(arith.subi(count, emit.index(1)), emit.as_index(stride)),
            )
            empty = arith.cmpi(arith.CmpIPredicate.eq, count, zero)
            yield arith.ori(empty, _below(last, bound))
    return sizes


def _mixed(static: Sequence[int], dynamic: Sequence[ir.Value]) -> list[Size]:
    values = iter(dynamic)
    return [next(values) if number == _DYNAMIC else number for number in static]


def _expand_shape(op: ir.OpView) -> Iterator[ir.Value]:
    source = op.operation.operands[0]
    sizes = _mixed(op.static_output_shape, op.output_shape)
    for axis, group in enumerate(op.reassociation):
        members = [sizes[ir.IntegerAttr(member).value] for member in group]
        if all(isinstance(size, int) for size in members):
            yield from _equal(emit.dim(source, axis), _product(members))
            continue
        product = emit.as_index(members[0])
        for size in members[1:]:
            product = arith.muli(product, emit.as_index(size))
        for size in members:
            if not isinstance(size, int):
                yield arith.cmpi(arith.CmpIPredicate.sge, size, emit.index(0))
        yield from _equal(emit.dim(source, axis), product)


def _product(sizes: Sequence[Size]) -> int:
    product = 1
    for size in sizes:
        product *= int(size)  # type: ignore[call-overload]
    return product


_CHECKS = {
    "tensor.cast": _cast,
    "tensor.expand_shape": _expand_shape,
    "tensor.extract": _extract,
    "tensor.extract_slice": _extract_slice,
    "tensor.insert": _insert,
    "tensor.insert_slice": _insert_slice,
}
