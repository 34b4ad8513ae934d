"""Short names for the ops that tensor-core kernels are made of.

Everything is emitted at the ambient insertion point. Indices may be given as ``int``; what is known
is computed right away. Index arithmetic is unsigned unless said otherwise.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlx.host import arith, gpu, ir, llvm, memref, nvgpu, nvvm, scf, vector
from rlx.schedules.cpu.code import (
    DYNAMIC,
    Index,
    add,
    alloc,
    at_most,
    ceil_div,
    dim,
    f32,
    if_,
    index,
    less,
    load_raw,
    loop,
    matrix,
    maximum,
    minimum,
    multiply,
    scalar,
    subtract,
    to_buffer,
    to_tensor,
)

__all__ = [
    "DYNAMIC",
    "Index",
    "Memory",
    "Tile",
    "add",
    "aligned",
    "alloc",
    "at_most",
    "barrier",
    "block",
    "ceil_div",
    "commit",
    "copy_tile",
    "dim",
    "divide",
    "exp2",
    "f32",
    "fma",
    "i1",
    "if_",
    "index",
    "larger",
    "less",
    "load_raw",
    "loop",
    "matrix",
    "maximum",
    "minimum",
    "mma",
    "multiply",
    "pair",
    "reciprocal",
    "remainder",
    "scalar",
    "select",
    "shuffle_xor",
    "subtract",
    "thread",
    "to_buffer",
    "to_tensor",
    "wait",
    "warp_of",
    "zeros",
]

WARP = 32
CHUNK = 8
"""Elements of 16 bits in 16 bytes, the most that one thread moves at once."""


# -- numbers ---------------------------------------------------------------------------------------


def divide(a: Index, b: Index) -> Index:
    """a / b; below 2^31, where ``b`` is not known."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if isinstance(b, int):
        return a if b == 1 else arith.divui(index(a), index(b))
    return _in_32_bits(arith.divui, a, b)


def remainder(a: Index, b: Index) -> Index:
    """a % b; below 2^31, where ``b`` is not known."""
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    if isinstance(b, int):
        return 0 if b == 1 else arith.remui(index(a), index(b))
    return _in_32_bits(arith.remui, a, b)


def _in_32_bits(op: Callable[..., ir.Value], a: Index, b: Index) -> ir.Value:
    """Division of 64 bits is a call of more than a hundred instructions."""
    narrow = [arith.index_cast(ir.IntegerType.get_signless(32), index(x)) for x in (a, b)]
    return arith.index_castui(ir.IndexType.get(), op(*narrow))


def xor(a: Index, b: Index) -> Index:
    if isinstance(a, int) and isinstance(b, int):
        return a ^ b
    return arith.xori(index(a), index(b))


def select(condition: ir.Value, a: Index, b: Index) -> ir.Value:
    return arith.select(condition, index(a), index(b))


def equal(a: Index, b: Index) -> ir.Value:
    return arith.cmpi(arith.CmpIPredicate.eq, index(a), index(b))


def is_float(x: ir.Value, value: float) -> ir.Value:
    """Whether an f32 is this number."""
    return arith.cmpf(arith.CmpFPredicate.OEQ, x, scalar(value))


def i1(value: bool) -> ir.Value:
    return arith.constant(ir.IntegerType.get_signless(1), int(value))


def both(a: ir.Value, b: ir.Value) -> ir.Value:
    return arith.andi(a, b)


def i32(value: int) -> ir.Value:
    return arith.constant(ir.IntegerType.get_signless(32), value)


def _intrinsic(name: str, type_: ir.Type, *operands: ir.Value) -> ir.Value:
    return llvm.call_intrinsic(type_, name, list(operands), [], [])


def exp2(x: ir.Value) -> ir.Value:
    """2^x, one instruction, within 2 ulp; denormals become zero."""
    return _intrinsic("llvm.nvvm.ex2.approx.ftz.f", f32(), x)


def reciprocal(x: ir.Value) -> ir.Value:
    """1/x, one instruction, within 1 ulp."""
    return _intrinsic("llvm.nvvm.rcp.approx.ftz.f", f32(), x)


def _llvm_op(name: str, *operands: ir.Value) -> ir.Value:
    made = ir.Operation.create(
        f"llvm.intr.{name}", results=[operands[0].type], operands=list(operands)
    )
    return made.results[0]


def fma(a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    return _llvm_op("fma", a, b, c)


def larger(a: ir.Value, b: ir.Value) -> ir.Value:
    """The larger of two floats; a NaN loses."""
    return _llvm_op("maxnum", a, b)


def bounded(x: ir.Value, cap: float) -> ir.Value:
    """``cap * tanh(x)``: 1 - 2 / (1 + e^2x), whose error is tiny beside ``cap``."""
    power = exp2(arith.mulf(x, scalar(2 * math.log2(math.e))))
    part = reciprocal(arith.addf(power, scalar(1.0)))
    return fma(part, scalar(-2 * cap), scalar(cap))


def repeat(start: int, end: int, body: Callable[[ir.Value], ir.Value]) -> None:
    """``i = start; do i = body(i) while i < end``"""
    type_ = ir.IndexType.get()
    op = scf.WhileOp([type_], [index(start)])
    before = op.before.blocks.append(type_)
    with ir.InsertionPoint(before):
        following = body(before.arguments[0])
        scf.ConditionOp(less(following, end), [following])
    after = op.after.blocks.append(type_)
    with ir.InsertionPoint(after):
        scf.yield_([after.arguments[0]])


# -- threads ---------------------------------------------------------------------------------------


def _axis(axis: str) -> ir.Attribute:
    return ir.Attribute.parse(f"#gpu<dim {axis}>")


def thread(count: int) -> ir.Value:
    """The number of the thread in a block of ``count`` along x."""
    return gpu.thread_id(_axis("x"), upper_bound=count)


def opaque(number: ir.Value) -> ir.Value:
    """The same number, of which the compiler knows nothing: it moves nothing that depends on it.

    What is computed once too early takes a register for long.
    """
    i32_ = ir.IntegerType.get_signless(32)
    made = llvm.inline_asm(
        i32_, [arith.index_cast(i32_, number)], "mov.b32 $0, $1;", "=r,r", has_side_effects=True
    )
    return arith.index_castui(ir.IndexType.get(), made)


def block(axis: str) -> ir.Value:
    return gpu.block_id(_axis(axis))


def barrier() -> None:
    gpu.barrier()


def warp_of(thread: ir.Value) -> Index:
    return divide(thread, WARP)


def shuffle_xor(value: ir.Value, distance: int) -> ir.Value:
    """The value of the lane whose number differs in one bit."""
    mode = ir.Attribute.parse("#gpu<shuffle_mode xor>")
    return gpu.shuffle(value, i32(distance), i32(WARP), mode)[0]


def over_quad(value: ir.Value, combine: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
    """Combines the values of four neighbouring lanes."""
    for distance in (1, 2):
        value = combine(value, shuffle_xor(value, distance))
    return value


# -- vectors ---------------------------------------------------------------------------------------


def pairs(count: int, element: ir.Type) -> ir.VectorType:
    """``count`` registers of two elements."""
    return ir.VectorType.get([count, 2], element)


def zeros(type_: ir.VectorType) -> ir.Value:
    zero = ir.FloatAttr.get(type_.element_type, 0.0)
    return arith.constant(type_, ir.DenseElementsAttr.get_splat(type_, zero))


def pair(a: ir.Value, b: ir.Value) -> ir.Value:
    return vector.from_elements(ir.VectorType.get([2], a.type), [a, b])


def element(value: ir.Value, *position: int) -> ir.Value:
    return vector.extract(value, [], list(position))


def part(value: ir.Value, first: int, count: int) -> ir.Value:
    """Registers ``first`` to ``first + count`` of a fragment."""
    type_ = pairs(count, value.type.element_type)
    return vector.extract_strided_slice(type_, value, [first], [count], [1])


def narrow(value: ir.Value, to: ir.Type) -> ir.Value:
    """f32 elements rounded to ``to``."""
    if value.type.element_type == to:
        return value
    return arith.truncf(ir.VectorType.get(value.type.shape, to), value)


def mma(a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
    """total + a b, of fragments of 16 x 16, 16 x 8 and 16 x 8, summed up in f32."""
    return nvgpu.mma_sync(total.type, a, b, total, [16, 8, 16])


# -- memory ----------------------------------------------------------------------------------------


def aligned(buffer: ir.Value, bytes_: int = 16) -> ir.Value:
    """Whether rows along the last axis begin at multiples of ``bytes_``; i1."""
    type_ = buffer.type
    size = type_.element_type.width // 8
    metadata = memref.extract_strided_metadata(buffer)
    offset, strides = metadata[1], list(metadata[2 + type_.rank : 1 + 2 * type_.rank])
    address = memref.extract_aligned_pointer_as_index(buffer)
    everything = arith.ori(address, arith.muli(offset, index(size)))
    for stride in strides:
        everything = arith.ori(everything, arith.muli(stride, index(size)))
    low = arith.andi(everything, index(bytes_ - 1))
    return equal(low, 0)


def _workgroup() -> ir.Attribute:
    return ir.Attribute.parse("#gpu.address_space<workgroup>")


class Memory:
    """Dynamic shared memory, handed out piece by piece."""

    def __init__(self) -> None:
        i8 = ir.IntegerType.get_signless(8)
        type_ = ir.MemRefType.get([DYNAMIC], i8, memory_space=_workgroup())
        self._all = gpu.dynamic_shared_memory(type_)
        self.used = 0

    def take(self, shape: Sequence[int], element: ir.Type, at: int | None = None) -> ir.Value:
        """Memory of its own, or at byte ``at`` of what was handed out already."""
        type_ = ir.MemRefType.get(list(shape), element, memory_space=_workgroup())
        start = self.used if at is None else at
        value = memref.view(type_, self._all, index(start), [])
        end = start + math.prod(shape) * element.width // 8
        self.used = max(self.used, -(-end // 1024) * 1024)
        return value

    def tile(self, rows: int, columns: int, element: ir.Type, at: int | None = None) -> "Tile":
        return Tile(self.take([rows, Tile.pitch(columns)], element, at), columns)


@dataclass(frozen=True)
class Tile:
    """Rows of 16-bit elements in shared memory.

    Chunks of 16 bytes are permuted within rows, so that neither reading the same chunk of eight
    rows nor writing a row meets a bank twice.
    """

    memory: ir.Value
    columns: int

    @staticmethod
    def pitch(columns: int) -> int:
        return 32 if columns <= 32 else -(-columns // 64) * 64

    @staticmethod
    def bytes_of(rows: int, columns: int) -> int:
        return -(-rows * Tile.pitch(columns) * 2 // 1024) * 1024

    @property
    def element(self) -> ir.Type:
        return self.memory.type.element_type

    def column(self, row: Index, chunk: Index, more: int = 0) -> Index:
        """Where in its row chunk ``chunk + more`` begins; the two have no bits in common.

        What is the same for many chunks is computed once that way.
        """
        wide = self.memory.type.shape[1] > 32
        by = remainder(row, 8) if wide else remainder(divide(row, 2), 4)
        inside = multiply(xor(xor(chunk, by), more % 8), CHUNK)
        return add(inside, more // 8 * 8 * CHUNK)

    def load(
        self, row: Index, chunk: Index, more: int, swizzle_row: Index, transpose: bool
    ) -> ir.Value:
        """Four 8 x 8 matrices; each lane names a row of one, and the chunk as :meth:`column`.

        ``swizzle_row`` is any row that is the same modulo 8.
        """
        at = [index(row), index(self.column(swizzle_row, chunk, more))]
        return nvgpu.ldmatrix(pairs(4, self.element), self.memory, at, transpose, 4)


class Lane:
    """Which part of matrices a lane handles.

    Attributes:
        lane: its number.
        low, half: row and chunk of its row of four 8 x 8 matrices that form a square.
        across, chunk: the same when two chunks of eight rows each come first.
        row, column: the first of the sums that it holds; more are to the right and eight below.
    """

    def __init__(self, lane: Index):
        self.lane = lane
        self.low, self.half = remainder(lane, 16), divide(lane, 16)
        self.across = add(multiply(self.half, 8), remainder(lane, 8))
        self.chunk = remainder(divide(lane, 8), 2)
        self.row, self.column = divide(lane, 4), multiply(remainder(lane, 4), 2)


# -- copies ----------------------------------------------------------------------------------------


def copy_async(
    source: ir.Value,
    at: Sequence[Index],
    target: ir.Value,
    to: Sequence[Index],
    count: Index | None,
) -> None:
    """16 bytes from global to shared memory; elements past ``count`` are zero."""
    nvgpu.device_async_copy(
        target,
        [index(i) for i in to],
        source,
        [index(i) for i in at],
        CHUNK,
        src_elements=None if count is None else index(count),
        bypass_l1=True,
    )


def commit() -> None:
    """Closes a group of copies. (The ops of nvgpu want a token, which branches hide.)"""
    nvvm.cp_async_commit_group()


def wait(left: int) -> None:
    """Waits until only ``left`` groups of the thread are under way."""
    nvvm.cp_async_wait_group(left)


def copy_tile(
    thread: ir.Value,
    threads: int,
    fast: ir.Value | None,
    source: ir.Value,
    place: Callable[[Index], tuple[list[Index], Index, ir.Value | None]],
    limit: Index | None,
    tile: Tile,
    first: Index,
    rows: int,
) -> None:
    """Starts to copy rows to a tile; what is not there becomes zero.

    Args:
        thread, threads: who does it.
        fast: i1: rows are aligned to 16 bytes; None: known not to be.
        source: the buffer.
        place: maps a row of the tile to leading indices in ``source``, to where the row begins
            along the last axis, and to an i1 that tells whether it exists; None when all do.
        limit: elements that there are along rows; None: as many as the tile has columns.
        tile, first, rows: ``rows`` rows of the tile from row ``first`` on, a multiple of 8.
    """
    chunks = tile.columns // CHUNK

    def by_chunks() -> None:
        for i in range(-(-rows * chunks // threads)):
            number = add(thread, i * threads)
            if threads % chunks == 0:
                row = add(divide(thread, chunks), i * (threads // chunks))
                chunk = remainder(thread, chunks)
            else:
                row, chunk = divide(number, chunks), remainder(number, chunks)
            # The swizzle repeats every 8 rows.
            same = divide(thread, chunks) if threads % (8 * chunks) == 0 else row

            def one(row: Index = row, chunk: Index = chunk, same: Index = same) -> None:
                at, column, exists = place(row)
                start = multiply(chunk, CHUNK)
                count: Index | None = None
                if limit is not None:
                    count = maximum(minimum(subtract(limit, start), CHUNK), 0)
                if exists is not None:
                    count = select(exists, CHUNK if count is None else count, 0)
                to = [add(first, row), tile.column(same, chunk)]
                copy_async(source, [*at, add(column, start)], tile.memory, to, count)

            if (i + 1) * threads <= rows * chunks:
                one()
            else:
                if_(less(number, rows * chunks), one)

    def by_elements() -> None:
        zero = arith.constant(tile.element, 0.0)

        def one(number: ir.Value) -> None:
            row, inside = divide(number, tile.columns), remainder(number, tile.columns)
            at, column, exists = place(row)
            conditions = [c for c in (exists,) if c is not None]
            if limit is not None:
                conditions.append(less(inside, limit))

            def read() -> list[ir.Value]:
                return [load_raw(source, [*at, add(column, inside)])]

            if conditions:
                condition = functools.reduce(both, conditions)
                (value,) = if_(condition, read, lambda: [zero], [tile.element])
            else:
                (value,) = read()
            to_row = add(first, row)
            at_column = tile.column(row, divide(inside, CHUNK))
            to = [index(to_row), index(add(at_column, remainder(inside, CHUNK)))]
            memref.store(value, tile.memory, to)

        loop(thread, rows * tile.columns, threads, one)

    if fast is None:
        by_elements()
    else:
        if_(fast, by_chunks, by_elements)
