"""Short names for the ops that kernels are made of: loops, vectors and buffers.

Everything is emitted at the ambient insertion point. Indices may be given as ``int``.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from rlx.dialects.types import DYNAMIC
from rlx.host import arith, bufferization, func, ir, memref, scf, vector
from rlx.schedules.cpu.threads import MAX_THREADS, PARALLEL, ask

__all__ = [
    "DYNAMIC",
    "Index",
    "Kernel",
    "Kernels",
    "add",
    "alloc",
    "alloca",
    "between",
    "at_most",
    "broadcast",
    "call",
    "ceil_div",
    "dim",
    "exp2",
    "f32",
    "first_of",
    "fma",
    "if_",
    "index",
    "larger",
    "largest_of",
    "less",
    "load",
    "load_raw",
    "load_scalar",
    "loop",
    "mask",
    "matrix",
    "maximum",
    "minimum",
    "multiply",
    "numbers",
    "part",
    "round_up",
    "scalar",
    "splat",
    "store",
    "store_scalar",
    "subtract",
    "sum_of",
    "to_buffer",
    "to_tensor",
    "transpose",
    "true",
    "vectors",
]

Index: TypeAlias = int | ir.Value

Kernel: TypeAlias = Callable[..., None]
"""Emits a call with the arguments it is given."""

# -- indices ---------------------------------------------------------------------------------------


def index(value: Index) -> ir.Value:
    return arith.constant(ir.IndexType.get(), value) if isinstance(value, int) else value


def add(a: Index, b: Index) -> Index:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    if a == 0 or b == 0:
        return b if isinstance(a, int) and a == 0 else a
    return arith.addi(index(a), index(b))


def subtract(a: Index, b: Index) -> Index:
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    return arith.subi(index(a), index(b))


def multiply(a: Index, b: Index) -> Index:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    return arith.muli(index(a), index(b))


def minimum(a: Index, b: Index) -> Index:
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    return arith.minsi(index(a), index(b))


def maximum(a: Index, b: Index) -> Index:
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    return arith.maxsi(index(a), index(b))


def ceil_div(a: Index, b: int) -> Index:
    if isinstance(a, int):
        return -(-a // b)
    return arith.divui(arith.addi(a, index(b - 1)), index(b))


def round_up(a: Index, b: int) -> Index:
    return multiply(ceil_div(a, b), b)


def less(a: Index, b: Index) -> ir.Value:
    return arith.cmpi(arith.CmpIPredicate.slt, index(a), index(b))


# -- control ---------------------------------------------------------------------------------------


def loop(
    low: Index,
    high: Index,
    step: Index,
    body: Callable[..., Sequence[ir.Value] | None],
    inits: Sequence[ir.Value] = (),
) -> list[ir.Value]:
    """``for i in range(low, high, step)``; ``body`` takes and returns the carried values."""
    op = scf.ForOp(index(low), index(high), index(step), list(inits))
    with ir.InsertionPoint(op.body):
        scf.yield_(body(op.induction_variable, *op.inner_iter_args) or [])
    return list(op.results)


def if_(
    condition: ir.Value,
    then: Callable[[], Sequence[ir.Value] | None],
    otherwise: Callable[[], Sequence[ir.Value] | None] | None = None,
    types: Sequence[ir.Type] = (),
) -> list[ir.Value]:
    op = scf.IfOp(condition, list(types), has_else=otherwise is not None)
    with ir.InsertionPoint(op.then_block):
        scf.yield_(then() or [])
    if otherwise is not None:
        with ir.InsertionPoint(op.else_block):
            scf.yield_(otherwise() or [])
    return list(op.results)


def vectors(count: Index, lanes: int, body: Callable[[ir.Value, Index | None], None]) -> None:
    """Calls ``body`` with the start of every vector, and how much of it there is if not all."""
    whole = arith.subi(index(count), arith.remui(index(count), index(lanes)))
    loop(0, whole, lanes, lambda at: body(at, None))
    loop(whole, count, lanes, lambda at: body(at, subtract(count, at)))


def at_most(a: Index, b: Index) -> ir.Value:
    return arith.cmpi(arith.CmpIPredicate.sle, index(a), index(b))


def true() -> ir.Value:
    return arith.constant(ir.IntegerType.get_signless(1), 1)


# -- buffers ---------------------------------------------------------------------------------------


def f32() -> ir.Type:
    return ir.F32Type.get()


def matrix(element: ir.Type, rank: int = 2) -> ir.MemRefType:
    """A buffer of any sizes and strides, whose last axis is contiguous."""
    strides = ", ".join(["?"] * (rank - 1) + ["1"])
    layout = ir.Attribute.parse(f"strided<[{strides}], offset: ?>")
    return ir.MemRefType.get([DYNAMIC] * rank, element, layout)


def dim(buffer: ir.Value, axis: int) -> ir.Value:
    return memref.DimOp(buffer, index(axis)).result


def _buffer(shape: Sequence[Index], element: ir.Type) -> tuple[ir.MemRefType, list[ir.Value]]:
    static = [size if isinstance(size, int) else DYNAMIC for size in shape]
    return ir.MemRefType.get(static, element), [s for s in shape if not isinstance(s, int)]


def alloc(shape: Sequence[Index], element: ir.Type) -> ir.Value:
    """A buffer that bufferization's own passes free."""
    type_, dynamic = _buffer(shape, element)
    return memref.alloc(type_, dynamic, [], alignment=64)


def alloca(shape: Sequence[int], element: ir.Type) -> ir.Value:
    """A small buffer on the stack; not inside of loops."""
    return memref.alloca(_buffer(shape, element)[0], [], [], alignment=64)


def part(buffer: ir.Value, start: Sequence[Index], shape: Sequence[Index]) -> ir.Value:
    """Some rows and columns of a :func:`matrix`, or the like of another rank."""
    offsets, sizes = [index(i) for i in start], [index(i) for i in shape]
    dynamic, rank = ir.DenseI64ArrayAttr.get([DYNAMIC] * len(sizes)), buffer.type.rank
    return memref.SubViewOp(
        matrix(buffer.type.element_type, rank),
        buffer,
        offsets,
        sizes,
        [],
        dynamic,
        dynamic,
        ir.DenseI64ArrayAttr.get([1] * rank),
    ).result


def to_buffer(value: ir.Value) -> ir.Value:
    """A tensor as a buffer that is only read."""
    type_ = matrix(value.type.element_type, value.type.rank)
    shaped = ir.MemRefType.get(value.type.shape, type_.element_type, type_.layout)
    return bufferization.ToBufferOp(shaped, value, read_only=True).result


def to_tensor(buffer: ir.Value) -> ir.Value:
    """A buffer that nothing else uses as a tensor."""
    type_ = ir.RankedTensorType.get(buffer.type.shape, buffer.type.element_type)
    return bufferization.ToTensorOp(type_, buffer, restrict=True, writable=True).result


# -- vectors ---------------------------------------------------------------------------------------


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


def numbers(lanes: int) -> ir.Value:
    """0, 1, 2 and so on, as i32."""
    i32 = ir.IntegerType.get_signless(32)
    type_ = ir.VectorType.get([lanes], i32)
    values = [ir.IntegerAttr.get(i32, lane) for lane in range(lanes)]
    return arith.constant(type_, ir.DenseElementsAttr.get(values, type_))


def between(low: Index, high: Index, lanes: int) -> ir.Value:
    """The lanes from ``low`` to before ``high``, both in [0, 2^31)."""
    i32 = ir.IntegerType.get_signless(32)
    at = numbers(lanes)
    first = broadcast(arith.index_cast(i32, index(low)), lanes)
    end = broadcast(arith.index_cast(i32, index(high)), lanes)
    return arith.andi(
        arith.cmpi(arith.CmpIPredicate.sge, at, first), arith.cmpi(arith.CmpIPredicate.slt, at, end)
    )


def mask(count: Index, lanes: int) -> ir.Value:
    """The first ``count`` lanes; none when it is negative, all when it is large."""
    i32 = ir.IntegerType.get_signless(32)
    end = broadcast(arith.index_cast(i32, index(minimum(count, lanes))), lanes)
    return arith.cmpi(arith.CmpIPredicate.slt, numbers(lanes), end)


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
_MAGIC = 12582912.0  # 1.5 * 2^23: adding it rounds an f32 and leaves the integer in the low bits


def exp2(x: ir.Value) -> ir.Value:
    """2^x of an f32 vector, for x < 127, within 2.1 ulp; zero below -126. NaN stays NaN."""
    lanes = x.type.shape[0]
    i32 = ir.IntegerType.get_signless(32)
    ints = ir.VectorType.get([lanes], i32)
    magic = splat(_MAGIC, lanes)
    shifted = arith.addf(x, magic)
    fraction = arith.subf(x, arith.subf(shifted, magic))
    *rest, value = [splat(c, lanes) for c in _EXP2]
    for coefficient in reversed(rest):
        value = fma(value, fraction, coefficient)
    exponent = arith.shli(arith.bitcast(ints, shifted), splat(23, lanes, i32))
    value = arith.bitcast(x.type, arith.addi(arith.bitcast(ints, value), exponent))
    vanishes = arith.cmpf(arith.CmpFPredicate.OLT, x, splat(-126.0, lanes))
    return arith.select(vanishes, splat(0.0, lanes), value)


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


# -- functions -------------------------------------------------------------------------------------


LEAST_NANOSECONDS = 10_000
"""The least share of a thread: to tell it costs some microseconds, or some tens while it sleeps."""


class Kernels:
    """The kernels of a module: private functions, one per distinct name.

    Attributes:
        threads: how many threads kernels may use; 0 for a number found out at run time.
    """

    def __init__(self, module: ir.Operation, threads: int = 1):
        self.module = module
        self.threads = threads
        self._types: dict[str, list[ir.Type]] = {}
        self._names: dict[Any, str] = {}

    def name(self, prefix: str, key: Any) -> str:
        """A name that is the same for equal keys: for kernels with many parameters."""
        if (prefix, key) not in self._names:
            taken = sum(other == prefix for other, _ in self._names)
            self._names[prefix, key] = f"{prefix}_{taken}"
        return self._names[prefix, key]

    def define(
        self,
        name: str,
        types: Sequence[ir.Type],
        build: Callable[..., None],
        like: func.FuncOp | None = None,
    ) -> Kernel:
        """A function that emits a call of kernel ``name``, which ``build`` emits once.

        Equal names must stand for equal kernels. ``build`` takes the arguments. LLVM treats the
        kernel as the function ``like``.
        """
        if name not in self._types:
            self._types[name] = list(types)
            with ir.InsertionPoint.at_block_begin(self.module.regions[0].blocks[0]):
                type_ = ir.FunctionType.get(list(types), [])
                function = func.FuncOp(name, type_, visibility="private")
            function.attributes["llvm.linkage"] = ir.Attribute.parse("#llvm.linkage<internal>")
            function.attributes["llvm.no_inline"] = ir.UnitAttr.get()
            if like is not None:
                for key in like.attributes:
                    if key.startswith("llvm."):
                        function.attributes[key] = like.attributes[key]
            block = function.add_entry_block()
            with ir.InsertionPoint(block):
                build(*block.arguments)
                func.return_([])
        return lambda *arguments: call(name, self._types[name], arguments)

    def parts(self, count: Index, nanoseconds: Index) -> Index:
        """Into how many parts :meth:`parallel` should split ``count`` units of work.

        There is at most one part per thread, and only one, of type ``int`` where threads are not
        used at all, if the work is too little to be worth telling other threads.

        Args:
            count: how many units there are.
            nanoseconds: about how long one thread would take for all of them.
        """
        if self.threads == 1:
            return 1
        most: Index = self.threads or ask(self.module, MAX_THREADS)
        worth = arith.divui(index(nanoseconds), index(LEAST_NANOSECONDS))
        return maximum(minimum(minimum(count, most), worth), 1)

    def parallel(
        self,
        name: str,
        types: Sequence[ir.Type],
        build: Callable[..., None],
        like: func.FuncOp | None = None,
    ) -> Kernel:
        """A function that emits calls of kernel ``name`` in several threads, which join at the end.

        It takes how many parts there are, as :meth:`parts` says, the number of units of work, and
        the kernel's arguments. ``build`` is called once, as for :meth:`define`, with

        * the number of the part, which also tells a part's own share of scratch memory that the
          caller has allocated as ``alloc([parts, ...])``;
        * its first unit and the one after its last;
        * the arguments, of ``types``.

        Parts run at the same time and in no order: no part may write what another reads or writes.
        They must not use threads themselves. Scratch memory may also be allocated in ``build``.
        The result is the same for any number of parts if that of a unit does not depend on others::

            run = kernels.parallel("rlx_add_one", [vector_type], body)  # body(part, low, high, x)
            run(kernels.parts(count, count), count, x)
        """
        part_types = [ir.IndexType.get()] * 3
        run = self.define(name, [*part_types, *types], build, like)

        def emit(parts: Index, count: Index, *arguments: Any) -> None:
            def alone() -> None:
                run(0, 0, count, *arguments)

            if self.threads == 1:
                alone()
                return
            # Made here, since the loop may hold nothing but the call.
            operands = [_cast(t, a) for t, a in zip(types, arguments, strict=True)]
            parts, count = index(parts), index(count)

            def together() -> None:
                zero, one = index(0), index(1)
                loop = scf.ParallelOp([], [zero], [parts], [one], [])
                loop.operation.attributes[PARALLEL] = ir.UnitAttr.get()
                block = loop.regions[0].blocks.append(ir.IndexType.get())
                with ir.InsertionPoint(block):
                    part = block.arguments[0]
                    low = arith.divui(arith.muli(part, count), parts)
                    high = arith.divui(arith.muli(arith.addi(part, one), count), parts)
                    run(part, low, high, *operands)
                    scf.reduce([], 0)

            if_(less(1, parts), together, alone)

        return emit


def call(name: str, types: Sequence[ir.Type], arguments: Sequence[Any]) -> None:
    """Calls a kernel; buffers of other static sizes are cast."""
    operands = [_cast(type_, a) for type_, a in zip(types, arguments, strict=True)]
    func.CallOp([], ir.FlatSymbolRefAttr.get(name), operands)


def _cast(type_: ir.Type, argument: Any) -> ir.Value:
    value = index(argument)
    if isinstance(type_, ir.MemRefType) and value.type != type_:
        value = memref.cast(type_, value)
    return value
