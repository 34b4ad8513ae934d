"""Reading formulas off tensor IR: which numbers are equal, products and sums.

Formulas are those of single elements, as :mod:`rlx.passes.match` follows them; casts and views on
the way do not matter.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from rlx.dialects.types import is_float
from rlx.host import ir
from rlx.passes.match import (
    CASTS,
    Node,
    all_elements,
    constant,
    enter,
    expand,
    into_body,
    is_tensor,
    maps_of,
    operation,
    out_of_body,
)
from rlx.passes.views import Axis, Index, at_free, kind, producer

__all__ = ["elementwise_roots", "factors", "same", "strip", "summand", "tensor_of"]


def strip(node: Node) -> Node:
    """``node`` before casts, copies and views that all its elements take together."""
    while True:
        node = enter(node)
        op = producer(node.value)
        if kind(op) in CASTS:
            node = replace(node, value=op.operands[0])
            continue
        pieces = expand(node) if is_tensor(node.value) else None
        if not pieces or len(pieces) != 1:
            return node
        node = pieces[0]


def same(a: Node, b: Node, depth: int = 6) -> bool:
    """Whether two nodes are known to hold the same numbers, casts aside."""
    a, b = strip(a), strip(b)
    if a.value == b.value and len(a.index) == len(b.index):
        return all(map(_equal, a.index, b.index))
    x, y = operation(a), operation(b)
    if x is None or y is None:
        number = constant(a)
        return number is not None and number == constant(b)
    (p, ours), (q, theirs) = x, y
    return (
        depth > 0
        and kind(p) == kind(q)
        and _attributes(p) == _attributes(q)
        and all(same(m, n, depth - 1) for m, n in zip(ours, theirs, strict=True))
    )


def _equal(a: Axis, b: Axis) -> bool:
    if isinstance(a, int) or isinstance(b, int):
        return isinstance(a, int) and isinstance(b, int) and a == b
    return np.array_equal(a, b)


def _attributes(op: Any) -> dict[str, str]:
    return {name: str(op.attributes[name]) for name in ("predicate",) if name in op.attributes}


def tensor_of(node: Node, *types: ir.Type) -> ir.Value | None:
    """The tensor of one of the element ``types`` that holds exactly these elements, if there is.

    The elements are those of :func:`all_elements`; casts on the way are looked through, and the
    tensor before most of them is taken.
    """
    found: ir.Value | None = None
    while True:
        value = node.value
        if is_tensor(value):
            whole = all(
                at == axis or value.type.shape[axis] == 1 if isinstance(at, int) else size == 1
                for axis, (at, size) in enumerate(zip(node.index, value.type.shape, strict=True))
            )
            if whole and value.type.element_type in types:
                found = value
        following = _before_cast(node)
        if following is None:
            return found
        node = following


def _before_cast(node: Node) -> Node | None:
    """One step backwards into or out of a body, or through a cast."""
    op = producer(node.value)
    if kind(op) in CASTS:
        return replace(node, value=op.operands[0])
    return into_body(node) if is_tensor(node.value) else out_of_body(node)


def factors(node: Node, split: Callable[[Node], bool]) -> tuple[list[Node], list[Node]]:
    """What is multiplied and what is divided by in a product, casts and views aside.

    Args:
        node: the product.
        split: whether to take a factor that is a product itself apart.
    """
    computed = operation(strip(node))
    if computed is None or kind(computed[0]) not in ("arith.mulf", "arith.divf") or not split(node):
        return [node], []
    op, (first, second) = computed
    above, below = factors(first, split)
    more, less = factors(second, split)
    if kind(op) == "arith.divf":
        more, less = less, more
    return above + more, below + less


def summand(node: Node, axis: int) -> Node | None:
    """What is added up, starting at zero, to make ``node``, over one axis of what it is made of.

    Args:
        node: an element of a sum.
        axis: the number that the summed axis gets as a free axis.
    """
    op = producer(node.value)
    if op is None or kind(op) not in ("linalg.generic", "linalg.reduce") or len(op.results) != 1:
        return None
    init = op.operands[len(op.operands) - 1]
    loops = _summing_loops(op, node, axis)
    if loops is None or constant(all_elements(init)) != 0:
        return None
    body = list(op.regions[0].blocks[0].operations)
    total = op.regions[0].blocks[0].arguments[len(op.operands) - 1]
    added = producer(body[-1].operands[0])
    if kind(added) != "arith.addf" or total not in list(added.operands):
        return None
    term = next((value for value in added.operands if value != total), None)
    if term is None:
        return None
    inside = Node(term, loops, node.lanes)
    return out_of_body(inside) or inside


def _summing_loops(op: Any, node: Node, axis: int) -> Index | None:
    """The iterations of a reduction of one axis that add up ``node``."""
    if kind(op) == "linalg.reduce":
        dimensions = list(op.attributes["dimensions"])
        if len(dimensions) != 1 or len(op.operands) != 2:
            return None
        size = op.operands[0].type.shape[dimensions[0]]
        entry = at_free(axis, size, len(node.lanes))
        return (*node.index[: dimensions[0]], entry, *node.index[dimensions[0] :])
    kinds = [str(kind) for kind in op.attributes["iterator_types"]]
    summed = [position for position, kind in enumerate(kinds) if "reduction" in kind]
    maps = maps_of(op)
    if len(summed) != 1 or maps is None:
        return None
    loops: dict[int, Axis] = {summed[0]: axis}
    for result, at in zip(maps[-1], node.index, strict=True):
        if isinstance(result, ir.AffineDimExpr):
            loops[result.position] = at
    return tuple(loops[i] for i in range(len(kinds))) if len(loops) == len(kinds) else None


def elementwise_roots(op: ir.Operation) -> list[tuple[int, ir.OpView]]:
    """Arith, math and linalg ops that make one tensor of floats, last first, with their hashes."""
    found: list[tuple[int, ir.OpView]] = []

    def visit(inner: ir.Operation) -> ir.WalkResult:
        name = inner.operation.name
        if name.startswith(("arith.", "linalg.", "math.")) and len(inner.results) == 1:
            type = inner.results[0].type
            if isinstance(type, ir.RankedTensorType) and is_float(type.element_type):
                found.append((hash(inner.operation), inner.operation.opview))
        return ir.WalkResult.ADVANCE

    op.operation.walk(visit)
    return found[::-1]
