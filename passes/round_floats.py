"""`rlx-round-floats`: f64 to 16-bit floats without library calls."""

from dataclasses import dataclass

from rlx.host import arith, ir, math
from rlx.passes.base import Pass, walk

__all__ = ["RoundFloats"]


@dataclass(frozen=True)
class RoundFloats(Pass):
    """Splits `arith.truncf` from f64 to f16 or bf16 into two steps that round as one does.

    The first step, to f32, rounds to odd: an inexact result gets an odd last bit, by which the
    second step can tell it from a tie. No CPU has the single step, and the library functions that
    LLVM would call are not everywhere.
    """

    name = "rlx-round-floats"

    def run(self, op: ir.Operation) -> None:
        for cast in walk(op, "arith.truncf"):
            source, result = cast.operation.operands[0], cast.operation.results[0]
            narrow = _element(result.type)
            if not isinstance(_element(source.type), ir.F64Type):
                continue
            if not isinstance(narrow, ir.F16Type | ir.BF16Type):
                continue
            with ir.InsertionPoint(cast), cast.location:
                value = arith.truncf(result.type, _to_odd(source))
            result.replace_all_uses_with(value)
            cast.operation.erase()


def _to_odd(wide: ir.Value) -> ir.Value:
    f32 = _like(wide.type, ir.F32Type.get())
    i32 = _like(wide.type, ir.IntegerType.get_signless(32))
    near = arith.truncf(f32, wide)
    back = arith.extf(wide.type, near)
    bits = arith.bitcast(i32, near)
    one = _constant(i32, 1)
    inexact = arith.cmpf(arith.CmpFPredicate.ONE, back, wide)
    odd = arith.cmpi(arith.CmpIPredicate.eq, arith.andi(bits, one), one)
    too_large = arith.cmpf(arith.CmpFPredicate.OGT, math.absf(back), math.absf(wide))
    other = arith.select(too_large, arith.subi(bits, one), arith.addi(bits, one))
    keep = arith.select(odd, bits, other)
    return arith.bitcast(f32, arith.select(inexact, keep, bits))


def _element(type_: ir.Type) -> ir.Type:
    return type_.element_type if isinstance(type_, ir.VectorType) else type_


def _like(type_: ir.Type, element: ir.Type) -> ir.Type:
    """``element``, in a vector of the same shape where ``type_`` is one."""
    return ir.VectorType.get(type_.shape, element) if isinstance(type_, ir.VectorType) else element


def _constant(type_: ir.Type, value: int) -> ir.Value:
    attribute = ir.IntegerAttr.get(_element(type_), value)
    if isinstance(type_, ir.VectorType):
        return arith.constant(type_, ir.DenseElementsAttr.get_splat(type_, attribute))
    return arith.constant(type_, attribute)
