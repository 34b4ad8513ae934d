"""`rlx-fuse-partial-rotary`: rotary embedding written out, or of a part of each head, as one op."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rlx.diagnostics import remark
from rlx.dialects.rope import PAIRINGS, RopeOp, rope
from rlx.dialects.types import is_float
from rlx.host import ir
from rlx.passes import rewrite
from rlx.passes.base import Pass, walk
from rlx.passes.match import (
    CASTS,
    Source,
    all_elements,
    elements,
    expand,
    is_tensor,
    origins,
)
from rlx.passes.rotary_parts import (
    FIRST,
    PASSED,
    SUMS,
    WIDEN,
    Lanes,
    Part,
    Refused,
    common_inputs,
    is_sum,
    layout,
    parts_of,
)
from rlx.passes.rotary_tables import Table, find_table, fit_table, row_numbers
from rlx.passes.views import VIEWS, kind, producer

__all__ = ["FusePartialRotary"]

_JOINS = ("rlx.concat", "tensor.concat", "tensor.insert_slice")
_ROOTS = (
    *_JOINS,
    *SUMS,
    "linalg.add",
    "linalg.elementwise",
    "linalg.generic",
    "linalg.map",
    "linalg.sub",
)

# Which axes of a result may be batch and sequence; all others are heads and dims of a head.
_FREE_AXES: dict[int, list[tuple[int, ...]]] = {
    2: [(0,)],
    3: [(0, 1), (0,), (1,)],
    4: [(0, 1), (0, 2)],
    5: [(0, 1), (0, 2)],
}


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


def _may_be_root(root: ir.OpView) -> bool:
    """Whether the op makes one tensor of floats, by joining or by adding."""
    if len(root.results) != 1 or not is_tensor(root.results[0]):
        return False
    result = root.results[0]
    return is_float(result.type.element_type) and (
        kind(root) in _JOINS or is_sum(all_elements(result))
    )


def _fuse(root: ir.OpView) -> set[int]:
    """Fuses what ends in ``root``, if it can; returns the hashes of the ops that are erased."""
    result = root.results[0]
    matches: list[_Match] = []
    refusals: list[Refused] = []
    for free in _FREE_AXES.get(result.type.rank, []):
        try:
            match = _match(result, free)
            if match is not None:
                matches.append(match)
        except Refused as refusal:
            refusals.append(refusal)
    if matches:
        # Rows of the tables are best counted along the sequence alone.
        match = min(matches, key=lambda m: m.needs_positions)
        with ir.InsertionPoint(root), root.location:
            return rewrite.replace(result, match.emit(), match.free)
    # What is joined with others is explained at the join.
    if refusals and not _is_joined(result):
        remark(root, f"rotation stays in parts: {max(refusals, key=lambda r: r.progress)}")
    return set()


def _match(result: ir.Value, free: Sequence[int]) -> "_Match | None":
    """The rope that computes ``result``; None when it is no rotation, or one that is left alone.

    Raises:
        Refused: it is a rotation, but not one rope.
    """
    root = elements(result, free)
    if root is None:
        return None
    parts, mixed = parts_of(root)
    if not any(part.rotates for part in parts) or len(origins(root, CASTS)) > 1:
        return None  # Nothing rotates, or this only moves elements of what does.
    if not all(_rows_are_free(part, len(free)) for part in parts if part.rope is not None):
        return None
    refusal = Refused("its parts come from different tensors", 1 if _has_rope(parts) else 0)
    for value in common_inputs(parts, len(free) + 1):
        try:
            return _match_input(result, free, parts, mixed, value)
        except Refused as other:
            refusal = max(refusal, other, key=lambda r: r.progress)
    if refusal.progress:
        raise refusal
    return None


def _has_rope(parts: Sequence[Part]) -> bool:
    return any(part.rope is not None for part in parts)


def _rows_are_free(part: Part, free: int) -> bool:
    """Whether the free axes of the result are the rows of the rope."""
    shape, (*rows, columns) = part.node.value.type.shape, part.node.index
    followed = [
        shape[axis] == 1 or (isinstance(at, int) and at == axis) for axis, at in enumerate(rows)
    ]
    return len(rows) == free and all(followed) and not isinstance(columns, int)


def _match_input(
    result: ir.Value,
    free: Sequence[int],
    parts: Sequence[Part],
    mixed: Sequence[int],
    value: ir.Value,
) -> "_Match | None":
    """The rope of ``value`` that computes ``result``; see :func:`parts_of` for the rest."""
    width = sum(len(part.node.lanes) for part in parts)
    lanes = Lanes(value, parts, width)
    source = lanes.input
    rows = {number for number, axis in enumerate(free) if result.type.shape[axis] != 1}
    if set(source.layout) - {None} != rows:
        raise Refused("its parts do not follow batch and sequence of their input", 0)
    if source.width != width:
        raise Refused(f"it has {width} columns, its input {source.width}", 2)
    if value.type.element_type != result.type.element_type:
        raise Refused(f"its input is {value.type}, but the result {result.type}", 2)
    if _has_rope(parts) and (lanes.cos_nodes or not _same_tables(lanes.ropes)):
        raise Refused("its rotations use different tables or positions", 3)
    head_dim, n_rot, pairing, angles = _pattern(lanes)
    for columns in mixed:
        if columns % head_dim:
            raise Refused(f"a head of {columns} columns rotates, but not every one does", 4)
    if width == head_dim and _is_one_of_many(result, value, parts):
        return None
    if _is_used_elsewhere(result, value, lanes, head_dim):
        raise Refused("a part of it is used elsewhere", 5)
    tables = None
    if not lanes.ropes:
        tables = [find_table(nodes, angles, value) for nodes in (lanes.cos_nodes, lanes.sin_nodes)]
        if tables[0].rows != tables[1].rows:
            raise Refused("the tables of cos and sin have different rows", 4)
    return _Match(result, tuple(free), source, head_dim, n_rot, pairing, lanes.ropes[:1], tables)


def _same_tables(ropes: Sequence[RopeOp]) -> bool:
    return all(list(op.operands)[1:] == list(ropes[0].operands)[1:] for op in ropes)


def _pattern(lanes: Lanes) -> tuple[int, int, str, np.ndarray]:
    """head_dim, n_rot, pairing, and the lanes that use the angles 0, 1, ..."""
    width = len(lanes.role)
    first = np.flatnonzero(lanes.role == FIRST)
    if not len(first):
        raise Refused("its columns rotate backwards", 3)
    name = (lanes.cos[first[0]], lanes.sin[first[0]])
    heads = sum((lanes.cos[lane], lanes.sin[lane]) == name for lane in first)
    head_dim = width // heads
    angles = first[first < head_dim]
    n_rot = 2 * len(angles)
    if width % heads == 0 and n_rot <= head_dim:
        for pairing in PAIRINGS:
            if pairing == "proportional" and head_dim % 2:
                continue
            role, partner, angle = layout(width, head_dim, n_rot, pairing)
            if not np.array_equal(lanes.role, role) or not np.array_equal(lanes.partner, partner):
                continue
            turned = np.flatnonzero(role != PASSED)
            for names in (lanes.cos, lanes.sin):
                if any(names[lane] != names[angles[angle[lane]]] for lane in turned):
                    raise Refused(
                        "the dims of a pair, or the heads, are not known to share their angles", 4
                    )
            return head_dim, n_rot, pairing, angles
    raise Refused(f"{_describe(lanes)}, which is no pairing of rlx.rope", 3)


def _describe(lanes: Lanes) -> str:
    """The first few runs of columns that are treated alike."""
    turned = lanes.role != PASSED
    ends = [0, *(np.flatnonzero(turned[1:] != turned[:-1]) + 1), len(turned)]
    runs = [
        f"{start} to {end - 1} {'rotate' if turned[start] else 'pass'}"
        for start, end in pairwise(ends)
    ]
    partners = ", ".join(str(column) for column in lanes.partner[turned][:3])
    more = ", ..." if len(runs) > 4 else ""
    which = "all columns rotate" if turned.all() else f"columns {', '.join(runs[:4])}{more}"
    return f"{which} with columns {partners}, ..."


def _is_one_of_many(result: ir.Value, value: ir.Value, parts: Sequence[Part]) -> bool:
    """Whether ``result`` is a single head that is about to be joined with others."""
    cut = producer(value)
    is_cut = kind(cut) in ("rlx.narrow", "tensor.extract_slice")
    return is_cut and _has_rope(parts) and _is_joined(result)


def _is_joined(result: ir.Value) -> bool:
    users = [kind(use.owner) for use in result.uses]
    return bool(users) and all(name in _JOINS for name in users)


def _is_used_elsewhere(result: ir.Value, value: ir.Value, lanes: Lanes, head_dim: int) -> bool:
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
        moves = kind(op) in VIEWS or expand(all_elements(made), WIDEN) is not None
        used = [whole[value] for value in op.operands if value in whole]
        whole[made] = moves and all(used) and made.type.shape[-1] % head_dim == 0
        if not whole[made] and any(not _is_user(use.owner, inside) for use in made.uses):
            return True
    return False


def _is_user(op: ir.OpView | ir.Operation, inside: Sequence[ir.Value]) -> bool:
    results = op.operation.results
    return len(results) == 1 and results[0] in inside


def _between(result: ir.Value, stops: set[ir.Value], start: ir.Value) -> list[ir.Value]:
    """What ``result`` is made of and depends on ``start``, in an order that respects this."""
    depends: dict[ir.Value, bool] = {value: value == start for value in stops}
    order: list[ir.Value] = []
    pending = [result]
    while pending:
        value = pending[-1]
        op = producer(value)
        operands = [] if op is None else [each for each in op.operands if is_tensor(each)]
        unknown = [] if value in depends else [each for each in operands if each not in depends]
        if unknown:
            pending += unknown
            continue
        pending.pop()
        if value not in depends:
            depends[value] = any(depends[each] for each in operands)
            if depends[value]:
                order.append(value)
    return order


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
    tables: list[Table] | None

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
            cos, sin = (fit_table(table, self.head_dim, self.n_rot) for table in (op.cos, op.sin))
            positions = op.positions
        else:
            cos, sin = (table.emit() for table in self.tables)
            if self.needs_positions:
                positions = row_numbers(input, self.tables[0].rows)
        return rope(
            input,
            cos,
            sin,
            positions,
            head_dim=self.head_dim,
            n_rot=self.n_rot,
            pairing=self.pairing,
        )
