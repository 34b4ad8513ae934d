"""Elementwise arithmetic on tensors, in upstream dialects."""

from collections.abc import Callable

from rlx.dialects import emit
from rlx.dialects.glu import activate
from rlx.dialects.types import accumulator_type
from rlx.host import arith, ir, math

__all__ = [
    "activation",
    "add",
    "add_bias",
    "clip",
    "multiply_columns",
    "multiply_scalar",
    "scale",
    "soft_cap",
    "splat",
    "times_sigmoid",
]


def add(a: ir.Value, b: ir.Value) -> ir.Value:
    """``a + b`` for float tensors of one type."""
    return arith.addf(a, b)


def add_bias(value: ir.Value, bias: ir.Value) -> ir.Value:
    """``value`` [..., N] plus ``bias`` [N]."""
    return _columns(value, bias, arith.addf)


def multiply_columns(value: ir.Value, factors: ir.Value) -> ir.Value:
    """``value`` [..., N] times ``factors`` [N]."""
    return _columns(value, factors, arith.mulf)


def splat(size: int, element: ir.Type, number: float) -> ir.Value:
    """A constant [size] that is ``number`` throughout."""
    type = ir.RankedTensorType.get([size], element)
    value = ir.DenseElementsAttr.get_splat(type, ir.FloatAttr.get(element, number))
    return arith.constant(type, value)


def clip(value: ir.Value, bound: float) -> ir.Value:
    """``value``, no larger than ``bound`` and no smaller than ``-bound``."""
    element = value.type.element_type

    def body(x: ir.Value) -> ir.Value:
        above = arith.maximumf(x, emit.constant(element, -bound))
        return arith.minimumf(above, emit.constant(element, bound))

    return _map(value, body)


def scale(value: ir.Value, factor: float, *, rounded: bool = True) -> ir.Value:
    """``value * factor``; ``rounded``: with the factor rounded to the element type first."""
    element = value.type.element_type
    wide = element if rounded else accumulator_type(element)

    def body(x: ir.Value) -> ir.Value:
        return emit.convert(arith.mulf(emit.convert(x, wide), emit.constant(wide, factor)), element)

    return _map(value, body)


def multiply_scalar(value: ir.Value, factor: ir.Value) -> ir.Value:
    """``value`` [...] times ``factor`` [1] of the same element type."""
    axes = emit.axes(value.type.rank)
    return emit.generic(
        [value, factor],
        emit.empty(emit.sizes(value), value.type.element_type),
        [axes, [ir.AffineExpr.get_constant(0)], axes],
        "p" * len(axes),
        lambda x, y, _: arith.mulf(x, y),
    )


def activation(value: ir.Value, kind: str) -> ir.Value:
    """An activation as in `rlx.glu`, or ``"relu2"``, the square of ``"relu"``.

    Computed in f32 (f64 for f64) and rounded once.
    """
    element = value.type.element_type
    wide = accumulator_type(element)

    def body(x: ir.Value) -> ir.Value:
        y = activate("relu" if kind == "relu2" else kind, emit.convert(x, wide))
        return emit.convert(arith.mulf(y, y) if kind == "relu2" else y, element)

    return _map(value, body)


def soft_cap(value: ir.Value, cap: float) -> ir.Value:
    """``cap * tanh(value / cap)``, computed in f32 (f64 for f64) and rounded once."""
    element = value.type.element_type
    wide = accumulator_type(element)

    def body(x: ir.Value) -> ir.Value:
        bound = emit.constant(wide, cap)
        ratio = arith.divf(emit.convert(x, wide), bound)
        return emit.convert(arith.mulf(math.tanh(ratio), bound), element)

    return _map(value, body)


def times_sigmoid(value: ir.Value, gate: ir.Value) -> ir.Value:
    """``value`` [..., N] times the sigmoid of ``gate`` [..., 1], rounded once."""
    axes, element = emit.axes(value.type.rank), value.type.element_type
    wide = accumulator_type(element)

    def body(x: ir.Value, g: ir.Value, _: ir.Value) -> ir.Value:
        one = emit.constant(wide, 1.0)
        sigmoid = arith.divf(one, arith.addf(one, math.exp(arith.negf(emit.convert(g, wide)))))
        return emit.convert(arith.mulf(emit.convert(x, wide), sigmoid), element)

    return emit.generic(
        [value, gate],
        emit.empty(emit.sizes(value), element),
        [axes, [*axes[:-1], ir.AffineExpr.get_constant(0)], axes],
        "p" * len(axes),
        body,
    )


def _columns(value: ir.Value, vector: ir.Value, combine: Callable[..., ir.Value]) -> ir.Value:
    axes = emit.axes(value.type.rank)
    return emit.generic(
        [value, vector],
        emit.empty(emit.sizes(value), value.type.element_type),
        [axes, axes[-1:], axes],
        "p" * len(axes),
        lambda x, y, _: combine(x, y),
    )


def _map(value: ir.Value, body: Callable[[ir.Value], ir.Value]) -> ir.Value:
    axes = emit.axes(value.type.rank)
    return emit.generic(
        [value],
        emit.empty(emit.sizes(value), value.type.element_type),
        [axes, axes],
        "p" * len(axes),
        lambda x, _: body(x),
    )
