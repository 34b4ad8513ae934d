"""Short names for what is new on Hopper: TMA, barriers in memory, products of warp groups.

The products are inline assembly: the ops of nvgpu take both operands from shared memory only, and
the weights of attention come from registers. ptxas must be able to see that the registers of sums
are not touched while a product is under way: sums are tied from product to wait to reader.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rlx.host import arith, gpu, ir, llvm, memref, nvgpu, nvvm, vector
from rlx.schedules.cuda import code
from rlx.schedules.cuda.code import Index

__all__ = [
    "GROUP",
    "Barriers",
    "Roles",
    "Shared",
    "group_of",
    "load_box",
    "map_type",
    "product",
    "settle",
]

GROUP = 128
"""Threads of a warp group."""

BOX = 64
"""Columns of 16 bits that are moved and swizzled together: 128 bytes."""

_RESHAPES = ("tensor.cast", "tensor.collapse_shape", "tensor.expand_shape", "tensor.reshape")
_TICKS = 10_000_000
_REGISTERS = 1 << 16  # of a processor, which runs one block


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Warp groups of a block: the first one copies, the others compute.

    Attributes:
        groups: that compute, 64 rows each.
    """

    groups: int = 2

    @property
    def rows(self) -> int:
        return 64 * self.groups

    @property
    def threads(self) -> int:
        return GROUP * (self.groups + 1)

    @property
    def few(self) -> int:
        """Registers of threads that copy."""
        return 24

    @property
    def many(self) -> int:
        """Registers of threads that compute: what the others leave of those at the start."""
        start = _REGISTERS // self.threads // 8 * 8
        return (start * (self.groups + 1) - self.few) // self.groups // 8 * 8


def group_of(thread: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The number of the warp group, as i32 and as index, in a way that shows it is uniform."""
    i32 = ir.IntegerType.get_signless(32)
    number = arith.index_cast(i32, code.index(code.divide(thread, GROUP)))
    mode = ir.Attribute.parse("#gpu<shuffle_mode idx>")
    uniform = gpu.shuffle(number, code.i32(0), code.i32(32), mode)[0]
    return uniform, arith.index_cast(ir.IndexType.get(), uniform)


def set_registers(count: int, more: bool) -> None:
    action = "increase" if more else "decrease"
    nvvm.setmaxregister(count, ir.Attribute.parse(f"#nvvm<action {action}>"))


def sync_group(number: Index, threads: int = GROUP) -> None:
    """A barrier of one or several warp groups; 1 and up, 0 is that of the block."""
    i32 = ir.IntegerType.get_signless(32)
    which = arith.index_cast(i32, code.index(number))
    nvvm.barrier(barrier_id=which, number_of_threads=code.i32(threads))


def arrive_at(number: Index, threads: int) -> None:
    """Arrives at such a barrier, and goes on."""
    which = arith.index_cast(code.i32_type(), code.index(number))
    nvvm.barrier_arrive(number_of_threads=code.i32(threads), barrier_id=which)


def fence() -> None:
    """What the thread wrote to shared memory is there for products of warp groups."""
    ir.Operation.create(
        "nvvm.fence.proxy",
        attributes={
            "kind": ir.Attribute.parse("#nvvm.proxy_kind<async.shared>"),
            "space": ir.Attribute.parse("#nvvm.shared_space<cta>"),
        },
    )


# -- barriers in memory ----------------------------------------------------------------------------


class Barriers:
    """mbarriers; phases alternate between two parities, the first one ends with parity 0."""

    def __init__(self, counts: Sequence[int], leader: ir.Value):
        """Makes one for each number of arrivals; ``leader`` (i1) is true for one thread."""
        space = "#gpu.address_space<workgroup>"
        type_ = ir.Type.parse(
            f"!nvgpu.mbarrier.group<memorySpace = {space}, num_barriers = {len(counts)}>"
        )
        self.group = nvgpu.mbarrier_create(type_)
        for number, count in enumerate(counts):
            nvgpu.mbarrier_init(self.group, code.index(count), code.index(number), predicate=leader)
        nvvm.fence_mbarrier_init()

    def expect(self, number: Index, size: int) -> None:
        """Arrives, and tells how many bytes will."""
        nvgpu.mbarrier_arrive_expect_tx(self.group, code.index(size), code.index(number))

    def wait(self, number: Index, parity: ir.Value) -> None:
        nvgpu.mbarrier_try_wait_parity(self.group, parity, code.index(_TICKS), code.index(number))

    def arrive(self, number: Index, who: ir.Value) -> None:
        """Threads with ``who`` (i32) other than 0 arrive."""
        i32 = ir.IntegerType.get_signless(32)
        address = nvgpu.mbarrier_get(i32, self.group, code.index(number))
        llvm.inline_asm(
            None,
            [address, who],
            "{ .reg .pred p; setp.ne.b32 p, $1, 0; @p mbarrier.arrive.shared.b64 _, [$0]; }",
            "r,r,~{memory}",
            has_side_effects=True,
        )


def parity(turn: Index, stages: int, start: int) -> ir.Value:
    """Of the ``turn``-th use of a ring of barriers; ``start`` is that of the first round."""
    odd = code.remainder(code.divide(turn, stages), 2)
    return code.equal(odd, 1 - start)


# -- TMA -------------------------------------------------------------------------------------------


def map_type(box: Sequence[int], element: ir.Type) -> ir.Type:
    """Of a descriptor that moves boxes, whose last axis has 64 columns."""
    shape = "x".join(map(str, box))
    memory = f"memref<{shape}x{element}, #gpu.address_space<workgroup>>"
    return ir.Type.parse(
        f"!nvgpu.tensormap.descriptor<tensor = {memory}, swizzle = swizzle_128b, "
        f"l2promo = l2promo_256b, oob = zero, interleave = none>"
    )


def describe(buffer: ir.Value, box: Sequence[int]) -> ir.Value:
    """The descriptor of a buffer; emitted beside a launch."""
    element = buffer.type.element_type
    unranked = memref.cast(ir.UnrankedMemRefType.get(element, None), buffer)
    sizes = [code.index(size) for size in box]
    return nvgpu.tma_create_descriptor(map_type(box, element), unranked, sizes)


class Shared:
    """Dynamic shared memory by bytes; multiples of 1024, as swizzled boxes want it."""

    def __init__(self) -> None:
        space = ir.Attribute.parse("#gpu.address_space<workgroup>")
        i8 = ir.IntegerType.get_signless(8)
        self.space = space
        self.all = gpu.dynamic_shared_memory(
            ir.MemRefType.get([code.DYNAMIC], i8, memory_space=space)
        )
        i64 = ir.IntegerType.get_signless(64)
        self.base = arith.index_cast(i64, memref.extract_aligned_pointer_as_index(self.all))

    def view(self, start: Index, shape: Sequence[int], element: ir.Type) -> ir.Value:
        type_ = ir.MemRefType.get(list(shape), element, memory_space=self.space)
        return memref.view(type_, self.all, code.index(start), [])

    def descriptor(self, start: Index, leading: int) -> ir.Value:
        """Of a matrix in rows of 128 swizzled bytes, for products; ``leading`` bytes between
        columns of boxes, which matters only where rows lie along memory."""
        i64 = ir.IntegerType.get_signless(64)

        def number(value: int) -> ir.Value:
            return arith.constant(i64, value)

        address = arith.addi(self.base, arith.index_cast(i64, code.index(start)))
        address = arith.shrui(arith.andi(address, number(0x3FFFF)), number(4))
        # A swizzle of 128 bytes; eight rows take 1024.
        rest = 1 << 62 | (1024 >> 4) << 32 | (leading >> 4) << 16
        return arith.ori(address, number(rest))


def further(descriptor: ir.Value, size: int) -> ir.Value:
    """The descriptor of what lies ``size`` bytes further."""
    if size == 0:
        return descriptor
    i64 = ir.IntegerType.get_signless(64)
    return arith.addi(descriptor, arith.constant(i64, size >> 4))


def load_box(
    map_: ir.Value,
    at: Sequence[Index],
    barriers: Barriers,
    number: Index,
    shared: Shared,
    start: Index,
    box: Sequence[int],
    element: ir.Type,
) -> None:
    """Starts to copy a box; one thread does it. ``at`` is given as axes are, the last innermost."""
    target = shared.view(start, box, element)
    coordinates = [code.index(i) for i in reversed(at)]
    nvgpu.tma_async_load(target, barriers.group, map_, coordinates, code.index(number))


# -- products --------------------------------------------------------------------------------------


def _struct(count: int) -> ir.Type:
    return ir.Type.parse(f"!llvm.struct<({', '.join(['f32'] * count)})>")


def _run(text: str, constraints: Sequence[str], operands: Sequence[ir.Value], count: int):
    made = llvm.inline_asm(
        _struct(count), list(operands), text, ",".join(constraints), has_side_effects=True
    )
    f32 = code.f32()
    return [_extract(made, n, f32) for n in range(count)]


def _extract(value: ir.Value, position: int, type_: ir.Type) -> ir.Value:
    return ir.Operation.create(
        "llvm.extractvalue",
        results=[type_],
        operands=[value],
        attributes={"position": ir.DenseI64ArrayAttr.get([position])},
    ).results[0]


def product(
    element: ir.Type,
    columns: int,
    sums: Sequence[ir.Value] | None,
    lefts: Sequence[ir.Value | Sequence[ir.Value]],
    rights: Sequence[ir.Value],
    transposed: bool,
) -> list[ir.Value]:
    """Starts ``sums`` + left right, in steps of 16, for 64 rows; f32 registers of the sums.

    The results may be read after :func:`settle` only.

    Args:
        element: f16 or bf16.
        columns: of the result.
        sums: what to add to; None: zero.
        lefts: for each step a descriptor, or four registers of two elements as i32.
        rights: for each step a descriptor.
        transposed: whether columns of the right operand lie along memory.
    """
    count = columns // 2
    operands = list(sums or [])
    constraints = ["=f" if sums else "=&f"] * count + [str(n) for n in range(len(operands))]
    accumulators = "{" + ", ".join(f"${n}" for n in range(count)) + "}"
    name = f"wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.{element}.{element}"

    def add(value: ir.Value, kind: str) -> str:
        operands.append(value)
        constraints.append(kind)
        return f"${count + len(operands) - 1}"

    lines = ["wgmma.fence.sync.aligned;"]
    for step, (left, right) in enumerate(zip(lefts, rights, strict=True)):
        keep = int(step > 0 or sums is not None)
        if isinstance(left, ir.Value):
            a, flags = add(left, "l"), f"1, 1, 0, {int(transposed)}"
        else:
            a = "{" + ", ".join(add(register, "r") for register in left) + "}"
            flags = f"1, 1, {int(transposed)}"
        b = add(right, "l")
        lines.append(
            f"{{ .reg .pred p; setp.ne.b32 p, {keep}, 0; "
            f"{name} {accumulators}, {a}, {b}, p, {flags}; }}"
        )
    lines.append("wgmma.commit_group.sync.aligned;")
    return _run("\n".join(lines), constraints, operands, count)


def settle(sums: Sequence[ir.Value], left: int = 0) -> list[ir.Value]:
    """Waits until only ``left`` products are under way; the sums, now to be read."""
    count = len(sums)
    constraints = ["=f"] * count + [str(n) for n in range(count)]
    return _run(f"wgmma.wait_group.sync.aligned {left};", constraints, sums, count)


def pack(a: ir.Value, b: ir.Value, element: ir.Type) -> ir.Value:
    """Two f32 as a register of two elements, i32."""
    both = code.narrow(code.pair(a, b), element)
    one = vector.bitcast(ir.VectorType.get([1], ir.IntegerType.get_signless(32)), both)
    return vector.extract(one, [], [0])


def is_mappable(value: ir.Value) -> bool:
    """Whether TMA can read a tensor: rows that begin at multiples of 16 bytes."""
    return _is_whole(value) and _is_aligned(value)


def _is_whole(value: ir.Value) -> bool:
    """Whether rows of a tensor that lies in a buffer of its own are multiples of 16 bytes."""
    size = value.type.shape[-1] if value.type.rank else 1
    return size >= 0 and size % code.CHUNK == 0


def _is_aligned(value: ir.Value) -> bool:
    """Whether a tensor with such rows, a part of another one or not, begins at such a multiple."""
    op = value.owner
    if isinstance(op, ir.Block):
        # What a loop hands on may be a part of something.
        return op.owner.operation.name == "func.func"
    if op.name in _RESHAPES:
        return _is_aligned(op.operands[0])
    if op.name == "rlx.narrow":
        axis = ir.IntegerAttr(op.attributes["axis"]).value % value.type.rank
        start = ir.IntegerAttr(op.attributes["start"]).value
        fits = axis != value.type.rank - 1 or start % code.CHUNK == 0
        return fits and is_mappable(op.operands[0])
    if op.name == "tensor.extract_slice":
        start, step = (
            list(ir.DenseI64ArrayAttr(op.attributes[name]))[-1]
            for name in ("static_offsets", "static_strides")
        )
        fits = start >= 0 and start % code.CHUNK == 0 and step == 1
        return fits and is_mappable(op.operands[0])
    # Whatever else it is, it is a buffer of its own, unless it is what a branch or a loop hands on.
    return "slice" not in op.name and not op.name.startswith(("scf.", "arith.select"))
