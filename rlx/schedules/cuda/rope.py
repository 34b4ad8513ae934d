"""`rlx.rope`: one pass over the input, 16 bytes at a time; a thread turns or copies a few elements.

Rows that are not aligned take the same kernel element by element.
"""

from collections.abc import Callable

from rlx.dialects import emit
from rlx.dialects.base import RlxOp
from rlx.dialects.rope import RopeOp
from rlx.dialects.types import accumulator_type, is_static
from rlx.host import arith, ir, memref, vector
from rlx.schedules.cuda import code
from rlx.schedules.cuda.arch import Arch
from rlx.schedules.cuda.code import Index
from rlx.schedules.cuda.kernels import Kernels
from rlx.schedules.cuda.loops import width
from rlx.schedules.cuda.plain import THREADS
from rlx.schedules.cuda.turned import reader

__all__ = ["build", "prepare", "refusal"]


def refusal(op: RopeOp, arch: Arch) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if not is_static(op.input.type.shape[-1]):
        return "the number of heads is not known"
    return None


def prepare(op: RopeOp) -> tuple[RlxOp, ir.Value]:
    """Checks sizes and positions and makes the op again; returns it and its result."""
    cos, sin, positions = op.fitting_operands()
    result = RopeOp.create(op.input, cos, sin, positions, **op.attrs)
    return result.owner.opview, result


def build(op: RopeOp, kernels: Kernels, arch: Arch) -> ir.Value | None:
    """Emits buffers and the launch for an op that :func:`prepare` made; returns the result.

    Returns None where the kernel that reads the result turns what it reads itself.
    """
    if reader(op) is not None:
        return None
    element, rank = op.input.type.element_type, op.input.type.rank
    kernel = _Kernel(op)
    result = code.alloc(emit.sizes(op.input), element)
    operands = [op.input, op.cos, op.sin, *([] if op.positions is None else [op.positions])]
    types = [code.matrix(o.type.element_type, o.type.rank) for o in operands]
    types.append(code.matrix(element, rank))
    total: Index = kernel.heads * kernel.units
    for size in emit.sizes(op.input)[:-1]:
        total = code.multiply(total, size)
    launch = kernels.define(
        kernels.name(f"rlx_rope_{element}", (tuple(map(str, types)), kernel.key)),
        types,
        kernel.body,
        block=[THREADS],
    )
    launch(*map(code.to_buffer, operands), result, grid=[code.ceil_div(total, THREADS)])
    return code.to_tensor(result)


class _Kernel:
    """Attributes:
    lanes: neighbours that a thread reads at once.
    turned, units: units of work of a head that turn elements, and all: others copy ``lanes``.
    """

    def __init__(self, op: RopeOp):
        self.dims, self.n_rot, self.pairing = op.head_dim, op.n_rot, op.pairing
        self.heads = op.input.type.shape[-1] // self.dims
        self.element = op.input.type.element_type
        self.wide = accumulator_type(self.element)
        self.has_positions = op.positions is not None
        interleaved = self.pairing == "interleaved"
        # Distance of the elements of a pair, and where columns of the tables follow each other.
        self.distance = {"half": self.n_rot // 2, "proportional": self.dims // 2}.get(
            self.pairing, 1
        )
        whole = [self.dims, self.n_rot if interleaved else self.n_rot // 2, self.distance]
        self.lanes = 128 // width(self.element)
        least = 2 if interleaved else 1
        while self.lanes > least and any(
            size % self.lanes for size in (whole[:2] if interleaved else whole)
        ):
            self.lanes //= 2
        per_unit = self.lanes if interleaved else 2 * self.lanes
        self.turned = self.n_rot // per_unit
        self.copied = -(-(self.dims - self.n_rot) // self.lanes)
        self.units = self.turned + self.copied
        self.key = (self.dims, self.n_rot, self.pairing, self.heads, self.lanes)

    def body(self, x: ir.Value, cos: ir.Value, sin: ir.Value, *rest: ir.Value) -> None:
        *positions, out = rest
        thread = code.add(code.multiply(code.block("x"), THREADS), code.thread(THREADS))
        sizes = [code.dim(x, axis) for axis in range(x.type.rank - 1)]
        total: Index = self.heads * self.units
        for size in sizes:
            total = code.multiply(total, size)
        # Without rows in the tables there is nothing to read, whatever positions say.
        total = code.select(code.less(0, code.dim(cos, 0)), total, 0)

        def one() -> None:
            unit = code.remainder(thread, self.units)
            rest = code.divide(thread, self.units)
            start = code.multiply(code.remainder(rest, self.heads), self.dims)
            row = code.divide(rest, self.heads)
            at: list[Index] = [row]
            if len(sizes) == 2:
                at = [code.divide(row, sizes[1]), code.remainder(row, sizes[1])]
            fast = arith.andi(self.aligned(x), self.aligned(out))
            for table in (cos, sin):
                fast = arith.andi(fast, self.aligned(table))
            both = [self.work(x, cos, sin, positions, out, at, start, unit, v) for v in (1, 0)]
            if self.lanes == 1:
                both[1]()
            else:
                code.if_(fast, both[0], both[1])

        code.if_(code.less(thread, total), one)

    def aligned(self, buffer: ir.Value) -> ir.Value:
        return code.aligned(buffer, self.bytes_of(buffer, self.lanes))

    def bytes_of(self, buffer: ir.Value, lanes: int) -> int:
        return min(16, lanes * width(buffer.type.element_type) // 8)

    def work(
        self,
        x: ir.Value,
        cos: ir.Value,
        sin: ir.Value,
        positions: list[ir.Value],
        out: ir.Value,
        at: list[Index],
        start: Index,
        unit: Index,
        fast: int,
    ) -> Callable[[], None]:
        """What a thread does with its unit, in vectors or one by one."""

        def turn() -> None:
            angle: Index = at[-1]
            if positions:
                where = at[len(at) - positions[0].type.rank :]
                found = code.load_raw(positions[0], where)
                angle = arith.index_cast(ir.IndexType.get(), found)
                # One that is out of range is an error that another kernel finds.
                last = code.subtract(code.dim(cos, 0), 1)
                angle = code.maximum(code.minimum(angle, last), 0)
            if self.pairing == "interleaved":
                d = code.multiply(unit, self.lanes)
                pairs = self.lanes // 2
                column = code.multiply(unit, pairs)
                place = [*at, code.add(start, d)]
                both = self.load(x, place, self.lanes, fast)
                a, b = both[0::2], both[1::2]
                c, s = (self.load(t, [angle, column], pairs, fast) for t in (cos, sin))
                first, second = self.rotate(a, b, c, s)
                mixed = [v for pair in zip(first, second, strict=True) for v in pair]
                self.store(mixed, out, place, fast)
                return
            column = code.multiply(unit, self.lanes)
            one = [*at, code.add(start, column)]
            two = [*at, code.add(code.add(start, column), self.distance)]
            a, b = (self.load(x, place, self.lanes, fast) for place in (one, two))
            c, s = (self.load(t, [angle, column], self.lanes, fast) for t in (cos, sin))
            first, second = self.rotate(a, b, c, s)
            self.store(first, out, one, fast)
            self.store(second, out, two, fast)

        def copy() -> None:
            number = code.multiply(code.subtract(unit, self.turned), self.lanes)
            d = code.add(number, self.n_rot)
            if self.pairing == "proportional":
                # What is not turned lies behind what is, in each half.
                half, turned = self.dims // 2, self.n_rot // 2
                kept = half - turned
                behind = code.less(number, kept)
                d = code.select(behind, code.add(number, turned), code.add(number, 2 * turned))
            place = [*at, code.add(start, d)]
            self.move(x, out, place, fast)

        def do() -> None:
            if not self.copied:
                turn()
            else:
                code.if_(code.less(unit, self.turned), turn, copy)

        return do

    def rotate(
        self, a: list[ir.Value], b: list[ir.Value], c: list[ir.Value], s: list[ir.Value]
    ) -> tuple[list[ir.Value], list[ir.Value]]:
        first, second = [], []
        for x, y, cosine, sine in zip(a, b, c, s, strict=True):
            first.append(arith.subf(arith.mulf(x, cosine), arith.mulf(y, sine)))
            second.append(arith.addf(arith.mulf(y, cosine), arith.mulf(x, sine)))
        return first, second

    def load(self, buffer: ir.Value, at: list[Index], count: int, fast: int) -> list[ir.Value]:
        """Neighbouring elements in the wide type."""
        if fast:
            type_ = ir.VectorType.get([count], buffer.type.element_type)
            alignment = self.bytes_of(buffer, count)
            whole = vector.load(type_, buffer, [code.index(i) for i in at], alignment=alignment)
            found = [vector.extract(whole, [], [n]) for n in range(count)]
        else:
            found = [code.load_raw(buffer, [*at[:-1], code.add(at[-1], n)]) for n in range(count)]
        return [emit.convert(value, self.wide) for value in found]

    def store(self, values: list[ir.Value], out: ir.Value, at: list[Index], fast: int) -> None:
        narrow = [emit.convert(value, self.element) for value in values]
        if fast:
            type_ = ir.VectorType.get([len(narrow)], self.element)
            alignment = self.bytes_of(out, len(narrow))
            whole = vector.from_elements(type_, narrow)
            vector.store(whole, out, [code.index(i) for i in at], alignment=alignment)
            return
        for n, value in enumerate(narrow):
            memref.store(value, out, [code.index(i) for i in [*at[:-1], code.add(at[-1], n)]])

    def move(self, x: ir.Value, out: ir.Value, at: list[Index], fast: int) -> None:
        """Copies elements bit by bit."""
        indices = [code.index(i) for i in at]
        if fast:
            type_ = ir.VectorType.get([self.lanes], self.element)
            alignment = self.bytes_of(x, self.lanes)
            value = vector.load(type_, x, indices, alignment=alignment)
            vector.store(value, out, indices, alignment=alignment)
            return
        for n in range(self.lanes):
            place = [*at[:-1], code.add(at[-1], n)]
            memref.store(code.load_raw(x, place), out, [code.index(i) for i in place])
