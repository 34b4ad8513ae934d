"""`rlx.dequant_matmul` with groups as one reduction: integers are scaled as they are multiplied."""

from rlx.dialects import emit
from rlx.dialects.base import RlxOp
from rlx.dialects.dequant_matmul import DequantMatmulOp
from rlx.dialects.types import accumulator_type
from rlx.host import arith, ir
from rlx.schedules.cuda.arch import Arch
from rlx.schedules.cuda.kernels import Kernels

__all__ = ["build", "prepare", "refusal"]


def refusal(op: DequantMatmulOp, arch: Arch) -> str | None:
    """Why this is not for ``op``; None when it is."""
    return None if op.group else "without groups it is a reduction already"


def prepare(op: DequantMatmulOp) -> tuple[RlxOp, ir.Value]:
    """Checks sizes and makes the op again; returns it and its result."""
    input, weight, scales = op.fitting_operands()
    result = DequantMatmulOp.create(
        input, weight, scales, transpose_weight=op.transpose_weight, group=op.group
    )
    return result.owner.opview, result


def build(op: DequantMatmulOp, kernels: Kernels, arch: Arch) -> ir.Value:
    """Emits linalg, of which plain kernels are made; returns the result."""
    element, rank = op.input.type.element_type, op.input.type.rank
    wide = accumulator_type(element)
    transposed = op.transpose_weight
    shape = emit.sizes(op.input)
    shape[-1] = emit.dim(op.weight, 0 if transposed else 1)
    groups = emit.dim(op.scales, 1)
    if op.scales.type.is_dynamic_dim(1) and not op.input.type.is_dynamic_dim(rank - 1):
        groups = op.input.type.shape[-1] // op.group
    parts = [groups, op.group]
    input = emit.split_axis(op.input, rank - 1, parts)
    weight = emit.split_axis(op.weight, 1 if transposed else 0, parts)
    *rows, n, g, x = emit.axes(rank + 2)
    maps = [[*rows, g, x], [n, g, x] if transposed else [g, x, n], [n, g], [*rows, n]]

    def add(a: ir.Value, b: ir.Value, scale: ir.Value, total: ir.Value) -> ir.Value:
        flags = emit.reassoc()
        factor = arith.mulf(arith.sitofp(wide, b), scale)
        product = arith.mulf(emit.convert(a, wide), factor, fastmath=flags)
        return arith.addf(total, product, fastmath=flags)

    zeros = emit.fill(shape, wide, 0.0)
    total = emit.generic([input, weight, op.scales], zeros, maps, "p" * rank + "rr", add)
    return emit.convert_tensor(total, element)
