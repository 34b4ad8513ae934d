"""`rlx.rms_norm` and `rlx.layer_norm`: each row is read once, 16 bytes at a time.

A group of threads, a warp or more, holds a row in registers between the sums and the result. Rows
that are not aligned take the same kernel element by element. Long rows, and rows whose length comes
at run time, go through linalg.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rlx.dialects import emit
from rlx.dialects.base import RlxOp
from rlx.dialects.layer_norm import LayerNormOp
from rlx.dialects.rms_norm import RmsNormOp
from rlx.dialects.types import accumulator_type, is_static
from rlx.host import arith, gpu, ir, memref, vector
from rlx.host import math as mlir_math
from rlx.schedules.cuda import code
from rlx.schedules.cuda.arch import Arch
from rlx.schedules.cuda.code import Index
from rlx.schedules.cuda.kernels import Kernels
from rlx.schedules.cuda.loops import width
from rlx.schedules.cuda.tiles import Memory

__all__ = ["build", "prepare", "refusal"]

_WARP = 32
_MOST_THREADS = 1024
_MOST_ELEMENTS = 32
"""Elements of a row that a thread holds."""


@dataclass(frozen=True)
class _Shape:
    """How a row is spread.

    Attributes:
        size: elements of a row.
        lanes: elements that are moved at once.
        threads: that share a row.
        rows: of a block.
    """

    size: int
    lanes: int
    threads: int
    rows: int

    @property
    def parts(self) -> int:
        """Vectors that a thread holds."""
        return -(-self.size // (self.lanes * self.threads))

    @staticmethod
    def of(size: int, element: ir.Type) -> "_Shape":
        lanes = 128 // width(element)
        while size % lanes:
            lanes //= 2
        threads = _WARP
        # A few vectors each keep enough loads in flight.
        while threads < _MOST_THREADS and size > threads * max(lanes, 4) * 2:
            threads *= 2
        return _Shape(size, lanes, threads, max(1, 128 // threads))


def _size(op: RmsNormOp | LayerNormOp) -> int:
    group = op.group if isinstance(op, RmsNormOp) else None
    return op.input.type.shape[-1] if group is None else group


def refusal(op: RmsNormOp | LayerNormOp, arch: Arch) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if not is_static(op.input.type.shape[-1]):
        return "the length of a row is not known"
    shape = _Shape.of(_size(op), op.input.type.element_type)
    if shape.parts * shape.lanes > _MOST_ELEMENTS:
        return f"rows of {shape.size} elements do not fit into registers"
    return None


def prepare(op: RmsNormOp | LayerNormOp) -> tuple[RlxOp, ir.Value]:
    """Checks sizes and makes the op again; returns it and its result."""
    size = op.input.type.shape[-1]

    def fit(value: ir.Value, name: str) -> ir.Value:
        if value.type.shape[0] == _size(op):
            return value
        text = f"{op.OPERATION_NAME}: {name} must have the size of the last axis of input"
        return emit.fit(value, [size], text)

    if isinstance(op, LayerNormOp):
        weight, bias = fit(op.weight, "weight"), fit(op.bias, "bias")
        result = LayerNormOp.create(op.input, weight, bias, epsilon=op.epsilon)
    else:
        scale = None if op.weight is None else fit(op.weight, "weight")
        result = RmsNormOp.create(op.input, scale, **op.attrs)
    return result.owner.opview, result


def build(op: RmsNormOp | LayerNormOp, kernels: Kernels, arch: Arch) -> ir.Value:
    """Emits buffers and the launch for an op that :func:`prepare` made; returns the result."""
    element, rank = op.input.type.element_type, op.input.type.rank
    kernel = _Kernel(op)
    result = code.alloc(emit.sizes(op.input), element)
    rest = [op.weight, op.bias] if isinstance(op, LayerNormOp) else [op.weight]
    weights = [code.to_buffer(value) for value in rest if value is not None]
    types = [
        code.matrix(element, rank),
        *(code.matrix(w.type.element_type, 1) for w in weights),
        code.matrix(element, rank),
    ]
    rows: Index = op.input.type.shape[-1] // kernel.shape.size
    for size in emit.sizes(op.input)[:-1]:
        rows = code.multiply(rows, size)
    prefix = f"{op.OPERATION_NAME.replace('.', '_')}_{element}"
    block = kernel.shape.threads * kernel.shape.rows
    launch = kernels.define(
        kernels.name(prefix, (tuple(map(str, types)), kernel.key)),
        types,
        kernel.body,
        block=[block],
    )
    shared = 0 if kernel.shape.threads == _WARP else 1024
    grid = [code.ceil_div(rows, kernel.shape.rows)]
    launch(code.to_buffer(op.input), *weights, result, grid=grid, shared=shared)
    return code.to_tensor(result)


class _Kernel:
    def __init__(self, op: RmsNormOp | LayerNormOp):
        self.element = op.input.type.element_type
        self.wide = accumulator_type(self.element)
        self.centred = isinstance(op, LayerNormOp)
        self.epsilon = op.epsilon
        self.offset = 0.0 if isinstance(op, LayerNormOp) else op.weight_offset
        self.shape = _Shape.of(_size(op), self.element)
        self.per_row = op.input.type.shape[-1] // self.shape.size
        # A weight for every element of the last axis, or one that all groups share.
        weight = op.weight
        self.shared_weight = weight is None or weight.type.shape[0] == self.shape.size
        self.key = (self.epsilon, self.offset, self.shape, self.per_row, self.shared_weight)

    def number(self, value: float) -> ir.Value:
        return arith.constant(self.wide, float(value))

    def body(self, x: ir.Value, *rest: ir.Value) -> None:
        *weights, out = rest
        shape = self.shape
        thread = code.thread(shape.threads * shape.rows)
        mine = code.remainder(thread, shape.threads)
        row = code.add(
            code.multiply(code.block("x"), shape.rows), code.divide(thread, shape.threads)
        )
        total: Index = self.per_row
        sizes = [code.dim(x, axis) for axis in range(x.type.rank - 1)]
        for size in sizes:
            total = code.multiply(total, size)
        # Threads without a row help with the sums of another one.
        there = code.less(row, total)
        row = arith.select(there, code.index(row), code.index(0))
        at: list[Index] = []
        group, rest_ = code.remainder(row, self.per_row), code.divide(row, self.per_row)
        for size in reversed(sizes[1:]):
            at.insert(0, code.remainder(rest_, size))
            rest_ = code.divide(rest_, size)
        if sizes:
            at.insert(0, rest_)
        start = code.multiply(group, shape.size)
        buffers = [x, *weights, out]
        if shape.lanes == 1:
            self.row(x, weights, out, at, start, mine, there, 1)
            return
        fast = code.i1(True)
        for buffer in buffers:
            if width(buffer.type.element_type) * shape.lanes <= 128:
                fast = arith.andi(fast, code.aligned(buffer, self.bytes_of(buffer)))
            else:
                fast = arith.andi(fast, code.aligned(buffer, 16))
        code.if_(
            fast,
            lambda: self.row(x, weights, out, at, start, mine, there, shape.lanes),
            lambda: self.row(x, weights, out, at, start, mine, there, 1),
        )

    def bytes_of(self, buffer: ir.Value) -> int:
        return self.shape.lanes * width(buffer.type.element_type) // 8

    def row(
        self,
        x: ir.Value,
        weights: Sequence[ir.Value],
        out: ir.Value,
        at: list[Index],
        start: Index,
        mine: Index,
        there: ir.Value,
        step: int,
    ) -> None:
        """Normalises a row, moving ``step`` elements at a time."""
        shape = self.shape
        columns = [
            code.multiply(code.add(mine, shape.threads * part), shape.lanes)
            for part in range(shape.parts)
        ]
        even = shape.size % (shape.lanes * shape.threads) == 0
        inside = [None if even else code.less(column, shape.size) for column in columns]
        values = [
            self.load(x, [*at, code.add(start, column)], step, ok)
            for column, ok in zip(columns, inside, strict=True)
        ]
        count = self.number(shape.size)
        if self.centred:
            mean = arith.divf(self.total([v for part in values for v in part]), count)
            values = [
                [self.kept(arith.subf(v, mean), ok) for v in part]
                for part, ok in zip(values, inside, strict=True)
            ]
        squares = [arith.mulf(v, v) for part in values for v in part]
        mean = arith.divf(self.total(squares), count)
        root = mlir_math.sqrt(arith.addf(mean, self.number(self.epsilon)))
        factor = arith.divf(self.number(1.0), root)
        base = 0 if self.shared_weight else start
        for column, part, ok in zip(columns, values, inside, strict=True):
            place = code.add(base, column)
            scaled = [arith.mulf(v, factor) for v in part]
            if weights:
                scale = self.load(weights[0], [place], step, ok)
                if self.offset:
                    scale = [arith.addf(s, self.number(self.offset)) for s in scale]
                scaled = [arith.mulf(v, s) for v, s in zip(scaled, scale, strict=True)]
            if self.centred:
                bias = self.load(weights[1], [place], step, ok)
                scaled = [arith.addf(v, b) for v, b in zip(scaled, bias, strict=True)]
            self.store(scaled, out, [*at, code.add(start, column)], step, ok, there)

    def kept(self, value: ir.Value, ok: ir.Value | None) -> ir.Value:
        """``value`` where there is an element, else zero."""
        return value if ok is None else arith.select(ok, value, self.number(0.0))

    def load(
        self, buffer: ir.Value, at: list[Index], step: int, ok: ir.Value | None
    ) -> list[ir.Value]:
        """As many elements as a thread holds of a vector, in the wide type."""
        lanes = self.shape.lanes
        type_ = ir.VectorType.get([lanes], buffer.type.element_type)

        def read() -> list[ir.Value]:
            if step == 1:
                return [
                    code.load_raw(buffer, [*at[:-1], code.add(at[-1], n)]) for n in range(lanes)
                ]
            alignment = min(16, self.bytes_of(buffer))
            whole = vector.load(type_, buffer, [code.index(i) for i in at], alignment=alignment)
            return [vector.extract(whole, [], [n]) for n in range(lanes)]

        if ok is None:
            found = read()
        else:
            element = buffer.type.element_type
            zero = arith.constant(element, 0.0)
            found = code.if_(ok, read, lambda: [zero] * lanes, [element] * lanes)
        return [emit.convert(value, self.wide) for value in found]

    def store(
        self,
        values: list[ir.Value],
        out: ir.Value,
        at: list[Index],
        step: int,
        ok: ir.Value | None,
        there: ir.Value,
    ) -> None:
        narrow = [emit.convert(value, self.element) for value in values]

        def write() -> None:
            if step == 1:
                for n, value in enumerate(narrow):
                    place = [*at[:-1], code.add(at[-1], n)]
                    memref.store(value, out, [code.index(i) for i in place])
                return
            type_ = ir.VectorType.get([len(narrow)], self.element)
            whole = vector.from_elements(type_, narrow)
            alignment = self.bytes_of(out)
            vector.store(whole, out, [code.index(i) for i in at], alignment=alignment)

        code.if_(there if ok is None else arith.andi(there, ok), write)

    def total(self, values: Sequence[ir.Value]) -> ir.Value:
        """The sum of values of all threads of the row."""
        value = values[0]
        for other in values[1:]:
            value = arith.addf(value, other)
        for distance in (16, 8, 4, 2, 1):
            value = arith.addf(value, code.shuffle_xor(value, distance))
        if self.shape.threads == _WARP:
            return value
        # One row a block from two warps on, or a few: each has its own sums.
        memory = Memory().take([_MOST_THREADS // _WARP], self.wide)
        thread = gpu.thread_id(gpu.Dimension.x)
        warp = code.divide(thread, _WARP)
        first = arith.cmpi(
            arith.CmpIPredicate.eq, code.index(code.remainder(thread, _WARP)), code.index(0)
        )
        # What was there before has been read by everyone.
        code.barrier()
        code.if_(first, lambda: memref.store(value, memory, [code.index(warp)]))
        code.barrier()
        warps = self.shape.threads // _WARP
        begin = code.multiply(code.divide(warp, warps), warps)
        parts = [code.load_raw(memory, [code.add(begin, n)]) for n in range(warps)]
        total = parts[0]
        for part in parts[1:]:
            total = arith.addf(total, part)
        return total
