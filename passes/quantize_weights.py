"""`rlx-quantize-weights`: products with parameters as products with 8-bit integers."""

from dataclasses import dataclass, replace

from rlx.diagnostics import remark
from rlx.dialects.dequant_matmul import dequant_matmul
from rlx.dialects.embedding import EmbeddingOp
from rlx.dialects.matmul import MatmulOp
from rlx.dialects.types import accumulator_type, is_static
from rlx.host import func, ir
from rlx.options import option
from rlx.passes.base import Pass, PassFailure, walk
from rlx.passes.functions import (
    NAME,
    PARAM,
    PARTS,
    PARTS_AXIS,
    Attributes,
    attributes_of,
    attributes_of_argument,
    set_attributes,
)
from rlx.passes.parameters import Calls, Weight, callee

__all__ = ["GROUP", "QUANTIZE", "SCALES", "VALUES", "QuantizeWeights"]

QUANTIZE, GROUP = "rlx.quantize", "rlx.quantize_group"
VALUES, SCALES = "int8", "int8-scales"


@dataclass(frozen=True)
class QuantizeWeights(Pass):
    """Multiplies with 8-bit integers and scales where a parameter is multiplied with.

    ::

        func @f(%x: tensor<1x8x16xf32>, %w: tensor<4x16xf32> {rlx.param, rlx.name = "w"})
          %y = rlx.matmul %x, %w {transpose_weight = true}

    becomes ::

        func @f(%x: tensor<1x8x16xf32>,
                %w: tensor<4x16xi8> {rlx.param, rlx.name = "w.int8", rlx.parts = ["w"],
                                     rlx.parts_axis = 0 : i64, rlx.quantize = "int8"},
                %s: tensor<4xf32> {rlx.param, rlx.name = "w.int8-scales", rlx.parts = ["w"],
                                   rlx.parts_axis = 0 : i64, rlx.quantize = "int8-scales"})
          %y = rlx.dequant_matmul %x, %w, %s {transpose_weight = true}

    The run time makes both arrays of the original parameters, once when it loads the model: see
    `rlx.runtime.quantize`. `rlx.parts_axis` is the axis of the output channels, along which packed
    parameters are put together as well; `rlx.quantize_group` holds a `group` other than 0. Scales
    go to the end of the argument list. Weights are followed through calls of private functions.

    A parameter takes part if it has `rlx.name` and a static shape, a multiple of `group` deep, and
    nothing but products use it, all the same way around. A table that `rlx.embedding` reads as well
    stays for that; a language model head that is tied to it gets integers of its own. Remarks tell
    of weights that stay.
    """

    name = "rlx-quantize-weights"
    anchor = "builtin.module"

    bits: int = option(8, "width of the integers; 8 is the only one")
    group: int = option(0, "how many elements in a row share a scale; 0 for a whole channel")

    def run(self, op: ir.Operation) -> None:
        if self.bits != 8:
            raise PassFailure(op, f"expected bits of 8, but got {self.bits}")
        if self.group < 0:
            raise PassFailure(op, f"expected group of at least 0, but got {self.group}")
        calls = Calls(op, lambda user: isinstance(user, MatmulOp))
        seen: set[ir.Value] = set()
        found = []
        for matmul in list(walk(op, MatmulOp)):
            if not calls.is_argument(matmul.weight) or matmul.weight in seen:
                continue
            weight = calls.follow(matmul.weight)
            seen |= weight.arguments.keys()
            if _is_table(weight) and not _problem(weight, self.group):
                weight = _separated(weight)
            problem = weight.problem or _problem(weight, self.group)
            if problem and weight.is_parameter:
                remark(matmul, f"weight stays as it is: {problem}")
            if not problem and weight.is_parameter:
                found.append(weight)
        _quantize(calls, found, self.group)


def _is_table(weight: Weight) -> bool:
    """Whether `rlx.embedding` uses a parameter as well, and nothing is wrong but that."""
    return (
        weight.is_parameter
        and len(weight.arguments) == 1
        and all(isinstance(user, EmbeddingOp) for user in weight.others)
        and weight.problem == weight.elsewhere != ""
    )


def _separated(weight: Weight) -> Weight:
    """A parameter of the same name for the products alone."""
    ((argument, function),) = weight.arguments.items()
    attributes = attributes_of(function, "arg_attrs")
    new = function.regions[0].blocks[0].add_argument(argument.type, argument.location)
    inputs = [each.type for each in function.regions[0].blocks[0].arguments]
    with function.location:
        function_type = ir.FunctionType.get(inputs, function.type.results)
        function.attributes["function_type"] = ir.TypeAttr.get(function_type)
        set_attributes(function, "arg_attrs", [*attributes, attributes[argument.arg_number]])
    for product in weight.products:
        product.operation.operands[1] = new
    return replace(weight, arguments={new: function}, others=[], problem="")


def _quantize(calls: Calls, weights: list[Weight], group: int) -> None:
    scales: dict[ir.Value, ir.Value] = {}
    passing: dict[ir.Operation, None] = {}
    for weight in weights:
        axis = 0 if weight.products[0].transpose_weight else 1
        in_order = sorted(weight.arguments.items(), key=lambda entry: entry[0].arg_number)
        for argument, function in in_order:
            scales[argument] = _change_argument(argument, function, axis, group)
        passing |= dict.fromkeys(weight.calls)
        for product in weight.products:
            _replace(product, scales[product.weight], group)
    for call in passing:
        _extend_call(call, calls.functions[callee(call)], scales)


def _problem(weight: Weight, group: int) -> str:
    """What keeps a weight that only products use from being quantized."""
    axes = {0 if product.transpose_weight else 1 for product in weight.products}
    if len(axes) > 1:
        return "it is used both as it is and transposed"
    (axis,) = axes
    for argument, function in weight.arguments.items():
        shape = argument.type.shape
        if not all(map(is_static, shape)):
            return f"its shape is dynamic, {argument.type}"
        if group and shape[1 - axis] % group:
            return f"its inner size {shape[1 - axis]} is not a multiple of the group {group}"
        attributes = attributes_of_argument(function, argument.arg_number)
        if PARTS_AXIS in attributes and ir.IntegerAttr(attributes[PARTS_AXIS]).value != axis:
            return "it is packed along its inner axis"
    return ""


def _change_argument(
    argument: ir.BlockArgument, function: func.FuncOp, axis: int, group: int
) -> ir.Value:
    """Makes ``argument`` one of integers; returns the new argument with the scales."""
    old = argument.type
    with function.location:
        values = ir.RankedTensorType.get(list(old.shape), ir.IntegerType.get_signless(8))
        count, depth = old.shape[axis], old.shape[1 - axis]
        shape = [count, depth // group] if group else [count]
        type = ir.RankedTensorType.get(shape, accumulator_type(old.element_type))
        attributes = attributes_of(function, "arg_attrs")
        argument.set_type(values)
        scales = function.regions[0].blocks[0].add_argument(type, argument.location)
        inputs = [each.type for each in function.regions[0].blocks[0].arguments]
        function_type = ir.FunctionType.get(inputs, function.type.results)
        function.attributes["function_type"] = ir.TypeAttr.get(function_type)
        here = attributes[argument.arg_number]
        added: Attributes = {}
        if PARAM in here:
            added = _declaration(here, SCALES, axis, group)
            attributes[argument.arg_number] = _declaration(here, VALUES, axis, group)
        set_attributes(function, "arg_attrs", [*attributes, added])
    return scales


def _declaration(attributes: Attributes, what: str, axis: int, group: int) -> Attributes:
    """How the run time makes an array of the original parameters."""
    name = ir.StringAttr(attributes[NAME])
    found = {
        NAME: ir.StringAttr.get(f"{name.value}.{what}"),
        PARAM: ir.UnitAttr.get(),
        PARTS: attributes.get(PARTS, ir.ArrayAttr.get([name])),
        PARTS_AXIS: ir.IntegerAttr.get(ir.IntegerType.get_signless(64), axis),
        QUANTIZE: ir.StringAttr.get(what),
    }
    if group:
        found[GROUP] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), group)
    return found


def _replace(product: MatmulOp, scales: ir.Value, group: int) -> None:
    result = product.operation.results[0]
    with ir.InsertionPoint(product), product.location:
        new = dequant_matmul(
            product.input,
            product.weight,
            scales,
            transpose_weight=product.transpose_weight,
            group=group,
        )
        new.set_type(result.type)
    result.replace_all_uses_with(new)
    product.operation.erase()


def _extend_call(call: ir.Operation, callee: func.FuncOp, scales: dict[ir.Value, ir.Value]) -> None:
    """Passes the scales of what ``call`` passes, in the order in which ``callee`` has them."""
    arguments = callee.regions[0].blocks[0].arguments
    place = {
        scales[a]: operand
        for a, operand in zip(arguments, call.operands, strict=False)
        if a in scales
    }
    added = [scales[place[argument]] for argument in arguments if argument in place]
    with ir.InsertionPoint(call), call.location:
        new = ir.Operation.create(
            "func.call",
            results=[result.type for result in call.results],
            operands=[*call.operands, *added],
            attributes={key: call.attributes[key] for key in call.attributes},
        )
    for before, after in zip(call.results, new.results, strict=True):
        before.replace_all_uses_with(after)
    call.erase()
