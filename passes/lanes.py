"""Arithmetic that is the same for a scalar and for a vector of scalars."""

from rlx.host import arith, ir

__all__ = ["constant", "element", "like"]


def element(type_: ir.Type) -> ir.Type:
    """The type of one lane."""
    return type_.element_type if isinstance(type_, ir.VectorType) else type_


def like(type_: ir.Type, lane: ir.Type) -> ir.Type:
    """``lane``, in a vector of the same shape where ``type_`` is one."""
    return ir.VectorType.get(type_.shape, lane) if isinstance(type_, ir.VectorType) else lane


def constant(type_: ir.Type, value: float | int) -> ir.Value:
    """``value`` in every lane."""
    lane = element(type_)
    if isinstance(lane, ir.IntegerType):
        attribute = ir.IntegerAttr.get(lane, value)
    else:
        attribute = ir.FloatAttr.get(lane, value)
    if isinstance(type_, ir.VectorType):
        attribute = ir.DenseElementsAttr.get_splat(type_, attribute)
    return arith.constant(type_, attribute)
