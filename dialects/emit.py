"""Small builders for linalg on tensors, used by the plain lowerings.

Sizes are ``int`` where the type knows them and ``index`` values where it does not, so one lowering
serves static and dynamic shapes.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from rlx.dialects.types import DYNAMIC, is_static
from rlx.host import arith, cf, ir, linalg, scf, tensor

__all__ = [
    "Size",
    "add",
    "all_of",
    "as_index",
    "axes",
    "cast",
    "clamp",
    "constant",
    "convert",
    "convert_tensor",
    "dim",
    "empty",
    "extract_slice",
    "fill",
    "fit",
    "generic",
    "guard",
    "guarded",
    "index",
    "insert_slice",
    "join_axes",
    "known_equal",
    "reassoc",
    "require",
    "sizes",
    "smaller",
    "split_axis",
    "subtract",
    "to_float",
    "to_index",
]

Size: TypeAlias = int | ir.Value


def reassoc() -> ir.Attribute:
    """Fast-math flags of a reduction: sums may be reordered and products fused into them."""
    return ir.Attribute.parse("#arith.fastmath<reassoc,contract>")


def index(value: int) -> ir.Value:
    return arith.constant(ir.IndexType.get(), value)


def constant(type: ir.Type, value: float | int | bool) -> ir.Value:
    """A scalar constant of any float, integer or index type."""
    if isinstance(type, ir.IntegerType | ir.IndexType):
        return arith.constant(type, int(value))
    return arith.constant(type, float(value))


def as_index(size: Size) -> ir.Value:
    return index(size) if isinstance(size, int) else size


def dim(value: ir.Value, axis: int) -> Size:
    """The size of ``axis``: an ``int`` when static.

    A dynamic one is looked up as near to the function's arguments as possible, so that sizes from
    one place are seen to be equal without a check.
    """
    size = value.type.shape[axis]
    if is_static(size):
        return size
    source = _same_size(value, axis)
    return tensor.dim(value, index(axis)) if source is None else as_index(source)


def _same_size(value: ir.Value, axis: int) -> Size | None:
    """The size that ``axis`` got where ``value`` was made, if that can be told."""
    if isinstance(value.owner, ir.Block):
        return None
    op = value.owner.operation
    if op.name in ("linalg.generic", "linalg.fill"):
        return dim(op.operands[len(op.operands) - 1], axis)
    if op.name == "tensor.insert_slice":
        return dim(op.operands[1], axis)
    if op.name in ("tensor.cast", "rlx.rope"):
        return dim(op.operands[0], axis)
    if op.name == "tensor.empty":
        dynamic = [i for i, size in enumerate(value.type.shape) if not is_static(size)]
        return op.operands[dynamic.index(axis)]
    if op.name == "tensor.extract_slice" and value.type.rank == op.operands[0].type.rank:
        before = [size for size in value.type.shape[:axis] if not is_static(size)]
        return op.opview.sizes[len(before)]
    if op.name in ("tensor.collapse_shape", "tensor.expand_shape"):
        groups = [[i.value for i in group] for group in op.attributes["reassociation"]]
        if op.name == "tensor.collapse_shape" and len(groups[axis]) == 1:
            return dim(op.operands[0], groups[axis][0])
        if op.name == "tensor.expand_shape" and [axis] in groups:
            return dim(op.operands[0], groups.index([axis]))
    return None


def sizes(value: ir.Value) -> list[Size]:
    return [dim(value, axis) for axis in range(value.type.rank)]


def known_equal(a: Size, b: Size) -> bool:
    """Whether two sizes are the same number, or the same size of the same tensor."""
    return _origin(a) == _origin(b)


def _origin(size: Size) -> Any:
    if isinstance(size, int) or isinstance(size.owner, ir.Block):
        return size
    op = size.owner.operation
    if op.name == "arith.constant":
        return ir.IntegerAttr(op.attributes["value"]).value
    if op.name == "tensor.dim":
        return op.operands[0], _origin(op.operands[1])
    return size


def _static(shape: Sequence[Size]) -> list[int]:
    return [size if isinstance(size, int) else DYNAMIC for size in shape]


def empty(shape: Sequence[Size], element_type: ir.Type) -> ir.Value:
    return tensor.empty(list(shape), element_type)


def fill(shape: Sequence[Size], element_type: ir.Type, value: float | int | bool) -> ir.Value:
    init = empty(shape, element_type)
    return linalg.fill(constant(element_type, value), outs=[init])


def add(a: Size, b: Size) -> Size:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return arith.addi(as_index(a), as_index(b))


def subtract(a: Size, b: Size) -> Size:
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    return arith.subi(as_index(a), as_index(b))


def smaller(a: Size, b: Size) -> Size:
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    return arith.minsi(as_index(a), as_index(b))


def clamp(value: ir.Value, low: Size, high: Size) -> ir.Value:
    """An index forced into [low, high]; ``low`` wins when that is empty."""
    return arith.maxsi(arith.minsi(value, as_index(high)), as_index(low))


def to_index(value: ir.Value) -> ir.Value:
    """An i32 or i64 scalar as an index."""
    return arith.index_cast(ir.IndexType.get(), value)


def to_float(size: Size, type: ir.Type) -> ir.Value:
    """A size as a float scalar."""
    if isinstance(size, int):
        return constant(type, size)
    return arith.sitofp(type, arith.index_cast(ir.IntegerType.get_signless(64), size))


def require(condition: ir.Value, message: str) -> None:
    """Makes a false condition an error at run time.

    What follows still runs, so it must not depend on the condition to stay in bounds.
    """
    cf.assert_(condition, message)


def guard(condition: ir.Value, value: ir.Value, shape: Sequence[Size], message: str) -> ir.Value:
    """Requires ``condition``, which implies that ``value`` has the sizes ``shape``.

    The result has them in any case: it is some other tensor when the condition is false.
    """
    require(condition, message)
    type = ir.RankedTensorType.get(_static(shape), value.type.element_type)
    branch = scf.IfOp(condition, [type], has_else=True)
    with ir.InsertionPoint(branch.then_block):
        scf.yield_([value if value.type == type else tensor.cast(type, value)])
    with ir.InsertionPoint(branch.else_block):
        scf.yield_([empty(shape, type.element_type)])
    return branch.results[0]


def fit(value: ir.Value, shape: Sequence[Size], message: str) -> ir.Value:
    """``value``, whose sizes must be ``shape``: checked at run time where the types do not tell."""
    holds: ir.Value | None = None
    for axis, wanted in enumerate(shape):
        actual = dim(value, axis)
        if known_equal(actual, wanted):
            continue
        same = arith.cmpi(arith.CmpIPredicate.eq, as_index(actual), as_index(wanted))
        holds = same if holds is None else arith.andi(holds, same)
    return value if holds is None else guard(holds, value, shape, message)


def all_of(value: ir.Value, predicate: Callable[[ir.Value], ir.Value]) -> ir.Value:
    """Whether ``predicate`` (scalar to i1) holds for every element of a tensor."""
    flag = ir.IntegerType.get_signless(1)
    rank = value.type.rank
    held = generic(
        [value],
        fill([], flag, True),
        [axes(rank), []],
        "r" * rank,
        lambda scalar, so_far: arith.andi(so_far, predicate(scalar)),
    )
    return tensor.extract(held, [])


def cast(value: ir.Value, type: ir.Type) -> ir.Value:
    """``value`` in a type that differs in static sizes only; new ones are checked at run time."""
    if value.type == type:
        return value
    shape = [size if is_static(size) else dim(value, i) for i, size in enumerate(type.shape)]
    value = fit(value, shape, f"the result must be of type {type}")
    return value if value.type == type else tensor.cast(type, value)


def axes(count: int) -> list[ir.AffineExpr]:
    """The first ``count`` loops, as an indexing map of :func:`generic`."""
    return [ir.AffineExpr.get_dim(i) for i in range(count)]


def convert(value: ir.Value, type: ir.Type) -> ir.Value:
    """A float scalar in another float type."""
    if value.type == type:
        return value
    return (arith.extf if type.width > value.type.width else arith.truncf)(type, value)


def convert_tensor(value: ir.Value, element_type: ir.Type) -> ir.Value:
    """A float tensor in another float type."""
    if value.type.element_type == element_type:
        return value
    rank = value.type.rank
    return generic(
        [value],
        empty(sizes(value), element_type),
        [axes(rank), axes(rank)],
        "p" * rank,
        lambda scalar, _: convert(scalar, element_type),
    )


def generic(
    inputs: Sequence[ir.Value],
    init: ir.Value,
    maps: Sequence[Sequence[ir.AffineExpr]],
    iterators: str,
    body: Callable[..., ir.Value],
) -> ir.Value:
    """``linalg.generic`` with one result.

    Args:
        inputs: the tensors that are read.
        init: the tensor that is written (and read, for reductions).
        maps: one per input, then one for ``init``: the affine expressions of each axis.
        iterators: a letter per loop, ``p`` for parallel and ``r`` for reduction, outermost first.
        body: takes one scalar per input and the current output scalar, returns the new one.
    """
    loops = len(iterators)
    affine = [
        m if isinstance(m, ir.AffineMap) else ir.AffineMap.get(loops, 0, list(m)) for m in maps
    ]
    kinds = {"p": "parallel", "r": "reduction"}
    op = linalg.GenericOp(
        [init.type],
        list(inputs),
        [init],
        ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in affine]),
        ir.ArrayAttr.get(
            [ir.Attribute.parse(f"#linalg.iterator_type<{kinds[i]}>") for i in iterators]
        ),
    )
    scalars = [value.type.element_type for value in (*inputs, init)]
    block = op.regions[0].blocks.append(*scalars)
    with ir.InsertionPoint(block):
        linalg.YieldOp([body(*block.arguments)])
    return op.results[0]


def _split(values: Sequence[Size]) -> tuple[list[ir.Value], list[int]]:
    dynamic = [value for value in values if not isinstance(value, int)]
    return dynamic, _static(values)


def extract_slice(source: ir.Value, offsets: Sequence[Size], shape: Sequence[Size]) -> ir.Value:
    """A unit-stride slice of the same rank."""
    if 0 in shape or 0 in source.type.shape:
        # Nothing to read, and no offset is valid on an axis without elements.
        return empty(shape, source.type.element_type)
    dynamic_offsets, static_offsets = _split(offsets)
    dynamic_sizes, static_sizes = _split(shape)
    type = ir.RankedTensorType.get(static_sizes, source.type.element_type)
    ones = [1] * source.type.rank
    return tensor.extract_slice(
        type, source, dynamic_offsets, dynamic_sizes, [], static_offsets, static_sizes, ones
    )


def insert_slice(source: ir.Value, into: ir.Value, offsets: Sequence[Size]) -> ir.Value:
    """``into`` with ``source`` written at ``offsets``, unit stride."""
    if 0 in source.type.shape:
        return into
    dynamic_offsets, static_offsets = _split(offsets)
    dynamic_sizes, static_sizes = _split(sizes(source))
    ones: list[Any] = [1] * into.type.rank
    return tensor.insert_slice(
        source, into, dynamic_offsets, dynamic_sizes, [], static_offsets, static_sizes, ones
    )


def _with_split(rank: int, axis: int) -> list[list[int]]:
    """Reassociation of ``rank`` axes where ``axis`` corresponds to two."""
    return [[i] if i < axis else [i, i + 1] if i == axis else [i + 1] for i in range(rank)]


def split_axis(value: ir.Value, axis: int, parts: Sequence[Size]) -> ir.Value:
    """A reshape of one axis into two, whose sizes multiply to its own."""
    shape = sizes(value)
    shape[axis : axis + 1] = parts
    dynamic, static = _split(shape)
    return tensor.expand_shape(
        ir.RankedTensorType.get(static, value.type.element_type),
        value,
        _with_split(value.type.rank, axis),
        dynamic,
        static,
    )


def join_axes(value: ir.Value, axis: int) -> ir.Value:
    """A reshape of ``axis`` and the next one into one axis."""
    shape = list(value.type.shape)
    pair = shape[axis : axis + 2]
    shape[axis : axis + 2] = [pair[0] * pair[1] if all(map(is_static, pair)) else DYNAMIC]
    return tensor.collapse_shape(
        ir.RankedTensorType.get(shape, value.type.element_type),
        value,
        _with_split(value.type.rank - 1, axis),
    )


def guarded(source: ir.Value, element_type: ir.Type) -> Callable[..., ir.Value]:
    """A function that reads ``source`` at run-time indices, inside a body of :func:`generic`.

    An element outside of ``source`` reads as zero; memory outside of it is never touched. Floats
    are converted to ``element_type`` as they are read.
    """
    bounds = [as_index(size) for size in sizes(source)]

    def read(*indices: ir.Value) -> ir.Value:
        # Unsigned, so that negative indices are outside as well.
        ult = arith.CmpIPredicate.ult
        inside = constant(ir.IntegerType.get_signless(1), True)
        for i, bound in zip(indices, bounds, strict=True):
            inside = arith.andi(inside, arith.cmpi(ult, i, bound))
        branch = scf.IfOp(inside, [element_type], has_else=True)
        with ir.InsertionPoint(branch.then_block):
            scf.YieldOp([convert(tensor.extract(source, list(indices)), element_type)])
        with ir.InsertionPoint(branch.else_block):
            scf.YieldOp([constant(element_type, 0)])
        return branch.results[0]

    return read
