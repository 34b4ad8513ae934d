"""`rlx.matmul`: which ops get a kernel, and how they are called.

A weight that is a parameter comes in panels (`layout`); another one is packed by the call (`pack`).
Many rows are multiplied by blocks (`gemm`). With few rows, packing would cost more than it saves:
see `few_rows`.

All sizes are taken from the buffers at run time, so that one kernel serves every matmul of a module
with the same storage type and orientation of the weight.
"""

from collections.abc import Callable, Sequence
from functools import partial

from rlx.dialects import emit
from rlx.dialects.base import RlxOp
from rlx.dialects.matmul import MatmulOp
from rlx.dialects.types import is_static
from rlx.host import arith, ir
from rlx.schedules.cpu import code, few_rows, gemm
from rlx.schedules.cpu.code import Kernel, Kernels
from rlx.schedules.cpu.epilogue import Epilogue, find, finish_all, rounding
from rlx.schedules.cpu.isa import Isa
from rlx.schedules.cpu.layout import PANEL, Layout, packed
from rlx.schedules.cpu.micro import panels_type
from rlx.schedules.cpu.pack import pack_kernel
from rlx.schedules.cpu.shapes import as_matrix, refused_sizes, with_shape_of

__all__ = [
    "build",
    "by_rows",
    "finished",
    "layout",
    "prepare",
    "refusal",
    "with_epilogue",
]

# Elements of a weight that a call packs at a time, per row of the input: with few rows they stay in
# the cache until they are used, with many it hardly matters that rows are packed each time as well.
_AT_A_TIME = 1 << 13
_AT_MOST = 1 << 23
_COLUMNS = 128  # in multiples of this


def refusal(op: MatmulOp) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if isinstance(op.input.type.element_type, ir.F64Type):
        return "there is no kernel for f64"
    return refused_sizes(op.weight.type.shape, op.transpose_weight)


def prepare(op: MatmulOp) -> tuple[RlxOp, ir.Value]:
    """Checks sizes and makes a matmul of two matrices; returns it and the value of the result."""
    input, weight = op.fitting_operands()
    result = MatmulOp.create(as_matrix(input), weight, transpose_weight=op.transpose_weight)
    return result.owner.opview, with_shape_of(result, input)


def layout(op: MatmulOp, isa: Isa) -> Layout:
    """How the weight of ``op`` should lie in memory, if that can be chosen."""
    return Layout()


def build(op: MatmulOp, kernels: Kernels, isa: Isa) -> ir.Value | None:
    """Emits buffers and the call for an op that :func:`prepare` made; returns the result.

    Returns None where it has put what the only reader of the result computes in its place.
    """
    element = op.input.type.element_type
    plain = None if isinstance(element, ir.F32Type) else rounding(element)
    return with_epilogue(op, plain, partial(_emit, op, kernels, isa))


def with_epilogue(
    op: MatmulOp, plain: Epilogue | None, emit_product: Callable[..., ir.Value]
) -> ir.Value | None:
    """The product, together with what its only reader computes.

    Args:
        op: the product.
        plain: the epilogue where nothing can be done together with the product.
        emit_product: takes the columns of the result, the epilogue, and the tensors it reads.

    Returns:
        The result; None where it has put it in the place of what the reader computes.
    """
    found = find(op.results[0])
    if found is None:
        return emit_product(op.results[0].type.shape[1], plain, [])
    with ir.InsertionPoint(found.consumer), found.consumer.location:
        found.replace(emit_product(found.width, found.epilogue, found.matrices()))
    return None


def _emit(
    op: MatmulOp,
    kernels: Kernels,
    isa: Isa,
    columns: int,
    epilogue: Epilogue | None,
    operands: Sequence[ir.Value],
) -> ir.Value:
    """The product, with ``columns`` columns after the epilogue, which reads ``operands``."""
    input, weight = op.input, op.weight
    element = input.type.element_type
    result = code.alloc(
        [emit.dim(input, 0), columns], code.f32() if epilogue is None else epilogue.result
    )
    rows, panels = code.to_buffer(input), packed(weight)
    if panels is None:
        run = _matmul(kernels, element, op.transpose_weight, input.type.shape[0], isa)
        if epilogue is not None:
            name = f"rlx_matmul_{'nk' if op.transpose_weight else 'kn'}_{element}_{isa.name}"
            run = finished(kernels, name, [code.matrix(element)] * 2, run, epilogue, isa)
        source = code.to_buffer(weight)
    else:
        shape = (input.type.shape[0], columns)
        run = _with_panels(kernels, element, shape, isa, epilogue)
        source = code.to_buffer(panels[0])
    run(rows, source, *map(code.to_buffer, operands), result)
    return code.to_tensor(result)


def by_rows(
    kernels: Kernels,
    name: str,
    types: Sequence[ir.Type],
    rows: int,
    most: int,
    few: Callable[[], Kernel],
    many: Callable[[], Kernel],
) -> Kernel:
    """Up to ``most`` rows what ``few`` makes, else what ``many`` makes.

    Args:
        kernels: where the kernel goes.
        name, types: its name, and the types of its buffers, of which the first has the rows.
        rows: how many there are, where that is known: then there is only one of the two.
        most, few, many: as said.
    """
    if is_static(rows):
        return few() if rows <= most else many()
    kernel_of_many, kernel_of_few = many(), few()

    def body(*buffers: ir.Value) -> None:
        is_many = code.less(most, code.dim(buffers[0], 0))
        code.if_(is_many, lambda: kernel_of_many(*buffers), lambda: kernel_of_few(*buffers))

    return kernels.define(name, types, body)


def finished(
    kernels: Kernels,
    name: str,
    types: Sequence[ir.Type],
    run: Kernel,
    epilogue: Epilogue,
    isa: Isa,
) -> Kernel:
    """``run``, which multiplies buffers of ``types`` into an f32 matrix, and then the epilogue."""
    finish = finish_all(kernels, epilogue, isa)

    def body(a: ir.Value, b: ir.Value, *buffers: ir.Value) -> None:
        columns = code.add(code.dim(buffers[-1], 1), max(epilogue.offsets))
        product = code.alloc([code.dim(a, 0), columns], code.f32())
        run(a, b, product)
        finish(product, *buffers)

    name = epilogue.name(kernels, f"{name}_finished")
    return kernels.define(name, [*types, *epilogue.types()], body)


def _with_panels(
    kernels: Kernels,
    element: ir.Type,
    shape: tuple[int, int],
    isa: Isa,
    epilogue: Epilogue | None,
) -> Kernel:
    """input [M, K], weight in panels, f32 result [M, N] of type ``shape``.

    With an epilogue, its buffers take the place of the result.
    """
    outputs = [code.matrix(code.f32())] if epilogue is None else epilogue.types()
    types = [code.matrix(element), panels_type(element), *outputs]
    blocks = partial(gemm.kernel, kernels, element, element, isa, epilogue)

    def few() -> Kernel:
        run = few_rows.panels_kernel(kernels, element, element, isa)
        if epilogue is None:
            return run
        name = f"rlx_matmul_few_{element}_{isa.name}"
        return finished(kernels, name, types[:2], run, epilogue, isa)

    tiles = gemm.parameters(isa, element, *shape).tiles
    name = f"rlx_matmul_panels_{element}_{isa.name}_{tiles}"
    if epilogue is not None:
        name = epilogue.name(kernels, name)
    many = partial(_many, kernels, name, types, element, shape, isa, blocks)
    return by_rows(kernels, name, types, shape[0], few_rows.most_panels(isa), few, many)


def _many(
    kernels: Kernels,
    name: str,
    types: list[ir.Type],
    weight: ir.Type,
    shape: tuple[int, int],
    isa: Isa,
    make: Callable[[gemm.Parameters], Kernel],
) -> Kernel:
    """What ``make`` makes of the sizes for so many rows, or of those for any number.

    The types are those of the buffers and of the panels, ``shape`` is the result's.
    """
    usual, tall = (gemm.parameters(isa, weight, *shape, many) for many in (False, True))
    if usual == tall:
        return make(usual)
    some, most = partial(make, usual), partial(make, tall)
    return by_rows(kernels, f"{name}_many", types, shape[0], gemm.MANY_ROWS - 1, some, most)


def _matmul(kernels: Kernels, element: ir.Type, transposed: bool, rows: int, isa: Isa) -> Kernel:
    """input [M, K], weight [N, K] or [K, N], f32 result [M, N]; ``rows`` is M if that is known."""
    storage = code.matrix(element)
    types = [storage, storage, code.matrix(code.f32())]
    name = f"rlx_matmul_{'nk' if transposed else 'kn'}_{element}_{isa.name}"

    few = partial(few_rows.kernel, kernels, name, types, transposed, isa)
    packing = partial(_packing, kernels, name, types, transposed, isa)
    shape = (rows, code.DYNAMIC)
    many = partial(_many, kernels, name, types, code.f32(), shape, isa, packing)
    return by_rows(kernels, name, types, rows, few_rows.MOST, few, many)


def _packing(
    kernels: Kernels,
    name: str,
    types: list[ir.Type],
    transposed: bool,
    isa: Isa,
    sizes: gemm.Parameters,
) -> Kernel:
    """Panels are made of the weight first."""
    element, f32 = types[0].element_type, code.f32()
    pack = pack_kernel(kernels, name, element, transposed, isa)
    run = gemm.kernel(kernels, element, f32, isa, sizes=sizes)

    def body(a: ir.Value, b: ir.Value, c: ir.Value) -> None:
        rows, inner, columns = code.dim(a, 0), code.dim(a, 1), code.dim(c, 1)
        elements = code.minimum(code.multiply(rows, _AT_A_TIME), _AT_MOST)
        fitting = arith.divui(elements, code.add(inner, 1))
        step = code.round_up(code.maximum(fitting, 1), _COLUMNS)
        panels = code.alloc([code.ceil_div(code.minimum(columns, step), PANEL), inner, PANEL], f32)

        def some(j: ir.Value) -> None:
            width = code.minimum(code.subtract(columns, j), step)
            pack(b, panels, j, width)
            run(a, panels, code.part(c, [0, j], [rows, width]))

        code.loop(0, columns, step, some)

    return kernels.define(f"{name}_packing_{sizes.tiles}", types, body)
