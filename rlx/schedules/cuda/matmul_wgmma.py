"""`rlx.matmul` on Hopper: TMA, and products of warp groups.

The first warp group copies slices of the operands into a ring of stages; the others compute 64 rows
of the tile each, with sums in registers. At the end the tile goes through shared memory, so that
rows are written 16 bytes at a time.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlx.dialects.base import RlxOp
from rlx.dialects.matmul import MatmulOp
from rlx.dialects.types import is_static
from rlx.host import arith, ir, vector
from rlx.schedules.cuda import code, hopper, matmul
from rlx.schedules.cuda.arch import Arch
from rlx.schedules.cuda.by_rows import launch_for
from rlx.schedules.cuda.code import Index
from rlx.schedules.cuda.hopper import BOX, GROUP, Roles
from rlx.schedules.cuda.kernels import Kernels
from rlx.schedules.cuda.output import Launch, Output
from rlx.schedules.cuda.output import build as output_of
from rlx.schedules.cuda.tiles import Lane, Tile

__all__ = ["Parameters", "build", "emit_kernel", "parameters", "prepare", "refusal"]

FEW_ROWS = 64
"""Up to here the portable kernels are better: they have smaller tiles."""


@dataclass(frozen=True)
class Parameters(Roles):
    """Sizes of tiles.

    Attributes:
        columns: of the tile of a block, a multiple of 64 up to 256.
        stages: slices that shared memory holds.
        group: tiles below each other that follow in a row.
    """

    columns: int = 256
    stages: int = 4
    group: int = 8

    @property
    def left_bytes(self) -> int:
        return self.rows * BOX * 2

    @property
    def stage_bytes(self) -> int:
        return (self.rows + self.columns) * BOX * 2

    @property
    def shared(self) -> int:
        return self.stages * self.stage_bytes


def parameters(columns: int) -> Parameters:
    """For a number of columns."""
    return Parameters(256 if columns >= 256 else 128)


def refusal(op: MatmulOp, arch: Arch) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if not arch.wgmma:
        return f"{arch.name} has no wgmma"
    if reason := matmul.refusal(op, arch):
        return reason
    shape = op.input.type.shape
    leading = list(shape[:-1])
    if all(map(is_static, leading)) and math.prod(leading) <= FEW_ROWS:
        return "there are few rows"
    if len(shape) == 1 or not all(map(hopper.is_mappable, (op.input, op.weight))):
        return "rows may not be aligned to 16 bytes"
    columns = op.weight.type.shape[0 if op.transpose_weight else 1]
    if not is_static(columns) or columns % code.CHUNK or not is_static(shape[-1]):
        return "rows of the result may not be aligned to 16 bytes"
    if shape[-1] == 0 or columns == 0:
        return "there is nothing to multiply"
    return None


def prepare(op: MatmulOp) -> tuple[RlxOp, ir.Value]:
    """As of the portable kernel."""
    return matmul.prepare(op)


def build(op: MatmulOp, kernels: Kernels, arch: Arch) -> ir.Value | None:
    """Emits buffers and the launch for an op that :func:`prepare` made; returns the result.

    Returns None where it has put what the only reader of the result computes in its place.
    """

    def kernel(output: Output, columns: Index) -> Launch:
        assert isinstance(columns, int)  # else it was refused
        p, rows, few = parameters(columns * len(output.offsets)), matmul.rows_of(op), []
        if rows is None and matmul.fits(op, output.offsets):
            few = [(16, matmul.FEW), (FEW_ROWS, matmul.SOME)]
        emit = functools.partial(matmul.emit_kernel, kernels, output, op.transpose_weight)
        makes: list[tuple[int | None, Callable[[], Launch]]]
        makes = [(most, functools.partial(emit, small)) for most, small in few]
        many = functools.partial(emit_kernel, kernels, output, op.transpose_weight, p)
        return launch_for(rows, [*makes, (None, many)])

    return output_of(op, kernel, lambda found: True)


def emit_kernel(kernels: Kernels, output: Output, transposed: bool, p: Parameters) -> Launch:
    """A function that emits the launch, given buffers: see the portable kernel."""
    kernel = _Matmul(output, transposed, p)
    element = output.element
    types = [hopper.map_type(box, element) for box in (kernel.left_box, kernel.right_box)]
    types += [ir.IndexType.get(), *output.types()]
    name = f"rlx_matmul_wgmma_{'nk' if transposed else 'kn'}_{element}"
    if output.epilogue is not None:
        name += "_fused"
    one = ir.IntegerAttr.get(ir.IntegerType.get_signless(32), 1)
    launch = kernels.define(
        kernels.name(name, (str(element), transposed, p, output.key)),
        types,
        kernel.body,
        block=[p.threads],
        attributes={"nvvm.minctasm": one},
    )

    def emit_launch(
        input: ir.Value, weight: ir.Value, *outs: ir.Value, when: ir.Value | None = None
    ) -> None:
        maps = [
            hopper.describe(input, kernel.left_box),
            hopper.describe(weight, kernel.right_box),
        ]
        down = code.ceil_div(code.dim(outs[-1], 0), p.rows)
        across = code.ceil_div(code.dim(outs[-1], 1), kernel.width)
        inner = code.dim(input, 1)
        grid = [code.multiply(down, across)]
        launch(*maps, inner, *outs, grid=grid, shared=p.shared, when=when)

    return emit_launch


class _Matmul:
    """The kernel for one set of parameters."""

    def __init__(self, output: Output, transposed: bool, p: Parameters):
        self.output, self.transposed, self.p = output, transposed, p
        self.element, self.width = output.element, output.width(p.columns)
        self.left_box = [p.rows, BOX]
        self.right_box = [self.width, BOX] if transposed else [BOX, BOX]

    def body(self, *arguments: ir.Value) -> None:
        p = self.p
        self.left_map, self.right_map, inner, *outs = arguments
        self.rows, self.columns = code.dim(outs[-1], 0), code.dim(outs[-1], 1)
        self.thread = code.thread(p.threads)
        leader = code.equal(self.thread, 0)
        # A slice is there; it is free again, as one lane of each warp tells.
        counts = [1] * p.stages + [4 * p.groups] * p.stages
        self.barriers = hopper.Barriers(counts, leader)
        code.barrier()
        self.shared = hopper.Shared()
        self.row, self.column = matmul.place(self.rows, self.columns, p.rows, self.width, p.group)
        slices = code.ceil_div(inner, BOX)
        group, group_index = hopper.group_of(self.thread)
        self.number = code.subtract(group_index, 1)

        def copying() -> None:
            hopper.set_registers(p.few, more=False)
            code.if_(leader, lambda: code.loop(0, slices, 1, self.copy))

        def computing() -> None:
            hopper.set_registers(p.many, more=True)
            self.compute(slices, outs)

        is_first = arith.cmpi(arith.CmpIPredicate.eq, group, code.i32(0))
        code.if_(is_first, copying, computing)

    def copy(self, number: ir.Value) -> None:
        p = self.p
        stage = code.remainder(number, p.stages)
        self.barriers.wait(code.add(stage, p.stages), hopper.parity(number, p.stages, 1))
        self.barriers.expect(stage, p.stage_bytes)
        depth = code.multiply(number, BOX)
        start = code.multiply(stage, p.stage_bytes)

        def load(map_: ir.Value, at: list[Index], place: Index, box: list[int]) -> None:
            hopper.load_box(map_, at, self.barriers, stage, self.shared, place, box, self.element)

        load(self.left_map, [self.row, depth], start, self.left_box)
        right = code.add(start, p.left_bytes)
        for n, offset in enumerate(self.output.offsets):
            column = code.add(self.column, offset)
            if self.transposed:
                place = code.add(right, n * self.width * BOX * 2)
                load(self.right_map, [column, depth], place, self.right_box)
                continue
            for box in range(self.width // BOX):
                place = code.add(right, (n * self.width // BOX + box) * BOX * 128)
                load(self.right_map, [depth, code.add(column, box * BOX)], place, [BOX, BOX])

    def compute(self, slices: Index, outs: Sequence[ir.Value]) -> None:
        p = self.p
        inside = code.remainder(self.thread, GROUP)
        lane = Lane(code.remainder(self.thread, 32))
        teller = arith.extui(ir.IntegerType.get_signless(32), code.equal(lane.lane, 0))
        row = code.multiply(self.number, 64 * 128)

        def step(number: ir.Value, *sums: ir.Value) -> list[ir.Value]:
            stage = code.remainder(number, p.stages)
            self.barriers.wait(stage, hopper.parity(number, p.stages, 0))
            start = code.multiply(stage, p.stage_bytes)
            left = self.shared.descriptor(code.add(start, row), 16)
            # Where columns lie along memory, a step of 16 is as many rows.
            leading, by = (16, 32) if self.transposed else (BOX * 128, 16 * 128)
            right = self.shared.descriptor(code.add(start, p.left_bytes), leading)
            steps = range(BOX // 16)
            lefts = [hopper.further(left, 32 * k) for k in steps]
            rights = [hopper.further(right, by * k) for k in steps]
            made = hopper.product(
                self.element, p.columns, sums, lefts, rights, transposed=not self.transposed
            )
            # While these products are under way, those with the slice before come to an end.
            made = hopper.settle(made, left=1)
            before = code.remainder(code.add(number, p.stages - 1), p.stages)
            is_later = arith.extui(code.i32_type(), code.less(0, number))
            self.barriers.arrive(code.add(before, p.stages), arith.andi(teller, is_later))
            return made

        zero = code.scalar(0.0)
        sums = code.loop(0, slices, 1, step, [zero] * (p.columns // 2))
        sums = hopper.settle(sums)
        # Nobody reads slices any more.
        hopper.sync_group(1, GROUP * p.groups)
        self.write(sums, inside, lane, outs)

    def write(
        self, sums: list[ir.Value], inside: Index, lane: Lane, outs: Sequence[ir.Value]
    ) -> None:
        """Rounds the warp group's rows, and writes them by way of shared memory."""
        p = self.p
        start = code.multiply(self.number, 64 * p.columns * 2)
        memory = self.shared.view(start, [p.columns // BOX * 64, BOX], self.element)
        tile = Tile(memory, BOX)
        warp_row = code.multiply(code.divide(inside, 32), 16)
        for i in range(2):
            row = code.add(warp_row, code.add(lane.row, 8 * i))
            for n in range(p.columns // 8):
                both = code.pair(sums[4 * n + 2 * i], sums[4 * n + 2 * i + 1])
                at = code.add(tile.column(lane.row, 0, n % 8), lane.column)
                place = [code.index(code.add(row, n // 8 * 64)), code.index(at)]
                vector.store(code.narrow(both, self.element), memory, place, alignment=4)
        hopper.sync_group(code.add(self.number, 2))

        def where(row: Index, chunk: Index) -> tuple[Index, Index]:
            at = code.add(code.multiply(code.divide(chunk, 8), 64), row)
            return at, tile.column(row, code.remainder(chunk, 8))

        first = code.add(self.row, code.multiply(self.number, 64)), self.column
        self.output.write(outs, memory, where, (64, p.columns), first, inside, GROUP)
