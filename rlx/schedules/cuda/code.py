"""Short names for the ops that tensor-core kernels are made of.

Everything is emitted at the ambient insertion point. Indices may be given as ``int``; what is known
is computed right away. Index arithmetic is unsigned unless said otherwise.
"""

import math
from collections.abc import Callable

from rlx.host import arith, gpu, ir, llvm, memref, nvgpu, scf, vector
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
from rlx.schedules.cuda.loops import width

__all__ = [
    "DYNAMIC",
    "Index",
    "add",
    "aligned",
    "alloc",
    "at_most",
    "barrier",
    "block",
    "ceil_div",
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


def i32_type() -> ir.Type:
    return ir.IntegerType.get_signless(32)


def i32(value: int) -> ir.Value:
    return arith.constant(i32_type(), value)


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


def bounded(x: ir.Value, factor: float, cap: float) -> ir.Value:
    """``cap * tanh(factor * x)``: 1 - 2 / (1 + e^2y), whose error is tiny beside ``cap``."""
    power = exp2(arith.mulf(x, scalar(2 * math.log2(math.e) * factor)))
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
    size = width(type_.element_type) // 8
    metadata = memref.extract_strided_metadata(buffer)
    offset, strides = metadata[1], list(metadata[2 + type_.rank : 1 + 2 * type_.rank])
    address = memref.extract_aligned_pointer_as_index(buffer)
    everything = arith.ori(address, arith.muli(offset, index(size)))
    for stride in strides:
        everything = arith.ori(everything, arith.muli(stride, index(size)))
    low = arith.andi(everything, index(bytes_ - 1))
    return equal(low, 0)
