"""Products in bf16 with many rows: how their blocks are shared out among threads."""

from collections.abc import Callable

from rlx.host import arith, ir
from rlx.schedules.cpu import bf16, code
from rlx.schedules.cpu.bf16_pack import panels_type
from rlx.schedules.cpu.code import Kernel, Kernels
from rlx.schedules.cpu.epilogue import Epilogue

__all__ = ["product_by_blocks"]


def product_by_blocks(
    kernels: Kernels,
    name: str,
    epilogue: Epilogue,
    block_rows: int,
    block_columns: int,
    speed: int,
    build: Callable[..., None],
) -> Kernel:
    """The product with all rows of the input, for some columns of the result.

    Takes the input, panels, the epilogue's buffers, the first column of the result and how many,
    and for every piece of the epilogue the first panel.

    Args:
        kernels: where the kernel goes.
        name: the start of its name.
        epilogue: what is done to the product.
        block_rows, block_columns: the size of a block of the result.
        speed: about how many multiplications and additions one thread makes in a nanosecond.
        build: emits the blocks [low, high) of the result, counted along its rows; takes the number
            of the thread, low and high, and the arguments of the kernel.
    """
    pieces = len(epilogue.offsets)
    numbers = [ir.IndexType.get()] * (2 + pieces)
    types = [code.matrix(bf16.bf16()), panels_type(), *epilogue.types(), *numbers]
    blocks = kernels.parallel(epilogue.name(kernels, f"{name}_blocks"), types, build)

    def body(a: ir.Value, panels: ir.Value, *others: ir.Value) -> None:
        rows, inner, columns = code.dim(a, 0), code.dim(a, 1), others[-1 - pieces]
        down, across = code.ceil_div(rows, block_rows), code.ceil_div(columns, block_columns)
        work = code.multiply(code.multiply(rows, inner), code.multiply(columns, pieces))
        count = code.multiply(down, across)
        parts = kernels.parts(count, arith.divui(work, code.index(speed)))
        blocks(parts, count, a, panels, *others)

    return kernels.define(epilogue.name(kernels, name), types, body)
