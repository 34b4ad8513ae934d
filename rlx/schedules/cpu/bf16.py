"""Short names for ops on vectors of bf16, in pairs as the instructions of AVX512-BF16 want them."""

from collections.abc import Sequence

from rlx.host import arith, ir, vector, x86
from rlx.host import math as mlir_math
from rlx.schedules.cpu import code
from rlx.schedules.cpu.code import Index

__all__ = [
    "LANES",
    "PAIRS",
    "bf16",
    "dot",
    "exp2",
    "integers",
    "interleave",
    "join",
    "load",
    "narrow",
    "pairs",
    "store",
    "transpose_pairs",
    "zero",
]

LANES = 32
"""bf16 elements of a vector register."""

PAIRS = 16


def bf16() -> ir.Type:
    return ir.BF16Type.get()


def pairs() -> ir.VectorType:
    """The type of a vector of 16 pairs."""
    return ir.VectorType.get([LANES], bf16())


def integers() -> ir.VectorType:
    """Pairs as one integer each."""
    return ir.VectorType.get([LANES // 2], ir.IntegerType.get_signless(32))


def zero() -> ir.Value:
    return code.splat(0.0, LANES, bf16())


def load(buffer: ir.Value, at: Sequence[Index], count: Index | None = None) -> ir.Value:
    """32 elements along the last axis as they are; with a ``count`` only so many, then zeros."""
    places = [code.index(i) for i in at]
    if count is None:
        return vector.load(pairs(), buffer, places)
    return vector.maskedload(pairs(), buffer, places, code.mask(count, LANES), zero())


def store(
    value: ir.Value, buffer: ir.Value, at: Sequence[Index], count: Index | None = None
) -> None:
    """Writes a vector of bf16, or its first ``count`` elements."""
    places = [code.index(i) for i in at]
    if count is None:
        vector.store(value, buffer, places)
    else:
        vector.maskedstore(buffer, places, code.mask(count, value.type.shape[0]), value)


def join(low: ir.Value, high: ir.Value) -> ir.Value:
    """Two vectors, one after the other."""
    lanes = low.type.shape[0]
    return vector.shuffle(low, high, list(range(2 * lanes)))


def narrow(value: ir.Value) -> ir.Value:
    """f32 rounded to bf16."""
    return arith.truncf(ir.VectorType.get(value.type.shape, bf16()), value)


def interleave(a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Pairs of an element of ``a`` and one of ``b``: those of the first half, and of the second."""
    lanes = a.type.shape[0]
    order = [place for i in range(lanes) for place in (i, lanes + i)]
    low, high = order[:lanes], order[lanes:]
    return vector.shuffle(a, b, low), vector.shuffle(a, b, high)


def transpose_pairs(rows: Sequence[ir.Value]) -> list[ir.Value]:
    """16 rows of 16 pairs, transposed: pair j of row i becomes pair i of row j."""
    columns = code.transpose([vector.bitcast(integers(), row) for row in rows])
    return [vector.bitcast(pairs(), column) for column in columns]


def dot(total: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
    """``total[i] + a[2i] * b[2i] + a[2i + 1] * b[2i + 1]``, one instruction."""
    return x86.avx512_dot(total, a, b)


# 2^f for |f| <= 1/2, lowest degree first: a minimax polynomial, with a relative error of 4e-6,
# a thousandth of the rounding of bf16.
_EXP2 = (1.0000026, 0.69315308, 0.24013971, 0.05586624, 0.00967603)
_LOWEST = -200.0  # what f32 rounds to zero


def exp2(x: ir.Value) -> ir.Value:
    """2^x of an f32 vector for x < 127, precise enough for bf16. NaN stays NaN."""
    lanes = x.type.shape[0]
    x = code.larger(code.splat(_LOWEST, lanes), x)
    whole = mlir_math.roundeven(x)
    fraction = arith.subf(x, whole)
    *rest, value = [code.splat(c, lanes) for c in _EXP2]
    for coefficient in reversed(rest):
        value = code.fma(value, fraction, coefficient)
    all_lanes = arith.constant(ir.IntegerType.get_signless(16), -1)
    rounding = arith.constant(ir.IntegerType.get_signless(32), 4)
    return x86.avx512_mask_scalef(value, whole, value, all_lanes, rounding)
