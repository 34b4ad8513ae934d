"""Ops that only move elements, read backwards: which element of an operand is this element?

The elements asked for are many at once. The index of a batch of elements has one entry per axis of
the tensor: an int names a *free* axis, one that is followed as a whole (batch, sequence); an array
holds a position per element. An axis of size 1 is always an array of zeros.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np

from rlx.dialects.concat import ConcatOp
from rlx.dialects.narrow import NarrowOp
from rlx.dialects.types import DYNAMIC, is_static, normalized_axis
from rlx.host import ir

__all__ = [
    "Axis",
    "Index",
    "Step",
    "VIEWS",
    "at_constant",
    "at_free",
    "kind",
    "producer",
    "size_from",
    "size_of",
]

Axis: TypeAlias = int | np.ndarray
Index: TypeAlias = tuple[Axis, ...]

Step: TypeAlias = tuple[ir.Value, Index, np.ndarray | None]
"""An operand, the index in it, and which of the elements asked for it holds (None: all)."""


def producer(value: ir.Value) -> Any:
    """The op that makes ``value``, or None for a block argument."""
    return None if isinstance(value, ir.BlockArgument) else value.owner.opview


def kind(op: Any) -> str:
    """The name of an op, or "" for None. Views of some ops have a field ``name`` of their own."""
    return "" if op is None else op.operation.name


def at_constant(count: int, position: int) -> np.ndarray:
    return np.full(count, position, dtype=np.int64)


def at_free(axis: int, size: int, count: int) -> Axis:
    """The index entry of free axis number ``axis``, which has ``size`` elements."""
    return at_constant(count, 0) if size == 1 else axis


def _is_free(axis: Axis) -> bool:
    return isinstance(axis, int)


def _count(index: Index) -> int:
    return next((len(axis) for axis in index if isinstance(axis, np.ndarray)), 1)


# -- sizes -----------------------------------------------------------------------------------------


def size_of(value: ir.Value, axis: int) -> Any:
    """Something that compares equal for axes that are known to have the same size.

    An int when static. Otherwise the SSA value or the (value, axis) that the size comes from.
    """
    for _ in range(64):
        if is_static(value.type.shape[axis]):
            return value.type.shape[axis]
        op = producer(value)
        name = kind(op)
        if name == "tensor.empty":
            dynamic = [i for i, size in enumerate(value.type.shape) if not is_static(size)]
            return size_from(op.operands[dynamic.index(axis)])
        if name == "tensor.cast":
            value = op.operands[0]
        elif name == "tensor.extract_slice" and op.operands[0].type.rank == value.type.rank:
            sizes = _mixed(op, 1)
            return size_from(sizes[axis])
        elif name == "tensor.expand_shape":
            dynamic = [i for i, size in enumerate(op.attributes["static_output_shape"]) if size < 0]
            return size_from(op.operands[1 + dynamic.index(axis)])
        elif name in ("rlx.rope", "rlx.rms_norm", "rlx.layer_norm", "rlx.glu", "rlx.kv_append"):
            value = op.operands[0]
        elif (name == "rlx.narrow" and axis != normalized_axis(op.axis, value.type.rank)) or (
            name == "rlx.matmul" and axis < value.type.rank - 1
        ):
            value = op.input
        elif name.startswith("linalg.") and len(op.results) == 1:
            value = list(op.operands)[-1]
        else:
            return (value, axis)
    return (value, axis)


def size_from(size: Any) -> Any:
    """What :func:`size_of` gives for a size that is an int or an SSA value."""
    if isinstance(size, int):
        return size
    op = producer(size)
    if kind(op) == "arith.constant":
        return ir.IntegerAttr(op.attributes["value"]).value
    if kind(op) == "tensor.dim":
        axis = size_from(op.operands[1])
        source = op.operands[0]
        if isinstance(axis, int) and isinstance(source.type, ir.RankedTensorType):
            return size_of(source, axis)
    if kind(op) == "arith.index_cast":
        return size_from(op.operands[0])
    return size


def _mixed(op: Any, group: int) -> list[Any]:
    """Offsets (0), sizes (1) or strides (2) of a slice op: ints and SSA values."""
    key = ("static_offsets", "static_sizes", "static_strides")[group]
    segments = list(op.attributes["operandSegmentSizes"])
    first = len(segments) - 3 + group
    start = sum(segments[:first])
    dynamic = iter(list(op.operands)[start : start + segments[first]])
    return [next(dynamic) if size == DYNAMIC else size for size in op.attributes[key]]


# -- rlx and slices ------------------------------------------------------------------------------


def _narrow(op: NarrowOp, index: Index) -> list[Step] | None:
    axis = normalized_axis(op.axis, len(index))
    at = index[axis]
    if isinstance(at, int):
        whole = op.start == 0 and op.length == op.input.type.shape[axis]
        return [(op.input, index, None)] if whole else None
    return [(op.input, (*index[:axis], at + op.start, *index[axis + 1 :]), None)]


def _rlx_concat(op: ConcatOp, index: Index) -> list[Step] | None:
    return _join(op.inputs, normalized_axis(op.axis, len(index)), index)


def _tensor_concat(op: Any, index: Index) -> list[Step] | None:
    return _join(list(op.operands), op.attributes["dim"].value, index)


def _join(inputs: Sequence[ir.Value], axis: int, index: Index) -> list[Step] | None:
    at = index[axis]
    if len(inputs) == 1:
        return [(inputs[0], index, None)]
    if isinstance(at, int):
        return None
    steps: list[Step] = []
    start, left = 0, len(at)
    for value in inputs:
        size = value.type.shape[axis]
        if not is_static(size):
            return None
        here = (at >= start) & (at < start + size)
        if here.any():
            moved = (*index[:axis], at - start, *index[axis + 1 :])
            steps.append((value, _select(moved, here), here))
            left -= int(here.sum())
        start += size
    return steps if left == 0 else None


def _select(index: Index, keep: np.ndarray) -> Index:
    return tuple(at if isinstance(at, int) else at[keep] for at in index)


def _kept_axes(op: Any, shape: Sequence[int]) -> list[int] | None:
    """The axes of the source that a slice of ``shape`` keeps; the others have size 1."""
    static = list(op.attributes["static_sizes"])
    units = [axis for axis, size in enumerate(static) if size == 1]
    for dropped in combinations(units, len(static) - len(shape)):
        kept = [axis for axis in range(len(static)) if axis not in dropped]
        if all(static[axis] == size or size < 0 for axis, size in zip(kept, shape, strict=True)):
            return kept
    return None


def _extract_slice(op: Any, index: Index) -> list[Step] | None:
    source = op.operands[0]
    kept = _kept_axes(op, op.results[0].type.shape)
    offsets, sizes, strides = (_mixed(op, group) for group in range(3))
    if kept is None:
        return None
    moved: list[Axis] = []
    for axis, (offset, size, stride) in enumerate(zip(offsets, sizes, strides, strict=True)):
        at = index[kept.index(axis)] if axis in kept else at_constant(_count(index), 0)
        if isinstance(at, int):
            if offset != 0 or stride != 1 or size_from(size) != size_of(source, axis):
                return None
        elif isinstance(offset, int) and isinstance(stride, int):
            at = offset + stride * at
        elif not (size == 1 and source.type.shape[axis] == 1):
            return None
        moved.append(at)
    return [(source, tuple(moved), None)]


def _insert_slice(op: Any, index: Index) -> list[Step] | None:
    """Goes through a whole chain of insertions, which may have a link for every head."""
    steps: list[Step] = []
    left = np.ones(_count(index), dtype=bool)
    result = value = op.results[0]
    while left.any() and kind(op) == "tensor.insert_slice":
        found = _inserted(op, index)
        if found is None:
            break
        moved, inside = found
        inside &= left
        if inside.any():
            steps.append((op.operands[0], _select(moved, inside), inside))
        left &= ~inside
        value = op.operands[1]
        op = producer(value)
    if value == result:
        return None
    if left.any():
        steps.append((value, _select(index, left), left))
    return steps


def _inserted(op: Any, index: Index) -> tuple[Index, np.ndarray] | None:
    """Where in the slice that is inserted the elements are, and which of them are in it at all."""
    source, into = list(op.operands)[:2]
    kept = _kept_axes(op, source.type.shape)
    if kept is None:
        return None
    inside = np.ones(_count(index), dtype=bool)
    moved: list[Axis] = []
    offsets, sizes, strides = (_mixed(op, group) for group in range(3))
    for axis, (offset, size, stride) in enumerate(zip(offsets, sizes, strides, strict=True)):
        at = index[axis]
        if isinstance(at, int):
            if offset != 0 or stride != 1 or size_from(size) != size_of(into, axis):
                return None
        elif all(isinstance(number, int) for number in (offset, size, stride)):
            position, rest = np.divmod(at - offset, stride)
            inside &= (rest == 0) & (position >= 0) & (position < size)
            at = position
        else:
            return None
        if axis in kept:
            moved.append(at)
    return tuple(moved), inside


# -- reshapes ------------------------------------------------------------------------------------


def _reshape(
    index: Index,
    result: Sequence[int],
    source: Sequence[int],
    blocks: Sequence[tuple[Sequence[int], Sequence[int]]],
) -> Index | None:
    """The index in the source of a reshape.

    Args:
        index: in the result.
        result: the result's shape.
        source: the source's shape.
        blocks: axes of the result and axes of the source that hold the same elements.
    """
    count = _count(index)
    moved: list[Axis] = [at_constant(count, 0)] * len(source)
    for ours, theirs in blocks:
        ours = [axis for axis in ours if result[axis] != 1]
        theirs = [axis for axis in theirs if source[axis] != 1]
        if len(ours) == 1 and len(theirs) == 1:
            moved[theirs[0]] = index[ours[0]]
            continue
        shape = [result[axis] for axis in ours]
        target = [source[axis] for axis in theirs]
        entries = [index[axis] for axis in ours]
        if any(map(_is_free, entries)) or not all(map(is_static, [*shape, *target])):
            return None
        flat = at_constant(count, 0)
        for at, size in zip(entries, shape, strict=True):
            flat = flat * size + at
        for axis in reversed(theirs):
            flat, moved[axis] = np.divmod(flat, source[axis])
    return tuple(moved)


def _groups(op: Any) -> list[list[int]]:
    return [[axis.value for axis in group] for group in op.attributes["reassociation"]]


def _expand_shape(op: Any, index: Index) -> list[Step] | None:
    source = op.operands[0]
    blocks = [(group, [axis]) for axis, group in enumerate(_groups(op))]
    moved = _reshape(index, op.results[0].type.shape, source.type.shape, blocks)
    return None if moved is None else [(source, moved, None)]


def _collapse_shape(op: Any, index: Index) -> list[Step] | None:
    source = op.operands[0]
    blocks = [([axis], group) for axis, group in enumerate(_groups(op))]
    moved = _reshape(index, op.results[0].type.shape, source.type.shape, blocks)
    return None if moved is None else [(source, moved, None)]


def _tensor_reshape(op: Any, index: Index) -> list[Step] | None:
    source, shape = op.operands
    result = op.results[0].type
    wanted: list[Any] = list(result.shape)
    given = producer(shape)
    if kind(given) == "tensor.from_elements":
        wanted = [
            size if is_static(size) else size_from(value)
            for size, value in zip(wanted, given.operands, strict=True)
        ]
    actual = [size_of(source, axis) for axis in range(source.type.rank)]
    lone = (
        sum(not is_static(s) for s in result.shape)
        == 1
        == sum(not is_static(s) for s in source.type.shape)
    )
    blocks = _blocks(wanted, actual, lone)
    if blocks is None:
        return None
    moved = _reshape(index, result.shape, source.type.shape, blocks)
    return None if moved is None else [(source, moved, None)]


def _blocks(
    result: Sequence[Any], source: Sequence[Any], lone: bool
) -> list[tuple[list[int], list[int]]] | None:
    """Smallest runs of axes with the same number of elements, from the left.

    Args:
        result: the sizes, as :func:`size_of` gives them.
        source: likewise.
        lone: both have one dynamic size, which is then the same one.
    """
    blocks: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(result) and j < len(source):
        a, b = result[i], source[j]
        ours, theirs = [i], [j]
        i, j = i + 1, j + 1
        while not (a == b if isinstance(a, int) or isinstance(b, int) else a == b or lone):
            grow = (ours, result, i) if _less(a, b) else (theirs, source, j)
            axes, shape, at = grow
            if at >= len(shape) or not all(isinstance(size, int) for size in (a, b, shape[at])):
                return None
            axes.append(at)
            if axes is ours:
                a, i = a * shape[at], i + 1
            else:
                b, j = b * shape[at], j + 1
        blocks.append((ours, theirs))
    if any(size != 1 for size in (*result[i:], *source[j:])) or not blocks:
        return None
    return blocks


def _less(a: Any, b: Any) -> bool:
    return not isinstance(b, int) or (isinstance(a, int) and a < b)


# -- permutations and repeats --------------------------------------------------------------------


def _transpose(op: Any, index: Index) -> list[Step] | None:
    permutation = list(op.attributes["permutation"])
    moved = tuple(index[permutation.index(axis)] for axis in range(len(index)))
    return [(op.operands[0], moved, None)]


def _broadcast(op: Any, index: Index) -> list[Step] | None:
    added = set(op.attributes["dimensions"])
    moved = tuple(at for axis, at in enumerate(index) if axis not in added)
    return [(op.operands[0], moved, None)]


def _cast(op: Any, index: Index) -> list[Step] | None:
    return [(op.operands[0], index, None)]


VIEWS: dict[str, Callable[[Any, Index], list[Step] | None]] = {
    "rlx.concat": _rlx_concat,
    "rlx.narrow": _narrow,
    "linalg.broadcast": _broadcast,
    "linalg.transpose": _transpose,
    "tensor.cast": _cast,
    "tensor.collapse_shape": _collapse_shape,
    "tensor.concat": _tensor_concat,
    "tensor.expand_shape": _expand_shape,
    "tensor.extract_slice": _extract_slice,
    "tensor.insert_slice": _insert_slice,
    "tensor.reshape": _tensor_reshape,
}
"""Name to a function of the op and an index in its result: where the elements come from, or None
when the op does not say in terms of whole axes."""
