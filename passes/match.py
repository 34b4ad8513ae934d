"""What the fusion passes share: reading tensor IR element by element.

A front end may write the same thing in many ways: slices and concatenations, reshapes and
transposes, broadcasts, one `linalg.generic` per operation or one for all. Instead of one pattern
per spelling, the passes ask where elements come from. :func:`elements` starts with all elements of
a tensor, :func:`origins` follows them backwards through ops that only move them, and
:func:`operation` says how an element is computed.

Batch and sequence axes are *free*: they may be dynamic and are followed as a whole. All other axes
are enumerated, one *lane* per position in row-major order, so that the columns of a tensor become
arrays that a pass compares with the columns it expects.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rlx.dialects.types import is_static
from rlx.host import ir
from rlx.passes.views import (
    VIEWS,
    Axis,
    Index,
    at_constant,
    at_free,
    kind,
    producer,
    size_from,
    size_of,
)

__all__ = [
    "CASTS",
    "NEGATION",
    "Node",
    "Source",
    "all_elements",
    "as_columns",
    "constant",
    "elements",
    "enter",
    "expand",
    "into_body",
    "is_tensor",
    "leaves",
    "maps_of",
    "operation",
    "origins",
    "out_of_body",
    "sources",
]

CASTS = frozenset({"arith.extf", "arith.truncf"})
NEGATION = "arith.negf"

_MOST_LANES = 1 << 17

# Named linalg ops that compute each element from the elements at the same place.
_ELEMENTWISE = (
    "linalg.abs",
    "linalg.add",
    "linalg.copy",
    "linalg.div",
    "linalg.elementwise",
    "linalg.erf",
    "linalg.exp",
    "linalg.map",
    "linalg.max",
    "linalg.mul",
    "linalg.negf",
    "linalg.powf",
    "linalg.reciprocal",
    "linalg.rsqrt",
    "linalg.select",
    "linalg.sqrt",
    "linalg.square",
    "linalg.sub",
    "linalg.tanh",
)


@dataclass(frozen=True, eq=False)
class Node:
    """Elements of a tensor, or a scalar inside the body of a linalg op, one per lane.

    Attributes:
        value: the tensor or scalar.
        index: where in the tensor, or at which iteration of the loops around the scalar.
        lanes: which elements of the tensor that :func:`elements` started with these are.
        sign: -1 when :func:`expand` went through a negation.
    """

    value: ir.Value
    index: Index
    lanes: np.ndarray
    sign: int = 1

    def select(self, keep: np.ndarray) -> "Node":
        """The lanes where ``keep`` holds."""
        index = tuple(at if isinstance(at, int) else at[keep] for at in self.index)
        return replace(self, index=index, lanes=self.lanes[keep])


def is_tensor(value: ir.Value) -> bool:
    return isinstance(value.type, ir.RankedTensorType)


def elements(value: ir.Value, free: Sequence[int]) -> Node | None:
    """All elements of a tensor.

    Args:
        value: the tensor.
        free: the axes that are followed as a whole; the others must be static.
    """
    shape = list(value.type.shape)
    counted = [axis for axis in range(len(shape)) if axis not in free]
    if not all(is_static(shape[axis]) for axis in counted):
        return None
    sizes = [shape[axis] for axis in counted]
    count = int(np.prod(sizes, dtype=np.int64))
    if not 0 < count <= _MOST_LANES:
        return None
    lanes = np.arange(count)
    positions = dict(zip(counted, np.unravel_index(lanes, sizes) if sizes else (), strict=True))
    index = [
        at_free(list(free).index(axis), shape[axis], count) if axis in free else positions[axis]
        for axis in range(len(shape))
    ]
    return Node(value, tuple(index), lanes)


def all_elements(value: ir.Value) -> Node:
    """All elements of a tensor, every axis followed as a whole."""
    index = tuple(at_free(axis, size, 1) for axis, size in enumerate(value.type.shape))
    return Node(value, index, np.arange(1))


def _at(value: ir.Value, index: Index, lanes: np.ndarray, sign: int) -> Node:
    """A node on a tensor; axes of size 1 get their zeros."""
    shape = value.type.shape
    fixed = [
        at_constant(len(lanes), 0) if size == 1 else at
        for at, size in zip(index, shape, strict=True)
    ]
    return Node(value, tuple(fixed), lanes, sign)


# -- bodies of linalg ops --------------------------------------------------------------------------


def maps_of(op: Any) -> list[list[ir.AffineExpr]] | None:
    """The indexing maps of a linalg op; None stands for identities."""
    if "indexing_maps" not in op.attributes:
        return None
    return [list(attribute.value.results) for attribute in op.attributes["indexing_maps"]]


def _is_parallel(op: Any) -> bool:
    if kind(op) != "linalg.generic":
        return kind(op) in _ELEMENTWISE
    return all("parallel" in str(kind) for kind in op.attributes["iterator_types"])


def _loops_at(results: Sequence[ir.AffineExpr], index: Index) -> Index | None:
    """The loop iteration that writes the element at ``index`` of an output."""
    loops: dict[int, Axis] = {}
    for result, at in zip(results, index, strict=True):
        if not isinstance(result, ir.AffineDimExpr):
            return None
        loops[result.position] = at
    if sorted(loops) != list(range(len(index))):
        return None
    return tuple(loops[position] for position in range(len(index)))


def _index_at(
    results: Sequence[ir.AffineExpr] | None, loops: Index, lanes: np.ndarray
) -> Index | None:
    """The element of an input that the loop iteration ``loops`` reads."""
    if results is None:
        return loops
    index: list[Axis] = []
    for result in results:
        if isinstance(result, ir.AffineDimExpr):
            index.append(loops[result.position])
        elif isinstance(result, ir.AffineConstantExpr):
            index.append(at_constant(len(lanes), result.value))
        else:
            return None
    return tuple(index)


def into_body(node: Node) -> Node | None:
    """From an element of an elementwise linalg op's result to the scalar that is yielded."""
    op = producer(node.value)
    if not kind(op).startswith("linalg.") or len(op.regions) != 1:
        return None
    if not _is_parallel(op):
        return None
    number = node.value.result_number
    maps = maps_of(op)
    loops: Index | None = node.index
    if maps is not None:
        loops = _loops_at(maps[len(maps) - len(op.results) + number], node.index)
    body = list(op.regions[0].blocks[0].operations)
    if loops is None or not body or len(body[-1].operands) != len(op.results):
        return None
    return Node(body[-1].operands[number], loops, node.lanes, node.sign)


def out_of_body(node: Node) -> Node | None:
    """From an argument of a linalg op's body to the element of the operand it stands for."""
    value = node.value
    if not isinstance(value, ir.BlockArgument) or is_tensor(value):
        return None
    op = value.owner.owner.opview
    if not kind(op).startswith("linalg.") or value.arg_number >= len(op.operands):
        return None
    operand, maps = op.operands[value.arg_number], maps_of(op)
    index = _index_at(maps and maps[value.arg_number], node.index, node.lanes)
    if index is None or not is_tensor(operand):
        return None
    return _at(operand, index, node.lanes, node.sign)


def enter(node: Node) -> Node:
    """``node`` as the op that computes it sees it.

    Steps into the bodies of elementwise linalg ops and out of them through their arguments, until
    a scalar that is computed in a body, or a tensor that some other op makes.
    """
    while True:
        following = into_body(node) if is_tensor(node.value) else out_of_body(node)
        if following is None:
            return node
        node = following


def operation(node: Node) -> tuple[Any, list[Node]] | None:
    """The arith or math op that computes the elements, and its operands; None for other ops.

    On tensors or scalars alike. Views and casts are not looked through.
    """
    node = enter(node)
    op = producer(node.value)
    if op is None or not kind(op).startswith(("arith.", "math.")) or kind(op) == "arith.constant":
        return None
    operands = [replace(node, value=operand, sign=1) for operand in op.operands]
    return op, [out_of_body(operand) or operand for operand in operands]


# -- moving backwards ------------------------------------------------------------------------------


def expand(node: Node, through: frozenset[str] = frozenset()) -> list[Node] | None:
    """One step backwards from elements of a tensor; None when an op computes them.

    Goes through ops that only move elements, copying linalg ops included, and through the arith
    ops named in ``through``; a negation flips the sign.
    """
    op = producer(node.value)
    if op is None:
        return None
    if kind(op) in VIEWS:
        steps = VIEWS[kind(op)](op, node.index)
        if steps is None:
            return None
        return [
            _at(value, index, node.lanes if keep is None else node.lanes[keep], node.sign)
            for value, index, keep in steps
        ]
    if kind(op) in through:
        return [_through(op, node)]
    inside = into_body(node)
    while inside is not None and not is_tensor(inside.value):
        op = producer(inside.value)
        if op is None:
            inside = out_of_body(inside)
        elif kind(op) == "tensor.extract":
            inside = _gathered(op, inside, node.value)
        else:
            inside = _through(op, inside) if kind(op) in through else None
    return None if inside is None else [inside]


def _gathered(op: Any, node: Node, result: ir.Value) -> Node | None:
    """The element of another tensor that a body reads, at its own place or a constant one.

    Args:
        op: the `tensor.extract`.
        node: its result.
        result: what the body computes, with as many axes as there are loops.
    """
    source, *places = op.operands
    index: list[Axis] = []
    for axis, place in enumerate(places):
        at = producer(place)
        if at is not None and kind(at) == "arith.select" and _is_size_one(at, source, axis):
            at = producer(at.operands[2])
        number = None if at is None else constant(replace(node, value=at.results[0]))
        if number is not None:
            index.append(at_constant(len(node.lanes), int(number)))
            continue
        if kind(at) != "linalg.index" or result.type.rank != len(node.index):
            return None
        loop = ir.IntegerAttr(at.attributes["dim"]).value
        if size_of(source, axis) != size_of(result, loop):
            return None
        index.append(node.index[loop])
    return _at(source, tuple(index), node.lanes, node.sign)


def _is_size_one(op: Any, source: ir.Value, axis: int) -> bool:
    """Whether a selection takes index 0 where the axis has size 1, as broadcasts do."""
    compare = producer(op.operands[0])
    if kind(compare) != "arith.cmpi":
        return False
    size, one = compare.operands
    return (
        ir.IntegerAttr(compare.attributes["predicate"]).value == 0
        and size_from(one) == 1
        and size_from(size) == size_of(source, axis)
        and size_from(op.operands[1]) == 0
    )


def _through(op: Any, node: Node) -> Node:
    sign = -node.sign if kind(op) == NEGATION else node.sign
    return replace(node, value=op.operands[0], sign=sign)


def origins(
    nodes: Node | Sequence[Node], through: frozenset[str] = frozenset()
) -> dict[ir.Value, list[Node]]:
    """The tensors that all the elements have come from, nearest first, with where in them."""
    if not isinstance(nodes, Node):
        found = [origins(node, through) for node in nodes]
        shared = [v for v in found[0] if all(v in other for other in found)] if found else []
        return {value: [n for each in found for n in each[value]] for value in shared}
    pieces = expand(nodes, through)
    rest = origins(pieces, through) if pieces else {}
    return {nodes.value: [nodes], **rest}


def leaves(nodes: Sequence[Node], through: frozenset[str] = frozenset()) -> Iterator[Node]:
    """The elements as far back as they can be followed."""
    for node in nodes:
        pieces = expand(node, through)
        if pieces:
            yield from leaves(pieces, through)
        else:
            yield node


@dataclass(frozen=True, eq=False)
class Source:
    """A tensor that all lanes come from, seen as rows of columns.

    Attributes:
        value: the tensor.
        layout: for each of its axes the number of the free axis it is, or None for an axis that is
            part of the columns.
        columns: for each lane its column, counted row-major over the axes that are not free.
        width: how many columns there are.
        lanes: the lanes, ascending.
        signs: for each lane, -1 if it comes through a negation.
    """

    value: ir.Value
    layout: tuple[int | None, ...]
    columns: np.ndarray
    width: int
    lanes: np.ndarray
    signs: np.ndarray


def sources(nodes: Sequence[Node], through: frozenset[str] = frozenset()) -> Iterator[Source]:
    """Every tensor that all the elements have come from, nearest first, as columns."""
    for value, found in origins(nodes, through).items():
        source = as_columns(value, found)
        if source is not None:
            yield source


def as_columns(value: ir.Value, nodes: Sequence[Node]) -> Source | None:
    """``nodes``, all on ``value``, as columns; None when they treat the axes differently."""
    shape = list(value.type.shape)
    layouts = {tuple(at if isinstance(at, int) else None for at in n.index) for n in nodes}
    if len(layouts) != 1:
        return None
    (layout,) = layouts
    free = [axis for axis in layout if axis is not None]
    counted = [axis for axis, number in enumerate(layout) if number is None]
    if len(set(free)) != len(free) or not all(is_static(shape[axis]) for axis in counted):
        return None
    width = int(np.prod([shape[axis] for axis in counted], dtype=np.int64))
    lanes = np.concatenate([node.lanes for node in nodes])
    columns = np.concatenate([_columns(node, counted, shape) for node in nodes])
    signs = np.concatenate([np.full(len(node.lanes), node.sign) for node in nodes])
    order = np.argsort(lanes, kind="stable")
    return Source(value, layout, columns[order], width, lanes[order], signs[order])


def _columns(node: Node, counted: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    total = at_constant(len(node.lanes), 0)
    for axis in counted:
        total = total * shape[axis] + node.index[axis]
    return total


# -- constants -------------------------------------------------------------------------------------


def _literal(attribute: ir.Attribute) -> float | None:
    if isinstance(attribute, ir.FloatAttr | ir.IntegerAttr):
        return float(attribute.value)
    if isinstance(attribute, ir.DenseElementsAttr) and attribute.is_splat:
        return _literal(attribute.get_splat_value())
    return None


def constant(node: Node) -> float | None:
    """The number that all the elements are, or None."""
    node = enter(node)
    op = producer(node.value)
    if op is None:
        return None
    if kind(op) == "arith.constant":
        return _literal(op.attributes["value"])
    if kind(op) in CASTS or kind(op) in (
        "tensor.splat",
        "linalg.fill",
        "arith.sitofp",
    ):
        return constant(replace(node, value=op.operands[0]))
    pieces = expand(node) if is_tensor(node.value) else None
    return constant(pieces[0]) if pieces and len(pieces) == 1 else None
