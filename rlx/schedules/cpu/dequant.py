"""`rlx.dequant_matmul`: the integers are read once, and become floats in registers.

With few rows, sums of products of a group are multiplied with its scale. With many, integers times
scales become panels of f32, some columns at a time, for the same blocks as `rlx.matmul`.
"""

from functools import partial

from rlx.dialects import emit
from rlx.dialects.base import RlxOp
from rlx.dialects.dequant_matmul import DequantMatmulOp
from rlx.dialects.types import is_static
from rlx.host import arith, ir, vector
from rlx.schedules.cpu import code, few_rows, gemm
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.dots import Tile, dots
from rlx.schedules.cpu.isa import Isa
from rlx.schedules.cpu.layout import PANEL
from rlx.schedules.cpu.micro import panels_type
from rlx.schedules.cpu.pack import pack_kernel
from rlx.schedules.cpu.shapes import as_matrix, refused_sizes, with_shape_of

__all__ = ["build", "prepare", "refusal"]

_TILES = {
    "avx512": (Tile(1, 4), Tile(2, 6), Tile(4, 6)),
    "avx2": (Tile(1, 4), Tile(2, 4), Tile(4, 2)),
}
# Sums of a group and of all groups share the registers.
_TILES_OF_GROUPS = {
    "avx512": (Tile(1, 4), Tile(4, 3)),
    "avx2": (Tile(1, 4), Tile(2, 2), Tile(4, 2)),
}
_MOST = 16  # up to this many rows are few
_AT_A_TIME = 1 << 20  # elements that become floats before they are multiplied


def refusal(op: DequantMatmulOp) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if isinstance(op.input.type.element_type, ir.F64Type):
        return "there is no kernel for f64"
    if op.group % PANEL:
        return f"groups of {op.group} are not a multiple of {PANEL}"
    return refused_sizes(op.weight.type.shape, op.transpose_weight)


def prepare(op: DequantMatmulOp) -> tuple[RlxOp, ir.Value]:
    """Checks sizes and makes a product of two matrices; returns it and the value of the result."""
    input, weight, scales = op.fitting_operands()
    result = DequantMatmulOp.create(as_matrix(input), weight, scales, **op.attrs)
    return result.owner.opview, with_shape_of(result, input)


def build(op: DequantMatmulOp, kernels: Kernels, isa: Isa) -> ir.Value:
    """Emits buffers and the call for an op that :func:`prepare` made; returns the result."""
    input, weight, scales = op.input, op.weight, op.scales
    element = input.type.element_type
    result = code.alloc([emit.dim(input, 0), op.results[0].type.shape[1]], code.f32())
    run = _kernel(kernels, element, op.transpose_weight, op.group, input.type.shape[0], isa)
    run(*(code.to_buffer(value) for value in (input, weight, scales)), result)
    return emit.convert_tensor(code.to_tensor(result), element)


def _kernel(
    kernels: Kernels, element: ir.Type, transposed: bool, group: int, rows: int, isa: Isa
) -> Kernel:
    """input [M, K], weight, scales, f32 result [M, N]; ``rows`` is M if that is known."""
    i8, f32 = ir.IntegerType.get_signless(8), code.matrix(code.f32())
    scales = code.matrix(code.f32(), 2 if group else 1)
    types = [f32, code.matrix(i8), scales, f32]
    name = f"rlx_dequant_{'nk' if transposed else 'kn'}_{group}_{isa.name}"

    def body(a: ir.Value, *others: ir.Value) -> None:
        a = few_rows.as_f32(a, isa)

        def few() -> None:
            _few(kernels, name, types, transposed, group, rows, isa)(a, *others)

        def many() -> None:
            _in_parts(kernels, name, types, transposed, group, isa)(a, *others)

        if is_static(rows):
            (few if rows <= _MOST else many)()
        else:
            code.if_(code.less(_MOST, code.dim(a, 0)), many, few)

    size = "" if not is_static(rows) else f"_{rows}" if rows <= _MOST else "_many"
    return kernels.define(f"{name}_{element}{size}", [code.matrix(element), *types[1:]], body)


def _few(
    kernels: Kernels,
    name: str,
    types: list[ir.Type],
    transposed: bool,
    group: int,
    rows: int,
    isa: Isa,
) -> Kernel:
    if transposed:
        tiles = (_TILES_OF_GROUPS if group else _TILES)[isa.name]
        return dots(kernels, name, types, isa, tiles, group, rows)
    if group:
        return _in_parts(kernels, name, types, transposed, group, isa)
    f32, i8, _, _ = types
    run = few_rows.kernel(kernels, name, [f32, i8, f32], False, isa)

    def body(a: ir.Value, b: ir.Value, scales: ir.Value, c: ir.Value) -> None:
        run(a, b, c)

        def row(i: ir.Value) -> None:
            def scale(n: ir.Value, inside: Index | None) -> None:
                factors = code.load(scales, [n], isa.lanes, inside)
                value = arith.mulf(code.load(c, [i, n], isa.lanes, inside), factors)
                code.store(value, c, [i, n], inside)

            code.vectors(code.dim(c, 1), isa.lanes, scale)

        code.loop(0, code.dim(c, 0), 1, row)

    return kernels.define(f"{name}_few_scaled", types, body)


def _in_parts(
    kernels: Kernels,
    name: str,
    types: list[ir.Type],
    transposed: bool,
    group: int,
    isa: Isa,
) -> Kernel:
    """Some columns after the other become panels of f32, and are multiplied with."""
    f32, index = code.f32(), ir.IndexType.get()
    pack = pack_kernel(kernels, name, types[1].element_type, transposed, isa)
    scale = kernels.define(
        f"{name}_scale",
        [types[2], panels_type(f32), index, index],
        partial(_scale, isa, group),
    )
    run = gemm.kernel(kernels, f32, f32, isa)

    def body(a: ir.Value, b: ir.Value, scales: ir.Value, c: ir.Value) -> None:
        rows, inner, columns = code.dim(a, 0), code.dim(a, 1), code.dim(c, 1)
        fitting = arith.divui(code.index(_AT_A_TIME), inner)
        step = code.round_up(code.maximum(fitting, 1), 4 * PANEL)
        count = code.ceil_div(code.minimum(columns, step), PANEL)
        panels = code.alloc([count, inner, PANEL], f32)

        def some(j: ir.Value) -> None:
            width = code.minimum(code.subtract(columns, j), step)
            pack(b, panels, j, width)
            scale(scales, panels, j, width)
            run(a, panels, code.part(c, [0, j], [rows, width]))

        code.loop(0, columns, step, some)

    return kernels.define(f"{name}_in_parts", types, body)


def _scale(
    isa: Isa,
    group: int,
    scales: ir.Value,
    panels: ir.Value,
    first: ir.Value,
    count: ir.Value,
) -> None:
    """Multiplies panels of integers, of ``count`` columns from ``first`` on, with their scales."""
    inner = code.dim(panels, 1)
    last = code.subtract(code.dim(scales, 0), 1)
    depth = group or inner

    def panel(n: ir.Value, v: int) -> None:
        start = code.add(code.add(first, code.multiply(n, PANEL)), v)
        columns = [code.minimum(code.add(start, r), last) for r in range(isa.lanes)]

        def one(g: ir.Value) -> None:
            factors = code.splat(0.0, isa.lanes)
            for r, column in enumerate(columns):
                at = [column, g] if group else [column]
                factors = vector.insert(code.load_scalar(scales, at), factors, [], [r])

            def step(i: ir.Value) -> None:
                at = [n, code.add(code.multiply(g, depth), i), v]
                code.store(arith.mulf(code.load(panels, at, isa.lanes), factors), panels, at)

            code.loop(0, depth, 1, step)

        code.loop(0, arith.divui(inner, code.index(depth)), 1, one)

    def both(n: ir.Value) -> None:
        for v in range(0, PANEL, isa.lanes):
            panel(n, v)

    code.loop(0, code.ceil_div(count, PANEL), 1, both)
