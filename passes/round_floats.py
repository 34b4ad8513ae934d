"""`rlx-round-floats`: f64 to 16-bit floats without library calls."""

from dataclasses import dataclass

from rlx.host import arith, ir, math
from rlx.passes.base import Pass, walk
from rlx.passes.lanes import constant, element, like

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
            narrow = element(result.type)
            if not isinstance(element(source.type), ir.F64Type):
                continue
            if not isinstance(narrow, ir.F16Type | ir.BF16Type):
                continue
            with ir.InsertionPoint(cast), cast.location:
                value = arith.truncf(result.type, _to_odd(source))
            result.replace_all_uses_with(value)
            cast.operation.erase()


def _to_odd(wide: ir.Value) -> ir.Value:
    f32 = like(wide.type, ir.F32Type.get())
    i32 = like(wide.type, ir.IntegerType.get_signless(32))
    near = arith.truncf(f32, wide)
    back = arith.extf(wide.type, near)
    bits = arith.bitcast(i32, near)
    one = constant(i32, 1)
    inexact = arith.cmpf(arith.CmpFPredicate.ONE, back, wide)
    odd = arith.cmpi(arith.CmpIPredicate.eq, arith.andi(bits, one), one)
    too_large = arith.cmpf(arith.CmpFPredicate.OGT, math.absf(back), math.absf(wide))
    other = arith.select(too_large, arith.subi(bits, one), arith.addi(bits, one))
    keep = arith.select(odd, bits, other)
    return arith.bitcast(f32, arith.select(inexact, keep, bits))
