"""`rlx-cpu-split-kernels`: loop nests in several threads."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlx.dialects.types import is_static
from rlx.host import arith, func, ir, memref
from rlx.options import option
from rlx.passes.base import Pass, PassFailure, walk
from rlx.passes.clone import all_ops, clone
from rlx.passes.functions import functions, is_public
from rlx.schedules.cpu import code
from rlx.schedules.cpu.code import Index, Kernels

__all__ = ["SplitKernels"]


@dataclass(frozen=True)
class SplitKernels(Pass):
    """Splits the outer loops of the functions that `rlx-outline-kernels` makes.

    Such a function, of one linalg op on buffers, becomes one that calls another in several threads,
    with a share of the work each, where there is enough of it: one parallel loop is split, or two
    as if they were one where the first may be short. The innermost loop stays whole. How much work
    there is follows from the sizes at run time, and from what is done per element.
    """

    name = "rlx-cpu-split-kernels"
    anchor = "builtin.module"

    threads: int = option(0, "how many threads to use; 0 for what OpenMP says at run time")

    def run(self, op: ir.Operation) -> None:
        if self.threads < 0:
            raise PassFailure(op, f"expected a number of threads, but found {self.threads}")
        if self.threads == 1:
            return
        kernels = Kernels(op, self.threads)
        for function in functions(op):
            nest = _nest_of(function)
            if nest is not None and (chosen := nest.outer_loops()):
                with function.location:
                    _split(function, nest, chosen, kernels)


class _Nest:
    """A linalg op on buffers, seen as loops."""

    def __init__(self, op: ir.Operation):
        self.op = op
        self.maps = [ir.AffineMapAttr(map_).value for map_ in op.attributes["indexing_maps"]]
        self.kinds = [str(kind) for kind in op.attributes["iterator_types"]]
        inputs, _ = ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"])
        self.outputs = self.maps[inputs:]

    def place(self, loop: int) -> tuple[int, int] | None:
        """An operand, and its axis, that the loop runs along."""
        expr = ir.AffineDimExpr.get(loop)
        for operand, map_ in enumerate(self.maps):
            for axis, found in enumerate(map_.results):
                if found == expr:
                    return operand, axis
        return None

    def size(self, loop: int) -> int:
        """The size of a loop; dynamic if not known."""
        expr = ir.AffineDimExpr.get(loop)
        for operand, map_ in zip(self.op.operands, self.maps, strict=True):
            for axis, found in enumerate(map_.results):
                if found == expr and is_static(operand.type.shape[axis]):
                    return operand.type.shape[axis]
        return code.DYNAMIC

    def outer_loops(self) -> list[int]:
        """The loops to split, outermost first; none where that is not possible or of no use."""
        loops = range(len(self.kinds))
        if any(self.place(loop) is None for loop in loops) or self._is_little():
            return []
        chosen: list[int] = []
        for loop in loops[:-1] if len(loops) > 1 else loops:
            size = self.size(loop)
            if size == 1 or not self._can_split(loop):
                continue
            chosen.append(loop)
            if len(chosen) == 2 or (is_static(size) and size >= 64):
                break
        return chosen

    def _can_split(self, loop: int) -> bool:
        if "parallel" not in self.kinds[loop]:
            return False
        expr = ir.AffineDimExpr.get(loop)
        for map_ in self.maps:
            along = [found for found in map_.results if _mentions(found, loop)]
            if along and along != [expr]:
                return False
            if not along and map_ in self.outputs:
                return False
        return True

    def _is_little(self) -> bool:
        """Whether it is known here that there is too little work."""
        sizes = [self.size(loop) for loop in range(len(self.kinds))]
        if not all(map(is_static, sizes)):
            return False
        return math.prod(sizes) * self.picoseconds() < 2000 * code.LEAST_NANOSECONDS

    def picoseconds(self) -> int:
        """About how long one step takes on one thread."""
        total = 0
        for operand, map_ in zip(self.op.operands, self.maps, strict=True):
            if isinstance(operand.type, ir.MemRefType) and len(map_.results) == map_.n_dims:
                total += 2 * _bits(operand.type.element_type)
        for op in all_ops(self.op):
            total += _COST.get(op.name, 10)
        return total


# In picoseconds, vectorised.
_COST = {
    "arith.divf": 100,
    "math.sqrt": 100,
    "math.exp": 300,
    "math.erf": 600,
    "math.tanh": 600,
    "math.sin": 600,
    "math.cos": 600,
    "math.log": 1000,
    "math.powf": 2000,
    "memref.load": 200,
}


def _bits(type_: ir.Type) -> int:
    if isinstance(type_, ir.ComplexType):
        return 2 * _bits(type_.element_type)
    # Those of `index` and of types that the bindings have no class for, such as f80.
    return getattr(type_, "width", 64)


def _mentions(expr: ir.AffineExpr, loop: int) -> bool:
    if isinstance(expr, ir.AffineBinaryExpr):
        return _mentions(expr.lhs, loop) or _mentions(expr.rhs, loop)
    return expr == ir.AffineDimExpr.get(loop)


def _nest_of(function: func.FuncOp) -> _Nest | None:
    """The linalg op that is all of a function, but for constants and the like."""
    if function.is_external or is_public(function) or len(function.body.blocks) != 1:
        return None
    found = None
    for op in function.body.blocks[0].operations:
        if op.operation.name == "linalg.generic" and found is None:
            found = op.operation
        elif op.operation.name not in _BESIDE:
            return None
    return None if found is None or found.results else _Nest(found)


_BESIDE = {"arith.constant", "memref.distinct_objects", "func.return"}


def _split(function: func.FuncOp, nest: _Nest, chosen: list[int], kernels: Kernels) -> None:
    """Moves the loops into another function, and calls that for parts of them."""
    name = ir.StringAttr(function.name).value
    block = function.body.blocks[0]
    ops = [op.operation for op in block.operations]

    def part(_: ir.Value, low: ir.Value, high: ir.Value, *arguments: ir.Value) -> None:
        mapping = dict(zip(block.arguments, arguments, strict=True))
        for op in ops[: ops.index(nest.op)]:
            clone(op, mapping)
        if len(chosen) == 1:
            _some(nest, mapping, {chosen[0]: (low, code.subtract(high, low))})
            return
        outer, inner = chosen
        length = code.index(code.maximum(_extent(nest, inner, mapping), 1))
        first = arith.divui(low, length)
        end = arith.ceildivui(high, length)

        def row(i: ir.Value) -> None:
            start = code.multiply(i, length)
            begin = code.maximum(code.subtract(low, start), 0)
            stop = code.minimum(code.subtract(high, start), length)
            _some(nest, mapping, {outer: (i, 1), inner: (begin, code.subtract(stop, begin))})

        code.loop(first, end, 1, row)

    types = [argument.type for argument in block.arguments]
    run = kernels.parallel(f"{name}_part", types, part, like=function)
    identity = {argument: argument for argument in block.arguments}
    with ir.InsertionPoint.at_block_begin(block):
        # Of the arguments themselves: what is between them and the loops will be gone.
        for op in ops[: ops.index(nest.op)]:
            clone(op, identity)
        extents = [_extent(nest, loop, identity) for loop in range(len(nest.kinds))]
        steps: Index = 1
        for extent in extents:
            steps = code.multiply(steps, extent)
        time = arith.divui(code.index(code.multiply(steps, nest.picoseconds())), code.index(1000))
        count: Index = 1
        for loop in chosen:
            count = code.multiply(count, extents[loop])
        run(kernels.parts(count, time), count, *block.arguments)
    for op in reversed(ops[:-1]):
        op.erase()


def _extent(nest: _Nest, loop: int, mapping: dict[ir.Value, ir.Value]) -> Index:
    operand, axis = nest.place(loop) or (0, 0)
    size = nest.size(loop)
    return size if is_static(size) else code.dim(mapping[nest.op.operands[operand]], axis)


def _some(
    nest: _Nest, mapping: dict[ir.Value, ir.Value], ranges: dict[int, tuple[Index, Index]]
) -> None:
    """The op with some loops running over a range, given as a start and a size, only."""
    mapping = dict(mapping)
    views = [
        _view(mapping[operand], map_, ranges) if isinstance(operand.type, ir.MemRefType) else None
        for operand, map_ in zip(nest.op.operands, nest.maps, strict=True)
    ]
    copy = clone(nest.op, mapping)
    for number, view in enumerate(views):
        if view is not None:
            copy.operands[number] = view
    for op in walk(copy, "linalg.index"):
        loop = ir.IntegerAttr(op.attributes["dim"]).value
        if loop in ranges:
            with ir.InsertionPoint.after(op):
                total = arith.addi(op.results[0], code.index(ranges[loop][0]))
            op.results[0].replace_all_uses_except(total, total.owner.operation)


def _view(buffer: ir.Value, map_: ir.AffineMap, ranges: dict[int, tuple[Index, Index]]) -> ir.Value:
    """The part of an operand that ``ranges`` of loops touch."""
    if not any(expr == ir.AffineDimExpr.get(loop) for expr in map_.results for loop in ranges):
        return buffer
    offsets: list[Index] = [0] * len(map_.results)
    sizes: list[Index] = [
        size if is_static(size) else code.dim(buffer, axis)
        for axis, size in enumerate(buffer.type.shape)
    ]
    for axis, expr in enumerate(map_.results):
        for loop, (start, size) in ranges.items():
            if expr == ir.AffineDimExpr.get(loop):
                offsets[axis], sizes[axis] = start, size
    return _subview(buffer, offsets, sizes)


def _subview(buffer: ir.Value, offsets: Sequence[Index], sizes: Sequence[Index]) -> ir.Value:
    strides, _ = buffer.type.get_strides_and_offset()
    text = ", ".join("?" if stride == code.DYNAMIC else str(stride) for stride in strides)
    layout = ir.Attribute.parse(f"strided<[{text}], offset: ?>")
    shape = [size if isinstance(size, int) else code.DYNAMIC for size in sizes]
    return memref.SubViewOp(
        ir.MemRefType.get(shape, buffer.type.element_type, layout, buffer.type.memory_space),
        buffer,
        [offset for offset in offsets if not isinstance(offset, int)],
        [size for size in sizes if not isinstance(size, int)],
        [],
        [offset if isinstance(offset, int) else code.DYNAMIC for offset in offsets],
        shape,
        [1] * len(shape),
    ).result
