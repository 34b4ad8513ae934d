"""`rlx-fuse-gqa`: attention reads grouped heads, nothing is repeated."""

from dataclasses import dataclass

import numpy as np

from rlx.diagnostics import remark
from rlx.dialects.attention import AttentionOp
from rlx.host import ir
from rlx.passes.base import Pass, walk
from rlx.passes.match import Source, as_columns, elements, expand, leaves, sources
from rlx.passes.rewrite import as_rows, erase_dead

__all__ = ["FuseGqa"]


@dataclass(frozen=True)
class FuseGqa(Pass):
    """Lets `rlx.attention` read key and value heads that are repeated for it un-repeated.

    Grouped-query attention has fewer key and value heads than query heads. A front end that knows
    only attention with equal counts repeats each head as often as query heads share it, in the
    order 0, 0, 1, 1, ...; this pass takes the repetition away::

        %k0 = rlx.narrow %k {axis = 2, start = 0, length = 64}         %k : tensor<1x16x128xf32>
        %k1 = rlx.narrow %k {axis = 2, start = 64, length = 64}
        %kr = rlx.concat %k0, %k0, %k1, %k1 {axis = 2}                 (the same for %vr)
        %o = rlx.attention %q, %kr, %vr {num_heads = 4, head_dim = 64}

    becomes ::

        %o = rlx.attention %q, %k, %v {num_heads = 4, num_kv_heads = 2, head_dim = 64}

    The repetition may be written in any way that only moves elements: `rlx.narrow` and
    `rlx.concat`, the slices, concatenations, reshapes and casts of `tensor`, `linalg.broadcast`,
    `linalg.transpose` and `linalg.generic` that copies, static or dynamic in batch and length. It
    may also be a repetition of heads that are grouped already. Whatever else uses the repeated
    tensor keeps it; otherwise it is erased.

    The heads of key and of value must be repeated the same number of times, each `g` times in a
    row, and the un-repeated tensor must hold these heads and no others. Where heads are read more
    than once but not like that, the IR stays as it is and a remark says why.
    """

    name = "rlx-fuse-gqa"

    def run(self, op: ir.Operation) -> None:
        for attention in list(walk(op, AttentionOp)):
            _fuse(attention)


def _fuse(attention: AttentionOp) -> None:
    heads = attention.num_kv_heads
    key = _Heads(attention.key, heads, attention.head_dim)
    value = _Heads(attention.value, heads, attention.v_head_dim)
    if not key.reads_twice and not value.reads_twice:
        return
    common = sorted(key.found.keys() & value.found.keys())
    if not common:
        remark(attention, "key and value heads stay repeated: " + _reason(key, value))
        return
    count = common[0]
    old = (attention.key, attention.value)
    with ir.InsertionPoint(attention), attention.location:
        new = [as_rows(side.found[count], 2) for side in (key, value)]
    for position, tensor in enumerate(new):
        attention.operation.operands[1 + position] = tensor
    attention.operation.attributes["num_kv_heads"] = AttentionOp.ATTRS["num_kv_heads"].encode(count)
    erase_dead(*old)


def _reason(key: "_Heads", value: "_Heads") -> str:
    for name, side in (("key", key), ("value", value)):
        if side.reads_twice and not side.found:
            return f"{name} {side.problem}"
    for name, side, other in (("key", key, "value"), ("value", value, "key")):
        if not side.found:
            return f"{name} heads are not repeated but {other} heads are"
    k, v = (max(side.heads // count for count in side.found) for side in (key, value))
    return f"key heads are repeated {k} times but value heads {v} times"


class _Heads:
    """How the heads of key or value come about.

    Attributes:
        found: number of un-repeated heads to the tensor that holds them.
        reads_twice: whether any column of any tensor is read more than once.
        problem: why ``found`` is empty, if ``reads_twice``.
    """

    def __init__(self, operand: ir.Value, heads: int, head_dim: int):
        self.heads = heads
        self.found: dict[int, Source] = {}
        self.reads_twice = False
        self.problem = "heads come from different tensors"
        root = elements(operand, free=(0, 1))
        if root is None or expand(root) is None:
            return
        nearest = True
        for source in sources([root]):
            if not _is_whole(source, operand) or _is_one_head_of_more(source.value, head_dim):
                continue
            repeats = len(np.unique(source.columns)) < len(source.columns)
            if repeats and nearest:
                self.problem = _problem(source, heads, head_dim)
                nearest = False
            count = source.width // head_dim
            group, rest = divmod(heads, max(count, 1))
            if count * head_dim != source.width or rest != 0 or group < 2:
                continue
            order = np.repeat(np.arange(count), group)
            if not np.array_equal(source.columns, _columns(order, head_dim)):
                continue
            # The nearest may be a reshape or a slice of everything: take one that is as it should.
            if count not in self.found or _is_flat(source):
                self.found[count] = source
        self.reads_twice = not nearest or _leaves_read_twice(root)


def _is_flat(source: Source) -> bool:
    return source.value.type.rank == 3 and source.layout[2] is None


def _columns(order: np.ndarray, head_dim: int) -> np.ndarray:
    """The columns of the heads ``order``, one head after the other."""
    return (order[:, None] * head_dim + np.arange(head_dim)).ravel()


def _is_whole(source: Source, operand: ir.Value) -> bool:
    """Whether the source has batch and length of the operand."""
    shape, wanted = source.value.type.shape, operand.type.shape
    sizes = {number: shape[axis] for axis, number in enumerate(source.layout) if number is not None}
    return all(sizes.get(axis, 1) == wanted[axis] for axis in (0, 1))


def _is_one_head_of_more(value: ir.Value, head_dim: int) -> bool:
    """Whether ``value`` is a head cut out of a wider tensor, which may hold more heads to cover."""
    if isinstance(value.owner, ir.Block):
        return False
    op = value.owner.operation
    return op.name in ("rlx.narrow", "tensor.extract_slice") and (
        value.type.shape[-1] == head_dim < op.operands[0].type.shape[-1]
    )


def _leaves_read_twice(root) -> bool:
    """Whether a column of one of several tensors that make up the operand is read twice."""
    by_value: dict[ir.Value, list] = {}
    for node in leaves([root]):
        by_value.setdefault(node.value, []).append(node)
    found = (as_columns(value, nodes) for value, nodes in by_value.items())
    return any(s is not None and len(np.unique(s.columns)) < len(s.columns) for s in found)


def _problem(source: Source, heads: int, head_dim: int) -> str:
    """Why these columns are not each head several times in a row."""
    rows = source.columns.reshape(heads, head_dim)
    for head, row in enumerate(rows):
        if not np.array_equal(row, row[0] + np.arange(head_dim)):
            return f"head {head} is not {head_dim} columns in a row of one tensor"
        if row[0] % head_dim != 0:
            return (
                f"head {head} starts at column {row[0]}, which is no multiple of its size "
                f"{head_dim}"
            )
    order = [int(row[0]) // head_dim for row in rows]
    if sorted(set(order)) != list(range(source.width // head_dim)) or source.width % head_dim:
        names = ", ".join(map(str, sorted(set(order))))
        return f"heads are only {names} of a tensor with {source.width} columns"
    return "heads come in the order " + ", ".join(map(str, order))
