"""`rlx-cpu-pack-weights`: parameters in the layout that kernels want."""

from dataclasses import dataclass
from typing import Any

from rlx.diagnostics import remark
from rlx.dialects.matmul import MatmulOp
from rlx.host import func, ir
from rlx.passes.base import Pass, walk
from rlx.passes.convert_rlx_to_linalg import KERNEL
from rlx.passes.functions import (
    PARAM,
    TILING,
    attributes_of_argument,
    set_attribute_of_argument,
)
from rlx.passes.parameters import Calls, Weight
from rlx.schedules.cpu.isa import ISAS
from rlx.schedules.cpu.layout import Layout
from rlx.schedules.cpu.passes import strategy

__all__ = ["PackWeights"]


@dataclass(frozen=True)
class PackWeights(Pass):
    """Lays out parameters that only kernels multiply with as the kernels want them.

    ::

        func @f(%x: tensor<?x32xf32>, %w: tensor<100x32xf32> {rlx.param})
          %y = rlx.matmul %x, %w {rlx.kernel = "avx512", transpose_weight = true}

    becomes ::

        func @f(%x: tensor<?x32xf32>, %w: tensor<7x32x16xf32> {rlx.param, rlx.tiling = {
                shape = [100, 32], inner_dims_pos = [0], inner_tiles = [16],
                outer_dims_perm = [0, 1]}})
          %u = linalg.unpack %w ...
          %y = rlx.matmul %x, %u {rlx.kernel = "avx512", transpose_weight = true}

    The run time cuts the original parameter into these tiles, once when it loads the model; kernels
    read what lies below `linalg.unpack`, which never runs. Weights are followed through calls of
    private functions. A table that `rlx.embedding` reads as well stays as it is: to look up a row,
    it would have to be gathered, and to keep it twice is not worth its memory. Remarks tell of
    weights that stay. Runs after `rlx-cpu-select-kernels`.
    """

    name = "rlx-cpu-pack-weights"
    anchor = "builtin.module"

    def run(self, op: ir.Operation) -> None:
        calls = Calls(op, lambda user: _layout(user) is not None, {TILING}, named=False)
        seen: set[ir.Value] = set()
        for product in list(walk(op, MatmulOp)):
            layout = _layout(product)
            if layout is None or not calls.is_argument(product.weight) or product.weight in seen:
                continue
            weight = calls.follow(product.weight)
            seen |= weight.arguments.keys()
            if not weight.is_parameter:
                continue
            if problem := weight.problem or _problem(weight):
                remark(product, f"weight is not laid out for the kernel: {problem}")
            else:
                _pack(weight, layout)


def _layout(product: Any) -> Layout | None:
    """The layout that the kernel of an op wants for its weight."""
    if not isinstance(product, MatmulOp) or KERNEL not in product.attributes:
        return None
    name = ir.StringAttr(product.attributes[KERNEL]).value
    own = strategy(MatmulOp, name)
    return None if own is None else own.layout(product, ISAS[name])


def _problem(weight: Weight) -> str:
    if len({product.transpose_weight for product in weight.products}) > 1:
        return "it is used both as it is and transposed"
    if len({_layout(product) for product in weight.products}) > 1:
        return "kernels want several layouts"
    for argument, function in weight.arguments.items():
        if TILING in attributes_of_argument(function, argument.arg_number):
            return "it has rlx.tiling"
    return ""


def _pack(weight: Weight, layout: Layout) -> None:
    """Changes the arguments that stand for a weight, and unpacks them before its products."""
    transposed = weight.products[0].transpose_weight
    before = weight.products[0].weight.type
    for argument, function in weight.arguments.items():
        with function.location:
            _change_argument(argument, function, layout, transposed)
    for product in weight.products:
        with ir.InsertionPoint(product), product.location:
            product.operation.operands[1] = layout.unpack(product.weight, before, transposed)


def _change_argument(
    argument: ir.BlockArgument, function: func.FuncOp, layout: Layout, transposed: bool
) -> None:
    number = argument.arg_number
    if PARAM in attributes_of_argument(function, number):
        tiling = layout.attribute(argument.type, transposed)
        set_attribute_of_argument(function, number, TILING, tiling)
    argument.set_type(layout.type(argument.type, transposed))
    inputs = [each.type for each in function.regions[0].blocks[0].arguments]
    function_type = ir.FunctionType.get(inputs, function.type.results)
    function.attributes["function_type"] = ir.TypeAttr.get(function_type)
