"""Functions of vectors of f32, elementwise."""

from collections.abc import Sequence

from rlx.host import arith, ir, x86
from rlx.schedules.cpu.code.registers import fma, larger, splat

__all__ = ["exp2", "tanh"]

_AVX512_LANES = 16

# 2^f for |f| <= 1/2, lowest degree first: a minimax polynomial, with a relative error of 9.2e-8.
_EXP2 = (
    1.0,
    0.6931470036506653,
    0.24022242426872253,
    0.05550733581185341,
    0.009671512991189957,
    0.001326472731307149,
)
_MAGIC = 12582912.0  # 1.5 * 2^23: adding it rounds an f32 and leaves the integer in the low bits
_LEAST = -126.0

# tanh(x) = x P(x^2) / Q(x^2) for |x| <= _FLAT, minimax, with a relative error of 1.5e-8. Both P and
# Q begin with 1.
_P = (0.1340321148499406, 0.003521934397554601, 2.1043692047864664e-05, 1.3961989137218648e-08)
_Q = (0.4673653606432002, 0.025977208962508182, 3.3287499435032857e-04, 8.023855873032584e-07)
_FLAT = 8.7  # from here on, tanh is 1 in f32


def exp2(x: ir.Value) -> ir.Value:
    """2^x of an f32 vector, for x < 127, within 2.1 ulp; zero below -126. NaN stays NaN."""
    lanes = x.type.shape[0]
    shifted = arith.addf(x, splat(_MAGIC, lanes))
    whole = arith.subf(shifted, splat(_MAGIC, lanes))
    value = _polynomial(_EXP2, arith.subf(x, whole))
    value = _scale(value, whole) if lanes == _AVX512_LANES else _add_exponent(value, shifted)
    vanishes = arith.cmpf(arith.CmpFPredicate.OLT, x, splat(_LEAST, lanes))
    return arith.select(vanishes, splat(0.0, lanes), value)


def _scale(value: ir.Value, power: ir.Value) -> ir.Value:
    """``value`` times a power of two, one instruction."""
    all_lanes = arith.constant(ir.IntegerType.get_signless(16), -1)
    rounding = arith.constant(ir.IntegerType.get_signless(32), 4)
    return x86.avx512_mask_scalef(value, power, value, all_lanes, rounding)


def _add_exponent(value: ir.Value, shifted: ir.Value) -> ir.Value:
    """``value`` times 2^n, where that makes no difference but to its exponent; n is in low bits."""
    lanes = value.type.shape[0]
    ints = ir.VectorType.get([lanes], ir.IntegerType.get_signless(32))
    exponent = arith.shli(arith.bitcast(ints, shifted), splat(23, lanes, ints.element_type))
    return arith.bitcast(value.type, arith.addi(arith.bitcast(ints, value), exponent))


def tanh(x: ir.Value, factor: float) -> ir.Value:
    """``factor`` * tanh(x) of an f32 vector. NaN stays NaN.

    The error is below 2.7 ulp for |x| < 1, and 6 ulp, that is 3.6e-7, beyond; with a ``factor``,
    one ulp more.
    """
    lanes = x.type.shape[0]
    most = splat(_FLAT, lanes)
    x = larger(splat(-_FLAT, lanes), x)
    x = arith.select(arith.cmpf(arith.CmpFPredicate.OLT, most, x), most, x)
    square = arith.mulf(x, x)
    # The first terms apart: so they are rounded once.
    above = _polynomial([factor * c for c in _P], square)
    above = fma(arith.mulf(square, x), above, arith.mulf(x, splat(factor, lanes)))
    below = _polynomial((1.0, *_Q), square)
    # LLVM makes a guess at the inverse and a step of refinement of it, rounded about as well as
    # division, which takes as long as all the rest; without AVX-512 the guess is too bad for that.
    fast = "arcp,contract,ninf" if lanes == _AVX512_LANES else "none"
    return arith.divf(above, below, fastmath=ir.Attribute.parse(f"#arith.fastmath<{fast}>"))


def _polynomial(coefficients: Sequence[float], x: ir.Value) -> ir.Value:
    *rest, value = (splat(c, x.type.shape[0]) for c in coefficients)
    for coefficient in reversed(rest):
        value = fma(value, x, coefficient)
    return value
