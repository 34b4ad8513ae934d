"""`rlx-fuse-qkv`: projections of one input as a single matrix product."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlx.diagnostics import remark
from rlx.dialects import emit
from rlx.dialects.matmul import MatmulOp, matmul
from rlx.dialects.narrow import narrow
from rlx.dialects.types import is_static, with_dim
from rlx.host import func, ir
from rlx.options import option
from rlx.passes.base import Pass, walk

__all__ = ["FuseQkv"]

NAME, PARAM, PARTS, PARTS_AXIS = "rlx.name", "rlx.param", "rlx.parts", "rlx.parts_axis"


@dataclass(frozen=True)
class FuseQkv(Pass):
    """Multiplies once where several parameters are multiplied with the same input.

    The query, key and value projections of a layer read the same rows, and so do gate and up of an
    MLP. Their weights become one parameter, which the run time puts together once when it loads
    the model, and the products become slices of one::

        func @f(%x: tensor<1x8x16xf32>, %a: tensor<16x16xf32> {rlx.param, rlx.name = "q"},
                %b: tensor<4x16xf32> {rlx.param, rlx.name = "k"})
          %q = rlx.matmul %x, %a {transpose_weight = true}
          %k = rlx.matmul %x, %b {transpose_weight = true}

    becomes ::

        func @f(%x: tensor<1x8x16xf32>, %w: tensor<20x16xf32> {rlx.param, rlx.name = "q+k",
                rlx.parts = ["q", "k"], rlx.parts_axis = 0 : i64})
          %y = rlx.matmul %x, %w {transpose_weight = true}
          %q = rlx.narrow %y {axis = 2, start = 0, length = 16}
          %k = rlx.narrow %y {axis = 2, start = 16, length = 4}

    `rlx.parts` names the original parameters in the order in which they are concatenated along
    `rlx.parts_axis`: 0 for weights [N, X], 1 for weights [X, N]. The packed parameter takes the
    place of the first of them in the argument list. Parts come in the order in which the products
    stand in the program. A product that is computed twice is computed once first.

    A weight takes part if it is an argument with `rlx.param` and `rlx.name`, has a static shape,
    and all its uses are products with that one input. Only the argument list of a public function
    that nothing in the module calls can change; for others a remark says so.
    """

    name = "rlx-fuse-qkv"

    min_matmuls: int = option(2, "fuse groups of at least this many products")

    def run(self, op: ir.Operation) -> None:
        for function in list(walk(op, "func.func")):
            if not function.is_external:
                _deduplicate(function)
                groups = [g for g in _groups(function) if len(g) >= max(self.min_matmuls, 2)]
                if groups and _may_change(function):
                    with function.location:
                        _pack(function, groups)


def _projections(function: func.FuncOp) -> list[MatmulOp]:
    """The products with parameters, at the top level of the function."""
    return [
        op
        for op in function.regions[0].blocks[0].operations
        if isinstance(op, MatmulOp) and _is_parameter(function, op.weight)
    ]


def _is_parameter(function: func.FuncOp, value: ir.Value) -> bool:
    return (
        isinstance(value, ir.BlockArgument)
        and value.owner == function.regions[0].blocks[0]
        and PARAM in _attributes(function, value.arg_number)
    )


def _attributes(function: func.FuncOp, number: int) -> dict[str, ir.Attribute]:
    if "arg_attrs" not in function.attributes:
        return {}
    attributes = ir.DictAttr(function.attributes["arg_attrs"][number])
    return {attributes[i].name: attributes[i].attr for i in range(len(attributes))}


def _deduplicate(function: func.FuncOp) -> None:
    """Computes equal products of the same input and parameter once."""
    seen: dict[tuple, MatmulOp] = {}
    for op in _projections(function):
        key = (op.input, op.weight, op.transpose_weight, str(op.results[0].type))
        if key in seen:
            op.results[0].replace_all_uses_with(seen[key].results[0])
            op.operation.erase()
        else:
            seen[key] = op


def _groups(function: func.FuncOp) -> list[list[MatmulOp]]:
    """Products that can be one, in program order."""
    groups: dict[tuple, list[MatmulOp]] = {}
    projections = _projections(function)
    inputs = [op.input for op in projections]
    for op in projections:
        problem = _problem(function, op)
        if problem:
            if inputs.count(op.input) > 1:
                remark(op, f"projection stays on its own: {problem}")
            continue
        inner = op.weight.type.shape[1 if op.transpose_weight else 0]
        groups.setdefault((op.input, op.transpose_weight, inner), []).append(op)
    return list(groups.values())


def _problem(function: func.FuncOp, op: MatmulOp) -> str:
    """Why the weight of ``op`` cannot become a part of another; empty when it can."""
    weight = op.weight
    if not all(map(is_static, weight.type.shape)):
        return f"its weight has a dynamic shape, {weight.type}"
    if op.input == weight:
        return "its weight is its input"
    for use in weight.uses:
        user = use.owner.opview
        if not isinstance(user, MatmulOp) or user.weight != weight:
            return "its weight is also used otherwise"
        if user.input != op.input:
            return "its weight is also used with another input"
        if user.operation != op.operation:
            return "its weight is also used in another product"
    attributes = _attributes(function, weight.arg_number)
    if NAME not in attributes:
        return "its weight has no rlx.name"
    strange = sorted(attributes.keys() - {NAME, PARAM, PARTS, PARTS_AXIS})
    if strange:
        return f"its weight has {strange[0]}"
    axis = 0 if op.transpose_weight else 1
    if PARTS_AXIS in attributes and ir.IntegerAttr(attributes[PARTS_AXIS]).value != axis:
        return "its weight is packed along the other axis"
    return ""


def _may_change(function: func.FuncOp) -> bool:
    """Whether the argument list of ``function`` is nobody else's business."""
    name = function.name.value
    if "sym_visibility" in function.attributes and function.visibility.value != "public":
        remark(function, f"projections stay on their own: @{name} is not public")
        return False
    module = function.operation
    while module.parent is not None:
        module = module.parent.operation
    if any(_mentions(op.attributes[key], name) for op in walk(module) for key in op.attributes):
        remark(function, f"projections stay on their own: the module refers to @{name}")
        return False
    return True


def _mentions(attribute: ir.Attribute, name: str) -> bool:
    """Whether an attribute refers to a symbol."""
    if isinstance(attribute, ir.FlatSymbolRefAttr):
        return attribute.value == name
    if isinstance(attribute, ir.SymbolRefAttr):
        return name in attribute.value
    if isinstance(attribute, ir.ArrayAttr):
        return any(_mentions(each, name) for each in attribute)
    if isinstance(attribute, ir.DictAttr):
        return any(_mentions(attribute[i].attr, name) for i in range(len(attribute)))
    return False


def _pack(function: func.FuncOp, groups: Sequence[Sequence[MatmulOp]]) -> None:
    """Gives every group one weight, and one product that is cut into those of the group."""
    block = function.regions[0].blocks[0]
    group_of = {op.weight.arg_number: group for group in groups for op in group}
    packed: dict[int, ir.BlockArgument] = {}
    attributes: list[ir.Attribute] = []
    old = list(block.arguments)
    for number, argument in enumerate(old):
        if number not in group_of:
            new = block.add_argument(argument.type, argument.location)
            argument.replace_all_uses_with(new)
            attributes.append(ir.DictAttr.get(_attributes(function, number)))
            continue
        group = group_of[number]
        if id(group) not in packed:
            packed[id(group)] = block.add_argument(_packed_type(group), argument.location)
            attributes.append(_packed_attributes(function, group))
    for group in groups:
        _replace(group, packed[id(group)])
    for _ in old:
        block.erase_argument(0)
    type = ir.FunctionType.get([a.type for a in block.arguments], function.type.results)
    function.attributes["function_type"] = ir.TypeAttr.get(type)
    function.attributes["arg_attrs"] = ir.ArrayAttr.get(attributes)


def _widths(group: Sequence[MatmulOp]) -> list[int]:
    return [op.weight.type.shape[0 if op.transpose_weight else 1] for op in group]


def _packed_type(group: Sequence[MatmulOp]) -> ir.Type:
    weight = group[0].weight.type
    return with_dim(weight, 0 if group[0].transpose_weight else 1, sum(_widths(group)))


def _packed_attributes(function: func.FuncOp, group: Sequence[MatmulOp]) -> ir.Attribute:
    parts: list[ir.Attribute] = []
    for op in group:
        attributes = _attributes(function, op.weight.arg_number)
        parts += attributes.get(PARTS, [attributes[NAME]])
    axis = 0 if group[0].transpose_weight else 1
    return ir.DictAttr.get(
        {
            NAME: ir.StringAttr.get("+".join(ir.StringAttr(part).value for part in parts)),
            PARAM: ir.UnitAttr.get(),
            PARTS: ir.ArrayAttr.get(parts),
            PARTS_AXIS: ir.IntegerAttr.get(ir.IntegerType.get_signless(64), axis),
        }
    )


def _replace(group: Sequence[MatmulOp], weight: ir.Value) -> None:
    first = group[0]
    location = ir.Location.fused([op.location for op in group])
    with ir.InsertionPoint(first), location:
        product = matmul(first.input, weight, transpose_weight=first.transpose_weight)
        start, axis = 0, product.type.rank - 1
        for op, width in zip(group, _widths(group), strict=True):
            part = narrow(product, axis=axis, start=start, length=width)
            op.results[0].replace_all_uses_with(emit.cast(part, op.results[0].type))
            start += width
    for op in group:
        op.operation.erase()
