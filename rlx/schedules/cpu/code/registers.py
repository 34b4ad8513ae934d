"""Vectors: between buffers and registers, and what is computed with them."""

from collections.abc import Sequence

from rlx.dialects.types import DYNAMIC
from rlx.host import arith, ir, memref, vector
from rlx.schedules.cpu.code.buffers import f32
from rlx.schedules.cpu.code.indices import Index, add, index, loop, minimum

__all__ = [
    "between",
    "broadcast",
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
