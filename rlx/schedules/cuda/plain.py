"""A `linalg.generic` on buffers as the body of a kernel."""

from collections.abc import Callable, Sequence

from rlx.host import arith, gpu, ir, memref, scf, vector
from rlx.passes.clone import clone
from rlx.schedules.cuda import code
from rlx.schedules.cuda.loops import (
    NEUTRAL,
    Loops,
    analyse,
    inputs_of,
    is_contiguous,
    maps_of,
    uses,
    width,
)

__all__ = ["THREADS", "Loops", "Mapping", "analyse", "blocks", "emit_body", "index"]

THREADS = 256
WARP = 32

Mapping = dict[ir.Value, ir.Value]


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
    whole = bound(loops, loop, operands)
    if loops.lanes == 1 or loop != loops.parallel[-1]:
        return whole
    if isinstance(size, int):
        return index(size // loops.lanes)
    return arith.ceildivui(whole, index(loops.lanes))


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
        elif self.loops.guarded:
            self.guarded(indices)
        else:
            self.elements(indices, self.loops.lanes)

    # -- elementwise

    def guarded(self, indices: dict[int, ir.Value]) -> None:
        """Elements together if all rows are aligned, else one by one."""
        lanes, last = index(self.loops.lanes), self.loops.parallel[-1]
        size = bound(self.loops, last, self.operands)
        fits = arith.cmpi(arith.CmpIPredicate.eq, arith.remui(size, lanes), index(0))
        for n, operand in enumerate(self.operands):
            if self.is_contiguous(n, last):
                fits = arith.andi(fits, code.aligned(operand, self.alignment(n)))
        branch = scf.IfOp(fits, has_else=True)
        with ir.InsertionPoint(branch.then_block):
            self.elements(indices, self.loops.lanes)
            scf.yield_([])
        with ir.InsertionPoint(branch.else_block):
            end = arith.minui(arith.addi(indices[last], lanes), size)
            loop = scf.ForOp(indices[last], end, index(1))
            with ir.InsertionPoint(loop.body):
                self.elements({**indices, last: loop.induction_variable}, 1)
                scf.yield_([])
            scf.yield_([])

    def elements(self, indices: dict[int, ir.Value], lanes: int) -> None:
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
        return isinstance(type_, ir.MemRefType) and is_contiguous(type_, self.maps[n], loop)

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
        if not any(uses(expr, last) for expr in self.maps[n].results):
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
        neutral = NEUTRAL[combine.name]
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
