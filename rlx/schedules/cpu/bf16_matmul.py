"""`rlx.matmul` in bf16, with AMX or with the dot products of AVX512-BF16.

The weight is read in pairs, as :mod:`rlx.schedules.cpu.layout` says: a parameter that was laid out
when it was loaded as it is, another one after packing in the call. Many rows are multiplied by
`amx_matmul` or `bf16_blocks`, few rows by `bf16_few_rows`.
"""

from collections.abc import Sequence
from functools import partial

from rlx.dialects import emit
from rlx.dialects.matmul import MatmulOp
from rlx.host import arith, ir, tensor
from rlx.schedules.cpu import amx, amx_matmul, bf16, bf16_blocks, bf16_few_rows, code, matmul
from rlx.schedules.cpu.bf16 import LANES
from rlx.schedules.cpu.bf16_pack import pack_kernel, panels_type
from rlx.schedules.cpu.code import Kernel, Kernels
from rlx.schedules.cpu.epilogue import Epilogue, rounding
from rlx.schedules.cpu.isa import ISAS, Isa
from rlx.schedules.cpu.layout import PANEL, Layout, packed

__all__ = ["build", "layout", "prepare", "refusal"]

prepare = matmul.prepare

_PRODUCTS = {"amx": amx_matmul.product, "avx512_bf16": bf16_blocks.product}

_AT_A_TIME = 1 << 22  # elements of a weight that a call packs at a time
_COLUMNS = 512  # in multiples of this

# Up to this many rows packing a weight costs more than it saves.
_FEW = 8


def refusal(op: MatmulOp) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if not isinstance(op.input.type.element_type, ir.BF16Type):
        return "the element type is not bf16"
    return matmul.refusal(op)


def layout(op: MatmulOp, isa: Isa) -> Layout:
    """How the weight of ``op`` should lie in memory, if that can be chosen."""
    return Layout(depth=2)


def build(op: MatmulOp, kernels: Kernels, isa: Isa) -> ir.Value | None:
    """Emits buffers and the call for an op that :func:`prepare` made; returns the result.

    Returns None where it has put what the only reader of the result computes in its place.
    """
    if isa.name == "amx":
        amx.permit(kernels)
    plain = rounding(bf16.bf16())
    return matmul.with_epilogue(op, plain, partial(_emit, op, kernels, isa))


def _emit(
    op: MatmulOp,
    kernels: Kernels,
    isa: Isa,
    columns: int,
    epilogue: Epilogue,
    operands: Sequence[ir.Value],
) -> ir.Value:
    """The product, with ``columns`` columns after the epilogue, which reads ``operands``."""
    result = code.alloc([emit.dim(op.input, 0), columns], epilogue.result)
    panels, rows = packed(op.weight), op.input.type.shape[0]
    if panels is None:
        run, source = _packing(kernels, isa, op.transpose_weight, rows, epilogue), op.weight
    else:
        run, source = _with_panels(kernels, isa, rows, epilogue), _as_pairs(panels[0])
    run(*map(code.to_buffer, (op.input, source, *operands)), result)
    return code.to_tensor(result)


def _matrix() -> ir.MemRefType:
    return code.matrix(bf16.bf16())


def _as_pairs(panels: ir.Value) -> ir.Value:
    """[panels, pairs of steps, columns, 2] with the last two axes as one."""
    count, depth, *_ = panels.type.shape
    type_ = ir.RankedTensorType.get([count, depth, LANES], panels.type.element_type)
    return tensor.collapse_shape(type_, panels, [[0], [1], [2, 3]])


def _with_panels(kernels: Kernels, isa: Isa, rows: int, epilogue: Epilogue) -> Kernel:
    """input [M, K], weight in pairs, the epilogue's buffers; ``rows`` is M if that is known."""
    name = epilogue.name(kernels, f"rlx_matmul_{isa.name}_panels")
    types = [_matrix(), panels_type()]

    def few() -> Kernel:
        run = bf16_few_rows.panels_kernel(kernels, isa, rows)
        return _finished(kernels, name, types, run, epilogue)

    def many() -> Kernel:
        product = _PRODUCTS[isa.name](kernels, epilogue)
        bases = [offset // PANEL for offset in epilogue.offsets]
        return lambda *buffers: product(*buffers, 0, code.dim(buffers[-1], 1), *bases)

    most = bf16_few_rows.most(isa)
    return matmul.by_rows(kernels, name, [*types, *epilogue.types()], rows, most, few, many)


def _finished(
    kernels: Kernels, name: str, types: list[ir.Type], run: Kernel, epilogue: Epilogue
) -> Kernel:
    return matmul.finished(kernels, name, types, run, epilogue, ISAS["avx512"])


def _packing(kernels: Kernels, isa: Isa, transposed: bool, rows: int, epilogue: Epilogue) -> Kernel:
    """input [M, K], weight [N, K] or [K, N], the epilogue's buffers; ``rows`` is M if known."""
    orientation = "nk" if transposed else "kn"
    name = epilogue.name(kernels, f"rlx_matmul_{orientation}_{isa.name}")
    types = [_matrix(), _matrix()]

    def few() -> Kernel:
        run = bf16_few_rows.kernel(kernels, transposed)
        return _finished(kernels, name, types, run, epilogue)

    many = partial(_packing_many, kernels, isa, transposed, f"{name}_many", epilogue)
    return matmul.by_rows(kernels, name, [*types, *epilogue.types()], rows, _FEW, few, many)


def _packing_many(
    kernels: Kernels, isa: Isa, transposed: bool, name: str, epilogue: Epilogue
) -> Kernel:
    """Packs the weight, part by part."""
    pack = pack_kernel(kernels, transposed)
    product = _PRODUCTS[isa.name](kernels, epilogue)
    pieces = len(epilogue.offsets)

    def body(a: ir.Value, b: ir.Value, *buffers: ir.Value) -> None:
        inner, columns = code.dim(a, 1), code.dim(buffers[-1], 1)
        depth = code.maximum(code.round_up(inner, LANES), LANES)
        # All columns unless they are very many.
        most = arith.divui(code.index(_AT_A_TIME), depth)
        most = code.round_up(code.maximum(most, 1), _COLUMNS)
        width = code.minimum(code.round_up(columns, LANES), most)
        count, pairs = code.ceil_div(width, PANEL), arith.divui(depth, code.index(2))
        panels = code.alloc([code.multiply(count, pieces), pairs, LANES], bf16.bf16())

        def some(j: ir.Value) -> None:
            left = code.minimum(code.subtract(columns, j), width)
            groups = code.ceil_div(left, LANES)
            parts = kernels.parts(groups, code.multiply(code.multiply(groups, inner), 2))
            bases = [code.multiply(count, n) for n in range(pieces)]
            for base, offset in zip(bases, epilogue.offsets, strict=True):
                pack(parts, groups, b, panels, base, code.add(j, offset))
            product(a, panels, *buffers, j, left, *bases)

        code.loop(0, columns, width, some)

    return kernels.define(name, [_matrix(), _matrix(), *epilogue.types()], body)
