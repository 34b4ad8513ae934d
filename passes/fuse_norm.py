"""`rlx-fuse-norm`: division by the root mean square, written out, as `rlx.rms_norm`."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlx.diagnostics import remark
from rlx.dialects import emit
from rlx.dialects.rms_norm import rms_norm
from rlx.dialects.types import is_static
from rlx.host import ir
from rlx.passes.base import Pass
from rlx.passes.formulas import elementwise_roots, factors, same, strip, summand, tensor_of
from rlx.passes.match import CASTS, Node, all_elements, constant, enter, operation, origins
from rlx.passes.rewrite import erase_dead
from rlx.passes.views import kind

__all__ = ["FuseNorm"]


@dataclass(frozen=True)
class FuseNorm(Pass):
    """Makes a root mean square norm that is written out one `rlx.rms_norm`.

    Front ends write the norm of the last axis as a handful of linalg ops::

        %s = linalg.generic ins(%x)              { sum of x * x over the last axis }
        %r = linalg.generic ins(%s)              { rsqrt(s / 64 + 1.0e-06) }
        %y = linalg.generic ins(%x, %r, %weight) { x * r * weight }

    becomes ::

        %y = rlx.rms_norm %x, %weight {epsilon = 1.0e-06}

    The steps may be one linalg op each or share ops, or be `arith` and `math` on tensors, with the
    sum kept as an axis of size 1 or dropped, with casts between float types, and in any order of
    the factors. The square is `x * x` or a power, the root `rsqrt`, a division by `sqrt` or the
    power -0.5. The weight is a vector along the last axis, or such a vector plus a constant, which
    becomes `weight_offset`, or absent. The norm is computed in f32 and rounded once, where the
    written form may round in between.

    What looks like a norm but divides by another count than that of the axis, or squares another
    tensor than it scales, stays as it is, with a remark.
    """

    name = "rlx-fuse-norm"

    def run(self, op: ir.Operation) -> None:
        erased: set[int] = set()
        explained: set[ir.Value] = set()
        for key, root in elementwise_roots(op):
            if key not in erased:
                erased |= _fuse(root, explained)


@dataclass(frozen=True)
class _Norm:
    """What a product is made of.

    Attributes:
        input: the tensor that is normalised.
        weight: the elements of the weight, or None.
        epsilon, weight_offset: as in `rlx.rms_norm`.
    """

    input: ir.Value
    weight: Node | None
    epsilon: float
    weight_offset: float


class _Refused(Exception):
    """The factors look like a norm, but are none."""


def _fuse(root: ir.OpView, explained: set[ir.Value]) -> set[int]:
    """Fuses the norm that ends in ``root``.

    Args:
        root: the op that makes the product.
        explained: the roots (in the sense of rsqrt) of norms that a remark was made about.

    Returns:
        The hashes of the ops that are erased.
    """
    result = root.results[0]
    if result.type.rank == 0:
        return set()
    whole = all_elements(result)
    if not _is_product(whole):
        return set()
    above, below = factors(whole, lambda node: True)
    inverse = _inverse_root(above, below)
    if inverse is None or len(above) + len(below) < 2:
        return set()
    norm, problem = None, ""
    # The input, or the weight, may be a product itself: first take apart no more than needed.
    for split in (lambda node: _holds(node, inverse), lambda node: True):
        try:
            norm = norm or _norm(result.type, inverse, *factors(whole, split))
        except _Refused as refused:
            problem = str(refused)
    weights: list[ir.Value] = []
    if norm is not None and norm.weight is not None:
        types = [result.type.element_type, ir.F32Type.get()]
        weights = _vectors(norm.weight, result.type, types)
        if not weights:
            norm, problem = None, "its weight is no vector along the last axis"
    if norm is None:
        if problem and strip(inverse).value not in explained:
            explained.add(strip(inverse).value)
            remark(root, f"norm stays in parts: {problem}")
        return set()
    with ir.InsertionPoint(root), root.location:
        fused = rms_norm(
            norm.input,
            _flat(weights[-1]) if weights else None,
            epsilon=norm.epsilon,
            weight_offset=norm.weight_offset,
        )
        result.replace_all_uses_with(emit.cast(fused, result.type))
    return erase_dead(result)


def _is_product(node: Node) -> bool:
    """Whether the elements are products or quotients, casts aside."""
    computed = operation(node)
    while computed is not None and kind(computed[0]) in CASTS:
        computed = operation(computed[1][0])
    return computed is not None and kind(computed[0]) in ("arith.mulf", "arith.divf")


def _inverse_root(above: Sequence[Node], below: Sequence[Node]) -> Node | None:
    """The factor that is one over a root."""
    for factor in above:
        if _argument(factor, "math.rsqrt", -0.5) is not None:
            return factor
    for factor in below:
        if _argument(factor, "math.sqrt", 0.5) is not None:
            return factor
    return None


def _argument(node: Node, name: str, power: float) -> Node | None:
    """The argument of the function ``name``, which is also a power."""
    computed = operation(strip(node))
    if computed is None:
        return None
    op, operands = computed
    if kind(op) == "math.powf" and constant(operands[1]) == power:
        return operands[0]
    return operands[0] if kind(op) == name else None


def _holds(node: Node, factor: Node) -> bool:
    """Whether ``factor`` is one of the factors of ``node``."""
    return any(
        strip(each).value == strip(factor).value
        for group in factors(node, lambda inner: True)
        for each in group
    )


def _norm(
    type: ir.RankedTensorType, inverse: Node, above: Sequence[Node], below: Sequence[Node]
) -> _Norm | None:
    """The norm of this type that has these factors; None when they are none.

    Raises:
        _Refused: they are almost.
    """
    is_inverse = [_same_scalar(node, inverse) for node in (*above, *below)]
    if sum(is_inverse) != 1 or len(below) != sum(is_inverse[len(above) :]):
        return None
    others = [node for node, used in zip(above, is_inverse, strict=False) if not used]
    radicand = _argument(inverse, "math.rsqrt", -0.5) or _argument(inverse, "math.sqrt", 0.5)
    square = None if radicand is None else _mean_square(type, radicand)
    if square is None or len(others) > 2:
        return None
    base, epsilon, count = square
    element = type.element_type
    inputs = [(node, tensor_of(node, element)) for node in others if same(node, base)]
    inputs = [(node, value) for node, value in inputs if value is not None]
    if not inputs and strip(base).value in [strip(node).value for node in others]:
        raise _Refused("it does not average over the last axis")
    centered = operation(strip(base))
    if not inputs and centered is not None and kind(centered[0]) == "arith.subf":
        raise _Refused("it subtracts the mean, as a layer norm does")
    if not inputs:
        raise _Refused("it does not scale the tensor that it squares")
    size = type.shape[-1]
    if not is_static(size) or abs(count - size) > 1e-5 * size:
        words = str(size) if is_static(size) else "an unknown number of"
        raise _Refused(f"it divides by {count:g} and has {words} columns")
    input = inputs[0][1]
    rest = [node for node in others if node is not inputs[0][0]]
    if not rest:
        return _Norm(input, None, epsilon, 0.0)
    weight, offset = _plus_constant(rest[0])
    return _Norm(input, weight, epsilon, offset)


def _same_scalar(a: Node, b: Node) -> bool:
    return enter(a).value == enter(b).value


def _plus_constant(node: Node) -> tuple[Node, float]:
    """``node`` as something plus a number."""
    computed = operation(strip(node))
    if computed is not None and kind(computed[0]) == "arith.addf":
        for one, other in (computed[1], reversed(computed[1])):
            number = constant(other)
            if number is not None:
                return one, number
    return node, 0.0


def _mean_square(type: ir.RankedTensorType, radicand: Node) -> tuple[Node, float, float] | None:
    """What is squared and averaged, the epsilon that is added, and what the sum is divided by."""
    mean, epsilon = _plus_constant(radicand)
    above, below = factors(mean, lambda node: True)
    numbers = [constant(node) for node in (*above, *below)]
    sums = [node for node, number in zip(above, numbers, strict=False) if number is None]
    if len(sums) != 1 or None in numbers[len(above) :] or epsilon < 0:
        return None
    found = summand(strip(sums[0]), type.rank - 1)
    base = None if found is None else _square(found)
    if base is None:
        return None
    count = 1.0
    for number in numbers[len(above) :]:
        count *= number or 0.0
    for number in numbers[: len(above)]:
        count /= 1.0 if number is None else number or 1.0
    return base, epsilon, count


def _square(node: Node) -> Node | None:
    """What ``node`` is the square of."""
    computed = operation(strip(node))
    if computed is None:
        return None
    op, operands = computed
    if kind(op) == "arith.mulf" and same(operands[0], operands[1]):
        return operands[0]
    if kind(op) in ("math.fpowi", "math.powf") and constant(operands[1]) == 2:
        return operands[0]
    return None


def _vectors(node: Node, type: ir.RankedTensorType, types: Sequence[ir.Type]) -> list[ir.Value]:
    """Tensors that hold the weight along their only long axis, nearest first."""
    found = []
    for value, nodes in origins(node, frozenset({"arith.extf"})).items():
        long = [at for at in nodes[0].index if isinstance(at, int)]
        if (
            len(nodes) == 1
            and long == [type.rank - 1]
            and value.type.element_type in types
            and sorted(value.type.shape)[-1] == type.shape[-1]
        ):
            found.append(value)
    return found


def _flat(value: ir.Value) -> ir.Value:
    """``value`` with all its axes as one."""
    for _ in range(value.type.rank - 1):
        value = emit.join_axes(value, 0)
    return value
