"""`rlx-fuse-partial-rotary`: rotary embedding written out, or of a part of each head, as one op."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rlx.diagnostics import remark
from rlx.dialects import emit
from rlx.dialects.narrow import narrow
from rlx.dialects.rope import PAIRINGS, RopeOp, rope
from rlx.dialects.types import accumulator_type, is_float
from rlx.host import arith, ir, linalg
from rlx.passes import rewrite
from rlx.passes.base import Pass, walk
from rlx.passes.match import (
    CASTS,
    NEGATION,
    Node,
    Source,
    as_columns,
    constant,
    elements,
    enter,
    expand,
    is_tensor,
    operation,
    origins,
    sources,
)
from rlx.passes.views import VIEWS, producer

__all__ = ["FusePartialRotary"]

_JOINS = ("rlx.concat", "tensor.concat", "tensor.insert_slice")
_SUMS = ("arith.addf", "arith.subf")
_ROOTS = (
    *_JOINS,
    *_SUMS,
    "linalg.add",
    "linalg.elementwise",
    "linalg.generic",
    "linalg.map",
    "linalg.sub",
)

_WIDEN = frozenset({"arith.extf"})
_TO_INPUT = _WIDEN | {NEGATION}

# Which axes of a result may be batch and sequence; all others are heads and dims of a head.
_FREE_AXES: dict[int, list[tuple[int, ...]]] = {
    2: [(0,)],
    3: [(0, 1), (0,), (1,)],
    4: [(0, 1), (0, 2)],
    5: [(0, 1), (0, 2)],
}

_PASSED, _FIRST, _SECOND = range(3)
_NONE = -1


@dataclass(frozen=True)
class FusePartialRotary(Pass):
    """Finds rotary embeddings that are put together from parts, and makes each one `rlx.rope`.

    Where only a part of each head rotates, front ends split the heads, rotate that part and join
    it with the rest, for all heads together or for each one::

        %r = rlx.narrow %x {axis = 2, start = 0, length = 4}          %x : tensor<1x16x8xf32>
        %p = rlx.narrow %x {axis = 2, start = 4, length = 4}
        %t = rlx.rope %r, %cos, %sin {head_dim = 4}
        %y = rlx.concat %t, %p {axis = 2}

    becomes ::

        %y = rlx.rope %x, %cos, %sin {head_dim = 8, n_rot = 4}

    The rotation may also be written out, as `x * cos + rotate_half(x) * sin` on tables whose two
    halves are equal, as the two halves `a * cos - b * sin` and `b * cos + a * sin`, or with
    interleaved pairs; in `arith` on tensors or in linalg, and in the layouts [B, S, H * D],
    [B, S, H, D], [B, H, S, D] and the same without a batch. The pass does not look for these
    spellings. It follows every element of the result back to the input, and fuses when all of them
    together are what one `rlx.rope` computes, with the pairing that this takes.

    The tables must say the same for both dims of a pair. Of two halves of a table that is known
    only as a whole, such as an argument, this is not known. Tables with a row for each batch and
    position get `positions` that count them.

    The IR stays as it is, and a remark says why, when: rotated and passed parts are in another
    order than `rlx.rope` leaves them, heads are missing or not alike, parts come from different
    tensors, rotations use different tables or positions, or a part is used elsewhere too. A join
    of the parts of a single head is left to the join of all heads.
    """

    name = "rlx-fuse-partial-rotary"

    def run(self, op: ir.Operation) -> None:
        roots = [(hash(root.operation), root) for root in walk(op, *_ROOTS) if _may_be_root(root)]
        erased: set[int] = set()
        for key, root in reversed(roots):
            if key not in erased:
                erased |= _fuse(root)


class _Refused(Exception):
    """The elements are no rotary embedding. The text completes the sentence "... stays"."""

    def __init__(self, message: str, progress: int):
        super().__init__(message)
        self.progress = progress


def _may_be_root(root: ir.OpView) -> bool:
    """Whether the op makes one tensor of floats; ops on scalars inside linalg ops do not."""
    types = [result.type for result in root.results]
    return len(types) == 1 and is_tensor(root.results[0]) and is_float(types[0].element_type)


def _fuse(root: ir.OpView) -> set[int]:
    """Fuses what ends in ``root``, if it can; returns the hashes of the ops that are erased."""
    result = root.results[0]
    matches: list[_Match] = []
    refusals: list[_Refused] = []
    for free in _FREE_AXES.get(result.type.rank, []):
        try:
            match = _match(result, free)
            if match is not None:
                matches.append(match)
        except _Refused as refusal:
            refusals.append(refusal)
    if matches:
        # Rows of the tables are best counted along the sequence alone.
        match = min(matches, key=lambda m: m.needs_positions)
        with ir.InsertionPoint(root), root.location:
            return rewrite.replace(result, match.emit(), match.free)
    if refusals:
        remark(root, f"rotation stays in parts: {max(refusals, key=lambda r: r.progress)}")
    return set()


# -- what the result is made of ------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
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


def _parts(node: Node) -> list[_Part]:
    """The result, as far back as rotations; what does not rotate is not followed."""
    op = producer(node.value)
    if isinstance(op, RopeOp):
        return [_Part(node, rope=op)]
    if _is_sum(node):
        sums = _products(node)
        if sums is not None and all(len(products) == 2 for _, products in sums):
            return [
                _Part(node.select(np.isin(node.lanes, each.lanes)), products=tuple(products))
                for each, products in sums
            ]
    pieces = expand(node, CASTS) or []
    found = [part for piece in pieces for part in _parts(piece)]
    return found if any(part.rotates for part in found) else [_Part(node)]


def _is_sum(node: Node) -> bool:
    computed = operation(node)
    while computed is not None and computed[0].name in CASTS:
        computed = operation(computed[1][0])
    return computed is not None and computed[0].name in _SUMS


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
    if op.name == "arith.mulf":
        return [(node, [(1, operands[0], operands[1])])]
    if op.name in CASTS:
        return _products(operands[0])
    if op.name not in (*_SUMS, NEGATION):
        return None
    first = _products(operands[0])
    if first is None:
        return None
    if op.name == NEGATION:
        return [(each, _flip(products)) for each, products in first]
    second = _products(operands[1])
    if second is None:
        return None
    if op.name == "arith.subf":
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


# -- where the parts come from -------------------------------------------------------------------


def _layout(
    width: int, head_dim: int, n_rot: int, pairing: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `rlx.rope` does with every column: role, column of the partner, column of the angle."""
    angles = np.arange(n_rot // 2)
    if pairing == "interleaved":
        first, second = 2 * angles, 2 * angles + 1
    else:
        first = angles
        second = angles + (n_rot if pairing == "half" else head_dim) // 2
    role = np.full(head_dim, _PASSED)
    partner, angle = np.full(head_dim, _NONE), np.full(head_dim, _NONE)
    role[first], role[second] = _FIRST, _SECOND
    partner[first], partner[second] = second, first
    angle[first], angle[second] = angles, angles
    heads = width // head_dim
    start = np.repeat(np.arange(heads) * head_dim, head_dim)
    partner = np.tile(partner, heads)
    partner = np.where(partner == _NONE, _NONE, partner + start)
    return np.tile(role, heads), partner, np.tile(angle, heads)


def _rope_inputs(part: _Part, op: RopeOp) -> tuple[Node, Node]:
    """The elements of a rope's input that the part is computed from: own and partner."""
    node = part.node
    _, partner, _ = _rope_layout(part, op)
    turned = partner != _NONE
    other = Node(op.input, (*node.index[:-1], partner), node.lanes)
    return Node(op.input, node.index, node.lanes), other.select(turned)


def _rope_layout(part: _Part, op: RopeOp) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns = np.asarray(part.node.index[-1])
    role, partner, angle = _layout(op.input.type.shape[-1], op.head_dim, op.n_rot, op.pairing)
    return role[columns], partner[columns], angle[columns]


def _common_inputs(parts: Sequence[_Part], rank: int) -> list[ir.Value]:
    """The tensors that all the parts come from, first those of ``rank``, then nearest first."""
    shared: list[ir.Value] | None = None
    for part in parts:
        for candidates in _inputs(part):
            shared = [v for v in (candidates if shared is None else shared) if v in candidates]
    return sorted(shared or [], key=lambda value: value.type.rank != rank)


def _inputs(part: _Part) -> Iterator[list[ir.Value]]:
    if part.rope is not None:
        yield list(origins(_rope_inputs(part, part.rope)[0], _WIDEN))
    elif part.products:
        for _, a, b in part.products:
            ours, theirs = origins(a, _TO_INPUT), origins(b, _TO_INPUT)
            yield [v for v in ours if v not in theirs] + [v for v in theirs if v not in ours]
    else:
        yield list(origins(part.node, _WIDEN))


class _Lanes:
    """What happens to every lane of the result, in terms of the columns of one input.

    Attributes:
        input: the input.
        role: per lane whether it passes, or is the first or second of a pair.
        partner: per lane the column of the other one of the pair, or _NONE.
        cos: per lane something that tells which column of which table it is multiplied with.
        sin: likewise.
        cos_nodes, sin_nodes: the elements of the tables, for sums.
        ropes: the ropes.
    """

    def __init__(self, value: ir.Value, parts: Sequence[_Part], width: int):
        self.value = value
        self.role = np.full(width, _NONE)
        self.partner = np.full(width, _NONE)
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
            raise _Refused("its parts take their input apart in different ways", 0)
        self.input = source
        if self.cos_nodes:
            self._name_angles()

    def _columns(self, node: Node, through: frozenset[str]) -> tuple[np.ndarray, np.ndarray]:
        """Per lane of ``node`` the column of the input, and the sign."""
        found = origins(node, through)[self.value]
        source = as_columns(self.value, found)
        if source is None:
            raise _Refused("its parts take their input apart in different ways", 0)
        self._seen += found
        return source.columns, source.signs

    def _pass(self, node: Node) -> None:
        columns, _ = self._columns(node, _WIDEN)
        wrong = np.flatnonzero(columns != node.lanes)
        if len(wrong):
            lane = wrong[0]
            raise _Refused(
                f"column {node.lanes[lane]} of the result is column {columns[lane]} of the input", 2
            )
        self.role[node.lanes] = _PASSED

    def _add_rope(self, part: _Part, op: RopeOp) -> None:
        own, other = _rope_inputs(part, op)
        lanes = part.node.lanes
        self._pass(own)
        role, _, angle = _rope_layout(part, op)
        self.role[lanes] = role
        self.partner[other.lanes] = self._columns(other, _WIDEN)[0]
        self.cos[lanes] = self.sin[lanes] = angle
        self.ropes.append(op)

    def _add_sum(self, part: _Part) -> None:
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
            raise _Refused("its sums are not of a column and the other one of its pair", 0)
        if (np.where(own, *signs) < 0).any():
            raise _Refused("a column is subtracted from the other one of its pair", 1)
        self.partner[lanes] = np.where(own, columns[1], columns[0])
        self.role[lanes] = np.where(np.where(own, signs[1], signs[0]) < 0, _FIRST, _SECOND)
        for which, cos, sin in ((own, *tables), (~own, *reversed(tables))):
            if which.any():
                self.cos_nodes.append(cos.select(which))
                self.sin_nodes.append(sin.select(which))

    def _name_angles(self) -> None:
        for names, nodes in ((self.cos, self.cos_nodes), (self.sin, self.sin_nodes)):
            source = next(sources(nodes), None)
            if source is None:
                raise _Refused("its rotations use different tables", 3)
            found = origins(nodes)[source.value]
            for node in found:
                unique, back = np.unique(
                    np.stack([at for at in node.index if not isinstance(at, int)]),
                    axis=1,
                    return_inverse=True,
                )
                rows = iter(unique)
                index = tuple(at if isinstance(at, int) else next(rows) for at in node.index)
                few = Node(source.value, index, np.arange(unique.shape[1]))
                names[node.lanes] = _names(few)[back.ravel()]


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
            names[lane] = (op.name, *arguments)
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


# -- what they amount to -------------------------------------------------------------------------


def _match(result: ir.Value, free: Sequence[int]) -> "_Match | None":
    """The rope that computes ``result``; None when it is no rotation, or one that is left alone.

    Raises:
        _Refused: it is a rotation, but not one rope.
    """
    root = elements(result, free)
    parts = _parts(root) if root is not None else []
    turned = [part for part in parts if part.rotates]
    if not turned:
        return None
    first = turned[0].node.value
    if first != result and len(turned) == len(parts) and all(p.node.value == first for p in parts):
        return None  # Only moves the elements of one rope or sum, which stand for themselves.
    for part in turned:
        if part.rope is not None and not _rows_are_free(part, len(free)):
            return None
    refusal = _Refused("its parts come from different tensors", 1 if _has_rope(parts) else 0)
    for value in _common_inputs(parts, len(free) + 1):
        try:
            return _match_input(result, free, parts, value)
        except _Refused as other:
            refusal = max(refusal, other, key=lambda r: r.progress)
    if refusal.progress:
        raise refusal
    return None


def _has_rope(parts: Sequence[_Part]) -> bool:
    return any(part.rope is not None for part in parts)


def _rows_are_free(part: _Part, free: int) -> bool:
    """Whether the free axes of the result are the rows of the rope."""
    shape, (*rows, columns) = part.node.value.type.shape, part.node.index
    followed = [
        shape[axis] == 1 or (isinstance(at, int) and at == axis) for axis, at in enumerate(rows)
    ]
    return len(rows) == free and all(followed) and not isinstance(columns, int)


def _match_input(
    result: ir.Value, free: Sequence[int], parts: Sequence[_Part], value: ir.Value
) -> "_Match | None":
    """The rope of ``value`` that computes ``result``."""
    width = sum(len(part.node.lanes) for part in parts)
    lanes = _Lanes(value, parts, width)
    source = lanes.input
    rows = {number for number, axis in enumerate(free) if result.type.shape[axis] != 1}
    if set(source.layout) - {None} != rows:
        raise _Refused("its parts do not follow batch and sequence of their input", 0)
    if source.width != width:
        raise _Refused(f"it has {width} columns, its input {source.width}", 2)
    if value.type.element_type != result.type.element_type:
        raise _Refused(f"its input is {value.type}, but the result {result.type}", 2)
    if _has_rope(parts) and (lanes.cos_nodes or not _same_tables(lanes.ropes)):
        raise _Refused("its rotations use different tables or positions", 3)
    head_dim, n_rot, pairing, angles = _pattern(lanes)
    if width == head_dim and _is_one_of_many(result, value, parts):
        return None
    if _is_used_elsewhere(result, value, lanes, head_dim):
        raise _Refused("a part of it is used elsewhere", 5)
    tables = None
    if not lanes.ropes:
        tables = [_table(nodes, angles, value) for nodes in (lanes.cos_nodes, lanes.sin_nodes)]
        if tables[0].rows != tables[1].rows:
            raise _Refused("the tables of cos and sin have different rows", 4)
    return _Match(result, tuple(free), source, head_dim, n_rot, pairing, lanes.ropes[:1], tables)


def _same_tables(ropes: Sequence[RopeOp]) -> bool:
    return all(list(op.operands)[1:] == list(ropes[0].operands)[1:] for op in ropes)


def _pattern(lanes: _Lanes) -> tuple[int, int, str, np.ndarray]:
    """head_dim, n_rot, pairing, and the lanes that use the angles 0, 1, ..."""
    width = len(lanes.role)
    first = np.flatnonzero(lanes.role == _FIRST)
    if not len(first):
        raise _Refused("its columns rotate backwards", 3)
    name = (lanes.cos[first[0]], lanes.sin[first[0]])
    heads = sum((lanes.cos[lane], lanes.sin[lane]) == name for lane in first)
    head_dim = width // heads
    angles = first[first < head_dim]
    n_rot = 2 * len(angles)
    if width % heads == 0 and n_rot <= head_dim:
        for pairing in PAIRINGS:
            if pairing == "proportional" and head_dim % 2:
                continue
            role, partner, angle = _layout(width, head_dim, n_rot, pairing)
            if not np.array_equal(lanes.role, role) or not np.array_equal(lanes.partner, partner):
                continue
            turned = np.flatnonzero(role != _PASSED)
            for names in (lanes.cos, lanes.sin):
                if any(names[lane] != names[angles[angle[lane]]] for lane in turned):
                    raise _Refused(
                        "the dims of a pair, or the heads, are not known to share their angles", 4
                    )
            return head_dim, n_rot, pairing, angles
    raise _Refused(f"{_describe(lanes)}, which is no pairing of rlx.rope", 3)


def _describe(lanes: _Lanes) -> str:
    """The first few runs of columns that are treated alike."""
    turned = lanes.role != _PASSED
    ends = [0, *(np.flatnonzero(turned[1:] != turned[:-1]) + 1), len(turned)]
    runs = [
        f"{start} to {end - 1} {'rotate' if turned[start] else 'pass'}"
        for start, end in pairwise(ends)
    ]
    partners = ", ".join(str(column) for column in lanes.partner[turned][:3])
    more = ", ..." if len(runs) > 4 else ""
    return f"columns {', '.join(runs[:4])}{more} with columns {partners}, ..."


def _is_one_of_many(result: ir.Value, value: ir.Value, parts: Sequence[_Part]) -> bool:
    """Whether ``result`` is a single head that is about to be joined with others."""
    cut = producer(value)
    users = [use.owner.name for use in result.uses]
    return (
        _has_rope(parts)
        and cut is not None
        and cut.name in ("rlx.narrow", "tensor.extract_slice")
        and bool(users)
        and all(name in _JOINS for name in users)
    )


def _is_used_elsewhere(result: ir.Value, value: ir.Value, lanes: _Lanes, head_dim: int) -> bool:
    """Whether anything between input and result has uses outside; whole heads do not count."""
    stops = {value}
    for op in lanes.ropes:
        stops |= set(list(op.operands)[1:])
    inside = _between(result, stops, value)
    whole: dict[ir.Value, bool] = {value: True}
    for made in inside:
        if made == result:
            continue
        op = producer(made)
        moves = op.name in VIEWS or op.name.startswith(("linalg.", "arith.ext"))
        used = [whole[v] for v in op.operands if v in whole]
        whole[made] = moves and all(used) and made.type.shape[-1] % head_dim == 0
        if whole[made] and _is_copy(made):
            continue
        if any(not _is_user(use.owner, inside) for use in made.uses):
            return True
    return False


def _is_copy(value: ir.Value) -> bool:
    node = elements(value, range(value.type.rank))
    return node is not None and expand(node, _WIDEN) is not None


def _is_user(op: ir.OpView | ir.Operation, inside: Sequence[ir.Value]) -> bool:
    results = op.operation.results
    return len(results) == 1 and results[0] in inside


def _between(result: ir.Value, stops: set[ir.Value], start: ir.Value) -> list[ir.Value]:
    """What ``result`` is made of and depends on ``start``, in an order that respects this."""
    depends: dict[ir.Value, bool] = {value: value == start for value in stops}
    order: list[ir.Value] = []

    def visit(value: ir.Value) -> bool:
        if value not in depends:
            op = producer(value)
            depends[value] = False
            for operand in [] if op is None else filter(is_tensor, op.operands):
                depends[value] |= visit(operand)
            if depends[value]:
                order.append(value)
        return depends[value]

    visit(result)
    return order


# -- tables --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """Columns of a tensor that hold the angles in order.

    Attributes:
        value: the tensor; its last axis holds the columns, its others are rows.
        start: the first of the columns.
        length: how many columns.
        rows: the free axes that number the rows.
    """

    value: ir.Value
    start: int
    length: int
    rows: tuple[int, ...]

    def emit(self) -> ir.Value:
        """The table as [P, length]."""
        value = self.value
        if self.length != value.type.shape[-1]:
            axis = value.type.rank - 1
            value = narrow(value, axis=axis, start=self.start, length=self.length)
        if value.type.rank == 1:
            return emit.split_axis(value, 0, [1, self.length])
        for _ in range(value.type.rank - 2):
            value = emit.join_axes(value, 0)
        return value


def _table(nodes: Sequence[Node], angles: np.ndarray, input: ir.Value) -> _Table:
    """The table that ``nodes`` read; ``angles`` are lanes that read its columns in order."""
    few = [node.select(np.isin(node.lanes, angles)) for node in nodes]
    few = [node for node in few if len(node.lanes)]
    element = input.type.element_type
    found: _Table | None = None
    for source in sources(few, _WIDEN):
        start = int(source.columns[0])
        rows = tuple(number for number in source.layout[:-1] if number is not None)
        if (
            source.layout[-1] is None
            and source.width == source.value.type.shape[-1]
            and np.array_equal(source.columns, start + np.arange(len(angles)))
            and rows == tuple(sorted(rows))
            and source.value.type.element_type in (element, accumulator_type(element))
        ):
            table = _Table(source.value, start, len(angles), rows)
            if source.width == len(angles):
                return table
            found = found or table
    if found is None:
        raise _Refused("its tables do not hold the angles in neighbouring columns", 4)
    return found


def _positions(input: ir.Value, rows: Sequence[int]) -> ir.Value:
    """For each row of ``input`` its number among the rows ``rows``."""
    shape = emit.sizes(input)[:-1]
    index = ir.IntegerType.get_signless(64)

    def body(_: ir.Value) -> ir.Value:
        total = emit.index(0)
        for axis in rows:
            total = arith.muli(total, emit.as_index(shape[axis]))
            total = arith.addi(total, linalg.IndexOp(axis).result)
        return arith.index_cast(index, total)

    axes = emit.axes(len(shape))
    return emit.generic([], emit.empty(shape, index), [axes], "p" * len(shape), body)


@dataclass(frozen=True)
class _Match:
    """A rope that is to take the place of ``result``."""

    result: ir.Value
    free: tuple[int, ...]
    input: Source
    head_dim: int
    n_rot: int
    pairing: str
    ropes: list[RopeOp]
    tables: list[_Table] | None

    @property
    def needs_positions(self) -> bool:
        if self.tables is None:
            return False
        last = len(self.free) - 1
        is_row = self.result.type.shape[self.free[last]] == 1
        return self.tables[0].rows != (() if is_row else (last,))

    def emit(self) -> ir.Value:
        """Builds the rope: [free..., columns]."""
        input = rewrite.as_rows(self.input, len(self.free))
        positions = None
        if self.tables is None:
            op = self.ropes[0]
            cos, sin = (_fit(table, self.head_dim, self.n_rot) for table in (op.cos, op.sin))
            positions = op.positions
        else:
            cos, sin = (table.emit() for table in self.tables)
            if self.needs_positions:
                positions = _positions(input, self.tables[0].rows)
        return rope(
            input,
            cos,
            sin,
            positions,
            head_dim=self.head_dim,
            n_rot=self.n_rot,
            pairing=self.pairing,
        )


def _fit(table: ir.Value, head_dim: int, n_rot: int) -> ir.Value:
    """``table`` with a width that the rope accepts."""
    if table.type.shape[1] in (n_rot // 2, head_dim / 2):
        return table
    return narrow(table, axis=1, start=0, length=n_rot // 2)
