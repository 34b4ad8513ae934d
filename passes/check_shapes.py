"""`rlx-check-shapes`: sizes, indices and divisors that only the run can tell, checked."""

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from rlx.dialects import emit
from rlx.dialects.emit import Size
from rlx.host import arith, cf, ir, linalg, tensor
from rlx.passes.base import Pass, walk
from rlx.passes.lower_asserts import DIVISIONS, STRUCTURED

__all__ = ["CheckShapes"]

_DYNAMIC = ir.ShapedType.get_dynamic_size()


@dataclass(frozen=True)
class CheckShapes(Pass):
    """Makes reads and writes out of bounds, and divisions by zero, errors at run time.

    MLIR leaves it to whoever writes the IR that operands with dynamic sizes fit together and that
    indices are in range; where they do not, compiled code touches memory that is not its own. This
    pass puts a `cf.assert` in front of elementwise arithmetic, linalg ops, and ops of the tensor
    dialect that make tensors or look into them, where sizes are dynamic. Most are proved and
    vanish. Divisions of integers, which would end the process, get one where the divisor is not a
    constant. Bodies of linalg ops, and maps that are not linear, are for whoever writes them to
    guard. Our own ops bring their checks with them, so this runs before they are lowered.
    """

    name = "rlx-check-shapes"

    def run(self, op: ir.Operation) -> None:
        for found in walk(op):
            name = found.operation.name
            checks = _checks(name)
            if not checks or not _can_hold_checks(found.operation):
                continue
            for check, meaning in checks:
                with ir.InsertionPoint(found), found.location:
                    conditions = list(check(found))
                    if conditions:
                        holds = conditions[0]
                        for condition in conditions[1:]:
                            holds = arith.andi(holds, condition)
                        # Without a location: code from the cache may come from another file.
                        cf.assert_(holds, f"{name}: {meaning}")


def _checks(name: str) -> list[tuple["Check", str]]:
    """What to check before ops of that name, one after the other, and what it means."""
    if name in _CHECKS:
        return [_CHECKS[name]]
    if name.startswith("linalg."):
        return [(_linalg, _SIZES)]
    if not name.startswith(("arith.", "math.")):
        return []
    if name not in DIVISIONS:
        return [(_elementwise, _SIZES)]
    # Divisors are looked at when sizes are known to agree.
    return [(_elementwise, _SIZES), (_division, "division by zero, or overflow")]


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


def _division(op: ir.OpView) -> Iterator[ir.Value]:
    left, right = op.operation.operands
    signed = op.operation.name.endswith("si")
    if _is_harmless(right, signed):
        return
    if isinstance(right.type, ir.IntegerType | ir.IndexType):
        yield _divides(left, right, signed)
    elif _is_tensor(right):
        flag, rank = ir.IntegerType.get_signless(1), right.type.rank
        held = emit.generic(
            [left, right],
            emit.fill([], flag, True),
            [emit.axes(rank), emit.axes(rank), []],
            "r" * rank,
            lambda a, b, so_far: arith.andi(so_far, _divides(a, b, signed)),
        )
        yield tensor.extract(held, [])


def _is_harmless(divisor: ir.Value, signed: bool) -> bool:
    """Whether it is a constant that everything may be divided by."""
    owner = divisor.owner
    if isinstance(owner, ir.Block) or owner.name != "arith.constant":
        return False
    value = owner.attributes["value"]
    if isinstance(value, ir.DenseElementsAttr) and value.is_splat:
        value = value.get_splat_value()
    return isinstance(value, ir.IntegerAttr) and value.value not in ((0, -1) if signed else (0,))


def _divides(left: ir.Value, right: ir.Value, signed: bool) -> ir.Value:
    """Whether a scalar can be divided by another; the least number by -1 does not fit."""

    def differs(value: ir.Value, number: int) -> ir.Value:
        return arith.cmpi(arith.CmpIPredicate.ne, value, emit.constant(value.type, number))

    holds = differs(right, 0)
    if not signed:
        return holds
    width = 64 if isinstance(left.type, ir.IndexType) else left.type.width
    fits = arith.ori(differs(left, -(1 << (width - 1))), differs(right, -1))
    return arith.andi(holds, fits)


def _linalg(op: ir.OpView) -> Iterator[ir.Value]:
    operands = list(op.operation.operands)
    if all(not _is_tensor(v) or v.type.has_static_shape for v in operands):
        return
    sizes: dict[int, tuple[ir.Value, int]] = {}
    others: list[tuple[ir.AffineExpr, ir.Value, int]] = []
    for value, map_ in zip(operands, linalg.get_indexing_maps(op.operation) or (), strict=False):
        if not _is_tensor(value):
            continue
        for axis, expr in enumerate(_map(map_).results):
            if not isinstance(expr, ir.AffineDimExpr):
                others.append((expr, value, axis))
                continue
            other, other_axis = sizes.setdefault(expr.position, (value, axis))
            if (other, other_axis) != (value, axis):
                yield from _equal(emit.dim(other, other_axis), emit.dim(value, axis))
    loops = {loop: emit.as_index(emit.dim(*place)) for loop, place in sizes.items()}
    for expr, value, axis in others:
        used = re.findall(r"d\d+", str(expr))
        if len(used) == len(set(used)) and (reach := _range(expr, loops)):
            yield from _reaches(reach, loops, emit.dim(value, axis))


def _range(expr: ir.AffineExpr, loops: dict[int, ir.Value]) -> tuple[ir.Value, ir.Value] | None:
    """The least and the largest value of sums and multiples of different loops, if they all run."""
    if isinstance(expr, ir.AffineConstantExpr):
        return (emit.index(expr.value),) * 2
    if isinstance(expr, ir.AffineDimExpr):
        size = loops.get(expr.position)
        return None if size is None else (emit.index(0), arith.subi(size, emit.index(1)))
    if not isinstance(expr, ir.AffineAddExpr | ir.AffineMulExpr):
        return None
    left, right = (_range(part, loops) for part in (expr.lhs, expr.rhs))
    if left is None or right is None:
        return None
    if isinstance(expr, ir.AffineAddExpr):
        return arith.addi(left[0], right[0]), arith.addi(left[1], right[1])
    ends = [arith.muli(a, b) for a in left for b in right]
    least, most = ends[0], ends[0]
    for end in ends[1:]:
        least, most = arith.minsi(least, end), arith.maxsi(most, end)
    return least, most


def _reaches(
    reach: tuple[ir.Value, ir.Value], loops: dict[int, ir.Value], size: Size
) -> Iterator[ir.Value]:
    """Checks that indices stay below ``size``, where every loop runs."""
    holds = arith.andi(_below(reach[0], size), _below(reach[1], size))
    for count in loops.values():
        holds = arith.ori(holds, arith.cmpi(arith.CmpIPredicate.eq, count, emit.index(0)))
    yield holds


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
    source, *indices = op.operation.operands
    yield from _in_bounds(source, indices)


def _insert(op: ir.OpView) -> Iterator[ir.Value]:
    _, target, *indices = op.operation.operands
    yield from _in_bounds(target, indices)


def _in_bounds(value: ir.Value, indices: Sequence[ir.Value]) -> Iterator[ir.Value]:
    for axis, index in enumerate(indices):
        yield _below(index, emit.dim(value, axis))


def _extract_slice(op: ir.OpView) -> Iterator[ir.Value]:
    yield from _slice(op, op.operation.operands[0])


def _insert_slice(op: ir.OpView) -> Iterator[ir.Value]:
    source, target = list(op.operation.operands)[:2]
    sizes = yield from _slice(op, target)
    # The source may lack axes of size 1; then only static sizes could tell which.
    if source.type.rank == len(sizes):
        for axis, size in enumerate(sizes):
            yield from _equal(emit.dim(source, axis), size)


def _slice(op: ir.OpView, whole: ir.Value) -> Generator[ir.Value, None, list[Size]]:
    """Checks that a slice lies inside of ``whole``; returns its sizes."""
    offsets = _mixed(op.static_offsets, op.offsets)
    sizes = _mixed(op.static_sizes, op.sizes)
    strides = _mixed(op.static_strides, op.strides)
    for axis, (offset, size, stride) in enumerate(zip(offsets, sizes, strides, strict=True)):
        bound = emit.dim(whole, axis)
        if all(isinstance(number, int) for number in (offset, size, stride, bound)):
            continue  # the verifier's
        count = emit.as_index(size)
        if not isinstance(size, int):
            yield _not_negative(count)
        if not isinstance(offset, int):
            yield _not_negative(emit.as_index(offset))
        if isinstance(stride, int) and stride == 1:
            # Where offset and size are not negative this cannot overflow.
            room = arith.subi(emit.as_index(bound), emit.as_index(offset))
            yield arith.cmpi(arith.CmpIPredicate.sle, count, room)
        else:
            last = arith.addi(
                emit.as_index(offset),
                arith.muli(arith.subi(count, emit.index(1)), emit.as_index(stride)),
            )
            empty = arith.cmpi(arith.CmpIPredicate.eq, count, emit.index(0))
            yield arith.ori(empty, _below(last, bound))
    return sizes


def _mixed(static: Sequence[int], dynamic: Sequence[ir.Value]) -> list[Size]:
    values = iter(dynamic)
    return [next(values) if number == _DYNAMIC else number for number in static]


def _extents(op: ir.OpView) -> Iterator[ir.Value]:
    """Checks that a new tensor has no negative size: all that follows takes sizes for unsigned."""
    operands = list(op.operation.operands)
    for operand in operands[1:] if op.operation.name == "tensor.splat" else operands:
        if isinstance(operand.type, ir.IndexType) and not _is_size(operand):
            yield _not_negative(operand)


def _not_negative(number: ir.Value) -> ir.Value:
    return arith.cmpi(arith.CmpIPredicate.sge, number, emit.index(0))


def _is_size(value: ir.Value) -> bool:
    """Whether a value is made of sizes, and so is not negative."""
    pending, seen = [value], {value}
    while pending:
        owner = pending.pop().owner
        if isinstance(owner, ir.Block):
            return False
        if owner.name in _GROWING:
            new = set(owner.operands) - seen
            seen |= new
            pending += new
        elif owner.name == "arith.constant":
            if ir.IntegerAttr(owner.attributes["value"]).value < 0:
                return False
        elif owner.name != "tensor.dim":
            return False
    return True


_GROWING = {*DIVISIONS, "arith.addi", "arith.muli", "arith.maxsi", "arith.minsi"}


def _dim(op: ir.OpView) -> Iterator[ir.Value]:
    value, axis = op.operation.operands
    constant = not isinstance(axis.owner, ir.Block) and axis.owner.name == "arith.constant"
    if _is_tensor(value) and not constant:
        yield _below(axis, value.type.rank)


def _concat(op: ir.OpView) -> Iterator[ir.Value]:
    operands, result = list(op.operation.operands), op.operation.results[0].type
    along = ir.IntegerAttr(op.operation.attributes["dim"]).value
    for axis, size in enumerate(result.shape):
        sizes = [emit.dim(operand, axis) for operand in operands]
        if axis == along:
            total = sizes[0]
            for other in sizes[1:]:
                total = emit.add(total, other)
            sizes = [total]
        if size != _DYNAMIC:
            sizes.insert(0, size)
        for other in sizes[1:]:
            yield from _equal(sizes[0], other)


def _pad(op: ir.OpView) -> Iterator[ir.Value]:
    source, result = op.operation.operands[0], op.operation.results[0].type
    low, high = _mixed(op.static_low, op.low), _mixed(op.static_high, op.high)
    for axis, sides in enumerate(zip(low, high, strict=True)):
        for side in sides:
            if not isinstance(side, int) and not _is_size(side):
                yield _not_negative(side)
        if result.shape[axis] != _DYNAMIC:
            padded = emit.add(emit.add(emit.dim(source, axis), sides[0]), sides[1])
            yield from _equal(padded, result.shape[axis])


def _reshape(op: ir.OpView) -> Iterator[ir.Value]:
    source, shape = op.operation.operands
    old, new = emit.index(1), emit.index(1)
    for axis in range(source.type.rank):
        old = arith.muli(old, emit.as_index(emit.dim(source, axis)))
    for axis, size in enumerate(op.operation.results[0].type.shape):
        given = tensor.extract(shape, [emit.index(axis)])
        if not isinstance(given.type, ir.IndexType):
            given = emit.to_index(given)
        yield _not_negative(given)
        if size != _DYNAMIC:
            yield from _equal(given, size)
        new = arith.muli(new, given)
    yield from _equal(old, new)


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
                yield _not_negative(size)
        yield from _equal(emit.dim(source, axis), product)


def _product(sizes: Sequence[Size]) -> int:
    product = 1
    for size in sizes:
        product *= int(size)  # type: ignore[call-overload]
    return product


Check = Callable[[ir.OpView], Iterator[ir.Value]]

_SIZES = "sizes do not agree"
_CHECKS: dict[str, tuple[Check, str]] = {
    "bufferization.alloc_tensor": (_extents, "negative size"),
    "tensor.cast": (_cast, "a size is not the one that the type says"),
    "tensor.concat": (_concat, _SIZES),
    "tensor.dim": (_dim, "no such axis"),
    "tensor.empty": (_extents, "negative size"),
    "tensor.expand_shape": (_expand_shape, "sizes do not multiply to the size that is expanded"),
    "tensor.extract": (_extract, "index out of bounds"),
    "tensor.extract_slice": (_extract_slice, "slice out of bounds"),
    "tensor.generate": (_extents, "negative size"),
    "tensor.insert": (_insert, "index out of bounds"),
    "tensor.insert_slice": (
        _insert_slice,
        "slice out of bounds, or of another size than what is inserted",
    ),
    "tensor.pad": (_pad, "negative padding, or a size that is not the one that the type says"),
    "tensor.reshape": (_reshape, "the sizes are not for that many elements"),
    "tensor.splat": (_extents, "negative size"),
}
