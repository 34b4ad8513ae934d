"""`rlx-expand-math`: exp, tanh and erf in f32 as arithmetic that vectorises."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rlx.host import arith, ir, math
from rlx.passes.base import Pass, walk
from rlx.passes.lanes import constant, element, like

__all__ = ["ExpandMath", "erf", "exp", "tanh"]

# Minimax polynomials, lowest degree first.
_EXP = (0.5, 0.16666518, 0.041666206, 0.00836889, 0.0013950489)
"""(e^r - 1 - r) / r^2 for |r| <= ln(2) / 2."""
_TANH = (-0.33333278, 0.13331328, -0.05372923, 0.020602, -0.0056607807)
"""(tanh(x) / x - 1) / z with z = x^2, for |x| < 0.625."""
_ERF = (
    1.1283791,
    -0.37612626,
    0.112836,
    -0.026854444,
    0.0051895352,
    -0.0008020841,
    7.889119e-05,
)
"""erf(x) / x in z = x^2, for |x| < 1."""
_ERFC = (1.1284801, 0.63583136, 0.10511629, -0.022798544, 0.003186967, -0.00021064492)
"""-log(erfc(x)) / x in x, for 1 <= x <= 4."""

_MAGIC = 12582912.0
"""1.5 * 2^23: adding it rounds an f32 to an integer and leaves that in the low bits."""
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
"""ln(2) in two parts; the first times an exponent is exact."""


@dataclass(frozen=True)
class ExpandMath(Pass):
    """Computes `math.exp`, `math.tanh` and `math.erf` of f32 by polynomials.

    The functions of libm are calls, which keep LLVM from vectorising the loop around them. The
    errors, over all f32, are at most 1.1 ulp for exp, 1.5 ulp for tanh and 2.5 ulp for erf. NaN,
    infinities, zeros and subnormal results are what libm gives. f64 is left to libm.
    """

    name = "rlx-expand-math"

    def run(self, op: ir.Operation) -> None:
        for name, expand in {"math.exp": exp, "math.tanh": tanh, "math.erf": erf}.items():
            for call in walk(op, name):
                argument = call.operation.operands[0]
                if not isinstance(element(argument.type), ir.F32Type):
                    continue
                with ir.InsertionPoint(call), call.location:
                    value = expand(argument)
                call.operation.results[0].replace_all_uses_with(value)
                call.operation.erase()


def exp(x: ir.Value) -> ir.Value:
    """e^x of an f32, or of a vector of them."""
    c = partial(constant, x.type)
    # Outside of these bounds the result is zero or infinite; NaN passes both.
    x = arith.select(arith.cmpf(arith.CmpFPredicate.OGT, x, c(89.0)), c(89.0), x)
    x = arith.select(arith.cmpf(arith.CmpFPredicate.OLT, x, c(-104.0)), c(-104.0), x)
    y, exponent = _power_of_two(x)
    i32 = exponent.type
    # In two steps, since 2^n alone may be subnormal or too large.
    half = arith.shrsi(exponent, constant(i32, 1))
    scales = (half, arith.subi(exponent, half))
    for part in scales:
        biased = arith.shli(arith.addi(part, constant(i32, 127)), constant(i32, 23))
        y = arith.mulf(y, arith.bitcast(x.type, biased))
    return y


def _exp_of_few(x: ir.Value) -> ir.Value:
    """e^x for -80 <= x <= 80."""
    y, exponent = _power_of_two(x)
    i32 = exponent.type
    scaled = arith.addi(arith.bitcast(i32, y), arith.shli(exponent, constant(i32, 23)))
    return arith.bitcast(x.type, scaled)


def _power_of_two(x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """e^x as y * 2^n: y, which is close to one, and n as an i32."""
    c = partial(constant, x.type)
    i32 = like(x.type, ir.IntegerType.get_signless(32))
    shifted = math.fma(x, c(1.442695041), c(_MAGIC))
    n = arith.subf(shifted, c(_MAGIC))
    r = math.fma(n, c(-_LN2_LOW), math.fma(n, c(-_LN2_HIGH), x))
    y = arith.addf(math.fma(_polynomial(_EXP, r, c), arith.mulf(r, r), r), c(1.0))
    return y, arith.subi(arith.bitcast(i32, shifted), arith.bitcast(i32, c(_MAGIC)))


def tanh(x: ir.Value, exp: Callable[[ir.Value], ir.Value] = exp) -> ir.Value:
    """tanh of an f32, or of a vector of them; with another ``exp`` that is as exact."""
    c = partial(constant, x.type)
    size = math.absf(x)
    z = arith.mulf(x, x)
    near = math.fma(arith.mulf(_polynomial(_TANH, z, c), z), x, x)
    # 1 - 2 / (e^2x + 1)
    grown = exp(arith.addf(size, size))
    far = arith.subf(c(1.0), arith.divf(c(2.0), arith.addf(grown, c(1.0))))
    is_near = arith.cmpf(arith.CmpFPredicate.OLT, size, c(0.625))
    return math.copysign(arith.select(is_near, near, far), x)


def erf(x: ir.Value, exp: Callable[[ir.Value], ir.Value] = _exp_of_few) -> ir.Value:
    """The error function of an f32, or of a vector of them; with another ``exp`` as for `tanh`."""
    c = partial(constant, x.type)
    size = math.absf(x)
    near = arith.mulf(x, _polynomial(_ERF, arith.mulf(x, x), c))
    # 1 - e^(log(erfc(x))); from 4 on that is 1.
    size = arith.select(arith.cmpf(arith.CmpFPredicate.OGT, size, c(4.0)), c(4.0), size)
    exponent = arith.mulf(arith.negf(size), _polynomial(_ERFC, size, c))
    far = arith.subf(c(1.0), exp(exponent))
    is_near = arith.cmpf(arith.CmpFPredicate.OLT, size, c(1.0))
    return math.copysign(arith.select(is_near, near, far), x)


def _polynomial(
    coefficients: Sequence[float], x: ir.Value, c: Callable[[float], ir.Value]
) -> ir.Value:
    """Horner's rule with fused multiply-adds."""
    *rest, value = map(c, coefficients)
    for coefficient in reversed(rest):
        value = math.fma(value, x, coefficient)
    return value
