"""A `linalg.generic` on buffers as the body of a kernel.

Where nothing is reduced, a thread computes neighbouring elements, as many as fit into 128 bits and
lie side by side in every buffer. A reduction along contiguous elements is shared by the lanes of a
warp, which read neighbours and exchange their partial results; any other reduction is a loop within
a thread, whose neighbours compute neighbouring elements.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlx.dialects.types import DYNAMIC
from rlx.host import arith, gpu, ir, memref, scf, vector
from rlx.passes.clone import clone

__all__ = ["THREADS", "Loops", "analyse", "blocks", "emit_body"]

THREADS = 256
WARP = 32
_BITS = 128

Mapping = dict[ir.Value, ir.Value]


@dataclass(frozen=True)
class Loops:
    """How the loops of a generic op are spread over threads.

    Attributes:
        bounds: of each loop: the size, or the operand and axis that tell it.
        parallel, reduction: numbers of loops.
        lanes: neighbouring elements along the last parallel loop that a thread computes.
        combine: with it a warp computes an element: the op that combines partial results.
    """

    bounds: tuple[int | tuple[int, int], ...]
    parallel: tuple[int, ...]
    reduction: tuple[int, ...]
    lanes: int
    combine: ir.Operation | None


def maps_of(op: ir.Operation) -> list[ir.AffineMap]:
    return [ir.AffineMapAttr(m).value for m in ir.ArrayAttr(op.attributes["indexing_maps"])]


def inputs_of(op: ir.Operation) -> int:
    """How many operands are inputs."""
    return next(iter(ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"])))


def analyse(op: ir.Operation) -> Loops:
    """How to spread a `linalg.generic` on buffers over threads."""
    kinds = [str(kind) for kind in ir.ArrayAttr(op.attributes["iterator_types"])]
    maps = maps_of(op)
    bounds: list[int | tuple[int, int]] = []
    for loop in range(len(kinds)):
        found = [
            (operand, axis)
            for operand, map_ in enumerate(maps)
            for axis, expr in enumerate(map_.results)
            if isinstance(expr, ir.AffineDimExpr) and ir.AffineDimExpr(expr).position == loop
        ]
        sizes = [op.operands[operand].type.shape[axis] for operand, axis in found]
        static = [size for size in sizes if size != DYNAMIC]
        bounds.append(static[0] if static else found[0])
    parallel = tuple(n for n, kind in enumerate(kinds) if "parallel" in kind)
    reduction = tuple(n for n, kind in enumerate(kinds) if "parallel" not in kind)
    last = parallel[-1] if parallel else None
    combine = _combine(op, reduction[-1], last) if reduction else None
    lanes = 1 if reduction or not parallel else _lanes(op, bounds, parallel[-1])
    return Loops(tuple(bounds), parallel, reduction, lanes, combine)


# -- neighbours ------------------------------------------------------------------------------------


def _uses(expr: ir.AffineExpr, loop: int) -> bool:
    if isinstance(expr, ir.AffineDimExpr):
        return ir.AffineDimExpr(expr).position == loop
    if isinstance(expr, ir.AffineConstantExpr):
        return False
    return _uses(expr.lhs, loop) or _uses(expr.rhs, loop)


def _is_contiguous(type_: ir.MemRefType, map_: ir.AffineMap, loop: int) -> bool:
    """Whether steps of ``loop`` are steps along contiguous elements."""
    exprs = list(map_.results)
    if not exprs or any(_uses(expr, loop) for expr in exprs[:-1]):
        return False
    last = exprs[-1]
    return (
        isinstance(last, ir.AffineDimExpr)
        and ir.AffineDimExpr(last).position == loop
        and type_.get_strides_and_offset()[0][-1] == 1
    )


def width(type_: ir.Type) -> int:
    """Bits that an element takes in memory."""
    if isinstance(type_, ir.IndexType):
        return 64
    return max(8, type_.width)


def _lanes(op: ir.Operation, bounds: Sequence[int | tuple[int, int]], loop: int) -> int:
    size = bounds[loop]
    if not isinstance(size, int):
        return 1
    along, widest = [], 0
    for operand, map_ in zip(op.operands, maps_of(op), strict=True):
        if isinstance(operand.type, ir.MemRefType) and _is_contiguous(operand.type, map_, loop):
            along.append(operand.type)
            widest = max(widest, width(operand.type.element_type))
    lanes = _BITS // widest if widest else 1
    while lanes > 1 and (size % lanes or not all(_is_aligned(t, lanes) for t in along)):
        lanes //= 2
    return lanes


def _is_aligned(type_: ir.MemRefType, lanes: int) -> bool:
    """Whether rows begin at multiples of ``lanes``, given that the buffer itself does."""
    if width(type_.element_type) < 8 or str(type_.element_type) == "i1":
        return False
    if type_.affine_map == ir.AffineMap.get_identity(type_.rank, type_.context):
        # All strides but the last one are multiples of the last size.
        return type_.rank < 2 or (type_.shape[-1] != DYNAMIC and type_.shape[-1] % lanes == 0)
    strides, offset = type_.get_strides_and_offset()
    # Dynamic ones are huge numbers, and no multiples.
    dynamic = ir.ShapedType.get_dynamic_stride_or_offset()
    return all(n != dynamic and n % lanes == 0 for n in (*strides[:-1], offset))


# -- reductions ------------------------------------------------------------------------------------

_NEUTRAL: dict[str, float | int] = {
    "arith.addf": 0.0,
    "arith.mulf": 1.0,
    "arith.maximumf": float("-inf"),
    "arith.maxnumf": float("-inf"),
    "arith.minimumf": float("inf"),
    "arith.minnumf": float("inf"),
    "arith.addi": 0,
    "arith.ori": 0,
    "arith.andi": -1,
}
"""Ops that partial results may be combined with, and what changes nothing."""

_REORDERS = ("reassoc", "fast>")


def _combine(op: ir.Operation, loop: int, parallel: int | None) -> ir.Operation | None:
    """The op that a warp combines partial results with; None if a thread has to do it all."""
    inputs = inputs_of(op)
    operands, maps = list(op.operands), maps_of(op)
    if len(operands) != inputs + 1:
        return None
    block = op.regions[0].blocks[0]
    accumulator = block.arguments[inputs]
    end = list(block.operations)[-1].operation
    owner = end.operands[0].owner
    if isinstance(owner, ir.Block):
        return None
    combine = owner.operation
    if combine.name not in _NEUTRAL or combine.block != block:
        return None
    uses = list(accumulator.uses)
    if len(uses) != 1 or uses[0].owner.operation != combine:
        return None
    flags = str(combine.attributes["fastmath"]) if "fastmath" in combine.attributes else ""
    if combine.name in ("arith.addf", "arith.mulf") and not any(
        flag in flags for flag in _REORDERS
    ):
        return None
    if str(accumulator.type) not in ("f32", "f64", "i1", "i32", "i64"):
        return None
    buffers = [
        (value.type, map_)
        for value, map_ in zip(operands[:inputs], maps, strict=False)
        if isinstance(value.type, ir.MemRefType)
    ]
    # Neighbouring threads should read neighbouring elements: either along this loop, or along the
    # last one that makes elements.
    along = any(_is_contiguous(type_, map_, loop) for type_, map_ in buffers)
    across = parallel is not None and any(
        _is_contiguous(type_, map_, parallel) and any(_uses(expr, loop) for expr in map_.results)
        for type_, map_ in buffers
    )
    return combine if along and not across else None


def _shuffled(value: ir.Value, offset: int) -> ir.Value:
    """The value of the lane whose number differs in ``offset``."""
    i32 = ir.IntegerType.get_signless(32)
    flag = isinstance(value.type, ir.IntegerType) and value.type.width == 1
    sent = arith.extui(i32, value) if flag else value
    op = gpu.ShuffleOp(
        sent,
        arith.constant(i32, offset),
        arith.constant(i32, WARP),
        ir.Attribute.parse("#gpu<shuffle_mode xor>"),
    )
    received = op.operation.results[0]
    return arith.trunci(value.type, received) if flag else received


# -- emission --------------------------------------------------------------------------------------


def index(value: int) -> ir.Value:
    return arith.constant(ir.IndexType.get(), value)


def bound(loops: Loops, loop: int, operands: Sequence[ir.Value]) -> ir.Value:
    """The number of iterations of a loop, as an index."""
    size = loops.bounds[loop]
    if isinstance(size, int):
        return index(size)
    operand, axis = size
    return memref.DimOp(operands[operand], index(axis)).result


def blocks(loops: Loops, operands: Sequence[ir.Value]) -> ir.Value:
    """How many blocks of threads the op needs."""
    total = _threads(loops, operands)
    return arith.ceildivui(total, index(THREADS))


def _threads(loops: Loops, operands: Sequence[ir.Value]) -> ir.Value:
    total = index(WARP if loops.combine is not None else 1)
    for loop in loops.parallel:
        total = arith.muli(total, _steps(loops, loop, operands))
    return total


def _steps(loops: Loops, loop: int, operands: Sequence[ir.Value]) -> ir.Value:
    size = loops.bounds[loop]
    if loops.lanes > 1 and loop == loops.parallel[-1] and isinstance(size, int):
        return index(size // loops.lanes)
    return bound(loops, loop, operands)


def emit_body(
    op: ir.Operation, loops: Loops, mapping: Mapping, initial: ir.Attribute | None = None
) -> None:
    """Emits the kernel's body.

    Args:
        op: the generic op, which stays.
        loops: how it is spread.
        mapping: what stands for the values that the op uses.
        initial: what a reduction begins with, in place of what its output holds.
    """
    operands = [mapping.get(value, value) for value in op.operands]
    thread = arith.addi(
        arith.muli(gpu.block_id(gpu.Dimension.x), index(THREADS)), gpu.thread_id(gpu.Dimension.x)
    )
    inside = arith.cmpi(arith.CmpIPredicate.ult, thread, _threads(loops, operands))
    branch = scf.IfOp(inside)
    with ir.InsertionPoint(branch.then_block):
        lane = None
        if loops.combine is not None:
            lane = arith.remui(thread, index(WARP))
            thread = arith.divui(thread, index(WARP))
        indices: dict[int, ir.Value] = {}
        for loop in reversed(loops.parallel[1:]):
            size = _steps(loops, loop, operands)
            indices[loop] = arith.remui(thread, size)
            thread = arith.divui(thread, size)
        if loops.parallel:
            indices[loops.parallel[0]] = thread
        if loops.lanes > 1:
            last = loops.parallel[-1]
            indices[last] = arith.muli(indices[last], index(loops.lanes))
        _Element(op, loops, mapping, operands, initial).emit(indices, lane)
        scf.yield_([])


class _Element:
    """What one thread, or one warp, does."""

    def __init__(
        self,
        op: ir.Operation,
        loops: Loops,
        mapping: Mapping,
        operands: list[ir.Value],
        initial: ir.Attribute | None,
    ):
        self.initial = initial
        self.op, self.loops, self.mapping, self.operands = op, loops, mapping, operands
        self.maps, self.inputs = maps_of(op), inputs_of(op)
        self.block = op.regions[0].blocks[0]

    def emit(self, indices: dict[int, ir.Value], lane: ir.Value | None) -> None:
        if self.loops.combine is not None and lane is not None:
            self.warp(indices, lane)
        elif self.loops.reduction:
            outputs = range(self.inputs, len(self.operands))
            initial = [self.first(n, indices) for n in outputs]
            for value, n in zip(self.reduce(indices, initial, 0), outputs, strict=True):
                self.store(value, n, indices)
        else:
            self.elements(indices)

    # -- elementwise

    def elements(self, indices: dict[int, ir.Value]) -> None:
        lanes = self.loops.lanes
        last = self.loops.parallel[-1] if self.loops.parallel else -1
        loaded: dict[int, Callable[[int], ir.Value]] = {}
        for n, operand in enumerate(self.operands):
            if list(self.block.arguments[n].uses):
                loaded[n] = self.neighbours(n, operand, indices, lanes, last)
        results: list[list[ir.Value]] = []
        for number in range(lanes):
            at = dict(indices)
            if number:
                at[last] = arith.addi(indices[last], index(number))
            scalars = {n: load(number) for n, load in loaded.items()}
            results.append(self.body(at, scalars))
        for output, values in enumerate(zip(*results, strict=True)):
            n = self.inputs + output
            if lanes == 1 or not self.is_contiguous(n, last):
                for number, value in enumerate(values):
                    at = dict(indices)
                    if number:
                        at[last] = arith.addi(indices[last], index(number))
                    self.store(value, n, at)
                continue
            type_ = ir.VectorType.get([lanes], values[0].type)
            whole = vector.from_elements(type_, list(values))
            vector.store(
                whole, self.operands[n], self.access(n, indices), alignment=self.alignment(n)
            )

    def is_contiguous(self, n: int, loop: int) -> bool:
        # Of the op's own operand: in the kernel a static buffer may have become a dynamic one.
        type_ = self.op.operands[n].type
        return isinstance(type_, ir.MemRefType) and _is_contiguous(type_, self.maps[n], loop)

    def alignment(self, n: int) -> int:
        return self.loops.lanes * width(self.operands[n].type.element_type) // 8

    def neighbours(
        self, n: int, operand: ir.Value, indices: dict[int, ir.Value], lanes: int, last: int
    ) -> Callable[[int], ir.Value]:
        """What gives the element of each lane, of one operand."""
        if not isinstance(operand.type, ir.MemRefType):
            return lambda number: operand
        if lanes > 1 and self.is_contiguous(n, last):
            type_ = ir.VectorType.get([lanes], operand.type.element_type)
            at = self.access(n, indices)
            whole = vector.load(type_, operand, at, alignment=self.alignment(n))
            return lambda number: vector.extract(whole, [], [number])
        if not any(_uses(expr, last) for expr in self.maps[n].results):
            once = self.load(n, indices)
            return lambda number: once

        def gather(number: int) -> ir.Value:
            at = dict(indices)
            if number:
                at[last] = arith.addi(indices[last], index(number))
            return self.load(n, at)

        return gather

    # -- reductions

    def reduce(
        self, indices: dict[int, ir.Value], carried: list[ir.Value], depth: int
    ) -> list[ir.Value]:
        """The reduction loops from ``depth`` on, one inside the other."""
        if depth == len(self.loops.reduction):
            scalars = {
                n: self.load(n, indices)
                for n in range(self.inputs)
                if list(self.block.arguments[n].uses)
            }
            scalars |= {self.inputs + n: value for n, value in enumerate(carried)}
            return self.body(indices, scalars)
        loop = self.loops.reduction[depth]
        op = scf.ForOp(index(0), bound(self.loops, loop, self.operands), index(1), carried)
        with ir.InsertionPoint(op.body):
            at = {**indices, loop: op.induction_variable}
            scf.yield_(self.reduce(at, list(op.inner_iter_args), depth + 1))
        return list(op.results)

    def warp(self, indices: dict[int, ir.Value], lane: ir.Value) -> None:
        """Lanes take turns along the last reduction loop."""
        combine = self.loops.combine
        assert combine is not None
        n, type_ = self.inputs, self.block.arguments[self.inputs].type
        neutral = _NEUTRAL[combine.name]
        start = arith.constant(type_, neutral)
        *outer, last = self.loops.reduction
        partial = self._outer(indices, start, outer, last, lane)
        offset = WARP // 2
        while offset:
            partial = self._combined(partial, _shuffled(partial, offset))
            offset //= 2
        first = arith.cmpi(arith.CmpIPredicate.eq, lane, index(0))
        branch = scf.IfOp(first)
        with ir.InsertionPoint(branch.then_block):
            self.store(self._combined(self.first(n, indices), partial), n, indices)
            scf.yield_([])

    def _outer(
        self,
        indices: dict[int, ir.Value],
        carried: ir.Value,
        outer: Sequence[int],
        last: int,
        lane: ir.Value,
    ) -> ir.Value:
        loop, low, step = (outer[0], index(0), index(1)) if outer else (last, lane, index(WARP))
        op = scf.ForOp(low, bound(self.loops, loop, self.operands), step, [carried])
        with ir.InsertionPoint(op.body):
            at = {**indices, loop: op.induction_variable}
            value = op.inner_iter_args[0]
            if outer:
                scf.yield_([self._outer(at, value, outer[1:], last, lane)])
            else:
                scf.yield_(self.reduce(at, [value], len(self.loops.reduction)))
        return op.results[0]

    def _combined(self, a: ir.Value, b: ir.Value) -> ir.Value:
        combine = self.loops.combine
        assert combine is not None
        return ir.Operation.create(
            combine.name,
            results=[a.type],
            operands=[a, b],
            attributes=dict(combine.attributes.items()),
        ).results[0]

    # -- elements

    def access(self, n: int, indices: dict[int, ir.Value]) -> list[ir.Value]:
        """Where operand ``n`` is accessed."""
        return [apply(expr, indices) for expr in self.maps[n].results]

    def load(self, n: int, indices: dict[int, ir.Value]) -> ir.Value:
        operand = self.operands[n]
        if not isinstance(operand.type, ir.MemRefType):
            return operand
        return memref.load(operand, self.access(n, indices))

    def first(self, n: int, indices: dict[int, ir.Value]) -> ir.Value:
        """What a reduction begins with."""
        if self.initial is not None:
            return arith.constant(self.block.arguments[n].type, self.initial)
        return self.load(n, indices)

    def store(self, value: ir.Value, n: int, indices: dict[int, ir.Value]) -> None:
        memref.store(value, self.operands[n], self.access(n, indices))

    def body(self, indices: dict[int, ir.Value], scalars: dict[int, ir.Value]) -> list[ir.Value]:
        """The body of the op with these indices and scalars; what it yields."""
        mapping = dict(self.mapping)
        for n, value in scalars.items():
            mapping[self.block.arguments[n]] = value
        for inner in self.block.operations:
            if inner.operation.name == "linalg.index":
                loop = ir.IntegerAttr(inner.operation.attributes["dim"]).value
                mapping[inner.operation.results[0]] = indices[loop]
            elif inner.operation.name == "linalg.yield":
                return [mapping.get(value, value) for value in inner.operation.operands]
            else:
                clone(inner.operation, mapping)
        raise ValueError("the body of a linalg op has no terminator")


def apply(expr: ir.AffineExpr, indices: dict[int, ir.Value]) -> ir.Value:
    """The value of an affine expression of loops."""
    if isinstance(expr, ir.AffineDimExpr):
        return indices[ir.AffineDimExpr(expr).position]
    if isinstance(expr, ir.AffineConstantExpr):
        return index(ir.AffineConstantExpr(expr).value)
    left, right = apply(expr.lhs, indices), apply(expr.rhs, indices)
    if isinstance(expr, ir.AffineAddExpr):
        return arith.addi(left, right)
    if isinstance(expr, ir.AffineMulExpr):
        return arith.muli(left, right)
    if isinstance(expr, ir.AffineModExpr):
        return arith.remui(left, right)
    if isinstance(expr, ir.AffineFloorDivExpr):
        return arith.floordivsi(left, right)
    return arith.ceildivsi(left, right)
