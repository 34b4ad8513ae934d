"""Rotary embeddings that are put together from parts: what happens to each column."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rlx.dialects.rope import RopeOp
from rlx.host import ir
from rlx.passes.match import (
    CASTS,
    NEGATION,
    Node,
    Source,
    as_columns,
    constant,
    enter,
    expand,
    operation,
    origins,
    sources,
)
from rlx.passes.views import kind, producer

__all__ = [
    "FIRST",
    "NONE",
    "PASSED",
    "SECOND",
    "SUMS",
    "WIDEN",
    "Lanes",
    "Part",
    "Refused",
    "common_inputs",
    "is_sum",
    "layout",
    "parts_of",
]

SUMS = ("arith.addf", "arith.subf")

WIDEN = frozenset({"arith.extf"})
_TO_INPUT = WIDEN | {NEGATION}

PASSED, FIRST, SECOND = range(3)
"""What happens to a column: nothing, or it is the first or second of a pair."""

NONE = -1
"""No column."""


class Refused(Exception):
    """The elements are no rotary embedding. The text completes the sentence "... stays"."""

    def __init__(self, message: str, progress: int):
        super().__init__(message)
        self.progress = progress


@dataclass(frozen=True)
class Part:
    """Lanes of the result that are computed alike.

    Attributes:
        node: the lanes; elements of a rope's result, of a sum, or of a tensor that passes through.
        rope: the `rlx.rope`, or None.
        products: the two products of a sum: sign and factors.
    """

    node: Node
    rope: RopeOp | None = None
    products: tuple[tuple[int, Node, Node], ...] = ()

    @property
    def rotates(self) -> bool:
        return self.rope is not None or bool(self.products)


def parts_of(node: Node) -> tuple[list[Part], list[int]]:
    """The result, as far back as rotations; what does not rotate is not followed.

    Also the numbers of columns that are put together of both, at each place where this happens.
    """
    mixed: list[int] = []
    return _parts_of(node, mixed), mixed


def _parts_of(node: Node, mixed: list[int]) -> list[Part]:
    op = producer(node.value)
    if isinstance(op, RopeOp):
        return [Part(node, rope=op)]
    if is_sum(node):
        sums = _products(node)
        if sums is not None and all(len(products) == 2 for _, products in sums):
            return [
                Part(node.select(np.isin(node.lanes, each.lanes)), products=tuple(products))
                for each, products in sums
            ]
    pieces = expand(node, CASTS) or []
    found = [part for piece in pieces for part in _parts_of(piece, mixed)]
    if not any(part.rotates for part in found):
        return [Part(node)]
    if len(pieces) > 1 and not all(part.rotates for part in found):
        mixed.append(len(node.lanes))
    return found


def is_sum(node: Node) -> bool:
    """Whether the elements are sums or differences, casts aside."""
    computed = operation(node)
    while computed is not None and kind(computed[0]) in CASTS:
        computed = operation(computed[1][0])
    return computed is not None and kind(computed[0]) in SUMS


_Products = list[tuple[int, Node, Node]]


def _products(node: Node) -> list[tuple[Node, _Products]] | None:
    """The elements as sums of at most two signed products; None when they are not."""
    computed = operation(node)
    if computed is None:
        found: list[tuple[Node, _Products]] = []
        for piece in expand(node) or []:
            each = _products(piece)
            if each is None:
                return None
            found += each
        return found or None
    op, operands = computed
    if kind(op) == "arith.mulf":
        return [(node, [(1, operands[0], operands[1])])]
    if kind(op) in CASTS:
        return _products(operands[0])
    if kind(op) not in (*SUMS, NEGATION):
        return None
    first = _products(operands[0])
    if first is None:
        return None
    if kind(op) == NEGATION:
        return [(each, _flip(products)) for each, products in first]
    second = _products(operands[1])
    if second is None:
        return None
    if kind(op) == "arith.subf":
        second = [(each, _flip(products)) for each, products in second]
    return list(_add(first, second))


def _flip(products: _Products) -> _Products:
    return [(-sign, a, b) for sign, a, b in products]


def _add(
    first: list[tuple[Node, _Products]], second: list[tuple[Node, _Products]]
) -> Iterator[tuple[Node, _Products]]:
    for node, ours in first:
        for other, theirs in second:
            common = np.intersect1d(node.lanes, other.lanes, assume_unique=True)
            if len(common) and len(ours) + len(theirs) <= 2:
                both = _restrict(ours, common) + _restrict(theirs, common)
                yield node.select(np.isin(node.lanes, common)), both


def _restrict(products: _Products, lanes: np.ndarray) -> _Products:
    return [
        (sign, a.select(np.isin(a.lanes, lanes)), b.select(np.isin(b.lanes, lanes)))
        for sign, a, b in products
    ]


def layout(
    width: int, head_dim: int, n_rot: int, pairing: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `rlx.rope` does with every column: role, column of the partner, column of the angle."""
    angles = np.arange(n_rot // 2)
    if pairing == "interleaved":
        first, second = 2 * angles, 2 * angles + 1
    else:
        first = angles
        second = angles + (n_rot if pairing == "half" else head_dim) // 2
    role = np.full(head_dim, PASSED)
    partner, angle = np.full(head_dim, NONE), np.full(head_dim, NONE)
    role[first], role[second] = FIRST, SECOND
    partner[first], partner[second] = second, first
    angle[first], angle[second] = angles, angles
    heads = width // head_dim
    start = np.repeat(np.arange(heads) * head_dim, head_dim)
    partner = np.tile(partner, heads)
    partner = np.where(partner == NONE, NONE, partner + start)
    return np.tile(role, heads), partner, np.tile(angle, heads)


def _rope_inputs(part: Part, op: RopeOp) -> tuple[Node, Node]:
    """The elements of a rope's input that the part is computed from: own and partner."""
    node = part.node
    _, partner, _ = _rope_layout(part, op)
    turned = partner != NONE
    other = Node(op.input, (*node.index[:-1], partner), node.lanes)
    return Node(op.input, node.index, node.lanes), other.select(turned)


def _rope_layout(part: Part, op: RopeOp) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns = np.asarray(part.node.index[-1])
    role, partner, angle = layout(op.input.type.shape[-1], op.head_dim, op.n_rot, op.pairing)
    return role[columns], partner[columns], angle[columns]


def common_inputs(parts: Sequence[Part], rank: int) -> list[ir.Value]:
    """The tensors that all the parts come from, first those of ``rank``, then nearest first."""
    shared: list[ir.Value] | None = None
    for part in parts:
        for candidates in _inputs(part):
            shared = [v for v in (candidates if shared is None else shared) if v in candidates]
    # What is computed within a body is a number, and nothing that a rope could read.
    tensors = [value for value in shared or [] if isinstance(value.type, ir.RankedTensorType)]
    return sorted(tensors, key=lambda value: value.type.rank != rank)


def _inputs(part: Part) -> Iterator[list[ir.Value]]:
    if part.rope is not None:
        yield list(origins(_rope_inputs(part, part.rope)[0], WIDEN))
    elif part.products:
        for _, a, b in part.products:
            ours, theirs = origins(a, _TO_INPUT), origins(b, _TO_INPUT)
            yield [v for v in ours if v not in theirs] + [v for v in theirs if v not in ours]
    else:
        yield list(origins(part.node, WIDEN))


class Lanes:
    """What happens to every lane of the result, in terms of the columns of one input.

    Attributes:
        input: the input.
        role: per lane whether it passes, or is the first or second of a pair.
        partner: per lane the column of the other one of the pair, or NONE.
        cos: per lane something that tells which column of which table it is multiplied with.
        sin: likewise.
        cos_nodes, sin_nodes: the elements of the tables, for sums.
        ropes: the ropes.
    """

    def __init__(self, value: ir.Value, parts: Sequence[Part], width: int):
        self.value = value
        self.role = np.full(width, NONE)
        self.partner = np.full(width, NONE)
        self.cos = np.full(width, None, dtype=object)
        self.sin = np.full(width, None, dtype=object)
        self.cos_nodes: list[Node] = []
        self.sin_nodes: list[Node] = []
        self.ropes: list[RopeOp] = []
        self._seen: list[Node] = []
        for part in parts:
            if part.rope is not None:
                self._add_rope(part, part.rope)
            elif part.products:
                self._add_sum(part)
            else:
                self._pass(part.node)
        source = as_columns(value, self._seen)
        if source is None:
            raise Refused("its parts take their input apart in different ways", 0)
        self.input = source
        if self.cos_nodes:
            self._name_angles()

    def _columns(self, node: Node, through: frozenset[str]) -> tuple[np.ndarray, np.ndarray]:
        """Per lane of ``node`` the column of the input, and the sign."""
        found = origins(node, through)[self.value]
        source = as_columns(self.value, found)
        if source is None:
            raise Refused("its parts take their input apart in different ways", 0)
        self._seen += found
        return source.columns, source.signs

    def _pass(self, node: Node) -> None:
        columns, _ = self._columns(node, WIDEN)
        wrong = np.flatnonzero(columns != node.lanes)
        if len(wrong):
            lane = wrong[0]
            raise Refused(
                f"column {node.lanes[lane]} of the result is column {columns[lane]} of the input", 2
            )
        self.role[node.lanes] = PASSED

    def _add_rope(self, part: Part, op: RopeOp) -> None:
        own, other = _rope_inputs(part, op)
        lanes = part.node.lanes
        self._pass(own)
        role, _, angle = _rope_layout(part, op)
        self.role[lanes] = role
        self.partner[other.lanes] = self._columns(other, WIDEN)[0]
        self.cos[lanes] = self.sin[lanes] = angle
        self.ropes.append(op)

    def _add_sum(self, part: Part) -> None:
        lanes = part.node.lanes
        columns, signs, tables = [], [], []
        for sign, a, b in part.products:
            if self.value not in origins(a, _TO_INPUT):
                a, b = b, a
            found, turned = self._columns(a, _TO_INPUT)
            columns.append(found)
            signs.append(sign * turned)
            tables.append(b)
        own = columns[0] == lanes
        if not np.array_equal(own, columns[1] != lanes):
            raise Refused("its sums are not of a column and the other one of its pair", 0)
        if (np.where(own, *signs) < 0).any():
            raise Refused("a column is subtracted from the other one of its pair", 1)
        self.partner[lanes] = np.where(own, columns[1], columns[0])
        self.role[lanes] = np.where(np.where(own, signs[1], signs[0]) < 0, FIRST, SECOND)
        for which, cos, sin in ((own, *tables), (~own, *reversed(tables))):
            if which.any():
                self.cos_nodes.append(cos.select(which))
                self.sin_nodes.append(sin.select(which))

    def _name_angles(self) -> None:
        for names, nodes in ((self.cos, self.cos_nodes), (self.sin, self.sin_nodes)):
            source = next(sources(nodes), None)
            if source is None:
                raise Refused("its rotations use different tables", 3)
            unique, back = np.unique(source.columns, return_inverse=True)
            names[source.lanes] = _names(_column_elements(source, unique))[back.ravel()]


def _column_elements(source: Source, columns: np.ndarray) -> Node:
    """The elements of some columns of a source, one lane per column."""
    shape = source.value.type.shape
    counted = [axis for axis, number in enumerate(source.layout) if number is None]
    places = np.unravel_index(columns, [shape[axis] for axis in counted]) if counted else ()
    position = dict(zip(counted, places, strict=True))
    index = tuple(
        position[axis] if number is None else number for axis, number in enumerate(source.layout)
    )
    return Node(source.value, index, np.arange(len(columns)))


def _names(node: Node, depth: int = 16) -> np.ndarray:
    """For each lane something that is equal where the elements are known to be equal."""
    names = np.full(len(node.lanes), None, dtype=object)
    number = constant(node)
    computed = operation(node) if depth else None
    pieces = expand(node) if depth else None
    if number is not None:
        names[:] = number
    elif computed is not None:
        op, operands = computed
        columns = [_names(operand, depth - 1) for operand in operands]
        for lane, arguments in enumerate(zip(*columns, strict=True)):
            names[lane] = (kind(op), *arguments)
    elif pieces is not None:
        for piece in pieces:
            names[np.searchsorted(node.lanes, piece.lanes)] = _names(piece, depth - 1)
    else:
        node = enter(node)
        for lane in range(len(names)):
            place = tuple(
                f"axis {at}" if isinstance(at, int) else int(at[lane]) for at in node.index
            )
            names[lane] = (node.value, place)
    return names
