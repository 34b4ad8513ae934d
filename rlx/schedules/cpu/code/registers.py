"""Vectors: between buffers and registers, and what is computed with them."""

from collections.abc import Sequence

from rlx.dialects.types import DYNAMIC
from rlx.host import arith, ir, memref, vector
from rlx.schedules.cpu.code.buffers import f32
from rlx.schedules.cpu.code.indices import Index, add, index, loop, minimum

__all__ = [
    "between",
    "broadcast",
    "exp2",
    "first_of",
    "fma",
    "larger",
    "largest_of",
    "load",
    "load_raw",
    "load_scalar",
    "mask",
    "scalar",
    "splat",
    "store",
    "store_scalar",
    "sum_of",
    "tanh_half",
    "transpose",
]


def scalar(value: float) -> ir.Value:
    return arith.constant(f32(), value)


def first_of(value: ir.Value) -> ir.Value:
    return vector.extract(value, [], [0])


def splat(value: float, lanes: int, element: ir.Type | None = None) -> ir.Value:
    element = element or f32()
    type_ = ir.VectorType.get([lanes], element)
    scalar = (
        ir.FloatAttr.get(element, value)
        if isinstance(element, ir.FloatType)
        else ir.IntegerAttr.get(element, int(value))
    )
    return arith.constant(type_, ir.DenseElementsAttr.get_splat(type_, scalar))


def _numbers(lanes: int) -> ir.Value:
    """0, 1, 2 and so on, as i32."""
    i32 = ir.IntegerType.get_signless(32)
    type_ = ir.VectorType.get([lanes], i32)
    values = [ir.IntegerAttr.get(i32, lane) for lane in range(lanes)]
    return arith.constant(type_, ir.DenseElementsAttr.get(values, type_))


def between(low: Index, high: Index, lanes: int) -> ir.Value:
    """The lanes from ``low`` to before ``high``, both in [0, 2^31)."""
    i32 = ir.IntegerType.get_signless(32)
    at = _numbers(lanes)
    first = broadcast(arith.index_cast(i32, index(low)), lanes)
    end = broadcast(arith.index_cast(i32, index(high)), lanes)
    return arith.andi(
        arith.cmpi(arith.CmpIPredicate.sge, at, first), arith.cmpi(arith.CmpIPredicate.slt, at, end)
    )


def mask(count: Index, lanes: int) -> ir.Value:
    """The first ``count`` lanes; none when it is negative, all when it is large."""
    i32 = ir.IntegerType.get_signless(32)
    end = broadcast(arith.index_cast(i32, index(minimum(count, lanes))), lanes)
    return arith.cmpi(arith.CmpIPredicate.slt, _numbers(lanes), end)


def _widen(value: ir.Value) -> ir.Value:
    """f32, whatever the storage type: floats, or signed integers that f32 holds exactly."""
    element = type_ = value.type
    if isinstance(type_, ir.VectorType):
        element, wide = type_.element_type, ir.VectorType.get(type_.shape, f32())
    else:
        wide = f32()
    if isinstance(element, ir.IntegerType):
        return arith.sitofp(wide, value)
    return value if type_ == wide else arith.extf(wide, value)


def load(
    buffer: ir.Value, indices: Sequence[Index], lanes: int, count: Index | None = None
) -> ir.Value:
    """A vector along the last axis, as f32.

    With a ``count``, only so many elements are read, and the others are zero.
    """
    element = buffer.type.element_type
    type_ = ir.VectorType.get([lanes], element)
    at = [index(i) for i in indices]
    if count is None:
        return _widen(vector.load(type_, buffer, at))
    if element == f32():
        return vector.maskedload(type_, buffer, at, mask(count, lanes), splat(0.0, lanes))

    # LLVM has no masked load of 16 bits that works everywhere.
    def one(lane: ir.Value, loaded: ir.Value) -> list[ir.Value]:
        value = load_scalar(buffer, [*at[:-1], add(at[-1], lane)])
        return [vector.insert(value, loaded, [lane], [DYNAMIC])]

    return loop(0, minimum(count, lanes), 1, one, [splat(0.0, lanes)])[0]


def load_raw(buffer: ir.Value, indices: Sequence[Index]) -> ir.Value:
    return memref.load(buffer, [index(i) for i in indices])


def load_scalar(buffer: ir.Value, indices: Sequence[Index]) -> ir.Value:
    """A number, as f32."""
    return _widen(load_raw(buffer, indices))


def store(
    value: ir.Value, buffer: ir.Value, indices: Sequence[Index], count: Index | None = None
) -> None:
    """Writes an f32 vector, or the first ``count`` elements of it, rounded to the buffer's type."""
    at = [index(i) for i in indices]
    lanes = value.type.shape[0]
    element = buffer.type.element_type
    if count is None:
        if element != f32():
            value = arith.truncf(ir.VectorType.get([lanes], element), value)
        vector.store(value, buffer, at)
    elif element == f32():
        vector.maskedstore(buffer, at, mask(count, lanes), value)
    else:

        def one(lane: ir.Value) -> None:
            scalar = arith.truncf(element, vector.extract(value, [lane], [DYNAMIC]))
            memref.store(scalar, buffer, [*at[:-1], add(at[-1], lane)])

        loop(0, minimum(count, lanes), 1, one)


def store_scalar(value: ir.Value, buffer: ir.Value, indices: Sequence[Index]) -> None:
    memref.store(value, buffer, [index(i) for i in indices])


def broadcast(scalar: ir.Value, lanes: int) -> ir.Value:
    return vector.broadcast(ir.VectorType.get([lanes], scalar.type), scalar)


def fma(a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    return vector.fma(a, b, c)


def larger(a: ir.Value, b: ir.Value) -> ir.Value:
    """The larger of two floats, elementwise: one instruction. With a NaN it is ``b``."""
    return arith.select(arith.cmpf(arith.CmpFPredicate.OGT, a, b), a, b)


def largest_of(value: ir.Value) -> ir.Value:
    """The largest lane, as a scalar; NaN may get lost."""
    lanes = value.type.shape[0]
    while lanes > 1:
        lanes //= 2
        low, high = list(range(lanes)), list(range(lanes, 2 * lanes))
        value = larger(vector.shuffle(value, value, low), vector.shuffle(value, value, high))
    return first_of(value)


# 2^f for |f| <= 1/2, lowest degree first: a minimax polynomial, with a relative error of 9.2e-8.
_EXP2 = (
    1.0,
    0.6931470036506653,
    0.24022242426872253,
    0.05550733581185341,
    0.009671512991189957,
    0.001326472731307149,
)
# (2^f - 1) / f likewise, with a relative error of 1.3e-8.
_EXP2_LESS_1 = (
    0.6931471824645996,
    0.24022649228572845,
    0.05550367385149002,
    0.009618309326469898,
    0.001338738831691444,
    0.0001538283977424726,
)
_MAGIC = 12582912.0  # 1.5 * 2^23: adding it rounds an f32 and leaves the integer in the low bits
_FLAT = 40.0  # beyond that, (2^x - 1) / (2^x + 1) is 1 in f32


def exp2(x: ir.Value) -> ir.Value:
    """2^x of an f32 vector, for x < 127, within 2.1 ulp; zero below -126. NaN stays NaN."""
    lanes = x.type.shape[0]
    fraction, whole = _split(x)
    value = _times_power(_polynomial(_EXP2, fraction), whole)
    vanishes = arith.cmpf(arith.CmpFPredicate.OLT, x, splat(-126.0, lanes))
    return arith.select(vanishes, splat(0.0, lanes), value)


def tanh_half(x: ir.Value) -> ir.Value:
    """tanh(x * ln(2) / 2), that is (2^x - 1) / (2^x + 1), of an f32 vector, within 2.9 ulp.

    NaN stays NaN.
    """
    lanes = x.type.shape[0]
    one, two, most = (splat(c, lanes) for c in (1.0, 2.0, _FLAT))
    x = larger(splat(-_FLAT, lanes), x)
    x = arith.select(arith.cmpf(arith.CmpFPredicate.OGT, x, most), most, x)
    fraction, whole = _split(x)
    near = arith.mulf(_polynomial(_EXP2_LESS_1, fraction), fraction)
    # 2^x - 1, which is precise near zero as well.
    power = _times_power(one, whole)
    grown = fma(near, power, arith.subf(power, one))
    return arith.divf(grown, arith.addf(grown, two))


def _split(x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """What is left of ``x`` after rounding, and the integer in the low bits of an i32."""
    lanes = x.type.shape[0]
    magic = splat(_MAGIC, lanes)
    shifted = arith.addf(x, magic)
    ints = ir.VectorType.get([lanes], ir.IntegerType.get_signless(32))
    return arith.subf(x, arith.subf(shifted, magic)), arith.bitcast(ints, shifted)


def _times_power(value: ir.Value, whole: ir.Value) -> ir.Value:
    """``value`` times a power of two that makes no difference but to its exponent."""
    exponent = arith.shli(whole, splat(23, whole.type.shape[0], whole.type.element_type))
    return arith.bitcast(value.type, arith.addi(arith.bitcast(whole.type, value), exponent))


def _polynomial(coefficients: Sequence[float], x: ir.Value) -> ir.Value:
    *rest, value = (splat(c, x.type.shape[0]) for c in coefficients)
    for coefficient in reversed(rest):
        value = fma(value, x, coefficient)
    return value


def sum_of(value: ir.Value) -> ir.Value:
    """The sum of the lanes, in any order."""
    return vector.reduction(
        value.type.element_type,
        ir.Attribute.parse("#vector.kind<add>"),
        value,
        fastmath=ir.Attribute.parse("#arith.fastmath<reassoc>"),
    )


def transpose(rows: Sequence[ir.Value]) -> list[ir.Value]:
    """As many vectors as each has lanes, 4, 8 or 16, as rows of a square that is transposed.

    Shuffles are such that each is an instruction, which takes no register for its pattern.
    """
    size = len(rows)
    fours = range(0, size, 4)

    def mixed(a: ir.Value, b: ir.Value, pattern: Sequence[int]) -> ir.Value:
        """The same for all groups of four lanes; those of ``b`` are counted from 4 on."""
        picked = [g + lane + (size - 4 if lane >= 4 else 0) for g in fours for lane in pattern]
        return vector.shuffle(a, b, picked)

    def half(a: ir.Value, b: ir.Value, odd: int) -> ir.Value:
        """Every other group of four lanes of both."""
        return vector.shuffle(a, b, [g + i for g in range(4 * odd, 2 * size, 8) for i in range(4)])

    def groups(parts: Sequence[ir.Value]) -> list[ir.Value]:
        """Group n of all parts as vector n."""
        if len(parts) == 1:
            return list(parts)
        pairs = list(zip(parts[::2], parts[1::2], strict=True))
        even, odd = (groups([half(a, b, odd) for a, b in pairs]) for odd in (0, 1))
        return [part for both in zip(even, odd, strict=True) for part in both]

    columns: list[list[ir.Value]] = [[] for _ in range(4)]
    for q in fours:
        pairs = [
            mixed(rows[q + i], rows[q + i + 1], pattern)
            for i in (0, 2)
            for pattern in ((0, 4, 1, 5), (2, 6, 3, 7))
        ]
        for n in range(4):
            low, high = pairs[n // 2], pairs[n // 2 + 2]
            columns[n].append(mixed(low, high, (2, 3, 6, 7) if n % 2 else (0, 1, 4, 5)))
    by_column = [groups(parts) for parts in columns]
    return [by_column[n % 4][n // 4] for n in range(size)]
