"""`rlx.matmul`: packed panels and a microkernel that lives in registers.

The packed form follows the well-known scheme of Goto and of BLIS: a block of the weight becomes
panels of some columns, a block of the activations stays in the L2 cache, and the microkernel keeps
a tile of sums in registers while it runs down a panel. With few rows, packing would cost more than
it saves: see `few_rows`.

All sizes are taken from the buffers at run time, so that one kernel serves every matmul of a module
with the same storage type and orientation of the weight.
"""

from dataclasses import dataclass

from rlx.dialects import emit
from rlx.dialects.base import RlxOp
from rlx.dialects.matmul import MatmulOp
from rlx.dialects.types import is_static
from rlx.host import arith, ir, tensor
from rlx.schedules.cpu import code, few_rows
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.isa import Isa

__all__ = ["Parameters", "build", "parameters", "prepare", "refusal"]


@dataclass(frozen=True)
class Parameters:
    """Sizes of blocks.

    Attributes:
        rows, vectors: the microkernel keeps rows x vectors registers of sums.
        unroll: steps of the inner dimension per iteration; divides ``inner``.
        block_rows, inner, columns: the block of activations is block_rows x inner, that of the
            weight inner x columns. ``block_rows`` is a multiple of ``rows``, ``inner`` of the
            lanes, and ``columns`` of a panel.
    """

    rows: int
    vectors: int
    unroll: int = 4
    block_rows: int = 252
    inner: int = 512
    columns: int = 2048


_PARAMETERS = {
    "avx512": Parameters(rows=6, vectors=4),
    "avx2": Parameters(rows=6, vectors=2, inner=256),
}


def parameters(isa: Isa) -> Parameters:
    return _PARAMETERS[isa.name]


# Below these sizes vectors and blocks stay mostly empty.
_LEAST_COLUMNS = 32
_LEAST_INNER = 32


def refusal(op: MatmulOp) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    element = op.input.type.element_type
    if isinstance(element, ir.F64Type):
        return "there is no kernel for f64"
    inner, columns = op.weight.type.shape
    if op.transpose_weight:
        inner, columns = columns, inner
    for what, size, least in (
        ("inner dimension", inner, _LEAST_INNER),
        ("number of columns", columns, _LEAST_COLUMNS),
    ):
        if not is_static(size):
            return f"the {what} is not known"
        if size < least:
            return f"the {what}, {size}, is below {least}"
    return None


def prepare(op: MatmulOp) -> tuple[RlxOp, ir.Value]:
    """Checks sizes and makes a matmul of two matrices; returns it and the value of the result."""
    input, weight = op.fitting_operands()
    shape = emit.sizes(input)
    rows = input
    if len(shape) == 1:
        rows = tensor.expand_shape(
            ir.RankedTensorType.get([1, *input.type.shape], input.type.element_type),
            input,
            [[0, 1]],
            [],
            [1, *input.type.shape],
        )
    while rows.type.rank > 2:
        rows = emit.join_axes(rows, 0)
    result = MatmulOp.create(rows, weight, transpose_weight=op.transpose_weight)
    made = result.owner.opview
    columns = result.type.shape[1]
    if len(shape) == 1:
        type_ = ir.RankedTensorType.get([columns], result.type.element_type)
        return made, tensor.collapse_shape(type_, result, [[0, 1]])
    if len(shape) == 2:
        return made, result
    leading = [size if isinstance(size, int) else code.DYNAMIC for size in shape[:-1]]
    type_ = ir.RankedTensorType.get([*leading, columns], result.type.element_type)
    last = len(shape) - 1
    dynamic = [size for size in shape[:-1] if not isinstance(size, int)]
    groups = [list(range(last)), [last]]
    return made, tensor.expand_shape(type_, result, groups, dynamic, [*leading, columns])


def build(op: MatmulOp, kernels: Kernels, isa: Isa) -> ir.Value:
    """Emits buffers and the call for an op that :func:`prepare` made; returns the result."""
    input, weight = op.input, op.weight
    element = input.type.element_type
    columns = op.results[0].type.shape[1]
    shape = [emit.dim(input, 0), columns]
    result = code.alloc(shape, code.f32())
    run = _matmul(kernels, element, op.transpose_weight, isa)
    run(code.to_buffer(input), code.to_buffer(weight), result)
    return emit.convert_tensor(code.to_tensor(result), element)


def _matmul(kernels: Kernels, element: ir.Type, transposed: bool, isa: Isa) -> Kernel:
    """input [M, K], weight [N, K] or [K, N], f32 result [M, N], which is overwritten."""
    p = parameters(isa)
    storage = code.matrix(element)
    types = [storage, storage, code.matrix(code.f32())]
    name = f"rlx_matmul_{'nk' if transposed else 'kn'}_{element}_{isa.name}"
    few = few_rows.kernel(kernels, name, types, transposed, isa)
    packed = _packed(kernels, name, types, transposed, isa, p)
    most = few_rows.most(transposed, isa)

    def body(a: ir.Value, b: ir.Value, c: ir.Value) -> None:
        is_many = code.less(most, code.dim(a, 0))
        code.if_(is_many, lambda: packed(a, b, c), lambda: few(a, b, c))

    return kernels.define(name, types, body)


# -- many rows -------------------------------------------------------------------------------------


def _packed(
    kernels: Kernels, name: str, types: list[ir.Type], transposed: bool, isa: Isa, p: Parameters
) -> Kernel:
    width = p.vectors * isa.lanes
    block = ir.MemRefType.get([p.block_rows, p.inner], code.f32())
    panels = ir.MemRefType.get([code.DYNAMIC, p.inner, width], code.f32())
    index = ir.IndexType.get()
    pack_rows = kernels.define(
        f"{name}_pack_input",
        [types[0], block, *[index] * 3],
        lambda *arguments: _pack_rows(isa, p, *arguments),
    )
    pack_panels = kernels.define(
        f"{name}_pack_weight",
        [types[1], panels, *[index] * 4],
        lambda *arguments: (_pack_transposed if transposed else _pack)(isa, width, p, *arguments),
    )
    micro = kernels.define(
        f"rlx_matmul_{isa.name}_micro",
        [block, panels, types[2], *[index] * 6],
        lambda *arguments: _micro(isa, p, *arguments),
    )

    def body(a: ir.Value, b: ir.Value, c: ir.Value) -> None:
        rows, inner, columns = code.dim(a, 0), code.dim(a, 1), code.dim(c, 1)
        count = code.minimum(code.ceil_div(columns, width), p.columns // width)
        packed_b = code.alloc([count, p.inner, width], code.f32())
        packed_a = code.alloc([p.block_rows, p.inner], code.f32())
        edge = code.alloca([p.rows, width], code.f32())

        def column_block(j: ir.Value) -> None:
            width_here = code.minimum(code.subtract(columns, j), p.columns)
            # Without an inner dimension there is one empty block, which writes zeros.
            code.loop(0, code.maximum(inner, 1), p.inner, lambda k: inner_block(j, width_here, k))

        def inner_block(j: ir.Value, width_here: Index, k: ir.Value) -> None:
            depth = code.minimum(code.subtract(inner, k), p.inner)
            pack_panels(b, packed_b, j, width_here, k, depth)
            steps = code.round_up(depth, p.unroll)
            code.loop(0, rows, p.block_rows, lambda i: row_block(j, width_here, k, steps, i))

        def row_block(
            j: ir.Value, width_here: Index, k: ir.Value, steps: Index, i: ir.Value
        ) -> None:
            height = code.minimum(code.subtract(rows, i), p.block_rows)
            pack_rows(a, packed_a, i, k, height)

            def tile(panel: ir.Value, row: ir.Value) -> None:
                column = code.multiply(panel, width)
                left_columns = code.subtract(width_here, column)
                left_rows = code.subtract(height, row)
                at = code.add(i, row), code.add(j, column)
                inside = arith.andi(
                    code.less(p.rows - 1, left_rows), code.less(width - 1, left_columns)
                )

                def whole() -> None:
                    micro(packed_a, packed_b, c, row, panel, *at, steps, k)

                def part() -> None:
                    micro(packed_a, packed_b, edge, row, panel, 0, 0, steps, 0)
                    _add_part(isa, p, edge, c, *at, left_rows, left_columns, k)

                code.if_(inside, whole, part)

            code.loop(
                0,
                code.ceil_div(width_here, width),
                1,
                lambda panel: code.loop(0, height, p.rows, lambda row: tile(panel, row)),
            )

        code.loop(0, columns, p.columns, column_block)

    return kernels.define(f"{name}_packed", types, body)


def _pack_rows(
    isa: Isa,
    p: Parameters,
    source: ir.Value,
    block: ir.Value,
    row: ir.Value,
    k: ir.Value,
    height: ir.Value,
) -> None:
    """Copies rows of the input; zeros follow where the inner dimension ends."""
    rows, inner = code.dim(source, 0), code.dim(source, 1)
    last = code.subtract(rows, 1)

    def one(i: ir.Value) -> None:
        # The microkernel reads whole tiles: the last row stands in for rows that are not there.
        at = code.minimum(code.add(row, i), last)

        def copy(step: ir.Value, inside: ir.Value | None) -> None:
            value = code.load(source, [at, code.add(k, step)], isa.lanes, inside)
            code.store(value, block, [i, step])

        code.vectors(code.minimum(code.subtract(inner, k), p.inner), isa.lanes, copy)

    code.loop(0, code.round_up(height, p.rows), 1, one)


def _pack(
    isa: Isa,
    width: int,
    p: Parameters,
    weight: ir.Value,
    panels: ir.Value,
    column: ir.Value,
    columns: ir.Value,
    k: ir.Value,
    depth: ir.Value,
) -> None:
    """Panels of a weight [K, N]: columns past the end and steps past ``depth`` are zero."""

    def panel(n: ir.Value) -> None:
        start = code.multiply(n, width)
        left = code.subtract(columns, start)

        def rows(is_whole: bool) -> None:
            def row(i: ir.Value) -> None:
                for v in range(0, width, isa.lanes):
                    inside = None if is_whole else code.subtract(left, v)
                    at = [code.add(k, i), code.add(code.add(column, start), v)]
                    code.store(code.load(weight, at, isa.lanes, inside), panels, [n, i, v])

            code.loop(0, depth, 1, row)

        def clear(i: ir.Value) -> None:
            for v in range(0, width, isa.lanes):
                code.store(code.splat(0.0, isa.lanes), panels, [n, i, v])

        code.if_(code.less(left, width), lambda: rows(False), lambda: rows(True))
        code.loop(depth, code.round_up(depth, p.unroll), 1, clear)

    code.loop(0, code.ceil_div(columns, width), 1, panel)


def _pack_transposed(
    isa: Isa,
    width: int,
    p: Parameters,
    weight: ir.Value,
    panels: ir.Value,
    column: ir.Value,
    columns: ir.Value,
    k: ir.Value,
    depth: ir.Value,
) -> None:
    """Panels of a weight [N, K]: steps past ``depth`` are zero.

    Columns past the end repeat the last one; nobody looks at what comes of them.
    """
    last = code.subtract(code.dim(weight, 0), 1)

    def strip(s: ir.Value) -> None:
        # One strip of rows after the other, so that few streams are read at a time.
        first = code.add(column, code.multiply(s, isa.lanes))
        rows = [code.minimum(code.add(first, r), last) for r in range(isa.lanes)]
        strips = code.index(width // isa.lanes)
        n = arith.divui(s, strips)
        v = code.multiply(arith.remui(s, strips), isa.lanes)

        def square(i: ir.Value, inside: ir.Value | None) -> None:
            here = code.add(k, i)
            loaded = [code.load(weight, [row, here], isa.lanes, inside) for row in rows]
            for r, vector in enumerate(code.transpose(loaded)):
                code.store(vector, panels, [n, code.add(i, r), v])

        code.vectors(depth, isa.lanes, square)

    count = code.multiply(code.ceil_div(columns, width), width // isa.lanes)
    code.loop(0, count, 1, strip)


def _micro(
    isa: Isa,
    p: Parameters,
    block: ir.Value,
    panels: ir.Value,
    result: ir.Value,
    row: ir.Value,
    panel: ir.Value,
    to_row: ir.Value,
    to_column: ir.Value,
    steps: ir.Value,
    k: ir.Value,
) -> None:
    """One tile of the result: overwritten where ``k`` is 0, else added to."""
    cells = [(i, v) for i in range(p.rows) for v in range(p.vectors)]

    def place(i: int, v: int) -> list[Index]:
        return [code.add(to_row, i), code.add(to_column, v * isa.lanes)]

    first = arith.cmpi(arith.CmpIPredicate.eq, k, code.index(0))
    sums = code.if_(
        first,
        lambda: [code.splat(0.0, isa.lanes) for _ in cells],
        lambda: [code.load(result, place(*cell), isa.lanes) for cell in cells],
        [ir.VectorType.get([isa.lanes], code.f32())] * len(cells),
    )
    rows = [code.add(row, i) for i in range(p.rows)]

    def body(step: ir.Value, *carried: ir.Value) -> list[ir.Value]:
        sums = dict(zip(cells, carried, strict=True))
        for u in range(p.unroll):
            here = code.add(step, u)
            weights = [
                code.load(panels, [panel, here, v * isa.lanes], isa.lanes) for v in range(p.vectors)
            ]
            for i in range(p.rows):
                x = code.broadcast(code.load_scalar(block, [rows[i], here]), isa.lanes)
                for v in range(p.vectors):
                    sums[i, v] = code.fma(x, weights[v], sums[i, v])
        return list(sums.values())

    sums = code.loop(0, steps, p.unroll, body, sums)
    for cell, value in zip(cells, sums, strict=True):
        code.store(value, result, place(*cell))


def _add_part(
    isa: Isa,
    p: Parameters,
    tile: ir.Value,
    result: ir.Value,
    to_row: Index,
    to_column: Index,
    rows: Index,
    columns: Index,
    k: ir.Value,
) -> None:
    """Puts the part of ``tile`` that lies inside of the result there; adds where ``k`` is not 0."""

    first = arith.cmpi(arith.CmpIPredicate.eq, k, code.index(0))

    def row(i: ir.Value) -> None:
        def vector(v: int) -> None:
            at = [code.add(to_row, i), code.add(to_column, v)]
            inside = code.subtract(columns, v)
            value = code.load(tile, [i, v], isa.lanes)

            def total() -> list[ir.Value]:
                return [arith.addf(value, code.load(result, at, isa.lanes, inside))]

            (new,) = code.if_(first, lambda: [value], total, [value.type])
            code.store(new, result, at, inside)

        for v in range(0, p.vectors * isa.lanes, isa.lanes):
            vector(v)

    code.loop(0, code.minimum(rows, p.rows), 1, row)
